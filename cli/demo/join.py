"""The demonstration of the private join: a bank's customers and the power company's readings, under one code each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlglot
from sqlglot import exp

from cli.demo import customers, tables
from cli.demo.kinds import DemoTables, ExampleDemo
from cli.demo.plaintext import plaintext_rows
from cli.errors import CliError
from cli.home import Home
from privacy.join.kind import JoinPolicy
from privacy.policy import Policy
from privacy.sql import parse_query

if TYPE_CHECKING:
    from cli.market import Market
    from client.types import Answer

BANK: Final = "银行"
POWER: Final = "供电"


@dataclass(frozen=True, slots=True)
class JoinDemo(ExampleDemo):
    """See `cli.demo.kinds.Demo`."""

    EXAMPLE = "join"

    def tables(self, home: Home) -> DemoTables:
        """See `cli.demo.kinds.Demo`."""
        policy, rows = self.example("policy.yaml"), self.options.rows
        terms = Policy.from_yaml(policy.read_text("utf8")).terms
        most = min((side.rows_max for side in terms.sides), default=0) if isinstance(terms, JoinPolicy) else 0
        if rows > most:
            raise CliError(f"--rows: the example's policy has at most {most} rows of each side, not {rows}")
        files = tuple(
            tables.data_folder(home, 1 + n) / f"{name}.parquet" for n, name in enumerate((BANK, POWER))
        )
        for file, made in zip(files, (customers.customers(rows), customers.readings(rows)), strict=True):
            if not file.exists():
                customers.write(file, made)
        return DemoTables(policy, files, (BANK, POWER))

    def plaintext(self, market: Market, tables: DemoTables, answer: Answer) -> list[list[Any]]:
        """See `cli.demo.kinds.Demo`."""
        source = joined(self.sql, dict(zip(tables.names, tables.files, strict=True)))
        query = parse_query(self.sql, market.policy)
        return plaintext_rows(query, market.policy, self.sql, tables.files, like=answer.rows, source=source)


def joined(sql: str, files: dict[str, Path]) -> str:
    """Return the FROM of a question with a file in place of each side, its codes brought to one form by DuckDB alone."""
    parsed = sqlglot.parse_one(sql, read="postgres")
    for table in list(parsed.find_all(exp.Table)):
        file = files[table.name]
        rows = exp.select("*").from_(exp.func("read_parquet", exp.Literal.string(str(file))))
        star = exp.Star(replace=[exp.alias_(_one_form(), customers.KEY, quoted=True)])
        alias = table.alias or table.name
        table.replace(rows.select(star, append=False).subquery(exp.to_identifier(alias, quoted=True)))
    from_, joins = parsed.find(exp.From), parsed.args.get("joins") or []
    if from_ is None:
        raise CliError("the question has no FROM")
    return " ".join([str(from_.this.sql("duckdb")), *[join.sql("duckdb") for join in joins]])


def _one_form() -> exp.Expression:
    """Half-width, without spaces and hyphens, in capitals."""
    code = exp.column(customers.KEY, quoted=True)
    wide = "".join(map(chr, customers.FULL_WIDTH.values()))
    narrow = "".join(map(chr, customers.FULL_WIDTH))
    literals = [exp.Literal.string(wide), exp.Literal.string(narrow)]
    bare = exp.func("translate", code, *literals)
    for mark in (" ", "-"):
        bare = exp.func("replace", bare, exp.Literal.string(mark), exp.Literal.string(""))
    return exp.Upper(this=bare)
