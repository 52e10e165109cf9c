"""Identifiers of records: the examples of the standards, what two sides write differently, and what is refused."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.join import Rule, join_key, normalise, normalise_key
from privacy.join.errors import (
    KeyCenturyUnknown,
    KeyCharacterWrong,
    KeyCheckWrong,
    KeyDateWrong,
    KeyEmpty,
    KeyLengthWrong,
    KeyMalformed,
    KeyRegionUnknown,
    KeyTooLong,
    RulesMismatch,
)

# the examples of GB 11643-1999, §4 and appendix A
PEOPLE = ["11010519491231002X", "440524188001010014"]
# the example of GB 32100-2015, appendix A
COMPANY = "91350100M000100Y43"
DIGITS = string.digits
USCC_CHARACTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"


def wide(text: str) -> str:
    """Return a text in full-width characters."""
    return "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in text)


@pytest.mark.parametrize("number", PEOPLE)
def test_the_standards_id_numbers_are_accepted_however_they_are_written(number: str) -> None:
    for written in (
        number,
        number.lower(),
        wide(number),
        wide(number.lower()),
        f"\u3000{number[:6]} {number[6:14]}-{number[14:]}\t",
        f"\ufeff{number}\u200b",
    ):
        assert normalise(Rule.ID_NUMBER, written) == number


def test_a_number_of_15_digits_is_that_of_18() -> None:
    assert normalise(Rule.ID_NUMBER, "110105491231002") == PEOPLE[0]
    assert normalise(Rule.ID_NUMBER, 110105491231002) == PEOPLE[0]
    assert normalise(Rule.ID_NUMBER, wide("110105491231002")) == PEOPLE[0]


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (None, KeyEmpty),
        ("", KeyEmpty),
        (" - ", KeyEmpty),
        ("1101054912310029", KeyLengthWrong),
        ("11010519491231002", KeyLengthWrong),
        ("11010519491231002XX", KeyLengthWrong),
        ("110105194912310021", KeyCheckWrong),
        ("110105194912310O2X", KeyCharacterWrong),
        ("1101051949123100XX", KeyCharacterWrong),
        ("11010519491231002①"[:17] + "二", KeyCheckWrong),
        ("二10105194912310021", KeyCharacterWrong),
        ("01010519491231002X", KeyRegionUnknown),
        ("99010519491231002X", KeyRegionUnknown),
        ("110105194913310026", KeyDateWrong),
        ("110105194902300029", KeyDateWrong),
        ("110105000012310020", KeyDateWrong),
        ("110105190002290020", KeyDateWrong),
        ("110105491231996", KeyCenturyUnknown),
        ("11010549123100X", KeyCharacterWrong),
        ("1" * 1025, KeyTooLong),
        ("\ud800" + PEOPLE[0], KeyCharacterWrong),
        ("٣" * 18, KeyCharacterWrong),
    ],
)
def test_a_malformed_id_number_has_a_named_error(number: str | None, error: type[KeyMalformed]) -> None:
    with pytest.raises(error) as caught:
        normalise(Rule.ID_NUMBER, number)
    assert number is None or len(number) < 10 or number not in str(caught.value)


@pytest.mark.parametrize("number", PEOPLE)
@given(place=st.integers(0, 16), digit=st.sampled_from(DIGITS))
def test_one_wrong_digit_of_an_id_number_is_found(number: str, place: int, digit: str) -> None:
    wrong = number[:place] + digit + number[place + 1 :]
    if wrong != number:
        with pytest.raises(KeyMalformed):
            normalise(Rule.ID_NUMBER, wrong)


def test_the_standards_credit_code_is_accepted_however_it_is_written() -> None:
    for written in (COMPANY, COMPANY.lower(), wide(COMPANY), f"{COMPANY[:8]} {COMPANY[8:]}"):
        assert normalise(Rule.USCC, written) == COMPANY


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (COMPANY[:17], KeyLengthWrong),
        (COMPANY + "0", KeyLengthWrong),
        ("91350100M000100Y44", KeyCheckWrong),
        ("91350100I000100Y43", KeyCharacterWrong),
        ("91350100O000100Y43", KeyCharacterWrong),
        ("9135A100M000100Y43", KeyCharacterWrong),
        ("某公司", KeyLengthWrong),
    ],
)
def test_a_malformed_credit_code_has_a_named_error(code: str, error: type[KeyMalformed]) -> None:
    with pytest.raises(error):
        normalise(Rule.USCC, code)


@given(place=st.integers(0, 17), character=st.sampled_from(USCC_CHARACTERS))
def test_one_wrong_character_of_a_credit_code_is_found(place: int, character: str) -> None:
    wrong = COMPANY[:place] + character + COMPANY[place + 1 :]
    if wrong != COMPANY:
        with pytest.raises(KeyMalformed):
            normalise(Rule.USCC, wrong)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("张三", " 张\u3000三 "),
        ("阿依古丽·买买提", "阿依古丽•买买提"),
        ("阿依古丽・买买提", "阿依古丽買買提".replace("買", "买")),
        ("Jean-Luc Picard", "ＪＥＡＮ　ＬＵＣ　ＰＩＣＡＲＤ"),
        ("O’Neil", "O'NEIL"),
        ("Straße", "STRASSE"),
        ("é", "e\u0301"),
        ("⼭⽥", "山田"),
        ("\u200e王五", "王五"),
    ],
)
def test_names_that_differ_in_form_only_are_the_same(one: str, other: str) -> None:
    assert normalise(Rule.NAME, one) == normalise(Rule.NAME, other)


def test_names_that_differ_in_letters_stay_different() -> None:
    names = ["张三", "张叁", "章三", "张三三", "張三", "欧阳锋", "欧阳峰"]
    assert len({normalise(Rule.NAME, each) for each in names}) == len(names)


@pytest.mark.parametrize("name", ["张三（大）", "张三;", "张三\x00", "😀", "张/三"])
def test_a_name_with_other_characters_is_refused(name: str) -> None:
    with pytest.raises(KeyCharacterWrong):
        normalise(Rule.NAME, name)


@pytest.mark.parametrize(
    "written",
    ["13800138000", "+86 138 0013 8000", "0086-138-0013-8000", "8613800138000", wide("13800138000")],
)
def test_mobile_numbers_lose_prefix_and_separators(written: str) -> None:
    assert normalise(Rule.PHONE, written) == "13800138000"


@pytest.mark.parametrize(
    ("written", "error"),
    [
        ("1380013800", KeyLengthWrong),
        ("23800138000", KeyCharacterWrong),
        ("12800138000", KeyCharacterWrong),
        ("1380013800a", KeyCharacterWrong),
        ("+8513800138000", KeyLengthWrong),
    ],
)
def test_what_is_no_mobile_number_is_refused(written: str, error: type[KeyMalformed]) -> None:
    with pytest.raises(error):
        normalise(Rule.PHONE, written)


def test_text_keeps_case_and_punctuation() -> None:
    assert normalise(Rule.TEXT, "  Ａ-1 \t\n b ") == "A-1 b"
    assert normalise(Rule.TEXT, "a-1 b") != normalise(Rule.TEXT, "A-1 b")
    assert normalise(Rule.TEXT, 42) == "42"


@given(st.sampled_from(list(Rule)), st.text(max_size=40))
def test_a_normal_form_is_its_own_normal_form(rule: Rule, text: str) -> None:
    try:
        once = normalise(rule, text)
    except KeyMalformed:
        return
    assert normalise(rule, once) == once


def test_a_key_of_one_part_is_its_normal_form_or_nothing() -> None:
    assert normalise_key(Rule.USCC, wide(COMPANY)) == join_key((Rule.USCC,), (COMPANY,))
    assert normalise_key(Rule.USCC, COMPANY[:-1]) is normalise_key(Rule.USCC, None) is None


def test_parts_of_a_key_do_not_run_together() -> None:
    two = (Rule.TEXT, Rule.TEXT)
    assert join_key(two, ("ab", "c")) != join_key(two, ("a", "bc"))
    assert join_key((Rule.TEXT,), ("13800138000",)) != join_key((Rule.PHONE,), ("13800138000",))


def test_another_number_of_parts_than_rules_is_refused() -> None:
    for refused in (
        lambda: join_key((Rule.TEXT,), ("a", "b")),
        lambda: join_key((), ()),
    ):
        with pytest.raises(RulesMismatch):
            refused()
