"""A logistic regression of several steps on one budget: each step is an ordinary request, with its own receipt.

The journal of a fit is on disk before any of its requests is signed, so that a fit that was killed goes on where it was, and
nothing is charged twice: steps that are answered are read from their receipts. Its name is a hash of the first step's
query over the registered data, the number of steps and the budget: on other data, or with another budget, a fit is another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from client.buyer import Buyer
from client.errors import FitImpossible, StoreError
from client.files import make_private_directory, write_atomically
from client.newton import Answered, Coefficients, Scale, zeros
from client.types import Answer, LocalState, Losses, Progress, Quote
from ledger.encoding import canonical_json, parse_json
from ledger.errors import LedgerError
from ledger.types import to_hex
from privacy.decimals import RHO_SCALE, decimal_text
from privacy.logistic import is_coefficient
from privacy.plan import Plan

STEPS_MAX: Final = 32
NAME: Final = "logreg"
"""The output's name in each step's query."""

OnStep = Callable[[int, str], None]
"""Is told the number of the step, from 1, and its state."""


def ignore_step(number: int, state: str) -> None:
    """Take no notice of steps."""


@dataclass(frozen=True, slots=True)
class LogisticQuestion:
    """What is to be explained by what, and over which rows.

    Attributes:
        listing: its name.
        target: a dimension of two declared values, of which the second counts as 1, or a measure of 0 and 1.
        features: measures.
        where: the condition of a WHERE clause; None for all rows.
        purpose: one of the policy's; may be omitted where there is only one.
    """

    listing: str
    target: str
    features: tuple[str, ...]
    where: str | None = None
    purpose: str | None = None

    def sql(self, coefficients: tuple[Decimal, ...]) -> str:
        """Return the query of a step."""
        names = ", ".join(map(_quoted, (self.target, *self.features)))
        numbers = ", ".join(map(decimal_text, coefficients))
        where = "" if self.where is None else f" WHERE {self.where}"
        # for our own parser, which takes nothing but the grammar of docs/protocol.md §6
        return f"SELECT LOGREG_STEP({names}, {numbers}) AS {NAME} FROM {_quoted(self.listing)}{where}"  # noqa: S608


class Stage(StrEnum):
    """What a step is for."""

    SEARCH = "search"
    REFINE = "refine"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class FitBudget:
    """What a fit may spend, in all and in each step.

    Attributes:
        rho_micro: R, for all steps.
        steps: T, at most so many.
    """

    rho_micro: int
    steps: int

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= STEPS_MAX or self.rho_micro < 4 * self.steps:
            raise FitImpossible(f"expected 1 to {STEPS_MAX} steps and at least 4 micro-rho for each")

    def share(self, stage: Stage, spent_micro: int, *, request_max: int) -> int:
        """Return the micro-ρ of a step: R/4 for all that search, R/4 for the one that refines, what is left for the last.

        Errors come from the noise of the last step; the others only have to get near.

        Args:
            stage: the step's.
            spent_micro: by earlier steps.
            request_max: the policy's ρ of one request.
        """
        if stage is Stage.SEARCH:
            share = self.rho_micro // (4 * (self.steps - 2))
        else:
            share = self.rho_micro // 4 if stage is Stage.REFINE else self.rho_micro - spent_micro
        return min(share, request_max)

    def first_stage(self) -> Stage:
        """Return where a fit begins."""
        return {1: Stage.LAST, 2: Stage.REFINE}.get(self.steps, Stage.SEARCH)

    def next_stage(self, stage: Stage, made: int, *, is_settled: bool) -> Stage:
        """Return what follows a step.

        Args:
            stage: the step's, not the last.
            made: how many steps were made, this one included.
            is_settled: whether its error is noise rather than distance.
        """
        if stage is Stage.REFINE:
            return Stage.LAST
        return Stage.REFINE if is_settled or made + 2 >= self.steps else Stage.SEARCH


@dataclass(frozen=True, slots=True)
class FitStep:
    """One step of a fit, as its journal keeps it.

    Attributes:
        coefficients: of the scaled features, where gradient and curvature are asked for.
        rho_micro: what it costs.
        stage: what it is for.
        plan_hash: of the plan that was quoted for it.
    """

    coefficients: tuple[Decimal, ...]
    rho_micro: int
    stage: Stage
    plan_hash: bytes

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the journal."""
        return {
            "coefficients": [decimal_text(each) for each in self.coefficients],
            "rho": str(self.rho_micro),
            "stage": self.stage.value,
            "plan_hash": to_hex(self.plan_hash),
        }


