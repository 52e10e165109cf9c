"""The transparency log: notes, checkpoints, what a witness is asked, tiles, proofs, and what the log keeps."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cache
from hashlib import sha256

from ledger.errors import LedgerError
from ledger.licences.attest import AnchorStatement
from ledger.log.batch import Batch, cut, decode_evidence, encode_evidence
from ledger.log.checkpoint import Checkpoint, cosign, sign_checkpoint, verify_log_checkpoint
from ledger.log.notes import NoteKey, NoteSignature, SignedNote
from ledger.log.tiles import bundle_path, decode_bundle, encode_bundle, parse_tile_path, tile_path
from ledger.log.tree import (
    Frontier,
    consistency_path,
    hash_leaves,
    inclusion_path,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from ledger.log.witness import WitnessRequest
from tests.fuzz.contract import Decoder
from tests.fuzz.families.texts import bytes_of, of_text
from tests.ledger.licences.world import TestCity, build_city
from tests.ledger.log.logs import ORIGIN, SIGNER, items, witness_signer

_SIZE = 21


@cache
def _hashes() -> tuple[bytes, ...]:
    return tuple(leaf_hash(b"entry %d" % number) for number in range(_SIZE))


@cache
def _note() -> str:
    text = sign_checkpoint(Checkpoint(ORIGIN, _SIZE, root_of(list(_hashes())), ("扩展 line",)), SIGNER)
    note = SignedNote.parse(text)
    return note.with_signatures([cosign(note.text, witness_signer(1), 1_800_000_000)]).to_text()


@cache
def _city() -> TestCity:
    city = build_city()
    city.issue()
    city.publish()
    return city


def _statement() -> bytes:
    return _city().statement().to_text().encode()


def _journal() -> bytes:
    batch = Batch(250, bytes(32), tuple(cut(items(0, 12), 250)))
    return b"".join(batch.to_journal())[:-32]


def _proof(parts: bytes) -> list[bytes]:
    return [parts[at : at + 32] for at in range(0, len(parts), 32)]


def _inclusion(data: bytes) -> None:
    """index ‖ size ‖ path, 8 bytes each and 32-byte hashes."""
    index, size = int.from_bytes(data[:8], "big"), int.from_bytes(data[8:16], "big")
    verify_inclusion(_hashes()[5], index, size, _proof(data[16:]), root_of(list(_hashes())))


def _consistency(data: bytes) -> None:
    """size1 ‖ size2 ‖ path."""
    size1, size2 = int.from_bytes(data[:8], "big"), int.from_bytes(data[8:16], "big")
    hashes = list(_hashes())
    verify_consistency(size1, root_of(hashes[: min(size1, _SIZE)]), size2, root_of(hashes), _proof(data[16:]))


def _sizes(first: int, second: int) -> bytes:
    return first.to_bytes(8, "big") + second.to_bytes(8, "big")


def _inclusion_seeds() -> Iterator[bytes]:
    yield _sizes(5, _SIZE) + b"".join(inclusion_path(_hashes(), 5))


def _consistency_seeds() -> Iterator[bytes]:
    for size in (0, 1, 7, 8, 16, _SIZE):
        path = b"" if size in (0, _SIZE) else b"".join(consistency_path(_hashes(), size))
        yield _sizes(size, _SIZE) + path


def _frontiers() -> Iterator[bytes]:
    frontier = Frontier()
    yield frontier.to_bytes()
    frontier.extend(hash_leaves(b"%d" % number for number in range(300)))
    yield frontier.to_bytes()


def _tile_path(data: bytes) -> str:
    name = parse_tile_path(data.decode("utf-8", "surrogateescape"))
    return (
        bundle_path(name.n, name.width) if name.level is None else tile_path(name.level, name.n, name.width)
    )


def _tile_paths() -> list[bytes]:
    names = [tile_path(0, 0), tile_path(1, 1234067, 8), bundle_path(273), bundle_path(999, 255)]
    return [name.encode() for name in names]


def _evidence(frame: bytes) -> list[bytes]:
    return decode_evidence(frame)


def _evidence_seeds() -> Iterator[bytes]:
    yield encode_evidence([])
    yield encode_evidence([b"a", b"", b"xyz" * 99])
    yield encode_evidence([b"evidence %d" % number for number in range(256)])


def _flood() -> Iterator[bytes]:
    """A frame that unpacks to a thousand times its size."""
    yield b"\x01" + zlib.compress(bytes(8 << 20), 9)


FAMILIES = {
    "notes": (
        Decoder(
            "SignedNote.parse",
            SignedNote.parse,
            (LedgerError,),
            lambda: [_note().encode()],
            lambda n: n.to_text().encode(),
        ),
        Decoder(
            "NoteKey.parse",
            of_text(NoteKey.parse),
            (LedgerError,),
            lambda: [SIGNER.key.to_text().encode(), witness_signer(2).key.to_text().encode()],
            lambda key: bytes_of(key.to_text()),
        ),
        Decoder(
            "NoteSignature.parse",
            of_text(NoteSignature.parse),
            (LedgerError,),
            lambda: [line.encode() for line in _note().split("\n") if line.startswith("—")],
            lambda line: bytes_of(line.to_line()[:-1]),
        ),
        Decoder(
            "Checkpoint.parse",
            of_text(Checkpoint.parse),
            (LedgerError,),
            lambda: [SignedNote.parse(_note()).text.encode()],
            lambda checkpoint: bytes_of(checkpoint.to_text()),
        ),
        Decoder(
            "verify_log_checkpoint",
            lambda data: verify_log_checkpoint(data, origin=ORIGIN, log_key=SIGNER.key),
            (LedgerError,),
            lambda: [_note().encode()],
        ),
        Decoder(
            "WitnessRequest.parse",
            WitnessRequest.parse,
            (LedgerError,),
            lambda: [WitnessRequest(8, tuple(_hashes()[:4]), SignedNote.parse(_note())).to_bytes()],
            WitnessRequest.to_bytes,
        ),
        Decoder(
            "AnchorStatement.parse",
            of_text(AnchorStatement.parse),
            (LedgerError,),
            lambda: [_statement()],
            lambda statement: bytes_of(statement.to_text()),
        ),
    ),
    "tiles": (
        Decoder("parse_tile_path", _tile_path, (LedgerError,), _tile_paths, bytes_of),
        Decoder(
            "decode_bundle",
            lambda data: decode_bundle(data, 3),
            (LedgerError,),
            lambda: [encode_bundle([b"", b"a", b"entry" * 50])],
            encode_bundle,
        ),
        Decoder(
            "decode_evidence", _evidence, (LedgerError,), _evidence_seeds, encode_evidence, False, _flood
        ),
        Decoder(
            "Batch.from_journal",
            lambda data: Batch.from_journal(data + sha256(data).digest()),
            (LedgerError,),
            lambda: [_journal()],
            lambda batch: b"".join(batch.to_journal())[:-32],
        ),
        Decoder("Frontier.from_bytes", Frontier.from_bytes, (LedgerError,), _frontiers, Frontier.to_bytes),
        Decoder("verify_inclusion", _inclusion, (LedgerError,), _inclusion_seeds),
        Decoder("verify_consistency", _consistency, (LedgerError,), _consistency_seeds),
    ),
}
