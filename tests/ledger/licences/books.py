"""A real book in a folder, with the keys of a test city: what departments, registrar and service hand in, and who cosigns.

books = make_books(tmp_path)
licence = books.issue()
receipt = books.submit(licence.text)
books.publish()
assert books.verdict(licence).state is State.VALID
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ledger.licences import sdjwt
from ledger.licences.book import LicenceBook, Receipt
from ledger.licences.bundles import BundleMaker
from ledger.licences.checks import Parties
from ledger.licences.events import Code, KeyEvent, Kind, LicenceEvent, leaf_of_credential, make_event
from ledger.licences.identifiers import Identifier
from ledger.licences.keys import SigningKey
from ledger.licences.publish import Publisher
from ledger.licences.schema import LicenceType, demonstration_types
from ledger.licences.sdjwt import Claims, Credential
from ledger.licences.verify import Verdict, verify
from ledger.log.checkpoint import Checkpoint
from ledger.log.witness import Witness
from ledger.log.witness_client import WitnessAddress, WitnessClient
from tests.ledger.licences.world import BUSINESS, DAY, FOOD, NOW, TestCity, build_city, seed_of, uscc

DEPARTMENT = uscc("11330200MB15")
OTHER_DEPARTMENT = uscc("11330200MB16")
AFTER = {
    Kind.SUSPEND: Code.SUSPENDED,
    Kind.RESUME: Code.VALID,
    Kind.REVOKE: Code.REVOKED,
    Kind.TRANSFER_OUT: Code.TRANSFERRED,
}


@dataclass(frozen=True)
class Held:
    """An issued licence and its slot."""

    credential: Credential
    claims: Claims
    holder: SigningKey

    @property
    def text(self) -> str:
        return self.credential.text

    @property
    def leaf_hash(self) -> bytes:
        return leaf_of_credential(self.text).hash


@dataclass
class Books:
    """One book, and everybody who has to do with it. `now_s` is everybody's clock."""

    root: Path
    city: TestCity
    book: LicenceBook
    now_s: int = NOW
    counter: int = 0
    keys: dict[str, SigningKey] = field(default_factory=dict)
    entropy: Callable[[int], bytes] | None = (
        None  # of what the service signs; by default it follows from the counter
    )

    # --- departments and the registrar

    def rand(self, size: int) -> bytes:
        self.counter += 1
        return hashlib.shake_256(seed_of(self.city.name, "rand", self.counter)).digest(size)

    def key_of(self, code: str) -> SigningKey:
        return self.keys.setdefault(code, self.city.key("issuer", code, 0))

    def key_event(
        self, kind: Kind, code: str, *, key: SigningKey | None = None, types: Any = (BUSINESS, FOOD)
    ) -> str:
        public = (key or self.key_of(code)).public
        members: dict[str, Any] = {"key": public.key_id}
        if kind is Kind.KEY_ADD:
            members = {"public": public, "types": tuple(sorted(types))}
        event = KeyEvent(
            kind=kind,
            event_id=self.rand(16),
            issued_at=self.now_s,
            origin=self.city.origin,
            issuer=code,
            **members,
        )
        return make_event(event, self.city.registrar)

    def admit(self, code: str = DEPARTMENT, **changes: Any) -> str:
        """Add a department's key, and return its code."""
        self.submit(self.key_event(Kind.KEY_ADD, code, **changes))
        return code

    def licence(
        self,
        *,
        issuer: str = DEPARTMENT,
        kind: LicenceType | None = None,
        key: SigningKey | None = None,
        **changes: Any,
    ) -> Held:
        """Sign a licence for a freshly reserved slot; nothing is handed in."""
        kind = kind or demonstration_types()[BUSINESS]
        holder = self.city.key("holder", self.counter)
        if "index" not in changes:
            ((changes["list"], changes["index"]),) = self.book.reserve(f"test-{self.rand(4).hex()}", 1)
        claims = Claims(
            **{
                "issuer": issuer,
                "type_code": kind.code,
                "identifier": Identifier(kind.code, issuer, f"{self.counter:08d}", "001"),
                "version": kind.version,
                "event_id": self.rand(16),
                "issued_at": self.now_s,
                "not_before": self.now_s,
                "expires_at": self.now_s + 365 * DAY,
                "origin": self.city.origin,
                "holder": holder.public,
                **changes,
            }
        )
        values = {f.name: f"{f.title}甲" for f in kind.salted}
        credential = sdjwt.issue(claims, kind, values, key or self.key_of(issuer), rand=self.rand(32))
        return Held(credential, claims, holder)

    def change(
        self,
        held: Held,
        kind: Kind,
        code: Code | None = None,
        *,
        key: SigningKey | None = None,
        **changes: Any,
    ) -> str:
        """Sign what happens to a licence; nothing is handed in."""
        claims = held.claims
        event = LicenceEvent(
            **{
                "kind": kind,
                "event_id": self.rand(16),
                "issued_at": self.now_s,
                "issuer": claims.issuer,
                "licence": held.leaf_hash,
                "origin": self.city.origin,
                "list": claims.list,
                "index": claims.index,
                "code": AFTER[kind] if code is None else code,
                **changes,
            }
        )
        return make_event(event, key or self.key_of(event.issuer))

    # --- the book

    def submit(self, text: str) -> Receipt:
        return self.book.submit(text, now_s=self.now_s)

    def issue(self, **changes: Any) -> Held:
        """Sign a licence and hand it in."""
        licence = self.licence(**changes)
        self.submit(licence.text)
        return licence

    def code(self, licence: Held) -> int:
        standing = self.book.standing(licence.claims.list, licence.claims.index)
        assert standing is not None
        return standing.code

    def reopen(self) -> None:
        self.book.close()
        self.book = LicenceBook.open(self.root, self.city.log_signer)

    # --- what is published

    @property
    def publisher(self) -> Publisher:
        return Publisher(self.book, self.city.service, rand=self.entropy or self.rand)

    def witness_client(self, alive: int = 4) -> WitnessClient:
        """The city's witnesses, each with a state of its own; those from `alive` on are dead."""
        origin = self.city.origin
        logs = {origin: self.city.log_signer.key}
        found = [
            Witness(signer, logs, self.root.parent / f"witness-{i}")
            for i, signer in enumerate(self.city.witnesses)
        ]
        addresses = [WitnessAddress(signer.key, str(i)) for i, signer in enumerate(self.city.witnesses)]

        def post(url: str, body: bytes) -> tuple[int, bytes]:
            if int(url) >= alive:
                return 503, b""
            answer = found[int(url)].add_checkpoint(body, self.now_s)
            return answer.status, answer.body

        return WitnessClient(self.book.log.reader, addresses, post=post)

    def publish(self) -> Checkpoint:
        """Publish tokens and histories, and have a checkpoint over all of it cosigned."""
        publisher = self.publisher
        publisher.publish_statuses(self.now_s)
        publisher.publish_histories(self.city.registrar, self.now_s)
        return publisher.cosign(self.witness_client(), self.city.trust().quorum)

    def maker(self, *, bare: bool = False) -> BundleMaker:
        quorum = self.city.trust().quorum if bare else None
        return BundleMaker(self.root, look_every_s=0.0, quorum=quorum)

    def verdict(self, licence: Held) -> Verdict:
        """Judge a licence offline, from its bundle."""
        bundle = self.maker().bundle_of(licence.text).to_bytes()
        return verify(bundle, self.city.policy(), now_s=self.now_s)


def make_books(folder: Path, name: str = "haigang", *, admitted: bool = True) -> Books:
    """Create a book for the city of that name; its department has a key unless told otherwise."""
    city = build_city(name)
    parties = Parties(city.origin, city.registrar.public, city.service.public)
    rand = city.slot_key + seed_of(name, "lookup")
    root = folder / name
    books = Books(root, city, LicenceBook.create(root, parties, city.log_signer, rand=rand))
    if admitted:
        books.admit()
    return books


MakeBooks = Callable[..., Books]
