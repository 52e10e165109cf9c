"""Settings, which a party writes for itself, and what it stored: key files, sealed secrets, requests."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from api.licences.settings import CitySettings, WatchedLog, WitnessSettings
from client.errors import ClientError
from client.losses import known_lines, quoted_delta
from client.models import Model
from client.types import LocalState, StoredRequest
from client.vault import Vault as BuyerVault
from exchange.errors import ExchangeError
from exchange.settings import AdmissionTerms, Settings
from holder.audit_bundle import AuditBundle, AuditedAsset, SealedFor
from holder.audit_messages import OPENING, AuditMessages, Entry, decode_entries, seal_entries
from holder.audit_seal import SEED_USE, AuditContext, AuditSecrets, open_box, seal, stored_boxes
from holder.errors import HolderError
from holder.settings import settings_from_mapping
from holder.vault import Vault as HolderVault
from ledger import keystore
from ledger.encoding import Address, canonical_json, parse_json, to_hex
from ledger.errors import LedgerError
from ledger.keystore import Keys
from ledger.licences import keyfile
from ledger.licences.keys import SigningKey
from ledger.replay.anchors import ChainFacts
from ledger.types import Deployment, Digest, Request
from privacy.errors import PrivacyError
from tests.fuzz.contract import Decoder
from tests.fuzz.families.texts import dumped, of_json, text_of, to_json
from tests.ledger.conftest import request_for, signer_for
from tests.ledger.replay.synthetic import honest_log

T = TypeVar("T")

_BUYER = signer_for("buyer")
_ID = Digest(bytes(range(32)))
_SCRYPT_S = 30.0
"""Scrypt may ask for up to 1 GiB: it is slow so that passphrases are not guessed."""

_SCRYPT_BYTES = 1300 << 20


@cache
def _request() -> Request:
    return request_for(_BUYER.address, Address(b"\x22" * 20))


@cache
def _department() -> SigningKey:
    return SigningKey.generate("EdDSA", bytes(32))


# --- settings ----------------------------------------------------------------------------------------------


def _deployment() -> dict[str, str]:
    names = ("participants", "assets", "ledger", "settlement", "manager")
    addresses = {name: Address(bytes([number]) * 20) for number, name in enumerate(names)}
    return Deployment(chain_id=1, block=1, **addresses).to_json()


def _exchange_settings() -> bytes:
    urls = dict.fromkeys(
        ("rpc_url", "database_url", "workflow_database_url", "public_url"), "http://a.example:1/"
    )
    admission = {"policy": "p.json", "types": ["11100000MB0143028R001"], "service_url": "http://b.example"}
    return dumped(
        {"deployment": _deployment(), **urls, "port": 1, "windows": {"share": 5}, "admission": admission}
    )


def _holder_settings() -> bytes:
    assets = [{"name": "用电", "source": {"kind": "csv", "path": "data.csv"}, "policy": "policy.yaml"}]
    sql = {
        "name": "b",
        "source": {"kind": "sql", "url": "sqlite://", "table": "t"},
        "policy": "p",
        "grade": 2,
    }
    urls = {"rpc_url": "http://a.example", "exchange_url": "http://b.example"}
    return dumped(
        {
            "version": "1",
            **urls,
            "deployment": _deployment(),
            "assets": [*assets, sql],
            "engine": {"threads": 2},
        }
    )


def _city_settings() -> bytes:
    jwk = _department().public.jwk()
    given = {
        "version": 1,
        "origin": "log.example",
        "name": "海港",
        "log_key": "k",
        "registrar": jwk,
        "service": jwk,
        "witnesses": [{"vkey": "v", "url": "http://w.example"}],
        "threshold": 1,
        "host": "127.0.0.1",
        "port": 1,
        "anchor": {"rpc_url": "http://a.example", "chain_id": 1, "contract": to_hex(bytes(20))},
        "verify_port": 2,
        "verify_workers": 1,
        "pace": {"cosign_s": 1, "publish_s": 60, "anchor_s": 60, "seal_s": 60},
    }
    return dumped(given)


def _witness_settings() -> bytes:
    log = WatchedLog("v", "log.example", 1, to_hex(bytes(20)))
    return dumped(WitnessSettings("w", "v", (log,), "http://node", port=8801).to_json())


def _settings_json(settings: Any) -> bytes:
    return json.dumps(settings.to_json()).encode()


# --- stored ------------------------------------------------------------------------------------------------


@cache
def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="shuyao-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _in_file(read: Callable[[Path], T]) -> Callable[[bytes], T]:
    def opened(data: bytes) -> T:
        path = _scratch() / "file"
        path.write_bytes(data)
        return read(path)

    return opened


def _cheap(data: bytes) -> bytes:
    """Replace the cost of scrypt in a key file by the least, which opens nothing and is refused late."""
    return data.replace(b"262144", b"2").replace(b"131072", b"2")


@cache
def _keystore() -> bytes:
    path = _scratch() / "keystore.json"
    keystore.create(path, "a long passphrase", Keys.generate())
    return path.read_bytes()


@cache
def _keyfile() -> bytes:
    path = _scratch() / "key.json"
    keyfile.save(path, _department(), "a long passphrase")
    return path.read_bytes()


def _stored(quote: bytes) -> StoredRequest:
    return StoredRequest(
        request_id=_ID,
        request=_request(),
        signature=bytes(65),
        plan_json=b"{}",
        quote_json=text_of(quote),
        sql="",
        listing_name="",
        idempotency_key="",
        detail="",
        state=LocalState.PREPARED,
        sealed_key=b"",
        since_block=1,
    )


def _terms(data: bytes) -> tuple[Any, Any]:
    return known_lines([_stored(data)]), quoted_delta(_stored(data))


def _sealed_by_holder() -> list[bytes]:
    return [HolderVault(_BUYER).seal(_ID, "name", b"secret")]


# --- what auditors read ------------------------------------------------------------------------------------


@cache
def _regulator() -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes(range(32)))


def _context() -> AuditContext:
    return AuditContext(bytes(range(32)), 1, _ID)


@cache
def _box() -> bytes:
    recipient = _regulator().public_key().public_bytes_raw()
    return seal(bytes(64), recipient, _context(), use=SEED_USE, ephemeral=bytes(range(1, 33)))


def _audit() -> bytes:
    recipient = _regulator().public_key().public_bytes_raw()
    return AuditBundle(
        chain_id=1,
        ledger=Address(bytes(20)),
        request_id=_ID,
        holder=Address(bytes(20)),
        index=1,
        session=bytes(range(32)),
        plan={"version": "1"},
        asset=AuditedAsset(_ID, 1, "用电", {"version": "1"}),
        sealed=(SealedFor(recipient, _box(), _box(), _box()),),
    ).to_bytes()


_ENTRIES = (Entry(OPENING, 1, b"opening"), Entry(1, 2, bytes(40)), Entry(1, 3, b""), Entry(2, 1, bytes(9)))


def _messages(path: Path) -> list[bytes]:
    """Read the file of messages that a holder brought; its records are opened as they are asked for."""
    with AuditMessages(path, bytes(32), _context()) as messages:
        return [payload for sender in range(4) for kind in range(5) for payload in messages.of(kind, sender)]


def _entry_written(entries: list[Entry]) -> bytes:
    encoded = [each.to_bytes() for each in entries]
    return b"".join(len(each).to_bytes(4, "big") + each for each in encoded)


def _resealed(data: bytes) -> list[bytes]:
    """What stands in the records is the holder's choice: `u32 length ‖ entry`, sealed here one by one."""
    sealed = seal_entries(decode_entries(data), bytes(32), _context())
    return _in_file(_messages)(b"".join(sealed))


