"""Session secrets are opened once while a request lives, and are those of the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from holder.errors import StoreError
from holder.session_secrets import SessionSecrets
from holder.types import Stage
from ledger.types import Digest
from privacy.errors import SenderUnknown
from privacy.noise import draw_noise_share
from tests.holder.tables import expected_cells
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


def test_noise_comes_again_from_the_disk_as_it_was(tmp_path: Path) -> None:
    """A crash before the bundle is stored, or a chain that loses the share: the same session has the same noise."""
    world = World(tmp_path / "world")
    request_id = world.open(SQL)
    world.run(request_id, Stage.SHARED)
    member, session, plan = world.members[0], world.session(request_id), world.plan(SQL)
    before = SessionSecrets(member.store).noise_source(request_id, session)
    noise = draw_noise_share(plan, session.params, before).tolist()
    world.start(member)
    again = SessionSecrets(member.store).noise_source(request_id, session)
    assert draw_noise_share(plan, session.params, again).tolist() == noise
    sums = [cell - drawn for cell, drawn in zip(world.cells_of(member, request_id), noise, strict=True)]
    assert sums == expected_cells(member.rows, plan, world.policy, lambda row: True)


def test_a_roster_without_this_holders_keys_has_no_noise(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    first, second = world.open(SQL), world.open(SQL + " GROUP BY grade")
    world.run(first, Stage.SHARED)
    world.run(second, Stage.SHARED)
    with pytest.raises(SenderUnknown):
        SessionSecrets(world.members[0].store).noise_source(first, world.session(second))


def test_a_request_without_secrets_is_an_error(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    with pytest.raises(StoreError):
        SessionSecrets(world.members[0].store).of(Digest(bytes(32)))
