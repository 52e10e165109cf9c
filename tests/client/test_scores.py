"""Private weights for the buyer: encrypted once, asked for free again, opened from disk, refused by name."""

import json
from pathlib import Path

import pytest

from client.buyer import Buyer
from client.errors import AnswerMismatch, ModelInvalid, ModelUnknown, QueryRejected
from client.models import Model
from client.types import Answer, Status
from client.verify import verify_receipt
from ledger.types import Digest
from privacy.paillier.keys import PublicKey
from privacy.policy import Policy
from tests.client.score_world import SCORE_POLICY, SQL, ScoreWorld, model_of
from tests.client.world import World, rand_of


@pytest.fixture
def world(tmp_path: Path) -> ScoreWorld:
    return ScoreWorld(tmp_path, policy=Policy.from_mapping(SCORE_POLICY), count=1)


def buyer_of(world: World) -> Buyer:
    return world.make_buyer(rand=rand_of("buyer"))


def ask(buyer: Buyer, model: Model | None = None, sql: str = SQL) -> tuple[Digest, Answer]:
    request_id = buyer.submit(buyer.quote("power", sql, model=model or model_of()))
    buyer.wait(request_id)
    return request_id, buyer.fetch(request_id)


def rules_of(buyer: Buyer, model: Model | None, sql: str = SQL) -> list[str]:
    with pytest.raises(QueryRejected) as caught:
        buyer.quote("power", sql, model=model)
    return [each.rule for each in caught.value.violations]


def test_the_buyer_sees_the_scores_and_the_receipt_does_not(world: ScoreWorld) -> None:
    with buyer_of(world) as buyer:
        _, answer = ask(buyer)
        assert answer.columns == ("town", "n", "s")
        # ten rows of kwh 0 and staff 0: ten times the intercept
        assert {row[0]: row[2] for row in answer.rows} == dict.fromkeys(
            ["east", "west", "杭州", "other"], 15.0
        )
        assert all(isinstance(row[2], float) and row[2] > 0 for row in answer.error95)
        assert answer.to_pandas()["s"].tolist() == [15.0] * 4
    data = answer.receipt_path.read_bytes()
    table = json.loads(data)["table"]
    assert {row[2] for row in table["rows"]} == {row[2] for row in table["error95"]} == {None}
    verdict = verify_receipt(data, world.chain, deployment=world.deployment)
    assert verdict.status is Status.VALID


def test_no_weight_leaves_the_buyer_and_none_is_on_disk_in_the_clear(world: ScoreWorld) -> None:
    secret = model_of(weights={"kwh": "0.31830988618", "staff": "-2.718281828"})
    with buyer_of(world) as buyer:
        ask(buyer, secret)
    [submitted] = world.submissions
    seen = json.dumps(submitted).encode() + (world.settings.home / "buyer.db").read_bytes()
    for text in (b"0.31830988618", b"2.718281828", b"risk"):
        assert text not in seen
    assert b'"ciphertexts"' in seen


def test_the_same_question_with_the_same_model_is_the_same_request(world: ScoreWorld) -> None:
    with buyer_of(world) as buyer:
        first, _ = ask(buyer)
    with buyer_of(world) as buyer:
        quote = buyer.quote("power", SQL, model=model_of(name="another name"))
        assert quote.answered_by == first
        assert buyer.submit(quote) == first
    assert len(world.submissions) == 1


def test_another_model_is_another_request_under_the_same_key(world: ScoreWorld) -> None:
    with buyer_of(world) as buyer:
        first, one = ask(buyer)
        second, two = ask(buyer, model_of(intercept=-4))
    assert first != second
    assert two.rows[0][2] == -40.0
    models = [submitted["plan"]["score"]["model"] for submitted in world.submissions]
    assert models[0]["n"] == models[1]["n"]
    assert not set(models[0]["ciphertexts"]) & set(models[1]["ciphertexts"])
    assert one.rows[0][2] == 15.0


def test_the_features_may_stand_in_any_order(world: ScoreWorld) -> None:
    with buyer_of(world) as buyer:
        quotes = [
            buyer.quote("power", f"SELECT SCORE({names}) AS s FROM power", model=model_of())
            for names in ("kwh, staff", "staff, kwh")
        ]
    first, second = (quote.plan.to_json()["score"]["model"]["ciphertexts"] for quote in quotes)
    assert [first[0], first[2], first[1]] == second


def test_a_stored_answer_opens_again_after_a_restart(world: ScoreWorld) -> None:
    with buyer_of(world) as buyer:
        request_id, answer = ask(buyer)
    with buyer_of(world) as buyer:
        again = buyer.fetch(request_id)
    assert (again.rows, again.error95) == (answer.rows, answer.error95)


def test_a_store_without_the_model_says_so_and_keeps_the_receipt(world: ScoreWorld) -> None:
    import sqlite3

    with buyer_of(world) as buyer:
        request_id, answer = ask(buyer)
    with sqlite3.connect(world.settings.home / "buyer.db") as connection:
        connection.execute("DELETE FROM client_models")
    with buyer_of(world) as buyer, pytest.raises(ModelUnknown):
        buyer.fetch(request_id)
    assert answer.receipt_path.exists()


