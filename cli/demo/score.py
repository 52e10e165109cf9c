"""The demonstration of private weights: one holder of a generated table, and a model that the holder never sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.demo import tables
from cli.demo.kinds import DemoTables, ExampleDemo
from cli.demo.plaintext import plaintext_rows
from cli.home import Home
from client.models import Model
from privacy.sql import parse_query

if TYPE_CHECKING:
    from cli.market import Market
    from client.buyer import Buyer
    from client.types import Answer, Quote


@dataclass(frozen=True, slots=True)
class ScoreDemo(ExampleDemo):
    """See `cli.demo.kinds.Demo`."""

    EXAMPLE = "score"

    @property
    def model(self) -> Model:
        """The buyer's weights."""
        return Model.from_file(self.example("model.yaml"))

    def tables(self, home: Home) -> DemoTables:
        """See `cli.demo.kinds.Demo`."""
        policy = self.example("policy.yaml")
        return DemoTables(policy, tables.electricity(home, holders=1, rows=self.options.rows)[1])

    def quote(self, buyer: Buyer, market: Market, rho_micro: int | None) -> Quote:
        """See `cli.demo.kinds.Demo`."""
        policy, purpose = market.policy, market.policy.purposes[0]
        return buyer.quote(policy.listing, self.sql, purpose=purpose, rho_micro=rho_micro, model=self.model)

    def plaintext(self, market: Market, tables: DemoTables, answer: Answer) -> list[list[Any]]:
        """See `cli.demo.kinds.Demo`; the weights are the model's own, not rounded to the policy's precision."""
        query, model = parse_query(self.sql, market.policy), self.model
        weights = {name: float(weight) for name, weight in model.weights.items()}
        return plaintext_rows(
            query,
            market.policy,
            self.sql,
            tables.files,
            like=answer.rows,
            score=(float(model.intercept), weights),
        )
