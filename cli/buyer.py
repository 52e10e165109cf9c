"""`shuyao buyer`: quotes, requests, answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import accounts, connection
from cli.errors import CliError, named
from cli.home import Home, write_json
from cli.options import HomeOption, JsonOption, NewHomeOption, PassphraseOption
from cli.output import Stages, print_json, print_table

if TYPE_CHECKING:
    from client.buyer import Buyer
    from client.logistic import LogisticFit
    from client.types import Answer, Losses, Quote
    from ledger.types import Digest

app = typer.Typer(help="Ask questions, get verified answers.", no_args_is_help=True)

RhoOption = Annotated[
    str | None, typer.Option("--rho", help="ρ to spend; else the policy's for one request.")
]
DeltaOption = Annotated[
    str | None,
    typer.Option("--delta", help="δ at which losses are shown as (ε, δ); else the policy's, or 1e-9."),
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model", help="File with the weights of SCORE, YAML or JSON; only their ciphertexts leave."
    ),
]
PurposeOption = Annotated[str | None, typer.Option("--purpose", help="One of the policy's purposes.")]


@contextmanager
def _buyer(home: Path | None, passphrase_file: Path | None) -> Iterator[Buyer]:
    from client.buyer import Buyer
    from client.errors import QueryRejected
    from client.settings import ClientSettings

    found = Home.find(home)
    market = connection.find(found, "buyer")
    settings = ClientSettings(
        home=found.buyer,
        exchange_url=market.exchange_url,
        rpc_url=market.rpc_url,
        deployment=market.deployment,
        cache=found.cache,
    )
    signer = accounts.open_existing(found, "buyer", passphrase_file).signer
    with named(), Buyer(settings, signer) as buyer:
        try:
            yield buyer
        except QueryRejected as err:
            raise CliError("\n".join([err.title, *(_violation(each) for each in err.violations)])) from err


def _violation(violation: Any) -> str:
    place = f"line {violation.line}, position {violation.position}: " if violation.line else ""
    return f"  {place}{violation.rule}: {violation.message}"


def _request_id(text: str) -> Digest:
    from ledger.errors import MalformedValue
    from ledger.types import digest_from_hex

    try:
        return digest_from_hex(text)
    except MalformedValue as err:
        raise CliError(f"request id: {err}") from err


def _quote(
    buyer: Buyer,
    listing: str,
    sql: str,
    *,
    rho: str | None,
    purpose: str | None,
    delta: str | None = None,
    model: Path | None = None,
) -> Quote:
    from cli.rho import read_delta, rho_to_micro
    from client.models import Model

    return buyer.quote(
        listing,
        sql,
        purpose=purpose,
        rho_micro=None if rho is None else rho_to_micro(rho),
        delta=None if delta is None else read_delta(delta),
        model=None if model is None else Model.from_file(model),
    )


def _quote_text(model: Path | None) -> str:
    return "quote" if model is None else "quote; the model's weights encrypted"


def _show_losses(losses: Losses) -> None:
    """Show what the request costs, and what it comes to with this buyer's others on each budget line."""
    from cli.rho import loss_row
    from ledger.types import to_hex

    rows = [["this request", *loss_row(losses.request)]]
    rows += [[f"line {to_hex(each.line)[:18]}…, in all", *loss_row(each.loss)] for each in losses.lines]
    print_table("privacy loss", ["of", "ρ", "ε", "δ"], rows)


def _show_answer(answer: Answer, *, as_json: bool) -> None:
    from ledger.types import to_hex

    if as_json:
        table = {"columns": answer.columns, "rows": answer.rows, "error95": answer.error95}
        facts: dict[str, Any] = {
            "request_id": to_hex(answer.request_id),
            "receipt": str(answer.receipt_path),
        }
        facts["privacy_loss"] = answer.losses.to_json()
        facts["faults"] = list(answer.faults)
        print_json({**facts, "verified": True, "survivors": answer.survivors, "answer": table})
        return
    columns: list[str] = []
    grouped = [all(row[i] is None for row in answer.error95) for i in range(len(answer.columns))]
    for name, group in zip(answer.columns, grouped, strict=True):
        columns += [name] if group else [name, "±95 %"]
    rows: list[list[Any]] = []
    for row, errors in zip(answer.rows, answer.error95, strict=True):
        cells: list[Any] = []
        for value, error, group in zip(row, errors, grouped, strict=True):
            cells += [value] if group else [value, error]
        rows.append(cells)
    print_table(f"verified, from {answer.survivors} holders", columns, rows)
    for fault in answer.faults:
        typer.echo(f"left out: {fault}")
    _show_losses(answer.losses)
    typer.echo(f"receipt: {answer.receipt_path}")


@app.command()
def init(
    exchange: connection.ExchangeOption,
    rpc: connection.RpcOption,
    deployment: connection.DeploymentOption,
    home: NewHomeOption = None,
) -> None:
    """Say where the market is, for a buyer that shares no instance with the exchange."""
    path = Home.make(home).buyer / connection.BUYER_FILE
    write_json(path, connection.Connection.given(exchange, rpc, deployment).to_json())
    typer.echo(f"{path}: written; `shuyao keys new buyer` makes the account")


