"""Messages of a join that were changed on their way: each kind of change has its error, before work is done."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.join import (
    KeyValues,
    MatcherState,
    ValueState,
    matcher_round3,
    parts_needed,
    require_part,
    value_finish,
    value_round2,
)
from privacy.join.errors import (
    BlindedInvalid,
    CiphertextRefused,
    MatchAmbiguous,
    MessageRefused,
    PartMalformed,
    PartOutOfOrder,
    PartsMissing,
    PartsTrailing,
    PublicKeyRefused,
    RoundWrong,
    StateCorrupt,
    TermsInvalid,
)
from privacy.join.lists import NOWHERE, TagIndex
from privacy.join.parts import BODY_BYTES_MAX, HEAD_BYTES, PART_BYTES_MAX, PartReader, cut
from privacy.join.randomness import Stream
from privacy.join.terms import CIPHERTEXT_BYTES, PUBLIC_KEY_BYTES
from privacy.join.terms import HEAD_BYTES as MESSAGE_HEAD
from tests.privacy.join.join_world import SESSION, Joined, matcher, run, terms, value_side

A, B = b"a", b"b"
START = HEAD_BYTES + MESSAGE_HEAD
NOTHING = KeyValues.of_rows([], most=1)


@pytest.fixture(scope="module")
def joined() -> Joined:
    return run(terms(), [[A], [B]], [(A, [(0, 5)]), (B, [(1, 6)])], [1, 1])


def changed(part: bytes, at: int, new: bytes) -> bytes:
    return part[:at] + new + part[at + len(new) :]


Round = Callable[[list[bytes]], object]
ROUNDS: dict[int, Round] = {
    1: lambda parts: value_round2(value_side(terms()), NOTHING, [0, 0], parts),
    2: lambda parts: matcher_round3(matcher(terms()), parts),
    3: lambda parts: value_finish(value_side(terms()), parts),
}


def message(joined: Joined, number: int) -> bytes:
    (part,) = {1: joined.round1, 2: joined.round2, 3: list(joined.matched.parts)}[number]
    return part


@pytest.mark.parametrize("number", [1, 2, 3])
def test_parts_that_are_not_this_message_have_named_errors(joined: Joined, number: int) -> None:
    part, read = message(joined, number), ROUNDS[number]
    for parts, error in (
        ([], PartsMissing),
        ([part[:4]], PartMalformed),
        ([part[:-1]], PartMalformed),
        ([part + b"\x00"], PartMalformed),
        ([changed(part, 0, bytes((number % 3 + 1,)))], RoundWrong),
        ([changed(part, 1, b"\x00\x01")], PartOutOfOrder),
        ([changed(part, 3, b"\x00\x02")], PartOutOfOrder),
        ([part, part], PartsTrailing),
        ([changed(part, 5, b"SYK")], MessageRefused),
        ([changed(part, 8, b"\x02")], MessageRefused),
    ):
        with pytest.raises(error):
            read(parts)


@pytest.mark.parametrize("element", [bytes(32), b"\xff" * 32, b"\x01" + bytes(31)])
@pytest.mark.parametrize("place", [0, 1, 8])
def test_the_first_message_with_a_bad_element_is_refused(joined: Joined, element: bytes, place: int) -> None:
    with pytest.raises(BlindedInvalid):
        ROUNDS[1]([changed(message(joined, 1), START + 32 * place, element)])


def test_the_second_message_with_a_bad_element_is_refused(joined: Joined) -> None:
    entries = START + PUBLIC_KEY_BYTES + 32 * terms().returned
    for place in (0, terms().entries - 1):
        part = changed(message(joined, 2), entries + place * terms().entry_bytes, bytes(32))
        with pytest.raises(BlindedInvalid, match=f"place {place}"):
            ROUNDS[2]([part])


@pytest.mark.parametrize("key", [b"SYQ", b"SYP\x01\x02", b"SYP\x01\x01\x01\x00", b"SYP\x01\x01\x01\x80\x00"])
def test_the_second_message_with_a_bad_paillier_key_is_refused(joined: Joined, key: bytes) -> None:
    with pytest.raises(PublicKeyRefused):
        ROUNDS[2]([changed(message(joined, 2), START, key)])


def test_a_key_sent_back_twice_is_refused(joined: Joined) -> None:
    part, start = message(joined, 2), START + PUBLIC_KEY_BYTES
    with pytest.raises(MatchAmbiguous):
        ROUNDS[2]([changed(part, start + 32, part[start : start + 32])])


def test_an_entry_sent_twice_is_refused(joined: Joined) -> None:
    part, width = message(joined, 2), terms().entry_bytes
    start = START + PUBLIC_KEY_BYTES + 32 * terms().returned
    entries = [part[start + width * number :][:width] for number in range(terms().entries)]
    repeated = [changed(part, start, entry + entry) for entry in entries]
    refused = 0
    for each in repeated:
        try:
            ROUNDS[2]([each])
        except MatchAmbiguous:
            refused += 1
    assert refused == 4  # two rows and two dummies match


def test_a_matching_entry_with_a_bad_ciphertext_is_refused(joined: Joined) -> None:
    part, found = message(joined, 2), terms()
    start = START + PUBLIC_KEY_BYTES + 32 * found.returned
    for number in range(found.entries):
        part = changed(part, start + number * found.entry_bytes + 32, bytes(CIPHERTEXT_BYTES))
    with pytest.raises(CiphertextRefused):
        ROUNDS[2]([part])


@pytest.mark.parametrize("value", [0, (1 << 6144) - 1, 2])
def test_the_third_message_with_a_bad_ciphertext_is_refused(joined: Joined, value: int) -> None:
    part = changed(message(joined, 3), START, value.to_bytes(CIPHERTEXT_BYTES, "big"))
    with pytest.raises(CiphertextRefused):
        ROUNDS[3]([part])


def test_a_share_does_not_open_under_another_sides_key(joined: Joined) -> None:
    from tests.privacy.paillier_world import stranger

    state = ValueState(terms(), bytes(32), stranger())
    with pytest.raises(CiphertextRefused):
        value_finish(state, joined.matched.parts)


# --- parts


@given(st.integers(1, 5), st.lists(st.integers(0, BODY_BYTES_MAX), max_size=3), st.integers(1 << 16, 1 << 20))
@settings(max_examples=30, deadline=None)
def test_what_was_cut_is_read_back(round_: int, sizes: list[int], step: int) -> None:
    pieces = [bytes((number + 1,)) * size for number, size in enumerate(sizes)]
    whole = b"".join(pieces)
    parts = list(cut(round_, len(whole), pieces))
    assert len(parts) == parts_needed(len(whole))
    assert all(len(part) == PART_BYTES_MAX for part in parts[:-1])
    for number, part in enumerate(parts):
        require_part(part, round_=round_, number=number, size=len(whole))
    reader = PartReader(round_, len(whole), parts)
    read = b""
    while len(read) < len(whole):
        read += reader.take(min(step, len(whole) - len(read)))
    assert read == whole
    if whole:
        reader.finish()


def test_parts_in_another_order_or_number_are_refused() -> None:
    size = 2 * BODY_BYTES_MAX + 1
    parts = list(cut(1, size, [bytes(size)]))
    for given_, error in (
        (parts[1:], PartOutOfOrder),
        ([parts[0], parts[2]], PartOutOfOrder),
        ([parts[0], parts[0]], PartOutOfOrder),
        (parts[:2], PartsMissing),
    ):
        with pytest.raises(error):
            PartReader(1, size, given_).take(size)
    reader = PartReader(1, size, [*parts, parts[2]])
    reader.take(size)
    with pytest.raises(PartsTrailing):
        reader.finish()


def test_pieces_that_are_not_the_whole_message_are_refused() -> None:
    with pytest.raises(PartsMissing):
        list(cut(1, 10, [bytes(9)]))
    with pytest.raises(PartsTrailing):
        list(cut(1, 10, [bytes(11)]))
    with pytest.raises(TermsInvalid):
        parts_needed((1 << 16) * PART_BYTES_MAX)


# --- tags


def rows_of(*tags: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.frombuffer(b"".join(tags), dtype=np.uint8).reshape(-1, 32)


def test_tags_that_start_alike_are_told_apart() -> None:
    prefix = b"same 8 b"
    alike = [prefix + bytes((number,)) * 24 for number in range(4)]
    index = TagIndex(rows_of(b"\x07" * 32, *alike))
    wanted = rows_of(alike[2], prefix + b"\x09" * 24, b"\x07" * 32, alike[0], b"\x08" * 32)
    assert index.find(wanted).tolist() == [3, NOWHERE, 0, 1, NOWHERE]


def test_tags_that_are_equal_or_made_to_start_alike_are_refused() -> None:
    prefix = b"same 8 b"
    with pytest.raises(MatchAmbiguous):
        TagIndex(rows_of(b"\x01" * 32, b"\x02" * 32, b"\x01" * 32))
    with pytest.raises(MatchAmbiguous):
        TagIndex(rows_of(*[prefix + bytes((number,)) * 24 for number in range(5)]))
    assert TagIndex(rows_of()).find(rows_of(b"\x01" * 32)).tolist() == [NOWHERE]


@given(
    st.sets(st.binary(min_size=32, max_size=32), max_size=20), st.sets(st.binary(min_size=32, max_size=32))
)
def test_every_tag_is_found_at_its_place(found: set[bytes], strangers: set[bytes]) -> None:
    tags = sorted(found)
    wanted = [*tags, *sorted(strangers)]
    expected = [tags.index(tag) if tag in found else NOWHERE for tag in wanted]
    assert TagIndex(rows_of(*tags)).find(rows_of(*wanted)).tolist() == expected


# --- states and randomness


def test_states_are_read_back_and_nothing_else_is() -> None:
    m, v = matcher(terms()), value_side(terms())
    assert MatcherState.from_bytes(m.to_bytes()) == m
    assert ValueState.from_bytes(v.to_bytes()) == v
    for bad in (b"", m.to_bytes()[:-1], m.to_bytes() + b"\x00", v.to_bytes(), b"x" + m.to_bytes()[1:]):
        with pytest.raises(StateCorrupt):
            MatcherState.from_bytes(bad)
    for bad in (b"", v.to_bytes()[:-1], v.to_bytes() + b"\x00", m.to_bytes()):
        with pytest.raises(StateCorrupt):
            ValueState.from_bytes(bad)
    zeros = m.to_bytes()[:11] + bytes(32 + 56) + bytes(32)
    with pytest.raises(StateCorrupt):
        MatcherState.from_bytes(zeros)
    with pytest.raises(StateCorrupt):
        MatcherState(terms(), bytes(31))


def test_states_do_not_show_their_secrets() -> None:
    for state in (matcher(terms()), value_side(terms())):
        assert repr(state.seed) not in repr(state)
        assert "seed" not in repr(state)


def test_streams_of_different_uses_differ_and_repeat_themselves() -> None:
    def read(use: str, session: bytes = SESSION) -> bytes:
        return Stream(bytes(32), session, use).read(64)

    assert read("a") == read("a")
    assert len({read("a"), read("b"), read("a", bytes(32))}) == 3
    stream = Stream(bytes(32), SESSION, "a")
    assert stream.read(10) + stream.read(54) == read("a")
    with pytest.raises(StateCorrupt):
        Stream(bytes(31), SESSION, "a")


@given(st.integers(0, 300), st.binary(min_size=32, max_size=32))
def test_an_order_has_every_place_once(count: int, seed: bytes) -> None:
    assert sorted(Stream(seed, SESSION, "order").permutation(count).tolist()) == list(range(count))


def test_every_order_of_three_is_drawn() -> None:
    stream = Stream(bytes(32), SESSION, "order")
    assert len({tuple(stream.permutation(3).tolist()) for _ in range(100)}) == 6


@pytest.mark.parametrize("bits", [1, 7, 8, 43, 96])
def test_numbers_below_a_power_reach_their_top(bits: int) -> None:
    stream = Stream(bytes(32), SESSION, "mask")
    drawn = [stream.below_power(bits) for _ in range(200)]
    assert max(drawn).bit_length() == bits
    assert all(0 <= each < 1 << bits for each in drawn)
