"""The columns say the same as the strict decoder of one leaf, and rows are told apart exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.licences.errors import LicenceError
from ledger.licences.leaf import Leaf
from ledger.log.tiles import encode_bundle
from ledger.log.tree import hash_leaves
from ledger.replay.leaves import ABSENT, Bundles, Columns, factorise, first_offences, grouped
from tests.ledger.replay.synthetic import honest_log

_LOG = honest_log().entries
ENTRIES = tuple(_LOG[i] for i in (0, 3, 301, 302, 304, 306, 308, 311, 313, 314, 315, 317, 318))
HEAD = 132


def is_well_formed(entry: bytes) -> bool:
    bundles, bad = Bundles.join([(encode_bundle([entry]), 1)])
    assert not bad
    good, offences = first_offences(Columns.of(bundles.rows()), bundles.lengths)
    assert bool(good[0]) == (not offences)
    return bool(good[0])


def decodes(entry: bytes) -> bool:
    try:
        leaf = Leaf.decode(entry)
    except LicenceError:
        return False
    return leaf.encode() == entry


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_kind_is_well_formed(entry: bytes) -> None:
    assert is_well_formed(entry)


@given(entry=st.sampled_from(ENTRIES), at=st.integers(0, 400), value=st.integers(0, 255))
def test_a_changed_byte_is_judged_as_the_strict_decoder_does(entry: bytes, at: int, value: int) -> None:
    changed = bytearray(entry)
    changed[at % len(entry)] = value
    position = at % len(entry)
    # a type's characters are compared with those that a key may sign; a last day where none belongs is refused here only
    if not HEAD <= position < HEAD + 21 and not 95 <= position < 99:
        assert is_well_formed(bytes(changed)) == decodes(bytes(changed))


@given(entry=st.sampled_from(ENTRIES), cut=st.integers(0, 200), more=st.binary(max_size=40))
def test_another_length_is_judged_as_the_strict_decoder_does(entry: bytes, cut: int, more: bytes) -> None:
    changed = entry[:cut] + more
    assert is_well_formed(changed) == decodes(changed)


@given(st.lists(st.sampled_from([*ENTRIES, b"", b"\x01", bytes(700)]), min_size=1, max_size=300))
def test_bundles_hash_to_their_leaves_whatever_their_lengths(entries: list[bytes]) -> None:
    parts = [entries[i : i + 256] for i in range(0, len(entries), 256)]
    bundles, bad = Bundles.join([(encode_bundle(part), len(part)) for part in parts])
    assert not bad
    assert bundles.hashes() == hash_leaves(entries)
    assert [bundles.entry(i) for i in range(len(entries))] == entries


@given(data=st.binary(max_size=600), count=st.integers(1, 5))
def test_any_bytes_are_a_bundle_or_torn(data: bytes, count: int) -> None:
    bundles, bad = Bundles.join([(data, count), (None, 2)])
    assert bad in ([1], [0, 1])
    assert (bundles.lengths[-2:] == ABSENT).all()
    first_offences(Columns.of(bundles.rows()), bundles.lengths)


@given(st.lists(st.binary(min_size=21, max_size=21), min_size=1, max_size=50), st.data())
def test_factorised_rows_are_the_rows(distinct: list[bytes], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.sampled_from(distinct), min_size=1, max_size=200))
    array = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 21)
    found, number = factorise(array)
    assert np.array_equal(found[number], array)
    assert len(found) == len(set(rows))


def test_rows_made_to_collide_are_told_apart() -> None:
    factor = 0x9E3779B97F4A7C15
    mask = (1 << 64) - 1
    first = [3, 5]
    second = [4, (3 * factor ^ 5 ^ 4 * factor) & mask]  # the same mix as the first
    array = np.array([first, second, first], np.uint64).view(np.uint8)
    found, number = factorise(array)
    assert len(found) == 2
    assert np.array_equal(found[number], array)


@given(st.lists(st.integers(0, 5), max_size=30))
def test_groups_are_the_stretches(values: list[int]) -> None:
    values.sort()
    groups = grouped(np.array(values, np.int64))
    assert [value for value, begin, end in groups for _ in range(begin, end)] == values
    assert len({value for value, _, _ in groups}) == len(groups)
