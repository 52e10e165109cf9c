"""A verifier of receipts written from docs/protocol.md alone: none of this repository's code, other libraries.

It takes all steps of §7 but the tenth, which decodes the table.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from typing import Any, cast

from eth_hash.auto import keccak
from eth_keys.datatypes import PublicKey, Signature
from py_ecc.bls.hash_to_curve import hash_to_G1
from py_ecc.fields import optimized_bls12_381_FQ as FQ
from py_ecc.optimized_bls12_381 import optimized_curve as curve

REQUEST_TYPE = (
    "Request(address buyer,address broker,bytes32 listing,bytes32 planHash,bytes32 keyX,uint8 keyParity,"
    "uint64 rho,uint128 price,uint16 holders,uint16 minHolders,uint16 colluders,uint16 dropouts,"
    "uint64 approveBy,uint64 shareBy,uint64 contributeBy,uint64 answerBy,uint256 nonce)"
)
REQUEST_FIELDS = [  # the same names as members of the receipt, in snake case
    re.sub("[A-Z]", lambda upper: "_" + upper[0].lower(), parameter.split(" ")[1])
    for parameter in REQUEST_TYPE.removeprefix("Request(").removesuffix(")").split(",")
]
DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
TOPICS = {
    "Opened": "e13e40516eb5f987139df0a61abde685cfdb7246d67c684f4635ae9d8552e67f",
    "Approved": "a216a447a78e78781cc244634943d7f44d209da96d492a37f876aa14410bf7af",
    "Shared": "a31c906eda57cbdaedf00219009d75217bae7642f221fcc822f95589a11d0695",
    "Contributed": "96e95e820a2a0cac68fa812ce897a88944682a97ddb4f131f79c327b30ad14ef",
    "Sealed": "618b5cebfa99fe9a049bfcc5a17b00ad3980ce7bb37f1840262555d46b6a5677",
    "Answered": "8f318a011e330e9970afbd674411c076b5fec73480d88cd5f5110848a5bce614",
}


def word(value: Any) -> bytes:
    """One word of a JSON string (hex or decimal), an integer or bytes."""
    if isinstance(value, str):
        value = bytes.fromhex(value[2:]) if value.startswith("0x") else int(value)
    return value.to_bytes(32, "big") if isinstance(value, int) else bytes(value).rjust(32, b"\0")


def tagged(name: str, *values: Any) -> bytes:
    """H(name; w1, …, wk)."""
    return keccak(keccak(b"shuyao/v1/" + name.encode()) + b"".join(map(word, values)))


def jcs(value: Any) -> bytes:
    """RFC 8785, for names in the basic plane; json writes the shortest doubles that JCS wants, but for exponents."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def recover(digest: bytes, signature: str) -> str:
    """The account that signed, 0x and lower case."""
    raw = bytes.fromhex(signature[2:])
    public: PublicKey = Signature(raw[:64] + bytes([raw[64] - 27])).recover_public_key_from_msg_hash(digest)
    return public.to_address()


