"""Signed transactions of type 2.

Source: EIP-1559; EIP-2718; Ethereum Yellow Paper, appendix B (RLP).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.encoding import keccak
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
    body = [*map(_number, numbers), _string(to or b""), _number(value), _string(data), _list([])]
    signature = signer.sign(keccak(_TYPE + _list(body)))
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    return _TYPE + _list([*body, _number(signature[64] - 27), _number(r), _number(s)])


def contract_address(creator: Address, nonce: int) -> Address:
    """Return the address of the contract that an account creates with this nonce."""
    return Address(keccak(_list([_string(creator), _number(nonce)]))[12:])


def _number(value: int) -> bytes:
    return _string(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _string(value: bytes) -> bytes:
    return value if len(value) == 1 and value[0] < 0x80 else _prefix(0x80, len(value)) + value


def _list(items: list[bytes]) -> bytes:
    body = b"".join(items)
    return _prefix(0xC0, len(body)) + body


def _prefix(offset: int, length: int) -> bytes:
    if length < 56:
        return bytes([offset + length])
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([offset + 55 + len(size)]) + size
