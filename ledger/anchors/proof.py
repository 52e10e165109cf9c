"""Evidence, for verifiers without a chain, that a head was anchored: kind "proved" of docs/licence.md §10.

A block header sealed by enough of the validators that the verifier pins gives a state root; Merkle–Patricia
proofs lead from it to the slots of LogAnchor. Who verifies needs no node, and trusts those validators alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ledger import rlp
from ledger.anchors.errors import EvidenceMalformed, WrongBinding, WrongChain, WrongContract
from ledger.anchors.qbft import HEADER_MAX, block_hash, verify_header_seals
from ledger.anchors.trie import NODE_MAX, verify_account_and_storage
from ledger.anchors.types import AnchorHead
from ledger.chain import Chain, data_bytes, quantity
from ledger.encoding import (
    U64_MAX,
    U256_MAX,
    decimal,
    keccak,
    parse_decimal,
    parse_hex,
    require_keys,
    require_length,
    require_range,
    tagged_hash,
)
from ledger.errors import ChainUnreachable, MalformedValue
from ledger.types import Address, Digest, to_hex

ROOT_SLOT: Final = 1  # where LogAnchor keeps what is proved
STATUS_SLOT: Final = 2
SIZE_SLOT: Final = 3
BINDING_SLOT: Final = 5
SLOTS: Final = (ROOT_SLOT, STATUS_SLOT, SIZE_SLOT, BINDING_SLOT)
_VERSION: Final = "1"
_NODES_MAX: Final = 65  # a path has 64 nibbles
_KEYS: Final = frozenset({"version", "chain_id", "contract", "header", "account", "slots"})
# The fields of a header in the order of its RLP; a chain has a prefix of the last six, by its hard fork.
_FIELDS: Final = (
    "parentHash",
    "sha3Uncles",
    "miner",
    "stateRoot",
    "transactionsRoot",
    "receiptsRoot",
    "logsBloom",
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "extraData",
    "mixHash",
    "nonce",
)
_LATER_FIELDS: Final = (
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
)
_NUMBERS: Final = frozenset(
    {
        "difficulty",
        "number",
        "gasLimit",
        "gasUsed",
        "timestamp",
        "baseFeePerGas",
        "blobGasUsed",
        "excessBlobGas",
    }
)


@dataclass(frozen=True, slots=True)
class AnchorPolicy:
    """What a verifier pins of one log's anchor: its chain, contract and origin, and the chain's validators."""

    chain_id: int
    contract: Address
    origin_hash: bytes
    validators: frozenset[Address]

    def __post_init__(self) -> None:
        require_range("policy.chain_id", self.chain_id, 1, U256_MAX)
        require_length("policy.contract", self.contract, 20)
        require_length("policy.origin_hash", self.origin_hash, 32)
        require_range("policy.validators", len(self.validators), 1, 1000)
        for validator in self.validators:
            require_length("policy.validator", validator, 20)


@dataclass(frozen=True, slots=True)
class AnchorProof:
    """The evidence: a header with its seals, and the nodes from its state root to LogAnchor's slots.

    Nothing of it is true before `verify_anchor`, `chain_id` and `contract` included.
    """

    chain_id: int
    contract: Address
    header: bytes
    account: tuple[bytes, ...]
    slots: tuple[tuple[bytes, ...], ...]  # for each of SLOTS

    def __post_init__(self) -> None:
        require_range("proof.chain_id", self.chain_id, 1, U256_MAX)
        require_length("proof.contract", self.contract, 20)
        require_range("proof.header", len(self.header), 1, HEADER_MAX)
        require_range("proof.slots", len(self.slots), len(SLOTS), len(SLOTS))
        for path in (self.account, *self.slots):
            require_range("proof.nodes", len(path), 1, _NODES_MAX)
            for node in path:
                require_range("proof.node", len(node), 1, NODE_MAX)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: decimal strings and lower-case hex."""
        return {
            "version": _VERSION,
            "chain_id": decimal(self.chain_id),
            "contract": to_hex(self.contract),
            "header": to_hex(self.header),
            "account": [to_hex(node) for node in self.account],
            "slots": [[to_hex(node) for node in path] for path in self.slots],
        }

    @classmethod
    def from_json(cls, value: object) -> AnchorProof:
        """Read the JSON form, strictly.

        Raises:
            EvidenceMalformed: a key missing or unknown, an encoding not canonical, a length out of range.
        """
        try:
            given = require_keys("proof", value, _KEYS)
            if given["version"] != _VERSION:
                raise MalformedValue("proof.version", _VERSION, "another")
            return cls(
                chain_id=parse_decimal(given["chain_id"], "proof.chain_id", 1, U256_MAX),
                contract=Address(parse_hex(given["contract"], "proof.contract", 20)),
                header=parse_hex(given["header"], "proof.header", None),
                account=_nodes(given["account"], "proof.account"),
                slots=tuple(_nodes(path, "proof.slots") for path in _array(given["slots"], "proof.slots")),
            )
        except MalformedValue as err:
            raise EvidenceMalformed(err.field, err.expected, err.actual) from err


