"""The demonstration of plain sums: three holders of like tables, generated ones or one CSV file split between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.demo import tables
from cli.demo.kinds import DemoTables, ExampleDemo
from cli.demo.plaintext import plaintext_rows
from cli.errors import CliError
from cli.home import Home
from privacy.sql import parse_query

if TYPE_CHECKING:
    from cli.market import Market
    from client.types import Answer


@dataclass(frozen=True, slots=True)
class SumDemo(ExampleDemo):
    """See `cli.demo.kinds.Demo`."""

    EXAMPLE = "electricity"

    def __post_init__(self) -> None:
        if self.options.data is not None and self.options.query is None:
            raise CliError("--data needs a question: --query SQL")

    def tables(self, home: Home) -> DemoTables:
        """See `cli.demo.kinds.Demo`."""
        options = self.options
        if options.data is not None and options.policy is not None:
            return DemoTables(options.policy, tables.split(home, options.data, options.policy))
        return DemoTables(*tables.electricity(home, holders=tables.HOLDERS, rows=options.rows))

    def plaintext(self, market: Market, tables: DemoTables, answer: Answer) -> list[list[Any]]:
        """See `cli.demo.kinds.Demo`."""
        query = parse_query(self.sql, market.policy)
        return plaintext_rows(query, market.policy, self.sql, tables.files, like=answer.rows)
