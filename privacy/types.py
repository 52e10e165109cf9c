"""Names and values that plans are made of: digests, listing and asset references, violations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NewType

from privacy.errors import PlanInvalid

Digest = NewType("Digest", bytes)
"""32 bytes: a hash or an id."""

Address = NewType("Address", bytes)
"""20 bytes: an account."""

DIGEST_BYTES = 32
ADDRESS_BYTES = 20
VERSION_MAX = (1 << 64) - 1
VIOLATIONS_MAX = 100
"""Violations of one answer: more help nobody, and a query of 64 KB can break a rule at thousands of places."""
VIOLATION_CHARS_MAX = 500
"""Characters of a violation's message, or of the column it shows: a query may spell a name of 64 KB."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One reason why a query or plan is refused.

    Attributes:
        rule: the stable id of the broken rule, for example `unknown-column`.
        message: what was expected and what was found.
        column: the column concerned, as the policy or else the query spells it.
        line: line in the query text, from 1.
        position: character in that line, from 1.
    """

    rule: str
    message: str
    column: str | None = None
    line: int | None = None
    position: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the violation as a JSON object, plain numbers for line and position."""
        return {
            "rule": self.rule,
            "message": self.message,
            "column": self.column,
            "line": self.line,
            "position": self.position,
        }

    def __str__(self) -> str:
        where = "" if self.line is None else f" (line {self.line}, position {self.position})"
        return f"{self.rule}: {self.message}{where}"


def listed(violations: Sequence[Violation]) -> list[Violation]:
    """Return violations as an answer has them: by position, one of each rule and place, 100 at most, long texts cut.

    No rule is left out: where there are more, the first of each rule stays, then what comes first in the query; the last
    one, `more`, says how many are missing.
    """
    unique: dict[tuple[object, ...], Violation] = {}
    for each in violations:
        unique.setdefault((each.rule, each.line, each.position or each.message), each)
    ordered = sorted(unique.values(), key=_place)
    if len(ordered) <= VIOLATIONS_MAX:
        return [_cut(each) for each in ordered]
    seen: set[str] = set()
    ranks = []
    for place, each in enumerate(ordered):
        ranks.append((each.rule in seen, place))
        seen.add(each.rule)
    kept = sorted(place for _, place in sorted(ranks)[: VIOLATIONS_MAX - 1])
    missing = f"{len(ordered) - len(kept)} more violations, of the same rules, are not listed"
    return [*(_cut(ordered[place]) for place in kept), Violation("more", missing)]


def _place(violation: Violation) -> tuple[int, int, str]:
    """Return what violations are ordered by: those without a place come first, as they were found."""
    if violation.line is None or violation.position is None:
        return 0, 0, ""
    return violation.line, violation.position, violation.rule


def _cut(violation: Violation) -> Violation:
    column = violation.column
    return replace(
        violation, message=_short(violation.message), column=None if column is None else _short(column)
    )


def _short(text: str) -> str:
    return text if len(text) <= VIOLATION_CHARS_MAX else text[: VIOLATION_CHARS_MAX - 1] + "…"


@dataclass(frozen=True, slots=True)
class ListingRef:
    """The listing a plan is for: its id on the chain and the name that FROM uses."""

    id: Digest
    name: str

    def __post_init__(self) -> None:
        require_length("listing id", self.id, DIGEST_BYTES)


