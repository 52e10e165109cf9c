"""Fixtures of the buyer's tests: receipts, each made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from tests.client.receipts import Case, Specimen
from tests.reuse import reuse


@pytest.fixture(autouse=True)
def _reuse(monkeypatch: pytest.MonkeyPatch) -> None:
    reuse(monkeypatch)


@pytest.fixture(scope="session")
def deposit_case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """An answer over an encrypted deposit. Leave it as it is."""
    return Case.of(tmp_path_factory.mktemp("deposits"))


@pytest.fixture(scope="session")
def specimens(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Specimen]:
    """What makes a receipt of a kind, or gives the one that was made before; nobody changes its chain."""

    @cache
    def make(kind: str) -> Specimen:
        if kind == "deposit":
            return Specimen.of_case(kind, request.getfixturevalue("deposit_case"))
        return Specimen.make(kind, tmp_path_factory.mktemp(kind))

    return make
