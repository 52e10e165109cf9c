"""Committed seals: a header of a real Besu network, and headers sealed here in every wrong way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.anchors.errors import AnchorError, EvidenceMalformed, SealInvalid, SealsTooFew
from ledger.anchors.qbft import block_hash, quorum, verify_header_seals
from ledger.encoding import keccak
from ledger.signing import ORDER
from ledger.types import Address
from tests.ledger.anchors.sealing import (
    EXTRA,
    MIX,
    MIX_HASH,
    PINNED,
    VALIDATORS,
    VANITY,
    enc,
    number,
    seal,
    sealed,
    with_extra,
)
from tests.ledger.conftest import signer_for

EMPTY_TRIE = bytes.fromhex("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421")
NO_OMMERS = bytes.fromhex("1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347")
FIELDS = [
    keccak(b"parent"),
    NO_OMMERS,
    bytes(20),
    keccak(b"state"),
    EMPTY_TRIE,
    EMPTY_TRIE,
    bytes(256),
    b"\1",
    number(77),
    number(30_000_000),
    b"",
    number(1_800_000_000),
    b"",
    MIX_HASH,
    bytes(8),
]
STRANGERS = [signer_for(f"foreign validator {i}") for i in range(4)]

# Block 7,528 of a Besu QBFT network of four validators, agreed in round 1 with three seals (test data of datachainlab/besu-qbft-elc).
BESU_VALIDATORS = [
    Address(bytes.fromhex(text))
    for text in (
        "647bfdd19655e51e69d35454ff3a92f8828e6302",
        "a5c8416b9d13417b45b45ada76408f39d1e504ef",
        "b92e91f4dcc9d28503be521afa2a8fbf3c1acf60",
        "ee3353e587cfa91625a1adaef308a726de3803d3",
    )
]
BESU_SEALS = [
    bytes.fromhex(r + s)
    for r, s in (
        (
            "bc7633fd65570f610a595086e9a34e5bf6aacfb67b8f8cd01852e6b285147f04",
            "6a50577b49378b86723ac9b456ef59ef7ab57cda7139d807f10f58e8cb10c67600",
        ),
        (
            "ad1defc2b0b4a48158cff24778bb5ba4d9f373c171022ab0a42e37bdb0d40257",
            "18434d303a8d94df56ef9ad5219be9f27b2f67179a7fb82d3323dde29546f9f701",
        ),
        (
            "e233d3670dd97c715f72b440eeb1ccb1e22c8c23f6ab470c46c99c2d0ee6509f",
            "0341a42e0e4569782557e93c3815e8ca4294043595f69a90f73f135de8ecf41e00",
        ),
    )
]
BESU_STATE = bytes.fromhex("166ed98eea93ab2b6f6b1a425526994adc2d675bf9a0d77d600ed1e02d8f77df")
BESU_COMMIT_HASH = bytes.fromhex("75ea184f58cd3f0ef89032a069df01f07ec524ef3a85cf6d3e424d62130c0a32")


def besu_header(seals: list[bytes], round_: bytes = b"\1", vote: Any = ()) -> bytes:
    return enc(
        [
            bytes.fromhex("0af93e70b1c6d3974a88a42eb70bb61adbd523bfac0c83027ba4637c52746a0f"),
            NO_OMMERS,
            BESU_VALIDATORS[3],
            BESU_STATE,
            EMPTY_TRIE,
            EMPTY_TRIE,
            bytes(256),
            b"\1",
            number(7528),
            bytes.fromhex("47b760"),
            b"",
            bytes.fromhex("6640618b"),
            enc([bytes(32), BESU_VALIDATORS, list(vote), round_, seals]),
            MIX_HASH,
            bytes(8),
        ]
    )


# --- a real block ----------------------------------------------------------------------------------------


def test_block_of_a_real_network_is_sealed_by_its_validators() -> None:
    assert keccak(besu_header([])) == BESU_COMMIT_HASH
    block = verify_header_seals(besu_header(BESU_SEALS), frozenset(BESU_VALIDATORS))
    assert (block.number, block.state_root, block.time_s) == (7528, BESU_STATE, 1_715_495_307)
    assert len(block.sealers) == 3
    assert block.hash == keccak(besu_header([], round_=b""))
    assert block.hash == block_hash(besu_header(BESU_SEALS))


def test_altered_block_of_a_real_network_is_refused() -> None:
    pinned = frozenset(BESU_VALIDATORS)
    for altered in (besu_header(BESU_SEALS[:2]), besu_header(BESU_SEALS, round_=b"\2")):
        with pytest.raises(SealsTooFew):
            verify_header_seals(altered, pinned)
    with pytest.raises(SealsTooFew):
        verify_header_seals(besu_header(BESU_SEALS, vote=[BESU_VALIDATORS[0], b"\xff"]), pinned)


# --- quorum ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("validators", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (7, 5), (10, 7)]
)
def test_quorum_is_two_thirds_rounded_up(validators: int, needed: int) -> None:
    assert quorum(validators) == needed


def test_three_of_four_suffice_in_any_order_and_two_do_not() -> None:
    assert verify_header_seals(sealed(FIELDS, VALIDATORS[:3]), PINNED).sealers == {
        v.address for v in VALIDATORS[:3]
    }
    verify_header_seals(sealed(FIELDS, VALIDATORS[:0:-1]), PINNED)
    with pytest.raises(SealsTooFew) as caught:
        verify_header_seals(sealed(FIELDS, VALIDATORS[:2]), PINNED)
    assert (caught.value.have, caught.value.need, caught.value.pinned) == (2, 3, 4)


def test_seals_of_validators_that_are_not_pinned_do_not_count() -> None:
    for signers, have in ((STRANGERS, 0), ([*VALIDATORS[:2], *STRANGERS], 2)):
        with pytest.raises(SealsTooFew) as caught:
            verify_header_seals(sealed(FIELDS, signers), PINNED)
        assert caught.value.have == have
    verify_header_seals(sealed(FIELDS, [*STRANGERS, *VALIDATORS[:3]]), PINNED)


def test_no_pinned_validator_means_no_sealed_block() -> None:
    with pytest.raises(SealsTooFew):
        verify_header_seals(sealed(FIELDS), frozenset())


# --- seals -----------------------------------------------------------------------------------------------


def test_validator_that_sealed_twice_is_refused() -> None:
    with pytest.raises(SealInvalid):
        verify_header_seals(sealed(FIELDS, [*VALIDATORS[:2], VALIDATORS[0]]), PINNED)


def test_second_form_of_a_seal_is_no_second_seal() -> None:
    given = [seal(FIELDS, signer) for signer in VALIDATORS[:2]]
    r, s, v = given[0][:32], int.from_bytes(given[0][32:64]), given[0][64]
    twin = r + (ORDER - s).to_bytes(32, "big") + bytes([1 - v])
    with pytest.raises(SealInvalid):
        verify_header_seals(with_extra(FIELDS, 0, [*given, twin]), PINNED)


def test_seals_of_another_header_or_round_do_not_count() -> None:
    seals = [seal(FIELDS, signer) for signer in VALIDATORS]
    other = [*FIELDS[:3], keccak(b"another state"), *FIELDS[4:]]
    for header in (with_extra(other, 0, seals), with_extra(FIELDS, 1, seals)):
        with pytest.raises(SealsTooFew):
            verify_header_seals(header, PINNED)


def test_sealed_header_of_another_consensus_is_refused() -> None:
    with pytest.raises(EvidenceMalformed):
        verify_header_seals(sealed([*FIELDS[:MIX], bytes(32), *FIELDS[MIX + 1 :]]), PINNED)


def test_round_and_seals_do_not_change_the_hash_of_the_block() -> None:
    first = verify_header_seals(sealed(FIELDS, VALIDATORS, 0), PINNED)
    second = verify_header_seals(sealed(FIELDS, VALIDATORS[1:], 5), PINNED)
    assert first.hash == second.hash == keccak(with_extra(FIELDS, 0, []))


@pytest.mark.parametrize(
    "bad",
    [bytes(65), bytes([1]) * 64 + b"\2", bytes([1]) * 64 + b"\xff", bytes([255]) * 64 + b"\0"],
    ids=["zero", "v of 2", "v of 255", "range"],
)
def test_seal_that_is_no_signature_is_refused(bad: bytes) -> None:
    seals = [*(seal(FIELDS, signer) for signer in VALIDATORS), bad]
    with pytest.raises(SealInvalid):
        verify_header_seals(with_extra(FIELDS, 0, seals), PINNED)


# --- headers ---------------------------------------------------------------------------------------------


def header_with(position: int, value: bytes) -> bytes:
    return enc([*FIELDS[:position], value, *FIELDS[position + 1 :]])


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\x80",
        enc(FIELDS[:14]),
        enc([*FIELDS, *[b""] * 18]),
        sealed(FIELDS) + b"\0",
        header_with(MIX, bytes(32)),
        header_with(EXTRA, b""),
        header_with(EXTRA, enc([VANITY, [], [], b""])),
        header_with(EXTRA, enc([VANITY[1:], [], [], b"", []])),
        header_with(EXTRA, enc([VANITY, b"", [], b"", []])),
        header_with(EXTRA, enc([VANITY, [], [], bytes(4), []])),  # IBFT 2.0 has four bytes here
        header_with(EXTRA, enc([VANITY, [], [], b"", [bytes(64)]])),
        header_with(EXTRA, enc([VANITY, [], [], b"", [[]]])),
        header_with(EXTRA, bytes(1 << 16)),
    ],
    ids=lambda header: f"{len(header)} bytes",
)
def test_what_is_no_header_of_a_qbft_chain_is_refused(header: bytes) -> None:
    with pytest.raises(EvidenceMalformed):
        verify_header_seals(header, PINNED)


@given(st.integers(0, len(sealed(FIELDS, VALIDATORS[:3])) - 1), st.integers(1, 255))
def test_any_altered_byte_of_a_header_is_refused(place: int, change: int) -> None:
    header = bytearray(sealed(FIELDS, VALIDATORS[:3]))
    header[place] ^= change
    with pytest.raises(AnchorError):
        verify_header_seals(bytes(header), PINNED)