@app.command()
def listings(
    home: HomeOption = None, passphrase_file: PassphraseOption = None, as_json: JsonOption = False
) -> None:
    """Show what can be asked: listings, their columns, bounds, ρ and price."""
    from cli.broker import fetch_items

    items = fetch_items(Home.find(home), "/listings", who="buyer", passphrase_file=passphrase_file)
    if as_json:
        print_json(items)
        return
    for item in items:
        policy = item["policy"]
        rho, price = policy["rho"], policy["price"]
        cost = f"price {price['fee_minor']} + {price['rate_minor_per_rho']} a ρ and holder"
        title = f"{item['name']}: {item['title']} — ρ ≤ {rho['per_request']} a request, {cost}"
        print_table(
            title, ["column", "type", "group by", "measure", "filter"], map(_column, policy["columns"])
        )


def _column(column: dict[str, Any]) -> list[Any]:
    domain = column.get("domain")
    bounds = f"{column['low']} … {column['high']}" if column.get("low") is not None else ""
    return [
        column["name"],
        column["type"],
        f"{len(domain)} values" if domain else "",
        bounds,
        column["filter"],
    ]


@app.command()
def quote(
    listing: Annotated[str, typer.Argument(help="Name or id.")],
    sql: Annotated[str, typer.Argument(help="One SELECT.")],
    rho: RhoOption = None,
    purpose: PurposeOption = None,
    delta: DeltaOption = None,
    model: ModelOption = None,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask for the price and the expected error; nothing is signed, nothing is touched."""
    from ledger.types import to_hex

    with _buyer(home, passphrase_file) as buyer, Stages(quiet=as_json).stage("quote", _quote_text(model)):
        quoted = _quote(buyer, listing, sql, rho=rho, purpose=purpose, delta=delta, model=model)
    facts = {
        "plan_hash": to_hex(quoted.plan_hash),
        "rho_micro": quoted.rho_micro,
        "price_minor": quoted.price_minor,
        "answered_by": to_hex(quoted.answered_by) if quoted.answered_by else None,
        "kind": quoted.plan.kind.value,
        "trust": "semi-honest: holders follow the protocol"
        if quoted.is_semi_honest
        else "as docs/protocol.md has it",
    }
    errors = [(each.column, each.error95, each.rows) for each in quoted.expected_error95]
    if as_json:
        expected = [dict(zip(("column", "error95", "rows"), each, strict=True)) for each in errors]
        losses = quoted.losses.to_json()
        print_json({**facts, "expected_error95": expected, "privacy_loss": losses})
        return
    print_table("quote", ["what", "value"], [(name, str(value)) for name, value in facts.items()])
    print_table("expected 95 % error", ["column", "±", "for groups of rows"], errors)
    _show_losses(quoted.losses)


@app.command()
def ask(
    listing: Annotated[str, typer.Argument(help="Name or id.")],
    sql: Annotated[str, typer.Argument(help="One SELECT.")],
    rho: RhoOption = None,
    purpose: PurposeOption = None,
    delta: DeltaOption = None,
    accept: Annotated[
        bool, typer.Option(help="Accept the verified answer, which settles it at once.")
    ] = True,
    model: ModelOption = None,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Quote, sign, wait, fetch, verify: from a question to an answer."""
    stages = Stages(quiet=as_json)
    with _buyer(home, passphrase_file) as buyer:
        with stages.stage("quote", _quote_text(model)):
            quoted = _quote(buyer, listing, sql, rho=rho, purpose=purpose, delta=delta, model=model)
        with stages.stage("submit", "signed request"):
            request_id = buyer.submit(quoted)
        with stages.stage("answer", "holders approve, share, contribute, unmask") as stage:
            buyer.wait(request_id, lambda progress: stage.say(progress.state))
        with stages.stage("fetch", "fetch, unmask, verify, receipt"):
            answer = buyer.fetch(request_id)
        if accept:
            with stages.stage("accept", "accept and settle"):
                buyer.accept(request_id)
    _show_answer(answer, as_json=as_json)


@app.command()
def logreg(
    listing: Annotated[str, typer.Option("--listing", help="The listing's name.")],
    target: Annotated[
        str, typer.Option(help="A dimension of two values, the second counts as 1; or a measure of 0 and 1.")
    ],
    features: Annotated[str, typer.Option(help="Measures, separated by commas.")],
    rho: Annotated[str, typer.Option("--rho", help="ρ for all steps together: never more is spent.")],
    where: Annotated[str | None, typer.Option(help="Which rows: the condition of a WHERE clause.")] = None,
    steps: Annotated[int, typer.Option(help="At most so many requests; it ends earlier if it can.")] = 8,
    start: Annotated[
        str | None,
        typer.Option(help="Where to start: the `scaled` coefficients of an earlier fit, by commas."),
    ] = None,
    purpose: PurposeOption = None,
    accept: Annotated[
        bool, typer.Option(help="Accept each verified answer, which settles it at once.")
    ] = True,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit a logistic regression in several requests on one budget; call it again to go on after an interruption."""
    from cli.rho import rho_to_micro
    from client.logistic import FitBudget, LogisticQuestion, fit_logistic

    names = tuple(name.strip() for name in features.split(","))
    question = LogisticQuestion(listing, target, names, where, purpose)
    stages = Stages(quiet=as_json)
    with _buyer(home, passphrase_file) as buyer, stages.stage("fit", "steps of the fit") as stage:
        fit = fit_logistic(
            buyer,
            question,
            FitBudget(rho_to_micro(rho), steps),
            start=None if start is None else _numbers("--start", start),
            accept=accept,
            on_step=lambda number, state: stage.say(f"step {number}: {state}"),
        )
    if as_json:
        print_json(fit.to_json())
    else:
        _show_fit(fit)


def _numbers(option: str, text: str) -> tuple[Decimal, ...]:
    from privacy.decimals import read_decimal

    numbers = [read_decimal(part.strip()) for part in text.split(",")]
    known = tuple(number for number in numbers if number is not None)
    if len(known) < len(numbers):
        raise CliError(f"{option} {text!r}: expected decimals, separated by commas")
    return known


def _show_fit(fit: LogisticFit) -> None:
    from privacy.decimals import decimal_text

    rows = zip(fit.terms, fit.found.values, fit.found.error95, fit.found.standard_errors, strict=True)
    shown = [[term, *("–" if each is None else f"{each:.5g}" for each in row)] for term, *row in rows]
    title = f"{len(fit.steps)} verified steps, ρ = {Decimal(fit.rho_micro) / 1_000_000} in all"
    print_table(title, ["term", "coefficient", "±95 % (noise)", "standard error (sample)"], shown)
    if not fit.is_settled:
        typer.echo(
            "not settled: most of the error is from too few steps; more of them, or a start, would help"
        )
    _show_losses(fit.losses)
    typer.echo("scaled: " + ",".join(map(decimal_text, fit.scaled)))
    for answer in fit.answers:
        typer.echo(f"receipt: {answer.receipt_path}")


@app.command()
def submit(
    listing: Annotated[str, typer.Argument(help="Name or id.")],
    sql: Annotated[str, typer.Argument(help="One SELECT.")],
    rho: RhoOption = None,
    purpose: PurposeOption = None,
    model: ModelOption = None,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Quote and sign a request; prints its id and leaves."""
    from ledger.types import to_hex

    stages = Stages(quiet=as_json)
    with _buyer(home, passphrase_file) as buyer:
        with stages.stage("quote", _quote_text(model)):
            quoted = _quote(buyer, listing, sql, rho=rho, purpose=purpose, model=model)
        with stages.stage("submit", "signed request"):
            request_id = to_hex(buyer.submit(quoted))
    if as_json:
        print_json({"request_id": request_id})
    else:
        typer.echo(request_id)


@app.command()
def wait(
    request: Annotated[str, typer.Argument(help="The request's id.")],
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Wait until a request is answered on the chain."""
    stages = Stages(quiet=as_json)
    with _buyer(home, passphrase_file) as buyer, stages.stage("answer", "waiting") as stage:
        buyer.wait(_request_id(request), lambda progress: stage.say(progress.state))
    if as_json:
        print_json({"request_id": request, "answered": True})


@app.command()
def fetch(
    request: Annotated[str, typer.Argument(help="The request's id.")],
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch and verify an answer; writes its receipt."""
    stages = Stages(quiet=as_json)
    with _buyer(home, passphrase_file) as buyer, stages.stage("fetch", "fetch, unmask, verify, receipt"):
        answer = buyer.fetch(_request_id(request))
    _show_answer(answer, as_json=as_json)


@app.command()
def accept(
    request: Annotated[str, typer.Argument(help="The request's id.")],
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Accept a verified answer: broker and holders are paid at once."""
    stages = Stages(quiet=False)
    with _buyer(home, passphrase_file) as buyer, stages.stage("accept", "accept and settle"):
        buyer.accept(_request_id(request))
    typer.echo("accepted")


@app.command()
def claim(
    request: Annotated[str, typer.Argument(help="The request's id.")],
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Have the contract refund a sealed request that the broker did not answer."""
    stages = Stages(quiet=False)
    with _buyer(home, passphrase_file) as buyer, stages.stage("claim", "refund by the contract"):
        buyer.claim(_request_id(request))
    typer.echo("refunded")


@app.command()
def requests(
    home: HomeOption = None, passphrase_file: PassphraseOption = None, as_json: JsonOption = False
) -> None:
    """Show every request of this buyer, and where it stands."""
    from ledger.types import to_hex

    with _buyer(home, passphrase_file) as buyer:
        rows = [(to_hex(r.request_id), r.state.value, r.listing_name, r.sql) for r in buyer.requests()]
    if as_json:
        print_json([dict(zip(("request_id", "state", "listing", "sql"), row, strict=True)) for row in rows])
    else:
        print_table("requests", ["request", "state", "listing", "question"], rows)
