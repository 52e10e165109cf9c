"""A buyer with the stock library alone: its ciphertexts make a plan, and it decrypts what the holder combined under them."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import phe
import phe.command_line
import pytest

from privacy.errors import AnswerInvalid
from privacy.fixed_point import power_of_two
from privacy.layout import group_key
from privacy.paillier.errors import (
    CiphertextInvalid,
    ExponentRefused,
    InterchangeRefused,
    KeyInvalid,
    PaillierError,
)
from privacy.paillier.interchange import dump_public_key, from_phe_private_key, to_phe_private_key
from privacy.plan import Plan
from privacy.planning import plan_parameters, verify_plan
from privacy.score.combine import score_cells
from privacy.score.interchange import StockWeights, sealed_scores
from privacy.score.model import FixedWeights
from privacy.score.opening import open_scores
from privacy.score.shape import ScoreShape
from tests.privacy.paillier_world import owner
from tests.privacy.score_world import BITS, SCALE_BITS, build, encrypted, fixed, plan_of, policy_of, scores_of

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ("0.5", "0.125", "-3", "7.5")
SEED = bytes(range(32))


@cache
def stock() -> tuple[phe.PaillierPublicKey, phe.PaillierPrivateKey]:
    """A key that the stock library made."""
    return phe.generate_paillier_keypair(n_length=3072)  # type: ignore[no-any-return]


@cache
def script() -> ModuleType:
    """The example that has the stock library alone."""
    spec = importlib.util.spec_from_file_location("phe_buyer", ROOT / "examples" / "score" / "phe_buyer.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def documented(weights: tuple[str, ...] = WEIGHTS, precision: float = 2.0**-SCALE_BITS) -> dict[str, Any]:
    """What the library's documentation has a buyer write: through JSON, as a file would."""
    numbers = [stock()[0].encrypt(float(weight), precision=precision) for weight in weights]
    written = {
        "public_key": {"n": stock()[0].n},
        "values": [(str(x.ciphertext()), x.exponent) for x in numbers],
    }
    read: dict[str, Any] = json.loads(json.dumps(written))
    return read


def plan_under(given: dict[str, Any]) -> Plan:
    model = StockWeights.from_json(given).model(bits=BITS, scale_bits=SCALE_BITS)
    return build(asked=model.to_json())


def values_for(plan: Plan) -> list[int]:
    return [17 * (place % 23) - 60 for place in range(plan.values)]


def expected(plan: Plan) -> list[Fraction]:
    weights = fixed(*WEIGHTS).weights
    scale = ScoreShape.of(plan).unit * power_of_two(-SCALE_BITS)
    return [score * scale for score in scores_of(plan, weights, values_for(plan))]


def test_the_stock_library_encrypts_and_decrypts_and_all_between_is_ours() -> None:
    """From `encrypt` over the plan's bytes, the holder's cells and the answer's JSON to `decrypt`."""
    plan = Plan.from_bytes(plan_under(documented()).to_bytes())
    verify_plan(plan, policy_of())
    cells = score_cells(plan, values_for(plan), SEED)
    answer = json.loads(json.dumps(sealed_scores(plan, cells.tolist())))
    found = script().opened(stock()[1], answer)
    assert found == [(list(group_key(plan, group)), score) for group, score in enumerate(expected(plan))]
    assert answer["group_by"] == ["town"]


def test_the_stock_library_encrypts_and_this_one_decrypts() -> None:
    plan = plan_under(documented())
    cells = score_cells(plan, values_for(plan), SEED).tolist()
    key = from_phe_private_key(stock()[1])
    table = open_scores(plan, plan_parameters(plan), 1, cells, key=key, weights=fixed(*WEIGHTS))
    assert sorted(row[2] for row in table.rows) == sorted(map(float, expected(plan)))


def test_this_library_encrypts_and_the_stock_one_decrypts() -> None:
    plan = plan_of(fixed(*WEIGHTS))
    assert plan.terms is not None and encrypted(fixed(*WEIGHTS)).to_json() == plan.terms.asked
    cells = score_cells(plan, values_for(plan), SEED).tolist()
    found = script().opened(to_phe_private_key(owner()), sealed_scores(plan, cells))
    assert [score for _, score in found] == expected(plan)


@pytest.mark.parametrize(
    "form",
    [
        lambda given: given,
        lambda given: given | {"public_key": {"n": str(stock()[0].n), "g": stock()[0].g}},
        lambda given: (
            given | {"values": [{"v": value, "e": exponent} for value, exponent in given["values"]]}
        ),
        lambda given: given | {"public_key": json.loads(_web_key())},
    ],
    ids=["basic", "with g", "numbers of pheutil", "JSON Web Key"],
)
def test_both_forms_of_the_librarys_documentation_are_read(form: Callable[[dict[str, Any]], Any]) -> None:
    given = documented()
    assert StockWeights.from_json(form(given)) == StockWeights.from_json(given)


def _web_key() -> str:
    return dump_public_key(StockWeights.from_json(documented()).key, name="买方")


