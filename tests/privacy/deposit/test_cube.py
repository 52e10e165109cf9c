"""Cubes: lanes as a plan's, positions, rows to cells, and bounded units."""

import hashlib
import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.columns import Column, ColumnType, Role
from privacy.deposit import Cube, CubeLane, CubeRows, bound_units, make_lane
from privacy.deposit.cube import CONTENT_MAX
from privacy.deposit.errors import CubeInvalid, RowsRefused
from privacy.deposit.tabulate import tabulate
from privacy.dimensions import Dimension
from privacy.lanes import LaneKey, LaneKind, Setting, derive_lane, value_bound
from privacy.types import Digest

KWH = Column(
    "电量", ColumnType.NUMBER, Role.MEASURE, low=Decimal("0"), high=Decimal("50"), scale_bits=3, nullable=True
)
FEE = Column("fee", ColumnType.INTEGER, Role.MEASURE, low=Decimal("-20"), high=Decimal("101"), scale_bits=0)
COLUMNS = {column.name: column for column in (KWH, FEE)}
DIMENSIONS = (
    Dimension("day", ColumnType.INTEGER, (1, 2)),
    Dimension("地区", ColumnType.TEXT, ("浦东", "徐汇", "静安")),
)
KEYS = (
    LaneKey(LaneKind.COUNT, None),
    LaneKey(LaneKind.COUNT_OF, "电量"),
    LaneKey(LaneKind.SUM, "电量"),
    LaneKey(LaneKind.SQUARE, "电量"),
    LaneKey(LaneKind.HISTOGRAM, "fee", 4),
    LaneKey(LaneKind.PRODUCT, "fee", by="电量"),
)
ROWS_MAX = 1000


def cube(rows_max: int = ROWS_MAX) -> Cube:
    return Cube(DIMENSIONS, tuple(make_lane(key, COLUMNS, rows_max) for key in KEYS), rows_max, 3)


def setting(rows_max: int = ROWS_MAX) -> Setting:
    return Setting(rows_per_unit=3, unit_holders=1, holders=3, divisor=2, rows_max=rows_max, groups=12)


def test_groups_and_lanes_have_a_plans_layout() -> None:
    own = cube()
    assert own.groups == 12
    assert own.cells == 12 * (1 + 1 + 1 + 1 + 4 + 1)
    assert own.start(4, 2) == 12 * 6
    assert own.lane_index(KEYS[5]) == 5


@pytest.mark.parametrize("key", [KEYS[0], KEYS[1], KEYS[2], KEYS[4]])
def test_a_plans_lane_over_a_cube_is_the_lane_of_a_plain_plan(key: LaneKey) -> None:
    own = make_lane(key, COLUMNS, ROWS_MAX).plan_lane(setting(), 1000)
    assert own == derive_lane(key, COLUMNS, setting(), 1000)


@pytest.mark.parametrize("key", KEYS)
def test_every_lane_keeps_its_key_and_can_be_decrypted(key: LaneKey) -> None:
    lane = make_lane(key, COLUMNS, ROWS_MAX)
    assert lane.key == key
    assert ROWS_MAX * lane.row_max <= CONTENT_MAX
    planned = lane.plan_lane(setting(), 10_000)
    assert value_bound(planned, rows=ROWS_MAX, contributors=3) > ROWS_MAX * lane.row_max << planned.grid_bits


