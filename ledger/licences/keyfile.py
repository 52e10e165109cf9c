"""Encrypted files of signature keys: one key of an issuer, registrar, service, holder or custodian each.

JSON with the public JWK in the clear and the secret under AES-256-GCM, whose key comes from the passphrase by
scrypt and HKDF; everything else in the file is authenticated with it. Files are private (mode 0600), written in
one step, and never overwritten, as keystores are.

Source: RFC 7914 (scrypt); RFC 5869 (HKDF); NIST SP 800-38D (GCM).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger import keystore
from ledger.errors import KeystoreError, KeystoreExists, KeystoreMalformed, KeystoreMissing
from ledger.licences.encoding import b64u, canonical, parse_any, parse_b64u
from ledger.licences.errors import (
    KeyFileError,
    KeyFileExists,
    KeyFileMalformed,
    KeyFileMissing,
    KeyFilePassphraseWrong,
    KeyUnsupported,
    Malformed,
)
from ledger.licences.keys import SECRET_SIZE, PublicKey, SigningKey

PASSPHRASE_MIN: Final = keystore.PASSPHRASE_MIN
_VERSION: Final = 1
_MEMBERS: Final = {"version", "jwk", "kdf", "kdfparams", "cipher", "nonce", "ciphertext"}
_SALT_SIZE: Final = 32
_NONCE_SIZE: Final = 12


def save(path: Path, key: SigningKey, passphrase: str) -> None:
    """Write a key to a new file.

    Args:
        path: its directory is made (mode 0700) when missing.
        passphrase: at least 8 characters; there is no default.

    Raises:
        KeyFileExists: there is a file already.
        KeyFileError: the passphrase is too short, or the file cannot be written.
    """
    if len(passphrase) < PASSPHRASE_MIN:
        raise KeyFileError(f"expected a passphrase of at least {PASSPHRASE_MIN} characters")
    if path.exists():
        raise KeyFileExists(f"{path} exists and is not overwritten")
    with _own_errors():
        keystore.write_new(path, _seal(key, passphrase))


def load(path: Path, passphrase: str) -> SigningKey:
    """Open a key file.

    Raises:
        KeyFileMissing: there is no file.
        KeyFileMalformed: it is no key file of this version.
        KeyFilePassphraseWrong: the passphrase does not open it, or the file was altered.
    """
    document = _parse(path)
    public = _public(document)
    try:
        salt = parse_b64u(document["kdfparams"]["salt"], "salt", _SALT_SIZE)
        nonce = parse_b64u(document["nonce"], "nonce", _NONCE_SIZE)
        sealed = parse_b64u(document.pop("ciphertext"), "ciphertext", SECRET_SIZE + 16)
        with _own_errors():
            derived = keystore.derive(passphrase, salt, document["kdfparams"])
    except (KeyError, TypeError, Malformed) as err:
        raise KeyFileMalformed(f"{path}: expected scrypt parameters, nonce and ciphertext") from err
    try:
        secret = AESGCM(_file_key(derived)).decrypt(nonce, sealed, canonical(document, "key file"))
        key = SigningKey(public.alg, secret)
    except (InvalidTag, KeyUnsupported) as err:
        raise KeyFilePassphraseWrong(f"the passphrase does not open {path}, or the file was altered") from err
    if key.public != public:
        raise KeyFileMalformed(f"{path}: the public key is not that of the secret")
    return key


def public_of(path: Path) -> PublicKey:
    """Return the public key that a key file names, without opening it. Not authenticated.

    Raises:
        KeyFileMissing, KeyFileMalformed.
    """
    return _public(_parse(path))


def _seal(key: SigningKey, passphrase: str) -> bytes:
    salt, nonce = secrets.token_bytes(_SALT_SIZE), secrets.token_bytes(_NONCE_SIZE)
    document: dict[str, Any] = {
        "version": _VERSION,
        "jwk": key.public.jwk(),
        "kdf": "scrypt",
        "kdfparams": {**keystore.SCRYPT, "salt": b64u(salt)},
        "cipher": "aes-256-gcm",
        "nonce": b64u(nonce),
    }
    aead = AESGCM(_file_key(keystore.derive(passphrase, salt, keystore.SCRYPT)))
    document["ciphertext"] = b64u(aead.encrypt(nonce, key.secret, canonical(document, "key file")))
    return json.dumps(document, indent=1).encode("ascii") + b"\n"


def _parse(path: Path) -> dict[str, Any]:
    with _own_errors():
        data = keystore.read_file(path)
    try:
        document = parse_any(data, "key file", size_max=keystore.FILE_MAX)
    except Malformed as err:
        raise KeyFileMalformed(f"{path}: expected a JSON object") from err
    if not isinstance(document, dict) or document.keys() != _MEMBERS:
        raise KeyFileMalformed(f"{path}: expected the members {sorted(_MEMBERS)}")
    if (document["version"], document["kdf"], document["cipher"]) != (_VERSION, "scrypt", "aes-256-gcm"):
        raise KeyFileMalformed(f"{path}: expected version {_VERSION} with scrypt and aes-256-gcm")
    return document


def _public(document: dict[str, Any]) -> PublicKey:
    try:
        return PublicKey.from_jwk(document["jwk"])
    except (Malformed, KeyUnsupported) as err:
        raise KeyFileMalformed("expected a JWK of a supported key") from err


def _file_key(derived: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"shuyao/v1/licence-key-file").derive(derived)


@contextmanager
def _own_errors() -> Iterator[None]:
    """Turn the errors of the keystore's file and scrypt helpers into those of this package."""
    try:
        yield
    except KeystoreMissing as err:
        raise KeyFileMissing(str(err)) from err
    except KeystoreExists as err:
        raise KeyFileExists(str(err)) from err
    except KeystoreMalformed as err:
        raise KeyFileMalformed(str(err)) from err
    except KeystoreError as err:
        raise KeyFileError(str(err)) from err
