"""The matcher: blinds its keys, finds the equal ones, adds up what it cannot read, and masks the sums."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

from privacy.join.errors import (
    CiphertextRefused,
    ListTooLong,
    MatchAmbiguous,
    MultiplicityExceeded,
    PublicKeyRefused,
    TermsInvalid,
)
from privacy.join.lists import NOWHERE, TagIndex, hash_keys, tags_of
from privacy.join.parts import PartReader, cut
from privacy.join.state import MatcherState
from privacy.join.terms import CIPHERTEXT_BYTES, PUBLIC_KEY_BYTES, SHARE_MODULUS, JoinTerms
from privacy.paillier import (
    KEY_BITS,
    EncryptedVector,
    PublicKey,
    UniformBlinding,
    add_plain,
    decode_public_key,
    pack,
    rerandomise,
)
from privacy.paillier.errors import CiphertextInvalid, PaillierError
from privacy.ristretto import (
    ELEMENT_BYTES,
    UNIFORM_BYTES,
    Rows,
    map_all,
    multiply_all,
    multiply_base,
)

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Matched:
    """What the matcher has after the third round.

    Attributes:
        parts: of the message to the value side.
        share: −r modulo 2^96, groups · values of them; value j of sub-list g at g·values + j.
        matches: of each sub-list, dummies included: the matcher learns these numbers.
    """

    parts: tuple[bytes, ...]
    share: tuple[int, ...] = field(repr=False)
    matches: tuple[int, ...]


def matcher_round1(state: MatcherState, sublists: Sequence[Sequence[bytes]]) -> Iterator[bytes]:
    """Make the first message: k_M·G and k_M·H(key), each sub-list padded and in random order.

    Args:
        state: of the session; the same state and keys give the same bytes.
        sublists: the keys of the rows of each group. A key stands there once for each of its rows.

    Returns:
        parts, made as they are asked for.

    Raises:
        TermsInvalid: another number of sub-lists.
        ListTooLong: more rows in a sub-list than it has places.
        MultiplicityExceeded: a key with more rows, over all sub-lists, than the terms have copies.
    """
    terms = state.terms
    if len(sublists) != terms.groups:
        raise TermsInvalid(f"expected {terms.groups} sub-lists, got {len(sublists)}")
    for rows in sublists:
        if len(rows) > terms.matcher_rows:
            raise ListTooLong("rows of a sub-list", most=terms.matcher_rows, actual=len(rows))
    numbered = _numbered(sublists, terms.copies)
    return cut(1, terms.round1_bytes, _round1(state, numbered))


def matcher_round3(state: MatcherState, parts: Iterable[bytes]) -> Matched:
    """Read the second message, match, and make the third: for each sub-list the masked sums, re-randomised.

    Args:
        state: of the session.
        parts: of the second message, in order; read once, one at a time.

    Raises:
        MessageRefused: the message is not what the terms fix; its subclasses say why.
    """
    terms = state.terms
    reader = PartReader(2, terms.round2_bytes, parts)
    reader.require_head(terms.head)
    key = _public_key(reader.take(PUBLIC_KEY_BYTES))
    returned = reader.take(ELEMENT_BYTES * terms.returned)
    index = TagIndex(np.frombuffer(returned, dtype=np.uint8).reshape(-1, ELEMENT_BYTES))
    sums = _Sums(terms, key)
    _match(state, reader, index, sums)
    reader.finish()
    masks = _masks(state)
    blinding = UniformBlinding(key, state.stream("rerandomise").read)
    masked = rerandomise(add_plain(sums.vector(), _packed(masks, terms)), blinding)
    body = b"".join([int(value).to_bytes(CIPHERTEXT_BYTES, "big") for value in masked.values])
    return Matched(
        tuple(cut(3, terms.round3_bytes, (terms.head, body))),
        tuple(-mask % SHARE_MODULUS for mask in masks),
        tuple(sums.matches.tolist()),
    )


class _Sums:
    """Running encrypted sums of the sub-lists."""

    def __init__(self, terms: JoinTerms, key: PublicKey) -> None:
        self._key, self._ciphertexts = key, terms.ciphertexts
        self._places = terms.matcher_rows + terms.dummies
        self._products = [[mpz(1)] * terms.ciphertexts for _ in range(terms.groups)]
        self._found = np.zeros(terms.returned, dtype=np.bool_)
        self.matches: NDArray[np.int64] = np.zeros(terms.groups, dtype=np.int64)

    def add(self, place: int, entry: bytes) -> None:
        """Add the entry that matches a place.

        Raises:
            MatchAmbiguous: the place was matched before.
            CiphertextRefused: a number in the entry is no ciphertext.
        """
        if self._found[place]:
            raise MatchAmbiguous("expected at most one entry for each blinded key, got two")
        self._found[place] = True
        group = place // self._places
        self.matches[group] += 1
        starts = range(0, self._ciphertexts * CIPHERTEXT_BYTES, CIPHERTEXT_BYTES)
        values = tuple([mpz(int.from_bytes(entry[at : at + CIPHERTEXT_BYTES], "big")) for at in starts])
        try:
            self._key.require_ciphertexts(values)
        except CiphertextInvalid as err:
            raise CiphertextRefused(f"expected a ciphertext at place {err.position} of an entry") from err
        products, modulus = self._products[group], self._key.n_square
        for number, value in enumerate(values):
            products[number] = products[number] * value % modulus

    def vector(self) -> EncryptedVector:
        """Return the sums of all sub-lists; one without a match is an encryption of 0 without randomness."""
        return EncryptedVector(self._key, tuple(each for row in self._products for each in row))


def _round1(state: MatcherState, numbered: list[list[tuple[bytes, int]]]) -> Iterator[bytes]:
    terms, scalar = state.terms, state.scalar()
    padding, order = state.stream("padding"), state.stream("order")
    yield terms.head
    yield multiply_base(scalar)
    for rows in numbered:
        blinded = multiply_all(scalar, hash_keys(terms.session, rows))
        missing = terms.matcher_rows - len(rows)
        filled = np.concatenate((blinded, map_all(padding.read(UNIFORM_BYTES * missing))))
        yield filled[order.permutation(len(filled))].tobytes()


def _numbered(sublists: Sequence[Sequence[bytes]], copies: int) -> list[list[tuple[bytes, int]]]:
    """Number the rows of each key from 0, over all sub-lists."""
    seen: dict[bytes, int] = {}
    numbered = []
    for rows in sublists:
        pairs = []
        for key in rows:
            copy = seen.get(key, 0)
            if copy >= copies:
                raise MultiplicityExceeded(most=copies)
            seen[key] = copy + 1
            pairs.append((key, copy))
        numbered.append(pairs)
    return numbered


def _match(state: MatcherState, reader: PartReader, index: TagIndex, sums: _Sums) -> None:
    """Read the value side's list piece by piece and add what matches."""
    terms, scalar = state.terms, state.scalar()
    width = terms.entry_bytes
    step = max(1, CHUNK_BYTES // width)
    for start in range(0, terms.entries, step):
        count = min(step, terms.entries - start)
        chunk = np.frombuffer(reader.take(count * width), dtype=np.uint8).reshape(count, width)
        elements: Rows = chunk[:, :ELEMENT_BYTES]
        places = index.find(tags_of(scalar, elements, first=start))
        for row in np.flatnonzero(places != NOWHERE):
            sums.add(int(places[row]), chunk[row, ELEMENT_BYTES:].tobytes())


def _public_key(data: bytes) -> PublicKey:
    try:
        key = decode_public_key(data)
    except PaillierError as err:
        raise PublicKeyRefused("expected a Paillier key") from err
    if key.n.bit_length() != KEY_BITS:
        raise PublicKeyRefused(f"expected a key of {KEY_BITS} bits, got {key.n.bit_length()}")
    return key


def _masks(state: MatcherState) -> list[int]:
    """Draw r for each value of each sub-list."""
    terms, stream = state.terms, state.stream("mask")
    return [stream.below_power(terms.mask_bits) for _ in range(terms.groups * terms.values)]


def _packed(masks: list[int], terms: JoinTerms) -> list[int]:
    """Pack the masks of each sub-list into its own plaintexts."""
    layout = terms.layout
    starts = range(0, len(masks), terms.values)
    return [plain for at in starts for plain in pack(masks[at : at + terms.values], layout)]
