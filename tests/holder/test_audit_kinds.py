"""The audit of a join's two sides and of a deposit's trustee: an honest part passes, every other one is named at its step."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from holder.audit import AuditStatus, AuditVerdict
from holder.audit_bundle import open_sealed
from holder.audit_messages import OPENING, AuditMessages, Entry, seal_entries
from holder.data import DataRoom
from holder.deposit import noise_rider, sealing_key
from holder.join import JoinComputation, join_cells, join_seed
from holder.join_data import SideRows
from holder.join_key import JoinKey
from holder.join_store import JoinStore
from holder.session_secrets import SessionSecrets
from holder.settings import DepositSource
from holder.snapshot import snapshot_salt_key
from holder.types import Stage
from holder.vault import Vault
from ledger.types import Digest
from privacy.join import MatcherState, Rule, from_limbs, matcher_round3, normalise_key
from privacy.join.lists import hash_keys
from privacy.join.terms import SHARE_MODULUS
from privacy.messages import Kind
from privacy.noise import NoiseSource
from privacy.paillier import encrypt
from privacy.ristretto import clamped, multiply_all
from privacy.terms import PlanKind
from tests.holder.deposit_world import SQL, DepositWorld, ceremony
from tests.holder.join_world import SHORT, JoinWorld, customer, meter
from tests.holder.test_audit import Case, Shown, failed_at, register_rows
from tests.holder.test_deposit import Lying
from tests.holder.world import Member
from tests.privacy.paillier_world import owner, stream, uniform

ONLY_BANK, ONLY_POWER = "乙公司", "丁公司"
COMMON = ["request and plan", "roster and session", "seed", "rows"]
Lie = Callable[[JoinWorld], None]


def join_world(home: Path) -> JoinWorld:
    bank = [customer(key, n) for n, key in enumerate(("甲公司", ONLY_BANK, "丙公司"))]
    power = [meter(key, n, 10.0 * n + 5) for n, key in enumerate(("甲公司", "甲公司", "丙公司", ONLY_POWER))]
    return JoinWorld(home / "world", bank, power)


class KindCase(Case):
    """A request of another kind, whose parties may lie from its first step on."""

    def __init__(
        self, world: Any, sql: str, *, until: Stage, lie: Callable[[Any], None] | None = None
    ) -> None:
        self.key, self.world = X25519PrivateKey.generate(), world
        self.admit(self.key)
        if lie is not None:
            lie(world)
        self.request_id = world.open(sql)
        world.run(self.request_id, until)
        self.member, self.chain = world.members[0], Shown(world)

    def brought(self) -> list[Entry]:
        """What the regulator finds in the file."""
        bundle = self.bundle()
        key = open_sealed(bundle, self.key).messages_key
        with AuditMessages(self.messages, key, bundle.context) as file:
            places = [(kind, sender) for kind in range(5) for sender in range(8)]
            return [Entry(*place, payload) for place in places for payload in file.of(*place)]

    def audit_with(self, change: Callable[[Entry], Entry | None]) -> AuditVerdict:
        """Audit what a holder brings that changes its messages before it seals them."""
        bundle = self.bundle()
        key = open_sealed(bundle, self.key).messages_key
        with AuditMessages(self.messages, key, bundle.context) as file:
            found = [
                Entry(kind, sender, each)
                for kind in range(5)
                for sender in range(8)
                for each in file.of(kind, sender)
            ]
        changed = [new for entry in found if (new := change(entry)) is not None]
        self.messages.write_bytes(b"".join(seal_entries(changed, key, bundle.context)))
        return self.audit(bundle)


def join_case(home: Path, lie: Lie | None = None, until: Stage = Stage.CONTRIBUTED) -> KindCase:
    world = join_world(home)
    for member in world.members:
        register_rows(world, member)
    JoinKey(world.power.store.engine, Vault(world.power.signer), stream("paillier key")).take()
    return KindCase(world, SHORT, until=until, lie=lie)


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> KindCase:
    return join_case(tmp_path_factory.mktemp("join"), until=Stage.DONE)


@pytest.fixture(scope="module")
def deposited(tmp_path_factory: pytest.TempPathFactory) -> KindCase:
    return KindCase(DepositWorld(tmp_path_factory.mktemp("deposit") / "world"), SQL, until=Stage.DONE)


@pytest.fixture(autouse=True)
def unchanged(request: pytest.FixtureRequest) -> None:
    for name in ("joined", "deposited"):
        if name in request.fixturenames:
            request.getfixturevalue(name).chain.changed.clear()


def computation(member: Member) -> JoinComputation:
    found = member.machine._computations[PlanKind.JOIN]
    assert isinstance(found, JoinComputation)
    return found


# --- a private join --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [0, 1], ids=["matcher", "value side"])
def test_each_side_of_an_honest_join_passes(joined: KindCase, side: int) -> None:
    joined.member = joined.world.members[side]
    verdict = joined.audit()
    assert verdict.status is AuditStatus.PASSED, verdict
    assert [step.name for step in verdict.steps] == [*COMMON, "rounds", "contribution"]


def test_sides_that_fixed_their_part_and_never_opened_it_are_audited_too(joined: KindCase) -> None:
    joined.member = joined.world.members[0]
    view = joined.world.chain.view(joined.request_id)
    assert view is not None
    joined.chain.changed["view"] = replace(view, contributed={})
    verdict = joined.audit()
    assert verdict.status is AuditStatus.PASSED
    assert "never opened" in verdict.steps[-1].detail


def share_cells(
    case: KindCase, change: Callable[[NDArray[np.int64]], NDArray[np.int64]]
) -> NDArray[np.int64]:
    """The cells of a side that adds other noise to its share."""
    cells = case.world.cells_of(case.member, case.request_id)
    noise = case.noise(case.source)
    share = [(a - int(b)) % SHARE_MODULUS for a, b in zip(from_limbs(cells), noise, strict=True)]
    same = join_cells(case.plan, in_rounds(case, share), noise)
    assert same.tolist() == cells
    return join_cells(case.plan, in_rounds(case, share), change(noise))


def in_rounds(case: KindCase, share: list[int]) -> list[int]:
    """A share in the order of the rounds; with one group on both sides it is the plan's."""
    assert case.plan.groups == 1
    return share


