"""Sums over an encrypted deposit through whole machines: one trustee lost, one that lies, a crash, and what the exchange can read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holder.data import DataRoom
from holder.deposit import noise_rider, sealing_key
from holder.errors import KeyUsed, SchemaMismatch, ShareMissing, SnapshotChanged
from holder.settings import DepositSource, settings_from_mapping
from holder.trustee import TrusteeKeys
from holder.types import Stage
from ledger.types import Digest
from privacy.deposit import Deposit, write_deposit
from privacy.deposit.errors import SumsDisputed
from privacy.deposit.riders import seal
from privacy.deposit.terms import deposit_policy
from privacy.messages import Kind
from privacy.policy import Policy
from privacy.types import Digest as PrivacyDigest
from tests.holder.deposit_world import SQL, DepositWorld, ceremony, contents, world_policy
from tests.holder.test_settings import GOOD
from tests.holder.world import LISTING, Member


@pytest.fixture
def world(tmp_path: Path) -> DepositWorld:
    return DepositWorld(tmp_path / "world")


def noisy(world: DepositWorld, request_id: Digest, but: set[str] | None = None) -> list[int]:
    """The sums with the noise of all trustees but some."""
    noise = [world.noise(each, request_id) for each in world.members if each.name not in (but or set())]
    return [int(value) for value in world.plain(request_id) + np.sum(noise, axis=0)]


def faulty(world: DepositWorld, request_id: Digest, cells: list[int]) -> list[str]:
    names = {bytes(member.address): member.name for member in world.members}
    return [names[fault.holder] for fault in world.opening(request_id, cells).faults]


class Lying:
    """A trustee's computation of which one part is replaced."""

    def __init__(self, member: Member, **parts: Any) -> None:
        self._honest = member.machine._computations
        kind = next(each for each in self._honest if each.value == "deposit")
        self._own, self._parts = self._honest[kind], parts
        member.machine._computations = {**self._honest, kind: self}

    def __getattr__(self, name: str) -> Any:
        return self._parts.get(name) or getattr(self._own, name)


def test_five_trustees_answer_and_the_values_are_sums_with_their_noise(world: DepositWorld) -> None:
    request_id = world.open(SQL)
    world.run(request_id, Stage.DONE)
    cells = world.answer(request_id)  # the commitment is checked there
    assert world.values(request_id, cells) == noisy(world, request_id)
    assert faulty(world, request_id, cells) == []
    spent = [[(line.reserved, line.spent) for line in each.store.lines()] for each in world.members]
    assert spent == [[(0, 1_000_000)]] * 5


def test_one_trustee_that_is_lost_after_sharing_does_not_stop_the_answer(world: DepositWorld) -> None:
    request_id = world.open(SQL)
    others = world.members[1:]
    for _ in range(6):
        if len(world.chain.view(request_id).shared) < 5:  # type: ignore[union-attr]
            world.step(request_id)
    assert not world.chain.view(request_id).contributed  # type: ignore[union-attr]
    for _ in range(3):
        world.step(request_id, only=others)
    request = world.chain.view(request_id).opened.request  # type: ignore[union-attr]
    world.chain.block = max(world.chain.block, request.contribute_by + 1)
    world.chain.seal(request_id)
    world.chain.mine()
    world.run(request_id, Stage.DONE, only=others)
    cells = world.answer(request_id)
    assert len(world.chain.view(request_id).contributed) == 4  # type: ignore[union-attr]
    assert world.values(request_id, cells) == noisy(world, request_id)


@pytest.mark.parametrize("lie", ["partial", "noise"])
def test_a_trustee_that_lies_is_named_and_the_answer_stands(world: DepositWorld, lie: str) -> None:
    liar = world.members[2]

    def partial(stored: Any, session: Any, plan: Any, riders: Any) -> bytes:
        source = liar.machine._secrets.noise_source(stored.request_id, session)
        size = plan.input_rider_size - 16
        return seal(sealing_key(source), session.id, source.index, bytes(size), b"")

    def noise(stored: Any, session: Any, plan: Any) -> bytes:
        source = liar.machine._secrets.noise_source(stored.request_id, session)
        return noise_rider(plan, session, source)[:-1] + b"\x00"

    Lying(liar, **({"input_rider": partial} if lie == "partial" else {"bundle_rider": noise}))
    request_id = world.open(SQL)
    world.run(request_id, Stage.DONE)
    cells = world.answer(request_id)
    # a liar about noise decrypts with the noise that it should have sent, and so another sum than the rest
    assert set(faulty(world, request_id, cells)) == {liar.name}
    left_out = {liar.name} if lie == "noise" else set()
    assert world.values(request_id, cells) == noisy(world, request_id, left_out)


