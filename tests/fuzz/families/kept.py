"""What a chain, a log and a disk tell again: typed events, replayed leaves, and files that a party wrote, or was given."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from client import logistic
from client.errors import ClientError
from client.models import Model
from client.stock_models import read_model
from holder.epoch import EpochFile
from holder.errors import HolderError
from holder.trustee import TrusteeKeys
from ledger.abi import interface
from ledger.anchors.types import TrustDeployment
from ledger.chain import RawLog
from ledger.contracts import Contracts
from ledger.encoding import Address, canonical_json
from ledger.errors import LedgerError
from ledger.licences.checks import Parties
from ledger.licences.config import Secrets, read_config, write_config
from ledger.licences.keys import SigningKey
from ledger.licences.layout import BookFolder
from ledger.log.checkpoint import Checkpoint, sign_checkpoint
from ledger.log.files import Files
from ledger.log.layout import Layout
from ledger.log.tiles import encode_bundle
from ledger.replay.checkpoints import read_heads
from ledger.replay.keys import KeyBook
from ledger.replay.leaves import Bundles, Columns, first_offences
from ledger.types import Deployment, Event
from privacy.paillier.interchange import dump_public_key
from tests.client.world import FakeChain
from tests.fuzz.contract import Decoder
from tests.fuzz.families.plans import YAML_S
from tests.fuzz.families.texts import dumped, of_json, to_json
from tests.ledger.conftest import signer_for
from tests.ledger.log.logs import ORIGIN, SIGNER
from tests.ledger.replay.synthetic import ISSUER, TYPE_A, TYPE_B, honest_log, signing_key
from tests.privacy.paillier_world import owner

T = TypeVar("T")

_KEY_ID = bytes(range(32))
_ENTRIES = 16


def _stock_models() -> list[bytes]:
    """Ciphertexts in both forms of the stock library's documentation; c = 1 + n is one under any key."""
    key = owner().public
    values = [[str(key.n + 1), -4], [str(1 + 2 * key.n), 0]]
    basic = {"public_key": {"n": key.n}, "values": values, "features": ["kwh"]}
    web = {
        "public_key": json.loads(dump_public_key(key, name="甲")),
        "values": [{"v": v, "e": e} for v, e in values],
    }
    return [json.dumps(each).encode() for each in (basic, web)]


@cache
def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="shuyao-fuzz-kept-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _in_file(read: Callable[[Path], T], name: str = "file") -> Callable[[bytes], T]:
    def opened(data: bytes) -> T:
        path = _scratch() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return read(path)

    return opened


# --- events of the contracts -------------------------------------------------------------------------------


@cache
def _contracts() -> Contracts:
    names = ("participants", "assets", "ledger", "settlement", "manager")
    addresses = {name: Address(bytes([number + 1]) * 20) for number, name in enumerate(names)}
    deployment = Deployment(chain_id=1, block=1, **addresses)
    return Contracts(FakeChain(deployment), deployment)


def _event(data: bytes) -> Event | None:
    """number of the contract ‖ number of its event ‖ number of topics ‖ topics ‖ data."""
    head = data[:3].ljust(3, b"\0")
    contracts = _contracts()
    contract = (contracts.participants, contracts.assets, contracts.ledger, contracts.settlement)[head[0] % 4]
    events = interface(contract.name).events
    indexed = [data[at : at + 32].ljust(32, b"\0") for at in range(3, 3 + 32 * (head[2] % 4), 32)]
    topics = (list(events)[head[1] % len(events)], *indexed)
    return contracts.decode_log(
        RawLog(contract.address, topics, data[3 + 32 * len(indexed) :], 1, bytes(32), bytes(32), 0)
    )


def _logs() -> Iterator[bytes]:
    for contract in range(4):
        for event in range(12):
            for topics in range(4):
                yield bytes([contract, event, topics]) + bytes(32 * topics + 640)


# --- a log that is replayed --------------------------------------------------------------------------------


def _key_event(data: bytes) -> str | None:
    """kind ‖ extra of a leaf, after a key that stands."""
    book = KeyBook(None, None)
    book.apply(8, _added(), 0)
    return book.apply(8 + data[0] % 3 if data else 8, data[1:], 1)


def _added() -> bytes:
    return canonical_json({"issuer": ISSUER, "jwk": signing_key("one").public.jwk(), "types": [TYPE_A]})


def _key_events() -> Iterator[bytes]:
    jwk = signing_key("two").public.jwk()
    yield b"\0" + canonical_json({"issuer": ISSUER, "jwk": jwk, "types": sorted([TYPE_A, TYPE_B])})
    for kind in (1, 2):
        key = signing_key("one").public.key_id.hex()
        yield bytes([kind]) + canonical_json({"issuer": ISSUER, "key": key})


