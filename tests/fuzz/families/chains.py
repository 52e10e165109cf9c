"""What comes from a chain and goes to it: RLP, headers, proofs, answers of nodes, ABI; and what accounts sign."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from ledger import eip712, http_auth
from ledger.abi import CONTRACTS, decode_revert, interface
from ledger.anchors import rlp as strict_rlp
from ledger.anchors.proof import SLOTS, AnchorPolicy, AnchorProof, header_rlp, verify_anchor
from ledger.anchors.qbft import SealedHeader, block_hash, verify_header_seals
from ledger.anchors.trie import value_at
from ledger.chain import BlockRef, RawLog, parse_block, parse_fees, parse_logs, parse_receipt
from ledger.encoding import Address, canonical_json, keccak, to_hex
from ledger.errors import ContractReverted, LedgerError
from ledger.licences.attest import verify_evidence
from ledger.licences.policy import AnchorPin
from ledger.receipt import Receipt, ReceiptAnswer, ReceiptTable, RosterMember, Survivor, dump_receipt
from ledger.receipt import parse_receipt as parse_buyer_receipt
from ledger.rlp import Item, encode
from ledger.rpc import JsonRpc
from ledger.signing import Signer, recover
from ledger.siwe import SignInMessage, build_message, parse_message
from ledger.types import Deployment, Request
from tests.fuzz.contract import Decoder
from tests.fuzz.families.texts import bytes_of, of_json, of_text, to_json
from tests.ledger.anchors.sealing import MIX_HASH, PINNED, VANITY, hex_prefix, nibbles, number, sealed
from tests.ledger.conftest import request_for, signer_for
from tests.ledger.licences.sealed import proved
from tests.ledger.licences.world import TestCity, build_city, seed_of

_CHAIN_ID = 31337
_BUYER = signer_for("buyer")
_LEDGER = Address(seed_of("ledger")[:20])


# --- evidence of anchors -----------------------------------------------------------------------------------


def _header() -> bytes:
    fields = [bytes(32), bytes(32), bytes(20), keccak(b"state"), bytes(32), bytes(32), bytes(256)]
    fields += [number(n) for n in (1, 77, 30_000_000, 0, 1_800_000_000)]
    return sealed([*fields, b"", MIX_HASH, bytes(8)])


def _sealed(data: bytes) -> SealedHeader:
    block_hash(data)
    return verify_header_seals(data, PINNED)


@cache
def _city() -> TestCity:
    city = build_city()
    city.issue()
    city.publish()
    return city


def _evidence() -> dict[str, Any]:
    return proved(_city().statement(), _origin_hash())


def _origin_hash() -> bytes:
    from hashlib import sha256

    return sha256(_city().origin.encode()).digest()


def _policy() -> AnchorPolicy:
    pin = _city().pin
    return AnchorPolicy(pin.chain_id, pin.contract, _origin_hash(), PINNED)


def _verify_proof(value: Any) -> None:
    verify_anchor(AnchorProof.from_json(value), _policy())


def _judge_evidence(value: Any) -> None:
    pin = _city().pin
    if isinstance(value, dict):
        verify_evidence(value, _city().trust(), AnchorPin(pin.chain_id, pin.contract, PINNED))


def _proof_json() -> bytes:
    return canonical_json(_evidence()["proof"])


def _evidences() -> Iterator[bytes]:
    yield canonical_json(_evidence())
    yield canonical_json(_city().attested())


def _value_at(data: bytes) -> bytes:
    """RLP of [root, key, nodes]."""
    items = strict_rlp.decode_list(data, "input")
    if len(items) != 3:
        return b""
    root, key = strict_rlp.require_bytes(items[0], "root", 32), strict_rlp.require_bytes(items[1], "key")
    nodes = [strict_rlp.require_bytes(node, "node") for node in strict_rlp.require_list(items[2], "nodes")]
    if nodes:  # the nodes are the input: who may choose them may choose the root
        root = keccak(nodes[0])
    return value_at(root, key, nodes)


def _tries() -> Iterator[bytes]:
    proof = AnchorProof.from_json(_evidence()["proof"])
    yield encode([bytes(32), proof.contract, list(proof.account)])
    for slot, nodes in zip(SLOTS, proof.slots, strict=True):
        yield encode([bytes(32), _word(slot), list(nodes)])
    path = nibbles(keccak(bytes(32)))
    inside: Item = [hex_prefix(path[61:], True), b"v"]  # small enough to lie in its parent
    branch: list[Item] = [b""] * 17
    branch[path[60]] = inside
    yield encode([bytes(32), bytes(32), [encode([hex_prefix(path[:60], False), branch])]])


def _rlps() -> Iterator[bytes]:
    yield encode([b"", b"\x01", b"\x80", [b"a" * 56, [[]]], b"b" * 300])
    yield _header()


# --- a node's answers --------------------------------------------------------------------------------------


class _Answering(JsonRpc):
    """A node that answers every call with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("http://127.0.0.1:1")
        self._answer = answer

    def _exchange(self, content: bytes) -> bytes:
        return self._answer


