"""The demonstration of plain sums: three holders of like tables, generated ones or one CSV file split between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.demo import tables
from cli.demo.kinds import DemoOptions, DemoTables
from cli.demo.plaintext import plaintext_rows
from cli.errors import CliError
from cli.home import Home, repository_root
from privacy.sql import parse_query

if TYPE_CHECKING:
    from cli.market import Market
    from client.buyer import Buyer
    from client.types import Answer, Quote


@dataclass(frozen=True, slots=True)
class SumDemo:
    """See `cli.demo.kinds.Demo`."""

    options: DemoOptions

    def __post_init__(self) -> None:
        if self.options.data is not None and self.options.query is None:
            raise CliError("--data needs a question: --query SQL")

    @property
    def sql(self) -> str:
        """The question."""
        if self.options.query is not None:
            return self.options.query
        return (repository_root() / "examples" / "electricity" / "query.sql").read_text("utf8").strip()

    def tables(self, home: Home) -> DemoTables:
        """See `cli.demo.kinds.Demo`."""
        options = self.options
        if options.data is not None and options.policy is not None:
            return DemoTables(options.policy, tables.split(home, options.data, options.policy))
        return DemoTables(*tables.electricity(home, holders=tables.HOLDERS, rows=options.rows))

    def quote(self, buyer: Buyer, market: Market, rho_micro: int | None) -> Quote:
        """See `cli.demo.kinds.Demo`."""
        policy = market.policy
        return buyer.quote(policy.listing, self.sql, purpose=policy.purposes[0], rho_micro=rho_micro)

    def plaintext(self, market: Market, tables: DemoTables, answer: Answer) -> list[list[Any]]:
        """See `cli.demo.kinds.Demo`."""
        query = parse_query(self.sql, market.policy)
        return plaintext_rows(query, market.policy, self.sql, tables.files, like=answer.rows)
