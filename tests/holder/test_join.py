"""A private join by two real holders: its answer, what a lying peer or exchange does to it, and what is left on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from holder.errors import ExchangeMalformed, VaultLocked
from holder.join_key import JoinKey
from holder.join_store import JoinStore, Round
from holder.types import Hold, Stage
from holder.vault import Vault
from ledger.types import Digest
from privacy.join.kind import JoinPlan
from privacy.messages import Kind, decode_frame
from tests.holder.join_tables import Row, bank_rows, power_rows
from tests.holder.join_world import KEY, SHORT, SQL, JoinWorld, customer, meter, parts_sent, payloads
from tests.holder.world import Member, signer_for
from tests.privacy.paillier_world import stream


def small(home: Path) -> JoinWorld:
    """Three customers, of which two have meters; one has two, another company has one."""
    bank = [customer(key, n) for n, key in enumerate(("甲公司", "乙公司", "丙公司"))]
    power = [meter(key, n, 10.0 * (n + 1)) for n, key in enumerate(("甲公司", "甲公司", "丙公司", "丁公司"))]
    return JoinWorld(home / "world", bank, power)


@pytest.fixture
def world(tmp_path: Path) -> JoinWorld:
    return small(tmp_path)


def require_plain(world: JoinWorld, sql: str = SHORT) -> list[int]:
    request_id = world.open(sql)
    world.run(request_id, Stage.DONE)
    found = world.sums(request_id)
    assert found == world.plain(world.plan_of(request_id))
    return found


def stages(world: JoinWorld, request_id: Digest) -> list[tuple[str, str | None]]:
    found = [member.store.request(request_id) for member in world.members]
    return [(each.stage.value, each.reason) for each in found]


# --- the answer ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_groups_of_both_sides_have_the_sums_of_the_joined_table(tmp_path: Path) -> None:
    found = require_plain(JoinWorld(tmp_path / "world", bank_rows(60), power_rows(100)), SQL)
    assert sum(map(bool, found)) > 10


COMPANIES = tuple(f"公司{number}" for number in range(12))
NONE: list[Row] = []


@pytest.mark.parametrize(
    ("bank", "power", "pairs"),
    [
        (NONE, [meter("甲", 1, 5.0)], 0),
        ([customer("甲", 1)], NONE, 0),
        (NONE, NONE, 0),
        ([customer("甲", 1), customer("乙", 2)], [meter("丙", 1, 5.0), meter("丁", 2, 5.0)], 0),
        ([customer(key, n) for n, key in enumerate(COMPANIES)], [meter(key, n, 7.5) for n, key in enumerate(COMPANIES)], 12),
        ([customer("甲", n) for n in range(5)], [meter("甲", n, 2.5) for n in range(7)], 6),
        ([customer(None, 1), customer("?", 2), customer("甲", 3)], [meter(None, 1, 1.0), meter("?", 2, 1.0)], 0),
    ],
    ids=["no customer", "no meter", "nothing", "none matches", "all match", "duplicates are capped at 2·3", "no key"],
)  # fmt: skip
def test_a_join_of_any_shape_is_the_plain_one(
    tmp_path: Path, bank: list[Row], power: list[Row], pairs: int
) -> None:
    world = JoinWorld(tmp_path / "world", bank, power)
    assert require_plain(world)[0] == pairs << world.plan(SHORT).lanes[0].grid_bits


@pytest.mark.parametrize(
    ("rule", "one", "other"),
    [
        ("uscc", "91441900MA4UN7RR9U", " ９１４４１９００-ma4un7rr9u"),
        ("id_number", "441900850314123", "441900198503141234"),
        ("id_number", "44190019850314123４", "441900850314123"),
        ("phone", "+86 138-0013-8000", "１３８００１３８０００"),
        ("name", "阿依古丽·买买提", "阿依古丽买买提"),
    ],
)
def test_one_key_written_in_two_ways_is_one_key(tmp_path: Path, rule: str, one: str, other: str) -> None:
    from privacy.join import Rule, normalise

    assert normalise(Rule(rule), one) == normalise(Rule(rule), other)
    wrong = [customer("错误的号码", 2)] if rule not in ("name",) else []
    bank, power = [customer(one, 1), *wrong], [meter(other, 1, 3.0), meter("另一个号码", 2, 4.0)]
    world = JoinWorld(tmp_path / "world", bank, power, rule=rule)
    assert require_plain(world)[0] == 1 << world.plan(SHORT).lanes[0].grid_bits


def test_both_shares_alone_are_noise(world: JoinWorld) -> None:
    """A holder's cells without the other's say nothing: limbs of a number that is uniform to 2^-40."""
    request_id = world.open(SHORT)
    world.run(request_id, Stage.SHARED)
    for member in world.members:
        cells = world.cells_of(member, request_id)
        assert all(0 <= cell < 1 << 48 for cell in cells)
        assert max(cell.bit_length() for cell in cells) > 40


# --- a peer that lies or is silent --------------------------------------------------------------------------------


def resigned(world: JoinWorld, member: Member, request_id: Digest, payload: bytes) -> bytes:
    """A frame of a member with another payload, signed by it."""
    session = world.session(request_id)
    mail = member.machine._mail
    return mail.sign(Kind.JOIN, session, session.index_of(member.address), payload).frame


BAD_ELEMENT = b"\xff" * 32
LIES: list[tuple[str, int, Callable[[bytes], bytes]]] = [
    ("another element", 1, lambda p: p[: 5 + 36] + BAD_ELEMENT + p[5 + 36 + 32 :]),
    ("of another join", 1, lambda p: p[: 5 + 4] + bytes(32) + p[5 + 36 :]),
    ("no Paillier key", 2, lambda p: p[: 5 + 36] + bytes(40) + p[5 + 36 + 40 :]),
    ("a key twice", 2, lambda p: p[: 5 + 36 + 391] + p[5 + 36 + 391 :][:32] * 2 + p[5 + 36 + 391 + 64 :]),
    ("no ciphertext", 3, lambda p: p[: 5 + 36] + bytes(768)),
    ("a ciphertext of what is too large", 3, lambda p: p[: 5 + 36] + p[5 + 36 : -8] + b"\x01" * 8),
]


@pytest.mark.parametrize(("number", "lie"), [lie[1:] for lie in LIES], ids=[lie[0] for lie in LIES])
def test_a_peer_that_signs_another_message_is_refused_by_name_and_everything_is_released(
    world: JoinWorld, number: int, lie: Callable[[bytes], bytes]
) -> None:
    request_id = world.open(SHORT)
    liar, honest = (world.power, world.bank) if number == 2 else (world.bank, world.power)
    take = world.broker.take

    def passed_on(sender: object, request: Digest, data: bytes) -> object:
        taken = take(sender, request, data)  # type: ignore[arg-type]
        frame = decode_frame(data)
        if frame.kind is Kind.JOIN and frame.payload[0] == number:
            world.broker.parts[request, number][0] = resigned(world, liar, request, lie(frame.payload))
        return taken

    world.broker.take = passed_on  # type: ignore[method-assign,assignment]
    for _ in range(4):
        world.step(request_id)
    stored = honest.store.request(request_id)
    assert (stored.stage, stored.reason) == (Stage.REFUSED, "JoinMismatch")
    assert not any(key in (stored.detail or "") for key in ("甲公司", "乙公司", "丙公司"))
    world.chain.mine(20)
    world.step(request_id)
    world.chain.close(request_id)
    world.step(request_id)
    assert {member.store.request(request_id).hold for member in world.members} == {Hold.RELEASED}
    assert [(line.reserved, line.spent) for m in world.members for line in m.store.lines()] == [(0, 0)] * 2
    assert not any(JoinStore(member.store.engine).holds(request_id) for member in world.members)


@pytest.mark.parametrize("silent", [0, 1])
def test_a_silent_peer_costs_the_share_window_and_nothing_more(world: JoinWorld, silent: int) -> None:
    request_id = world.open(SHORT)
    world.step(request_id)
    awake = world.members[1 - silent]
    for _ in range(3):
        world.step(request_id, only=[awake])
    assert awake.store.request(request_id).stage is Stage.APPROVED
    world.chain.mine(20)
    world.step(request_id, only=[awake])
    stored = awake.store.request(request_id)
    assert (stored.stage, stored.reason) == (Stage.REFUSED, "DeadlineTooNear")
    world.chain.close(request_id)
    world.step(request_id)
    assert {member.store.request(request_id).hold for member in world.members} == {Hold.RELEASED}


def test_a_side_whose_own_rounds_take_too_long_gives_up_by_name(world: JoinWorld) -> None:
    request_id = world.open(SHORT)
    world.step(request_id)
    member, due = world.bank, world.broker.published[request_id].request.share_by
    heights = iter([due - 1, due])  # the window ends while the first round is made
    chain = member.machine._computations[world.plan(SHORT).kind]._chain  # type: ignore[attr-defined]
    chain.head = lambda: next(heights, due)
    world.step(request_id, only=[member])
    stored = member.store.request(request_id)
    assert (stored.stage, stored.reason) == (Stage.REFUSED, "DeadlineTooNear")
    assert parts_sent(world) == {}


# --- an exchange that lies ----------------------------------------------------------------------------------------


def flipped(frames: list[bytes]) -> bytes:
    return b"".join(frame[:-1] + bytes([frame[-1] ^ 1]) for frame in frames)


def strangers(world: JoinWorld) -> Callable[[list[bytes]], bytes]:
    """Signs every part with a key of the exchange's own."""

    def tamper(frames: list[bytes]) -> bytes:
        found = []
        for frame in map(decode_frame, frames):
            signature = world.broker.signer.sign(Digest(frame.message_hash))
            found.append(
                type(frame)(frame.kind, frame.session, frame.sender, frame.payload, signature).encode()
            )
        return b"".join(found)

    return tamper


