"""`shuyao buyer`: quotes, requests, answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli import accounts, asking, connection
from cli.errors import CliError, named
from cli.expected import expected_json, show_expected
from cli.home import Home, write_json
from cli.options import HomeOption, JsonOption, NewHomeOption, PassphraseOption
from cli.output import Stages, print_json, print_table, say

if TYPE_CHECKING:
    from client.buyer import Buyer
    from client.logistic import LogisticFit
    from client.settings import ClientSettings
    from client.types import Quote
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
        "--model",
        help="File with the weights of SCORE, YAML or JSON, of which only ciphertexts leave; or ciphertexts made with `phe`.",
    ),
]
PurposeOption = Annotated[str | None, typer.Option("--purpose", help="One of the policy's purposes.")]
_ACCEPTED: Final = "acceptance handed in"


def settings_of(home: Home) -> ClientSettings:
    """Return the settings of an instance's buyer.

    Raises:
        CliError: it is not known where its market is.
    """
    from client.settings import ClientSettings

    market = connection.find(home, "buyer")
    return ClientSettings(
        home=home.buyer,
        exchange_url=market.exchange_url,
        rpc_url=market.rpc_url,
        deployment=market.deployment,
        cache=home.cache,
    )


@contextmanager
def _buyer(home: Path | None, passphrase_file: Path | None) -> Iterator[Buyer]:
    from client.buyer import Buyer
    from client.errors import QueryRejected

    found = Home.find(home)
    settings = settings_of(found)
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
    group_rows: int | None = None,
) -> Quote:
    from cli.rho import read_delta, rho_to_micro
    from client.stock_models import read_model

    return buyer.quote(
        listing,
        sql,
        purpose=purpose,
        rho_micro=None if rho is None else rho_to_micro(rho),
        delta=None if delta is None else read_delta(delta),
        model=None if model is None else read_model(model),
        group_rows=group_rows,
    )


def _quote_text(model: Path | None) -> str:
    return "quote" if model is None else "quote; the model's weights encrypted"


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
    say(f"{path}: written; `shuyao keys new buyer` makes the account")


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
        try:
            policy = item["policy"]
            rho, price = policy["rho"], policy["price"]
            cost = f"price {price['fee_minor']} + {price['rate_minor_per_rho']} a ρ and holder"
            title = f"{item['name']}: {item['title']} — ρ ≤ {rho['per_request']} a request, {cost}"
            columns = [_column(column) for column in policy["columns"]]
        except (LookupError, TypeError, AttributeError) as err:
            raise CliError(
                "the exchange does not answer as it should: expected a listing with its policy"
            ) from err
        print_table(title, ["column", "type", "group by", "measure", "filter"], columns)


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
    group_rows: Annotated[
        int | None, typer.Option(min=1, help="The group size that errors are stated for; else 1,000.")
    ] = None,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask for the price and the expected error; nothing is signed, nothing is touched."""
    from ledger.types import to_hex

    with _buyer(home, passphrase_file) as buyer, Stages(quiet=as_json).stage("quote", _quote_text(model)):
        asked = {"rho": rho, "purpose": purpose, "delta": delta}
        quoted = _quote(buyer, listing, sql, **asked, model=model, group_rows=group_rows)
    facts = {
        "plan_hash": to_hex(quoted.plan_hash),
        "rho_micro": quoted.rho_micro,
        "price_minor": quoted.price_minor,
        "answered_by": to_hex(quoted.answered_by) if quoted.answered_by else None,  # at no further charge
        "kind": quoted.plan.kind.value,
        "trust": "semi-honest: holders follow the protocol"
        if quoted.is_semi_honest
        else "as docs/protocol.md has it",
    }
    if as_json:
        losses = quoted.losses.to_json()
        print_json({**facts, **expected_json(quoted.expected_error95), "privacy_loss": losses})
        return
    rows = [(name, str(value)) for name, value in facts.items() if value is not None]
    print_table("quote", ["what", "value"], rows)
    if quoted.answered_by:
        say("answered before: `shuyao buyer ask` shows that answer, and charges nothing")
    show_expected(quoted.expected_error95)
    asking.show_losses(quoted.losses)


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
        request_id, is_earlier = asking.submit(buyer, quoted, stages)
        if not buyer.is_answered(request_id):
            with stages.stage("answer", "holders approve, share, contribute, unmask") as stage:
                buyer.wait(request_id, lambda progress: stage.say(progress.state))
        answer = asking.fetch(buyer, request_id, stages)
        if accept:
            with stages.stage("accept", _ACCEPTED):
                buyer.accept(request_id)
    asking.show_answer(answer, as_json=as_json, is_earlier=is_earlier)


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
        say("not settled: most of the error is from too few steps; more of them, or a start, would help")
    asking.show_losses(fit.losses)
    say("scaled: " + ",".join(map(decimal_text, fit.scaled)))
    for answer in fit.answers:
        say(f"receipt: {answer.receipt_path}")


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
        request_id = to_hex(asking.submit(buyer, quoted, stages)[0])
    if as_json:
        print_json({"request_id": request_id})
    else:
        say(request_id)


@app.command()
def wait(
    request: Annotated[str, typer.Argument(help="The request's id.")],
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Wait until a request is answered on the chain."""
    stages = Stages(quiet=as_json)
    with _buyer(home, passphrase_file) as buyer, stages.stage("answer", "answered on the chain") as stage:
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
    with _buyer(home, passphrase_file) as buyer:
        answer = asking.fetch(buyer, _request_id(request), Stages(quiet=as_json))
    asking.show_answer(answer, as_json=as_json)


@app.command()
def accept(
    request: Annotated[str, typer.Argument(help="The request's id.")],
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Accept a verified answer: broker and holders are paid at once."""
    stages = Stages(quiet=False)
    with _buyer(home, passphrase_file) as buyer, stages.stage("accept", _ACCEPTED):
        buyer.accept(_request_id(request))
    say("accepted")


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
    say("refunded")


@app.command()
def requests(
    home: HomeOption = None, passphrase_file: PassphraseOption = None, as_json: JsonOption = False
) -> None:
    """Show every request of this buyer, and where it stands: here, and on the chain (– was never opened)."""
    with _buyer(home, passphrase_file) as buyer:
        rows = asking.standing_of(buyer)
    if as_json:
        names = ("request_id", "state", "chain_state", "listing", "sql")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        print_table("requests", ["request", "here", "on the chain", "listing", "question"], rows)