def verify(data: bytes, logs: list[dict[str, Any]]) -> None:
    """Check a receipt against the ledger's logs; an AssertionError says what is wrong."""
    receipt = json.loads(data)
    assert jcs(receipt) == data
    request, buyer = receipt["request"], receipt["request"]["buyer"]

    identity = identity_of(receipt)
    assert recover(identity, receipt["request_signature"]) == buyer

    plan = receipt["plan"]
    assert tagged("plan", keccak(jcs(plan))) == word(request["plan_hash"])
    listing = tagged("listing", request["broker"], keccak(plan["listing_name"].encode()))
    assert listing == word(plan["listing"]) == word(request["listing"])
    assert all(plan[n] == request[n] for n in ["rho", "holders", "min_holders", "colluders", "dropouts"])

    roster, session = receipt["roster"], session_of(receipt)
    n, c = len(roster), int(request["colluders"])
    threshold = (n + c) // 2 + 1
    floor = max(threshold, n - min(int(request["dropouts"]), n - threshold), int(request["min_holders"]))
    assert len(receipt["survivors"]) >= floor

    check_chain(receipt, identity, logs)

    cells, lane = [int(cell) for cell in receipt["answer"]["cells"]], int(receipt["answer"]["blinding"])
    assert tree(session, *masked(receipt, cells, lane)) == word(receipt["answer"]["root"])
    assert all(abs(cell) < 1 << 62 for cell in cells)
    total = curve.Z1
    for survivor in receipt["survivors"]:
        total = curve.add(total, point(bytes.fromhex(survivor["commitment"][2:])))
    assert curve.eq(total, opened(cells, lane))

    unsigned = {name: member for name, member in receipt.items() if name != "signature"}
    assert recover(tagged("buyer-receipt", keccak(jcs(unsigned))), receipt["signature"]) == buyer


def identity_of(receipt: dict[str, Any]) -> bytes:
    """The request id: an EIP-712 digest."""
    request = receipt["request"]
    domain = keccak(
        keccak(DOMAIN_TYPE.encode())
        + keccak(b"Shuyao")
        + keccak(b"1")
        + word(receipt["chain_id"])
        + word(receipt["ledger"])
    )
    struct = keccak(keccak(REQUEST_TYPE.encode()) + b"".join(word(request[name]) for name in REQUEST_FIELDS))
    return keccak(b"\x19\x01" + domain + struct)


def session_of(receipt: dict[str, Any]) -> bytes:
    """The session id."""
    roster, chained = receipt["roster"], bytes(32)
    for member in roster:
        names = ["asset", "asset_version", "mask_key", "share_key", "e_x", "e_parity", "noise_commitment"]
        keys = [member[n] for n in names]
        chained = tagged("roster", chained, member["holder"], member["line"], tagged("keys", *keys))
    identity, plan_hash = identity_of(receipt), receipt["request"]["plan_hash"]
    names = (receipt["chain_id"], receipt["ledger"], identity, plan_hash, len(roster), chained)
    return tagged("session", *names)


def check_chain(receipt: dict[str, Any], identity: bytes, logs: list[dict[str, Any]]) -> None:
    """Step 6, on words: static data stands in its place, `bytes` behind an offset and a length."""
    found: dict[str, list[tuple[str, list[bytes]]]] = {name: [] for name in TOPICS}
    for log in logs:
        if log["address"] == receipt["ledger"] and bytes.fromhex(log["topics"][1][2:]) == identity:
            raw = bytes.fromhex(log["data"][2:])
            words = [raw[k : k + 32] for k in range(0, len(raw), 32)]
            name = next(name for name, topic in TOPICS.items() if log["topics"][0] == "0x" + topic)
            found[name].append(("0x" + log["topics"][-1][-40:], words))
    ((_, opened_words),) = found["Opened"]
    assert opened_words[:17] == [word(receipt["request"][name]) for name in REQUEST_FIELDS]
    assert b"".join(opened_words[19:])[:65] == bytes.fromhex(receipt["request_signature"][2:])
    names = ["asset", "asset_version", "line", "mask_key", "share_key", "e_x", "e_parity", "noise_commitment"]
    approved = {member["holder"]: [word(member[name]) for name in names] for member in receipt["roster"]}
    assert dict(found["Approved"]) == approved
    survivors = {receipt["roster"][int(s["index"])]["holder"]: s for s in receipt["survivors"]}
    contributed, shared = dict(found["Contributed"]), dict(found["Shared"])
    assert contributed.keys() == survivors.keys()
    for holder, survivor in survivors.items():
        commitment = bytes.fromhex(survivor["commitment"][2:])
        assert contributed[holder][1] == word(survivor["input_hash"])
        assert b"".join(contributed[holder][3:7]) == commitment
        assert shared[holder][2] == tagged("commitment", identity, holder, keccak(commitment))
    ((_, sealed),) = found["Sealed"]
    assert sealed[0] == word(len(survivors))
    total = curve.Z1
    for survivor in survivors.values():
        total = curve.add(total, point(bytes.fromhex(survivor["commitment"][2:])))
    assert curve.eq(total, point(b"".join(sealed[3:7])))
    ((_, answered),) = found["Answered"]
    assert answered == [word(receipt["answer"]["root"])]


