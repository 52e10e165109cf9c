"""What the service checks of a signed event before it becomes a leaf: the numbered list of docs/licence.md §5, over the book's state."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ledger.encoding import Digest
from ledger.errors import MalformedValue
from ledger.licences.encoding import parse_b64u, parse_canonical
from ledger.licences.errors import EventRefused, Malformed
from ledger.licences.events import KeyEvent, LicenceEvent, leaf_of_claims, parse_event
from ledger.licences.identifiers import Identifier
from ledger.licences.jws import Jws
from ledger.licences.keys import PublicKey
from ledger.licences.leaf import (
    CHANGE_KINDS,
    FINAL,
    KEY_KINDS,
    LICENCE_KINDS,
    LICENCE_LEAF_SIZE,
    Code,
    Kind,
    Leaf,
    require_transition,
)
from ledger.licences.record import pack_text
from ledger.licences.sdjwt import parse as parse_credential
from ledger.licences.slots import NOT_ISSUED, licence_numbers
from ledger.licences.state import BookState, Numbers, Standing, entry_columns
from ledger.licences.status import STATUS_TYP, parse_status_token
from ledger.log.batch import Bundle, Item

IAT_AHEAD_MAX_S: Final = 60
_HEADER_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class Parties:
    """Whose log it is: its origin, and the keys of the city's registrar and of the service."""

    origin: str
    registrar: PublicKey
    service: PublicKey


@dataclass(frozen=True, slots=True)
class IssueTerms:
    """What all licences of a backfill share: issuer, type, the key that signs them, and their licence numbers [first, end)."""

    issuer: str
    type_code: str
    key_id: bytes
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A signed event that is well-formed and names this log; whether it may be logged is not decided yet."""

    jws: Jws
    leaf: Leaf
    leaf_hash: Digest
    entry: bytes
    evidence: bytes
    lookup: bytes | None
    issued_at: int
    issuer: str | None  # whose licence or key it is about

    @property
    def item(self) -> Item:
        """The event as the log takes it."""
        return Item(self.leaf.event_id, self.entry, self.evidence, self.lookup)


def licence_lookup(key: bytes, identifier: Identifier) -> bytes:
    """Return the key under which the log finds a licence by its identifier: keyed, since identifiers can be guessed."""
    parts = identifier.type_code + identifier.issuer + identifier.serial + identifier.version
    return identifier_lookup(key, parts)


def identifier_lookup(key: bytes, parts: str) -> bytes:
    """Return the same from type, issuer, serial and version in a row, whose check character adds nothing."""
    return hmac.digest(key, b"\x01" + parts.encode("ascii"), "sha256")[:8]


def prepare(text: str, parties: Parties, lookup_key: bytes) -> Prepared:
    """Read a signed event of any kind and compute its leaf. No signature is checked yet.

    Args:
        text: a credential with all its disclosures, a signed event, or a status token.
        parties: of the log.
        lookup_key: the service's secret.

    Raises:
        LicenceError: it is malformed.
        EventRefused: it names another log, or is a presentation.
    """
    if "~" in text:
        return _prepare_credential(text, parties, lookup_key)
    if _typ(text) == STATUS_TYP:
        token = parse_status_token(text)
        if token.claims.origin != parties.origin:
            raise EventRefused("origin", "the status token is of another log's list")
        return _prepared(token.jws, token.leaf(), b"", None, token.claims.issued_at, None)
    signed = parse_event(text)
    event = signed.event
    leaf = signed.leaf()
    if event.origin != parties.origin:
        raise EventRefused("origin", "the event is of another log")
    issuer = event.issuer if isinstance(event, LicenceEvent | KeyEvent) else None
    return _prepared(signed.jws, leaf, text.encode("ascii"), None, event.issued_at, issuer)


def _prepare_credential(text: str, parties: Parties, lookup_key: bytes) -> Prepared:
    presented = parse_credential(text)
    if presented.key_binding is not None:
        raise EventRefused("form", "expected a credential, got a presentation bound to a verifier")
    claims = presented.claims
    if claims.origin != parties.origin:
        raise EventRefused("origin", "the credential names a status list of another log")
    leaf = leaf_of_claims(presented.jwt, claims)
    lookup = licence_lookup(lookup_key, claims.identifier)
    evidence = pack_text(text)
    return _prepared(presented.jwt, leaf, evidence, lookup, claims.issued_at, claims.issuer)


def _prepared(
    jws: Jws, leaf: Leaf, evidence: bytes, lookup: bytes | None, issued_at: int, issuer: str | None
) -> Prepared:
    entry = leaf.encode()
    leaf_hash = Digest(hashlib.sha256(b"\0" + entry).digest())
    return Prepared(jws, leaf, leaf_hash, entry, evidence, lookup, issued_at, issuer)


def _typ(text: str) -> object:
    header = parse_canonical(parse_b64u(text.partition(".")[0], "header"), "header", size_max=_HEADER_MAX)
    return header.get("typ") if isinstance(header, dict) else None


class Pending:
    """The state with a batch's earlier events on top of it, which are checked and not logged yet."""

    def __init__(self, state: BookState) -> None:
        self.state = state
        self.taken: list[Prepared] = []
        self.by_event: dict[bytes, int] = {}
        self._issued: dict[tuple[int, int], Standing] = {}
        self._by_hash: dict[bytes, tuple[int, int]] = {}
        self._codes: dict[tuple[int, int], int] = {}

    def admits(self, kind: Kind) -> bool:
        """Say whether an event of this kind can be checked on top of the batch; else the batch must be logged before it.

        What is about keys, or a key's use after such an event, and whole status lists are checked against the state alone.
        """
        if not self.taken:
            return True
        if kind is Kind.STATUS_LIST:
            return not (self._issued or self._codes)
        return kind not in KEY_KINDS and self.taken[-1].leaf.kind not in KEY_KINDS

    def standing(self, number: int, index: int) -> Standing | None:
        """Return the licence of a slot, None where it is free."""
        found = self._issued.get((number, index)) or self.state.standing(number, index)
        code = self._codes.get((number, index))
        return found if found is None or code is None else replace(found, code=code)

    def issue_of(self, leaf_hash: bytes) -> Standing | None:
        """Return the licence whose issue has this leaf hash."""
        slot = self._by_hash.get(leaf_hash)
        found = self.state.issue_of(leaf_hash) if slot is None else self._issued[slot]
        return None if found is None else self.standing(found.number, found.index)

    def take(self, event: Prepared) -> int:
        """Put a checked event on top and return its position in the batch."""
        leaf, position = event.leaf, len(self.taken)
        self.taken.append(event)
        self.by_event[leaf.event_id] = position
        slot = (leaf.list, leaf.index)
        if leaf.kind in LICENCE_KINDS:
            at = self.state.size + position
            self._issued[slot] = Standing(leaf.list, leaf.index, leaf.code, at, event.leaf_hash, leaf)
            self._by_hash[event.leaf_hash] = slot
            replaced = self.issue_of(leaf.previous) if leaf.kind is Kind.SUPERSEDE else None
            if replaced is not None:
                self._codes[replaced.number, replaced.index] = Code.CANCELLED
        elif leaf.sets_status:
            self._codes[slot] = leaf.code
        return position


