"""Keys, claims and credentials that the tests of e-licences share, and forgeries by an issuer who is not us."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ledger.licences.encoding import b64u
from ledger.licences.identifiers import Identifier
from ledger.licences.jws import sign_jws
from ledger.licences.keys import Algorithm, SigningKey
from ledger.licences.schema import LicenceType, demonstration_types
from ledger.licences.sdjwt import Claims, Credential, issue

ISSUER = "91440300708461136T"
ORIGIN = "log.example.cn/2026"
NOW = 1_800_000_000
BUSINESS = demonstration_types()["11100000MB0143028R001"]
VALUES = {
    "uscc": "91440300MA5FG7JT43",
    "entity_name": "深圳市数钥科技有限公司",
    "entity_type": "有限责任公司",
    "legal_representative": "欧阳𠮷",
    "business_scope": '软件开发；数据处理 "甲" \\ 乙\n丙\u0001',
    "address": "深圳市南山区科技园一路１号",
}


def key(name: str, alg: Algorithm = "EdDSA") -> SigningKey:
    """The key of that name, always the same."""
    return SigningKey.generate(alg, hashlib.sha256(name.encode()).digest())


ISSUER_KEY = key("issuer")
HOLDER_KEY = key("holder", "ES256")


def claims(**changes: Any) -> Claims:
    """Claims of a business licence."""
    fields: dict[str, Any] = {
        "issuer": ISSUER,
        "type_code": BUSINESS.code,
        "identifier": Identifier(BUSINESS.code, ISSUER, "440300A0001", "001"),
        "version": BUSINESS.version,
        "event_id": bytes(range(16)),
        "issued_at": NOW - 1000,
        "not_before": NOW - 900,
        "expires_at": NOW + 10_000,
        "list": 3,
        "index": 77,
        "origin": ORIGIN,
        "holder": HOLDER_KEY.public,
    }
    return Claims(**{**fields, **changes})


def credential(
    *,
    values: Mapping[str, Any] = VALUES,
    signer: SigningKey = ISSUER_KEY,
    kind: LicenceType = BUSINESS,
    seed: bytes = bytes(32),
    **changes: Any,
) -> Credential:
    """A business licence."""
    return issue(claims(**changes), kind, values, signer, rand=seed)


def disclosure(*array: Any) -> str:
    """A disclosure as somebody else may write it: no canonical JSON."""
    return b64u(json.dumps(list(array)).encode())


def digest(text: str) -> str:
    """The digest of a disclosure."""
    return b64u(hashlib.sha256(text.encode()).digest())


def salt(number: int) -> str:
    """A salt."""
    return b64u(number.to_bytes(16, "big"))


def forged(
    digests: Iterable[str], disclosures: Iterable[str] = (), *, without: Iterable[str] = (), **members: Any
) -> str:
    """What a careless or malicious issuer may sign: these digests, these disclosures, these other members."""
    payload = {**claims().payload(digests), **members}
    for name in without:
        del payload[name]
    return "~".join((sign_jws("dc+sd-jwt", payload, ISSUER_KEY), *disclosures, ""))
