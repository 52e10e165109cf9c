"""A plan over a deposit whose receipt nobody could read is refused; the trustees' riders alone never make one."""

import pytest

from privacy.deposit.sizes import KEY_CELLS, noise_size, sealed_size
from privacy.deposit.terms import RIDERS_MAX, VALUES_MAX
from privacy.errors import PlanRejected
from privacy.payloads import bundle_size
from privacy.policy import Policy
from privacy.receipt_size import RECEIPT_MAX, receipt_size_max
from tests.privacy.deposit.plan_world import make_plan, policy_mapping


@pytest.mark.parametrize("holders", range(1, 65))
def test_the_largest_riders_of_any_number_of_trustees_fit_a_receipt(holders: int) -> None:
    """Of the 2^25 bytes of a receipt, half stay for the table, the plan and the chain's words."""
    values = min(VALUES_MAX, RIDERS_MAX // holders)
    carried = (
        2
        * holders
        * (bundle_size(holders) + noise_size(values) + 8 * KEY_CELLS * holders + 32 + sealed_size(values))
    )
    assert carried < RECEIPT_MAX * 0.56


def test_a_plan_whose_receipt_would_be_too_long_is_refused_before_it_costs_anything() -> None:
    given = policy_mapping(aggregates=["count"])
    side = {"type": "integer", "role": "dimension", "domain": list(range(1023)), "filter": True}
    given["columns"] = {**given["columns"], "a": side}
    given["deposit"]["cube"] = {"dimensions": ["a"], "measures": [], "histograms": {}}
    own = Policy.from_mapping(given)

    def sql(columns: int) -> str:
        counts = ", ".join(f"COUNT(*) AS n{k}" for k in range(columns))
        return f"SELECT a, {counts} FROM power GROUP BY a"

    plan = make_plan(sql(400), own)
    assert RECEIPT_MAX / 2 < receipt_size_max(plan) < RECEIPT_MAX
    with pytest.raises(PlanRejected) as refused:
        make_plan(sql(600), own)
    (violation,) = refused.value.violations
    assert violation.rule == "receipt" and str(RECEIPT_MAX) in violation.message
