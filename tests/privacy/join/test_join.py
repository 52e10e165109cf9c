"""The private join against the join of plain rows; what each side learns; what does not depend on the rows."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.join import (
    JoinTerms,
    KeyValues,
    MatcherState,
    add_to_shares,
    from_limbs,
    matcher_round1,
    matcher_round3,
    to_limbs,
    value_finish,
    value_round2,
)
from privacy.join.errors import (
    ListTooLong,
    MultiplicityExceeded,
    TermsInvalid,
    TermsMismatch,
    ValueOutOfRange,
)
from privacy.join.lists import hash_keys
from privacy.join.parts import HEAD_BYTES as PART_HEAD
from privacy.join.terms import HEAD_BYTES, PUBLIC_KEY_BYTES
from privacy.ristretto import multiply_all, tags
from tests.privacy.join.join_world import SESSION, Row, matcher, plain_join, run, terms, value_side

A, B, C, D, E = (name.encode() for name in ("张三", "李四", "王五", "赵六", "阿依古丽"))
ROWS: list[Row] = [(A, [(0, 5), (2, -7)]), (B, [(1, 1000)]), (B, [(1, -3), (0, 2)]), (C, [(2, 11)])]


def test_sums_are_those_of_the_plain_join() -> None:
    sublists = [[A, B, B], [C, D, A]]
    joined = run(terms(), sublists, ROWS)
    assert joined.sums == plain_join(terms(), sublists, ROWS)
    assert joined.sums == [9, 1994, -7, 5, 0, 4]
    assert joined.matched.matches == (3, 2)


@pytest.mark.parametrize(
    ("sublists", "matches"),
    [
        ([[], []], (0, 0)),
        ([[D, E], [D, E]], (0, 0)),
        ([[A, B, C], [A, B, C]], (3, 3)),
        ([[A] * 2, []], (2, 0)),
    ],
)
def test_empty_no_and_all_matches(sublists: list[list[bytes]], matches: tuple[int, int]) -> None:
    joined = run(terms(), sublists, ROWS)
    assert joined.sums == plain_join(terms(), sublists, ROWS)
    assert joined.matched.matches == matches


def test_a_side_without_rows_gives_sums_of_zero() -> None:
    joined = run(terms(), [[A], [B]], [], [1, 2])
    assert joined.sums == [0] * 6
    assert joined.matched.matches == (1, 2)


def test_dummies_add_to_the_matches_and_nothing_to_the_sums() -> None:
    sublists = [[A, B], [C]]
    without, with_dummies = run(terms(), sublists, ROWS, [0, 0]), run(terms(), sublists, ROWS, [2, 1])
    assert without.sums == with_dummies.sums == plain_join(terms(), sublists, ROWS)
    assert (without.matched.matches, with_dummies.matched.matches) == ((2, 1), (4, 2))


def test_no_length_depends_on_the_rows() -> None:
    empty, full = run(terms(), [[], []], []), run(terms(), [[A, B, C, D], [A, B, C, E]], ROWS, [2, 2])
    for left, right in (
        (empty.round1, full.round1),
        (empty.round2, full.round2),
        (empty.matched.parts, full.matched.parts),
    ):
        assert [len(part) for part in left] == [len(part) for part in right]


@pytest.mark.parametrize("values", [29, 30, 61])
def test_many_values_are_packed_over_several_ciphertexts(values: int) -> None:
    found = terms(groups=1, values=values, value_max=(1 << 62) - 1, copies=1, matcher_rows=2, value_keys=2)
    most = (1 << 62) - 1
    rows: list[Row] = [
        (A, [(place, most) for place in range(values)]),
        (B, [(place, -most if place % 2 else most) for place in range(values)]),
    ]
    joined = run(found, [[A, B]], rows)
    assert found.ciphertexts == -(-values // found.layout.slots) > 0
    assert joined.sums == plain_join(found, [[A, B]], rows)
    assert max(joined.sums) == 2 * most


@given(
    st.lists(st.lists(st.sampled_from([A, B, C, D]), max_size=4), min_size=2, max_size=2),
    st.lists(
        st.tuples(
            st.sampled_from([A, B, C, E]),
            st.lists(st.tuples(st.integers(0, 2), st.integers(-100, 100)), max_size=3),
        ),
        max_size=6,
    ),
    st.lists(st.integers(0, 2), min_size=2, max_size=2),
)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_small_join_is_the_plain_one(
    sublists: list[list[bytes]], rows: list[Row], dummies: list[int]
) -> None:
    found = terms(copies=8)
    assert run(found, sublists, rows, dummies).sums == plain_join(found, sublists, rows)


def test_a_restart_sends_the_same_bytes() -> None:
    sublists = [[A, B], [C]]
    first, second = run(terms(), sublists, ROWS, [1, 0]), run(terms(), sublists, ROWS, [1, 0])
    assert first == second


def test_another_seed_changes_every_blinded_key_and_share() -> None:
    found, other = terms(), MatcherState(terms(), bytes(32))
    one = list(matcher_round1(matcher(found), [[A, B], [C]]))
    two = list(matcher_round1(other, [[A, B], [C]]))
    rows = [{part[5:][at : at + 32] for at in range(HEAD_BYTES, 320, 32)} for (part,) in (one, two)]
    assert not rows[0] & rows[1]


def test_lists_hold_blinded_keys_in_an_order_of_their_own() -> None:
    found = terms(groups=1, matcher_rows=16, value_keys=16, copies=1, dummies=0)
    keys = [b"key %d" % number for number in range(16)]
    m, v = matcher(found), value_side(found)
    hashed = hash_keys(SESSION, [(key, 0) for key in keys])
    joined = run(found, [keys], [(key, []) for key in keys])
    start = PART_HEAD + HEAD_BYTES
    sent = joined.round1[0][start + 32 :]
    returned = joined.round2[0][start + PUBLIC_KEY_BYTES :][: 32 * 16]
    entries = joined.round2[0][start + PUBLIC_KEY_BYTES + 32 * 16 :]
    own = b"".join(entries[found.entry_bytes * number :][:32] for number in range(16))
    blinded = multiply_all(m.scalar(), hashed)
    for data, expected in (
        (sent, blinded),
        (returned, tags(v.scalar(), blinded)),
        (own, multiply_all(v.scalar(), hashed)),
    ):
        rows = [data[at : at + 32] for at in range(0, len(data), 32)]
        in_order = [row.tobytes() for row in expected]
        assert sorted(rows) == sorted(in_order)
        assert rows != in_order
        assert not set(rows) & {row.tobytes() for row in hashed}


def test_shares_alone_look_like_masks() -> None:
    found = terms()
    joined = run(found, [[A], [B]], ROWS)
    masks = [-share % (1 << 96) for share in joined.matched.share]
    assert all(mask < 1 << found.mask_bits for mask in masks)
    assert len(set(masks)) == len(masks)
    assert found.mask_bits >= max(96, found.sum_max.bit_length() + 40)


def test_one_more_row_of_a_key_than_copies_is_refused() -> None:
    with pytest.raises(MultiplicityExceeded) as caught:
        matcher_round1(matcher(terms()), [[A, A], [A]])
    assert caught.value.most == 2
    with pytest.raises(MultiplicityExceeded):
        KeyValues.of_rows([(A, []), (A, [])], most=1)


def test_more_rows_than_places_are_refused() -> None:
    with pytest.raises(ListTooLong) as caught:
        matcher_round1(matcher(terms()), [[A, B, C, D, E], []])
    assert (caught.value.most, caught.value.actual) == (4, 5)
    with pytest.raises(TermsInvalid):
        matcher_round1(matcher(terms()), [[A]])
    six: list[Row] = [(b"%d" % number, []) for number in range(6)]
    (part,) = matcher_round1(matcher(terms()), [[], []])
    with pytest.raises(ListTooLong):
        value_round2(value_side(terms()), KeyValues.of_rows(six, most=1), [0, 0], [part])


@pytest.mark.parametrize(
    ("rows", "dummies"),
    [
        ([(A, [(3, 1)])], [0, 0]),
        ([(A, [(-1, 1)])], [0, 0]),
        ([(A, [(0, 1001)])], [0, 0]),
        ([(A, [(0, -1001)])], [0, 0]),
        ([], [3, 0]),
        ([], [-1, 0]),
        ([], [0]),
    ],
)
def test_numbers_outside_their_bounds_are_refused(rows: list[Row], dummies: list[int]) -> None:
    (part,) = matcher_round1(matcher(terms()), [[], []])
    with pytest.raises(ValueOutOfRange):
        value_round2(value_side(terms()), KeyValues.of_rows(rows, most=1), dummies, [part])


def test_numbers_of_64_bits_are_refused() -> None:
    with pytest.raises(ValueOutOfRange):
        KeyValues.of_rows([(A, [(0, (1 << 62))]), (A, [(0, 1 << 62)])], most=2)


def test_a_message_under_other_terms_is_refused_in_every_round() -> None:
    mine, other = terms(), terms(value_max=999)
    joined = run(mine, [[A], [B]], ROWS[:1])
    assert (mine.round1_bytes, mine.round2_bytes) == (other.round1_bytes, other.round2_bytes)
    nothing = KeyValues.of_rows([], most=1)
    with pytest.raises(TermsMismatch):
        value_round2(value_side(other), nothing, [0, 0], joined.round1)
    with pytest.raises(TermsMismatch):
        matcher_round3(matcher(other), joined.round2)
    with pytest.raises(TermsMismatch):
        value_finish(value_side(other), joined.matched.parts)


@pytest.mark.parametrize(
    "changed",
    [
        {"groups": 0},
        {"matcher_rows": 0},
        {"value_keys": 0},
        {"copies": 0},
        {"copies": (1 << 16) + 1},
        {"values": 0},
        {"value_max": 0},
        {"value_max": 1 << 63},
        {"dummies": -1},
        {"groups": 1 << 12, "values": 17},
        {"matcher_rows": 1 << 22},
        {"value_keys": 1 << 22},
        {
            "groups": 1,
            "matcher_rows": 1 << 22,
            "value_keys": 1 << 21,
            "value_max": 1 << 62,
            "values": 1 << 16,
        },
    ],
)
def test_sizes_out_of_range_are_refused(changed: dict[str, int]) -> None:
    with pytest.raises(TermsInvalid):
        terms(**changed)


def test_a_session_id_has_32_bytes() -> None:
    with pytest.raises(TermsInvalid):
        JoinTerms(bytes(31), 1, 1, 1, 1, 0, 1, 1)


def test_the_lengths_of_the_messages_are_those_of_the_document() -> None:
    found = terms()
    assert found.round1_bytes == 36 + 32 * (1 + 2 * 4)
    assert found.round2_bytes == 36 + PUBLIC_KEY_BYTES + 32 * 2 * 6 + (5 * 2 + 2 * 2) * (32 + 768)
    assert found.round3_bytes == 36 + 2 * 768


@given(
    st.lists(st.integers(-(1 << 94), 1 << 94), min_size=1, max_size=5), st.binary(min_size=60, max_size=60)
)
def test_limbs_of_shares_add_up_to_the_values(values: list[int], drawn: bytes) -> None:
    left = [int.from_bytes(drawn[12 * j : 12 * j + 12], "big") for j in range(len(values))]
    right = add_to_shares([-share % (1 << 96) for share in left], values)
    cells = [a + b for a, b in zip(to_limbs(left), to_limbs(right), strict=True)]
    assert from_limbs(cells) == values
    assert max(cells) < 1 << 49


def test_limbs_and_shares_of_other_forms_are_refused() -> None:
    for shares in ([1 << 96], [-1]):
        with pytest.raises(ValueOutOfRange):
            to_limbs(shares)
    with pytest.raises(ValueOutOfRange):
        from_limbs([1])
    with pytest.raises(ValueOutOfRange):
        add_to_shares([1], [])