def test_nobody_but_the_buyer_reads_anything(world: DepositWorld) -> None:
    """All that the exchange sees, at the end: every frame, Y, and the opened masks. It lacks the pads of the buyer's key."""
    from privacy.sealed_sum import aggregate

    request_id = world.open(SQL)
    world.run(request_id, Stage.DONE)
    session, plan = world.session(request_id), world.plan_of(request_id)
    view = world.chain.view(request_id)
    assert view is not None
    everybody = range(session.n)
    masked = {
        index: payload[: len(payload) - plan.input_rider_size]
        for index, payload in world.payloads(request_id, Kind.MASKED_INPUT).items()
    }
    total = aggregate(
        session,
        cells=plan.cells,
        sharers=everybody,
        masked=masked,
        unmasks=world.payloads(request_id, Kind.UNMASK),
        seed_hashes={session.index_of(h): e.seed_hash for h, e in view.shared.items()},
    )
    seen = np.frombuffer(total.payload[:-32], dtype="<i8").tolist()
    for cells in (seen, [cell % (1 << 32) for cell in seen], [0] * plan.cells):
        with pytest.raises(SumsDisputed):
            world.opening(request_id, cells)


def test_two_trustees_and_everything_that_the_exchange_sees_decrypt_nothing(world: DepositWorld) -> None:
    """c = t − 1 trustees give the exchange the keys of their riders, before anything was sealed."""
    request_id = world.open(SQL)
    world.run(request_id, Stage.CONTRIBUTED)
    session, plan = world.session(request_id), world.plan_of(request_id)
    cells, view = np.zeros(plan.cells, dtype=np.int64), world.chain.view(request_id)
    assert view is not None
    for member in world.members[:2]:
        stored = member.store.request(request_id)
        vector = member.machine._computations[plan.kind].vector(stored, view, session, plan)
        assert vector is not None
        cells += vector
    with pytest.raises(SumsDisputed, match="fewer than 3"):
        world.opening(request_id, cells.tolist())


def test_a_restart_after_every_step_sends_the_same_bytes(world: DepositWorld) -> None:
    request_id = world.open(SQL)
    seen: dict[tuple[str, int], set[bytes]] = {}
    for _ in range(8):
        world.step(request_id)
        world.seal_if_due(request_id)
        world.answer_if_due(request_id, world.members)
        for member in world.members:
            member.store.engine.dispose()
            world.start(member)
            for kind in (Kind.BUNDLE, Kind.MASKED_INPUT):
                message = member.store.message(request_id, kind)
                if message is not None:
                    seen.setdefault((member.name, int(kind)), set()).add(message.frame)
    assert len(seen) == 10
    assert {len(frames) for frames in seen.values()} == {1}
    assert world.values(request_id, world.answer(request_id)) == noisy(world, request_id)


def test_a_crash_before_anything_is_stored_makes_the_same_riders_again(world: DepositWorld) -> None:
    request_id = world.open(SQL)
    world.step(request_id)
    world.chain.block = world.chain.view(request_id).opened.request.approve_by + 1  # type: ignore[union-attr]
    member, made = world.members[0], []
    session, plan = world.session(request_id), world.plan_of(request_id)
    for _ in range(2):
        stored = member.store.request(request_id)
        computation = member.machine._computations[plan.kind]
        vector = computation.vector(stored, world.chain.view(request_id), session, plan)  # type: ignore[arg-type]
        assert vector is not None
        bundle = computation.bundle_rider(stored, session, plan)
        made.append((vector.tobytes(), bundle, computation.input_rider(stored, session, plan, {})))
        member.store.engine.dispose()
        world.start(member)
    assert made[0] == made[1]


# --- what a trustee refuses


def refused(world: DepositWorld, member: Member) -> str | None:
    request_id = world.open(SQL)
    for _ in range(3):
        world.step(request_id, only=[member])
    stored = member.store.request(request_id)
    assert stored.stage is Stage.REFUSED
    return stored.reason


