"""Disclosures of an SD-JWT: salts, digests, and what a presentation's disclosures say at any depth.

Source: RFC 9901 §4.2 (disclosures and digests), §4.2.4 and §4.2.6 (arrays, nesting), §7.1 (processing).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ledger.licences.encoding import are_b64u, b64u, is_b64u, parse_any, parse_b64u, require_b64u
from ledger.licences.errors import HiddenMandatoryField, Malformed
from ledger.licences.packing import NOTHING_OPENED
from ledger.licences.packing import Opened as Parts
from ledger.licences.schema import require_name

SEED_SIZE: Final = 32
SALT_SIZE: Final = 16
DIGEST_SIZE: Final = 32
DISCLOSURE_MAX: Final = 1 << 14
_TEXT_MAX: Final = (DISCLOSURE_MAX * 4 + 2) // 3  # characters of base64url that so many bytes have
_DEPTH_MAX: Final = 16


def expand_seed(seed: bytes, count: int) -> bytes:
    """Return the random bytes of one licence: 32 for each salted field, in the order of its type.

    A field's salt is the first 16 of its bytes; of a field that the licence lacks, all 32 are the decoy. The
    seed is drawn for one licence alone and kept nowhere but in its private record: without the record no salt
    can be computed again, and a disclosed salt tells nothing about another (SHAKE-256 is one-way).

    Args:
        seed: 32 bytes of the system's randomness, never used for two licences.

    Raises:
        Malformed: another length.
    """
    if not isinstance(seed, bytes) or len(seed) != SEED_SIZE:
        raise Malformed("seed", f"{SEED_SIZE} bytes", "another length or type")
    return hashlib.shake_256(b"shuyao/v1/salts\0" + seed).digest(32 * count)


def digest_of(disclosure: str) -> str:
    """Return the digest by which the payload refers to a disclosure (RFC 9901 §4.2.3)."""
    return b64u(hashlib.sha256(disclosure.encode("ascii")).digest())


Opened = tuple[list[Any], str]  # the parsed array, and the disclosure as it was sent


def open_disclosures(disclosures: list[str], parsed: Parts = NOTHING_OPENED) -> dict[str, Opened]:
    """Parse disclosures, and key them by their digests.

    Args:
        parsed: disclosures that are parsed already.

    Raises:
        Malformed: another form, another salt than 16 bytes, a name that is no plain ASCII name, or one twice.
        HiddenMandatoryField: one has the name of a member that the issuer must show.
    """
    arrays: dict[str, list[Any]] = {}
    for position, text in enumerate(disclosures):
        array = parsed.get(text) if len(text) <= _TEXT_MAX else None
        if array is None:
            field = f"disclosure {position}"
            array = parse_any(parse_b64u(text, field), field, size_max=DISCLOSURE_MAX)
        if not isinstance(array, list) or len(array) not in (2, 3):
            raise Malformed(f"disclosure {position}", "an array of 2 or 3 elements", "something else")
        if not is_b64u(array[0], SALT_SIZE):
            require_b64u(array[0], f"disclosure {position}, salt", SALT_SIZE)
        if len(array) == 3:
            require_name(array[1])
        if text in arrays:
            raise Malformed(f"disclosure {position}", "a disclosure once", "a repeated disclosure")
        arrays[text] = array
    opened = ((array, text) for text, array in arrays.items())
    return dict(zip(_digests_of(arrays), opened, strict=True))


def _digests_of(disclosures: Iterable[str]) -> list[str]:
    """Return `digest_of` each, written as base64url all at once: a digest and a zero byte are 44 characters, 43 of them the digest's."""
    digests = [hashlib.sha256(text.encode("ascii")).digest() for text in disclosures]
    text = b64u(b"\0".join([*digests, b""]))
    return [text[at : at + 43] for at in range(0, len(text), 44)]