def _request(data: bytes) -> Any:
    return _Answering(data).request("eth_call", {})


def _batch(data: bytes) -> list[Any]:
    return _Answering(data).batch([("eth_call", []), ("eth_chainId", [])])


def _block() -> dict[str, Any]:
    word = to_hex(bytes(range(32)))
    return {"number": "0x10", "hash": word, "parentHash": word, "timestamp": "0x65", "baseFeePerGas": "0x7"}


def _header_answer() -> dict[str, Any]:
    zero = to_hex(bytes(32))
    fields = [bytes(32), bytes(32), bytes(20), bytes(32), bytes(32), bytes(32), bytes(256)]
    fields += [b"", b"\x01", b"\x02", b"", b"\x03"]
    encoded = encode([*fields, VANITY, bytes(32), bytes(8)])
    return {
        **dict.fromkeys(
            ("parentHash", "sha3Uncles", "stateRoot", "transactionsRoot", "receiptsRoot", "mixHash"), zero
        ),
        "miner": to_hex(bytes(20)),
        "logsBloom": to_hex(bytes(256)),
        "extraData": to_hex(VANITY),
        "difficulty": "0x0",
        "number": "0x1",
        "gasLimit": "0x2",
        "gasUsed": "0x0",
        "timestamp": "0x3",
        "nonce": "0x0000000000000000",
        "hash": to_hex(keccak(encoded)),
    }


def _log() -> dict[str, Any]:
    word = to_hex(bytes(range(32)))
    return {
        "address": to_hex(bytes(20)),
        "topics": [word, word],
        "data": "0x" + "00" * 64,
        "blockNumber": "0x1",
        "blockHash": word,
        "transactionHash": word,
        "logIndex": "0x0",
        "removed": False,
    }


def _tx_receipt() -> dict[str, Any]:
    word = to_hex(bytes(range(32)))
    return {
        "transactionHash": word,
        "blockNumber": "0x1",
        "blockHash": word,
        "status": "0x1",
        "gasUsed": "0x5208",
        "contractAddress": None,
    }


def _fees(value: Any) -> tuple[int, int]:
    return parse_fees(value, "0x1")


def _block_of(value: Any) -> BlockRef | None:
    return parse_block(value)


def _event(data: bytes) -> Any:
    """number of the contract ‖ number of topics ‖ topics ‖ data."""
    abi = interface(CONTRACTS[data[0] % len(CONTRACTS) if data else 0])
    count = data[1] % 5 if len(data) > 1 else 0
    topics = [data[at : at + 32].ljust(32, b"\0") for at in range(2, 2 + 32 * count, 32)]
    if topics and topics[0][0] < 128 and abi.events:
        topics[0] = list(abi.events)[topics[0][0] % len(abi.events)]
    log = RawLog(_LEDGER, tuple(topics), data[2 + 32 * count :], 1, bytes(32), bytes(32), 0)
    return abi.decode_event(log)


