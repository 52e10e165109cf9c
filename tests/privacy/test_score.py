"""Private weights: what the holder seals, what the buyer opens, and what weights beyond all bounds can do."""

import math
from fractions import Fraction

import phe
import pytest
from gmpy2 import mpz, powmod
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.answer import decode_answer
from privacy.errors import AnswerInvalid, CellOutOfRange, PlanInvalid
from privacy.expected import expected_error95
from privacy.fixed_point import power_of_two
from privacy.layout import group_index, lane_cells
from privacy.noise import NoiseSource, draw_noise_share
from privacy.paillier.encrypt import encrypt
from privacy.paillier.interchange import to_phe_private_key, to_phe_public_key
from privacy.paillier.packing import unpack
from privacy.paillier.power_product import PowerProduct
from privacy.plan import Plan
from privacy.planning import plan_parameters, verify_plan
from privacy.score.combine import combine, packed_factors, score_cells, score_terms
from privacy.score.model import EncryptedModel, FixedWeights
from privacy.score.opening import expected_score_error95, open_scores
from privacy.score.shape import ScoreShape, from_limbs, limbs_of, shown_lanes, to_limbs
from tests.privacy.paillier_world import owner, short, stranger
from tests.privacy.score_world import (
    BITS,
    SCALE_BITS,
    SQL,
    encrypted,
    fixed,
    plan_of,
    policy_of,
    scores_of,
    values_of,
    with_model,
)

WEIGHTS = fixed("-2.5", "0.125", "3", "-0.75")
PLAN = plan_of(WEIGHTS)
SEED = bytes(range(32))
VALUES = values_of(PLAN, [[40, -3, 7], [44, -2, 5], [912, 0, -81], [-60, 4, 99], [5, -2, 3]])


def opened(plan: Plan, cells: list[int], weights: FixedWeights = WEIGHTS) -> list[int]:
    """The integers of the scores of each group."""
    table = open_scores(plan, plan_parameters(plan), 1, cells, key=owner(), weights=weights)
    unit = ScoreShape.of(plan).unit * power_of_two(-SCALE_BITS)
    by_town = {row[0]: Fraction(row[2]) / unit for row in table.rows}
    return [int(by_town[town]) for town in ("东城", "west", "other")]


# --- honest runs -------------------------------------------------------------------------------------------


def test_the_buyer_opens_the_weighted_sum_of_each_group() -> None:
    cells = score_cells(PLAN, VALUES, SEED).tolist()
    assert len(cells) == PLAN.cells
    assert opened(PLAN, cells) == scores_of(PLAN, WEIGHTS.weights, VALUES)


def test_a_score_is_that_of_the_rows() -> None:
    rows = [("东城", 100.25, 30, -4000), ("东城", 7.5, 61, 96), ("west", 1000, 0, 0)]
    shape, groups = ScoreShape.of(PLAN), [[0] * PLAN.groups for _ in PLAN.lanes]
    for town, *measures in rows:
        group = group_index(PLAN, [town])
        groups[shape.count][group] += 1 << PLAN.lanes[shape.count].grid_bits
        for number, value in zip(shape.sums, measures, strict=True):
            lane = PLAN.lanes[number]
            integer = math.floor(value * 2.0**lane.scale_bits + 0.5) - lane.center
            groups[number][group] += integer << lane.grid_bits
    cells = score_cells(PLAN, values_of(PLAN, groups), SEED).tolist()
    table = open_scores(PLAN, plan_parameters(PLAN), 1, cells, key=owner(), weights=WEIGHTS)
    found = {row[0]: row[2] for row in table.rows}
    assert found == {
        "东城": 2 * -2.5 + 0.125 * 107.75 + 3 * 91 - 0.75 * -3904,
        "west": -2.5 + 125,
        "other": 0.0,
    }


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    cells = score_cells(PLAN, VALUES, SEED)
    assert (score_cells(PLAN, VALUES, SEED) == cells).all()
    other = score_cells(PLAN, VALUES, bytes(32))
    first = len(shown_lanes(PLAN)) * PLAN.groups
    assert (other[:first] == cells[:first]).all()
    assert (other[first:] != cells[first:]).any()
    assert opened(PLAN, other.tolist()) == opened(PLAN, cells.tolist())