@dataclass(frozen=True, slots=True)
class LogisticFit:
    """A finished fit.

    Attributes:
        terms: "intercept" and the features.
        found: coefficients with their 95 % errors.
        scaled: coefficients of the features as the policy's bounds scale them: where another fit may start.
        steps: what was asked; their ρ is at most the budget.
        answers: the verified answer of each, with its receipt.
        is_settled: whether of each error the larger part is noise, and not that there were too few steps.
    """

    terms: tuple[str, ...]
    found: Coefficients
    scaled: tuple[Decimal, ...]
    steps: tuple[FitStep, ...]
    answers: tuple[Answer, ...]
    is_settled: bool

    @property
    def rho_micro(self) -> int:
        """What all steps cost each line together."""
        return sum(step.rho_micro for step in self.steps)

    @property
    def losses(self) -> Losses:
        """The last request's loss, and each line's with all of this buyer's requests."""
        return self.answers[-1].losses

    def to_json(self) -> dict[str, Any]:
        """Return what is shown."""
        rows = zip(self.terms, self.found.values, self.found.error95, self.found.standard_errors, strict=True)
        names = ("term", "coefficient", "error95", "standard_error")
        return {
            "coefficients": [dict(zip(names, row, strict=True)) for row in rows],
            "scaled": [decimal_text(each) for each in self.scaled],
            "settled": self.is_settled,
            "rho_micro": self.rho_micro,
            "steps": [
                {
                    "request_id": to_hex(answer.request_id),
                    "receipt": str(answer.receipt_path),
                    **step.to_json(),
                }
                for step, answer in zip(self.steps, self.answers, strict=True)
            ],
            "privacy_loss": self.losses.to_json(),
        }


@dataclass(slots=True)
class _Journal:
    """The steps of a fit on disk."""

    path: Path
    steps: list[FitStep] = field(default_factory=list)

    @classmethod
    def open(cls, folder: Path, first: Quote, budget: FitBudget) -> _Journal:
        name = hashlib.sha256(f"{first.plan_hash.hex()}|{budget.steps}|{budget.rho_micro}".encode())
        make_private_directory(folder)
        path = folder / f"{name.hexdigest()[:32]}.json"
        return cls(path, _read_journal(path) if path.exists() else [])

    def put(self, number: int, step: FitStep) -> None:
        self.steps[number:] = [step]
        write_atomically(self.path, canonical_json([each.to_json() for each in self.steps]))


def fit_logistic(
    buyer: Buyer,
    question: LogisticQuestion,
    budget: FitBudget,
    *,
    start: tuple[Decimal, ...] | None = None,
    accept: bool = True,
    on_step: OnStep = ignore_step,
) -> LogisticFit:
    """Fit a logistic regression, or go on with a fit that was interrupted.

    Args:
        buyer: asks, pays and verifies.
        question: what is to be fitted.
        budget: R and T.
        start: coefficients of the scaled features to start from, as an earlier fit shows them; zeros if not given.
        accept: accept each verified answer, which settles it at once.
        on_step: is told of progress.

    Raises:
        FitImpossible: the budget has no room for the steps, the start does not fit the features, or the query groups.
        QueryRejected, QuoteMismatch and the rest of what `Buyer.quote`, `submit`, `wait` and `fetch` raise. Called again,
            the fit goes on; steps that ended without an answer were not paid, and are asked again.
    """
    return _Fit(buyer, question, budget, accept, on_step).run(start)