@pytest.mark.parametrize("side", [0, 1], ids=["matcher", "value side"])
@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (lambda noise: 0 * noise, "without any noise"),
        (lambda noise: noise // 2, "share of the sums with the noise"),
        (lambda noise: noise + 1, "share of the sums with the noise"),
    ],
    ids=["none", "halved", "a share that is one more"],
)
def test_a_side_with_other_noise_is_named(joined: KindCase, side: int, lie: Any, said: str) -> None:
    joined.member = joined.world.members[side]
    joined.contributed(share_cells(joined, lie))
    assert said in failed_at(joined.audit(), "contribution")


def test_a_side_with_noise_of_another_seed_is_named(joined: KindCase) -> None:
    joined.member = joined.world.members[1]
    other = joined.noise(replace(joined.source, seed=secrets.token_bytes(32)))
    joined.contributed(share_cells(joined, lambda noise: other))
    failed_at(joined.audit(), "contribution")


class FewerRows(DataRoom):
    """The rows of a side but for one key, or its first measurement."""

    def join_side(self, stored: Any, plan: Any) -> SideRows:
        rows = super().join_side(stored, plan)
        if rows.sublists is not None:
            return replace(rows, sublists=tuple(each[1:] for each in rows.sublists))
        assert rows.values is not None
        numbers = rows.values.numbers.copy()
        numbers[0] = 0
        return replace(rows, values=replace(rows.values, numbers=numbers))


class OtherSeed(SessionSecrets):
    """Redraws what the approval had fixed."""

    def noise_source(self, request_id: Digest, session: Any) -> NoiseSource:
        return replace(super().noise_source(request_id, session), seed=bytes(range(32)))


def leaves_a_row_out(number: int) -> Lie:
    def lie(world: JoinWorld) -> None:
        member = world.members[number]
        computation(member)._data = FewerRows(member.settings)

    return lie


def draws_again(number: int) -> Lie:
    def lie(world: JoinWorld) -> None:
        member = world.members[number]
        computation(member)._secrets = OtherSeed(member.store)

    return lie


