"""A market in one process: what a buyer sees that has one of four holders on its side, and another one away.

The path is the product's: SQL → plan → each holder's DuckDB → noise shares → the sum's cells → the decoded table. Of the
sealed sum only the masks are left out, which come off again. Two honest holders' noise is left, the fewest that the
parameters of four holders allow, so that the attacker meets exactly the σ² that is claimed and no more.
"""

import itertools
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from holder.duckdb_engine import DuckDbEngine, open_frame
from holder.errors import BudgetExhausted
from holder.settings import EngineSettings
from holder.sums import compute_cells
from privacy.answer import AnswerTable, decode_answer
from privacy.plan import Plan
from privacy.planning import build_plan, plan_parameters
from privacy.policy import Policy
from privacy.session import SumParameters
from privacy.sql import parse_query
from tests.holder.store_world import LINE, make_store, seen
from tests.privacy.noise_world import fresh_noise
from tests.privacy.plan_world import POLICY, assets_of, listing_of, plan_of, policy_of

HOLDERS, HONEST, COLLUDERS = 4, 2, 1
Cells = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mechanism:
    """How a holder draws its noise.

    Attributes:
        draw: draws one share.
        known: what an attacker can compute of a share by itself; None if nothing.
    """

    draw: Callable[[Plan, SumParameters], Cells]
    known: Callable[[Plan, SumParameters], Cells] | None = None


REAL = Mechanism(fresh_noise)


@dataclass(frozen=True, slots=True)
class Market:
    """The holders that contribute and have rows: the honest ones, then the colluding one."""

    policy: Policy
    engines: tuple[DuckDbEngine, ...]

    def plan(self, sql: str, rho_micro: int) -> Plan:
        """Return the plan of a query over all four."""
        plan = plan_of(sql, self.policy, holders=HOLDERS, rho_micro=rho_micro)
        params = plan_parameters(plan)
        assert (params.divisor, params.floor, plan.colluders) == (HONEST, HONEST + COLLUDERS, COLLUDERS)
        return plan

    def plan_of_one(self, sql: str, rho_micro: int, asked: Any) -> Plan:
        """Return the plan of a question to one holder alone, with what its buyer adds to it."""
        query = parse_query(sql, self.policy)
        listing, assets = listing_of(self.policy), assets_of(self.policy, 1)
        options = {"purpose": self.policy.purposes[0], "rho_micro": rho_micro, "asked": asked}
        return build_plan(query, self.policy, listing, assets, **options)

    def values(self, plan: Plan) -> Cells:
        """Return the first holder's values, without noise."""
        return compute_cells(self.engines[0], plan, self.policy)

    def cells(self, plan: Plan) -> list[Cells]:
        """Return each contributor's cells, without noise; those of one without rows are zero."""
        found = [compute_cells(engine, plan, self.policy) for engine in self.engines]
        return found + [np.zeros(plan.cells, dtype=np.int64)] * (HONEST + COLLUDERS - len(found))


@dataclass(frozen=True, slots=True)
class Release:
    """One answer.

    Attributes:
        plan: its plan.
        cells: the opened sum over the contributors.
        view: the same without what the colluding holder knows: its cells and its noise.
    """

    plan: Plan
    cells: Cells
    view: Cells

    def table(self) -> AnswerTable:
        """Return the table that a buyer gets."""
        cells = [int(cell) for cell in self.cells]
        return decode_answer(self.plan, plan_parameters(self.plan), HONEST + COLLUDERS, cells)

    def values(self) -> NDArray[np.float64]:
        """Return the view in the lane's own unit, of a plan with one lane."""
        (lane,) = self.plan.lanes
        result: NDArray[np.float64] = self.view.astype(np.float64) * float(lane.unit)
        return result


def honest(cells: Sequence[Cells]) -> Cells:
    """Return the sum of the honest holders' cells."""
    total: Cells = np.sum(cells[:HONEST], axis=0)
    return total