class Resolver:
    """Puts disclosed values in the place of their digests, at any depth (RFC 9901 §7.1, step 3).

    `used` has the digests of the disclosures that were referenced.
    """

    def __init__(self, opened: Mapping[str, Opened]) -> None:
        self._opened = opened
        self._seen: set[str] = set()
        self.used: set[str] = set()

    def value(self, value: Any, depth: int) -> Any:
        """Resolve any value.

        Raises:
            Malformed, HiddenMandatoryField: as `members`; or nested too deep.
        """
        if depth > _DEPTH_MAX:
            raise Malformed("disclosures", f"at most {_DEPTH_MAX} levels", "more")
        if isinstance(value, dict):
            return self.members(value, depth)
        return self._array(value, depth) if isinstance(value, list) else value

    def members(self, value: dict[str, Any], depth: int) -> dict[str, Any]:
        """Resolve an object: each digest in `_sd` becomes the member that its disclosure names, or nothing.

        Raises:
            Malformed: a repeated digest, a member that is there already, or a disclosure of another size.
            HiddenMandatoryField: `_sd_alg` or `...` where it may not stand.
        """
        for name in ("_sd_alg", "..."):
            if name in value:
                raise HiddenMandatoryField(name)
        made = {name: self.value(inner, depth + 1) for name, inner in value.items() if name != "_sd"}
        digests = value.get("_sd", [])
        if not isinstance(digests, list):
            raise Malformed("_sd", "an array", type(digests).__name__)
        are_formed = are_b64u(digests, DIGEST_SIZE)
        for digest in digests:
            array = self._take(digest, 3, is_formed=are_formed)
            if array is None:
                continue
            if array[1] in made:
                raise Malformed("disclosures", "a field once", "a field that is there already")
            made[array[1]] = self.value(array[2], depth + 1)
        return made

    def _array(self, value: list[Any], depth: int) -> list[Any]:
        made = []
        for element in value:
            if isinstance(element, dict) and "..." in element:
                if len(element) != 1:
                    raise Malformed("array element", "a digest alone", f"{len(element)} members")
                array = self._take(element["..."], 2)
                if array is not None:
                    made.append(self.value(array[1], depth + 1))
            else:
                made.append(self.value(element, depth + 1))
        return made

    def _take(self, digest: object, size: int, *, is_formed: bool = False) -> list[Any] | None:
        found = self._opened.get(digest) if isinstance(digest, str) else None
        # a decoy, or what is not shown: it has the form of a digest all the same
        if found is None and not is_formed:
            require_b64u(digest, "digest", DIGEST_SIZE)
        if not isinstance(digest, str) or digest in self._seen:
            raise Malformed("digest", "a digest once", "a repeated digest")
        self._seen.add(digest)
        if found is None:
            return None
        array = found[0]
        if len(array) != size:
            raise Malformed("disclosure", f"{size} elements where its digest stands", f"{len(array)}")
        self.used.add(digest)
        return array


def require_value(value: object, depth: int = 0) -> None:
    """Refuse a value that a verifier would not read back as it was given.

    Raises:
        Malformed: null (a field that the licence lacks is left out), or nested too deep.
        HiddenMandatoryField: an object in it has a member that stands for digests.
    """
    if depth == 0 and value is None:
        raise Malformed("value", "a value; leave out a field that the licence lacks", "null")
    if depth > _DEPTH_MAX - 1:
        raise Malformed("value", f"at most {_DEPTH_MAX - 1} levels", "more")
    if isinstance(value, dict):
        for name in ("_sd", "_sd_alg", "..."):
            if name in value:
                raise HiddenMandatoryField(name)
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            require_value(inner, depth + 1)


def require_ascending(digests: object) -> None:
    """Refuse digests in any other than ascending order, which would tell in what order the issuer has its fields.

    Raises:
        Malformed: no array of strings, another order, or a digest twice.
    """
    if not isinstance(digests, list) or set(map(type, digests)) - {str}:
        raise Malformed("_sd", "an array of strings", "something else")
    if digests != sorted(set(digests)):
        raise Malformed("_sd", "digests in ascending order, each once", "another order or a repeated digest")
