"""Session secrets are opened once while a request lives, and are those of the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from holder.errors import StoreError
from holder.session_secrets import SessionSecrets
from holder.types import Stage
from ledger.types import Digest
from tests.holder.world import World

SQL = "SELECT COUNT(*) FROM 用电"


def test_secrets_are_opened_once_and_again_after_they_were_forgotten(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    request_id = world.open(SQL)
    world.run(request_id, Stage.SHARED)
    member = world.members[0]
    kept = SessionSecrets(member.store)
    first = kept.of(request_id)
    assert kept.of(request_id) is first
    view = world.chain.view(request_id)
    assert view is not None
    assert kept.public_keys(request_id) == view.approved[member.address].keys
    kept.forget(request_id)
    again = kept.of(request_id)
    assert again is not first and again == first


def test_a_request_without_secrets_is_an_error(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    with pytest.raises(StoreError):
        SessionSecrets(world.members[0].store).of(Digest(bytes(32)))