def test_a_coarser_weight_is_brought_to_the_policys_scale_without_opening_it() -> None:
    """Whole numbers have the exponent 0, halves in steps of 16^-1: each is the weight that it says."""
    public, private = stock()
    numbers = [
        public.encrypt(3),
        public.encrypt(-0.5, precision=1 / 16),
        public.encrypt(0.25, precision=2.0**-SCALE_BITS),
    ]
    assert [number.exponent for number in numbers] == [0, -1, -4]
    given = {"public_key": {"n": public.n}, "values": [[str(x.ciphertext()), x.exponent] for x in numbers]}
    model = StockWeights.from_json(given).model(bits=BITS, scale_bits=SCALE_BITS)
    key = from_phe_private_key(private)
    wanted = FixedWeights.round(
        [Decimal(3), Decimal("-0.5"), Decimal("0.25")], bits=BITS, scale_bits=SCALE_BITS
    )
    assert tuple(key.decrypt(each) for each in model.ciphertexts) == wanted.weights


def test_a_weight_in_finer_steps_is_refused_with_what_to_do() -> None:
    """As a plain `encrypt` of a float makes it, or `pheutil encrypt`, which goes down to 16^-32."""
    public = stock()[0]
    numbers = [public.encrypt(0.1), public.encrypt(0.2)]
    assert numbers[0].exponent < -SCALE_BITS // 4
    fine = {"public_key": {"n": public.n}, "values": [[str(x.ciphertext()), x.exponent] for x in numbers]}
    pheutil = [json.loads(phe.command_line.serialise_encrypted(number)) for number in numbers]
    for given in (fine, fine | {"values": pheutil}):
        with pytest.raises(ExponentRefused, match=r"precision=16\*\*-4"):
            StockWeights.from_json(given).model(bits=BITS, scale_bits=SCALE_BITS)


def test_another_form_is_refused() -> None:
    good = documented()
    n, [first, *rest] = stock()[0].n, good["values"]
    cases: list[tuple[Any, type[PaillierError]]] = [
        (None, InterchangeRefused),
        ([], InterchangeRefused),
        (good | {"private_key": {"p": 3, "q": 5}}, InterchangeRefused),
        ({"values": good["values"]}, InterchangeRefused),
        (good | {"public_key": n}, InterchangeRefused),
        (good | {"public_key": {}}, InterchangeRefused),
        (good | {"public_key": {"n": n, "g": n}}, InterchangeRefused),
        (good | {"public_key": {"n": True}}, InterchangeRefused),
        (good | {"public_key": {"n": "0" + str(n)}}, InterchangeRefused),
        (good | {"public_key": {"n": float(2**60)}}, InterchangeRefused),
        (good | {"public_key": {"n": -n}}, InterchangeRefused),
        (good | {"public_key": {"n": 15}}, KeyInvalid),
        (good | {"public_key": {"kty": "DAJ", "n": {"deep": []}}}, InterchangeRefused),
        (good | {"public_key": {"kty": "RSA"}}, InterchangeRefused),
        (good | {"values": "12"}, InterchangeRefused),
        (good | {"values": [first]}, InterchangeRefused),
        (good | {"values": [first] * 40}, InterchangeRefused),
        (good | {"values": [first[:1], *rest]}, InterchangeRefused),
        (good | {"values": ["12", *rest]}, InterchangeRefused),
        (good | {"values": [[first[0], "-4"], *rest]}, InterchangeRefused),
        (good | {"values": [[first[0], True], *rest]}, InterchangeRefused),
        (good | {"values": [["", -4], *rest]}, InterchangeRefused),
        (good | {"values": [["１", -4], *rest]}, InterchangeRefused),
        (good | {"values": [["1" * 5000, -4], *rest]}, InterchangeRefused),
        (good | {"values": [[first[0], 1], *rest]}, ExponentRefused),
        (good | {"values": [[first[0], -65], *rest]}, ExponentRefused),
        (good | {"values": [[str(n), -4], *rest]}, CiphertextInvalid),
        (good | {"values": [[str(n * n), -4], *rest]}, CiphertextInvalid),
    ]
    for given, error in cases:
        with pytest.raises(error) as caught:
            StockWeights.from_json(given)
        assert str(first[0]) not in str(caught.value)


def test_cells_that_hold_no_ciphertext_are_no_scores() -> None:
    plan = plan_under(documented())
    cells = score_cells(plan, values_for(plan), SEED).tolist()
    with pytest.raises(AnswerInvalid):
        sealed_scores(plan, cells[:-1])
    with pytest.raises(AnswerInvalid):
        sealed_scores(plan, [*cells[:-1], 1 << 32])


def test_the_example_runs_by_itself_with_the_stock_library_alone(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, str(ROOT / "examples" / "score" / "phe_buyer.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    run("keys", "private.json")
    assert (tmp_path / "private.json").stat().st_mode & 0o077 == 0
    run("encrypt", "private.json", "model.json", "--", *WEIGHTS)
    model = StockWeights.from_json(json.loads((tmp_path / "model.json").read_text())).model(
        bits=BITS, scale_bits=24
    )
    plan = build(
        asked=model.to_json(),
        policy=policy_of(
            score={"features": ["kwh", "age", "debt"], "weight_bits": BITS, "weight_scale_bits": 24}
        ),
    )
    answer = sealed_scores(plan, score_cells(plan, values_for(plan), SEED).tolist())
    (tmp_path / "scores.json").write_text(json.dumps(answer, ensure_ascii=False), encoding="utf8")
    shown = [
        f"{key} {float(score)}" for key, score in zip(["东城", "west", "other"], expected(plan), strict=True)
    ]
    assert run("open", "private.json", "scores.json").splitlines() == shown
