"""From what trustees send to values: any t good partial decryptions of one sum suffice, and whoever sends another thing is named."""

import pytest

from privacy.deposit.errors import LogarithmNotFound, RiderRefused, SumsDisputed
from privacy.deposit.opening import find_values, require_values, sum_noise
from privacy.deposit.points import encode_points
from privacy.deposit.riders import seal, unseal
from privacy.deposit.sizes import KEY_CELLS
from privacy.plan import Plan
from tests.privacy.deposit.deposit_world import TRUSTEES, logarithms, outside
from tests.privacy.deposit.plan_world import (
    Trustees,
    contents,
    honest,
    input_rider,
    make_plan,
    noise_rider,
    sealing_key,
    session,
    sums_of,
)

NOISE = sum(index + 1 for index in range(TRUSTEES))


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan()


def values_of(trustees: Trustees) -> list[int]:
    return find_values(trustees.plan, trustees.open(), logarithms())


def accused(trustees: Trustees) -> set[int]:
    holders = {fault.holder for fault in trustees.open().faults}
    return {index for index, member in enumerate(session().members) if member.holder in holders}


def test_values_are_the_deposits_sums_with_the_noise_of_all_that_shared(plan: Plan) -> None:
    trustees = honest(plan)
    assert values_of(trustees) == [int(value) + NOISE for value in contents(plan)]
    opening = trustees.open()
    assert (opening.contributors, opening.faults, len(opening.used)) == (TRUSTEES, (), 3)


@pytest.mark.parametrize("survivors", [(0, 1, 2), (2, 3, 4), (0, 2, 3, 4)])
def test_any_t_survivors_decrypt_and_noise_of_the_lost_stays(plan: Plan, survivors: tuple[int, ...]) -> None:
    assert values_of(honest(plan, survivors)) == [int(value) + NOISE for value in contents(plan)]


def test_fewer_than_t_decrypt_nothing(plan: Plan) -> None:
    with pytest.raises(SumsDisputed, match="fewer than 3"):
        honest(plan, (1, 4)).open()


def test_a_partial_decryption_with_a_changed_byte_is_named_and_left_out(plan: Plan) -> None:
    trustees = honest(plan)
    sums, partial = unseal(sealing_key(1), session().id, 1, trustees.inputs[1], count=plan.values)
    for position in (0, 100, len(partial) - 1):
        wrong = bytearray(partial)
        wrong[position] ^= 1
        trustees.inputs[1] = seal(sealing_key(1), session().id, 1, sums, bytes(wrong))
        assert accused(trustees) == {1}
        assert values_of(trustees) == [int(value) + NOISE for value in contents(plan)]


def test_a_trustee_that_decrypts_other_sums_is_named(plan: Plan) -> None:
    trustees = honest(plan)
    noise = sum_noise(plan, session(), trustees.bundles)
    trustees.inputs[0] = input_rider(plan, 0, sums_of(plan, contents(plan) + 1), noise)
    assert accused(trustees) == {0}
    trustees.inputs[1] = input_rider(plan, 1, sums_of(plan, contents(plan) + 1), noise)
    assert accused(trustees) == {0, 1}
    assert values_of(trustees) == [int(value) + NOISE for value in contents(plan)]


def test_c_trustees_together_cannot_make_another_sum_pass(plan: Plan) -> None:
    trustees = honest(plan, (0, 1))
    noise = sum_noise(plan, session(), trustees.bundles)
    for index in (0, 1):
        trustees.inputs[index] = input_rider(plan, index, sums_of(plan, contents(plan) + 1), noise)
    with pytest.raises(SumsDisputed):
        trustees.open()