class _Fit:
    def __init__(
        self, buyer: Buyer, question: LogisticQuestion, budget: FitBudget, accept: bool, on_step: OnStep
    ) -> None:
        self._buyer, self._question, self._budget = buyer, question, budget
        self._accept, self._on_step = accept, on_step

    def run(self, start: tuple[Decimal, ...] | None) -> LogisticFit:
        terms = 1 + len(self._question.features)
        coefficients = zeros(terms) if start is None else start
        if len(coefficients) != terms or not all(map(is_coefficient, coefficients)):
            raise FitImpossible(f"expected {terms} coefficients to start from, each allowed in a query")
        stage = self._budget.first_stage()
        first = self._quote(coefficients, None)
        journal = _Journal.open(self._buyer.fits, first, self._budget)
        answers: list[Answer] = []
        while True:
            number = len(answers)
            if number == len(journal.steps):
                spent = sum(step.rho_micro for step in journal.steps)
                rho_micro = self._budget.share(stage, spent, request_max=_request_max(first))
                quote = self._quote(coefficients, rho_micro)
                journal.put(number, FitStep(coefficients, rho_micro, stage, quote.plan_hash))
            answer, plan = self._answer(journal, number)
            answers.append(answer)
            step = journal.steps[number]
            answered = _answered(step, answer)
            if step.stage is Stage.LAST:
                break
            coefficients = answered.next()
            stage = self._budget.next_stage(step.stage, number + 1, is_settled=answered.is_settled)
        return LogisticFit(
            terms=("intercept", *self._question.features),
            found=answered.result(_scale(plan)),
            scaled=answered.next(),
            steps=tuple(journal.steps),
            answers=tuple(answers),
            is_settled=answered.is_settled,
        )

    def _quote(self, coefficients: tuple[Decimal, ...], rho_micro: int | None) -> Quote:
        sql = self._question.sql(coefficients)
        quote = self._buyer.quote(
            self._question.listing, sql, purpose=self._question.purpose, rho_micro=rho_micro
        )
        if quote.plan.group_by:
            raise FitImpossible("expected a condition, not a GROUP BY: a fit is over all rows that pass")
        return quote

    def _answer(self, journal: _Journal, number: int) -> tuple[Answer, Plan]:
        """Return the answer of a step that the journal has, asking for it unless it is under way or answered."""
        step = journal.steps[number]
        stored = self._buyer.standing(step.plan_hash)
        was_answered = stored is not None and stored.state is LocalState.ANSWERED
        if stored is None:
            quote = self._quote(step.coefficients, step.rho_micro)
            if quote.plan_hash != step.plan_hash:  # the data have changed since
                journal.put(number, replace(step, plan_hash=quote.plan_hash))
            request_id, plan = self._buyer.submit(quote), quote.plan
        else:
            request_id, plan = stored.request_id, Plan.from_bytes(stored.plan_json)
        if not was_answered:
            self._buyer.wait(request_id, self._told(number))
        answer = self._buyer.fetch(request_id)
        if self._accept and not was_answered:
            self._buyer.accept(request_id)
        return answer, plan

    def _told(self, number: int) -> Callable[[Progress], None]:
        return lambda progress: self._on_step(number + 1, progress.state)


def _request_max(quote: Quote) -> int:
    """Return the policy's ρ of one request, in micro-ρ."""
    return int(Decimal(str(quote.listing.policy["rho"]["per_request"])) * RHO_SCALE)


def _answered(step: FitStep, answer: Answer) -> Answered:
    values = [float(value or 0) for value in answer.rows[0]]
    errors = [float(value or 0) for value in answer.error95[0]]
    return Answered.of(step.coefficients, values, errors)


def _scale(plan: Plan) -> Scale:
    (lane,) = plan.lanes
    if lane.logistic is None:
        raise FitImpossible("expected the plan of a step")
    units = [2.0**-feature.scale_bits for feature in lane.logistic.features]
    pairs = list(zip(lane.logistic.features, units, strict=True))
    return Scale(
        tuple(feature.center * unit for feature, unit in pairs),
        tuple(feature.half_width * unit for feature, unit in pairs),
    )


def _read_journal(path: Path) -> list[FitStep]:
    try:
        steps = parse_json(path.read_bytes())
        if not isinstance(steps, list) or not steps:
            raise ValueError("expected a list of steps")
        return [_read_step(each) for each in steps]
    except (OSError, LedgerError, KeyError, TypeError, ValueError, ArithmeticError) as err:
        raise StoreError(f"the journal {path.name} of a fit cannot be read: {type(err).__name__}") from err


def _read_step(value: Mapping[str, Any]) -> FitStep:
    return FitStep(
        coefficients=tuple(Decimal(each) for each in value["coefficients"]),
        rho_micro=int(value["rho"]),
        stage=Stage(value["stage"]),
        plan_hash=bytes.fromhex(value["plan_hash"][2:]),
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
