"""Licences: identifiers, credentials, events, leaves, histories, status tokens, bundles and private records."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from ledger.encoding import canonical_json, parse_json
from ledger.errors import LedgerError
from ledger.licences import qr, sdjwt
from ledger.licences.access import AccessRecord, Use
from ledger.licences.bundle import Bundle
from ledger.licences.encoding import b64u, parse_any, parse_b64u, parse_canonical
from ledger.licences.events import (
    AccessBatch,
    Code,
    Event,
    Kind,
    Leaf,
    leaf_of_credential,
    leaf_of_status_token,
    make_event,
    parse_event,
)
from ledger.licences.identifiers import (
    Identifier,
    issuer_urn,
    parse_issuer_urn,
    parse_status_urn,
    parse_type_urn,
    status_urn,
    type_urn,
)
from ledger.licences.issuers import parse_history
from ledger.licences.keys import ALGORITHMS, PublicKey, SigningKey
from ledger.licences.mapping import BackfillMapping
from ledger.licences.policy import TrustPolicy
from ledger.licences.record import pack_text, unpack_record
from ledger.licences.schema import LicenceType, demonstration_types
from ledger.licences.status import StatusToken, parse_status_token
from ledger.licences.template import Template
from ledger.licences.verify import Expected, Verdict, verify
from tests.fuzz.contract import Decoder
from tests.fuzz.families.plans import YAML_S
from tests.fuzz.families.texts import bytes_of, of_json, of_text, to_json
from tests.ledger.licences import test_batch
from tests.ledger.licences.world import BUSINESS, NOW, Licence, TestCity, build_city, seed_of

_NONCE, _AUDIENCE = "a nonce", "bank.example"


class _Speaker(TestCity):
    """A city that keeps what its offices sign."""

    __test__ = False

    def __init__(self, name: str) -> None:
        super().__init__(name, NOW)
        self.texts: list[str] = []

    def log_event(self, event: Event, key: SigningKey) -> int:
        self.texts.append(make_event(event, key))
        return super().log_event(event, key)


@cache
def _city() -> _Speaker:
    """A city in which each kind of event has happened."""
    city, other = _Speaker("haigang"), build_city("other")
    licence = city.issue()
    city.publish()
    other.issue()
    other.publish()
    for kind in (Kind.SUSPEND, Kind.RESUME, Kind.TRANSFER_OUT):
        city.event(licence, kind)
    city.event(city.issue(), Kind.REVOKE, Code.CANCELLED, reason="企业申请注销")
    city.end_key(licence.claims.issuer, Kind.KEY_RETIRE)
    for number, alg in enumerate(ALGORITHMS):
        city.add_key(licence.claims.issuer, [BUSINESS], city.key("more", number, alg=alg))
    city.end_key(licence.claims.issuer, Kind.KEY_COMPROMISE)
    city.recognise(other)
    uses = AccessBatch(
        event_id=city.event_id(), issued_at=NOW, origin=city.origin, root=seed_of("uses"), count=7
    )
    city.log_event(uses, city.service)
    city.publish()
    return city


@cache
def _published() -> tuple[TestCity, Licence]:
    city = build_city("binhai")
    city.issue()
    licence = city.issue()
    city.publish()
    return city, licence


def _credentials() -> Iterator[bytes]:
    city, licence = _published()
    yield licence.text.encode()
    yield sdjwt.present(licence.text, []).encode()
    yield city.present(licence, ["entity_name"], nonce=_NONCE, audience=_AUDIENCE).encode()
    yield city.issue(logged=False, values={"entity_name": {"深": [1, True, "x"]}}).text.encode()


def _text_of_presented(presented: sdjwt.Presented) -> bytes:
    last = "" if presented.key_binding is None else presented.key_binding.text
    return presented.hashed_part + last.encode()


def _bearer(data: bytes) -> int:
    city, _ = _published()
    presented = sdjwt.parse(data.decode("utf-8", "surrogateescape"))
    return sdjwt.verify_bearer(presented, nonce=_NONCE, audience=_AUDIENCE, now_s=city.now_s)


def _bound() -> Iterator[bytes]:
    city, licence = _published()
    yield city.present(licence, ["entity_name"], nonce=_NONCE, audience=_AUDIENCE).encode()


def _leaves() -> Iterator[bytes]:
    yield from _city().entries


def _tokens() -> Iterator[bytes]:
    at = _city().published
    assert at is not None
    yield from (token.encode() for token, _ in at.tokens.values())


def _token(text: str) -> tuple[StatusToken, bytes]:
    token = parse_status_token(text)
    token.leaf()
    token.code(0)
    return token, token.bits().to_bytes()


def _histories() -> Iterator[bytes]:
    at = _city().published
    assert at is not None
    yield from (text.encode() for text in at.histories.values())


def _bundles() -> Iterator[bytes]:
    city, licence = _published()
    home = build_city("home")
    yield city.bundle(licence).to_bytes()
    yield city.bundle(licence, anchor=city.attested(), recognition=home.recognise(city)).to_bytes()
    yield Bundle(credential=licence.text, origin=city.origin).to_bytes()
    yield city.bundle(licence, text=next(_bound()).decode()).to_bytes()


def _verdict(data: bytes) -> Verdict:
    """Judge a bundle; whatever it is, there is a verdict."""
    city, _ = _published()
    return verify(data, city.policy(), now_s=city.now_s, expected=Expected(_NONCE, _AUDIENCE))


def _policies() -> Iterator[bytes]:
    yield canonical_json(_city().policy(_published()[0]).to_json())


def _keys() -> Iterator[bytes]:
    for alg in ALGORITHMS:
        yield canonical_json(SigningKey.generate(alg, bytes(range(32))).public.jwk())


def _types() -> Iterator[bytes]:
    for kind in demonstration_types().values():
        fields = [{"name": each.name, "title": each.title} for each in kind.salted]
        yield canonical_json(
            {"code": kind.code, "name": kind.name, "version": kind.version, "fields": fields}
        )


def _mapping() -> BackfillMapping:
    kind, holder = demonstration_types()[BUSINESS], SigningKey.generate("EdDSA", bytes(32)).public
    fields = tuple(sorted((each.name, each.title) for each in kind.salted))
    issuer = _city().issuer().code
    return BackfillMapping(kind.code, kind.version, issuer, "编号", "001", "发证日期", None, fields, holder)


def _written_mapping() -> bytes:
    mapping = _mapping()
    columns = {name: {"column": getattr(mapping, name)} for name in ("serial", "first_day")}
    return canonical_json({**mapping.describe(), **columns, "version": 1})


def _records() -> Iterator[bytes]:
    yield pack_text(_published()[1].text)
    yield test_batch.issued(test_batch.row()).record


def _accesses() -> Iterator[bytes]:
    for use in Use:
        yield AccessRecord(bytes(range(32)), 1_800_000_000, bytes(32), use).encode()


def _verify_signature(data: bytes) -> None:
    """algorithm ‖ signature ‖ message."""
    alg = ALGORITHMS[data[0] % len(ALGORITHMS) if data else 0]
    SigningKey.generate(alg, bytes(range(32))).public.verify(data[65:], data[1:65])


def _signatures() -> Iterator[bytes]:
    for number, alg in enumerate(ALGORITHMS):
        yield bytes([number]) + SigningKey.generate(alg, bytes(range(32))).sign(b"message") + b"message"


def _recanonical(data: bytes) -> Any:
    return parse_canonical(data, "value", size_max=1 << 16)


def _any(data: bytes) -> Any:
    return parse_any(data, "value", size_max=1 << 16)


_JSON = (
    b'{"a":[1,-2,true,null,{"b":"\xc3\xa9\\u0000"}],"c":1.5}',
    b'{"e":1e+300,"\xe6\x95\xb0":"\\\\"}',
    b'"\\""',
    b"[]",
)


FAMILIES = {
    "json": (
        Decoder("parse_json", parse_json, (LedgerError,), lambda: _JSON),
        Decoder("parse_any", _any, (LedgerError,), lambda: _JSON),
        Decoder("parse_canonical", _recanonical, (LedgerError,), lambda: _JSON, canonical_json),
        Decoder(
            "parse_b64u",
            of_text(lambda text: parse_b64u(text, "value")),
            (LedgerError,),
            lambda: [b64u(bytes(range(size))).encode() for size in (0, 1, 2, 3, 32)],
            lambda data: b64u(data).encode(),
        ),
    ),
    "credentials": (
        Decoder("sdjwt.parse", of_text(sdjwt.parse), (LedgerError,), _credentials, _text_of_presented),
        Decoder("verify_bearer", _bearer, (LedgerError,), _bound),
        Decoder("leaf_of_credential", of_text(leaf_of_credential), (LedgerError,), _credentials),
        Decoder(
            "Identifier.parse",
            of_text(Identifier.parse),
            (LedgerError,),
            lambda: [_published()[1].claims.identifier.text.encode()],
            lambda identifier: bytes_of(identifier.text),
        ),
        Decoder(
            "parse_issuer_urn",
            of_text(parse_issuer_urn),
            (LedgerError,),
            lambda: [issuer_urn(_published()[1].claims.issuer).encode()],
            lambda code: bytes_of(issuer_urn(code)),
        ),
        Decoder(
            "parse_type_urn",
            of_text(parse_type_urn),
            (LedgerError,),
            lambda: [type_urn(BUSINESS).encode()],
            lambda code: bytes_of(type_urn(code)),
        ),
        Decoder(
            "parse_status_urn",
            of_text(parse_status_urn),
            (LedgerError,),
            lambda: [status_urn("a.example/log", 77).encode()],
            lambda named: bytes_of(status_urn(*named)),
        ),
        Decoder(
            "PublicKey.from_jwk",
            of_json(PublicKey.from_jwk),
            (LedgerError,),
            _keys,
            lambda k: canonical_json(k.jwk()),
            False,
        ),
        Decoder("PublicKey.verify", _verify_signature, (LedgerError,), _signatures),
        Decoder("LicenceType.parse", LicenceType.parse, (LedgerError,), _types),
    ),
    "events": (
        Decoder(
            "parse_event",
            of_text(parse_event),
            (LedgerError,),
            lambda: [text.encode() for text in _city().texts],
            lambda signed: bytes_of(signed.jws.text),
        ),
        Decoder("Leaf.decode", Leaf.decode, (LedgerError,), _leaves, Leaf.encode),
        Decoder(
            "parse_history",
            of_text(parse_history),
            (LedgerError,),
            _histories,
            lambda signed: bytes_of(signed.jws.text),
        ),
        Decoder("AccessRecord.decode", AccessRecord.decode, (LedgerError,), _accesses, AccessRecord.encode),
        Decoder(
            "Template.decode",
            Template.decode,
            (LedgerError,),
            lambda: [test_batch.TEMPLATE.encode()],
            Template.encode,
            False,
        ),
        Decoder(
            "unpack_record", lambda data: unpack_record(data, test_batch.TEMPLATE), (LedgerError,), _records
        ),
        Decoder(
            "BackfillMapping.parse",
            BackfillMapping.parse,
            (LedgerError,),
            lambda: [_written_mapping()],
            seconds_max=YAML_S,
        ),
    ),
    "status": (
        Decoder(
            "parse_status_token",
            of_text(_token),
            (LedgerError,),
            _tokens,
            lambda read: bytes_of(read[0].jws.text),
        ),
        Decoder("leaf_of_status_token", of_text(leaf_of_status_token), (LedgerError,), _tokens),
    ),
    "bundles": (
        Decoder("Bundle.parse", Bundle.parse, (LedgerError,), _bundles, Bundle.to_bytes),
        Decoder("verify", _verdict, (), _bundles),
        Decoder("TrustPolicy.parse", TrustPolicy.parse, (LedgerError,), _policies, to_json, False),
    ),
    "codes": (
        Decoder("qr.read_image", qr.read_image, (LedgerError,), lambda: [qr.png("HTTPS://A.EXAMPLE/1")]),
    ),
}
