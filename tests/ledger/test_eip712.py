"""The request's digest is EIP-712's, by another implementation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import eip712
from ledger.encoding import keccak
from ledger.errors import BadSignature
from ledger.signing import Signer
from ledger.types import Address, Digest, Request

BUYER = Signer(keccak(b"buyer"))
CONTRACT = Address(keccak(b"contract")[:20])


@pytest.fixture
def request_of(make_request: Callable[..., Request]) -> Callable[..., Request]:
    """Builds the buyer's requests."""
    return functools.partial(make_request, BUYER.address, Address(b"\2" * 20))


def typed_data(value: Request, chain_id: int) -> dict[str, Any]:
    inner = eip712.REQUEST_TYPE.removeprefix("Request(").removesuffix(")")
    members = [dict(zip(("type", "name"), member.split(" "), strict=True)) for member in inner.split(",")]
    values = [getattr(value, name) for name in Request.__slots__]
    domain = {
        "name": "Shuyao",
        "version": "1",
        "chainId": chain_id,
        "verifyingContract": "0x" + CONTRACT.hex(),
    }
    kinds = (
        ("name", "string"),
        ("version", "string"),
        ("chainId", "uint256"),
        ("verifyingContract", "address"),
    )
    return {
        "domain": domain,
        "primaryType": "Request",
        "types": {"EIP712Domain": [{"name": n, "type": t} for n, t in kinds], "Request": members},
        "message": {
            member["name"]: "0x" + v.hex() if isinstance(v, bytes) else v
            for member, v in zip(members, values, strict=True)
        },
    }


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rho=st.integers(1, 2**64 - 1),
    price=st.integers(0, 2**128 - 1),
    nonce=st.integers(0, 2**256 - 1),
    chain_id=st.integers(1, 2**63),
    key=st.binary(min_size=32, max_size=32),
)
def test_request_signature_is_that_of_eth_account(
    request_of: Callable[..., Request], rho: int, price: int, nonce: int, chain_id: int, key: bytes
) -> None:
    value = request_of(rho_micro=rho, price_minor=price, nonce=nonce, key_x=key)
    message = encode_typed_data(full_message=typed_data(value, chain_id))
    theirs = Account.sign_message(message, BUYER.raw_private_key())
    digest = eip712.request_id(value, chain_id, CONTRACT)
    assert digest == bytes(theirs.message_hash)
    signature = eip712.sign_request(BUYER, value, chain_id, CONTRACT)
    assert signature == bytes(theirs.signature)
    assert eip712.require_request_signature(value, signature, chain_id, CONTRACT) == digest


def test_every_field_the_chain_and_the_contract_are_signed(request_of: Callable[..., Request]) -> None:
    changes: list[dict[str, Any]] = [
        {"listing": b"\7" * 32}, {"plan_hash": b"\7" * 32},
        {"key_x": b"\7" * 32}, {"key_parity": 3}, {"rho_micro": 1}, {"price_minor": 1}, {"holders": 4},
        {"min_holders": 1}, {"colluders": 1}, {"dropouts": 0}, {"approve_by": 11}, {"share_by": 1001},
        {"contribute_by": 2001}, {"answer_by": 3001}, {"nonce": 10},
    ]  # fmt: skip
    signature = eip712.sign_request(BUYER, request_of(), 1, CONTRACT)
    for change in changes:
        with pytest.raises(BadSignature):
            eip712.require_request_signature(request_of(**change), signature, 1, CONTRACT)
    with pytest.raises(BadSignature):
        other = replace(request_of(), broker=Address(b"\7" * 20))
        eip712.require_request_signature(other, signature, 1, CONTRACT)
    with pytest.raises(BadSignature):
        eip712.require_request_signature(request_of(), signature, 2, CONTRACT)
    with pytest.raises(BadSignature):
        eip712.require_request_signature(request_of(), signature, 1, Address(bytes(20)))


def test_only_the_buyer_can_sign_its_request(request_of: Callable[..., Request]) -> None:
    with pytest.raises(BadSignature):
        eip712.sign_request(Signer(keccak(b"other")), request_of(), 1, CONTRACT)


def test_acceptance_is_bound_to_request_chain_and_contract() -> None:
    digest = Digest(keccak(b"request"))
    signature = eip712.sign_acceptance(BUYER, digest, 1, CONTRACT)
    eip712.require_acceptance(BUYER.address, digest, signature, 1, CONTRACT)
    for changed in ((keccak(b"x"), 1, CONTRACT), (digest, 2, CONTRACT), (digest, 1, Address(bytes(20)))):
        with pytest.raises(BadSignature):
            eip712.require_acceptance(BUYER.address, changed[0], signature, changed[1], changed[2])
