"""What a verifier trusts: cities with their keys and witnesses, how old a fact may be, and which anchor it insists on.

A policy is the verifier's own. Nothing in a bundle widens it but a recognition by a city in it (docs/licence.md §9).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal, cast

from ledger.encoding import Address, address_from_hex, to_hex
from ledger.errors import MalformedValue
from ledger.licences.encoding import parse_any
from ledger.licences.errors import Malformed, QuorumSplits
from ledger.licences.identifiers import require_origin, require_type
from ledger.licences.keys import PublicKey
from ledger.log.checkpoint import Quorum
from ledger.log.errors import LogError
from ledger.log.notes import ED25519, NoteKey

AnchorKind = Literal["none", "attested", "proved"]
ANCHOR_KINDS: Final[tuple[AnchorKind, ...]] = ("none", "attested", "proved")  # ascending in what they prove
POLICY_VERSION: Final = 1
CITIES_MAX: Final = 1024
WITNESSES_MAX: Final = 32
TYPES_MAX: Final = 4096
VALIDATORS_MAX: Final = 512
_SECONDS_MAX: Final = 10 * 366 * 86_400
_NAME_MAX: Final = 100
_SIZE_MAX: Final = 1 << 24
_KEYS: Final = ("origin", "log_key", "witnesses", "threshold", "registrar", "service", "types")
_AGES: Final = ("skew_s", "status_age_s", "issuer_age_s", "kb_age_s")


@dataclass(frozen=True, slots=True)
class AnchorPin:
    """The chain and the contract that a log is anchored in; `validators` may seal its blocks, if the chain has seals."""

    chain_id: int
    contract: Address
    validators: frozenset[Address] = frozenset()

    def __post_init__(self) -> None:
        require_int("anchor.chain_id", self.chain_id, 1, (1 << 53) - 1)
        if len(self.contract) != 20 or any(len(v) != 20 for v in self.validators):
            raise Malformed("anchor", "addresses of 20 bytes", "another length")
        if len(self.validators) > VALIDATORS_MAX:
            raise Malformed("anchor.validators", f"at most {VALIDATORS_MAX}", str(len(self.validators)))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        validators = [to_hex(v) for v in sorted(self.validators)]
        return {"chain_id": self.chain_id, "contract": to_hex(self.contract), "validators": validators}

    @classmethod
    def from_json(cls, value: object) -> AnchorPin:
        """Read the JSON form.

        Raises:
            Malformed: other members, a chain id out of range, or no address.
        """
        given = require_members("anchor", value, ("chain_id", "contract", "validators"))
        try:
            validators = [address_from_hex(v) for v in require_list("anchor.validators", given["validators"])]
            contract = address_from_hex(given["contract"])
        except MalformedValue as err:
            raise Malformed("anchor", err.expected, err.actual) from err
        return cls(given["chain_id"], contract, frozenset(validators))


@dataclass(frozen=True, slots=True)
class City:
    """A city's log and the keys behind it.

    Attributes:
        origin: of its log.
        log_key: signs its checkpoints.
        quorum: its witnesses; two quorums of them share an honest one even if one lies.
        registrar: signs issuer histories, key events and recognitions.
        service: signs status tokens and access batches.
        types: the licence types that count from there, ascending; None for all.
        name: for people, up to 100 characters.
        anchor: where the log is anchored, if the verifier knows.
    """

    origin: str
    log_key: NoteKey
    quorum: Quorum
    registrar: PublicKey
    service: PublicKey
    types: tuple[str, ...] | None = None
    name: str = ""
    anchor: AnchorPin | None = None

    def __post_init__(self) -> None:
        require_origin(self.origin)
        if self.log_key.algorithm != ED25519:
            raise Malformed("city.log_key", "an Ed25519 note key", "a cosigner's key")
        witnesses = len(self.quorum.keys)
        if not 1 <= witnesses <= WITNESSES_MAX:
            raise Malformed("city.witnesses", f"1 to {WITNESSES_MAX}", str(witnesses))
        if 2 * self.quorum.threshold < witnesses + 2:
            raise QuorumSplits(self.quorum.threshold, witnesses)
        if any(key.public_key == self.log_key.public_key for key in self.quorum.keys):
            raise Malformed("city.witnesses", "keys other than the log's", "the log's own key")
        if len(self.name) > _NAME_MAX or not self.name.isprintable():
            raise Malformed(
                "city.name", f"up to {_NAME_MAX} printable characters", f"{len(self.name)} characters"
            )
        if self.types is not None:
            require_types("city.types", self.types)

    def __hash__(self) -> int:
        return hash(self.origin)  # a policy has each once, and caches ask for this with every bundle

    def recognises(self, type_code: str) -> bool:
        """Say whether licences of a type count from this city."""
        return self.types is None or type_code in self.types

    def keys_json(self) -> dict[str, Any]:
        """Return origin, keys, witnesses and types: what a recognition and a policy both have."""
        return {
            "origin": self.origin,
            "log_key": self.log_key.to_text(),
            "witnesses": [key.to_text() for key in self.quorum.keys],
            "threshold": self.quorum.threshold,
            "registrar": self.registrar.jwk(),
            "service": self.service.jwk(),
            "types": None if self.types is None else list(self.types),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that a policy has."""
        anchor = None if self.anchor is None else self.anchor.to_json()
        return {**self.keys_json(), "name": self.name, "anchor": anchor}

    @classmethod
    def from_json(cls, value: object) -> City:
        """Read the JSON form that a policy has.

        Raises:
            Malformed: other members, or a value outside its type.
            KeyUnsupported: a JWK is of no supported kind.
            QuorumSplits: the threshold is too low.
        """
        given = require_members("city", value, (*_KEYS, "name", "anchor"))
        name = given["name"]
        if not isinstance(name, str):
            raise Malformed("city.name", "a string", type(name).__name__)
        anchor = None if given["anchor"] is None else AnchorPin.from_json(given["anchor"])
        return city_from_keys({key: given[key] for key in _KEYS}, name=name, anchor=anchor)


