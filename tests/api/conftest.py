"""The HTTP edge over a market with three holders, without any socket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from tests.api.clients import Clock, Machine
from tests.exchange.conftest import migrated_file as migrated_file
from tests.exchange.conftest import sqlite_engine as sqlite_engine
from tests.exchange.conftest import sqlite_url as sqlite_url
from tests.exchange.conftest import world as world
from tests.exchange.world import NOW, World


@pytest.fixture
def engine(sqlite_engine: sa.Engine) -> sa.Engine:
    """An engine on a fresh SQLite file."""
    return sqlite_engine


@pytest.fixture
def clock() -> Clock:
    """The wall clock, which only the test moves."""
    return Clock(NOW)


@pytest.fixture
def app(world: World, clock: Clock) -> FastAPI:
    """The application."""
    return create_app(world.market, now_s=clock)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client that signs nothing."""
    with TestClient(app, base_url="http://market.example:8700", raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def buyer(world: World, client: TestClient, clock: Clock) -> Machine:
    """A buyer's machine."""
    return Machine(client, world.buyer(), clock)


@pytest.fixture
def holder(world: World, client: TestClient, clock: Clock) -> Machine:
    """A holder's machine."""
    return Machine(client, world.holders[0].signer, clock)


@pytest.fixture
def broker(world: World, client: TestClient, clock: Clock) -> Machine:
    """The broker's operator."""
    return Machine(client, world.broker, clock)