def test_the_proof_binds_both_halves_of_the_sum(plan: Plan) -> None:
    """A buyer that shifts the sums it shows to others, B and not A, has no proofs for that."""
    trustees = honest(plan)
    first = sums_of(plan)
    shifted = sums_of(plan)
    shifted.b[0] = first.b[0] + sums_of(plan, contents(plan) * 0 + 5).b[0]
    for index in range(TRUSTEES):
        _, partial = unseal(
            sealing_key(index), session().id, index, trustees.inputs[index], count=plan.values
        )
        trustees.inputs[index] = seal(sealing_key(index), session().id, index, shifted.encode(), partial)
    with pytest.raises(SumsDisputed):
        trustees.open()


@pytest.mark.parametrize("spoiled", ["key", "region", "length", "point"])
def test_what_does_not_open_names_its_sender(plan: Plan, spoiled: str) -> None:
    trustees = honest(plan)
    if spoiled == "key":
        trustees.cells[2 * KEY_CELLS] ^= 1
    elif spoiled == "region":
        trustees.cells[2 * KEY_CELLS] = -1
    elif spoiled == "length":
        trustees.inputs[2] = trustees.inputs[2][:-1]
    else:
        sums, partial = unseal(sealing_key(2), session().id, 2, trustees.inputs[2], count=plan.values)
        bad = encode_points([outside()]) + sums[96:]
        trustees.inputs[2] = seal(sealing_key(2), session().id, 2, bad, partial)
    assert accused(trustees) == {2}
    assert values_of(trustees) == [int(value) + NOISE for value in contents(plan)]


def test_noise_that_is_refused_does_not_count_and_names_its_sender(plan: Plan) -> None:
    trustees = honest(plan)
    trustees.bundles[3] = trustees.bundles[3][:-1] + bytes([trustees.bundles[3][-1] ^ 1])
    noise = sum_noise(plan, session(), trustees.bundles)
    assert noise.contributors == (0, 1, 2, 4)
    trustees.inputs = {index: input_rider(plan, index, sums_of(plan), noise) for index in range(TRUSTEES)}
    assert accused(trustees) == {3}
    assert trustees.open().contributors == TRUSTEES - 1
    assert values_of(trustees) == [int(value) + NOISE - 4 for value in contents(plan)]


def test_another_trustees_noise_is_refused(plan: Plan) -> None:
    trustees = honest(plan)
    trustees.bundles[3] = trustees.bundles[2]
    assert [fault.holder for fault in sum_noise(plan, session(), trustees.bundles).faults] == [
        session().members[3].holder
    ]


def test_with_more_liars_than_assumed_nothing_is_decrypted(plan: Plan) -> None:
    bundles = {index: noise_rider(plan, index) for index in range(TRUSTEES)}
    for index in (0, 1, 2):
        bundles[index] = bytes(len(bundles[index]))
    with pytest.raises(SumsDisputed, match="more than 2"):
        sum_noise(plan, session(), bundles)


def test_values_are_required_exactly(plan: Plan) -> None:
    trustees = honest(plan)
    opening, values = trustees.open(), values_of(trustees)
    require_values(plan, opening, values)
    for wrong in ([*values[:-1], values[-1] + 1], values[:-1], [*values, 0], [1 << 41, *values[1:]]):
        with pytest.raises(SumsDisputed):
            require_values(plan, opening, wrong)


def test_absurd_noise_is_found_out(plan: Plan) -> None:
    trustees = honest(plan)
    trustees.bundles[0] = noise_rider(plan, 0, 1 << 30)
    noise = sum_noise(plan, session(), trustees.bundles)
    trustees.inputs = {index: input_rider(plan, index, sums_of(plan), noise) for index in range(TRUSTEES)}
    with pytest.raises(LogarithmNotFound):
        values_of(trustees)


def test_a_sealed_rider_is_bound_to_session_and_place(plan: Plan) -> None:
    rider = honest(plan).inputs[0]
    for session_id, index in ((bytes(32), 0), (session().id, 1)):
        with pytest.raises(RiderRefused):
            unseal(sealing_key(0), session_id, index, rider, count=plan.values)
