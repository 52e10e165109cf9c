"""The SQL that is made from a plan, as text: what no engine at hand could show to be wrong."""

from __future__ import annotations

from sqlglot import exp

from holder.engine import Reading, SourceType
from holder.sums import SumQuery
from privacy.columns import ColumnType
from tests.holder.tables import make_plan, policy

_SOURCES = {
    ColumnType.TEXT: SourceType.TEXT,
    ColumnType.INTEGER: SourceType.INTEGER,
    ColumnType.NUMBER: SourceType.FLOAT,
}


def test_a_group_is_found_by_code_point_whatever_the_columns_collation_is() -> None:
    """Under a collation in which `a` equals `A`, a row would be in two declared groups: twice the sensitivity."""
    given = policy()
    plan = make_plan('SELECT "城镇", COUNT(*) FROM "用电" GROUP BY "城镇"', given)
    schema = {column.name: _SOURCES[column.type] for column in given.columns}
    query = SumQuery(plan, Reading(given, schema, dialect="postgres"), exp.to_table("t")).main()
    (join,) = query.args["joins"]
    assert join.args["on"].sql(dialect="postgres") == '(r.k0) COLLATE "C" = d0.v'