@pytest.mark.parametrize(
    "lie", ["altered", "twice", "signed by another", "nonsense", "own part", "backwards"]
)
def test_what_the_other_side_did_not_sign_is_not_taken_and_a_true_part_still_is(
    world: JoinWorld, lie: str
) -> None:
    request_id = world.open(SHORT)
    own: list[bytes] = []
    lies: dict[str, Callable[[list[bytes]], bytes]] = {
        "altered": flipped,
        "twice": lambda frames: b"".join(frames * 2),
        "signed by another": strangers(world),
        "nonsense": lambda frames: b"no frame" if frames else b"",
        "own part": lambda frames: own[0] if frames else b"",
        "backwards": lambda frames: b"".join(frame[::-1] for frame in frames),
    }
    world.step(request_id)
    world.step(request_id, only=[world.bank])
    own += [world.broker.parts[request_id, 1][0]]
    world.broker.tamper_parts = lies[lie]
    if lie == "own part":  # what the power company answers, given back to it
        world.broker.tamper_parts = b"".join
        world.step(request_id, only=[world.power])
        own[:] = [world.broker.parts[request_id, 1][0]]
        world.broker.tamper_parts = lies[lie]
    victim = world.bank if lie == "own part" else world.power
    with pytest.raises(ExchangeMalformed):
        victim.machine.step(request_id)
    assert victim.store.request(request_id).stage is Stage.APPROVED
    world.broker.tamper_parts = b"".join
    world.run(request_id, Stage.DONE)
    assert world.sums(request_id) == world.plain(world.plan_of(request_id))


