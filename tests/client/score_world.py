"""A market of one holder whose answers are scores under private weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from client.models import Model
from privacy.curve import SignedCells
from privacy.layout import lane_cells
from privacy.plan import Plan
from privacy.score.combine import score_cells
from privacy.score.shape import ScoreShape
from tests.client.world import POLICY, World

SQL = "SELECT town, COUNT(*) AS n, SCORE(kwh, staff) AS s FROM power GROUP BY town"
SCORE_POLICY: dict[str, Any] = {
    **POLICY,
    "columns": {
        **POLICY["columns"],
        "staff": {"type": "integer", "low": 0, "high": 10, "nullable": False},
    },
    "aggregates": ["count", "score"],
    "min_holders": 1,
    "score": {"weight_bits": 32, "weight_scale_bits": 16},
}
MODEL = {"name": "risk", "intercept": "1.5", "weights": {"staff": -3, "kwh": 0.25}}
SEED = bytes(32)


class ScoreWorld(World):
    """One holder whose every group has ten rows of the interval's lower ends, and no noise."""

    spoil: bool = False

    def cells_of(self, holder: int, plan: Plan) -> SignedCells:  # type: ignore[override]
        """The d cells of the holder."""
        shape, values = ScoreShape.of(plan), [0] * plan.values
        for number, lane in enumerate(plan.lanes):
            row = -lane.center if number in shape.sums else 1
            for place in lane_cells(plan, number):
                values[place] = 10 * row << lane.grid_bits
        cells = score_cells(plan, values, SEED)
        if self.spoil:
            cells[-1] = np.int64(1 << 32)
        return cells


def model_of(**changes: Any) -> Model:
    """The model, with some of its members replaced."""
    return Model.from_mapping({**MODEL, **changes})