class Checker:
    """The checks of one log.

    Args:
        parties: of the log.
        slot_key: the service's secret behind the order of slots.
        may_use: says whether a licence number was handed out to issuers.
    """

    def __init__(self, parties: Parties, *, slot_key: bytes, may_use: Callable[[int], bool]) -> None:
        self._parties, self._slot_key, self._may_use = parties, slot_key, may_use

    def require(self, event: Prepared, pending: Pending, now_s: int) -> None:
        """Refuse an event that may not be logged now.

        Args:
            event: prepared.
            pending: the state before it.
            now_s: Unix seconds.

        Raises:
            EventRefused: `rule` says which check failed.
            SignatureInvalid: nobody signed it who may.
            TransitionRefused: the licence's status does not allow it.
        """
        if event.issued_at > now_s + IAT_AHEAD_MAX_S:
            raise EventRefused("iat", f"signed {event.issued_at - now_s} s ahead of now")
        kind = event.leaf.kind
        if kind in LICENCE_KINDS:
            self._require_issue(event, pending)
        elif kind in CHANGE_KINDS:
            self._require_change(event, pending)
        elif kind in KEY_KINDS:
            event.jws.verify(self._parties.registrar)
            _require_key_event(event, pending.state)
        elif kind is Kind.RECOGNISE:
            event.jws.verify(self._parties.registrar)
        else:
            event.jws.verify(self._parties.service)
            if kind is Kind.STATUS_LIST:
                _require_present_bits(event.leaf, pending.state)

    def require_issues(
        self, bundles: Sequence[Bundle], terms: IssueTerms, state: BookState
    ) -> tuple[Numbers, Numbers]:
        """Refuse bundles of issues unless all of them may be logged now; return their lists and indexes.

        Args:
            bundles: whole ones.
            terms: whose they are.
            state: before them.

        Raises:
            EventRefused: `rule` says which check failed.
        """
        _require_key(state, terms.key_id, terms.issuer, terms.type_code)
        columns = [entry_columns(bundle.entries, bundle.count) for bundle in bundles]
        if any(rows is None for rows in columns):
            raise EventRefused("form", "expected leaves of licences alone")
        rows = np.concatenate([rows for rows in columns if rows is not None])
        key_id, type_code = np.void(terms.key_id), np.void(terms.type_code.encode("ascii"))
        if not ((rows["kind"] == Kind.ISSUE) & (rows["code"] == Code.VALID)).all():
            raise EventRefused("form", "expected plain issues")
        if not ((rows["key_id"] == key_id) & (rows["type"] == type_code)).all():
            raise EventRefused("key", "expected leaves of the key and type of these terms")
        for bundle in bundles:
            entry = bundle.entries[-LICENCE_LEAF_SIZE:]
            if hashlib.sha256(b"\0" + entry).digest() != bundle.leaf_hashes[-32:]:
                raise EventRefused("form", "a leaf has not the hash that comes with it")
        lists, indexes = rows["list"].astype(np.int64), rows["index"].astype(np.int64)
        self._require_free(lists, indexes, terms, state)
        return lists, indexes

    def _require_free(self, lists: Numbers, indexes: Numbers, terms: IssueTerms, state: BookState) -> None:
        """Refuse slots unless all are kept for these terms, free, and there once."""
        for number in np.unique(lists).tolist():
            here = indexes[lists == number]
            if len(np.unique(here)) != len(here) or state.slots.taken(number, here).any():
                raise EventRefused("slot", "a status slot has a licence already")
            numbers = licence_numbers(self._slot_key, number, here)
            if numbers.min() < terms.first or numbers.max() >= terms.end:
                raise EventRefused("slot", "a status slot is not the backfill's")

    def _require_issue(self, event: Prepared, pending: Pending) -> None:
        leaf = event.leaf
        _require_signer(event, leaf.type_code, pending.state)
        number = licence_numbers(self._slot_key, leaf.list, np.array([leaf.index], dtype=np.int64))
        if not self._may_use(int(number[0])):
            raise EventRefused("slot", "the status slot was not handed out")
        if pending.standing(leaf.list, leaf.index) is not None:
            raise EventRefused("slot", "the status slot has a licence already")
        require_transition(NOT_ISSUED, leaf.kind, leaf.code)
        if leaf.kind is not Kind.SUPERSEDE:
            return
        replaced = pending.issue_of(leaf.previous)
        if replaced is None:
            raise EventRefused("prev", "the log has no issue with this leaf hash")
        row = pending.state.keys.get(replaced.leaf.key_id)
        if row is None or row.issuer != event.issuer:
            raise EventRefused("prev", "the licence to be replaced is of another issuer")
        if replaced.code in FINAL:
            raise EventRefused("prev", f"the licence to be replaced has the final status {replaced.code}")

    def _require_change(self, event: Prepared, pending: Pending) -> None:
        leaf = event.leaf
        standing = pending.standing(leaf.list, leaf.index)
        if standing is None or not hmac.compare_digest(standing.leaf_hash, leaf.previous):
            raise EventRefused("slot", "the status slot has not the licence that the event names")
        _require_signer(event, standing.leaf.type_code, pending.state)
        owner = pending.state.keys.get(standing.leaf.key_id)
        if owner is None or owner.issuer != event.issuer:
            raise EventRefused("issuer", "the licence is of another issuer")
        require_transition(standing.code, leaf.kind, leaf.code)