def test_counts_come_first_in_the_clear_and_sums_never() -> None:
    cells = score_cells(PLAN, VALUES, SEED).tolist()
    kinds = [PLAN.lanes[number].kind.value for number in shown_lanes(PLAN)]
    assert kinds == ["count", "count_of"]
    assert cells[: 2 * PLAN.groups] == [40, -3, 7, 44, -2, 5]
    values = score_terms(PLAN).values(PLAN, cells)
    hidden = [place for number in ScoreShape.of(PLAN).sums for place in lane_cells(PLAN, number)]
    assert [values[place] for place in hidden] == [None] * len(hidden)


def test_without_the_key_the_table_has_null_for_the_score() -> None:
    cells = score_cells(PLAN, VALUES, SEED).tolist()
    table = decode_answer(PLAN, plan_parameters(PLAN), 1, cells)
    assert [(row[2], error[2]) for row, error in zip(table.rows, table.error95, strict=True)] == [
        (None, None)
    ] * 3
    assert all(isinstance(row[1], int) for row in table.rows)
    assert table.to_json()["rows"][0][2] is None


# --- packing: no slot ever carries ------------------------------------------------------------------------

EXTREME = st.sampled_from([-1, 1]) | st.integers(-1, 1)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_weights_within_the_bound_make_a_slot_carry(data: st.DataObject) -> None:
    shape, layout = ScoreShape.of(PLAN), score_terms(PLAN).layout
    signs = data.draw(st.lists(EXTREME, min_size=4, max_size=4))
    weights = [sign * data.draw(st.sampled_from([1 << BITS, (1 << BITS) - 1, 1])) for sign in signs]
    bounds = shape.bounds(PLAN)
    groups = [
        [
            data.draw(EXTREME) * bound if data.draw(st.booleans()) else data.draw(st.integers(-bound, bound))
            for bound in bounds
        ]
        for _ in range(layout.slots)
    ]
    offset = 8 * layout.slot_bytes
    packed = [sum(group[k] << offset * slot for slot, group in enumerate(groups)) for k in range(len(bounds))]
    total = sum(w * p for w, p in zip(weights, packed, strict=True))
    assert abs(total) <= owner().public.plaintext_max
    expected = [sum(w * f for w, f in zip(weights, group, strict=True)) for group in groups]
    assert unpack([total], layout, count=layout.slots) == expected


@given(data=st.data())
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_extreme_cells_and_weights_open_exactly(data: st.DataObject) -> None:
    weights = FixedWeights(tuple(data.draw(EXTREME) << BITS for _ in range(4)), BITS, SCALE_BITS)
    plan = plan_of(weights)
    lanes = [
        [data.draw(EXTREME) * (plan.rows_max * lane.row_max << lane.grid_bits) for _ in range(plan.groups)]
        for lane in plan.lanes
    ]
    values = values_of(plan, lanes)
    cells = score_cells(plan, values, SEED).tolist()
    packed = [owner().decrypt(mpz(each)) for each in score_terms(plan).ciphertexts(plan, cells).values]
    assert unpack(packed, score_terms(plan).layout, count=plan.groups) == scores_of(
        plan, weights.weights, values
    )


def test_many_groups_fill_several_plaintexts() -> None:
    towns = [f"镇{number}" for number in range(100)]
    columns = {"town": {"type": "text", "domain": towns}, "age": {"type": "integer", "low": 0, "high": 9}}
    policy = policy_of(columns=columns, score={"weight_bits": BITS, "weight_scale_bits": SCALE_BITS})
    weights = fixed("1", "-7.5")
    plan = plan_of(weights, "SELECT town, SCORE(age) AS s FROM power GROUP BY town", policy=policy)
    layout = score_terms(plan).layout
    assert layout.plaintexts(plan.groups) > 1
    values = [(-1) ** place * (place * 37 % 1000) for place in range(plan.values)]
    cells = score_cells(plan, values, SEED).tolist()
    assert len(cells) == plan.groups + layout.plaintexts(plan.groups) * limbs_of(owner().public)
    packed = [owner().decrypt(mpz(each)) for each in score_terms(plan).ciphertexts(plan, cells).values]
    assert unpack(packed, layout, count=plan.groups) == scores_of(plan, weights.weights, values)


