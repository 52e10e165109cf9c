"""What a buyer is told of its questions: nothing that did not happen, and where each stands on the chain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.asking import fetch, show_answer, standing_of, submit
from cli.output import Stages, print_table
from ledger.types import to_hex
from tests.client.world import SQL, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_first_question_is_signed_and_a_repeated_one_is_said_to_be_the_earlier(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    buyer, stages = world.make_buyer(), Stages(quiet=False)
    first, is_earlier = submit(buyer, buyer.quote("power", SQL), stages)
    assert not is_earlier
    assert "✓ signed request" in capsys.readouterr().err
    again, is_earlier = submit(buyer, buyer.quote("power", SQL), stages)
    assert (again, is_earlier) == (first, True)
    err = capsys.readouterr().err
    assert f"asked before, as request {to_hex(first)}: no second one is signed" in err
    assert "signed request" not in err
    assert len(world.submissions) == 1


def test_an_answer_of_then_is_said_to_be_one(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    buyer, stages = world.make_buyer(), Stages(quiet=False)
    first, _ = submit(buyer, buyer.quote("power", SQL), stages)
    buyer.wait(first)
    assert not buyer.is_answered(first)
    show_answer(fetch(buyer, first, stages), as_json=False, is_earlier=False)
    shown = capsys.readouterr()
    assert "fetch, unmask, verify, receipt" in shown.err
    assert "verified, from 3 holders" in shown.out
    assert "earlier request" not in shown.out
    _, is_earlier = submit(buyer, buyer.quote("power", SQL), stages)
    assert buyer.is_answered(first)
    show_answer(fetch(buyer, first, stages), as_json=False, is_earlier=is_earlier)
    shown = capsys.readouterr()
    assert f"answered before, as request {to_hex(first)}" in shown.err
    assert "the stored receipt, checked again" in shown.err
    assert "unmask" not in shown.err
    assert f"this is the answer of the earlier request {to_hex(first)}" in shown.out


def test_an_answer_whose_facts_are_away_is_not_said_to_be_verified_now(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    buyer = world.make_buyer()
    request_id, _ = submit(buyer, buyer.quote("power", SQL), Stages(quiet=True))
    buyer.wait(request_id)
    quiet = Stages(quiet=True)
    for is_away, state in ((False, "verified, from"), (True, "verified before, not now (")):
        answer = fetch(buyer, request_id, quiet)
        world.chain.is_away = is_away
        answer = fetch(buyer, request_id, quiet)
        show_answer(answer, as_json=False)
        assert state in capsys.readouterr().out
        show_answer(answer, as_json=True, is_earlier=True)
        shown = json.loads(capsys.readouterr().out)
        assert (shown["verified"], shown["asked_before"]) == (not is_away, True)


def test_requests_stand_where_the_chain_has_them(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    buyer, quiet = world.make_buyer(), Stages(quiet=True)
    settled, _ = submit(buyer, buyer.quote("power", SQL), quiet)
    buyer.wait(settled)
    buyer.fetch(settled)
    world.chain.emit("Settled", indexed=[settled])
    world.is_open = False
    waiting, _ = submit(buyer, buyer.quote("power", 'SELECT COUNT(*) AS "[/x]" FROM power'), quiet)
    rows = standing_of(buyer)
    assert [row[:3] for row in rows] == [
        [to_hex(settled), "answered", "settled"],
        [to_hex(waiting), "submitted", None],
    ]
    print_table("requests", ["request", "here", "on the chain", "listing", "question"], rows)
    out = capsys.readouterr().out
    assert "[/x]" in out
    assert all(to_hex(each) in out for each in (settled, waiting))
    world.chain.is_away = True
    assert [row[1:3] for row in standing_of(buyer)] == [["answered", None], ["submitted", None]]
    assert "on the chain is not known" in capsys.readouterr().err
