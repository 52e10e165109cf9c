"""One city's licence service: the book, what is published of it, and the duties that keep it published."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import structlog
from fastapi import Depends, Request

from api.errors import LicenceRequestRejected, NonceUnknown, NotPublished
from api.licences.duties import Duties, Duty
from api.licences.http_post import Poster
from api.licences.metrics import Metrics
from api.licences.nonces import Nonces
from api.licences.once import FORGET_S, Answers
from api.licences.own import OwnLicences, standing_json
from api.licences.publication import ANCHOR_LOOK_S, Publication
from api.licences.settings import CitySettings
from api.licences.signed import SignedRequest, verify_request
from ledger.errors import LedgerError
from ledger.licences.access import AccessWriter
from ledger.licences.batches import AccessBatches, BatchProof
from ledger.licences.book import LicenceBook, Receipt
from ledger.licences.bundles import BundleMaker
from ledger.licences.encoding import b64u
from ledger.licences.errors import LicenceUnknown
from ledger.licences.events import leaf_of_claims, registrar_urn, service_urn
from ledger.licences.identifiers import issuer_urn, parse_issuer_urn, require_uscc
from ledger.licences.issuers import IssuerHistory, open_history
from ledger.licences.keys import PublicKey, SigningKey
from ledger.licences.online import OnlineFacts
from ledger.licences.policy import City, TrustPolicy
from ledger.licences.sdjwt import Presented, parse, verify_bearer
from ledger.licences.state import Standing
from ledger.log.notes import NoteSigner
from ledger.signing import Signer

WRITER: Final = "service"
_log = structlog.get_logger("api.licences")


@dataclass(frozen=True, slots=True)
class Shown:
    """A licence whose holder proved itself over a nonce, which counts once if it is ours."""

    standing: Standing
    nonce: str


@dataclass(frozen=True, slots=True)
class ServiceKeys:
    """The keys that a service signs with: the log's note key, the service's own, and the operator's account on the chain."""

    log: NoteSigner
    service: SigningKey
    operator: Signer | None = None