def city_from_keys(value: Mapping[str, Any], *, name: str, anchor: AnchorPin | None) -> City:
    """Read a city out of the members that `City.keys_json` writes.

    Raises:
        Malformed: other members, or a value outside its type.
        KeyUnsupported: a JWK is of no supported kind.
        QuorumSplits: the threshold is too low.
    """
    given = require_members("city", value, _KEYS)
    types = given["types"]
    if types is not None:
        types = require_types("city.types", tuple(require_list("city.types", types)))
    witnesses = require_list("city.witnesses", given["witnesses"])
    if len(witnesses) > WITNESSES_MAX:
        raise Malformed("city.witnesses", f"at most {WITNESSES_MAX}", str(len(witnesses)))
    threshold = require_int("city.threshold", given["threshold"], 1, WITNESSES_MAX)
    try:
        quorum = Quorum(tuple(_note_key(key) for key in witnesses), threshold)
        log_key = _note_key(given["log_key"])
    except LogError as err:
        raise Malformed("city", "verifier keys", str(err)) from err
    except MalformedValue as err:
        raise Malformed(f"city.{err.field}", err.expected, err.actual) from err
    return City(
        require_origin(given["origin"]),
        log_key,
        quorum,
        PublicKey.from_jwk(given["registrar"]),
        PublicKey.from_jwk(given["service"]),
        types,
        name,
        anchor,
    )


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """The cities that a verifier trusts and how old it lets a fact be.

    Attributes:
        cities: one for each log origin.
        skew_s: how far clocks may differ.
        status_age_s: how old a status token may be; its own `exp` and `ttl` bind as well.
        issuer_age_s: how old an issuer history may be.
        kb_age_s: how old a bearer's proof may be.
        anchor: the least that an anchor must prove.
    """

    cities: tuple[City, ...]
    skew_s: int = 60
    status_age_s: int = 86_400
    issuer_age_s: int = 604_800
    kb_age_s: int = 60
    anchor: AnchorKind = "none"

    def __post_init__(self) -> None:
        if not 1 <= len(self.cities) <= CITIES_MAX:
            raise Malformed("policy.cities", f"1 to {CITIES_MAX}", str(len(self.cities)))
        if len({city.origin for city in self.cities}) != len(self.cities):
            raise Malformed("policy.cities", "each origin once", "a repeated origin")
        for name in _AGES:
            require_int(f"policy.{name}", getattr(self, name), 0, _SECONDS_MAX)
        if self.anchor not in ANCHOR_KINDS:
            raise Malformed("policy.anchor", " or ".join(ANCHOR_KINDS), "something else")

    def city(self, origin: str) -> City | None:
        """Return the city of a log's origin, if it is trusted."""
        return next((city for city in self.cities if city.origin == origin), None)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        ages = {name: getattr(self, name) for name in _AGES}
        cities = [city.to_json() for city in self.cities]
        return {"version": POLICY_VERSION, "cities": cities, **ages, "anchor": self.anchor}

    @classmethod
    def from_json(cls, value: object) -> TrustPolicy:
        """Read the JSON form.

        Raises:
            Malformed: other members, or a value outside its type.
            KeyUnsupported: a JWK is of no supported kind.
            QuorumSplits: a city's threshold is too low.
        """
        given = require_members("policy", value, ("version", "cities", *_AGES, "anchor"))
        if given["version"] != POLICY_VERSION or isinstance(given["version"], bool):
            raise Malformed("policy.version", str(POLICY_VERSION), "another version")
        cities = tuple(City.from_json(city) for city in require_list("policy.cities", given["cities"]))
        ages = {name: given[name] for name in _AGES}
        return cls(cities, **ages, anchor=given["anchor"])

    @classmethod
    def parse(cls, data: bytes) -> TrustPolicy:
        """Read a policy file; any JSON form of it will do.

        Raises:
            Malformed: no JSON, or as `from_json`.
            KeyUnsupported: a JWK is of no supported kind.
            QuorumSplits: a city's threshold is too low.
        """
        return cls.from_json(parse_any(data, "policy", size_max=_SIZE_MAX))


