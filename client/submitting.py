"""Signing and handing in: a request is signed once, stored with all it needs, and only then sent.

The broker may open any request that it was ever given, until the request's first deadline. So as long as one could
still be opened, no second one is signed for the same plan: the same signed bytes are handed in again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from client.chain_view import ChainView
from client.errors import (
    Conflict,
    ExchangeFailed,
    ExchangeProblem,
    ExchangeReplyInvalid,
    ExchangeUnreachable,
    NotFound,
    QuoteExpired,
)
from client.market import Market
from client.quoting import complete_request
from client.store import Store
from client.types import LocalState, Quote, StoredRequest
from client.vault import Vault
from ledger.eip712 import request_id, sign_request
from ledger.signing import Signer
from ledger.types import Answered, Deployment, Digest, Opened, to_hex

_LOST_BLOCKS_MAX: Final = 256  # a chain may lose its last blocks and open a request at a lower number
_FIRST_NONCE_BYTES: Final = 2
_NONCES_A_SLOT: Final = 256  # how many nonces the contract keeps in one slot
_IDEMPOTENCY_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Submission:
    """The signing side of a buyer.

    Args:
        deployment: the contracts that requests are signed for.
        signer: the buyer's account.
        market: the exchange.
        store: the buyer's requests.
        vault: seals request keys.
        view: the buyer's chain.
        rand: returns that many bytes of the system's randomness.
        now_s: Unix seconds.
    """

    deployment: Deployment
    signer: Signer
    market: Market
    store: Store
    vault: Vault
    view: ChainView
    rand: Callable[[int], bytes] = secrets.token_bytes
    now_s: Callable[[], float] = time.time

    def submit(self, quote: Quote) -> Digest:
        """Sign and hand in a request; for an identical plan that is under way or answered, that one.

        Returns:
            The request id.

        Raises:
            QuoteExpired: ask for a new quote; nothing was signed.
            ExchangeUnreachable, ExchangeReplyInvalid, ExchangeFailed: the signed request is kept; call again.
            ExchangeProblem: refused; the same signed request is handed in again by the next call.
        """
        standing = self._standing(quote.plan_hash)
        if standing is None:
            standing = self.store.prepare(self._sign(quote))
        if standing.state is LocalState.PREPARED:
            self._hand_in(standing)
        return standing.request_id

    def resume(self, stored: StoredRequest) -> None:
        """Hand in a request that a killed buyer signed; one that is on the chain needs nothing.

        Raises:
            As `submit`.
        """
        try:
            self._hand_in(stored)
        except (ExchangeUnreachable, ExchangeReplyInvalid, ExchangeProblem):
            if self.view.facts(stored).one(Opened) is None:
                raise
            self.store.set_state(stored.request_id, LocalState.SUBMITTED)

    def fresh_idempotency_key(self) -> str:
        """Return a key under which the exchange does a POST once, however often it is sent."""
        return self.rand(_IDEMPOTENCY_BYTES).hex()

    def _standing(self, plan_hash: bytes) -> StoredRequest | None:
        """Return the good request for a plan, after a look whether it is still good."""
        standing = self.store.good(plan_hash)
        if standing is None or standing.state is LocalState.ANSWERED:
            return standing
        facts = self.view.facts(standing)
        if facts.one(Answered) is None and facts.ended_because is not None:
            self.store.set_state(standing.request_id, LocalState.CLOSED, facts.ended_because)
            return None
        if facts.one(Opened) is None and facts.final_block > standing.request.approve_by:
            self.store.set_state(standing.request_id, LocalState.EXPIRED)
            return None
        return standing

    def _sign(self, quote: Quote) -> StoredRequest:
        from privacy.sealed_sum_answer import BuyerKey

        head = self.view.head()
        if quote.expires_at <= self.now_s() or int(quote.draft["approve_by"]) <= head:
            raise QuoteExpired("the quote does not hold any more: ask for a new one")
        key = BuyerKey.generate(self.rand)
        request = complete_request(quote, key_x=key.x, key_parity=key.parity, nonce=self._nonce())
        scope = self.deployment.chain_id, self.deployment.ledger
        identity = request_id(request, *scope)
        return StoredRequest(
            request_id=identity,
            request=request,
            signature=sign_request(self.signer, request, *scope),
            plan_json=quote.plan.to_bytes(),
            quote_json=quote.to_json(),
            sql=quote.sql,
            listing_name=quote.listing.name,
            idempotency_key=self.fresh_idempotency_key(),
            state=LocalState.PREPARED,
            detail="",
            sealed_key=self.vault.seal(key.secret, identity),
            since_block=max(self.deployment.block, head - _LOST_BLOCKS_MAX),
        )

    def _nonce(self) -> int:
        """Return a nonce that this buyer did not use before.

        Nonces count up, as the contract keeps 256 of them in one slot and a small number costs less gas in each call.
        A new store begins at a slot of its own, so that two stores of one account do not come upon the same
        nonces; those that another store, or this one before it was restored from a backup, used are passed over.
        """
        first = int.from_bytes(self.rand(_FIRST_NONCE_BYTES), "big") * _NONCES_A_SLOT
        while True:
            nonce = self.store.take_nonce(first)
            if not self.view.is_nonce_used(self.signer.address, nonce):
                return nonce

    def _hand_in(self, stored: StoredRequest) -> None:
        try:
            given = self.market.submit(
                plan_json=stored.plan_json,
                request=stored.request.to_json(),
                signature=stored.signature,
                idempotency_key=stored.idempotency_key,
            )
        except (ExchangeUnreachable, ExchangeReplyInvalid, ExchangeFailed):
            raise  # it may have it: the same bytes under the same key are safe to send again
        except ExchangeProblem as err:
            if not isinstance(err, Conflict) or not self._is_known(stored.request_id):
                self.store.renew_idempotency_key(stored.request_id, self.fresh_idempotency_key())
                raise
            given = stored.request_id
        if given != stored.request_id:
            raise ExchangeReplyInvalid("POST /requests", f"expected request {to_hex(stored.request_id)}")
        self.store.set_state(stored.request_id, LocalState.SUBMITTED)

    def _is_known(self, request_id: Digest) -> bool:
        try:
            return self.market.request(request_id).request_id == request_id
        except NotFound:
            return False