def masked(receipt: dict[str, Any], cells: list[int], lane: int) -> tuple[list[int], int]:
    """Y = X + Σ pads."""
    result = list(cells)
    for survivor in receipt["survivors"]:
        key = bytes.fromhex(survivor["pad"][2:])
        for first in range(0, len(cells), 8):
            block = chacha20_block(key, 1 + first // 8, bytes(12))
            for j in range(first, min(first + 8, len(cells))):
                at = 8 * (j - first)
                result[j] += int.from_bytes(block[at : at + 8], "little")
        lane += int.from_bytes(chacha20_block(key, 0, bytes(12)), "little")
    return [cell % (1 << 64) for cell in result], lane % curve.curve_order


def chacha20_block(key: bytes, counter: int, nonce: bytes) -> bytes:
    """64 bytes of key stream, RFC 8439 §2.3."""
    start = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), counter]
    start += struct.unpack("<3I", nonce)
    state = list(start)

    def quarter(*at: int) -> None:
        a, b, c, d = (state[k] for k in at)
        for left, right in ((16, 12), (8, 7)):
            a = (a + b) % (1 << 32)
            d = rotated(d ^ a, left)
            c = (c + d) % (1 << 32)
            b = rotated(b ^ c, right)
        for k, value in zip(at, (a, b, c, d), strict=True):
            state[k] = value

    for _ in range(10):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for column in range(4):
            quarter(column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
    return struct.pack("<16I", *((x + y) % (1 << 32) for x, y in zip(state, start, strict=True)))


def rotated(x: int, by: int) -> int:
    """A 32-bit word rotated to the left."""
    return (x << by | x >> (32 - by)) % (1 << 32)


def tree(session: bytes, cells: list[int], lane: int) -> bytes:
    """The answer root."""

    def root(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return leaves[0]
        split = 1
        while split * 2 < len(leaves):
            split *= 2
        return tagged("answer-node", root(leaves[:split]), root(leaves[split:]))

    chunks = [cells[k : k + 256] for k in range(0, len(cells), 256)]
    raw = [b"".join(cell.to_bytes(8, "little") for cell in chunk) for chunk in chunks]
    raw[-1] += word(lane)
    leaves = [tagged("answer-leaf", session, k, keccak(chunk)) for k, chunk in enumerate(raw)]
    return tagged("answer", session, len(cells), root(leaves))


def point(data: bytes) -> Any:
    """A point of the subgroup from the encoding of EIP-2537."""
    x, y = int.from_bytes(data[:64], "big"), int.from_bytes(data[64:], "big")
    found = (FQ(x), FQ(y), FQ(1)) if x or y else curve.Z1
    assert curve.is_inf(found) or curve.is_on_curve(found, curve.b)
    assert curve.is_inf(curve.multiply(found, curve.curve_order))
    return found


def opened(cells: list[int], lane: int) -> Any:
    """Σ X_j·G_j + R·H, without a shortcut."""
    suite = b"SHUYAO-V1-BLS12381G1_XMD:SHA-256_SSWU_RO_"
    sha256 = cast(Any, hashlib.sha256)
    total = curve.multiply(hash_to_G1(b"", suite + b"H", sha256), lane)
    for j, cell in enumerate(cells):
        generator = hash_to_G1(j.to_bytes(4, "big"), suite + b"G", sha256)
        total = curve.add(total, curve.multiply(curve.neg(generator) if cell < 0 else generator, abs(cell)))
    return total
