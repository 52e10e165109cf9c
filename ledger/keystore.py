"""Encrypted keystores: one file with an account's secp256k1 key and its X25519 key.

The `crypto` section is a Web3 Secret Storage V3 keystore (scrypt, AES-128-CTR), which wallets can open;
the `x25519` section is ours: AES-256-GCM under a key derived from the same scrypt output, authenticating
the whole file. Files are written with mode 0600, whole or not at all (`ledger.files`).

Source: Web3 Secret Storage Definition, version 3; RFC 7914 (scrypt); RFC 5869 (HKDF).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger import files
from ledger.encoding import canonical_json, keccak, parse_hex, parse_json, require_keys
from ledger.errors import (
    KeystoreError,
    KeystoreExists,
    KeystoreMalformed,
    KeystoreMissing,
    MalformedValue,
    WrongPassphrase,
)
from ledger.signing import Signer

PASSPHRASE_MIN: Final = 8
SCRYPT: Final = {"n": 1 << 15, "r": 8, "p": 3, "dklen": 32}  # 32 MiB; OWASP's equivalent of n = 2^17, p = 1
_SCRYPT_MEMORY_MAX: Final = 1 << 30
FILE_MAX: Final = 16_384


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one participant. Printing it shows the address only."""

    signer: Signer
    x25519_private: X25519PrivateKey

    @classmethod
    def generate(cls) -> Keys:
        """Make fresh keys from the system's randomness."""
        return cls(Signer.generate(), X25519PrivateKey.generate())

    @property
    def x25519_public(self) -> bytes:
        """The public key, 32 bytes (RFC 7748)."""
        return self.x25519_private.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"Keys({self.signer!r})"


def create(path: Path, passphrase: str, keys: Keys | None = None) -> Keys:
    """Write a new keystore, with fresh keys unless some are given.

    Args:
        path: the file; its directory is made (mode 0700) when missing.
        passphrase: at least 8 characters; there is no default.

    Returns:
        The keys in it.

    Raises:
        KeystoreExists: there is a file already.
        KeystoreError: the passphrase is too short, or the file cannot be written.
    """
    if len(passphrase) < PASSPHRASE_MIN:
        raise KeystoreError(f"expected a passphrase of at least {PASSPHRASE_MIN} characters")
    if path.exists():
        raise KeystoreExists(f"{path} exists and is not overwritten")
    made = keys or Keys.generate()
    write_new(path, _seal(made, passphrase))
    return made


def load(path: Path, passphrase: str) -> Keys:
    """Open a keystore.

    Raises:
        KeystoreMissing: there is no file.
        KeystoreMalformed: it is no keystore of this version.
        WrongPassphrase: the passphrase does not open it, or the file was altered.
    """
    return _open(read_file(path), passphrase)


def address_in(path: Path) -> bytes:
    """Return the address that a keystore names, without opening it. Not authenticated.

    Raises:
        KeystoreMissing, KeystoreMalformed.
    """
    return bytes.fromhex(_parse(read_file(path))["address"])


def backup(path: Path, target: Path, passphrase: str) -> None:
    """Copy a keystore to `target`, after proving that the passphrase opens it.

    Raises:
        KeystoreExists: the target exists.
        KeystoreMissing, KeystoreMalformed, WrongPassphrase: as `load`.
    """
    data = read_file(path)
    _open(data, passphrase)
    if target.exists():
        raise KeystoreExists(f"{target} exists and is not overwritten")
    write_new(target, data)


def restore(source: Path, path: Path, passphrase: str) -> Keys:
    """Bring a backed-up keystore back to `path`, after proving that the passphrase opens it.

    Raises:
        KeystoreExists: there is a keystore at `path`.
        KeystoreMissing, KeystoreMalformed, WrongPassphrase: as `load`.
    """
    data = read_file(source)
    keys = _open(data, passphrase)
    if path.exists():
        raise KeystoreExists(f"{path} exists and is not overwritten")
    write_new(path, data)
    return keys


def change_passphrase(path: Path, old: str, new: str) -> None:
    """Seal the same keys under another passphrase, in one atomic replacement.

    Raises:
        KeystoreError: the new passphrase is too short, or the file cannot be written; else as `load`.
    """
    if len(new) < PASSPHRASE_MIN:
        raise KeystoreError(f"expected a passphrase of at least {PASSPHRASE_MIN} characters")
    sealed = _seal(load(path, old), new)
    try:
        files.replace(path, sealed)
    except OSError as err:
        raise KeystoreError(f"{path} cannot be written: {err.strerror}") from err


# --- format ----------------------------------------------------------------------------------------------