def adds_what_did_not_match(world: JoinWorld) -> None:
    """The matcher adds something to the encrypted sums that is no match."""
    own = computation(world.bank)
    honest, n_square = own._match, owner().public.n_square

    def match(stored: Any, view: Any, mail: Any, state: MatcherState) -> Any:
        if mail.is_written(1) and mail.fetch(2):
            made = matcher_round3(state, mail.read(2))
            (part,) = made.parts
            number = int.from_bytes(part[-768:], "big")
            more = encrypt(uniform(), [1]).values[0]
            raised = int(number * more % n_square).to_bytes(768, "big")
            own._matched[stored.request_id] = replace(made, parts=(part[:-768] + raised,))
        return honest(stored, view, mail, state)

    own._match = match  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("number", "lie", "said"),
    [
        (0, leaves_a_row_out(0), "round 1 is not that of these rows"),
        (1, leaves_a_row_out(1), "round 2 is not that of these rows"),
        pytest.param(
            0, draws_again(0), "round 1 is not that of these rows and this seed", marks=pytest.mark.slow
        ),
        (1, draws_again(1), "round 2 is not that of these rows and this seed"),
    ],
    ids=["a row of the matcher", "a row of the value side", "the matcher draws again", "dummies drawn again"],
)
def test_a_side_whose_rounds_are_of_other_rows_or_another_seed_is_named(
    tmp_path: Path, number: int, lie: Lie, said: str
) -> None:
    case = join_case(tmp_path, lie)
    case.member = case.world.members[number]
    assert said in failed_at(case.audit(), "rounds")
    case.member = case.world.members[1 - number]
    assert case.audit().status is AuditStatus.PASSED  # the other side did what it had to


def test_a_matcher_whose_third_round_is_not_that_of_the_second_is_named(tmp_path: Path) -> None:
    case = join_case(tmp_path, adds_what_did_not_match)
    assert "round 3 is not that" in failed_at(case.audit(), "rounds")


def test_a_side_that_fixes_other_rounds_than_were_sent_is_not_followed(tmp_path: Path) -> None:
    def lie(world: JoinWorld) -> None:
        own = computation(world.bank)
        own.bundle_rider = lambda *_: bytes(96)  # type: ignore[method-assign]
        own.input_rider = lambda *_: b""  # type: ignore[method-assign]

    world = join_world(tmp_path)
    for member in world.members:
        register_rows(world, member)
    with pytest.raises(AssertionError, match="JoinMismatch"):
        KindCase(world, SHORT, until=Stage.CONTRIBUTED, lie=lie)
    (request_id,) = world.broker.published
    case = KindCase.__new__(KindCase)
    case.key, case.world, case.request_id = X25519PrivateKey.generate(), world, request_id
    case.admit(case.key, "another")
    case.member, case.chain = world.bank, Shown(world)
    view = world.chain.view(request_id)
    assert view is not None
    assert set(view.contributed) == {world.bank.address}
    assert "had fixed other rounds" in failed_at(case.audit(), "rounds")
    case.member = world.power
    verdict = case.audit()
    assert (verdict.status, verdict.steps[-1].name) == (AuditStatus.UNKNOWN, "rounds")


def parts_of(entry: Entry, number: int) -> bool:
    return entry.kind == Kind.JOIN and entry.payload[0] == number


@pytest.mark.parametrize(
    ("side", "change", "status", "said"),
    [
        (0, lambda e: None if parts_of(e, 2) else e, AuditStatus.UNKNOWN, "round 2 was not brought"),
        (1, lambda e: None if parts_of(e, 3) else e, AuditStatus.UNKNOWN, "round 3 was not brought"),
        (1, lambda e: None if e.kind == OPENING else e, AuditStatus.UNKNOWN, "opens the third round"),
        (0, lambda e: None if e.kind == Kind.BUNDLE else e, AuditStatus.UNKNOWN, "was not brought"),
        (0, lambda e: flipped(e) if parts_of(e, 2) else e, AuditStatus.FAILED, "both sides fixed"),
        (1, lambda e: flipped(e) if parts_of(e, 1) else e, AuditStatus.FAILED, "both sides fixed"),
        (1, lambda e: flipped(e) if e.kind == OPENING else e, AuditStatus.FAILED, ""),
        (1, lambda e: cut(e) if e.kind == OPENING else e, AuditStatus.FAILED, "cannot be used"),
        (0, lambda e: flipped(e) if e.kind == Kind.BUNDLE else e, AuditStatus.FAILED, "the chain has"),
    ],
    ids=[
        "no second round",
        "no third round",
        "no opening",
        "no bundles",
        "another second round",
        "another first round",
        "another root",
        "a root less",
        "another bundle",
    ],
)  # fmt: skip
def test_what_a_side_leaves_out_or_changes_in_what_it_brings_is_said(
    joined: KindCase, side: int, change: Any, status: AuditStatus, said: str
) -> None:
    joined.member = joined.world.members[side]
    verdict = joined.audit_with(change)
    assert (verdict.status, verdict.steps[-1].name) == (status, "rounds")
    assert said in verdict.steps[-1].detail


