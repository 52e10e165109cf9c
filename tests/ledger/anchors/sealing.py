"""A chain whose blocks four validators seal as Besu's do, with an encoder of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ledger.anchors.proof import AnchorPolicy
from ledger.chain import Chain
from ledger.encoding import keccak, to_hex
from ledger.signing import Signer
from ledger.types import Address
from tests.ledger.anchors.world import ORIGIN_HASH, Trust
from tests.ledger.conftest import signer_for

VALIDATORS = [signer_for(f"validator {i}") for i in range(4)]
PINNED = frozenset(v.address for v in VALIDATORS)
MIX_HASH = bytes.fromhex("63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365")
VANITY = b"Shuyao".ljust(32, b"\0")
EXTRA, MIX = 12, 13
DATA = ["parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot", "logsBloom"]
NUMBERS = ["difficulty", "number", "gasLimit", "gasUsed", "timestamp"]
LATER_NUMBERS = {"baseFeePerGas", "blobGasUsed", "excessBlobGas"}
LATER = [
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
]


def enc(item: Any) -> bytes:
    """RLP, by the definition of the Yellow Paper."""
    body = item if isinstance(item, bytes) else b"".join(map(enc, item))
    if isinstance(item, bytes) and len(body) == 1 and body[0] < 128:
        return body
    offset = 128 if isinstance(item, bytes) else 192
    if len(body) < 56:
        return bytes([offset + len(body)]) + body
    size = number(len(body))
    return bytes([offset + 55 + len(size)]) + size + body


def number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def header_fields(block: dict[str, Any]) -> list[bytes]:
    """The fields of a node's header, with the mix hash of a BFT chain and room for its extra data."""
    later = [name for name in LATER if block.get(name) is not None]
    return [
        *(bytes.fromhex(block[name][2:]) for name in DATA),
        *(number(int(block[name], 16)) for name in NUMBERS),
        b"",
        MIX_HASH,
        bytes(8),
        *(number(int(block[n], 16)) if n in LATER_NUMBERS else bytes.fromhex(block[n][2:]) for n in later),
    ]


def with_extra(fields: Sequence[bytes], round_: int, seals: Sequence[bytes]) -> bytes:
    extra = enc([VANITY, [v.address for v in VALIDATORS], [], number(round_), list(seals)])
    return enc([*fields[:EXTRA], extra, *fields[EXTRA + 1 :]])


def seal(fields: Sequence[bytes], signer: Signer, round_: int = 0) -> bytes:
    signature = signer.sign(keccak(with_extra(fields, round_, [])))
    return signature[:64] + bytes([signature[64] - 27])


def sealed(fields: Sequence[bytes], signers: Sequence[Signer] = VALIDATORS, round_: int = 0) -> bytes:
    """A header with the seals of the signers."""
    return with_extra(fields, round_, [seal(fields, signer, round_) for signer in signers])


class SealedChain(Chain):
    """A node of a QBFT chain: its blocks are anvil's, with seals."""

    def __init__(self, url: str, signers: Sequence[Signer] = VALIDATORS) -> None:
        super().__init__(url)
        self.signers = signers
        self.request = self._request

    def _request(self, method: str, *params: Any) -> Any:
        answer = self._rpc.request(method, *params)
        if method == "eth_getBlockByNumber":
            fields = header_fields(answer)
            extra = [seal(fields, signer) for signer in self.signers]
            answer |= {
                "extraData": to_hex(enc([VANITY, [v.address for v in VALIDATORS], [], b"", extra])),
                "mixHash": to_hex(MIX_HASH),
                "nonce": "0x0000000000000000",
                "hash": to_hex(keccak(with_extra(fields, 0, []))),
            }
        return answer


def policy_of(trust: Trust, **changes: Any) -> AnchorPolicy:
    values: dict[str, Any] = {
        "chain_id": trust.deployment.chain_id,
        "contract": trust.deployment.anchor,
        "origin_hash": ORIGIN_HASH,
        "validators": PINNED,
    }
    return AnchorPolicy(**{**values, **changes})


def nibbles(data: bytes) -> list[int]:
    return [int(digit, 16) for digit in data.hex()]


def hex_prefix(path: Sequence[int], is_leaf: bool) -> bytes:
    flag = 2 * is_leaf + len(path) % 2
    digits = [flag, *path] if len(path) % 2 else [flag, 0, *path]
    return bytes.fromhex("".join(f"{digit:x}" for digit in digits))


def address(i: int) -> Address:
    return Address(i.to_bytes(20, "big"))
