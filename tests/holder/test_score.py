"""Private weights at a holder: whole requests through its machine, the same bytes after a crash, and a dishonest buyer."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from holder.audit import AuditStatus
from holder.types import Stage
from ledger.types import Digest
from privacy.answer import decode_answer
from privacy.errors import PlanRejected
from privacy.noise import draw_noise_share
from privacy.paillier.encrypt import encrypt
from privacy.plan import Plan
from privacy.planning import plan_parameters
from privacy.score.combine import blinding_seed, score_cells, score_terms
from privacy.score.model import EncryptedModel, FixedWeights
from privacy.score.opening import open_scores
from privacy.score.shape import shown_lanes
from tests.holder.tables import Row, expected_cells
from tests.holder.test_audit import Case, Shown, register_rows
from tests.holder.world import LISTING, World
from tests.privacy.paillier_world import owner, short
from tests.privacy.score_world import encrypted, fixed, scores_of, with_model

SQL = f'SELECT "城镇", COUNT(*) AS n, SCORE(kwh, age) AS s FROM {LISTING} GROUP BY "城镇"'
WEIGHTS = fixed("12", "-0.5", "3.25")
HUGE = (1 << 2500, -(1 << 2400), (1 << 3000) - 1)
SCORE_POLICY: dict[str, Any] = {
    "min_holders": 1,
    "dropouts": 0,
    "aggregates": ["count", "score"],
    "score": {"weight_bits": 32, "weight_scale_bits": 16},
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world", holders=1, policy=SCORE_POLICY)


def plan_of(world: World, weights: FixedWeights = WEIGHTS) -> Plan:
    return world.plan(SQL, asked=encrypted(weights).to_json())


def noisy_values(world: World, request_id: Digest, plan: Plan) -> list[int]:
    """The plain sum that the holder would have sealed: its data and its noise, by the same secrets."""
    machine, stored = world.members[0].machine, world.members[0].store.request(request_id)
    [asset] = [member.asset for member in world.members]
    cells = machine._data.cells(asset, plan)
    session = world.session(request_id)
    noise = draw_noise_share(plan, session.params, machine._secrets.noise_source(stored.request_id, session))
    return [int(value) for value in cells + noise]


def test_a_score_is_answered_and_is_the_weighted_noisy_sum(world: World) -> None:
    plan = plan_of(world)
    request_id = world.open(SQL, plan=plan)
    world.run(request_id, Stage.DONE)
    cells = world.answer(request_id)  # the commitment is checked there
    values = noisy_values(world, request_id, plan)
    table = open_scores(plan, plan_parameters(plan), 1, cells, key=owner(), weights=WEIGHTS)
    packed = [owner().decrypt(each) for each in score_terms(plan).ciphertexts(plan, cells).values]
    assert len(packed) == 1
    scores = scores_of(plan, WEIGHTS.weights, values)
    width = 8 * score_terms(plan).layout.slot_bytes
    assert packed[0] == sum(score << width * group for group, score in enumerate(scores))
    assert all(row[2] is not None for row in table.rows)
    assert [(line.reserved, line.spent) for line in world.members[0].store.lines()] == [(0, 1_000_000)]


def test_a_cohort_that_the_policy_opens_for_filtering_is_scored_as_one(world: World) -> None:
    """A cohort is a WHERE: its score is that of its rows alone, in one cell a lane."""
    [member] = world.members
    where = "\"城镇\" = '南山' AND age >= 30"
    sql = f"SELECT SCORE(kwh, age) AS s FROM {LISTING} WHERE {where}"
    plan = world.plan(sql, asked=encrypted(WEIGHTS).to_json())

    def is_in(row: Row) -> bool:
        return bool(row["城镇"] == "南山" and row["age"] >= 30)

    assert 0 < sum(map(is_in, member.rows)) < len(member.rows)
    cells = member.machine._data.cells(member.asset, plan)
    assert cells.tolist() == expected_cells(member.rows, plan, world.policy, is_in)
    request_id = world.open(sql, plan=plan)
    world.run(request_id, Stage.DONE)
    answer = world.answer(request_id)
    table = open_scores(plan, plan_parameters(plan), 1, answer, key=owner(), weights=WEIGHTS)
    [row] = table.rows
    assert row[0] is not None


def test_a_cohort_by_a_column_that_the_policy_keeps_closed_is_refused(world: World) -> None:
    sql = f"SELECT SCORE(kwh, age) AS s FROM {LISTING} WHERE person = 'p1'"
    with pytest.raises(PlanRejected, match="person"):
        world.plan(sql, asked=encrypted(WEIGHTS).to_json())


def test_a_restart_after_every_step_sends_the_same_bytes(world: World) -> None:
    request_id = world.open(SQL, plan=plan_of(world))
    [member] = world.members
    cells: list[list[int]] = []
    for _ in range(14):
        world.step(request_id)
        world.seal_if_due(request_id)
        world.answer_if_due(request_id, world.members)
        member.store.engine.dispose()
        world.start(member)
        if member.store.request(request_id).stage not in (Stage.SEEN, Stage.APPROVED):
            cells.append(world.cells_of(member, request_id))
    assert member.store.request(request_id).stage is Stage.DONE
    assert len(cells) > 2
    assert all(each == cells[0] for each in cells)


def test_a_crash_before_the_vector_is_stored_makes_the_same_vector_again(world: World) -> None:
    plan = plan_of(world)
    request_id = world.open(SQL, plan=plan)
    [member] = world.members
    world.step(request_id)  # approved
    world.chain.block = world.chain.view(request_id).opened.request.approve_by + 1  # type: ignore[union-attr]
    view, made = world.chain.view(request_id), []
    assert view is not None
    for _ in range(2):
        stored = member.store.request(request_id)
        computation = member.machine._computations[plan.kind]
        vector = computation.vector(stored, view, world.session(request_id), plan)
        assert vector is not None
        made.append(vector.tolist())
        member.store.engine.dispose()
        world.start(member)
    assert made[0] == made[1]


def test_huge_weights_reach_the_same_noisy_values(world: World) -> None:
    """The privacy statement: the buyer chose weights beyond all bounds, and the holder combined noisy values alone."""
    honest = plan_of(world)
    huge = EncryptedModel(owner().public, 32, 16, encrypt(short(), HUGE).values)
    plan = with_model(honest, huge)
    request_id = world.open(SQL, plan=plan)
    world.run(request_id, Stage.DONE)
    cells = world.answer(request_id)
    values = noisy_values(world, request_id, plan)
    [ciphertext] = score_terms(plan).ciphertexts(plan, cells).values
    width = 8 * score_terms(plan).layout.slot_bytes
    scores = scores_of(plan, HUGE, values)
    expected = sum(score << width * group for group, score in enumerate(scores))
    assert owner().raw_decrypt(ciphertext) == expected % owner().public.n
    shown = len(shown_lanes(plan)) * plan.groups
    assert cells[: plan.groups] == values[: plan.groups]
    assert shown == 2 * plan.groups


def test_a_plan_whose_model_was_changed_on_the_way_is_refused(world: World) -> None:
    plan = plan_of(world)
    request_id = world.open(SQL, plan=plan)
    published = world.broker.published[request_id]
    other = with_model(plan, encrypted(fixed("1", "1", "1")))
    world.broker.published[request_id] = type(published)(
        published.request, published.signature, other.to_json()
    )
    world.step(request_id)
    stored = world.members[0].store.request(request_id)
    assert (stored.stage, stored.reason) == (Stage.REFUSED, "PlanTampered")


def test_a_holder_refuses_a_key_below_its_policys_bits(tmp_path: Path) -> None:
    world = World(
        tmp_path / "world",
        holders=1,
        policy={**SCORE_POLICY, "score": {**SCORE_POLICY["score"], "key_bits_min": 3072}},
    )
    value = plan_of(world).to_json()
    n = owner().public.n
    value["score"]["model"]["n"] = "0x" + (n + 1).to_bytes(384, "big").hex()
    request_id = world.open(SQL, plan=plan_of(world))
    published = world.broker.published[request_id]
    world.broker.published[request_id] = type(published)(published.request, published.signature, value)
    world.step(request_id)
    stored = world.members[0].store.request(request_id)
    assert (stored.stage, stored.reason) == (Stage.REFUSED, "PlanRefused")


def test_a_stranger_reads_counts_and_no_score(world: World) -> None:
    plan = plan_of(world)
    request_id = world.open(SQL, plan=plan)
    world.run(request_id, Stage.DONE)
    table = decode_answer(plan, plan_parameters(plan), 1, world.answer(request_id))
    assert {row[2] for row in table.rows} == {None}
    assert all(isinstance(row[1], int) for row in table.rows)


# --- the audit --------------------------------------------------------------------------------------------


class ScoreCase(Case):
    """An audit of the holder of a score."""

    def __init__(self, home: Path) -> None:
        self.key = X25519PrivateKey.generate()
        self.world = World(home / "world", holders=1, policy=SCORE_POLICY)
        [self.member] = self.world.members
        register_rows(self.world, self.member)
        self.admit(self.key)
        self.request_id = self.world.open(SQL, plan=plan_of(self.world))
        self.world.run(self.request_id, Stage.DONE)
        self.chain = Shown(self.world)

    def sealed(self, *, noise: bool = True, seed: bytes | None = None) -> None:
        """Let the chain show that the holder committed to a vector of its rows with, or without, its noise."""
        values = noisy_values(self.world, self.request_id, self.plan)
        drawn = self.noise(self.source)
        cells = [value if noise else value - int(n) for value, n in zip(values, drawn, strict=True)]
        self.contributed(score_cells(self.plan, cells, seed or blinding_seed(self.source)))


def test_an_audit_makes_the_whole_vector_of_a_score_again(tmp_path: Path) -> None:
    case = ScoreCase(tmp_path)
    assert case.audit().status is AuditStatus.PASSED, case.audit()
    case.sealed()
    assert case.audit().status is AuditStatus.PASSED


@pytest.mark.parametrize("changes", [{"noise": False}, {"seed": bytes(32)}])
def test_an_audit_names_a_score_without_noise_or_with_other_ciphertexts(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    case = ScoreCase(tmp_path)
    case.sealed(**changes)
    verdict = case.audit()
    assert verdict.status is AuditStatus.FAILED
    assert ("without any noise" in verdict.steps[-1].detail) == ("noise" in changes)