def _recognised(data: bytes) -> str | None:
    return KeyBook(None, None).recognise(data, 1)


def _replayed(data: bytes) -> list[tuple[int, str]]:
    """An entry bundle, as published: its leaves are judged, or it is torn."""
    bundles, torn = Bundles.join([(data, _ENTRIES)])
    if torn:
        return []
    _, offences = first_offences(Columns.of(bundles.rows()), bundles.lengths)
    bundles.hashes()
    return [(int(at), why) for at, why in offences]


def _bundles() -> Iterator[bytes]:
    entries = honest_log().entries
    places = np.linspace(0, len(entries) - 1, _ENTRIES).astype(int)
    yield encode_bundle(list(entries[:_ENTRIES]))
    yield encode_bundle([entries[place] for place in places])


def _heads(data: bytes) -> Any:
    path = _scratch() / "public"
    path.mkdir(exist_ok=True)
    (path / "checkpoint").write_bytes(data)
    return read_heads(path)


def _checkpoint() -> bytes:
    note = sign_checkpoint(Checkpoint(ORIGIN, 3, bytes(range(32))), SIGNER)
    return note.encode()


# --- files -------------------------------------------------------------------------------------------------


def _log_config(data: bytes) -> None:
    layout = Layout(_scratch() / "log")
    layout.private.mkdir(parents=True, exist_ok=True)
    layout.config.write_bytes(data)
    layout.require_config(SIGNER)


def _log_configs() -> Iterator[bytes]:
    layout = Layout(_scratch() / "new log")
    layout.private.mkdir(parents=True, exist_ok=True)
    layout.write_config(Files(), SIGNER)
    yield layout.config.read_bytes()


def _book_config(data: bytes) -> tuple[Parties, Secrets]:
    folder = BookFolder(_scratch() / "book")
    folder.root.mkdir(exist_ok=True)
    folder.config.write_bytes(data)
    return read_config(folder)


@cache
def _book_configs() -> list[bytes]:
    folder = BookFolder(_scratch() / "new book")
    folder.root.mkdir()
    key = SigningKey.generate("EdDSA", bytes(32)).public
    write_config(folder, Parties("log.example", key, key), Secrets(bytes(32), bytes(32)))
    return [folder.config.read_bytes()]


def _bound(path: Path) -> bytes:
    return TrusteeKeys(path.parent, signer_for("trustee")).bound(_KEY_ID)


def _journal() -> Iterator[bytes]:
    step = logistic.FitStep((Decimal("0.5"), Decimal(-2)), 100, logistic.Stage.LAST, sha256(b"plan").digest())
    yield canonical_json([step.to_json()])


FAMILIES = {
    "kept": (
        Decoder("Contracts.decode_log", _event, (LedgerError,), list, refused=_logs),
        Decoder("KeyBook.apply", _key_event, (), _key_events),
        Decoder(
            "KeyBook.recognise",
            _recognised,
            (),
            lambda: [canonical_json({"origin": "other.example", "types": sorted([TYPE_A, TYPE_B])})],
        ),
        Decoder("Bundles.join", _replayed, (), _bundles),
        Decoder("read_heads", _heads, (LedgerError,), lambda: [_checkpoint()]),
        Decoder("a log's config", _log_config, (LedgerError,), _log_configs),
        Decoder("a book's config", _book_config, (LedgerError,), _book_configs),
        Decoder(
            "TrustDeployment.from_json",
            of_json(TrustDeployment.from_json),
            (LedgerError,),
            lambda: [
                to_json(
                    TrustDeployment(
                        chain_id=1,
                        block=1,
                        manager=Address(bytes(20)),
                        anchor=Address(b"\1" * 20),
                        issuers=Address(b"\2" * 20),
                    )
                )
            ],
            to_json,
            False,
        ),
        Decoder(
            "what a share serves",
            _in_file(_bound, f"{_KEY_ID.hex()}.deposit"),
            (HolderError, LedgerError),
            lambda: [b"00" * 32],
        ),
        Decoder("an epoch", _in_file(lambda path: EpochFile(path).read()), (HolderError,), lambda: [b"7\n"]),
        Decoder("a fit's journal", _in_file(logistic._read_journal), (ClientError,), _journal),
        Decoder(
            "Model.from_file",
            _in_file(Model.from_file),
            (ClientError,),
            lambda: [
                dumped({"name": "甲", "weights": {"kwh": "0.25"}}),
                b"name: a\nintercept: 1.5\nweights:\n  kwh: 0.25\n  age: -2\n",
            ],
            seconds_max=YAML_S,
        ),
        Decoder("read_model", _in_file(read_model), (ClientError,), _stock_models, seconds_max=YAML_S),
    ),
}