def release(plan: Plan, exact: Sequence[Cells], mechanism: Mechanism = REAL) -> Release:
    """Add each contributor's noise and open the sum."""
    params = plan_parameters(plan)
    shares = [mechanism.draw(plan, params) for _ in exact]
    inputs = [cells + share for cells, share in zip(exact, shares, strict=True)]
    total: Cells = np.sum(inputs, axis=0)
    view: Cells = total - np.sum(inputs[HONEST:], axis=0)
    if mechanism.known is not None:
        view = view - HONEST * mechanism.known(plan, params)
    return Release(plan, total, view)


def attack_policy(
    *, slots: int = 1, rows: int = 1, more: Mapping[str, Any] | None = None, **changes: Any
) -> Policy:
    """Return the policy of the attacked tables.

    Args:
        slots: values of the dimension `slot`.
        rows: m; above 1 it is not proved, so that the engine caps.
        more: further columns.
        changes: other fields of the policy.
    """
    columns: dict[str, Any] = {
        "person": {"type": "integer", "filter": True},
        "month": {"type": "integer", "filter": True},
        "slot": {"type": "integer", "domain": list(range(slots)), "filter": True},
        "flag": {"type": "integer", "filter": True, "nullable": False},
        "x": {"type": "number", "low": 0, "high": 100, "scale_bits": 2},
        "y": {"type": "number", "low": -50, "high": 50, "scale_bits": 2},
        "a": {"type": "text", "domain": ["p", "q", "r"]},
        "b": {"type": "text", "domain": ["u", "w"]},
    }
    unit = {"column": "person", "rows_per_unit": rows, "proved": rows == 1, "disjoint": True}
    fields: dict[str, Any] = {
        "columns": {**columns, **(more or {})},
        "privacy_unit": unit,
        "row_key": ["month"],
        "rows_max": 100_000,
        "aggregates": POLICY["aggregates"],
        "rho": {"per_request": "1000", "total": "100000"},
    }
    return policy_of(**{**fields, **changes})


def people(count: int, **columns: Any) -> pd.DataFrame:
    """Return one row for each person, of which the columns that are not given are ordinary."""
    numbers = np.arange(count)
    ordinary: dict[str, Any] = {
        "person": numbers,
        "month": 0,
        "slot": 0,
        "flag": 1,
        "x": 50.0,
        "y": 0.0,
        "a": "q",
        "b": "w",
    }
    return pd.DataFrame({**ordinary, **columns}, index=numbers)


@contextmanager
def own_ledger(total_micro: int) -> Iterator[Callable[[int], int | None]]:
    """Open a holder's own ledger with one budget line of that total.

    Yields:
        What charges ρ in micro-ρ for a request and returns what is spent by then; None, and no charge, if it does not fit.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder))
        store.put_line(LINE, "person", total_micro)
        numbers = itertools.count()

        def charge(rho_micro: int) -> int | None:
            request_id = seen(store, next(numbers), rho=rho_micro)
            try:
                store.approve(request_id, {})
            except BudgetExhausted:
                return None
            store.mark_sealed(request_id, block=1)
            line = store.line(LINE)
            assert line is not None
            return line.spent

        try:
            yield charge
        finally:
            store.engine.dispose()


@contextmanager
def open_market(policy: Policy, *tables: pd.DataFrame) -> Iterator[Market]:
    """Open the tables of the two honest holders and of the colluding one; those left out have no rows."""
    settings = EngineSettings(Path(tempfile.gettempdir()), threads=1)
    engines = tuple(open_frame(table, settings) for table in tables)
    try:
        yield Market(policy, engines)
    finally:
        for engine in engines:
            engine.close()


def report(attack: Callable[..., dict[str, Any]], whole: Mapping[str, Any]) -> None:
    """Run an attack whole and print its figure, with the machine, as one JSON object."""
    start, before = time.perf_counter(), time.process_time()
    figure = attack(**whole)
    machine = {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }
    spent = {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - before, 1),
    }
    sys.stdout.write(json.dumps({**figure, **spent, "machine": machine}, ensure_ascii=False) + "\n")
