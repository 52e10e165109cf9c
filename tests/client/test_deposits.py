"""Answers over an encrypted deposit at their buyer: decrypted from what five real trustees sent, and verified by strangers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.deposits import Deposits
from client.errors import AnswerMismatch, AnswerWithheld
from client.types import Status
from holder.types import Stage
from ledger.encoding import canonical_json
from ledger.receipt import dump_receipt, parse_receipt, sign_receipt
from privacy.answer import decode_values
from privacy.messages import Kind
from tests.client.receipts import Case
from tests.holder.deposit_world import SQL, DepositWorld


@pytest.fixture(scope="module")
def case(deposit_case: Case) -> Case:
    return deposit_case


@pytest.fixture(scope="module")
def receipt(case: Case) -> bytes:
    return case.receipt()


def resigned(case: Case, data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """What a dishonest buyer signs."""
    value = json.loads(data)
    change(value)
    receipt = parse_receipt(canonical_json(value))
    return canonical_json(sign_receipt(case.world.buyer, receipt).to_json())


def test_the_buyer_decrypts_the_sums_with_their_noise(case: Case) -> None:
    opened, world = case.open(), case.world
    noise = sum(world.noise(member, case.request_id) for member in world.members)
    expected = [int(value) for value in world.plain(case.request_id) + noise]
    assert opened.receipt.deposit is not None
    assert list(opened.receipt.deposit.values) == expected
    params = world.session(case.request_id).params
    assert opened.table == decode_values(world.plan_of(case.request_id), params, 5, expected)
    assert opened.faults == ()


def test_a_stranger_verifies_the_receipt_with_the_chain_alone(case: Case, receipt: bytes) -> None:
    verdict = case.verify(receipt)
    assert verdict.status is Status.VALID, verdict.first_failing
    assert dump_receipt(parse_receipt(receipt)) == receipt


def test_without_a_chain_nothing_is_valid(case: Case, receipt: bytes) -> None:
    verdict = case.verify(receipt, chain=False)
    assert verdict.status is Status.UNKNOWN
    assert [step.number for step in verdict.steps if step.ok is not True] == [6]


def flip(text: str, place: int) -> str:
    return text[:place] + ("1" if text[place] == "0" else "0") + text[place + 1 :]


def change_payload(name: str, which: int, place: int) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        entry = value["deposit"][name][which]
        entry["payload"] = flip(entry["payload"], place % len(entry["payload"]) or -1)

    return change


def change_value(value: dict[str, Any]) -> None:
    value["deposit"]["values"][0] = str(int(value["deposit"]["values"][0]) + 1)


def change_table(value: dict[str, Any]) -> None:
    value["table"]["rows"][0][1] = str(int(value["table"]["rows"][0][1]) + 1)


def drop(name: str) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        value["deposit"][name].pop()

    return change


def swap(name: str) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        first, second = value["deposit"][name][:2]
        first["payload"], second["payload"] = second["payload"], first["payload"]

    return change


@pytest.mark.parametrize(
    ("change", "step"),
    [
        (change_payload("bundles", 0, 5), 6),
        (change_payload("bundles", 4, -1), 6),
        (change_payload("inputs", 0, 5), 10),
        (change_payload("inputs", 4, -1), 10),
        (drop("bundles"), 6),
        (drop("inputs"), 10),
        (drop("values"), 10),
        (swap("bundles"), 6),
        (swap("inputs"), 10),
        (change_value, 10),
        (change_table, 10),
    ],
)
def test_whatever_a_dishonest_buyer_changes_and_signs_is_invalid(
    case: Case, receipt: bytes, change: Callable[[dict[str, Any]], None], step: int
) -> None:
    verdict = case.verify(resigned(case, receipt, change))
    assert verdict.status is Status.INVALID
    assert verdict.first_failing is not None and verdict.first_failing.number == step


@pytest.mark.parametrize(
    ("change", "step"),
    [
        (change_payload("bundles", 1, 9), 6),
        pytest.param(change_payload("inputs", 1, 9), 10, marks=pytest.mark.slow),
        pytest.param(change_value, 10, marks=pytest.mark.slow),
    ],
)
def test_the_second_implementation_finds_the_same_step(
    case: Case, receipt: bytes, change: Callable[[dict[str, Any]], None], step: int
) -> None:
    verdict = case.verify(resigned(case, receipt, change), second=True)
    assert verdict.status is Status.INVALID
    assert verdict.first_failing is not None and verdict.first_failing.number == step


def test_a_receipt_without_its_deposit_or_with_one_too_many_is_malformed(case: Case, receipt: bytes) -> None:
    value = json.loads(receipt)
    member = value.pop("deposit")
    assert case.verify(canonical_json(value)).first_failing.number == 2  # type: ignore[union-attr]
    value["plan"]["kind"] = "sum"
    value["deposit"] = member
    assert case.verify(canonical_json(value)).first_failing.number == 2  # type: ignore[union-attr]


# --- the exchange and the trustees


@pytest.mark.parametrize("kind", [Kind.BUNDLE, Kind.MASKED_INPUT])
def test_a_message_that_the_exchange_holds_back_is_named(case: Case, kind: Kind) -> None:
    with pytest.raises(AnswerWithheld, match=kind.name.lower()):
        replace(case, withheld={kind}).open()


def test_other_bytes_in_a_messages_place_count_as_held_back(case: Case) -> None:
    for changed in (lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:], lambda data: data[:-1]):
        with pytest.raises(AnswerWithheld):
            replace(case, tamper=changed).open()


@pytest.mark.parametrize("second", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_lying_trustee_is_named_to_the_buyer_and_to_every_stranger(tmp_path: Path, second: bool) -> None:
    from holder.deposit import sealing_key
    from privacy.deposit.riders import seal
    from tests.holder.test_deposit import Lying

    world = DepositWorld(tmp_path / "world")
    liar = world.members[3]

    def lie(stored: Any, session: Any, plan: Any, riders: Any) -> bytes:
        source = liar.machine._secrets.noise_source(stored.request_id, session)
        zeros = bytes(plan.input_rider_size - 16)
        return seal(sealing_key(source), session.id, source.index, zeros, b"")

    Lying(liar, input_rider=lie)
    request_id = world.open(SQL)
    world.run(request_id, Stage.DONE)
    case = Case(world, request_id, tmp_path / "cache")
    opened = case.open()
    assert [liar.address.hex() in fault for fault in opened.faults] == [True]
    verdict = case.verify(case.receipt(), second=second)
    assert verdict.status is Status.VALID
    assert liar.address.hex() in verdict.steps[9].detail


def test_too_many_liars_leave_the_buyer_with_a_named_error(case: Case) -> None:
    answered = case.answered
    deposits = Deposits(case, case.cache)  # type: ignore[arg-type]
    with pytest.raises(AnswerMismatch, match="fewer than 3 good"):
        deposits.decrypt(answered, (0,) * answered.plan.cells)