def flipped(entry: Entry) -> Entry:
    return replace(entry, payload=entry.payload[:-1] + bytes([entry.payload[-1] ^ 1]))


def cut(entry: Entry) -> Entry:
    return replace(entry, payload=entry.payload[:-384])


def test_messages_that_are_not_there_or_changed_on_their_way_say_so(joined: KindCase) -> None:
    joined.member = joined.world.members[0]
    bundle = joined.bundle()
    data = joined.messages.read_bytes()
    for wrong in (data[:-1], data[:-1] + bytes([data[-1] ^ 1]), data[4:], data + b"\0", data * 2):
        joined.messages.write_bytes(wrong)
        assert "cannot be used" in failed_at(joined.audit(bundle), "rounds")
    joined.messages.unlink()
    verdict = joined.audit(bundle)
    assert (verdict.status, verdict.steps[-1].name) == (AuditStatus.UNKNOWN, "rounds")
    joined.bundle()
    assert "cannot be used" in failed_at(
        joined.audit(bundle), "rounds"
    )  # of another folder of the same request


@pytest.mark.parametrize(("side", "foreign"), [(0, ONLY_POWER), (1, ONLY_BANK)])
def test_the_regulator_gets_no_key_of_the_other_side(joined: KindCase, side: int, foreign: str) -> None:
    """Not in clear, not without the other side's blinding, and no secret of that side."""
    joined.member = joined.world.members[side]
    session = joined.world.session(joined.request_id).id
    brought = b"".join(entry.to_bytes() for entry in joined.brought())
    assert len(brought) > 4000
    key = normalise_key(Rule("text"), foreign)
    assert key is not None
    hashed = hash_keys(session, [(key, copy) for copy in range(2)])
    role = ("matcher", "value")[side]
    from privacy.join.randomness import Stream

    scalar = clamped(Stream(join_seed(joined.source), session, f"{role}-blind").read(32))
    others = joined.world.source(joined.world.members[1 - side], joined.request_id)
    forms = [foreign.encode(), key, others.seed, join_seed(others)]
    forms += [row.tobytes() for rows in (hashed, multiply_all(scalar, hashed)) for row in rows]
    assert not [form for form in forms if form in brought]


def test_no_secret_of_a_side_is_in_the_open_and_its_paillier_key_in_nothing(joined: KindCase) -> None:
    world, hidden = joined.world, []
    everything = b"".join(world.broker.frames.values()) + repr(world.chain.events).encode()
    for frames in world.broker.parts.values():
        everything += b"".join(frames.values())
    with structlog.testing.capture_logs() as logs:
        for member in world.members:
            joined.member = member
            bundle, verdict = joined.bundle(), joined.audit()
            opened = open_sealed(bundle, joined.key)
            everything += joined.messages.read_bytes() + bundle.to_bytes() + repr((opened, verdict)).encode()
            hidden += [joined.source.seed, join_seed(joined.source), opened.messages_key]
            hidden += [snapshot_salt_key(member.signer, member.asset.asset_id)]
    everything += repr(logs).encode()
    everything += b"".join(path.read_bytes() for path in world.home.rglob("holder.db*"))
    primes = [prime.to_bytes(192, order) for prime in (owner().p, owner().q) for order in ("big", "little")]
    for secret in (*hidden, *primes):
        for form in (secret, secret.hex().encode(), str(int.from_bytes(secret, "big")).encode()):
            assert form not in everything
    joined.member = world.power
    brought = b"".join(entry.to_bytes() for entry in joined.brought())
    assert not [prime for prime in primes if prime in brought]


def test_the_rounds_of_the_other_side_stay_for_an_audit_and_the_own_ones_go(joined: KindCase) -> None:
    for member, received in zip(joined.world.members, ({2}, {1, 3}), strict=True):
        joined.member = member
        found = {entry.payload[0] for entry in joined.brought() if entry.kind == Kind.JOIN}
        assert found == received
        assert JoinStore(member.store.engine).holds(joined.request_id)