def _seal(keys: Keys, passphrase: str) -> bytes:
    salt, iv, nonce = secrets.token_bytes(32), secrets.token_bytes(16), secrets.token_bytes(12)
    derived = derive(passphrase, salt, SCRYPT)
    ciphertext = _aes_ctr(derived[:16], iv, keys.signer.raw_private_key())
    document: dict[str, Any] = {
        "version": 3,
        "id": str(uuid.uuid4()),
        "address": keys.signer.address.hex(),
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": iv.hex()},
            "ciphertext": ciphertext.hex(),
            "kdf": "scrypt",
            "kdfparams": {**SCRYPT, "salt": salt.hex()},
            "mac": keccak(derived[16:] + ciphertext).hex(),
        },
    }
    extra = {"version": 1, "cipher": "aes-256-gcm", "public": keys.x25519_public.hex(), "nonce": nonce.hex()}
    document["x25519"] = extra
    aead = AESGCM(_extra_key(derived))
    extra["ciphertext"] = aead.encrypt(
        nonce, keys.x25519_private.private_bytes_raw(), canonical_json(document)
    ).hex()
    return json.dumps(document, indent=1).encode() + b"\n"


def _open(data: bytes, passphrase: str) -> Keys:
    document = _parse(data)
    crypto, extra = document["crypto"], document["x25519"]
    try:
        salt = _hex(crypto["kdfparams"]["salt"], 32)
        ciphertext = _hex(crypto["ciphertext"], 32)
        mac, iv = _hex(crypto["mac"], 32), _hex(crypto["cipherparams"]["iv"], 16)
        nonce, sealed = _hex(extra["nonce"], 12), _hex(extra.pop("ciphertext"), 48)
        derived = derive(passphrase, salt, crypto["kdfparams"])
    except (KeyError, TypeError, AttributeError, MalformedValue) as err:
        raise KeystoreMalformed("expected a V3 keystore with an x25519 section") from err
    if not hmac.compare_digest(keccak(derived[16:] + ciphertext), mac):
        raise WrongPassphrase("the passphrase does not open this keystore, or the file was altered")
    try:
        x25519 = AESGCM(_extra_key(derived)).decrypt(nonce, sealed, canonical_json(document))
        signer = Signer(_aes_ctr(derived[:16], iv, ciphertext))
    except (InvalidTag, MalformedValue) as err:
        raise WrongPassphrase("the keystore was altered after it was written") from err
    return Keys(signer, X25519PrivateKey.from_private_bytes(x25519))


def _parse(data: bytes) -> dict[str, Any]:
    try:
        document = parse_json(data)
        given = require_keys(
            "keystore", document, frozenset({"version", "id", "address", "crypto", "x25519"})
        )
        if given["version"] != 3 or given["x25519"]["version"] != 1:
            raise KeystoreMalformed("expected keystore version 3 with x25519 section version 1")
        _hex(given["address"], 20)
    except (KeyError, TypeError, MalformedValue) as err:
        raise KeystoreMalformed("expected a V3 keystore with an x25519 section") from err
    return dict(given)


def _hex(text: object, length: int) -> bytes:
    return parse_hex(f"0x{text}", "keystore", length)


def derive(passphrase: str, salt: bytes, parameters: Mapping[str, Any]) -> bytes:
    """Return what scrypt makes of a passphrase, 32 bytes.

    Args:
        parameters: `n`, `r`, `p` and `dklen`; from a file, so they are checked.

    Raises:
        KeystoreMalformed: they are no integers, ask for other than 32 bytes, or cost more than 1 GiB.
        KeyError: one is missing.

    Source: RFC 7914.
    """
    n, r, p, dklen = (parameters[name] for name in ("n", "r", "p", "dklen"))
    if not all(isinstance(value, int) for value in (n, r, p, dklen)) or dklen != 32:
        raise KeystoreMalformed("expected integer scrypt parameters and 32 bytes of key")
    if min(n, r, p) < 1 or 128 * n * r * p > _SCRYPT_MEMORY_MAX:
        raise KeystoreMalformed(
            f"expected scrypt cost within {_SCRYPT_MEMORY_MAX} bytes, got n={n} r={r} p={p}"
        )
    try:
        return hashlib.scrypt(
            passphrase.encode(), salt=salt, n=n, r=r, p=p, dklen=dklen, maxmem=2 * _SCRYPT_MEMORY_MAX - 1
        )
    except ValueError as err:
        raise KeystoreMalformed(f"scrypt refuses n={n} r={r} p={p}") from err


def _extra_key(derived: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"shuyao/v1/keystore-x25519").derive(derived)


def _aes_ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
    return encryptor.update(data) + encryptor.finalize()


# --- files -----------------------------------------------------------------------------------------------


def read_file(path: Path) -> bytes:
    """Return the bytes of a key file.

    Raises:
        KeystoreMissing: there is no file.
        KeystoreMalformed: it is longer than 16 KiB.
        KeystoreError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX + 1)
    except FileNotFoundError as err:
        raise KeystoreMissing(f"no keystore at {path}") from err
    except OSError as err:
        raise KeystoreError(f"{path} cannot be read: {err.strerror}") from err
    if len(data) > FILE_MAX:
        raise KeystoreMalformed(f"expected at most {FILE_MAX} bytes")
    return data


def write_new(path: Path, data: bytes) -> None:
    """Write a file (mode 0600) in one step, durably, where there is none; its directory is made (mode 0700) when missing.

    Raises:
        KeystoreExists: there is a file already.
        KeystoreError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.write_new(path, data)
    except FileExistsError as err:
        raise KeystoreExists(f"{path} exists and is not overwritten") from err
    except OSError as err:
        raise KeystoreError(f"{path} cannot be written: {err.strerror}") from err
