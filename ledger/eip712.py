"""The EIP-712 digests of a buyer's request and of its acceptance.

Source: docs/protocol.md §2; EIP-712.
"""

from __future__ import annotations

from typing import Final

from ledger.encoding import keccak, word
from ledger.errors import BadSignature
from ledger.signing import Signer, recover
from ledger.types import Address, Digest, Request, to_hex

REQUEST_TYPE: Final = (
    "Request(address buyer,address broker,bytes32 listing,bytes32 planHash,bytes32 keyX,uint8 keyParity,"
    "uint64 rho,uint128 price,uint16 holders,uint16 minHolders,uint16 colluders,uint16 dropouts,"
    "uint64 approveBy,uint64 shareBy,uint64 contributeBy,uint64 answerBy,uint256 nonce)"
)
ACCEPT_TYPE: Final = "Accept(bytes32 requestId)"
_DOMAIN_TYPE: Final = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_REQUEST_TYPE_HASH: Final = keccak(REQUEST_TYPE.encode())
_ACCEPT_TYPE_HASH: Final = keccak(ACCEPT_TYPE.encode())
_DOMAIN_PREFIX: Final = keccak(_DOMAIN_TYPE.encode()) + keccak(b"Shuyao") + keccak(b"1")


def domain_separator(chain_id: int, contract: Address) -> Digest:
    """Return the domain separator of ComputeLedger at `contract`."""
    return keccak(_DOMAIN_PREFIX + word(chain_id) + word(contract))


def request_id(request: Request, chain_id: int, contract: Address) -> Digest:
    """Return the request's id: its EIP-712 digest, which the buyer signs."""
    words: tuple[int | bytes, ...] = (
        request.buyer,
        request.broker,
        request.listing,
        request.plan_hash,
        request.key_x,
        request.key_parity,
        request.rho_micro,
        request.price_minor,
        request.holders,
        request.min_holders,
        request.colluders,
        request.dropouts,
        request.approve_by,
        request.share_by,
        request.contribute_by,
        request.answer_by,
        request.nonce,
    )
    return _typed(keccak(_REQUEST_TYPE_HASH + b"".join(map(word, words))), chain_id, contract)


def accept_digest(request: Digest, chain_id: int, contract: Address) -> Digest:
    """Return the digest by which a buyer accepts the answer of the request with this id."""
    return _typed(keccak(_ACCEPT_TYPE_HASH + word(request)), chain_id, contract)


def sign_request(signer: Signer, request: Request, chain_id: int, contract: Address) -> bytes:
    """Sign the request as its buyer.

    Raises:
        BadSignature: the signer is not the request's buyer.
    """
    if signer.address != request.buyer:
        raise BadSignature(
            f"request of buyer {to_hex(request.buyer)} cannot be signed by {to_hex(signer.address)}"
        )
    return signer.sign(request_id(request, chain_id, contract))


def require_request_signature(request: Request, signature: bytes, chain_id: int, contract: Address) -> Digest:
    """Require that the request's buyer signed it.

    Returns:
        The request id.

    Raises:
        BadSignature: malformed, or made by another account.
    """
    digest = request_id(request, chain_id, contract)
    _require(request.buyer, digest, signature, "request")
    return digest


def sign_acceptance(signer: Signer, request: Digest, chain_id: int, contract: Address) -> bytes:
    """Sign the acceptance of the answer to the request with this id."""
    return signer.sign(accept_digest(request, chain_id, contract))


def require_acceptance(
    buyer: Address, request: Digest, signature: bytes, chain_id: int, contract: Address
) -> None:
    """Require that `buyer` accepted the answer to the request with this id.

    Raises:
        BadSignature: malformed, or made by another account.
    """
    _require(buyer, accept_digest(request, chain_id, contract), signature, "acceptance")


def _typed(struct_hash: bytes, chain_id: int, contract: Address) -> Digest:
    return keccak(b"\x19\x01" + domain_separator(chain_id, contract) + struct_hash)


def _require(buyer: Address, digest: Digest, signature: bytes, what: str) -> None:
    actual = recover(digest, signature)
    if actual != buyer:
        raise BadSignature(f"{what}: expected a signature by {to_hex(buyer)}, got one by {to_hex(actual)}")
