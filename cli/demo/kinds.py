"""The kinds of demonstrations: what each kind of plan shows in its own way, and the rest of the demonstration does not know.

A kind's part is one class in `cli/demo/<kind>.py`. All kinds ask one market one question and compare its answer with what
the same question gives in the clear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from cli.errors import CliError, named
from cli.home import Home, repository_root
from privacy.policy import Policy
from privacy.sql import parse_query
from privacy.terms import PlanKind

if TYPE_CHECKING:
    from cli.market import Market
    from client.buyer import Buyer
    from client.types import Answer, Quote


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line says of the question and the tables.

    Attributes:
        query: the question; the kind's own if None.
        rows: of each holder's generated table.
        data, policy: a CSV file and its policy in place of generated tables; both or neither.
    """

    query: str | None
    rows: int
    data: Path | None = None
    policy: Path | None = None


@dataclass(frozen=True, slots=True)
class DemoTables:
    """What the holders hold.

    Attributes:
        policy: the policy file of all of them.
        files: one for each holder.
        names: what each holder calls its table; empty where all call it as the listing.
    """

    policy: Path
    files: tuple[Path, ...]
    names: tuple[str, ...] = ()


class Demo(Protocol):
    """One kind's part of a demonstration."""

    @property
    def sql(self) -> str:
        """The question."""

    def check(self, rho_micro: int | None) -> None:
        """Refuse what the policy alone shows to be wrong with question and ρ, before a market is built for them.

        Raises:
            CliError: a file that was given cannot be read, or the policy refuses the question or the ρ.
        """

    def tables(self, home: Home) -> DemoTables:
        """Make what the holders hold, before there is a market.

        Raises:
            CliError: a file that was given cannot be used.
        """

    def quote(self, buyer: Buyer, market: Market, rho_micro: int | None) -> Quote:
        """Ask for a price, with all that this kind adds to a question.

        Raises:
            ClientError: no quote.
        """

    def plaintext(self, market: Market, tables: DemoTables, answer: Answer) -> list[list[Any]]:
        """Compute in the clear what was asked; row by row beside the answer's rows, with the same columns."""


@dataclass(frozen=True, slots=True)
class ExampleDemo:
    """What the kinds share: a policy and a question of `examples/`, and one quote for it; a kind adds tables and plaintext."""

    EXAMPLE: ClassVar[str]
    """The kind's folder in `examples/`."""
    options: DemoOptions

    def __post_init__(self) -> None:
        if self.options.data is not None:
            raise CliError("--data goes with --kind sum")

    @classmethod
    def example(cls, name: str) -> Path:
        """Return a file of the example."""
        return repository_root() / "examples" / cls.EXAMPLE / name

    @property
    def sql(self) -> str:
        """The question."""
        return self.options.query or self.example("query.sql").read_text("utf8").strip()

    def policy(self) -> Policy:
        """Return the policy, as far as it is there before the market.

        Raises:
            PolicyInvalid: it is none.
        """
        return Policy.from_yaml(_text(self.options.policy or self.example("policy.yaml")))

    def check(self, rho_micro: int | None) -> None:
        """See `Demo`."""
        with named():
            policy = self.policy()
            parse_query(self.sql, policy)
        if rho_micro is not None and rho_micro > policy.rho_per_request_micro:
            most = Decimal(policy.rho_per_request_micro) / 1_000_000
            raise CliError(f"--rho: the policy allows at most {most} for one request")
        if self.options.data is not None:
            _text(self.options.data)

    def quote(self, buyer: Buyer, market: Market, rho_micro: int | None) -> Quote:
        """See `Demo`."""
        policy = market.policy
        return buyer.quote(policy.listing, self.sql, purpose=policy.purposes[0], rho_micro=rho_micro)


def _text(path: Path) -> str:
    """Read a file that was named.

    Raises:
        CliError: it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as err:
        raise CliError(f"cannot read {path}: {err.strerror}") from err
    except UnicodeDecodeError as err:
        raise CliError(f"{path} is not UTF-8 at byte {err.start}") from err


def usual_rows(kind: PlanKind) -> int:
    """Return how many rows a kind's generated tables have if nobody says: each row of a join costs work with points."""
    return 20_000 if kind is PlanKind.JOIN else 100_000


def make_demo(kind: PlanKind, options: DemoOptions) -> Demo:
    """Return a kind's part.

    Raises:
        CliError: nobody shows this kind, or the options do not go with it.
    """
    if kind not in _KINDS:
        raise CliError(f"there is no demonstration of kind {kind.value}")
    return _KINDS[kind](options)


def _sum(options: DemoOptions) -> Demo:
    from cli.demo.sum import SumDemo

    return SumDemo(options)


def _score(options: DemoOptions) -> Demo:
    from cli.demo.score import ScoreDemo

    return ScoreDemo(options)


def _join(options: DemoOptions) -> Demo:
    from cli.demo.join import JoinDemo

    return JoinDemo(options)


def _deposit(options: DemoOptions) -> Demo:
    from cli.demo.deposit import DepositDemo

    return DepositDemo(options)


_KINDS: Final[dict[PlanKind, Callable[[DemoOptions], Demo]]] = {
    PlanKind.SUM: _sum,
    PlanKind.SCORE: _score,
    PlanKind.JOIN: _join,
    PlanKind.DEPOSIT: _deposit,
}