def _export() -> bytes:
    return honest_log().chain(256).to_bytes()


FAMILIES = {
    "audits": (
        Decoder(
            "AuditBundle.from_bytes",
            AuditBundle.from_bytes,
            (HolderError, LedgerError),
            lambda: [_audit()],
            AuditBundle.to_bytes,
        ),
        Decoder(
            "AuditSecrets.from_bytes",
            AuditSecrets.from_bytes,
            (HolderError, PrivacyError),
            lambda: [bytes(range(32)) + bytes(31) + b"\x07"],
            AuditSecrets.to_bytes,
        ),
        Decoder(
            "stored_boxes",
            stored_boxes,
            (HolderError,),
            lambda: [b"", _box()],
            lambda boxes: b"".join(boxes.values()),
            False,
        ),
        Decoder(
            "open_box",
            lambda data: open_box(data, _regulator(), _context(), use=SEED_USE),
            (HolderError,),
            lambda: [_box()],
        ),
        Decoder(
            "AuditMessages",
            _in_file(_messages),
            (HolderError, PrivacyError),
            lambda: [b"", b"".join(seal_entries(_ENTRIES, bytes(32), _context()))],
        ),
        Decoder(
            "AuditMessages, opened",
            _resealed,
            (HolderError, PrivacyError),
            lambda: [_entry_written(list(_ENTRIES))],
        ),
        Decoder(
            "decode_entries",
            decode_entries,
            (PrivacyError,),
            lambda: [b"", _entry_written(list(_ENTRIES))],
            _entry_written,
        ),
        Decoder(
            "ChainFacts.from_bytes",
            ChainFacts.from_bytes,
            (LedgerError,),
            lambda: [_export()],
            ChainFacts.to_bytes,
            False,
        ),
        Decoder(
            "Model.from_mapping",
            of_json(Model.from_mapping),
            (ClientError, LedgerError),
            lambda: [dumped({"name": "甲", "intercept": "1.5", "weights": {"kwh": "0.25", "age": -2}})],
            to_json,
            False,
        ),
    ),
    "settings": (
        Decoder(
            "exchange",
            of_json(Settings.from_json),
            (ExchangeError, LedgerError),
            lambda: [_exchange_settings()],
        ),
        Decoder(
            "admission",
            of_json(AdmissionTerms.from_json),
            (ExchangeError, LedgerError),
            lambda: [
                dumped(
                    {"policy": "p", "types": ["11100000MB0143028R001"], "roles": ["buyer"], "max_age_s": 9}
                )
            ],
        ),
        Decoder(
            "holder",
            of_json(lambda value: settings_from_mapping(value, _scratch())),
            (HolderError, LedgerError),
            lambda: [_holder_settings()],
        ),
        Decoder(
            "city",
            of_json(CitySettings.from_json),
            (LedgerError,),
            lambda: [_city_settings()],
            _settings_json,
            False,
        ),
        Decoder(
            "witness",
            of_json(WitnessSettings.from_json),
            (LedgerError,),
            lambda: [_witness_settings()],
            _settings_json,
            False,
        ),
    ),
    "stored": (
        Decoder(
            "keystore.load",
            _in_file(lambda path: keystore.load(path, "a long passphrase").signer.address),
            (LedgerError,),
            list,
            refused=lambda: [_cheap(_keystore())],
            seconds_max=_SCRYPT_S,
            growth_max=_SCRYPT_BYTES,
        ),
        Decoder("keystore.address_in", _in_file(keystore.address_in), (LedgerError,), lambda: [_keystore()]),
        Decoder(
            "keyfile.load",
            _in_file(lambda path: keyfile.load(path, "a long passphrase").public),
            (LedgerError,),
            list,
            refused=lambda: [_cheap(_keyfile())],
            seconds_max=_SCRYPT_S,
            growth_max=_SCRYPT_BYTES,
        ),
        Decoder("keyfile.public_of", _in_file(keyfile.public_of), (LedgerError,), lambda: [_keyfile()]),
        Decoder(
            "a holder's vault",
            lambda data: HolderVault(_BUYER).open(_ID, "name", data),
            (HolderError,),
            _sealed_by_holder,
        ),
        Decoder(
            "a buyer's vault",
            lambda data: BuyerVault(_BUYER).open(data, _ID),
            (ClientError,),
            lambda: [BuyerVault(_BUYER).seal(bytes(32), _ID)],
        ),
        Decoder(
            "terms of a stored quote",
            _terms,
            (ClientError,),
            lambda: [canonical_json({"lines": {to_hex(bytes(32)): to_hex(bytes(32))}, "delta": "0.00001"})],
        ),
        Decoder(
            "a stored request",
            lambda data: Request.from_json(parse_json(data)),
            (LedgerError,),
            lambda: [to_json(_request())],
        ),
    ),
}
