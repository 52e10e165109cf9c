"""A receipt has one form, and everything in it is signed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import eip712
from ledger.encoding import canonical_json, keccak
from ledger.errors import BadSignature, ReceiptInvalid
from ledger.receipt import (
    Receipt,
    ReceiptAnswer,
    ReceiptTable,
    RosterMember,
    Survivor,
    dump_receipt,
    parse_receipt,
    require_receipt_signature,
    sign_receipt,
)
from ledger.signing import Signer
from ledger.types import Address, Request

BUYER = Signer(keccak(b"buyer"))
LEDGER = Address(b"\x11" * 20)


def member(i: int) -> RosterMember:
    words = [keccak(f"{i} {name}".encode()) for name in ("asset", "line", "mask", "share", "e", "noise")]
    asset, line, mask, share, e_x, noise = words
    return RosterMember(Address(bytes([i]) * 20), asset, 1 + i, line, mask, share, e_x, 2 + i % 2, noise)


@pytest.fixture
def receipt(make_request: Callable[..., Request]) -> Receipt:
    request = make_request(BUYER.address, Address(b"\x22" * 20))
    unsigned = Receipt(
        chain_id=31337,
        ledger=LEDGER,
        request=request,
        request_signature=eip712.sign_request(BUYER, request, 31337, LEDGER),
        plan={"version": "1", "kind": "sum", "名": ["数", "1"]},
        roster=tuple(member(i) for i in range(1, 4)),
        survivors=tuple(Survivor(i, bytes([i]) * 128, keccak(b"in"), keccak(b"pad")) for i in (0, 2)),
        answer=ReceiptAnswer(keccak(b"root"), (0, -5, 2**62 - 1, 1 - 2**62), 7),
        table=ReceiptTable(
            ("sex", "n", "avg"), (("女", 10, 1.5), (None, 0, None)), ((None, 4, 0.25), (None, 4, None))
        ),
        signature=bytes(65),
    )
    return sign_receipt(BUYER, unsigned)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
    if isinstance(value, list):
        return [leaf for key, inner in enumerate(value) for leaf in leaves(inner, (*path, key))]
    return [path]


def changed(document: Any, path: tuple[Any, ...], value: Any) -> bytes:
    copy = json.loads(json.dumps(document))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return canonical_json(copy)


def test_receipt_round_trips_byte_for_byte(receipt: Receipt) -> None:
    data = dump_receipt(receipt)
    parsed = parse_receipt(data)
    assert parsed == receipt
    assert dump_receipt(parsed) == data
    require_receipt_signature(parsed)


def test_every_changed_leaf_is_refused_or_breaks_the_signature(receipt: Receipt) -> None:
    document = json.loads(dump_receipt(receipt))
    for path in leaves(document):
        value = document
        for key in path:
            value = value[key]
        others: list[Any] = ["0", "1", "0x", "0x" + "00" * 32, -1, 0.5, None, True, [], {}, "x"]
        if isinstance(value, str) and value.startswith("0x"):
            others += [
                value.upper(),
                value[:-2],
                value + "00",
                value[:-1] + ("0" if value[-1] != "0" else "1"),
            ]
        for other in others:
            if other == value and type(other) is type(value):
                continue
            with pytest.raises((ReceiptInvalid, BadSignature)):
                require_receipt_signature(parse_receipt(changed(document, path, other)))


def test_every_flipped_byte_is_refused_or_breaks_the_signature(receipt: Receipt) -> None:
    data = dump_receipt(receipt)
    for position in range(0, len(data), 3):
        for flip in (0x01, 0x20, 0x80):
            altered = bytearray(data)
            altered[position] ^= flip
            with pytest.raises((ReceiptInvalid, BadSignature)):
                require_receipt_signature(parse_receipt(bytes(altered)))


@settings(max_examples=50)
@given(st.binary(max_size=60))
def test_bytes_that_are_no_receipt_are_a_named_error(data: bytes) -> None:
    with pytest.raises(ReceiptInvalid):
        parse_receipt(data)


def test_missing_and_additional_keys_are_refused_everywhere(receipt: Receipt) -> None:
    document = json.loads(dump_receipt(receipt))
    for path in [(), ("request",), ("answer",), ("table",), ("roster", 1), ("survivors", 0)]:
        for act in ("add", "remove"):
            copy = json.loads(json.dumps(document))
            inner = copy
            for key in path:
                inner = inner[key]
            if act == "add":
                inner["extra"] = "1"
            else:
                inner.pop(sorted(inner)[0])
            with pytest.raises(ReceiptInvalid):
                parse_receipt(canonical_json(copy))


def test_other_forms_of_the_same_receipt_are_refused(receipt: Receipt) -> None:
    data = dump_receipt(receipt)
    document = json.loads(data)
    for other in (data + b"\n", b" " + data, json.dumps(document).encode(), b"\xef\xbb\xbf" + data):
        with pytest.raises(ReceiptInvalid):
            parse_receipt(other)


@pytest.mark.parametrize(
    "path, value",
    [(("answer", "cells", 0), str(2**62)), (("answer", "cells", 0), "-" + str(2**62)), (("answer", "cells"), []),
     (("answer", "blinding"), str(0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001)),
     (("survivors", 0, "index"), "3"), (("survivors", 0, "index"), "2"), (("roster",), []), (("survivors",), []),
     (("table", "rows", 0), ["a", 1]), (("table", "rows"), []), (("chain_id",), "0"), (("version",), "2"),
     (("plan",), "x"), (("table", "columns", 0), 1), (("table", "rows", 0, 1), True), (("version",), 1)],
)  # fmt: skip
def test_value_out_of_range_is_refused_by_name(receipt: Receipt, path: tuple[Any, ...], value: Any) -> None:
    document = json.loads(dump_receipt(receipt))
    with pytest.raises(ReceiptInvalid) as caught:
        parse_receipt(changed(document, path, value))
    assert caught.value.field.startswith(str(path[0]))


def test_swapped_members_are_refused(receipt: Receipt) -> None:
    document = json.loads(dump_receipt(receipt))
    for key in ("roster", "survivors"):
        swapped = {**document, key: list(reversed(document[key]))}
        with pytest.raises(ReceiptInvalid):
            parse_receipt(canonical_json(swapped))


def test_receipt_of_another_signer_is_refused(receipt: Receipt) -> None:
    other = Signer(keccak(b"other"))
    with pytest.raises(BadSignature):
        sign_receipt(other, receipt)
    with pytest.raises(BadSignature):
        require_receipt_signature(replace(receipt, signature=other.sign(keccak(b"x"))))


def test_receipt_that_could_not_be_read_back_is_not_written(receipt: Receipt) -> None:
    bad = replace(receipt, table=replace(receipt.table, rows=(("a", float("nan"), None), (None, 0, None))))
    with pytest.raises(ReceiptInvalid):
        dump_receipt(bad)


def test_large_whole_numbers_in_the_table_survive(receipt: Receipt) -> None:
    rows = (("女", float(2**60), 1e21), (None, 0, -1e-7))
    large = sign_receipt(BUYER, replace(receipt, table=replace(receipt.table, rows=rows)))
    data = dump_receipt(large)
    assert dump_receipt(parse_receipt(data)) == data