def require_members(field: str, value: object, names: tuple[str, ...]) -> Mapping[str, Any]:
    """Return an object as it is, if it has exactly these members.

    Raises:
        Malformed: no object, a member missing or one too many.
    """
    if not isinstance(value, Mapping):
        raise Malformed(field, "an object", type(value).__name__)
    if value.keys() != set(names):
        raise Malformed(field, f"the members {', '.join(sorted(names))}", "another set")
    return value


def require_list(field: str, value: object) -> list[Any]:
    """Return a list as it is.

    Raises:
        Malformed: no list.
    """
    if not isinstance(value, list):
        raise Malformed(field, "an array", type(value).__name__)
    return value


def require_int(field: str, value: object, low: int, high: int) -> int:
    """Return an integer as it is, if it is in [low, high].

    Raises:
        Malformed: no integer, or outside.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Malformed(field, f"an integer in [{low}, {high}]", repr(value)[:40])
    return value


def require_types(field: str, types: tuple[object, ...]) -> tuple[str, ...]:
    """Return licence types as they are, if they ascend and each is one.

    Raises:
        Malformed: too many, no strings, or another order.
        IdentifierInvalid: one is no type.
    """
    if len(types) > TYPES_MAX or not all(isinstance(code, str) for code in types):
        raise Malformed(field, f"at most {TYPES_MAX} types", "something else")
    codes = cast(tuple[str, ...], types)
    for code in codes:
        require_type(code)
    if any(later <= earlier for earlier, later in pairwise(codes)):
        raise Malformed(field, "strictly ascending types", "another order")
    return codes


def _note_key(text: object) -> NoteKey:
    if not isinstance(text, str):
        raise Malformed("city", "verifier keys as strings", type(text).__name__)
    try:
        return NoteKey.parse(text)
    except UnicodeEncodeError as err:
        raise Malformed("city", "verifier keys in Unicode", "a lone surrogate") from err
