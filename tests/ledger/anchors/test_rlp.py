"""RLP: what decodes is its own encoding, and everything else is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.anchors import rlp
from ledger.anchors.errors import EvidenceMalformed
from ledger.rlp import Item, encode, encode_number
from tests.ledger.anchors.sealing import enc

ITEMS = st.recursive(st.binary(max_size=80), lambda inner: st.lists(inner, max_size=5), max_leaves=20)
LOREM = b"Lorem ipsum dolor sit amet, consectetur adipisicing elit"
# Examples of the Ethereum wiki's page on RLP.
EXAMPLES: list[tuple[Item, str]] = [
    (b"dog", "83646f67"),
    ([b"cat", b"dog"], "c88363617483646f67"),
    (b"", "80"),
    ([], "c0"),
    (b"\0", "00"),
    (b"\x0f", "0f"),
    (b"\x04\0", "820400"),
    ([[], [[]], [[], [[]]]], "c7c0c1c0c3c0c1c0"),
    (LOREM, "b838" + LOREM.hex()),
]
REFUSED = {
    "nothing": "",
    "a byte with a prefix": "8100",
    "a byte with a prefix below 0x80": "817f",
    "a short string in the long form": "b803646f67",
    "a length with a leading zero": "b90038" + "00" * 56,
    "a length of no bytes": "b800",
    "a short list in the long form": "f803" + "c0c0c0",
    "a list's length with a leading zero": "f90038" + "c0" * 56,
    "a string cut short": "83646f",
    "a list cut short": "c88363617483646f",
    "a length cut short": "b9",
    "a length of 2^64 - 1": "bfffffffffffffffff",
    "a string beyond its list": "c283646f67",
    "a string beyond its list and the data": "c28364",
    "a string beyond the inner of two lists": "c5c283646f67",
    "a byte left over": "83646f6700",
    "two items": "c0c0",
    "a deep nest": "d3d2d1d0cfcecdcccbcac9c8c7c6c5c4c3c2c1c0",
}


@pytest.mark.parametrize(("item", "encoded"), EXAMPLES)
def test_known_examples_are_encoded_and_decoded(item: Item, encoded: str) -> None:
    assert encode(item).hex() == encoded
    assert rlp.decode(bytes.fromhex(encoded), "example") == item


@pytest.mark.parametrize("encoded", REFUSED.values(), ids=REFUSED)
def test_what_is_not_canonical_is_refused(encoded: str) -> None:
    with pytest.raises(EvidenceMalformed):
        rlp.decode(bytes.fromhex(encoded), "example")


@given(ITEMS)
def test_items_survive_their_encoding(item: Item) -> None:
    encoded = encode(item)
    assert encoded == enc(item)
    assert rlp.decode(encoded, "item") == item


@given(st.binary(max_size=100))
def test_bytes_that_decode_are_their_own_encoding(data: bytes) -> None:
    try:
        item = rlp.decode(data, "data")
    except EvidenceMalformed:
        return
    assert encode(item) == data


@given(st.integers(0, (1 << 256) - 1))
def test_scalars_survive(value: int) -> None:
    assert rlp.require_number(encode_number(value), "scalar") == value


@pytest.mark.parametrize("item", [b"\0", b"\0\1", bytes([1]) * 33, []])
def test_scalars_of_another_form_are_refused(item: Item) -> None:
    with pytest.raises(EvidenceMalformed):
        rlp.require_number(item, "scalar")


class CountedBytes(bytes):
    """Counts the bytes that are copied out of it by slices."""

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(key, slice):
            CountedBytes.copied += len(found)
            return CountedBytes(found)
        return found


def test_a_long_list_is_copied_once() -> None:
    data = CountedBytes(encode([b"\1"] * 5000))
    CountedBytes.copied = 0
    assert len(rlp.decode_list(data, "list")) == 5000
    assert CountedBytes.copied <= 2 * len(data)