@given(st.integers(0, (1 << 6144) - 1))
@settings(deadline=None)
def test_limbs_round_trip(number: int) -> None:
    cells = to_limbs(number, 192)
    assert len(cells) == 192
    assert from_limbs(cells) == number


def test_limbs_are_little_endian_words() -> None:
    assert to_limbs(1 + (2 << 32) + (0xFFFFFFFF << 64), 4) == [1, 2, 0xFFFFFFFF, 0]


@pytest.mark.parametrize("cell", [-1, 1 << 32])
def test_a_limb_out_of_range_is_refused(cell: int) -> None:
    with pytest.raises(AnswerInvalid, match="32 bits"):
        from_limbs([0, cell])


@given(st.lists(st.tuples(st.integers(2, 1 << 80), st.integers(0, (1 << 90) - 1)), min_size=1, max_size=5))
@settings(deadline=None)
def test_a_product_of_powers_is_that_of_the_single_powers(pairs: list[tuple[int, int]]) -> None:
    modulus = mpz((1 << 89) - 1)
    expected = mpz(1)
    for base, exponent in pairs:
        expected = expected * powmod(base, exponent, modulus) % modulus
    product = PowerProduct([mpz(base) for base, _ in pairs], modulus)
    assert product.power([exponent for _, exponent in pairs], bits=90) == expected


# --- a buyer with the stock library -----------------------------------------------------------------------


def test_a_buyer_with_the_stock_library_asks_and_reads_the_packed_answer() -> None:
    public, private = to_phe_public_key(owner().public), to_phe_private_key(owner())
    numbers: list[phe.EncryptedNumber] = [public.encrypt(weight) for weight in WEIGHTS.weights]
    asked = {
        "n": f"0x{public.n:0768x}",
        "weight_bits": str(BITS),
        "weight_scale_bits": str(SCALE_BITS),
        "ciphertexts": [f"0x{number.ciphertext():01536x}" for number in numbers],
    }
    plan = plan_of(WEIGHTS)
    theirs = with_model(plan, EncryptedModel.from_json(asked))
    verify_plan(theirs, policy_of())
    cells = score_cells(theirs, VALUES, SEED).tolist()
    # as docs/protocol.md says it, with nothing of ours: limbs, decryption, slots of bytes
    data = b"".join(cell.to_bytes(4, "little") for cell in cells[2 * 3 :])
    plain = private.raw_decrypt(int.from_bytes(data, "little"))
    signed = plain if plain < public.n // 2 else plain - public.n
    width = 8 * int(theirs.to_json()["score"]["slot_bytes"])
    scores = []
    for _ in range(3):
        low = signed & (1 << width) - 1
        slot = low - (1 << width) if low >> width - 1 else low
        scores.append(slot)
        signed = (signed - slot) >> width
    assert signed == 0
    assert scores == scores_of(plan, WEIGHTS.weights, VALUES)


# --- weights beyond the bound -----------------------------------------------------------------------------


def test_whatever_is_encrypted_the_data_enter_only_as_noisy_values() -> None:
    """The noise is inside the factors, and the factors do not depend on the model: combining is post-processing."""
    huge = [1 << 2000, -(1 << 1500), (1 << 3000) - 1, 0]
    model = EncryptedModel(owner().public, BITS, SCALE_BITS, encrypt(short(), huge).values)
    plan = with_model(PLAN, model)
    assert packed_factors(plan, VALUES) == packed_factors(PLAN, VALUES)
    [factors] = packed_factors(plan, VALUES)
    [ciphertext] = combine(model, [factors], SEED)
    expected = sum(w * f for w, f in zip(huge, factors, strict=True)) % owner().public.n
    assert owner().raw_decrypt(ciphertext) == expected


def test_weights_beyond_the_bound_harm_only_their_own_answer() -> None:
    huge = FixedWeights((0, 1 << 95, 0, 0), 96, SCALE_BITS)
    model = EncryptedModel(owner().public, BITS, SCALE_BITS, encrypt(short(), huge.weights).values)
    plan = with_model(PLAN, model)
    cells = score_cells(plan, VALUES, SEED).tolist()
    shown = len(shown_lanes(plan)) * plan.groups
    assert cells[:shown] == score_cells(PLAN, VALUES, SEED).tolist()[:shown]
    with pytest.raises(AnswerInvalid, match="do not open"):
        opened(plan, cells, huge)