@pytest.mark.parametrize("key", [KEYS[3], KEYS[5]])
def test_squares_and_products_are_as_fine_as_can_be_decrypted(key: LaneKey) -> None:
    lane = make_lane(key, COLUMNS, ROWS_MAX)
    assert lane.half_width <= math.isqrt(CONTENT_MAX // ROWS_MAX) < 2 * lane.half_width + 2


def test_more_rows_make_squares_coarser_and_then_impossible() -> None:
    assert make_lane(KEYS[3], COLUMNS, 1 << 30).half_width < make_lane(KEYS[3], COLUMNS, 1 << 20).half_width
    with pytest.raises(CubeInvalid, match="can be decrypted"):
        cube(1 << 38)


@pytest.mark.parametrize("kind", [LaneKind.DISTINCT, LaneKind.CONTINGENCY])
def test_what_does_not_add_up_is_no_lane(kind: LaneKind) -> None:
    with pytest.raises(CubeInvalid, match="does not add up"):
        CubeLane(kind, "电量")


def test_unknown_columns_and_columns_that_measure_nothing_are_refused() -> None:
    with pytest.raises(CubeInvalid, match="no column 'x'"):
        make_lane(LaneKey(LaneKind.SUM, "x"), COLUMNS, 10)
    plain = {"day": Column("day", ColumnType.INTEGER, Role.DIMENSION, domain=(1,))}
    with pytest.raises(CubeInvalid, match="no measure"):
        make_lane(LaneKey(LaneKind.SUM, "day"), plain, 10)


def test_a_cube_has_different_dimensions_lanes_and_bounds() -> None:
    lanes = cube().lanes
    for dimensions, chosen, rows, unit in (
        (DIMENSIONS[:1] * 2, lanes, 10, 1),
        (DIMENSIONS, (), 10, 1),
        (DIMENSIONS, lanes[:1] * 2, 10, 1),
        (DIMENSIONS, lanes, 10, 11),
        (DIMENSIONS, lanes, 10, 0),
        ((Dimension("d", ColumnType.INTEGER, ()),), lanes, 10, 1),
        (tuple(Dimension(f"d{k}", ColumnType.INTEGER, tuple(range(999))) for k in range(3)), lanes, 10, 1),
    ):
        with pytest.raises(CubeInvalid):
            Cube(dimensions, chosen, rows, unit)
    with pytest.raises(CubeInvalid):
        cube().start(6)
    with pytest.raises(CubeInvalid):
        cube().lane_index(LaneKey(LaneKind.SUM, "fee"))


ROW = st.tuples(
    st.integers(0, 2),
    st.integers(0, 3),
    st.one_of(st.none(), st.floats(-100, 200, allow_nan=False)),
    st.one_of(st.none(), st.integers(-1000, 1000)),
)


def plain_cells(own: Cube, rows: list[tuple[int, int, float | None, int | None]]) -> list[int]:
    """Compute cells one row at a time, as docs/protocol.md §6 says it."""
    cells = [0] * own.cells
    for day, place, kwh, fee in rows:
        values: dict[str | None, float | None] = {"电量": kwh, "fee": fee}
        for index, lane in enumerate(own.lanes):
            needed = [name for name in (lane.column, lane.by and lane.by.column) if name]
            if any(values[name] is None for name in needed):
                continue
            bin_, added = 0, 1
            factors = []
            for part in (lane, lane.by):
                if part is None or part.low is None or part.high is None:
                    continue
                x = min(max(float(values[part.column] or 0), float(part.low)), float(part.high))
                factors.append(math.floor(x * 2.0**part.scale_bits + 0.5) - part.center)
            if lane.kind is LaneKind.HISTOGRAM:
                low, high = lane.edges[0], lane.edges[-1]
                bin_ = min(lane.bins - 1, (factors[0] - low) * lane.bins // (high - low))
            elif factors:
                added = math.prod(factors) if lane.kind is not LaneKind.SQUARE else factors[0] ** 2
            cells[own.start(index, bin_) + day * 4 + place] += added
    return cells


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, max_size=30))
def test_cells_are_what_the_specification_adds_up(
    rows: list[tuple[int, int, float | None, int | None]],
) -> None:
    own = cube()
    columns: list[list[float]] = [
        [math.nan if row[k] is None else float(row[k] or 0) for row in rows] for k in range(4)
    ]
    given_rows = CubeRows(
        codes=(
            np.array([r[0] for r in rows], dtype=np.int64),
            np.array([r[1] for r in rows], dtype=np.int64),
        ),
        measures={"电量": np.array(columns[2]), "fee": np.array(columns[3])},
        count=len(rows),
    )
    assert tabulate(own, given_rows).tolist() == plain_cells(own, rows)


def rows_of(codes: list[list[int]], measures: dict[str, list[float]]) -> CubeRows:
    count = len(codes[0])
    return CubeRows(tuple(np.array(c) for c in codes), {k: np.array(v) for k, v in measures.items()}, count)


def test_rows_that_the_cube_does_not_take_are_refused() -> None:
    measures = {"电量": [1.0], "fee": [1.0]}
    for rows in (
        rows_of([[0]], measures),
        rows_of([[0], [4]], measures),
        rows_of([[-1], [0]], measures),
        rows_of([[0], [0]], {"fee": [1.0]}),
        rows_of([[0] * 1001] * 2, {"电量": [1.0] * 1001, "fee": [1.0] * 1001}),
    ):
        with pytest.raises(RowsRefused):
            tabulate(cube(), rows)
    with pytest.raises(RowsRefused):
        rows_of([[0], [0, 1]], measures)


def test_a_unit_keeps_the_rows_with_the_least_hash() -> None:
    policy = Digest(bytes(range(32)))
    units = ["a", "b", "a", "a", None, None]
    keys: list[list[str | None]] = [["1"], ["1"], ["2"], [None], ["x"], ["y"]]
    kept = bound_units(policy, units, keys, 2)

    def rank(unit: str, key: str) -> bytes:
        return hashlib.sha256(f"{policy.hex()}|{len(unit)}:{unit}|{len(key)}:{key}".encode()).digest()[:16]

    ranks = {0: rank("a", "1"), 2: rank("a", "2"), 3: rank("a", "")}
    dropped = max(ranks, key=lambda row: ranks[row])
    assert [row for row in range(6) if not kept[row]] == [dropped]


def test_the_bound_holds_for_every_unit_and_order() -> None:
    units = [str(k % 7) for k in range(100)]
    keys = [[str(k)] for k in range(100)]
    policy = Digest(bytes(32))
    kept = bound_units(policy, units, keys, 4)
    assert all(sum(kept[k] for k in range(100) if units[k] == unit) == 4 for unit in set(units))
    backwards = bound_units(policy, units[::-1], keys[::-1], 4)
    assert kept.tolist() == backwards[::-1].tolist()
    with pytest.raises(RowsRefused):
        bound_units(policy, units, keys[1:], 4)