@dataclass(frozen=True, slots=True)
class AssetRef:
    """One version of one holder's asset, as registered on the chain."""

    asset: Digest
    version: int
    holder: Address
    policy_hash: Digest
    snapshot_root: Digest

    def __post_init__(self) -> None:
        require_length("asset id", self.asset, DIGEST_BYTES)
        require_length("holder", self.holder, ADDRESS_BYTES)
        require_length("policy hash", self.policy_hash, DIGEST_BYTES)
        require_length("snapshot root", self.snapshot_root, DIGEST_BYTES)
        if not 1 <= self.version <= VERSION_MAX:
            raise PlanInvalid(f"an asset version must be in [1, 2^64), not {self.version}")

    def to_json(self) -> dict[str, str]:
        """Return the JSON object that stands in a plan."""
        return {
            "asset": to_hex(self.asset),
            "version": str(self.version),
            "holder": to_hex(self.holder),
            "policy_hash": to_hex(self.policy_hash),
            "snapshot_root": to_hex(self.snapshot_root),
        }

    @classmethod
    def from_json(cls, value: Any) -> "AssetRef":
        """Read what `to_json` wrote.

        Raises:
            PlanInvalid: a member is missing, unknown or malformed.
        """
        members = require_members(
            "asset", value, ("asset", "version", "holder", "policy_hash", "snapshot_root")
        )
        return cls(
            asset=Digest(from_hex("asset", members["asset"], DIGEST_BYTES)),
            version=from_decimal("version", members["version"]),
            holder=Address(from_hex("holder", members["holder"], ADDRESS_BYTES)),
            policy_hash=Digest(from_hex("policy_hash", members["policy_hash"], DIGEST_BYTES)),
            snapshot_root=Digest(from_hex("snapshot_root", members["snapshot_root"], DIGEST_BYTES)),
        )


def to_hex(value: bytes) -> str:
    """Return bytes as lower-case hex with `0x`."""
    return "0x" + value.hex()


def from_hex(what: str, value: Any, length: int) -> bytes:
    """Read lower-case hex with `0x` of exactly `length` bytes.

    Raises:
        PlanInvalid: any other text or type.
    """
    if not isinstance(value, str) or len(value) != 2 + 2 * length or not value.startswith("0x"):
        raise PlanInvalid(f"{what} must be 0x and {2 * length} lower-case hex digits")
    digits = value[2:]
    if any(digit not in "0123456789abcdef" for digit in digits):
        raise PlanInvalid(f"{what} must be 0x and {2 * length} lower-case hex digits")
    return bytes.fromhex(digits)


def from_decimal(what: str, value: Any, *, digits_max: int = 40) -> int:
    """Read an integer written as a decimal string without leading zeros (`"0"`, `"-5"`).

    Raises:
        PlanInvalid: any other text or type.
    """
    text = value if isinstance(value, str) and len(value) <= digits_max else ""
    digits = text[1:] if text.startswith("-") else text
    if not (digits.isascii() and digits.isdigit()) or text != str(int(text)):
        raise PlanInvalid(f"{what} must be an integer as a decimal string without leading zeros")
    return int(text)


def require_length(what: str, value: bytes, length: int) -> None:
    """Refuse bytes of another length.

    Raises:
        PlanInvalid: `value` is not `length` bytes.
    """
    if len(value) != length:
        raise PlanInvalid(f"{what} must be {length} bytes, not {len(value)}")


def read_text(what: str, value: Any) -> str:
    """Refuse anything but a JSON string that has a form in UTF-8: half of a surrogate pair could not be written again.

    Raises:
        PlanInvalid: it is none.
    """
    if not isinstance(value, str):
        raise PlanInvalid(f"{what} must be a JSON string")
    try:
        value.encode()
    except UnicodeEncodeError as err:
        raise PlanInvalid(f"{what} must be a JSON string without half of a surrogate pair") from err
    return value


def require_members(what: str, value: Any, names: tuple[str, ...]) -> Mapping[str, Any]:
    """Refuse anything but a JSON object with exactly these members.

    Raises:
        PlanInvalid: not an object, or a member is missing or unknown.
    """
    if not isinstance(value, dict):
        raise PlanInvalid(f"{what} must be a JSON object")
    missing = sorted(set(names) - set(value))
    unknown = sorted(set(value) - set(names))
    if missing or unknown:
        raise PlanInvalid(f"{what}: missing members {missing}, unknown members {unknown}")
    return value