def test_the_quote_states_the_error_under_the_buyers_own_weights(world: ScoreWorld) -> None:
    with buyer_of(world) as buyer:
        light = buyer.quote("power", SQL, model=model_of())
        heavy = buyer.quote("power", SQL, model=model_of(weights={"kwh": 25, "staff": -3}))
    errors = [{each.column: each.error95 for each in quote.expected_error95}["s"] for quote in (light, heavy)]
    assert errors[0] is not None
    assert errors[1] is not None
    assert errors[1] > 20 * errors[0]


def test_what_cannot_be_asked_is_refused_by_name_before_anything_leaves(world: ScoreWorld) -> None:
    with buyer_of(world) as buyer:
        assert rules_of(buyer, None) == ["model-missing"]
        assert rules_of(buyer, model_of(weights={"kwh": 1})) == ["model-features"]
        assert rules_of(buyer, model_of(weights={"kwh": 65537, "staff": 1})) == ["model-weights"]
        assert rules_of(buyer, model_of(), "SELECT COUNT(*) AS n FROM power") == ["score-missing"]
    assert not world.submissions


def test_a_listing_of_plain_sums_takes_no_model(tmp_path: Path) -> None:
    world = World(tmp_path)
    with buyer_of(world) as buyer:
        assert rules_of(buyer, model_of(), "SELECT COUNT(*) AS n FROM power") == ["model"]


def test_cells_that_hold_no_ciphertext_are_no_answer(world: ScoreWorld) -> None:
    world.spoil = True
    with buyer_of(world) as buyer:
        request_id = buyer.submit(buyer.quote("power", SQL, model=model_of()))
        buyer.wait(request_id)
        with pytest.raises(AnswerMismatch, match="limbs"):
            buyer.fetch(request_id)


def test_other_ciphertexts_than_were_committed_make_no_answer(world: ScoreWorld) -> None:
    """Whoever changes a limb after the holder committed: the opening of its commitment fails."""

    def flip(payload: bytes) -> bytes:
        place = len(payload) // 2 // 8 * 8
        return payload[:place] + bytes([payload[place] ^ 1]) + payload[place + 1 :]

    world.tamper = flip
    with buyer_of(world) as buyer:
        request_id = buyer.submit(buyer.quote("power", SQL, model=model_of()))
        buyer.wait(request_id)
        with pytest.raises(AnswerMismatch):
            buyer.fetch(request_id)


def test_a_key_is_made_once_and_a_longer_one_where_a_policy_asks_for_it(
    world: ScoreWorld, tmp_path: Path
) -> None:
    given = {**SCORE_POLICY, "score": {**SCORE_POLICY["score"], "key_bits_min": 3088}}
    with buyer_of(world) as buyer:
        keys = [buyer.quote("power", SQL, model=model_of()).plan.to_json()["score"]["model"]["n"]]
        keys.append(
            buyer.quote("power", SQL, model=model_of(intercept=0)).plan.to_json()["score"]["model"]["n"]
        )
        longer = buyer._scores.prepare(model_of(), Policy.from_mapping(given))
    assert keys[0] == keys[1]
    assert PublicKey(int(keys[0], 16)).n.bit_length() == 3072
    assert longer.key.public.n.bit_length() == 3088


# --- model files ------------------------------------------------------------------------------------------


def test_a_model_file_is_yaml_or_json(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text("name: 风险\nweights:\n  kwh: 0.1\n  staff: '-3'\n", encoding="utf8")
    (tmp_path / "model.json").write_text(
        '{"name": "风险", "weights": {"kwh": 0.1, "staff": -3}}', encoding="utf8"
    )
    one, two = (Model.from_file(tmp_path / name) for name in ("model.yaml", "model.json"))
    assert one == two
    assert str(one.weights["kwh"]) == "0.1"
    assert one.intercept == 0
    assert "0.1" not in repr(one)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("weights: {kwh: 1e400}", "weights.kwh"),
        ("weights: {}", "weights"),
        ("intercept: 4", "weights"),
        ("weights: {kwh: 1}\nlearning_rate: 7", "learning_rate"),
        ("weights: {kwh: many}", "weights.kwh"),
        ("weights: {kwh: 1, kwh: 2}", "once"),
        ("[1, 2]", "mapping"),
        ("weights: {kwh: .nan}", "weights.kwh"),
    ],
)
def test_a_model_file_that_is_none_names_its_problem(tmp_path: Path, text: str, field: str) -> None:
    (tmp_path / "model.yaml").write_text(text, encoding="utf8")
    with pytest.raises(ModelInvalid, match=field):
        Model.from_file(tmp_path / "model.yaml")


def test_a_model_that_is_none_shows_no_weight(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid) as caught:
        Model.from_mapping({"weights": {"kwh": "4711,5"}})
    assert "4711" not in str(caught.value)
    with pytest.raises(ModelInvalid, match="cannot be read"):
        Model.from_file(tmp_path / "none.yaml")