def test_parts_that_are_dropped_are_waited_for(world: JoinWorld) -> None:
    request_id = world.open(SHORT)
    world.broker.tamper_parts = lambda frames: b""
    for _ in range(4):
        world.step(request_id)
    assert stages(world, request_id) == [("APPROVED", None)] * 2
    world.broker.tamper_parts = b"".join
    world.run(request_id, Stage.DONE)
    assert world.sums(request_id) == world.plain(world.plan_of(request_id))


def test_an_exchange_that_has_other_parts_of_ours_means_a_restored_backup(world: JoinWorld) -> None:
    request_id = world.open(SHORT)
    world.step(request_id)
    world.broker.parts[request_id, 1] = {0: b"other bytes"}
    world.step(request_id, only=[world.bank])
    stored = world.bank.store.request(request_id)
    assert (stored.stage, stored.reason) == (Stage.REFUSED, "RestoredBackup")


# --- what is on disk ----------------------------------------------------------------------------------------------


def test_own_parts_are_gone_once_the_vector_is_stored_and_their_hashes_stay(world: JoinWorld) -> None:
    """What the other side sent stays: an audit cannot make it again."""
    request_id = world.open(SHORT)
    for _ in range(2):
        world.step(request_id)
    assert JoinStore(world.power.store.engine).holds(request_id)
    world.run(request_id, Stage.SHARED)
    session = Digest(world.session(request_id).id)
    for member, own in ((world.bank, {1, 3}), (world.power, {2})):
        parts = JoinStore(member.store.engine)
        rounds = {number: Round(request_id, session, number) for number in (1, 2, 3)}
        assert {number for number, each in rounds.items() if not list(parts.read(each))} == own
        assert all(parts.hashes(each) for each in rounds.values())


