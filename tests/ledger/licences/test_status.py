"""Slots are a permutation that only the service knows, and a token says four bits about each licence."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.licences.encoding import b64u, parse_b64u
from ledger.licences.errors import LicenceError, Malformed, SignatureInvalid, StatusListDamaged
from ledger.licences.jws import parse_jws, sign_jws
from ledger.licences.leaf import LIST_SIZE, Code
from ledger.licences.status import (
    LIST_BYTES,
    StatusBits,
    StatusClaims,
    bitstring_credential,
    parse_status_token,
    slot,
    slots,
    status_root,
    status_token,
)
from ledger.log.tree import EMPTY_ROOT
from tests.ledger.licences.world import NOW, build_city, seed_of

CITY = build_city()
KEY = seed_of("slots")
INDEXES = st.integers(0, LIST_SIZE - 1)
CODES = st.sampled_from(list(Code))


def claims(**changes: object) -> StatusClaims:
    members = {
        "origin": CITY.origin,
        "list": 5,
        "event_id": b"t" * 16,
        "issued_at": NOW,
        "expires_at": NOW + 7200,
        "ttl_s": 3600,
    }
    return StatusClaims(**{**members, **changes})  # type: ignore[arg-type] # a test passes what it likes


def payload(bits: StatusBits, **changes: object) -> dict[str, object]:
    made = {
        "digest": b64u(bits.digest),
        "exp": NOW + 7200,
        "iat": NOW,
        "jti": b64u(b"t" * 16),
        "status_list": {"bits": 4, "lst": b64u(zlib.compress(bits.to_bytes()))},
        "sub": f"urn:shuyao:status:{CITY.origin}:5",
        "ttl": 3600,
    }
    return {**made, **changes}


def signed(value: dict[str, object]) -> str:
    return sign_jws("statuslist+jwt", value, CITY.service)


def test_slots_of_a_list_are_a_permutation_and_agree_with_single_ones() -> None:
    lists, indexes = slots(KEY, LIST_SIZE - 1000, LIST_SIZE + 1000)
    assert len(np.unique(indexes[1000:])) == LIST_SIZE
    assert set(lists[:1000].tolist()) == {0} and set(lists[1000:].tolist()) == {1}
    for at in (0, 999, 1000, 1001, LIST_SIZE, LIST_SIZE + 999):
        assert (int(lists[at]), int(indexes[at])) == slot(KEY, LIST_SIZE - 1000 + at)
    assert slots(KEY, 7, 0)[0].size == 0


def test_slots_of_another_key_or_list_are_others() -> None:
    mine = slots(KEY, 0, 4096)[1]
    assert (mine == slots(seed_of("other"), 0, 4096)[1]).mean() < 0.01
    assert (mine == slots(KEY, LIST_SIZE, 4096)[1]).mean() < 0.01


def test_first_slot_is_what_the_specification_text_gives() -> None:
    from hashlib import shake_256

    left, right = 0, 0
    for r in range(8):
        drawn = shake_256(b"shuyao/v1/slot" + KEY + bytes(4) + bytes([r])).digest(2048)
        left, right = right, left ^ (int.from_bytes(drawn[2 * right : 2 * right + 2], "big") % 1024)
    assert slot(KEY, 0) == (0, left << 10 | right)


@given(st.dictionaries(INDEXES, CODES, max_size=60))
@settings(max_examples=25)
def test_bits_keep_what_is_set_and_nothing_else(changes: dict[int, Code]) -> None:
    bits = StatusBits()
    for index, code in changes.items():
        bits.set(index, code)
    assert all(bits.get(index) == code for index, code in changes.items())
    around = {i ^ 1 for i in changes} - changes.keys()
    assert all(bits.get(index) == Code.NOT_ISSUED for index in around)
    issued = [code for code in changes.values() if code != Code.NOT_ISSUED]
    assert bits.counts().get(Code.NOT_ISSUED) == LIST_SIZE - len(issued)


def test_many_are_set_at_once_even_in_the_same_byte() -> None:
    one, many = StatusBits(), StatusBits()
    indexes = np.array([0, 1, 2, 3, 5, 5, LIST_SIZE - 1])
    for index in indexes:
        one.set(int(index), Code.CANCELLED)
    many.set_many(indexes, Code.CANCELLED)
    assert one.to_bytes() == many.to_bytes()


@pytest.mark.parametrize("index", [-1, LIST_SIZE, True])
def test_an_index_outside_is_refused(index: int) -> None:
    with pytest.raises(Malformed):
        StatusBits().get(index)
    with pytest.raises(Malformed):
        StatusBits().set(index, 0)
    with pytest.raises(Malformed):
        parse_status_token(CITY.token(0)).code(index)


@pytest.mark.parametrize("code", [4, 16, -1])
def test_an_unknown_code_is_refused(code: int) -> None:
    with pytest.raises(Malformed):
        StatusBits().set(0, code)


def test_entry_i_is_the_low_half_of_byte_i_over_2_for_even_i() -> None:
    bits = StatusBits()
    bits.set(4, 0xB)
    bits.set(5, 0x1)
    assert bits.to_bytes()[:4].hex() == "33331b33"


@given(st.dictionaries(INDEXES, CODES, max_size=300))
@settings(max_examples=20, deadline=None)
def test_token_gives_back_each_code(changes: dict[int, Code]) -> None:
    bits = StatusBits()
    for index, code in changes.items():
        bits.set(index, code)
    token = parse_status_token(status_token(bits, claims(), CITY.service))
    token.verify(CITY.service.public)
    assert token.claims == claims()
    assert all(token.code(index) == code for index, code in changes.items())
    assert token.bits().to_bytes() == bits.to_bytes()


def test_token_is_a_token_status_list_that_others_read() -> None:
    bits = StatusBits()
    bits.set(77, Code.SUSPENDED)
    jws = parse_jws(status_token(bits, claims(), CITY.service), "statuslist+jwt")
    packed = jws.payload["status_list"]
    data = zlib.decompress(base64.urlsafe_b64decode(packed["lst"] + "=" * (-len(packed["lst"]) % 4)))
    assert packed["bits"] == 4 and len(data) == LIST_BYTES
    assert data[77 // 2] >> 4 * (77 % 2) & 0xF == 2
    assert {"exp", "iat", "sub", "ttl"} < jws.payload.keys()


def test_token_of_another_key_does_not_verify() -> None:
    token = parse_status_token(status_token(StatusBits(), claims(), CITY.registrar))
    with pytest.raises(SignatureInvalid):
        token.verify(CITY.service.public)


def test_token_reads_as_json_does() -> None:
    token = parse_status_token(signed(payload(StatusBits())))
    assert token.claims == claims()


@pytest.mark.parametrize(
    "change",
    [
        {"exp": NOW},
        {"exp": -1},
        {"iat": 1 << 60},
        {"iat": 1.5},
        {"iat": "1"},
        {"jti": "abc"},
        {"ttl": 0},
        {"sub": "urn:shuyao:status:x:01"},
        {"sub": "urn:shuyao:licence:x:1"},
        {"sub": 'urn:shuyao:status:"x:1'},
        {"status_list": {"bits": 8, "lst": "eJwDAAAAAAE"}},
        {"status_list": {"bits": 4, "lst": "a+/b"}},
        {"status_list": {"bits": 4, "lst": "eJx"}},
        {"status_list": {"bits": 4, "lst": "é"}},
        {"digest": "AA"},
        {"surplus": 1},
    ],
)
def test_token_with_another_member_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(LicenceError):
        parse_status_token(signed(payload(StatusBits(), **change)))


def test_token_in_another_json_form_is_refused() -> None:
    header, _, signature = signed(payload(StatusBits())).split(".")
    loose = b64u(json.dumps(payload(StatusBits()), sort_keys=True).encode())
    with pytest.raises(Malformed):
        parse_status_token(f"{header}.{loose}.{signature}")


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"no zlib stream",
        zlib.compress(b"\x33" * (LIST_BYTES - 1)),
        zlib.compress(b"\x33" * LIST_BYTES)[:-9],
        zlib.compress(b"\x33" * LIST_BYTES)[2:],
        b"\x78\x9d" + zlib.compress(b"\x33" * LIST_BYTES)[2:],
        b"\x88\x1c" + zlib.compress(b"\x33" * LIST_BYTES)[2:],
        b"\x78\x20" + zlib.compress(b"\x33" * LIST_BYTES)[2:],
        zlib.compress(b""),
    ],
)
def test_list_that_does_not_unpack_has_no_code(packed: bytes) -> None:
    token = parse_status_token(signed(payload(StatusBits(), status_list={"bits": 4, "lst": b64u(packed)})))
    with pytest.raises(StatusListDamaged):
        token.bits()
    with pytest.raises(StatusListDamaged):
        token.code(LIST_SIZE - 1)


@pytest.mark.parametrize(
    "packed",
    [
        zlib.compress(b"\x33" * LIST_BYTES) + b"x",
        zlib.compress(bytes(1 << 24), 9),
        zlib.compress(bytes(LIST_BYTES)),
    ],
)
def test_whole_list_with_surplus_or_another_digest_is_refused(packed: bytes) -> None:
    token = parse_status_token(signed(payload(StatusBits(), status_list={"bits": 4, "lst": b64u(packed)})))
    with pytest.raises(StatusListDamaged):
        token.bits()


def unpacked_at_once(packed: bytes, at: int) -> int | None:
    """Return the byte that one call of zlib finds, None where the stream is damaged or too short."""
    try:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed[2:], at + 1)
    except zlib.error:
        return None
    return data[-1] if len(data) == at + 1 else None


@given(
    st.sampled_from([(b"\x33", LIST_BYTES), (b"\x33\0\x03", LIST_BYTES // 3), (bytes(range(256)), 300)]),
    st.binary(max_size=20_000),
    st.sampled_from([0, 1, 6]),
    st.sampled_from(["whole", "cut", "changed", "surplus"]),
    st.integers(0, 1 << 20),
    st.integers(0, LIST_SIZE - 1),
)
@settings(max_examples=60, deadline=None)
def test_code_of_an_entry_is_what_unpacking_at_once_gives(
    filler: tuple[bytes, int], noise: bytes, level: int, damage: str, at: int, index: int
) -> None:
    whole, at = zlib.compress(filler[0] * filler[1] + noise, level), at
    at = 2 + at % (len(whole) - 2)
    packed = {
        "whole": whole,
        "cut": whole[:at],
        "changed": whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :],
        "surplus": whole + bytes(at),
    }[damage]
    token = replace(parse_status_token(signed(payload(StatusBits()))), packed=packed)
    for entry in {index, 2 * 65_535, 2 * 65_536, LIST_SIZE - 1}:
        expected = unpacked_at_once(packed, entry >> 1)
        if expected is None:
            with pytest.raises(StatusListDamaged):
                token.code(entry)
        else:
            assert token.code(entry) == expected >> 4 * (entry & 1) & 0xF


@given(
    st.binary(max_size=300),
    st.integers(1, 40),
    st.integers(0, 9),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 7)), max_size=3),
    st.integers(0, 60),
    st.integers(-3, 3),
)
@settings(max_examples=200, deadline=None)
def test_damaged_code_tables_are_refused_as_the_system_refuses_them(
    data: bytes, times: int, level: int, flips: list[tuple[int, int]], cut: int, off: int
) -> None:
    """Two verifiers with other decoders must not judge one token differently: bits change in the head of a stream, where its codes are."""
    stream = bytearray(zlib.compress(data * times, level))
    for at, bit in flips:
        stream[2 + at % (len(stream) - 2)] ^= 1 << bit
    packed = bytes(stream[: len(stream) - cut] if len(stream) - cut > 2 else stream)
    token = replace(parse_status_token(signed(payload(StatusBits()))), packed=packed)
    for at in {0, len(data) // 2, max(0, len(data) * times + off), LIST_BYTES - 1}:
        expected = unpacked_at_once(packed, at)
        if expected is None:
            with pytest.raises(StatusListDamaged):
                token.code(2 * at)
        else:
            assert token.code(2 * at) == expected & 0xF


@settings(deadline=None)
@given(st.binary(max_size=70), st.sampled_from("ABCQgw048-_=+/é \n"), st.integers(0, 100), st.booleans())
def test_list_has_one_form_in_base64url(data: bytes, wrong: str, at: int, inserted: bool) -> None:
    text = b64u(b"\x78\x9c" + data)
    at %= len(text) + inserted
    changed = text[:at] + wrong + text[at + (not inserted) :]
    try:
        expected: bytes | None = parse_b64u(changed, "lst")
    except Malformed:
        expected = None
    token_of = signed(payload(StatusBits(), status_list={"bits": 4, "lst": changed}))
    if expected is None:
        with pytest.raises(Malformed):
            parse_status_token(token_of)
    else:
        assert parse_status_token(token_of).packed == expected


def test_w3c_form_has_the_same_codes_from_the_left() -> None:
    bits = StatusBits()
    bits.set(8, Code.REVOKED)
    bits.set(9, Code.OTHER)
    text = bitstring_credential(bits, claims(), CITY.service)
    subject = parse_jws(text, "vc+jwt").payload["credentialSubject"]
    assert subject["statusPurpose"] == "message" and subject["statusSize"] == 4
    assert {entry["status"] for entry in subject["statusMessage"]} == {f"{code:#x}" for code in Code}
    encoded = subject["encodedList"]
    assert encoded[0] == "u"
    data = gzip.decompress(base64.urlsafe_b64decode(encoded[1:] + "=" * (-len(encoded[1:]) % 4)))
    stream = int.from_bytes(data[:8], "big")  # entry i is at bit 4 i from the left
    assert [stream >> 60 - 4 * i & 0xF for i in (7, 8, 9, 10)] == [3, 1, 0xF, 3]
    assert text == bitstring_credential(bits, claims(), CITY.service)


def test_status_root_is_the_tree_over_lists_in_order() -> None:
    def leaf(number: int, token: bytes) -> bytes:
        return sha256(b"\0" + number.to_bytes(4, "big") + token).digest()

    a, b = seed_of("a"), seed_of("b")
    both = sha256(b"\1" + leaf(2, a) + leaf(300, b)).digest()
    assert status_root([(300, b), (2, a)]) == both
    assert status_root([]) == EMPTY_ROOT == sha256(b"").digest()
    with pytest.raises(Malformed):
        status_root([(1, a), (1, b)])
