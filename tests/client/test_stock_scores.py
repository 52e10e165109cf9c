"""A buyer whose model the stock library encrypted: what it asks, what it gets, and that only the library opens it."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import phe
import pytest

from client.buyer import Buyer
from client.errors import ModelInvalid, QueryRejected
from client.stock_models import StockModel, read_model
from client.types import Answer, Status
from client.verify import verify_receipt
from ledger.types import Digest
from privacy.policy import Policy
from tests.client.score_world import SCORE_POLICY, SQL, ScoreWorld, model_of
from tests.client.world import rand_of
from tests.privacy.test_score_stock import script

WEIGHTS = (1.5, 0.25, -3)  # the intercept's, those of kwh and staff


@cache
def stock() -> tuple[phe.PaillierPublicKey, phe.PaillierPrivateKey]:
    return phe.generate_paillier_keypair(n_length=3072)  # type: ignore[no-any-return]


@cache
def text_of(weights: tuple[float, ...] = WEIGHTS, precision: float | None = 2.0**-16) -> str:
    """The file as the library's documentation writes it."""
    numbers = [stock()[0].encrypt(weight, precision=precision) for weight in weights]
    values = [(str(number.ciphertext()), number.exponent) for number in numbers]
    return json.dumps({"public_key": {"n": stock()[0].n}, "values": values})


def given(tmp_path: Path, **members: Any) -> Any:
    path = tmp_path / "model.json"
    path.write_text(json.dumps({**json.loads(text_of()), **members}), encoding="utf8")
    return read_model(path)


@pytest.fixture
def world(tmp_path: Path) -> ScoreWorld:
    return ScoreWorld(tmp_path, policy=Policy.from_mapping(SCORE_POLICY), count=1)


def buyer_of(world: ScoreWorld) -> Buyer:
    return world.make_buyer(rand=rand_of("buyer"))


def ask(buyer: Buyer, model: Any, sql: str = SQL) -> tuple[Digest, Answer]:
    request_id = buyer.submit(buyer.quote("power", sql, model=model))
    buyer.wait(request_id)
    return request_id, buyer.fetch(request_id)


def test_the_stock_library_opens_the_scores_and_nobody_else_can(world: ScoreWorld, tmp_path: Path) -> None:
    with buyer_of(world) as buyer:
        _, answer = ask(buyer, given(tmp_path))
    assert {row[2] for row in answer.rows} == {row[2] for row in answer.error95} == {None}
    assert answer.scores_path is not None
    assert answer.scores_path.parent.stat().st_mode & 0o077 == 0
    sealed = json.loads(answer.scores_path.read_text(encoding="utf8"))
    # ten rows of kwh 0 and staff 0 in each group: ten times the intercept
    assert script().opened(stock()[1], sealed) == [([town], 15) for town in ("east", "west", "杭州", "other")]
    [submitted] = world.submissions
    sent = [int(each, 16) for each in submitted["plan"]["score"]["model"]["ciphertexts"]]
    assert sent == [int(value) for value, _ in json.loads(text_of())["values"]]
    verdict = verify_receipt(answer.receipt_path.read_bytes(), world.chain, deployment=world.deployment)
    assert verdict.status is Status.VALID


def test_the_answer_is_there_again_after_a_restart_and_the_same_file_is_the_same_request(
    world: ScoreWorld, tmp_path: Path
) -> None:
    with buyer_of(world) as buyer:
        request_id, answer = ask(buyer, given(tmp_path))
    assert answer.scores_path is not None
    sealed = answer.scores_path.read_bytes()
    answer.scores_path.unlink()
    with buyer_of(world) as buyer:
        assert buyer.quote("power", SQL, model=given(tmp_path)).answered_by == request_id
        again = buyer.fetch(request_id)
    assert again.scores_path is not None and again.scores_path.read_bytes() == sealed


def test_a_quote_without_the_weights_states_no_error_of_the_score(world: ScoreWorld, tmp_path: Path) -> None:
    with buyer_of(world) as buyer:
        quote = buyer.quote("power", SQL, model=given(tmp_path))
        own = buyer.quote("power", SQL, model=model_of())
    assert [(each.error95 is None, each.assumption) for each in quote.expected_error95] == [
        (True, None),
        (False, "any"),
        (True, None),
    ]
    assert own.expected_error95[2].assumption == "any"


def test_named_features_may_stand_in_any_order(world: ScoreWorld, tmp_path: Path) -> None:
    model = given(tmp_path, features=["kwh", "staff"], name="风险")
    with buyer_of(world) as buyer:
        quotes = [
            buyer.quote("power", f"SELECT SCORE({names}) AS s FROM power", model=model)
            for names in ("kwh, staff", "staff, kwh")
        ]
    first, second = (quote.plan.to_json()["score"]["model"]["ciphertexts"] for quote in quotes)
    assert [first[0], first[2], first[1]] == second


@pytest.mark.parametrize(
    ("weights", "precision", "sql", "rule"),
    [
        ((1.5, 0.25), 2.0**-16, SQL, "model-features"),
        ((1.5, 0.25, -3, 2), 2.0**-16, SQL, "model-features"),
        ((1.5, 0.1, -3), None, SQL, "model-weights"),
        ((1.5, 0.25, -3), 2.0**-16, "SELECT COUNT(*) AS n FROM power", "score-missing"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name_before_anything_leaves(
    world: ScoreWorld, weights: tuple[float, ...], precision: float | None, sql: str, rule: str
) -> None:
    model = StockModel.from_mapping(json.loads(text_of(weights, precision)))
    with buyer_of(world) as buyer, pytest.raises(QueryRejected) as caught:
        buyer.quote("power", sql, model=model)
    assert [each.rule for each in caught.value.violations] == [rule]
    assert not world.submissions


def test_ciphertexts_under_the_stores_own_key_are_refused(world: ScoreWorld) -> None:
    """Its weights would be asked for when the answer is opened; the store has them only of models that it was given."""
    with buyer_of(world) as buyer:
        plan = buyer.quote("power", SQL, model=model_of()).plan.to_json()["score"]["model"]
        own = {
            "public_key": {"n": int(plan["n"], 16)},
            "values": [[str(int(each, 16)), -4] for each in plan["ciphertexts"]],
        }
        with pytest.raises(QueryRejected) as caught:
            buyer.quote("power", SQL, model=StockModel.from_mapping(own))
    assert [each.rule for each in caught.value.violations] == ["model-key"]


@pytest.mark.parametrize(
    "members",
    [
        {"private_key": {"p": "31415926", "q": "27182818"}},
        {"features": ["kwh"]},
        {"features": ["kwh", "kwh"]},
        {"features": "kwh"},
        {"features": ["kwh", 5]},
        {"values": []},
        {"values": [["31415926", 0]]},
        {"values": 31415926},
        {"public_key": {"n": 31415926}},
        {"name": ""},
    ],
)
def test_a_file_in_another_form_is_refused_without_a_number_of_it(
    tmp_path: Path, members: dict[str, Any]
) -> None:
    with pytest.raises(ModelInvalid) as caught:
        given(tmp_path, **members)
    assert "31415926" not in str(caught.value)
    assert "27182818" not in str(caught.value)