class LicenceService:
    """One city's service. `start` and `stop` once each; methods may be called from any thread.

    Args:
        folder: of the book.
        settings: of the city.
        keys: of log, service and operator.
        post: reaches the witnesses.
        now_s: clock, Unix seconds.

    Raises:
        BookMismatch: the folder's book is not that of the settings.
        LogBusy: another process writes it.
    """

    def __init__(
        self,
        folder: Path,
        settings: CitySettings,
        keys: ServiceKeys,
        *,
        post: Poster | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.settings, self._now_s = settings, now_s
        self._city = City.from_json(settings.city())
        self.policy = TrustPolicy((self._city,))
        self.book = LicenceBook.open(folder, keys.log)
        self._post = post or Poster()
        self._publication = Publication(
            self.book, settings, keys.service, keys.operator, post=self._post, now_s=now_s
        )
        self.publisher, self._anchors = self._publication.publisher, self._publication.anchors
        self.access = AccessWriter(self.book.folder.access, WRITER)
        self.own = OwnLicences(self.book, self.access, now_s=now_s)
        self.online = OnlineFacts(folder, self._city)
        self.bundles = BundleMaker(folder, quorum=self._city.quorum)
        self._batches = AccessBatches(self.book, keys.service, rand=secrets.token_bytes)
        self.nonces = Nonces()
        self.answers = Answers(folder, now_s=now_s)
        self.metrics = Metrics(self._gauges)
        self._duties = Duties(self._all_duties(), now_s=now_s)

    # --- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Put what a crash interrupted in order, and begin the duties."""
        self.publisher.repair()
        self._duties.start()

    def stop(self) -> None:
        """End the duties and close the book."""
        self._duties.stop()
        self._publication.close()
        self.access.close()
        self.online.close()
        self._post.close()
        self.answers.close()
        self.book.close()

    def now(self) -> int:
        """Return the time in whole Unix seconds."""
        return int(self._now_s())

    @property
    def origin(self) -> str:
        """The log's origin."""
        return self.settings.origin

    # --- duties ----------------------------------------------------------------------------------------------

    def _all_duties(self) -> list[Duty]:
        pace = self.settings.pace
        duties = [
            Duty("publish", pace.cosign_s, self.publish),
            Duty("seal", pace.seal_s, self.seal),
            Duty("forget", FORGET_S, self.answers.forget),
        ]
        if self._anchors is not None:
            duties.append(Duty("anchor", ANCHOR_LOOK_S, self._anchors.look))
        return duties

    def publish(self) -> None:
        """Publish status lists that changed, have the newest checkpoint cosigned, and open it for online checks.

        Raises:
            LedgerError: something is not published yet; what is published already stays.
        """
        try:
            self._publication.publish()
        finally:
            self.online.refresh()

    def seal(self) -> None:
        """Log the access records that are in no batch yet.

        Raises:
            LedgerError: not logged; the next round goes on.
        """
        if self._batches.seal(self.now()):
            self._duties.poke("publish")

    # --- departments and the registrar -----------------------------------------------------------------------

    def submit(self, texts: Sequence[str]) -> list[Receipt | LedgerError]:
        """Log signed events in order; each is answered for itself.

        Raises:
            LogError, DatabaseError, BookFull: none of those not logged yet is acknowledged.
        """
        answers = self.book.submit_all(texts, now_s=self.now())
        if any(isinstance(answer, Receipt) for answer in answers):
            self._duties.poke("publish")
        return answers

    def signed(self, text: str, action: str) -> SignedRequest:
        """Verify a signed request. It may have been made before: `require_new` says so.

        Args:
            text: the JWS.
            action: what the route does.

        Raises:
            LicenceRequestRejected: it does not verify.
        """
        return verify_request(text, action=action, origin=self.origin, now_s=self.now(), keys_of=self._key_of)

    def require_new(self, asked: SignedRequest) -> None:
        """Use a signed request up.

        Raises:
            LicenceRequestRejected: it was made before.
        """
        if not self.answers.use_up(asked):
            raise LicenceRequestRejected("replay", "expected a request that was not made before")

    def _key_of(self, issuer: str, kid: str) -> PublicKey | None:
        parties = self.book.parties
        named = {registrar_urn(self.origin): parties.registrar, service_urn(self.origin): parties.service}
        if issuer in named:
            return named[issuer]
        uscc = parse_issuer_urn(issuer)
        for row in list(self.book.state.keys.values()):
            if row.issuer == uscc and row.ended is None:
                key = self.book.state.public_key(row.key_id)
                if key is not None and key.kid == kid:
                    return key
        return None

    def reserve(self, asked: SignedRequest, count: int) -> list[tuple[int, int]]:
        """Reserve status slots for an issuer; the same request again gets the same slots."""
        parse_issuer_urn(asked.issuer)
        return self.book.reserve(f"{asked.issuer}/{asked.request_id.hex()}", count)

    def find(self, asked: SignedRequest, identifier: str) -> list[dict[str, Any]]:
        """Return where an issuer's own licences with this identifier stand.

        Raises:
            Malformed: the request is no department's, or it is no identifier.
        """
        parse_issuer_urn(asked.issuer)
        found = []
        for index in self.book.find(identifier):
            standing = self._standing(parse(self.book.credential(index)))
            if issuer_urn(self._issuer_of(standing)) == asked.issuer:
                found.append(standing_json(standing))
        return found

    def issuer(self, uscc: str) -> dict[str, Any]:
        """Return an issuer's keys as the log has them, and its newest signed history."""
        history = self.publisher.history_for(require_uscc(uscc), self.now())
        known = self.book.store.history(uscc)
        return {
            "issuer": uscc,
            "origin": self.origin,
            "size": history.size,
            "keys": [span.to_json() for span in history.keys],
            "history": None if known is None else known.jws,
        }

    def signed_history(self, text: str) -> IssuerHistory:
        """Read an issuer history and check that the registrar signed it; what it says is not looked at.

        Raises:
            LicenceError: it is malformed or not signed by the registrar.
        """
        return open_history(text, self.book.parties.registrar)

    def publish_history(self, text: str) -> dict[str, Any]:
        """Publish an issuer history that the registrar signed."""
        history = self.publisher.accept_history(text, self.now())
        self.online.refresh()
        return {"issuer": history.issuer, "size": history.size, "expires_at": history.expires_at}

    # --- published -------------------------------------------------------------------------------------------

    def status_token(self, number: int, at_s: int | None) -> str:
        """Return a status list's token, the newest or that of a past time.

        Raises:
            NotPublished: there is none.
        """
        if at_s is not None:
            return self.publisher.token_at(number, at_s).jws.text
        return _published(self.book.folder.status_token(number), "the status list")

    def published_token(self, digest: bytes) -> str:
        """Return a status token that was ever published.

        Args:
            digest: SHA-256 of the token.

        Raises:
            NotPublished: there is none.
        """
        return _published(self.book.folder.archived_token(digest), "the status token")

    def bitstring(self, number: int) -> str:
        """Return a status list in the W3C form.

        Raises:
            NotPublished: there is none.
        """
        return _published(self.book.folder.status_w3c(number), "the status list")

    def recognition(self, origin: str) -> dict[str, Any]:
        """Return the member `recognition` of bundles of another log that this city recognises.

        Raises:
            NotPublished: it does not.
        """
        found = self.bundles.recognition_of(origin)
        if found is None:
            raise NotPublished("a recognition of this log")
        return {"checkpoint": found.checkpoint, "event": found.event, **found.inclusion.to_json()}

    def bundle(self, credential: str, *, anchored: bool) -> bytes:
        """Return a credential's bundle, over the newest cosigned checkpoint or the newest that is on the chain."""
        return self.bundles.bundle_of(credential, anchored=anchored).to_bytes()

    # --- holders ---------------------------------------------------------------------------------------------

    def uses(self, presentation: str) -> list[dict[str, Any]]:
        """List the uses of a licence to its holder."""
        shown = self._bearer(presentation, f"urn:shuyao:uses:{self.origin}")
        self._use_nonce(shown)
        self.seal()
        found = self._batches.uses_of(shown.standing.leaf_index, shown.standing.leaf_hash)
        return [
            {
                "time": use.listed.record.time_s,
                "verifier": use.listed.record.verifier.hex(),
                "verdict": use.listed.record.use.name,
                "record": use.listed.record.encode().hex(),
                "salt": use.listed.salt.hex(),
                "batch": None if use.batch is None else _batch_json(use.batch),
            }
            for use in found
        ]

    def shown_for_erasure(self, presentation: str) -> Shown:
        """Verify a holder's word that its licence be erased."""
        return self._bearer(presentation, f"urn:shuyao:erase:{self.origin}")

    def erase_for_holder(self, shown: Shown) -> dict[str, Any]:
        """Destroy a credential and its salts on its holder's word, once for each nonce."""
        self._use_nonce(shown)
        return self._erase(shown.standing)

    def erase_for_issuer(self, asked: SignedRequest) -> dict[str, Any]:
        """Destroy a credential and its salts on its issuer's word (argument `lic`: hex of the issue's leaf hash), once."""
        self.require_new(asked)
        return self._erase(self.own.standing(asked, asked.argument("lic")))

    def _erase(self, standing: Standing) -> dict[str, Any]:
        count = len(self._batches.uses_of(standing.leaf_index, standing.leaf_hash))
        self.book.erase(standing.leaf_index)
        return {"erased": True, "index": str(standing.leaf_index), "uses": count}

    def _bearer(self, presentation: str, audience: str) -> Shown:
        """Require a presentation made by the licence's holder for this service. Its nonce is not used up yet.

        Raises:
            BearerError: it does not prove its bearer.
            SignatureInvalid: the credential is not its issuer's.
        """
        presented = parse(presentation)
        given = None if presented.key_binding is None else presented.key_binding.payload.get("nonce")
        nonce = given if isinstance(given, str) else ""
        standing = self._standing(presented)
        key = self.book.state.public_key(standing.leaf.key_id)
        if key is None:
            raise LicenceUnknown("the licence's issuer has no such key")
        presented.jwt.verify(key)
        verify_bearer(presented, nonce=nonce, audience=audience, now_s=self.now())
        return Shown(standing, nonce)

    def _use_nonce(self, shown: Shown) -> None:
        """Use a presentation's nonce up.

        Raises:
            NonceUnknown: it answers no nonce of ours that is still open.
        """
        if not self.nonces.use(shown.nonce, self.now()):
            raise NonceUnknown

    def _standing(self, presented: Presented) -> Standing:
        """Return the licence of a presentation as the log has it.

        Raises:
            LicenceUnknown: the log has another licence, or none, in its slot.
        """
        standing = self.book.standing(presented.claims.list, presented.claims.index)
        if standing is None or standing.leaf_hash != leaf_of_claims(presented.jwt, presented.claims).hash:
            raise LicenceUnknown("the log has no such licence")
        return standing

    def _issuer_of(self, standing: Standing) -> str:
        row = self.book.state.keys.get(standing.leaf.key_id)
        return "" if row is None else row.issuer

    # --- the operator ----------------------------------------------------------------------------------------

    def anchor_now(self, asked: SignedRequest) -> dict[str, Any]:
        """Have the newest cosigned head anchored now.

        Raises:
            LicenceRequestRejected: somebody else than the operator asks.
            NotPublished: this log is on no chain.
        """
        self.require_new(asked)
        if asked.issuer != service_urn(self.origin):
            raise LicenceRequestRejected("issuer", "expected the operator")
        if self._anchors is None:
            raise NotPublished("an anchor of this log")
        self._anchors.want()
        self._duties.poke("anchor")
        return {"wanted": True, "size": str(self.book.size)}

    def anchors(self) -> list[dict[str, Any]]:
        """List the newest heads on the chain, newest first."""
        return [] if self._anchors is None else self._anchors.listed()

    def health(self) -> dict[str, Any]:
        """Say how the service fares."""
        states = self._duties.states()
        faults = {state.name: state.fault for state in states if state.fault}
        return {
            "status": "degraded" if faults else "ok",
            "origin": self.origin,
            "size": str(self.book.size),
            "is_cosigned": self.publisher.is_cosigned(),
            "duties": {state.name: {"done_at": state.done_at, "fault": state.fault} for state in states},
        }

    def _gauges(self) -> dict[str, float]:
        failing = sum(1 for state in self._duties.states() if state.fault)
        return {"log_entries": self.book.size, "duties_failing": failing}


def service_of(request: Request) -> LicenceService:
    """Return the service of the application that a request came to."""
    service: LicenceService = request.app.state.service
    return service


TheService = Annotated[LicenceService, Depends(service_of)]


def _published(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError as err:
        raise NotPublished(what) from err


def _batch_json(batch: BatchProof) -> dict[str, Any]:
    return {
        "index": str(batch.log_index),
        "position": str(batch.position),
        "count": str(batch.count),
        "path": [b64u(node) for node in batch.path],
    }
