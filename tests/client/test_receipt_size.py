"""What planning says of a receipt's length holds for receipts of every kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ledger.receipt import SIZE_MAX
from privacy.plan import Plan
from privacy.receipt_size import RECEIPT_MAX, receipt_size_max
from tests.client.receipts import KINDS, Specimen


def test_planning_and_parsing_know_one_limit() -> None:
    assert RECEIPT_MAX == SIZE_MAX


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_knows_how_long_its_receipt_can_be(kind: str, tmp_path: Path) -> None:
    data = Specimen.make(kind, tmp_path).data
    plan = Plan.from_json(json.loads(data)["plan"])
    assert len(data) <= receipt_size_max(plan) <= len(data) + (1 << 14) + 20 * plan.cells
