"""A small city for tests: a log in memory, its registrar, service, witnesses and issuers, and what they sign.

    city = build_city()
    licence = city.issue(values={"entity_name": "海港茶社"})
    city.event(licence, Kind.SUSPEND)
    city.publish()
    assert verify(city.bundle(licence), city.policy(), now_s=city.now_s).state is State.VALID

Everything is derived from the city's name and a counter: the same calls give the same bytes. Nothing here refuses what the real book
refuses; attacks need a service that lies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ledger.encoding import Address
from ledger.licences import sdjwt
from ledger.licences.attest import AnchorStatement, attest, attested_evidence
from ledger.licences.bundle import Bundle, Inclusion, RecognitionPart, StatusPart
from ledger.licences.events import (
    Code,
    Event,
    KeyEvent,
    Kind,
    Leaf,
    LicenceEvent,
    Recognition,
    leaf_of_credential,
    leaf_of_event,
    leaf_of_status_token,
    make_event,
)
from ledger.licences.identifiers import Identifier, uscc_check
from ledger.licences.issuers import IssuerHistory, KeySpan
from ledger.licences.keys import Algorithm, SigningKey
from ledger.licences.leaf import LIST_SIZE
from ledger.licences.policy import AnchorPin, City, TrustPolicy
from ledger.licences.schema import LicenceType, demonstration_types
from ledger.licences.sdjwt import Claims, Credential
from ledger.licences.status import StatusBits, StatusClaims, slot, status_root, status_token
from ledger.log.checkpoint import Checkpoint, Quorum, cosign, sign_checkpoint
from ledger.log.notes import COSIGNATURE, NoteSigner, SignedNote
from ledger.log.tree import inclusion_path, leaf_hash, root_of

NOW = 1_800_000_000
DAY = 86_400
BUSINESS = "11100000MB0143028R001"
FOOD = "11100000MB0143028R038"
_AFTER = {
    Kind.SUSPEND: Code.SUSPENDED,
    Kind.RESUME: Code.VALID,
    Kind.REVOKE: Code.REVOKED,
    Kind.TRANSFER_OUT: Code.TRANSFERRED,
}


def uscc(text: str) -> str:
    """Return the credit code that begins with up to 17 characters, padded with zeros."""
    body = text.ljust(17, "0")
    return body + uscc_check(body)


def seed_of(*parts: object) -> bytes:
    """Return 32 bytes that follow from the parts."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).digest()


@dataclass
class Licence:
    """An issued licence and where its leaf stands (None: never logged)."""

    credential: Credential
    claims: Claims
    holder: SigningKey
    index: int | None

    @property
    def text(self) -> str:
        return self.credential.text

    @property
    def leaf_hash(self) -> bytes:
        return leaf_of_credential(self.text).hash


@dataclass
class Issuer:
    """A department with one signing key at a time; `spans` is its key history in log order."""

    code: str
    key: SigningKey
    spans: list[KeySpan] = field(default_factory=list)


@dataclass
class Published:
    """What a publication put out, by which a bundle is made."""

    checkpoint: str
    size: int
    tokens: dict[int, tuple[str, int]]  # by list: token and the index of its leaf
    histories: dict[str, str]
    status_root: bytes


