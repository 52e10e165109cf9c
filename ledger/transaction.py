"""Signed transactions of type 2.

Source: EIP-1559; EIP-2718.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.encoding import keccak
from ledger.rlp import Item, encode, encode_number
from ledger.signing import Signer
from ledger.types import Address

_TYPE: Final = b"\x02"


@dataclass(frozen=True, slots=True)
class Fees:
    """What a transaction offers per gas, in wei: at most `max_fee`, of it `priority` to the block's maker."""

    max_fee: int
    priority: int

    def raised(self, to_at_least: Fees, *, cap: int) -> Fees:
        """Return fees that replace these: a quarter more (nodes ask for a tenth), or what is usual now.

        The result equals these fees when the cap leaves no room.
        """
        max_fee = min(cap, max(self.max_fee + self.max_fee // 4 + 1, to_at_least.max_fee))
        priority = min(max_fee, max(self.priority + self.priority // 4 + 1, to_at_least.priority))
        if max_fee * 10 < self.max_fee * 11 or priority * 10 < self.priority * 11:
            return self
        return Fees(max_fee, priority)


def sign_transaction(
    signer: Signer,
    *,
    chain_id: int,
    nonce: int,
    gas_limit: int,
    fees: Fees,
    to: Address | None,
    data: bytes,
    value: int = 0,
) -> bytes:
    """Return the raw bytes of a signed transaction. The same arguments give the same bytes.

    Args:
        to: the contract, or None to create one from `data`.
        value: wei.
    """
    numbers = (chain_id, nonce, fees.priority, fees.max_fee, gas_limit)
    body: list[Item] = [*map(encode_number, numbers), to or b"", encode_number(value), data, []]
    signature = signer.sign(keccak(_TYPE + encode(body)))
    parity, r, s = signature[64] - 27, signature[:32].lstrip(b"\0"), signature[32:64].lstrip(b"\0")
    return _TYPE + encode([*body, encode_number(parity), r, s])


def contract_address(creator: Address, nonce: int) -> Address:
    """Return the address of the contract that an account creates with this nonce."""
    return Address(keccak(encode([creator, encode_number(nonce)]))[12:])