def _require_signer(event: Prepared, type_code: str, state: BookState) -> None:
    """Refuse an event that is not signed by an active key of the issuer that it names, for this type."""
    event.jws.verify(_require_key(state, event.leaf.key_id, event.issuer, type_code))


def _require_key(state: BookState, key_id: bytes, issuer: str | None, type_code: str) -> PublicKey:
    """Return a key that is active now and may sign this issuer's licences of this type."""
    row, key = state.keys.get(key_id), state.public_key(key_id)
    if row is None or key is None:
        raise EventRefused("key", "signed with a key that no issuer has in this log")
    if row.ended is not None:
        raise EventRefused("key", f"the key ended at log index {row.ended}")
    if row.issuer != issuer:
        raise EventRefused("issuer", "the key is another issuer's")
    if type_code not in row.types:
        raise EventRefused("type", "the key may not sign this type")
    return key


def _require_key_event(event: Prepared, state: BookState) -> None:
    try:
        extra = parse_canonical(event.leaf.extra, "extra", size_max=1 << 16)
    except MalformedValue as err:
        raise Malformed("extra", err.expected, err.actual) from err
    if event.leaf.kind is Kind.KEY_ADD:
        if PublicKey.from_jwk(extra["jwk"]).key_id in state.keys:
            raise EventRefused("key", "the key is in the log already; a key is added once")
        return
    row = state.keys.get(bytes.fromhex(extra["key"]))
    if row is None or row.issuer != event.issuer:
        raise EventRefused("key", "the issuer has no such key")
    over = row.ended if event.leaf.kind is Kind.KEY_RETIRE else row.compromised
    if over is not None:
        raise EventRefused("key", f"the key ended at log index {over}")


def _require_present_bits(leaf: Leaf, state: BookState) -> None:
    actual = hashlib.sha256(state.slots.view(leaf.list).data).digest()
    if not hmac.compare_digest(actual, leaf.extra):
        raise EventRefused("status", "the token's bits are not the list's at this position of the log")
