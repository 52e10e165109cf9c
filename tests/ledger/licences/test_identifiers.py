"""Credit codes, licence types and identifiers: published ones are accepted, look-alikes are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.licences.errors import IdentifierInvalid, Malformed
from ledger.licences.identifiers import (
    ALPHANUMERIC,
    USCC_ALPHABET,
    Identifier,
    issuer_urn,
    mod37_36_check,
    parse_issuer_urn,
    parse_status_urn,
    parse_type_urn,
    require_type,
    require_uscc,
    status_urn,
    type_urn,
    uscc_check,
)

# real bodies, as they publish their own code
PUBLISHED_CODES = (
    "91440300708461136T", "91512081MA62K0260E", "91350200776049653A", "91350500798359476R", "91350503MA31DKY80A",
    "91350200MA31E12PXF", "91440101MA5CJQ4N59", "913502000728319549", "123502001549897397", "9135021359498494XQ",
    "91350203MA31XXW31H", "91350206MA31LUJ437", "91440300MA5F7YRE78", "91440300MA5FG7JT43", "91350100077407773G",
    "91350212MA3490L25U", "11100000MB0143028R", "11100000MB03271699", "11100000000013338W", "11100000000019713D",
)  # fmt: skip
# ISO/IEC 7064 MOD 37,36: the example of the Global Release Identifier, two ISANs, and samples of other libraries
PUBLISHED_CHECKS = (
    ("A12425GABC1234002", "M"), ("B159D8FA01240000", "K"), ("188166C734200000", "3"), ("RABD", "A"), ("X0H", "X"),
    ("B7Q3SFTUSH2QN7BIXBPMNZAM", "I"), ("UFSYYJO9FCID766EJYAEINTG43UZDD84MT6ZUDH08OM4N1K", "N"),
    ("00000000C36D002B", "K"), ("00000000C36D002B00000000", "E"), ("00000000D07A0090", "Q"),
    ("188166C734206541", "Y"), ("188166C7342065419F3A0245", "O"),
)  # fmt: skip
# licences that departments of Jilin, Hunan, Zhejiang and Shandong have issued or give as an example
PUBLISHED_IDENTIFIERS = (
    "1.2.156.3005.2.11100000000013338W032.11220000013544541J.2430599.001.F",
    "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.002.S",
    "1.2.156.3005.2.11100000000013338W009.11330105002500287C.2025052201.002.0",
    "1.2.156.3005.2.11100000000013338W087.11370800MB28559184.37080001202411010001.001.3",
)
TEXT = PUBLISHED_IDENTIFIERS[0]


@pytest.mark.parametrize("code", PUBLISHED_CODES)
def test_published_credit_codes_are_accepted(code: str) -> None:
    assert require_uscc(code) == code
    assert uscc_check(code[:17]) == code[17]


@pytest.mark.parametrize("code", PUBLISHED_CODES)
def test_any_single_wrong_character_of_a_credit_code_is_noticed(code: str) -> None:
    for at in range(18):
        for other in set(USCC_ALPHABET) - {code[at]}:
            with pytest.raises(IdentifierInvalid):
                require_uscc(code[:at] + other + code[at + 1 :])


@pytest.mark.parametrize(
    ("code", "position"),
    [
        ("９1440300708461136T", 0),  # full-width digit
        ("9144030070846113６T", 16),
        ("91440300708461136Т", 17),  # Cyrillic Te
        ("91440300708461136t", 17),
        ("9144030070846113OT", 16),  # the letter O is not in the alphabet
        ("91440300708461136Τ", 17),  # Greek Tau
        ("9144030٧708461136T", 7),  # Arabic digit
        ("91440300708461136\u200b", 17),
    ],
)
def test_lookalike_in_a_credit_code_is_refused_with_its_position(code: str, position: int) -> None:
    with pytest.raises(IdentifierInvalid) as caught:
        require_uscc(code)
    assert caught.value.position == position


@pytest.mark.parametrize("code", ["", "91440300708461136", "91440300708461136TT", " 91440300708461136T"])
def test_credit_code_of_another_length_is_refused(code: str) -> None:
    with pytest.raises(IdentifierInvalid):
        require_uscc(code)


@pytest.mark.parametrize(("text", "check"), PUBLISHED_CHECKS)
def test_check_characters_are_the_published_ones(text: str, check: str) -> None:
    assert mod37_36_check(text) == check


@given(st.text(ALPHANUMERIC, min_size=1, max_size=60), st.data())
def test_check_character_changes_with_any_one_character(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from([c for c in ALPHANUMERIC if c != text[at]]))
    assert mod37_36_check(text[:at] + other + text[at + 1 :]) != mod37_36_check(text)


@pytest.mark.parametrize("text", PUBLISHED_IDENTIFIERS)
def test_published_identifiers_are_accepted_and_written_as_they_were(text: str) -> None:
    assert Identifier.parse(text).text == text


@pytest.mark.parametrize("text", PUBLISHED_IDENTIFIERS)
def test_any_single_wrong_character_of_an_identifier_is_noticed(text: str) -> None:
    for at in range(len("1.2.156.3005.2."), len(text)):
        other = "1" if text[at] != "1" else "2"
        with pytest.raises(IdentifierInvalid):
            Identifier.parse(text[:at] + other + text[at + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT.lower(),
        TEXT + ".",
        TEXT + " ",
        TEXT.replace("1.2.156.3005.2.", "1.2.156.3005.1."),
        TEXT.replace("1.2.156", "１.2.156"),
        TEXT.replace("2430599", "２430599"),
        TEXT.replace("2430599", "243059９"),
        TEXT.replace("2430599", ""),
        TEXT.replace("2430599", "A" * 41),
        TEXT.replace(".001.", ".000."),
        TEXT.replace(".001.", ".1."),
        TEXT.replace("W032", "W03Ａ"),
        TEXT.replace("W032", "W03A"),
        TEXT.replace(".F", ".f"),
        TEXT.replace(".F", "．F"),
        TEXT.replace("J.2430599", "J.2430599.2430599"),
    ],
)
def test_anything_else_is_no_identifier(text: str) -> None:
    with pytest.raises(IdentifierInvalid):
        Identifier.parse(text)


def test_lookalike_in_an_identifier_is_refused_with_its_position() -> None:
    text = TEXT.replace("2430599", "24З0599")  # Cyrillic Ze
    with pytest.raises(IdentifierInvalid) as caught:
        Identifier.parse(text)
    assert text[caught.value.position] == "З"


@given(st.text(ALPHANUMERIC, min_size=1, max_size=40), st.integers(1, 999))
def test_identifier_is_read_as_it_was_made(serial: str, version: int) -> None:
    made = Identifier("11100000MB0143028R001", "91440300708461136T", serial, f"{version:03}")
    assert Identifier.parse(made.text) == made


@given(st.text(max_size=30))
def test_any_text_as_serial_is_an_identifier_or_a_named_error(serial: str) -> None:
    try:
        made = Identifier("11100000MB0143028R001", "91440300708461136T", serial, "001")
    except IdentifierInvalid:
        assert not (1 <= len(serial) <= 40 and set(serial) <= set(ALPHANUMERIC))
    else:
        assert made.text.isascii()


def test_names_are_read_as_they_were_made() -> None:
    assert parse_issuer_urn(issuer_urn("91440300708461136T")) == "91440300708461136T"
    assert parse_type_urn(type_urn("11100000MB0143028R001")) == "11100000MB0143028R001"
    assert parse_status_urn(status_urn("log.example.cn:8080/x", 12)) == ("log.example.cn:8080/x", 12)


@pytest.mark.parametrize(
    "text",
    [None, 1, "", "urn:shuyao:status:", "urn:shuyao:status:log", "urn:shuyao:status:log:", "urn:shuyao:status::1",
     "urn:shuyao:status:log:01", "urn:shuyao:status:log:-1", "urn:shuyao:status:log:１", "urn:shuyao:status:log:4294967295",
     "urn:shuyao:status:日志:1", "urn:shuyao:status:a b:1", "urn:shuyao:status:a+b:1", "URN:shuyao:status:log:1",
     "urn:shuyao:status:" + "a" * 256 + ":1"],
)  # fmt: skip
def test_anything_else_is_no_status_list(text: object) -> None:
    with pytest.raises(Malformed):
        parse_status_urn(text)


@pytest.mark.parametrize("text", [None, "urn:shuyao:licence:91440300708461136T", "urn:shuyao:Issuer:x"])
def test_anything_else_is_no_issuer(text: object) -> None:
    with pytest.raises(Malformed):
        parse_issuer_urn(text)


@pytest.mark.parametrize(
    "code",
    ["11100000MB0143028R", "11100000MB0143028R00A", "11100000MB0143028R0011", "11100000MB0143028R0０1"],
)
def test_anything_else_is_no_type(code: str) -> None:
    with pytest.raises(IdentifierInvalid):
        require_type(code)
