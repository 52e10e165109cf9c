"""The sealed sum as a whole: exact with every allowed dropout, and never wrong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import curve_reference
from privacy.errors import (
    CellOutOfRange,
    CommitmentMismatch,
    ParametersInvalid,
    PayloadMalformed,
    ProtocolError,
)
from privacy.sealed_sum import buyer_pad, remove_pads
from privacy.session import SumParameters
from tests.privacy.sum_world import World

WRONG_SUM = (CommitmentMismatch, CellOutOfRange, PayloadMalformed)


@st.composite
def courses(draw: st.DrawFn, sizes: st.SearchStrategy[int]) -> tuple[World, list[int], list[int], list[int]]:
    """Draw a world and who shares, survives and unmasks, within what the parameters allow."""
    n = draw(sizes)
    colluders = draw(st.integers(0, n - 1))
    dropouts = draw(st.integers(0, n))
    try:
        params = SumParameters.of(n=n, colluders=colluders, dropouts=dropouts, min_holders=1)
    except ParametersInvalid:
        colluders, dropouts = 0, n
        params = SumParameters.of(n=n, colluders=0, dropouts=n, min_holders=1)
    world = World(n, draw(st.integers(1, 6)), colluders, dropouts, seed=f"{n}/{draw(st.integers(0, 99))}")
    order = draw(st.permutations(range(n)))
    sharers = order[: draw(st.integers(params.floor, n))]
    survivors = draw(st.permutations(sharers))[: draw(st.integers(params.floor, len(sharers)))]
    unmaskers = draw(st.permutations(survivors))[: draw(st.integers(params.threshold, len(survivors)))]
    return world, sharers, survivors, unmaskers


def require_exact(course: tuple[World, list[int], list[int], list[int]]) -> None:
    world, sharers, survivors, unmaskers = course
    result = world.aggregate(sharers, survivors, unmaskers)
    assert result.rejected == ()
    assert world.opened(result.payload, survivors) == world.expected(survivors)


@settings(max_examples=60, deadline=None)
@given(courses(st.integers(1, 7)))
def test_the_sum_is_exact_with_dropouts_at_every_step(
    course: tuple[World, list[int], list[int], list[int]],
) -> None:
    require_exact(course)


@settings(max_examples=4, deadline=None)
@given(courses(st.just(20)))
def test_the_sum_is_exact_for_twenty_holders(course: tuple[World, list[int], list[int], list[int]]) -> None:
    require_exact(course)


def test_one_holder_alone_runs_the_same_code() -> None:
    world = World(1)
    assert world.bundles == {0: b"\x00\x00"}
    assert world.opened(world.aggregate([0], [0], [0]).payload, [0]) == world.expected([0])


def test_the_second_library_accepts_the_same_answer() -> None:
    world = World(3, cells=4)
    payload = world.aggregate(world.everybody, world.everybody, world.everybody).payload
    sums = world.opened(payload, world.everybody)
    blinding = sum(secrets.blinding for secrets in world.secrets)
    curve_reference.verify_opening(world.commitments(world.everybody), sums, blinding)


def test_what_travels_is_eight_bytes_a_cell_and_shows_nothing() -> None:
    world = World(2, cells=50)
    masked = world.masked(0, world.everybody)
    assert len(masked) == 8 * 50 + 32
    plain = world.input_of(0).astype("<i8").tobytes()
    assert not any(masked[k : k + 8] == plain[k : k + 8] for k in range(0, 400, 8))


def test_the_aggregate_is_still_sealed_for_the_buyer() -> None:
    world = World(3, cells=50)
    payload = world.aggregate(world.everybody, world.everybody, world.everybody).payload
    with pytest.raises(CellOutOfRange):
        remove_pads(payload, [])


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x40]) + data[position + 1 :]


def test_every_flipped_byte_of_a_masked_input_is_caught() -> None:
    world = World(3, cells=3)
    masked = world.masked(1, world.everybody)
    unmasks = {i: world.unmask(i, world.everybody, world.everybody) for i in world.everybody}
    for position in range(len(masked)):
        with pytest.raises(WRONG_SUM):
            result = world.aggregate(
                world.everybody,
                world.everybody,
                [],
                masked={1: flipped(masked, position)},
                unmasks=unmasks,
            )
            world.opened(result.payload, world.everybody)


def test_every_flipped_byte_of_the_answer_is_caught() -> None:
    world = World(2, cells=3)
    payload = world.aggregate(world.everybody, world.everybody, world.everybody).payload
    for position in range(len(payload)):
        with pytest.raises(WRONG_SUM):
            world.opened(flipped(payload, position), world.everybody)


def test_swapped_cells_are_caught() -> None:
    world = World(2, cells=3)
    payload = world.aggregate(world.everybody, world.everybody, world.everybody).payload
    with pytest.raises(WRONG_SUM):
        world.opened(payload[8:16] + payload[:8] + payload[16:], world.everybody)


def test_a_vector_replayed_from_another_session_is_caught() -> None:
    first, second = World(3), World(3, request="second")
    replayed = first.masked(1, first.everybody)
    with pytest.raises(WRONG_SUM):
        result = second.aggregate(second.everybody, second.everybody, second.everybody, masked={1: replayed})
        second.opened(result.payload, second.everybody)


def test_a_vector_masked_for_another_buyer_is_caught() -> None:
    world, other = World(3), World(3, seed="another buyer")
    world.buyer = other.buyer
    foreign = world.masked(1, world.everybody)
    world = World(3)
    with pytest.raises(WRONG_SUM):
        result = world.aggregate(world.everybody, world.everybody, world.everybody, masked={1: foreign})
        world.opened(result.payload, world.everybody)


def test_a_vector_masked_for_other_sharers_is_caught() -> None:
    world = World(3, dropouts=1)
    foreign = world.masked(0, [0, 1])
    with pytest.raises(WRONG_SUM):
        result = world.aggregate(world.everybody, world.everybody, world.everybody, masked={0: foreign})
        world.opened(result.payload, world.everybody)


def test_a_commitment_to_other_cells_is_caught() -> None:
    world = World(2)
    payload = world.aggregate(world.everybody, world.everybody, world.everybody).payload
    sums, _ = remove_pads(
        payload,
        [
            buyer_pad(world.session.id, i, world.buyer.secret, world.session.members[i].e_compressed)
            for i in world.everybody
        ],
    )
    commitments = world.commitments(world.everybody)
    commitments[1] = commitments[0]
    with pytest.raises(ProtocolError):
        curve_reference.verify_opening(commitments, sums.tolist(), 0)