@dataclass(frozen=True, slots=True)
class ProvedAnchor:
    """A head that a chain held, and the sealed block that shows it."""

    head: AnchorHead
    block: int
    block_hash: Digest
    block_time_s: int


def verify_anchor(proof: AnchorProof, policy: AnchorPolicy) -> ProvedAnchor:
    """Verify that the chain that the policy pins held a head of the log that it pins.

    Raises:
        WrongChain, WrongContract, WrongBinding: the evidence is of another chain, contract or log.
        SealsTooFew, SealInvalid: the block is not sealed by enough of the pinned validators.
        TrieProofInvalid: the slots do not follow from the block's state root.
        EvidenceMalformed: header, nodes or values are of no known shape.
    """
    # 1. It speaks of the pinned chain and contract.
    if proof.chain_id != policy.chain_id:
        raise WrongChain(policy.chain_id, proof.chain_id)
    if proof.contract != policy.contract:
        raise WrongContract(to_hex(policy.contract), to_hex(proof.contract))
    # 2. The pinned validators sealed the block.
    block = verify_header_seals(proof.header, policy.validators)
    # 3. The contract held these slots in that block.
    paths = dict(zip(SLOTS, proof.slots, strict=True))
    slots = verify_account_and_storage(block.state_root, proof.contract, proof.account, paths)
    # 4. The contract was deployed on the pinned chain, for the pinned log: headers do not name their chain.
    if slots[BINDING_SLOT] != binding_of(policy.chain_id, policy.origin_hash):
        raise WrongBinding("expected a contract deployed on the pinned chain for the pinned log, got another")
    return ProvedAnchor(head_of(slots), block.number, block.hash, block.time_s)


def binding_of(chain_id: int, origin_hash: bytes) -> Digest:
    """Return what LogAnchor keeps of its chain and its log: H("anchor"; chain id, SHA-256 of the origin)."""
    return tagged_hash("anchor", chain_id, origin_hash)


def head_of(slots: Mapping[int, bytes]) -> AnchorHead:
    """Read a head from LogAnchor's slots.

    Raises:
        EvidenceMalformed: the slot of size and time has more in it.
    """
    packed = int.from_bytes(slots[SIZE_SLOT], "big")
    if packed >> 128:
        raise EvidenceMalformed("size and time", "16 bytes", "more")
    return AnchorHead(
        root=Digest(slots[ROOT_SLOT]),
        size=packed & U64_MAX,
        status_root=Digest(slots[STATUS_SLOT]),
        time_s=packed >> 64,
    )


def collect(chain: Chain, contract: Address, block: int) -> AnchorProof:
    """Gather the evidence for the head that a contract holds in a block.

    A node keeps the states of recent blocks only: ask soon after anchoring.

    Raises:
        ChainUnreachable: no usable answer, or a header that does not have the hash that the node says.
        ChainRefused: the node cannot prove the state of that block.
    """
    tag, keys = hex(block), [to_hex(slot.to_bytes(32, "big")) for slot in SLOTS]
    header = chain.request("eth_getBlockByNumber", tag, False)
    proved = chain.request("eth_getProof", to_hex(contract), keys, tag)
    try:
        paths = {quantity(entry["key"]): entry["proof"] for entry in proved["storageProof"]}
        return AnchorProof(
            chain_id=chain.chain_id(),
            contract=contract,
            header=header_rlp(header),
            account=tuple(map(data_bytes, proved["accountProof"])),
            slots=tuple(tuple(map(data_bytes, paths[slot])) for slot in SLOTS),
        )
    except (KeyError, TypeError, MalformedValue) as err:
        raise ChainUnreachable(f"expected the proof of {len(SLOTS)} slots, got another answer") from err


def header_rlp(block: Any) -> bytes:
    """Encode a header from a node's answer to `eth_getBlockByNumber`.

    Raises:
        ChainUnreachable: a field is missing, or the encoding has not the hash that the node says, by the rule of
            QBFT or by that of other chains.
    """
    if not isinstance(block, dict):
        raise ChainUnreachable("expected a block, got none")
    names = [*_FIELDS, *(name for name in _LATER_FIELDS if block.get(name) is not None)]
    encoded = rlp.encode([_field(name, block.get(name)) for name in names])
    if data_bytes(block.get("hash"), 32) not in _hashes(encoded):
        raise ChainUnreachable("expected the header's hash to be the one that the node says, got another")
    return encoded


def _hashes(header: bytes) -> list[Digest]:
    try:
        return [keccak(header), block_hash(header)]
    except EvidenceMalformed:
        return [keccak(header)]


def _field(name: str, value: Any) -> bytes:
    return rlp.encode_number(quantity(value)) if name in _NUMBERS else data_bytes(value)


def _array(value: object, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedValue(field, "an array", type(value).__name__)
    return value


def _nodes(value: object, field: str) -> tuple[bytes, ...]:
    return tuple(parse_hex(node, field, None) for node in _array(value, field))
