"""Batches: byte for byte what the single issue gives, with the leaf that anybody computes, rebuilt from its record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.encoding import Digest
from ledger.licences.batch import BatchIssuer, Issued, issue_batch
from ledger.licences.disclosures import expand_seed
from ledger.licences.encoding import parse_b64u
from ledger.licences.errors import HiddenMandatoryField, IdentifierInvalid, LicenceError, Malformed
from ledger.licences.events import leaf_of_credential
from ledger.licences.identifiers import ALPHANUMERIC, Identifier
from ledger.licences.keys import Algorithm
from ledger.licences.record import pack_text, template_id_of, unpack_record
from ledger.licences.sdjwt import Claims, Credential, issue, parse
from ledger.licences.template import Row, Template
from tests.ledger.licences.credentials import BUSINESS, ISSUER, ISSUER_KEY, NOW, ORIGIN, credential, key

CUSTODIAN = key("custodian").public
TEMPLATE = Template.of(BUSINESS, issuer=ISSUER, origin=ORIGIN, holder=CUSTODIAN, signer=ISSUER_KEY.public)
SHORT = ("91440300MA5FG7JT43", "深圳数钥科技有限公司", "有限责任公司", "欧阳𠮷", "软件开发", "壹仟万元整", "2019-03-11", "南山区科技园１号",
         "南山局", "2019-03-11", "长期", "440301103097413")  # fmt: skip
TIMES = st.integers(0, 253402300799)
VALUES = st.lists(
    st.none() | st.text(st.characters(codec="utf-8"), max_size=200),
    min_size=len(BUSINESS.names),
    max_size=len(BUSINESS.names),
)
ROWS = st.builds(
    lambda times, **fields: Row(
        not_before=times[0], expires_at=times[1] if times[0] < times[1] else None, **fields
    ),
    st.tuples(TIMES, TIMES),
    event_id=st.binary(min_size=16, max_size=16),
    seed=st.binary(min_size=32, max_size=32),
    serial=st.text(ALPHANUMERIC, min_size=1, max_size=40),
    version=st.integers(1, 999).map("{:03}".format),
    issued_at=TIMES,
    status_list=st.integers(0, 0xFFFFFFFE),
    status_index=st.integers(0, 0xFFFFF),
    values=VALUES,
    holder=st.sampled_from([None, CUSTODIAN, key("h", "ES256").public, key("h", "SM2").public]),
    previous=st.none(),
    transfer_in=st.just(False),
) | st.builds(
    lambda previous, transfer_in: row(previous=Digest(previous), transfer_in=transfer_in),
    st.binary(min_size=32, max_size=32).filter(any),
    st.booleans(),
)


def row(values: Sequence[str | None] = SHORT, **changes: Any) -> Row:
    fields: dict[str, Any] = {
        "event_id": bytes(range(16)),
        "seed": bytes(range(32)),
        "serial": "440300A0001",
        "version": "001",
        "issued_at": NOW,
        "not_before": NOW,
        "expires_at": NOW + 1000,
        "status_list": 3,
        "status_index": 77,
        "values": values,
    }
    return Row(**{**fields, **changes})


def one_by_one(given_row: Row, alg: Algorithm = "EdDSA") -> Credential:
    """The same licence by the plain way."""
    claims = Claims(
        issuer=ISSUER,
        type_code=BUSINESS.code,
        identifier=Identifier(BUSINESS.code, ISSUER, given_row.serial, given_row.version),
        version=BUSINESS.version,
        event_id=given_row.event_id,
        issued_at=given_row.issued_at,
        not_before=given_row.not_before,
        expires_at=given_row.expires_at,
        list=given_row.status_list,
        index=given_row.status_index,
        origin=ORIGIN,
        holder=given_row.holder or CUSTODIAN,
        previous=given_row.previous,
        transfer_in=given_row.transfer_in,
    )
    values = {
        name: value for name, value in zip(BUSINESS.names, given_row.values, strict=True) if value is not None
    }
    return issue(claims, BUSINESS, values, key("issuer", alg), rand=given_row.seed)


def issued(given_row: Row) -> Issued:
    return issue_batch([given_row], TEMPLATE, ISSUER_KEY)[0]


@given(ROWS)
@settings(max_examples=150, deadline=None)
def test_any_row_gives_what_the_single_issue_gives(given_row: Row) -> None:
    made, plain = issued(given_row), one_by_one(given_row)
    assert made.text == plain.text
    assert made.event_id == given_row.event_id
    assert made.leaf == leaf_of_credential(plain.text).encode()
    assert made.leaf_hash == hashlib.sha256(b"\0" + made.leaf).digest()
    assert unpack_record(made.record, TEMPLATE) == plain


@pytest.mark.parametrize("values", [(None,) * 12, ("",) * 12, ('\0\x1f\x7f"\\/\u2028',) * 12])
def test_corner_values_give_what_the_single_issue_gives(values: tuple[str | None, ...]) -> None:
    made = issued(row(values, expires_at=None))
    assert (
        made.text
        == one_by_one(row(values, expires_at=None)).text
        == unpack_record(made.record, TEMPLATE).text
    )


def test_es256_gives_the_same_bytes_too() -> None:
    signer = key("issuer", "ES256")
    template = Template.of(BUSINESS, issuer=ISSUER, origin=ORIGIN, holder=CUSTODIAN, signer=signer.public)
    assert issue_batch([row()], template, signer)[0].text == one_by_one(row(), "ES256").text


def test_sm2_licences_verify_and_are_rebuilt() -> None:
    signer = key("issuer", "SM2")
    template = Template.of(BUSINESS, issuer=ISSUER, origin=ORIGIN, holder=CUSTODIAN, signer=signer.public)
    made = issue_batch([row()], template, signer)[0]
    parse(made.text).jwt.verify(signer.public)
    assert unpack_record(made.record, template).text == made.text


def test_origin_with_quotes_and_percent_signs_is_coded_right() -> None:
    origin = 'a%b"\\%d{x}'
    template = Template.of(BUSINESS, issuer=ISSUER, origin=origin, holder=CUSTODIAN, signer=ISSUER_KEY.public)
    presented = parse(issue_batch([row()], template, ISSUER_KEY)[0].text)
    presented.jwt.verify(ISSUER_KEY.public)
    assert presented.claims.origin == origin


def test_licences_of_a_batch_come_in_order() -> None:
    rows = [row(serial=f"A{number}", seed=number.to_bytes(32, "big")) for number in range(20)]
    found = [parse(made.text).claims.identifier.serial for made in issue_batch(rows, TEMPLATE, ISSUER_KEY)]
    assert found == [f"A{number}" for number in range(20)]


@pytest.mark.parametrize(
    ("changes", "error"),
    [({"event_id": bytes(15)}, Malformed), ({"seed": bytes(31)}, Malformed), ({"serial": ""}, Malformed),
     ({"serial": "A" * 41}, Malformed), ({"serial": "a"}, IdentifierInvalid), ({"serial": "１"}, IdentifierInvalid),
     ({"serial": "А1"}, IdentifierInvalid), ({"serial": "A.1"}, IdentifierInvalid), ({"version": "000"}, IdentifierInvalid),
     ({"version": "1"}, IdentifierInvalid), ({"version": "00１"}, IdentifierInvalid), ({"issued_at": -1}, Malformed),
     ({"issued_at": 1 << 40}, Malformed), ({"not_before": NOW + 1000}, Malformed), ({"expires_at": 1 << 40}, Malformed),
     ({"status_list": -1}, Malformed), ({"status_list": 0xFFFFFFFF}, Malformed), ({"status_index": 1 << 20}, Malformed),
     ({"status_index": -1}, Malformed), ({"values": SHORT[:-1]}, Malformed), ({"values": ("\ud800",) * 12}, Malformed),
     ({"values": (1,) * 12}, Malformed), ({"values": ("x" * 17_000,) * 12}, Malformed), ({"values": ("x" * 16_000,) * 12}, Malformed),
     ({"previous": bytes(31)}, Malformed), ({"previous": bytes(32)}, Malformed), ({"transfer_in": True}, Malformed)],
    ids=range(27),
)  # fmt: skip
def test_row_that_the_single_issue_would_refuse_is_refused(
    changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        issued(row(**changes))


def test_key_that_is_not_the_templates_signer_is_refused() -> None:
    with pytest.raises(Malformed):
        BatchIssuer(TEMPLATE, key("another"))


# --- private records -------------------------------------------------------------------------------------


def test_record_of_a_licence_with_short_values_is_short() -> None:
    assert len(issued(row()).record) <= 400


def test_salts_come_from_the_licences_own_seed_and_nothing_else() -> None:
    """No secret of the batch enters: another key, template or neighbour leaves the salts as they are."""
    seeds = [bytes([number]) * 32 for number in range(1, 4)]
    other = Template.of(BUSINESS, issuer=ISSUER, origin="other.log", holder=CUSTODIAN, signer=key("x").public)
    alone = [issue_batch([row(seed=seed)], other, key("x"))[0] for seed in seeds]
    together = issue_batch([row(seed=seed) for seed in seeds], TEMPLATE, ISSUER_KEY)
    for seed, made, neighbourless in zip(seeds, together, alone, strict=True):
        assert made.disclosures == neighbourless.disclosures
        assert salts_of(made) == [expand_seed(seed, 12)[at : at + 16] for at in range(0, 384, 32)]
    assert len({salt for made in together for salt in salts_of(made)}) == 36


def test_seed_is_in_its_own_record_only() -> None:
    seed = bytes(range(100, 132))
    mine, neighbour = issue_batch([row(seed=seed), row(seed=bytes(32))], TEMPLATE, ISSUER_KEY)
    assert seed in mine.record
    everything_else = (
        neighbour.record,
        neighbour.jwt,
        mine.jwt,
        mine.leaf,
        TEMPLATE.encode(),
        *mine.disclosures,
    )
    assert not any(seed in kept for kept in everything_else)


def salts_of(made: Issued) -> list[bytes]:
    arrays = [parse_b64u(text.decode(), "disclosure") for text in made.disclosures]
    return [parse_b64u(json.loads(array)[0], "salt", 16) for array in arrays]


def test_any_credential_has_a_record_without_template() -> None:
    made = credential(values={"entity_name": {"zh": "数钥", "tags": [1, True]}})
    assert unpack_record(pack_text(made.text)) == made
    assert template_id_of(pack_text(made.text)) is None
    assert template_id_of(issued(row()).record) == TEMPLATE.id


def test_record_under_another_template_is_refused() -> None:
    other = Template.of(
        BUSINESS, issuer=ISSUER, origin="other.log", holder=CUSTODIAN, signer=ISSUER_KEY.public
    )
    for template in (other, None):
        with pytest.raises(Malformed):
            unpack_record(issued(row()).record, template)


def test_cut_or_lengthened_record_is_refused() -> None:
    record = issued(row(holder=key("h", "ES256").public, previous=Digest(b"\1" * 32))).record
    for size in range(len(record)):
        with pytest.raises(LicenceError):
            unpack_record(record[:size], TEMPLATE)
    with pytest.raises(LicenceError):
        unpack_record(record + b"\0", TEMPLATE)


@given(st.integers(0, 10_000), st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_altered_record_never_rebuilds_the_licence(at: int, change: int) -> None:
    made = issued(row())
    altered = bytearray(made.record)
    altered[at % len(altered)] ^= change
    try:
        rebuilt = unpack_record(bytes(altered), TEMPLATE)
    except LicenceError:
        return
    assert rebuilt.text != made.text


@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_a_named_error(data: bytes) -> None:
    for record in (data, b"\1" + data, b"\2" + TEMPLATE.id + data):
        try:
            unpack_record(record, TEMPLATE)
        except LicenceError:
            continue


# --- templates -------------------------------------------------------------------------------------------


def test_template_is_read_as_it_was_written() -> None:
    assert Template.decode(TEMPLATE.encode()) == TEMPLATE
    assert Template.decode(TEMPLATE.encode()).id == TEMPLATE.id


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('version":1', 'version":2'),
        ("entity_type", "exp"),
        ("entity_type", "entity_name"),
        ("136T", "136X"),
        ("[", "{"),
        ("type", "kind"),
    ],
)
def test_changed_template_is_none(old: str, new: str) -> None:
    with pytest.raises(LicenceError):
        Template.decode(TEMPLATE.encode().decode().replace(old, new).encode())


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff"])
def test_anything_else_is_no_template(data: bytes) -> None:
    with pytest.raises(LicenceError):
        Template.decode(data)


def test_template_cannot_have_a_mandatory_member_as_field() -> None:
    with pytest.raises(HiddenMandatoryField):
        Template(BUSINESS.code, 1, ("uscc", "status"), ISSUER, ORIGIN, CUSTODIAN, ISSUER_KEY.public)
    with pytest.raises(Malformed):
        Template(BUSINESS.code, 1, (), ISSUER, ORIGIN, CUSTODIAN, ISSUER_KEY.public)
