"""The value side: blinds the matcher's keys again, sends its own with encrypted numbers, and opens masked sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from privacy.join.errors import BlindedInvalid, CiphertextRefused, ValueOutOfRange
from privacy.join.lists import hash_keys, tags_of
from privacy.join.parts import PartReader, cut
from privacy.join.state import ValueRandomness, ValueState
from privacy.join.terms import CIPHERTEXT_BYTES, SHARE_MODULUS, JoinTerms
from privacy.join.values import KeyValues
from privacy.paillier import (
    EncryptedVector,
    PublicKey,
    ShortBlinding,
    decrypt,
    encode_public_key,
    encrypt,
    pack,
    unpack,
)
from privacy.paillier.errors import PaillierError
from privacy.ristretto import (
    ELEMENT_BYTES,
    UNIFORM_BYTES,
    ElementInvalid,
    Rows,
    clamped,
    decode,
    map_all,
    multiply_all,
    multiply_base,
)

CHUNK = 256  # entries that are made at once


@dataclass(frozen=True, slots=True)
class _Dummies:
    """Dummies of all sub-lists: tags to send back, and the elements that match some of them.

    Attributes:
        tags: uint8 of shape [groups, dummies, 32]: s·PK_M.
        elements: uint8 of shape [drawn, 32]: s·G of those that match.
    """

    tags: Rows
    elements: Rows


def value_round2(
    state: ValueRandomness, rows: KeyValues, dummies: Sequence[int], parts: Iterable[bytes]
) -> Iterator[bytes]:
    """Read the first message and make the second.

    The matcher's keys go back as tags of k_V·k_M·H(key), with dummies, in random order within their sub-list. The
    own keys follow as k_V·H(key), in random order, padded, each with its numbers under the own Paillier key.

    Args:
        state: of the session; the same state, rows, dummies and message give the same bytes.
        rows: the own keys with their numbers.
        dummies: for each sub-list how many dummies match: noise that the caller drew and charged.
        parts: of the first message, in order.

    Returns:
        parts, made as they are asked for. The first message has been read and checked before.

    Raises:
        ListTooLong, ValueOutOfRange: the own rows or dummies do not fit the terms.
        MessageRefused: the message is not what the terms fix; its subclasses say why.
    """
    terms = state.terms
    rows.require(terms)
    if len(dummies) != terms.groups or not all(0 <= drawn <= terms.dummies for drawn in dummies):
        raise ValueOutOfRange(f"expected 0 to {terms.dummies} dummies for each of {terms.groups} sub-lists")
    reader = PartReader(1, terms.round1_bytes, parts)
    reader.require_head(terms.head)
    drawn = _draw_dummies(state, reader.take(ELEMENT_BYTES), dummies)
    returned = _return(state, reader, drawn)
    reader.finish()
    return cut(2, terms.round2_bytes, _round2(state, rows, drawn.elements, returned))


def value_finish(state: ValueState, parts: Iterable[bytes]) -> list[int]:
    """Open the third message.

    Args:
        state: of the session.
        parts: of the third message, in order.

    Returns:
        v + r modulo 2^96, groups · values of them; value j of sub-list g at g·values + j.

    Raises:
        MessageRefused: the message is not what the terms fix; its subclasses say why.
    """
    return masked_shares(state.terms, state.public, parts, lambda vector: decrypt(state.key, vector))


def masked_shares(
    terms: JoinTerms,
    key: PublicKey,
    parts: Iterable[bytes],
    opened: Callable[[EncryptedVector], list[int]],
) -> list[int]:
    """Read the third message as `value_finish` does, with some way to open its ciphertexts, those of one sub-list at a time."""
    reader = PartReader(3, terms.round3_bytes, parts)
    reader.require_head(terms.head)
    shares: list[int] = []
    for _ in range(terms.groups):
        read = [reader.take(CIPHERTEXT_BYTES) for _ in range(terms.ciphertexts)]
        try:
            vector = EncryptedVector(key, tuple(int.from_bytes(each, "big") for each in read))
            masked = unpack(opened(vector), terms.layout, count=terms.values)
        except PaillierError as err:
            raise CiphertextRefused("expected encrypted masked sums") from err
        shares += [each % SHARE_MODULUS for each in masked]
    reader.finish()
    return shares


def _draw_dummies(state: ValueRandomness, public: bytes, dummies: Sequence[int]) -> _Dummies:
    """Draw a scalar for every place of a dummy; those of places that stay unmatched are used for the tag only."""
    terms, stream = state.terms, state.stream("dummies")
    try:
        matcher_key = np.frombuffer(decode(public), dtype=np.uint8).reshape(1, ELEMENT_BYTES)
    except ElementInvalid as err:
        raise BlindedInvalid("expected the matcher's public key") from err
    found = np.empty((terms.groups, terms.dummies, ELEMENT_BYTES), dtype=np.uint8)
    elements = []
    for group, drawn in enumerate(dummies):
        for place in range(terms.dummies):
            scalar = clamped(stream.read(32))
            found[group, place] = tags_of(scalar, matcher_key)[0]
            if place < drawn:
                elements.append(multiply_base(scalar))
    matching = np.frombuffer(b"".join(elements), dtype=np.uint8).reshape(-1, ELEMENT_BYTES)
    return _Dummies(found, matching)


def _return(state: ValueRandomness, reader: PartReader, drawn: _Dummies) -> Rows:
    """Return the tags of the matcher's sub-lists with their dummies, each in random order."""
    terms, scalar, order = state.terms, state.scalar(), state.stream("order")
    width = terms.matcher_rows + terms.dummies
    out = np.empty((terms.returned, ELEMENT_BYTES), dtype=np.uint8)
    for group in range(terms.groups):
        data = np.frombuffer(reader.take(ELEMENT_BYTES * terms.matcher_rows), dtype=np.uint8)
        elements = data.reshape(-1, ELEMENT_BYTES)
        found = tags_of(scalar, elements, first=group * terms.matcher_rows)
        both = np.concatenate((found, drawn.tags[group]))
        out[group * width : (group + 1) * width] = both[order.permutation(width)]
    return out