def test_the_rounds_of_a_request_are_of_one_session_only(world: JoinWorld) -> None:
    request_id = world.open(SHORT)
    for _ in range(2):
        world.step(request_id)
    from ledger.types import Approved

    changed = next(event for event in world.chain.events if isinstance(event, Approved))
    object.__setattr__(changed, "e_x", world.keys[request_id].x)
    world.step(request_id)
    assert ("REFUSED", "SessionChanged") in stages(world, request_id)


def test_the_key_is_made_once_sealed_and_of_this_holder_alone(world: JoinWorld, tmp_path: Path) -> None:
    engine, vault = world.power.store.engine, Vault(world.power.signer)
    first = JoinKey(engine, vault, stream("never drawn from")).take()
    assert JoinKey(engine, vault, stream("nor from this")).take() == first
    engine.dispose()
    stored = b"".join(path.read_bytes() for path in world.power.home.glob("holder.db*"))
    for prime in (first.p, first.q):
        for order in ("big", "little"):
            assert prime.to_bytes(192, order)[8:-8] not in stored
    with pytest.raises(VaultLocked):
        JoinKey(engine, Vault(signer_for("a stranger")), stream("x")).take()


def test_neither_side_stores_a_key_of_the_other(world: JoinWorld) -> None:
    request_id = world.open(SHORT)
    world.run(request_id, Stage.DONE)
    only = {"bank": "乙公司", "power": "丁公司"}
    for member, foreign in ((world.power, only["bank"]), (world.bank, only["power"])):
        member.store.engine.dispose()
        disk = b"".join(path.read_bytes() for path in member.home.glob("holder.db*"))
        text = foreign.encode()
        for form in (text, text.hex().encode(), hashlib.sha256(text).digest(), foreign.encode("utf-16-le")):
            assert form not in disk
    frames = b"".join(frame for found in parts_sent(world).values() for frame in found)
    for row in (*world.bank.rows, *world.power.rows):
        assert str(row[KEY]).encode() not in frames


def test_the_plan_fixes_the_length_of_every_part(tmp_path: Path) -> None:
    """Nothing, one row and a full list look alike on the wire."""
    sizes = []
    for rows in (0, 1, 60):
        bank = [customer(f"甲{n}", n) for n in range(rows)]
        power = [meter(f"甲{n}", n, 1.0) for n in range(rows)]
        world = JoinWorld(tmp_path / f"world{rows}", bank, power)
        request_id = world.open(SHORT)
        world.run(request_id, Stage.SHARED)
        terms = world.plan_of(request_id).terms
        assert isinstance(terms, JoinPlan)
        sizes.append([[len(part) for part in payloads(world, request_id, number)] for number in (1, 2, 3)])
    assert sizes[0] == sizes[1] == sizes[2]