# --- an encrypted deposit --------------------------------------------------------------------------------------------


def test_every_trustee_of_an_honest_sum_passes(deposited: KindCase) -> None:
    for member in deposited.world.members[:2]:
        deposited.member = member
        verdict = deposited.audit()
        assert verdict.status is AuditStatus.PASSED, verdict
        assert [step.name for step in verdict.steps] == [*COMMON, "noise", "decryption", "contribution"]


def test_a_trustee_that_fixed_its_part_and_never_opened_it_is_audited_too(deposited: KindCase) -> None:
    deposited.member = deposited.world.members[1]
    view = deposited.world.chain.view(deposited.request_id)
    assert view is not None
    deposited.chain.changed["view"] = replace(view, contributed={})
    verdict = deposited.audit()
    assert verdict.status is AuditStatus.PASSED
    assert "never sent" in verdict.steps[-2].detail


class Trustee:
    """What a lying trustee makes its part of."""

    def __init__(self, member: Member, stored: Any, session: Any, plan: Any) -> None:
        self.stored, self.session, self.plan = stored, session, plan
        self.source = member.machine._secrets.noise_source(stored.request_id, session)
        self._own: Any = member.machine._computations[PlanKind.DEPOSIT]

    def scaled(self) -> bytes:
        """Half of its noise, encrypted and proved."""
        return self._noise(lambda noise: noise // 2)

    def huge(self) -> bytes:
        """Noise that spoils the answer."""
        return self._noise(lambda noise: noise + (1 << 40))

    def redrawn(self) -> bytes:
        """Noise of another seed."""
        return noise_rider(self.plan, self.session, replace(self.source, seed=bytes(32)))

    def _noise(self, change: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> bytes:
        from privacy.deposit import encrypt_noise
        from privacy.deposit.terms import deposit_terms
        from privacy.noise import draw_noise_share
        from privacy.prg import derive_key

        terms = deposit_terms(self.plan)
        noise = change(draw_noise_share(self.plan, self.session.params, self.source))
        seed = derive_key(self.source.seed, self.session.id, "deposit-noise", self.source.index, 0)
        trustee = terms.trustee_of(self.session.members[self.source.index].holder)
        return encrypt_noise(terms.key, noise, seed, trustee=trustee, session=self.session.id)

    def decrypted(
        self, riders: Any, change: Callable[[Any, bytes, bytes], tuple[Any, bytes, bytes]]
    ) -> bytes:
        """Sums, partial decryption and key, changed and sealed."""
        from privacy.deposit.opening import partial_of, sum_noise
        from privacy.deposit.riders import seal

        sums, share = self._own._prepared(self.stored, self.plan)
        own = noise_rider(self.plan, self.session, self.source)
        noise = sum_noise(self.plan, self.session, {**riders, self.source.index: own})
        sums, _, key = change(sums, b"", sealing_key(self.source))
        partial = partial_of(self.plan, self.session, share, sums, noise)
        sums, partial, key = change(sums, partial, key)
        return seal(key, self.session.id, self.source.index, sums.encode(), partial)


def less_a_cell(sums: Any, partial: bytes, key: bytes) -> tuple[Any, bytes, bytes]:
    """Leave one of the deposit's cells out of the first sum, before it is decrypted."""
    if partial:
        return sums, partial, key
    return replace(sums, a=[sums.a[1], *sums.a[1:]], b=[sums.b[1], *sums.b[1:]]), partial, key


def another_share(sums: Any, partial: bytes, key: bytes) -> tuple[Any, bytes, bytes]:
    """Alter the first point of the partial decryption: it is that of the second value."""
    return sums, partial[96:192] + partial[96:], key


def another_key(sums: Any, partial: bytes, key: bytes) -> tuple[Any, bytes, bytes]:
    return sums, partial, bytes(32)


@pytest.mark.parametrize(
    ("part", "step", "said"),
    [
        ("scaled", "noise", "not that of this seed"),
        ("huge", "noise", "not that of this seed"),
        ("redrawn", "noise", "not that of this seed"),
        (less_a_cell, "decryption", "not those of the deposit's cells"),
        (another_share, "decryption", "the partial decryption"),
        (another_key, "decryption", "does not open"),
        ("vector", "contribution", "own region"),
    ],
    ids=[
        "scaled",
        "huge",
        "redrawn",
        "a cell left out",
        "a share altered",
        "another key",
        "another's region",
    ],
)
def test_a_trustee_that_lies_is_named_at_its_step(tmp_path: Path, part: Any, step: str, said: str) -> None:
    def lie(world: DepositWorld) -> None:
        member = world.members[0]

        def bundle(stored: Any, session: Any, plan: Any) -> bytes:
            made: bytes = getattr(Trustee(member, stored, session, plan), part)()
            return made

        def sent(stored: Any, session: Any, plan: Any, riders: Any) -> bytes:
            return Trustee(member, stored, session, plan).decrypted(riders, part)

        def vector(stored: Any, view: Any, session: Any, plan: Any) -> NDArray[np.int64]:
            from privacy.deposit.riders import key_cells

            source = Trustee(member, stored, session, plan).source
            cells = key_cells(sealing_key(source), source.index, plan.holders)
            cells[8 * ((source.index + 1) % plan.holders)] += 1
            return cells

        parts: dict[str, Any] = {"bundle_rider": bundle} if isinstance(part, str) else {"input_rider": sent}
        Lying(member, **({"vector": vector} if part == "vector" else parts))

    world = DepositWorld(tmp_path / "world")
    honest = world.members[0].machine._computations
    case = KindCase(world, SQL, until=Stage.CONTRIBUTED, lie=lie)
    world.members[0].machine._computations = honest
    assert said in failed_at(case.audit(), step)
    case.member = world.members[1]
    assert case.audit().status is AuditStatus.PASSED


@pytest.mark.parametrize(
    ("change", "status", "step"),
    [
        (lambda e: None if e.kind == Kind.BUNDLE else e, AuditStatus.UNKNOWN, "noise"),
        (lambda e: None if e.kind == Kind.MASKED_INPUT else e, AuditStatus.UNKNOWN, "decryption"),
        (lambda e: flipped(e) if e.kind == Kind.MASKED_INPUT else e, AuditStatus.FAILED, "decryption"),
        (lambda e: flipped(e) if e.kind == Kind.BUNDLE else e, AuditStatus.FAILED, "noise"),
    ],
    ids=["no bundles", "no masked input", "another masked input", "another bundle"],
)  # fmt: skip
def test_what_a_trustee_leaves_out_or_changes_in_what_it_brings_is_said(
    deposited: KindCase, change: Any, status: AuditStatus, step: str
) -> None:
    deposited.member = deposited.world.members[0]
    verdict = deposited.audit_with(change)
    assert (verdict.status, verdict.steps[-1].name) == (status, step)


def test_a_deposit_in_the_room_that_is_not_the_registered_one_is_named(
    deposited: KindCase, tmp_path: Path
) -> None:
    import shutil

    deposited.member = deposited.world.members[0]
    (asset,) = deposited.member.settings.assets
    assert isinstance(asset.source, DepositSource)
    folder = tmp_path / "deposit"
    shutil.copytree(asset.source.path, folder)
    room = replace(
        deposited.member.settings, assets=(replace(asset, source=DepositSource(folder, asset.source.share)),)
    )
    assert deposited.audit(room=room).status is AuditStatus.PASSED
    file = folder / "fragment-00000.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    assert "not the one that was registered" in failed_at(deposited.audit(room=room), "rows")
    for gone in (file, folder / "manifest.json"):
        gone.unlink()
        verdict = deposited.audit(room=room)
        assert (verdict.status, verdict.steps[-1].name) == (AuditStatus.UNKNOWN, "rows")


def test_the_share_of_the_joint_key_is_in_nothing_that_the_regulator_gets(deposited: KindCase) -> None:
    deposited.member = deposited.world.members[0]
    brought = b"".join(entry.to_bytes() for entry in deposited.brought())
    bundle = deposited.bundle()
    everything = brought + deposited.messages.read_bytes() + bundle.to_bytes()
    for share in ceremony()[2]:
        assert share.secret.to_bytes(32, "big") not in everything
    in_the_open = deposited.messages.read_bytes() + bundle.to_bytes()
    for secret in (deposited.source.seed, sealing_key(deposited.source)):
        assert secret not in in_the_open