def _round2(state: ValueRandomness, rows: KeyValues, matching: Rows, returned: Rows) -> Iterator[bytes]:
    terms = state.terms
    yield terms.head
    yield encode_public_key(state.public)
    yield returned.tobytes()
    entries = _Entries(state, rows, matching)
    order = state.stream("entries").permutation(terms.entries)
    for start in range(0, terms.entries, CHUNK):
        yield entries.encode(order[start : start + CHUNK].tolist())


class _Entries:
    """The value side's list before it is shuffled: keys with their copies, then dummies, then padding."""

    def __init__(self, state: ValueRandomness, rows: KeyValues, matching: Rows) -> None:
        self._terms, self._rows, self._matching = state.terms, rows, matching
        self._scalar = state.scalar()
        self._padding = state.stream("padding")
        # the matcher cannot factor n: short exponents hide the numbers from it
        self._blinding = ShortBlinding(state.public, state.stream("encrypt").read)
        self._real = len(rows.keys) * state.terms.copies

    def encode(self, numbers: list[int]) -> bytes:
        """Return the entries of these numbers: blinded key and ciphertexts of each."""
        terms = self._terms
        elements = self._elements(numbers)
        plain = [each for number in numbers for each in self._plaintexts(number, terms)]
        values = encrypt(self._blinding, plain).values
        encoded = []
        for row in range(len(numbers)):
            encoded.append(elements[row].tobytes())
            own = values[row * terms.ciphertexts : (row + 1) * terms.ciphertexts]
            encoded += [int(value).to_bytes(CIPHERTEXT_BYTES, "big") for value in own]
        return b"".join(encoded)

    def _elements(self, numbers: list[int]) -> Rows:
        copies = self._terms.copies
        where = np.asarray(numbers)
        real = where < self._real
        dummy = ~real & (where < self._real + len(self._matching))
        out = np.empty((len(numbers), ELEMENT_BYTES), dtype=np.uint8)
        pairs = [(self._rows.keys[each // copies], each % copies) for each in where[real].tolist()]
        out[real] = multiply_all(self._scalar, hash_keys(self._terms.session, pairs))
        out[dummy] = self._matching[where[dummy] - self._real]
        padded = ~real & ~dummy
        out[padded] = map_all(self._padding.read(UNIFORM_BYTES * int(padded.sum())))
        return out

    def _plaintexts(self, number: int, terms: JoinTerms) -> list[int]:
        if number >= self._real:
            return [0] * terms.ciphertexts
        return pack(self._rows.dense(number // terms.copies, terms.values), terms.layout)
