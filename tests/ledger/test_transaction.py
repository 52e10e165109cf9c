"""Type-2 transactions are those of another implementation."""

from __future__ import annotations

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.encoding import keccak
from ledger.signing import Signer
from ledger.transaction import Fees, contract_address, sign_transaction
from ledger.types import Address

SIGNER = Signer(keccak(b"sender"))
wei = st.integers(0, 10**24) | st.sampled_from([0, 1, 127, 128, 255, 256])


@settings(max_examples=60)
@given(
    nonce=st.integers(0, 2**63),
    gas=st.integers(21_000, 2**40),
    priority=wei,
    more=wei,
    value=wei,
    to=st.none() | st.binary(min_size=20, max_size=20),
    data=st.binary(max_size=3) | st.binary(min_size=50, max_size=70) | st.binary(min_size=250, max_size=300),
    chain_id=st.sampled_from([1, 127, 128, 1337, 31337, 2**53]),
)
def test_signed_bytes_are_those_of_eth_account(
    nonce: int, gas: int, priority: int, more: int, value: int, to: bytes | None, data: bytes, chain_id: int
) -> None:
    ours = sign_transaction(
        SIGNER,
        chain_id=chain_id,
        nonce=nonce,
        gas_limit=gas,
        fees=Fees(priority + more, priority),
        to=None if to is None else Address(to),
        data=data,
        value=value,
    )
    theirs = Account.sign_transaction(
        {
            "type": 2,
            "chainId": chain_id,
            "nonce": nonce,
            "gas": gas,
            "maxFeePerGas": priority + more,
            "maxPriorityFeePerGas": priority,
            "to": b"" if to is None else to,
            "value": value,
            "data": data,
        },
        SIGNER.raw_private_key(),
    )
    assert ours == bytes(theirs.raw_transaction)


def test_contract_address_is_that_of_the_yellow_paper() -> None:
    creator = Address(bytes.fromhex("6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0"))
    known = {0: "cd234a471b72ba2f1ccf0a70fcaba648a5eecd8d", 1: "343c43a37d37dff08ae8c4a11544c718abb4fcf8"}
    assert {nonce: contract_address(creator, nonce).hex() for nonce in known} == known


@pytest.mark.parametrize(
    "fees, usual", [(Fees(100, 10), Fees(50, 5)), (Fees(100, 10), Fees(1000, 1)), (Fees(0, 0), Fees(0, 0))]
)
def test_raised_fees_beat_a_tenth_more_and_the_usual(fees: Fees, usual: Fees) -> None:
    raised = fees.raised(usual, cap=10_000)
    assert raised.max_fee * 10 >= fees.max_fee * 11 and raised.priority * 10 >= fees.priority * 11
    assert (
        raised.max_fee >= usual.max_fee
        and raised.priority >= usual.priority
        and raised.priority <= raised.max_fee
    )


def test_fees_at_their_cap_stay_as_they_are() -> None:
    assert Fees(100, 10).raised(Fees(500, 50), cap=105) == Fees(100, 10)
