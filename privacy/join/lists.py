"""Lists of blinded keys: what is hashed, and how equal tags of two lists are found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.join.errors import BlindedInvalid, MatchAmbiguous
from privacy.ristretto import ELEMENT_BYTES, ElementInvalid, Rows, Scalar, hash_all, tags

DST: Final = b"SHUYAO-V1-JOIN-ristretto255_XMD:SHA-512_R255MAP_RO_"
NOWHERE: Final = -1
RUN_MAX: Final = 4
"""Tags with the same first 8 bytes: five among 2^22 tags have probability below 2^-150."""


def hash_keys(session: bytes, keys: Iterable[tuple[bytes, int]]) -> Rows:
    """Hash keys with the number of their copy to elements.

    Args:
        session: session id.
        keys: (key, copy), copy counted from 0.

    Returns:
        uint8 of shape [n, 32].
    """
    return hash_all([session + copy.to_bytes(4, "big") + key for key, copy in keys], DST)


def tags_of(scalar: Scalar, elements: Rows, *, first: int = 0) -> Rows:
    """Return the tags of elements that came from the other side.

    Args:
        scalar: the own blinding scalar.
        elements: uint8 of shape [n, 32].
        first: the place of the first one in its list, for the message.

    Raises:
        BlindedInvalid: one is no element, or the identity.
    """
    try:
        return tags(scalar, elements)
    except ElementInvalid as err:
        raise BlindedInvalid(f"expected a blinded key at place {first + err.position}") from err


class TagIndex:
    """Finds tags in a list: sorted by their first 8 bytes, compared whole."""

    def __init__(self, found: Rows) -> None:
        """Sort a list.

        Args:
            found: uint8 of shape [n, 32].

        Raises:
            MatchAmbiguous: a tag is in the list twice, or tags start alike that no honest party makes.
        """
        self._tags = found
        prefixes = _prefixes(found)
        self._order = np.argsort(prefixes, kind="stable")
        self._sorted = prefixes[self._order]
        # longer runs are made by hand, and would make each look-up a walk through the list
        if (self._sorted[RUN_MAX:] == self._sorted[:-RUN_MAX]).any():
            raise MatchAmbiguous(f"expected at most {RUN_MAX} blinded keys that start alike, got more")
        for at in np.flatnonzero(self._sorted[1:] == self._sorted[:-1]):
            run = self._order[at : np.searchsorted(self._sorted, self._sorted[at], side="right")]
            if (found[run[1:]] == found[run[0]]).all(axis=1).any():
                raise MatchAmbiguous("expected different blinded keys, got one twice")

    def find(self, wanted: Rows) -> NDArray[np.intp]:
        """Return the place of each wanted tag in the list, or −1.

        Args:
            wanted: uint8 of shape [m, 32].
        """
        prefixes = _prefixes(wanted)
        left = np.searchsorted(self._sorted, prefixes, side="left")
        right = np.searchsorted(self._sorted, prefixes, side="right")
        places = np.full(len(wanted), NOWHERE, dtype=np.intp)
        near = np.flatnonzero(left < right)
        first = self._order[left[near]]
        equal = (self._tags[first] == wanted[near]).all(axis=1)
        places[near[equal]] = first[equal]
        for each in near[~equal & (right[near] - left[near] > 1)]:
            run = self._order[left[each] : right[each]]
            same = np.flatnonzero((self._tags[run] == wanted[each]).all(axis=1))
            if same.size:
                places[each] = run[same[0]]
        return places


def _prefixes(rows: Rows) -> NDArray[np.uint64]:
    whole = np.ascontiguousarray(rows).reshape(-1, ELEMENT_BYTES)
    return whole.view("<u8")[:, 0].astype(np.uint64)