def test_a_deposit_that_was_changed_on_disk_is_refused(world: DepositWorld) -> None:
    file = world.deposit_folder / "fragment-00000.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    assert refused(world, world.members[0]) == "DataRefused"


def test_a_share_that_serves_another_deposit_decrypts_nothing(world: DepositWorld) -> None:
    member = world.members[0]
    [bound] = list((member.home / "trustee").glob("*.deposit"))
    bound.write_text("ab" * 32)
    assert refused(world, member) == "DataRefused"
    assert "serves" in (member.store.request(member.store.list_requests(limit=1)[0].request_id).detail or "")


def test_a_missing_deposit_is_refused(world: DepositWorld) -> None:
    (world.deposit_folder / "manifest.json").unlink()
    assert refused(world, world.members[0]) in ("SnapshotChanged", "DataRefused")


# --- taking a deposit in


def other_deposit(world: DepositWorld, folder: Path) -> Deposit:
    header = deposit_policy(world.policy).header(world.policy)
    return write_deposit(folder, header, ceremony()[1], contents() + 1, seed=bytes(32))


def test_one_key_serves_one_deposit(world: DepositWorld, tmp_path: Path) -> None:
    member = world.members[0]
    other = other_deposit(world, tmp_path / "other")
    [asset] = member.settings.assets
    source = DepositSource(other.folder, member.home / "trustee")
    settings = settings_from_mapping(
        GOOD | {"assets": [{"name": LISTING, "source": {"kind": "deposit", "path": "x"}, "policy": "p"}]},
        tmp_path,
    )
    assert isinstance(settings.assets[0].source, DepositSource)
    room = DataRoom(
        type(member.settings)(
            **{
                **_fields(member.settings),
                "assets": (type(asset)(asset.name, asset.title, source, asset.policy_file, asset.key_space),),
            }
        )
    )
    with pytest.raises(KeyUsed):
        room.snapshot(LISTING, world.policy, member.signer, member.asset.asset_id)


def _fields(settings: Any) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in type(settings).__slots__}


def test_the_snapshot_root_is_the_deposits(world: DepositWorld) -> None:
    member = world.members[0]
    told: list[tuple[int, int]] = []
    taken = DataRoom(member.settings).snapshot(
        LISTING, world.policy, member.signer, member.asset.asset_id, progress=lambda a, b: told.append((a, b))
    )
    assert (bytes(taken.root), told) == (bytes(world.deposit().root), [(1, 1)])


def test_a_deposit_of_another_policy_or_without_a_share_is_not_registered(world: DepositWorld) -> None:
    member = world.members[0]
    other = Policy.from_mapping({**world_policy(), "rows_max": 999, "listing": LISTING})
    room = DataRoom(member.settings)
    with pytest.raises(SchemaMismatch, match="another policy"):
        room.snapshot(LISTING, other, member.signer, member.asset.asset_id)
    for path in (member.home / "trustee").glob("*.share"):
        path.unlink()
    with pytest.raises(ShareMissing):
        room.snapshot(LISTING, world.policy, member.signer, member.asset.asset_id)
    with pytest.raises(SchemaMismatch, match="no trustee"):
        room.snapshot(LISTING, world.policy, world.buyer, member.asset.asset_id)


def test_a_share_on_disk_is_sealed_under_the_account(world: DepositWorld) -> None:
    first, second = world.members[:2]
    _, key, shares = ceremony()
    stored = b"".join(path.read_bytes() for path in (first.home / "trustee").iterdir())
    for share in shares:
        assert share.secret.to_bytes(32, "big") not in stored
    copied = TrusteeKeys(first.home / "trustee", second.signer)
    with pytest.raises(Exception, match="does not open"):
        copied.share(key)
    with pytest.raises(KeyUsed):
        copied.require_bound(key, hashlib.sha256(b"other").digest())
    with pytest.raises(KeyUsed):
        copied.bind(key, PrivacyDigest(bytes(32)))


def test_a_deposit_is_no_table(world: DepositWorld, tmp_path: Path) -> None:
    member = world.members[0]
    plan = world.plan(SQL)
    with pytest.raises((SnapshotChanged, Exception), match="no rows"):
        DataRoom(member.settings).cells(member.asset, plan)