class TestCity:
    """A city whose clock the test turns: `now_s`. Keys and logs are plain attributes."""

    __test__ = False

    def __init__(self, name: str, now_s: int, *, witnesses: int = 4, threshold: int = 3) -> None:
        self.name, self.now_s, self.threshold = name, now_s, threshold
        self.origin = f"{name}.example/licences"
        self.entries: list[bytes] = []
        self.hashes: list[bytes] = []
        self.counter = 0
        self.licences = 0
        self.slot_key = seed_of(name, "slots")
        self.log_signer = NoteSigner.from_seed(self.origin, seed_of(name, "log"))
        self.witness_seeds = {
            f"witness-{i}.{name}.example": seed_of(name, "witness", i) for i in range(witnesses)
        }
        self.witnesses = [
            NoteSigner.from_seed(who, seed, algorithm=COSIGNATURE) for who, seed in self.witness_seeds.items()
        ]
        self.registrar = self.key("registrar")
        self.service = self.key("service")
        self.bits: dict[int, StatusBits] = {}
        self.issuers: dict[str, Issuer] = {}
        self.published: Published | None = None
        self.published_at = now_s
        self.pin = AnchorPin(31337, Address(seed_of(name, "anchor")[:20]))

    # --- keys and ids

    def key(self, *parts: object, alg: Algorithm = "EdDSA") -> SigningKey:
        return SigningKey.generate(alg, seed_of(self.name, "key", *parts))

    def event_id(self) -> bytes:
        self.counter += 1
        return seed_of(self.name, "event", self.counter)[:16]

    # --- the log

    @property
    def size(self) -> int:
        return len(self.entries)

    def append(self, leaf: Leaf | bytes) -> int:
        entry = leaf.encode() if isinstance(leaf, Leaf) else leaf
        self.entries.append(entry)
        self.hashes.append(leaf_hash(entry))
        return self.size - 1

    def inclusion(self, index: int, size: int | None = None) -> Inclusion:
        hashes = self.hashes[: self.size if size is None else size]
        return Inclusion(index, tuple(inclusion_path(hashes, index)))

    def checkpoint(
        self,
        *,
        size: int | None = None,
        hashes: list[bytes] | None = None,
        by: Iterable[int] | None = None,
        now_s: int | None = None,
    ) -> str:
        """Sign and cosign a checkpoint: of other hashes, by some witnesses, at another time, if asked to."""
        hashes = self.hashes if hashes is None else hashes
        size = len(hashes) if size is None else size
        note = SignedNote.parse(
            sign_checkpoint(Checkpoint(self.origin, size, root_of(hashes[:size])), self.log_signer)
        )
        chosen = range(len(self.witnesses)) if by is None else by
        time_s = self.now_s if now_s is None else now_s
        return note.with_signatures(cosign(note.text, self.witnesses[i], time_s) for i in chosen).to_text()

    # --- what departments and the registrar do

    def issuer(
        self, code: str | None = None, types: Iterable[str] | None = None, alg: Algorithm = "EdDSA"
    ) -> Issuer:
        """Return the department of a credit code; it gets a key for `types` if it is new."""
        code = code or uscc("11330200MB15")
        if code not in self.issuers:
            self.issuers[code] = Issuer(code, self.key("issuer", code, 0, alg=alg))
            self.add_key(code, types or (BUSINESS, FOOD))
        return self.issuers[code]

    def add_key(self, code: str, types: Iterable[str], key: SigningKey | None = None) -> int:
        """Give a department a key, which it signs with from now on."""
        issuer = self.issuers[code]
        issuer.key = key or issuer.key
        ascending = tuple(sorted(types))
        index = self.key_event(Kind.KEY_ADD, code, public=issuer.key.public, types=ascending)
        issuer.spans.append(KeySpan(issuer.key.public, ascending, index))
        return index

    def end_key(self, code: str, kind: Kind) -> int:
        """Retire a department's newest key, or declare it compromised."""
        spans = self.issuers[code].spans
        index = self.key_event(kind, code, key=spans[-1].public.key_id)
        retired = kind is Kind.KEY_RETIRE
        spans[-1] = replace(spans[-1], retired=index) if retired else replace(spans[-1], compromised=index)
        return index

    def key_event(self, kind: Kind, code: str, **members: Any) -> int:
        event = KeyEvent(
            kind=kind,
            event_id=self.event_id(),
            issued_at=self.now_s,
            origin=self.origin,
            issuer=code,
            **members,
        )
        return self.log_event(event, self.registrar)

    def log_event(self, event: Event, key: SigningKey) -> int:
        return self.append(leaf_of_event(make_event(event, key)))

    def issue(
        self,
        kind: LicenceType | None = None,
        values: Mapping[str, Any] | None = None,
        *,
        issuer: Issuer | None = None,
        logged: bool = True,
        **changes: Any,
    ) -> Licence:
        """Issue a licence and log it. `changes` replace members of its claims; `holder` is a SigningKey."""
        kind = kind or demonstration_types()[BUSINESS]
        issuer = issuer or self.issuer()
        holder = changes.pop("holder", None) or self.key("holder", self.counter)
        number, index = slot(self.slot_key, self.licences)
        self.licences += 1
        serial = f"{self.licences:08d}"
        claims = Claims(
            **{
                "issuer": issuer.code,
                "type_code": kind.code,
                "identifier": Identifier(kind.code, issuer.code, serial, "001"),
                "version": kind.version,
                "event_id": self.event_id(),
                "issued_at": self.now_s,
                "not_before": self.now_s,
                "expires_at": self.now_s + 365 * DAY,
                "list": number,
                "index": index,
                "origin": self.origin,
                "holder": holder.public,
                **changes,
            }
        )
        values = (
            {name: f"{title}甲" for name, title in ((f.name, f.title) for f in kind.salted)}
            if values is None
            else values
        )
        credential = sdjwt.issue(
            claims, kind, values, issuer.key, rand=seed_of(self.name, "salts", self.counter)
        )
        licence = Licence(credential, claims, holder, None)
        if logged:
            licence.index = self.append(leaf_of_credential(credential.text))
            self.set_code(claims.list, claims.index, Code.VALID)
        return licence

    def event(self, licence: Licence, kind: Kind, code: Code | None = None, *, reason: str = "") -> int:
        """Log what the issuer signs about a licence, and set its status."""
        claims = licence.claims
        event = LicenceEvent(
            kind=kind,
            event_id=self.event_id(),
            issued_at=self.now_s,
            issuer=claims.issuer,
            licence=licence.leaf_hash,
            origin=self.origin,
            list=claims.list,
            index=claims.index,
            code=_AFTER[kind] if code is None else code,
            reason=reason,
        )
        self.set_code(claims.list, claims.index, event.code)
        return self.log_event(event, self.issuers[claims.issuer].key)

    def recognise(
        self, other: TestCity, types: Iterable[str] = (BUSINESS, FOOD), *, days: int = 30
    ) -> RecognitionPart:
        """Recognise another city's log as it was last published; returns what a bundle of that city needs."""
        assert other.published is not None
        size = other.published.size
        event = Recognition(
            event_id=self.event_id(),
            issued_at=self.now_s,
            expires_at=self.now_s + days * DAY,
            origin=self.origin,
            city=replace(other.trust(), types=tuple(sorted(types)), name="", anchor=None),
            size=size,
            root=root_of(other.hashes[:size]),
        )
        text = make_event(event, self.registrar)
        index = self.append(leaf_of_event(text))
        return RecognitionPart(text, self.checkpoint(), self.inclusion(index))

    # --- what the service does

    def set_code(self, number: int, index: int, code: int) -> None:
        self.bits.setdefault(number, StatusBits()).set(index, code)

    def token(self, number: int, *, key: SigningKey | None = None, **changes: Any) -> str:
        """Sign a status token of a list as it is now; it is not logged."""
        claims = StatusClaims(
            **{
                "origin": self.origin,
                "list": number,
                "event_id": self.event_id(),
                "issued_at": self.now_s,
                "expires_at": self.now_s + 2 * DAY,
                "ttl_s": DAY,
                **changes,
            }
        )
        return status_token(self.bits.get(number, StatusBits()), claims, key or self.service)

    def history(self, code: str, **changes: Any) -> IssuerHistory:
        return IssuerHistory(
            **{
                "issuer": code,
                "origin": self.origin,
                "size": self.size,
                "issued_at": self.now_s,
                "expires_at": self.now_s + 30 * DAY,
                "keys": tuple(self.issuers[code].spans),
                **changes,
            }
        )

    def publish(self, now_s: int | None = None) -> Published:
        """Publish tokens of all lists, the histories, and a cosigned checkpoint over all of it."""
        self.now_s = self.published_at = self.now_s if now_s is None else now_s
        tokens = {}
        for number in sorted(self.bits):
            token = self.token(number)
            tokens[number] = (token, self.append(leaf_of_status_token(token)))
        histories = {code: self.history(code).sign(self.registrar) for code in self.issuers}
        root = status_root(
            (number, hashlib.sha256(token.encode()).digest()) for number, (token, _) in tokens.items()
        )
        self.published = Published(self.checkpoint(), self.size, tokens, histories, root)
        return self.published

    # --- what holders and verifiers have

    def bundle(self, licence: Licence, *, text: str | None = None, **changes: Any) -> Bundle:
        """Return the bundle of a licence as of the last publication; `changes` replace members of it."""
        at = self.published
        assert at is not None, "publish first"
        logged = licence.index is not None and licence.index < at.size
        found = at.tokens.get(licence.claims.list)
        parts: dict[str, Any] = {
            "credential": text or licence.text,
            "origin": self.origin,
            "checkpoint": at.checkpoint,
            "inclusion": self.inclusion(licence.index or 0, at.size) if logged else None,
            "issuer": at.histories.get(licence.claims.issuer),
            "status": None if found is None else StatusPart(found[0], self.inclusion(found[1], at.size)),
        }
        return Bundle(**{**parts, **changes})

    def present(self, licence: Licence, names: Iterable[str] = (), *, nonce: str, audience: str) -> str:
        """Return a presentation that the holder makes for a verifier."""
        shown = sdjwt.present(licence.text, names)
        return sdjwt.bind(shown, licence.holder, nonce=nonce, audience=audience, now_s=self.now_s)

    def statement(self, **changes: Any) -> AnchorStatement:
        """Return what an honest witness says about the last publication's anchor."""
        assert self.published is not None
        size = self.published.size
        return AnchorStatement(
            **{
                "chain_id": self.pin.chain_id,
                "contract": self.pin.contract,
                "block": 77,
                "block_hash": seed_of("block"),
                "size": size,
                "root": root_of(self.hashes[:size]),
                "status_root": self.published.status_root,
                "time_s": self.now_s,
                **changes,
            }
        )

    def attested(
        self, statement: AnchorStatement | None = None, *, by: Iterable[int] = range(3)
    ) -> dict[str, Any]:
        """Return anchor evidence that some witnesses attest."""
        statement = statement or self.statement()
        signers = [NoteSigner.from_seed(who, seed) for who, seed in self.witness_seeds.items()]
        return attested_evidence(statement, [attest(statement, signers[i]) for i in by])

    def trust(self, **changes: Any) -> City:
        """Return this city as a verifier has it in its policy."""
        city = City(
            self.origin,
            self.log_signer.key,
            Quorum(tuple(w.key for w in self.witnesses), self.threshold),
            self.registrar.public,
            self.service.public,
            None,
            self.name,
            self.pin,
        )
        return replace(city, **changes)

    def policy(self, *others: TestCity, **changes: Any) -> TrustPolicy:
        return replace(TrustPolicy((self.trust(), *(other.trust() for other in others))), **changes)


def build_city(
    name: str = "haigang", *, now_s: int = NOW, witnesses: int = 4, threshold: int = 3
) -> TestCity:
    """Return a city with an empty log. Cities of other names have other keys."""
    return TestCity(name, now_s, witnesses=witnesses, threshold=threshold)


__all__ = [
    "BUSINESS",
    "DAY",
    "FOOD",
    "LIST_SIZE",
    "NOW",
    "Issuer",
    "Licence",
    "TestCity",
    "build_city",
    "seed_of",
    "uscc",
]
