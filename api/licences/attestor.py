"""What a witness says of the chain: only what it read there itself, through its own node.

Source: docs/licence.md §10.
"""

from __future__ import annotations

from collections.abc import Sequence

from api.licences.settings import WatchedLog
from ledger.chain import Chain
from ledger.encoding import address_from_hex
from ledger.licences.anchoring import attest_head
from ledger.licences.attest import AnchorStatement
from ledger.licences.errors import AnchorRefused
from ledger.log.notes import NoteSigner


class Attestor:
    """Signs statements about anchored heads that its own node bears out.

    Args:
        signer: the witness's, of the plain note algorithm.
        logs: what it watches.
        rpc_url: the witness's own node.

    Raises:
        ChainUnreachable: the address is none.
        MalformedValue: a contract's address is none.
    """

    def __init__(self, signer: NoteSigner, logs: Sequence[WatchedLog], *, rpc_url: str) -> None:
        self._signer, self._chain = signer, Chain(rpc_url)
        self._watched = {
            (log.chain_id, address_from_hex(log.contract)) for log in logs if log.contract is not None
        }

    def attest(self, statement: str) -> str:
        """Return the signature line over a statement.

        Args:
            statement: the note's text.

        Raises:
            AnchorRefused: the chain says otherwise, or the contract is none of those watched.
            Malformed: it is no statement.
            ChainError: the node does not answer, or has no such contract.
        """
        claimed = AnchorStatement.parse(statement)
        if (claimed.chain_id, claimed.contract) not in self._watched:
            raise AnchorRefused("expected a chain and a contract that this witness watches")
        return attest_head(self._chain, claimed, self._signer).to_line()
