"""One contract at one address: calls to send, answers to read, events. The typed wrappers are made of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from ledger.abi import decode_revert, interface
from ledger.chain import Chain, RawLog
from ledger.errors import CallReverted
from ledger.types import Address, Call, to_hex

_SPAN: Final = 10_000  # blocks whose events are asked for at once; nodes refuse more


class Contract:
    """One contract at one address.

    Attributes:
        name: of the contract, as its artifact has it.
        chain: where it is.
        address: of the contract.
    """

    name: str

    def __init__(self, chain: Chain, address: Address) -> None:
        self.chain, self.address = chain, address

    def _call(self, function: str, *arguments: Any) -> Call:
        return Call(self.address, interface(self.name).encode(function, *arguments))

    def _read(self, function: str, *arguments: Any, block: int | None = None) -> Any:
        """Read a function's one answer.

        Raises:
            ContractReverted: by name.
            ChainUnreachable: no answer.
            MalformedValue: there is no such contract at the address.
        """
        abi = interface(self.name)
        try:
            answer = self.chain.call(self.address, abi.encode(function, *arguments), block)
        except CallReverted as err:
            raise decode_revert(err.data) from err
        (value,) = abi.decode(function, answer)
        return value

    def _events(
        self, names: Sequence[str], from_block: int, to_block: int
    ) -> Iterator[tuple[str, dict[str, Any], RawLog]]:
        """Read the named events of some blocks, both ends included, in the chain's order.

        Raises:
            MalformedLog: one does not decode.
            ChainUnreachable: no answer.
        """
        abi = interface(self.name)
        topics = [to_hex(topic) for topic, event in abi.events.items() if event.name in names]
        for begin in range(from_block, to_block + 1, _SPAN):
            end = min(to_block, begin + _SPAN - 1)
            for log in self.chain.logs([self.address], begin, end, [topics]):
                decoded = abi.decode_event(log)
                if decoded is not None:
                    yield *decoded, log