def _logs() -> Iterator[bytes]:
    for contract in range(len(CONTRACTS)):
        for topics in range(1, 5):
            for number_ in range(8):
                yield bytes([contract, topics, number_]) + bytes(31 + 32 * (topics - 1) + 320)


def _call_result(data: bytes) -> Any:
    """number of the function ‖ what it returned."""
    abi = interface("ComputeLedger")
    names = sorted(name for name, signature in abi.functions.items() if signature.outputs)
    return abi.decode(names[data[0] % len(names)] if data else names[0], data[1:])


def _results() -> Iterator[bytes]:
    """Zeros decode to any value of fixed size; a text or an array stands at the offset of its first word."""
    for function in range(40):
        for data in (bytes(32 * 40), _word(32) + bytes(32 * 8)):
            yield bytes([function]) + data


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _revert(data: bytes) -> ContractReverted:
    error = decode_revert(data)
    str(error).encode("utf-8", "surrogatepass")
    return error


def _reverts() -> Iterator[bytes]:
    yield b"\x08\xc3\x79\xa0" + _word(32) + _word(3) + b"abc".ljust(32, b"\0")
    yield b"\x4e\x48\x7b\x71" + _word(17)
    for selector in interface("ComputeLedger").errors:
        yield selector[:4] + bytes(128)


# --- what accounts sign ------------------------------------------------------------------------------------


@cache
def _signed_request() -> Request:
    return request_for(_BUYER.address, Address(b"\x22" * 20))


def _receipt() -> bytes:
    words: dict[str, Any] = dict.fromkeys(RosterMember.__slots__, bytes(range(32)))
    members = [
        RosterMember(**{**words, "holder": Address(bytes([i]) * 20), "asset_version": 1, "e_parity": 2})
        for i in (1, 2, 3)
    ]
    request = _signed_request()
    return dump_receipt(
        Receipt(
            chain_id=_CHAIN_ID,
            ledger=_LEDGER,
            request=request,
            request_signature=eip712.sign_request(_BUYER, request, _CHAIN_ID, _LEDGER),
            plan={"version": "1", "kind": "sum", "名": ["数", "1"]},
            roster=tuple(members),
            survivors=tuple(Survivor(i, bytes([i]) * 128, keccak(b"in"), keccak(b"pad")) for i in (0, 2)),
            answer=ReceiptAnswer(keccak(b"root"), (0, -5, 2**62 - 1, 1 - 2**62), 7),
            table=ReceiptTable(("sex", "n"), (("女", 10), (None, 1.5)), ((None, 4), (None, 0.25))),
            signature=bytes(65),
        )
    )


def _recover(data: bytes) -> Address:
    return recover(keccak(b"message"), data)


def _request_signature(data: bytes) -> None:
    eip712.require_request_signature(_signed_request(), data, _CHAIN_ID, _LEDGER)


def _signatures() -> list[bytes]:
    return [eip712.sign_request(_BUYER, _signed_request(), _CHAIN_ID, _LEDGER)]


def _message() -> bytes:
    message = SignInMessage(
        domain="127.0.0.1:8700",
        address=_BUYER.address,
        uri="http://127.0.0.1:8700",
        chain_id=_CHAIN_ID,
        nonce="32891756abcdef",
        issued_at="2026-11-22T04:59:30.123Z",
        statement="Sign in to Shuyao.",
        expiration_time="2026-11-22T05:10:00+08:00",
        resources=("https://example.com/a%20b", "ipfs://x"),
    )
    return build_message(message).encode()


def _http(data: bytes) -> Address:
    """Header lines, an empty line, the body."""
    head, _, body = data.partition(b"\n\n")
    lines = [line.partition(b":") for line in head.split(b"\n")]
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, _, value in lines}
    http_auth.http_nonce(headers)
    return http_auth.verify_http_signature(headers, "POST", "/requests", body, now_s=1_800_000_000)


