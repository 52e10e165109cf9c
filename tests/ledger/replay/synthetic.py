"""Logs for the tests of replay: honest ones, built leaf by leaf, and the same ones after somebody was at them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from ledger.anchors.types import EMPTY_ROOT, Anchored, AnchorHead
from ledger.encoding import Address, Digest, canonical_json
from ledger.licences.keys import PublicKey, SigningKey
from ledger.licences.leaf import Code, Kind, Leaf
from ledger.licences.policy import City
from ledger.licences.status import StatusBits, status_root
from ledger.log.checkpoint import Checkpoint, Quorum, cosign, sign_checkpoint
from ledger.log.notes import COSIGNATURE, NoteSigner, SignedNote
from ledger.log.tiles import TILE_WIDTH, bundle_path, encode_bundle, tile_path
from ledger.log.tree import hash_leaves, root_of, subtree_roots
from ledger.replay.anchors import BlockFact, ChainFacts

ORIGIN = "log.example.cn/licences"
TYPE_A = "91350100M000100Y43001"
TYPE_B = "91350100M000100Y43002"
ISSUER = "91350100M000100Y43"
OTHER_ISSUER = "91110000100001342C"
CONTRACT = Address(b"\x11" * 20)
DAY = 20_000


def seed(name: str) -> bytes:
    """32 bytes that depend on the name alone."""
    return sha256(name.encode()).digest()


def signing_key(name: str) -> SigningKey:
    """A key that depends on the name alone."""
    return SigningKey.generate("EdDSA", seed(name))


LOG_SIGNER = NoteSigner.from_seed(ORIGIN, seed("log"))
WITNESSES = tuple(
    NoteSigner.from_seed(f"witness{i}.example", seed(f"witness{i}"), algorithm=COSIGNATURE) for i in range(4)
)
CITY = City(
    origin=ORIGIN,
    log_key=LOG_SIGNER.key,
    quorum=Quorum(tuple(w.key for w in WITNESSES), 3),
    registrar=signing_key("registrar").public,
    service=signing_key("service").public,
)


@dataclass
class SyntheticLog:
    """An honest service over leaves in memory; the signed events are only digests here."""

    entries: list[bytes] = field(default_factory=list)
    bits: dict[int, StatusBits] = field(default_factory=dict)
    tokens: list[tuple[int, int, bytes]] = field(default_factory=list)  # index, list, evidence

    def add(self, leaf: Leaf) -> int:
        """Append a leaf as it is."""
        self.entries.append(leaf.encode())
        return len(self.entries) - 1

    def leaf(self, kind: Kind, key: PublicKey, **fields: object) -> Leaf:
        """A leaf with an event id and evidence of its own."""
        number = len(self.entries)
        values: dict[str, object] = {
            "kind": kind,
            "event_id": seed(f"event {number}")[:16],
            "key_id": key.key_id,
            "evidence": seed(f"evidence {number}"),
            "event_day": DAY,
            **fields,
        }
        return Leaf(**values)  # type: ignore[arg-type]  # the fields are named by the caller

    def key_add(self, name: str, *types: str, issuer: str = ISSUER) -> int:
        jwk = signing_key(name).public.jwk()
        extra = canonical_json({"issuer": issuer, "jwk": jwk, "types": sorted(types)})
        return self.add(self.leaf(Kind.KEY_ADD, CITY.registrar, extra=extra))

    def key_end(self, kind: Kind, name: str, *, issuer: str = ISSUER) -> int:
        extra = canonical_json({"issuer": issuer, "key": signing_key(name).public.key_id.hex()})
        return self.add(self.leaf(kind, CITY.registrar, extra=extra))

    def recognise(self, origin: str, *types: str) -> int:
        extra = canonical_json({"origin": origin, "types": sorted(types)})
        return self.add(self.leaf(Kind.RECOGNISE, CITY.registrar, extra=extra))

    def issue(
        self,
        name: str,
        slot: int,
        *,
        status_list: int = 0,
        type_code: str = TYPE_A,
        kind: Kind = Kind.ISSUE,
        previous: bytes = bytes(32),
    ) -> int:
        index = self.add(
            self.leaf(
                kind,
                signing_key(name).public,
                list=status_list,
                index=slot,
                code=0,
                last_day=DAY + 365,
                previous=previous,
                type_code=type_code,
            )
        )
        self.set(status_list, slot, Code.VALID)
        return index

    def supersede(self, name: str, old: int, slot: int) -> int:
        replaced = Leaf.decode(self.entries[old])
        index = self.issue(name, slot, kind=Kind.SUPERSEDE, previous=replaced.hash)
        self.set(replaced.list, replaced.index, Code.CANCELLED)
        return index

    def change(self, kind: Kind, name: str, issue: int, code: Code) -> int:
        licence = Leaf.decode(self.entries[issue])
        index = self.add(
            self.leaf(
                kind,
                signing_key(name).public,
                list=licence.list,
                index=licence.index,
                code=int(code),
                previous=licence.hash,
            )
        )
        self.set(licence.list, licence.index, code)
        return index

    def publish(self, status_list: int = 0) -> int:
        leaf = self.leaf(
            Kind.STATUS_LIST, CITY.service, list=status_list, extra=self._bits(status_list).digest
        )
        index = self.add(leaf)
        self.tokens.append((index, status_list, leaf.evidence))
        return index

    def set(self, status_list: int, slot: int, code: Code) -> None:
        """Set a status without a leaf."""
        self._bits(status_list).set(slot, code)

    def _bits(self, status_list: int) -> StatusBits:
        return self.bits.setdefault(status_list, StatusBits())

    def alter(self, index: int, change: Callable[[Leaf], Leaf]) -> None:
        """Rewrite a leaf in place, before the log is written."""
        self.entries[index] = change(Leaf.decode(self.entries[index])).encode()

    # --- publishing --------------------------------------------------------------------------------------

    @property
    def hashes(self) -> bytes:
        return hash_leaves(self.entries)

    def root(self) -> bytes:
        return root_of(self.hashes)

    def status_root(self, size: int) -> bytes:
        return status_root({number: token for index, number, token in self.tokens if index < size}.items())

    def write(self, folder: Path, *, checkpoint_root: bytes | None = None) -> Path:
        """Write bundles, tiles and checkpoints."""
        for n in range(-(-len(self.entries) // TILE_WIDTH)):
            part = self.entries[n * TILE_WIDTH : (n + 1) * TILE_WIDTH]
            put(folder / bundle_path(n, len(part)), encode_bundle(part))
        hashes, level = self.hashes, 0
        while hashes:
            for n in range(-(-len(hashes) // (32 * TILE_WIDTH))):
                part_hashes = hashes[n * 32 * TILE_WIDTH : (n + 1) * 32 * TILE_WIDTH]
                put(folder / tile_path(level, n, len(part_hashes) // 32), part_hashes)
            hashes = subtree_roots(hashes[: len(hashes) // (32 * TILE_WIDTH) * 32 * TILE_WIDTH], 8)
            level += 1
        checkpoint = Checkpoint(ORIGIN, len(self.entries), checkpoint_root or self.root())
        write_checkpoint(folder, checkpoint)
        return folder

    def chain(self, *sizes: int) -> ChainFacts:
        """The chain after honest anchors at some sizes."""
        heads, hashes = [(0, EMPTY_ROOT, EMPTY_ROOT)], self.hashes
        heads += [
            (size, Digest(root_of(hashes[: 32 * size])), Digest(self.status_root(size))) for size in sizes
        ]
        anchors = tuple(
            Anchored(size, root, status, 1_000 + i, i, seed(f"block {i}"), seed(f"tx {i}"))
            for i, (size, root, status) in enumerate(heads)
        )
        return facts_of(anchors)


def facts_of(anchors: tuple[Anchored, ...]) -> ChainFacts:
    """A chain with these events, each in a block of its own."""
    last = anchors[-1]
    return ChainFacts(
        chain_id=31337,
        contract=CONTRACT,
        origin_hash=sha256(ORIGIN.encode()).digest(),
        head=AnchorHead(last.root, last.size, last.status_root, last.time_s),
        anchors=anchors,
        blocks={a.block: BlockFact(a.block_hash, a.time_s) for a in anchors},
    )


def write_checkpoint(folder: Path, checkpoint: Checkpoint, *, witnesses: int = 3) -> None:
    """Sign a checkpoint as the log and some witnesses, and publish it in both files."""
    note = SignedNote.parse(sign_checkpoint(checkpoint, LOG_SIGNER))
    lines = [cosign(note.text, witness, 1_700_000_000) for witness in WITNESSES[:witnesses]]
    put(folder / "checkpoint", note.to_text().encode())
    put(folder / "checkpoint.cosigned", note.with_signatures(lines).to_text().encode())


def put(path: Path, data: bytes) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def honest_log() -> SyntheticLog:
    """A log with every kind of event, over two whole bundles and a piece: 700 leaves or so."""
    log = SyntheticLog()
    log.key_add("one", TYPE_A, TYPE_B)
    log.key_add("two", TYPE_A, issuer=OTHER_ISSUER)
    first = [log.issue("one", 1000 + i, type_code=(TYPE_A, TYPE_B)[i % 2]) for i in range(300)]
    log.publish()
    log.change(Kind.SUSPEND, "one", first[0], Code.SUSPENDED)
    log.change(Kind.RESUME, "one", first[0], Code.VALID)
    log.change(Kind.SUSPEND, "one", first[0], Code.SUSPENDED)
    log.change(Kind.REVOKE, "one", first[0], Code.WITHDRAWN)
    log.change(Kind.REVOKE, "one", first[1], Code.REVOKED)
    log.change(Kind.TRANSFER_OUT, "one", first[2], Code.TRANSFERRED)
    log.publish()
    log.supersede("one", first[3], 5)
    log.supersede("one", log.supersede("one", first[4], 6), 7)
    log.issue("two", 9, kind=Kind.TRANSFER_IN, previous=seed("leaf of another log"))
    log.key_end(Kind.KEY_RETIRE, "two", issuer=OTHER_ISSUER)
    log.key_end(Kind.KEY_COMPROMISE, "two", issuer=OTHER_ISSUER)
    log.key_add("three", TYPE_B)
    log.recognise("other.example", TYPE_A)
    log.add(log.leaf(Kind.ACCESS_BATCH, CITY.service, extra=seed("batch") + bytes([0, 0, 0, 9])))
    for i in range(300):
        log.issue("three", i, status_list=1, type_code=TYPE_B)
    log.publish(0)
    log.publish(1)
    return log


def renamed(leaf: Leaf, number: int) -> Leaf:
    """The same leaf with another event id."""
    return replace(leaf, event_id=seed(f"renamed {number}")[:16])
