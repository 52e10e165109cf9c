"""Verifying processes as they run: each has its share of the connections, one that is killed is replaced, and no use is lost."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from api.licences.settings import CitySettings
from api.licences.shared_listener import NOT_TAKING
from api.licences.verifiers import Verifiers
from cli.processes import free_port
from ledger.licences.access import AccessFiles
from ledger.licences.layout import BookFolder
from ledger.licences.sdjwt import present
from tests.api.clients import Clock
from tests.api.licences.conftest import LicenceWorld, running_world

WORKERS = 2
WAIT_S = 60.0


@contextmanager
def verifying(book: Path, settings: CitySettings) -> Iterator[tuple[Verifiers, int]]:
    verifiers = Verifiers(book, settings)
    verifiers.start()
    try:
        yield verifiers, settings.verify_port
    finally:
        verifiers.stop()


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[tuple[LicenceWorld, bytes, CitySettings]]:
    """A city with one licence, the body that asks about it, and settings with two verifying processes."""
    with running_world(tmp_path, Clock(int(time.time()))) as world:
        credential = world.issue().credential
        body = json.dumps({"presentation": present(credential, ())}).encode()
        yield world, body, replace(world.service.settings, verify_port=free_port(), verify_workers=WORKERS)


def taking(verifiers: Verifiers) -> int:
    return sum(count != NOT_TAKING for count in verifiers._counts)


def wait_taking(verifiers: Verifiers) -> None:
    end = time.monotonic() + WAIT_S
    while taking(verifiers) < WORKERS:
        assert time.monotonic() < end, "not all verifying processes answer"
        time.sleep(0.02)


def asked(connection: http.client.HTTPConnection, body: bytes) -> str:
    connection.request("POST", "/licences/verify", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    found = json.loads(answer.read())
    assert answer.status == 200
    return str(found["verdict"])


def verdicts_of(connection: http.client.HTTPConnection) -> int:
    """Return how many verdicts the process behind a connection has given."""
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    return int(
        sum(map(float, re.findall(r"^shuyao_licence_verdicts_total\{.*\} (\S+)$", text, re.MULTILINE)))
    )


def test_processes_share_connections_and_one_that_is_killed_is_replaced(
    logged: tuple[LicenceWorld, bytes, CitySettings],
) -> None:
    world, body, settings = logged
    book = world.service.book.folder.root
    with verifying(book, settings) as (verifiers, port):
        wait_taking(verifiers)
        opened = [http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S) for _ in range(24)]
        assert [asked(connection, body) for connection in opened] == ["VALID"] * 24
        shares = {verdicts_of(connection) for connection in opened}
        assert len(shares) <= WORKERS
        assert max(shares) <= 18, f"of 24 connections one process has {max(shares)}"
        killed = verifiers._processes[1]
        killed.kill()
        killed.join(WAIT_S)
        answered = 24
        for connection in opened:
            with suppress(OSError, http.client.HTTPException):  # those of the killed process are gone
                answered += asked(connection, body) == "VALID"
            connection.close()
        assert answered > 24, "the other process goes on"
        while verifiers._processes[1] is killed:
            time.sleep(0.02)
        wait_taking(verifiers)
        fresh = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        answered += asked(fresh, body) == "VALID"
        fresh.close()
    files = AccessFiles(BookFolder(book).access)
    assert (
        sum(files.durable_count(name) for name in files.writers() if name.startswith("verifier-")) >= answered
    )