def _http_seed() -> bytes:
    headers = http_auth.sign_http(_BUYER, "POST", "/requests", b"{}", now_s=1_800_000_000, nonce=bytes(16))
    return "\n".join(f"{name}:{value}" for name, value in headers.items()).encode() + b"\n\n{}"


def _deployment() -> bytes:
    names = ("participants", "assets", "ledger", "settlement", "manager")
    addresses = {name: Address(seed_of(name)[:20]) for name in names}
    return to_json(Deployment(chain_id=_CHAIN_ID, block=1, **addresses))


assert isinstance(_BUYER, Signer)

FAMILIES = {
    "evidence": (
        Decoder("rlp.decode", lambda data: strict_rlp.decode(data, "item"), (LedgerError,), _rlps, encode),
        Decoder("verify_header_seals", _sealed, (LedgerError,), lambda: [_header()]),
        Decoder("value_at", _value_at, (LedgerError,), _tries),
        Decoder(
            "AnchorProof.from_json",
            of_json(AnchorProof.from_json),
            (LedgerError,),
            lambda: [_proof_json()],
            to_json,
            False,
        ),
        Decoder("verify_anchor", of_json(_verify_proof), (LedgerError,), lambda: [_proof_json()]),
        Decoder("verify_evidence", of_json(_judge_evidence), (LedgerError,), _evidences),
    ),
    "nodes": (
        Decoder(
            "JsonRpc.request", _request, (LedgerError,), lambda: [b'{"jsonrpc":"2.0","id":1,"result":"0x"}']
        ),
        Decoder(
            "JsonRpc.batch",
            _batch,
            (LedgerError,),
            lambda: [
                b'[{"id":1,"result":"0x"},{"id":2,"error":{"code":3,"message":"execution reverted","data":"0x08c379a0"}}]'
            ],
        ),
        Decoder("parse_block", of_json(_block_of), (LedgerError,), lambda: [canonical_json(_block())]),
        Decoder("parse_fees", of_json(_fees), (LedgerError,), lambda: [canonical_json(_block())]),
        Decoder(
            "header_rlp", of_json(header_rlp), (LedgerError,), lambda: [canonical_json(_header_answer())]
        ),
        Decoder(
            "parse_logs", of_json(parse_logs), (LedgerError,), lambda: [canonical_json([_log(), _log()])]
        ),
        Decoder(
            "parse_receipt", of_json(parse_receipt), (LedgerError,), lambda: [canonical_json(_tx_receipt())]
        ),
        Decoder("decode_event", _event, (LedgerError,), lambda: [b"\x00\x00"], refused=_logs),
        Decoder(
            "decode_call",
            _call_result,
            (LedgerError,),
            lambda: [b"\x00" + _word(32) + bytes(32)],
            refused=_results,
        ),
        Decoder("decode_revert", _revert, (LedgerError,), _reverts),
    ),
    "receipts": (
        Decoder("parse_receipt", parse_buyer_receipt, (LedgerError,), lambda: [_receipt()], dump_receipt),
        Decoder(
            "Request.from_json",
            of_json(Request.from_json),
            (LedgerError,),
            lambda: [to_json(_signed_request())],
            to_json,
            False,
        ),
        Decoder(
            "Deployment.from_json",
            of_json(Deployment.from_json),
            (LedgerError,),
            lambda: [_deployment()],
            to_json,
            False,
        ),
        Decoder("recover", _recover, (LedgerError,), lambda: [_BUYER.sign(keccak(b"message"))]),
        Decoder("require_request_signature", _request_signature, (LedgerError,), _signatures),
        Decoder(
            "siwe.parse_message",
            of_text(parse_message),
            (LedgerError,),
            lambda: [_message()],
            lambda message: bytes_of(build_message(message)),
        ),
        Decoder("verify_http_signature", _http, (LedgerError,), lambda: [_http_seed()]),
    ),
}
