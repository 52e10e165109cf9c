"""The buyer's pad: RFC 8439, and the digests that contracts/test/ChaCha20.t.sol requires of the contract's side."""

import re
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from privacy.encoding import keccak, word
from privacy.prg import CURVE_ORDER, MaskedVector
from tests.client.stranger import chacha20_block

SOLIDITY_TEST = Path(__file__).parents[2] / "contracts" / "test" / "ChaCha20.t.sol"
# RFC 8439 §2.3.2 and A.1: key, counter, nonce, key stream
RFC_8439 = [
    (
        bytes(range(32)).hex(),
        1,
        "000000090000004a00000000",
        (
            "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
            "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
        ),
    ),
    (
        "00" * 32,
        0,
        "00" * 12,
        (
            "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
            "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
        ),
    ),
    (
        "00" * 32,
        1,
        "00" * 12,
        (
            "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
            "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
        ),
    ),
    (
        "00" * 31 + "01",
        1,
        "00" * 12,
        (
            "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
            "8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0"
        ),
    ),
    (
        "00ff" + "00" * 30,
        2,
        "00" * 12,
        (
            "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca"
            "13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096"
        ),
    ),
    (
        "00" * 32,
        0,
        "00" * 11 + "02",
        (
            "c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7"
            "8a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d"
        ),
    ),
]


def library_stream(key: bytes, counter: int, nonce: bytes, length: int = 64) -> bytes:
    start = counter.to_bytes(4, "little") + nonce
    return Cipher(algorithms.ChaCha20(key, start), None).encryptor().update(bytes(length))


@pytest.mark.parametrize(("key", "counter", "nonce", "stream"), RFC_8439)
def test_library_and_hand_written_block_match_rfc_8439(
    key: str, counter: int, nonce: str, stream: str
) -> None:
    arguments = (bytes.fromhex(key), counter, bytes.fromhex(nonce))
    assert library_stream(*arguments).hex() == stream
    assert chacha20_block(*arguments).hex() == stream


def test_the_pad_of_a_zero_key_is_the_rfcs_key_stream_from_block_one() -> None:
    pad = MaskedVector.zero(8)
    pad.add_pad(bytes(32))
    lane, cells = bytes.fromhex(RFC_8439[1][3]), bytes.fromhex(RFC_8439[2][3])
    assert pad.lane == int.from_bytes(lane, "little") % CURVE_ORDER
    assert pad.cells.tolist() == [int.from_bytes(cells[k : k + 8], "little") for k in range(0, 64, 8)]


def test_the_contract_is_tested_against_this_librarys_blocks() -> None:
    digest = bytes(32)
    for i in range(64):
        key = keccak(word(i))
        rest = keccak(key)
        digest = keccak(digest + library_stream(key, int.from_bytes(rest[28:], "big"), rest[:12]))
    assert_required("chain", digest)


def test_the_contract_is_tested_against_this_librarys_pads() -> None:
    pad = MaskedVector.zero(4 * 256)
    pad.add_pad(keccak(b"pad key"))
    chunks = pad.cells.astype(np.dtype(">u8")).reshape(4, 256)
    assert_required("chunk 0", keccak(chunks[0].tobytes()))
    assert_required("chunk 3", keccak(chunks[3].tobytes()))
    assert_required("lane", pad.lane.to_bytes(32, "big"))


def assert_required(what: str, value: bytes) -> None:
    """The Solidity test compares with this very value, under this name."""
    source = SOLIDITY_TEST.read_text(encoding="utf-8")
    assert re.search(rf'0x{value.hex()},\s*"{what}"', source), (
        f"{what}: 0x{value.hex()} is not required there"
    )
