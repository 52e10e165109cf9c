"""The chain as one buyer reads it: through its own node, at the contracts of its settings, final events only."""

from __future__ import annotations

from collections.abc import Sequence

from client.errors import DeploymentMismatch
from client.facts import RequestFacts, is_ledger_code, read_head, read_request, read_states
from client.settings import ClientSettings
from client.types import StoredRequest
from ledger.chain import Chain
from ledger.contracts import Contracts
from ledger.types import Address, Digest, RequestState, to_hex


class ChainView:
    """Reads heads and requests.

    Args:
        chain: the buyer's node.
        settings: the buyer's.
    """

    def __init__(self, chain: Chain, settings: ClientSettings) -> None:
        self.chain, self._settings = chain, settings
        self._is_ledger_checked = False

    def head(self) -> int:
        """Return the newest block, of a chain on which the ledger was seen to be ours.

        Raises:
            DeploymentMismatch: another chain, or other code than ours.
            ChainUnreachable: no usable answer.
        """
        if self._is_ledger_checked:
            return self.chain.block_number()
        deployment = self._settings.deployment
        head = read_head(self.chain, deployment.ledger)
        if head.chain_id != deployment.chain_id:
            raise DeploymentMismatch(f"expected chain {deployment.chain_id}, the node serves {head.chain_id}")
        if not is_ledger_code(head.code):
            raise DeploymentMismatch(f"the code at {to_hex(deployment.ledger)} is not the compute ledger's")
        self._is_ledger_checked = True
        return head.block

    def is_nonce_used(self, buyer: Address, nonce: int) -> bool:
        """Say whether a request with this nonce of the buyer's was opened.

        Raises:
            ChainUnreachable: no usable answer.
        """
        return Contracts(self.chain, self._settings.deployment).ledger.is_nonce_used(buyer, nonce)

    def states(self, request_ids: Sequence[Digest]) -> list[RequestState]:
        """Read where requests stand now, in the order given.

        Raises:
            DeploymentMismatch: another chain, or other code than ours.
            ChainUnreachable: no usable answer.
        """
        self.head()
        return read_states(self.chain, self._settings.deployment.ledger, request_ids)

    def facts(self, stored: StoredRequest) -> RequestFacts:
        """Read the final events of one request.

        Raises:
            DeploymentMismatch: another chain, or other code than ours.
            ChainUnreachable: no usable answer.
        """
        return read_request(
            self.chain,
            self._settings.deployment.ledger,
            stored.request_id,
            from_block=stored.since_block,
            final_block=self.head() - self._settings.confirmations,
        )