def test_values_beyond_the_policys_bounds_are_not_combined() -> None:
    values = list(VALUES)
    values[0] = values[3] = 1 << 60
    with pytest.raises(CellOutOfRange):
        score_cells(PLAN, values, SEED)


# --- answers that are none --------------------------------------------------------------------------------


def refused(cells: list[int], match: str) -> None:
    with pytest.raises(AnswerInvalid, match=match):
        decode_answer(PLAN, plan_parameters(PLAN), 1, cells)


def test_cells_that_hold_no_ciphertext_are_no_answer() -> None:
    cells = score_cells(PLAN, VALUES, SEED).tolist()
    shown, limbs = 2 * PLAN.groups, limbs_of(owner().public)
    refused(cells[:-1], "cells")
    refused([*cells[:shown], *[0] * limbs], "ciphertext 0")
    refused([*cells[:shown], *to_limbs(owner().public.n, limbs)], "shares a factor")
    refused([*cells[:shown], *[0xFFFFFFFF] * limbs], "ciphertext 0")
    refused([*cells[:-1], 1 << 32], "32 bits")


def test_scores_do_not_open_with_another_key_or_another_model() -> None:
    cells = score_cells(PLAN, VALUES, SEED).tolist()
    for key, weights in ((stranger(), WEIGHTS), (owner(), fixed("1", "2"))):
        with pytest.raises(AnswerInvalid, match="key or the weights"):
            open_scores(PLAN, plan_parameters(PLAN), 1, cells, key=key, weights=weights)


def test_a_plain_sum_has_no_scores() -> None:
    policy = policy_of(aggregates=["count"], score=None)
    plan = plan_of(WEIGHTS)
    with pytest.raises(PlanInvalid, match="kind score"):
        score_terms(Plan(**{name: getattr(plan, name) for name in Plan.__slots__} | {"terms": None}))
    assert policy.terms is None


# --- errors -----------------------------------------------------------------------------------------------


def test_the_stated_error_covers_the_noise_of_a_score() -> None:
    shape, params = ScoreShape.of(PLAN), plan_parameters(PLAN)
    expected = expected_score_error95(PLAN, params, WEIGHTS)
    error, unit = Fraction(expected[2].error95 or 0), shape.unit * power_of_two(-SCALE_BITS)
    within = total = 0
    for number in range(300):
        source = NoiseSource(number.to_bytes(32, "big"), bytes(32), 0)
        values = draw_noise_share(PLAN, params, source).tolist()
        for score in scores_of(PLAN, WEIGHTS.weights, values):
            total += 1
            within += abs(score * unit) <= error
    # 900 draws, 0.95 expected of each; the error allows for rounding too, which these values do not have
    assert within / total >= 0.93
    tight = sum(
        abs(score * unit) <= error / 3
        for number in range(100)
        for score in scores_of(
            PLAN,
            WEIGHTS.weights,
            draw_noise_share(PLAN, params, NoiseSource(number.to_bytes(32, "big"), bytes(32), 0)).tolist(),
        )
    )
    assert tight / 300 < 0.9  # and it is not so wide as to say nothing


def test_the_exchange_quotes_no_error_of_a_score_and_the_buyer_does() -> None:
    params = plan_parameters(PLAN)
    assert [each.error95 is None for each in expected_error95(PLAN, params)] == [True, False, True]
    quoted = expected_score_error95(PLAN, params, WEIGHTS)
    assert [(each.column, each.rows) for each in quoted] == [("town", None), ("n", None), ("s", 1000)]
    heavier = expected_score_error95(PLAN, params, fixed("-2.5", "0.125", "3", "-7.5"))
    assert (heavier[2].error95 or 0) > 2 * (quoted[2].error95 or 0)


def test_the_question_and_its_model_make_one_plan() -> None:
    again = Plan.from_bytes(PLAN.to_bytes())
    assert again == PLAN
    verify_plan(again, policy_of())
    assert again.hash() == PLAN.hash()
    assert with_model(PLAN, encrypted(fixed("0", "0", "0", "0"))).hash() != PLAN.hash()
    assert PLAN.query.outputs[2].others == ("age", "debt")
    assert SQL.count("SCORE") == 1
