"""`shuyao broker`: what the broker does with its own key."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import accounts, connection
from cli.errors import CliError
from cli.home import Home, read_json
from cli.options import HomeOption, JsonOption, PassphraseOption
from cli.output import Stages, print_json, print_table, say, visible

if TYPE_CHECKING:  # what speaks HTTP is imported where it speaks: the command line also verifies offline
    import httpx

    from ledger.signing import Signer
    from ledger.types import Digest

app = typer.Typer(help="Listings, assets, participants and bond of the broker.", no_args_is_help=True)


@contextmanager
def exchange_client(url: str, signer: Signer) -> Iterator[httpx.Client]:
    """Open a client of an exchange that signs as an account.

    Raises:
        CliError: while it is open, no answer from the exchange.
    """
    import httpx

    from ledger.http_auth import SignedAuth

    try:
        with httpx.Client(base_url=url, auth=SignedAuth(signer), timeout=30) as http:
            yield http
    except (httpx.HTTPError, httpx.InvalidURL) as err:
        raise CliError(f"the exchange at {url} does not answer: {type(err).__name__}: {err}") from err


def publish_listing(
    http: httpx.Client, name: str, title: str | None, assets: Sequence[Digest], *, is_minimum: bool = False
) -> bool:
    """Offer assets of different holders as one listing. One that is there already with the same assets is left alone.

    Args:
        http: to the exchange, signing as the broker.
        name: of the listing, as its policy has it.
        title: what people see; that of before, or the name, if None.
        assets: all that it shall have.
        is_minimum: leave one alone too that has these and others, whatever its title.

    Returns:
        Whether there is something new: it was made, or has other assets or another title than before.

    Raises:
        CliError: the exchange refused; its reason is the message.
    """
    from urllib.parse import quote

    from ledger.types import to_hex

    wanted = {to_hex(asset) for asset in assets}
    known = http.get(f"/listings/{quote(name, safe='')}")
    if known.status_code == 200:
        listed_title, listed = _listed(known.content)
        if (listed == wanted and title in (None, listed_title)) or (is_minimum and listed >= wanted):
            return False
        title = title or listed_title
    body = {"name": name, "title": title or name, "assets": sorted(wanted)}
    answer = http.post("/listings", json=body, headers={"Idempotency-Key": secrets.token_hex(16)})
    if answer.status_code not in (200, 201):
        raise CliError(f"the exchange refused the listing: {problem(answer)}")
    return True


def _listed(content: bytes) -> tuple[str, set[str]]:
    """Read the title of a listing and the ids of its assets.

    Raises:
        CliError: it is something else.
    """
    from ledger.encoding import parse_json
    from ledger.errors import MalformedValue

    try:
        shown = parse_json(content)
        return str(shown["title"]), {str(each["asset"]) for each in shown["assets"]}
    except (MalformedValue, LookupError, TypeError) as err:
        raise CliError("the exchange does not answer as it should: expected a listing") from err


def problem(answer: httpx.Response) -> str:
    """Return the reason of a problem+json answer in one line, with each rule that was broken; of anything else, its status."""
    from ledger.encoding import parse_json
    from ledger.errors import MalformedValue

    try:
        body = parse_json(answer.content)
    except MalformedValue:
        body = None
    given = body if isinstance(body, dict) else {}
    title, detail = given.get("title", f"HTTP {answer.status_code}"), given.get("detail", "")
    violations = given.get("violations")
    broken = [_broken(each) for each in violations] if isinstance(violations, list) else []
    more = [text for message, text in broken if not message or message not in str(detail)]
    return visible("; ".join([f"{title}: {detail}".rstrip(": "), *more]))


def _broken(violation: Any) -> tuple[str, str]:
    """Return why a violation is one, and all that it says: the rule, where the body breaks it, and why."""
    given = violation if isinstance(violation, dict) else {}
    place, message = given.get("column"), str(given.get("message", ""))
    rule = str(given.get("rule", "unknown")) + (f" ({place})" if place is not None else "")
    return message, f"{rule}: {message}".rstrip(": ")


def fetch_items(
    home: Home, resource: str, *, who: str = "exchange", passphrase_file: Path | None = None
) -> list[dict[str, Any]]:
    """Read a whole list from the exchange, page by page, signed by `who`.

    Raises:
        CliError: the exchange refused or does not answer, or it is not known where it is.
    """
    url = connection.exchange_url(home, who)
    keys = accounts.open_existing(home, who, passphrase_file)
    with exchange_client(url, keys.signer) as http:
        return list(read_items(http, resource))


def read_items(http: httpx.Client, resource: str) -> Iterator[dict[str, Any]]:
    """Yield the items of a list, page by page.

    Raises:
        CliError: the exchange refused, or answers with something else.
    """
    cursor: str | None = None
    while True:
        answer = http.get(resource, params={"limit": 100, **({"cursor": cursor} if cursor else {})})
        if answer.status_code != 200:
            raise CliError(problem(answer))
        page = _page(answer.content)
        yield from page["items"]
        cursor = page["next"]
        if cursor is None:
            return


def _page(content: bytes) -> dict[str, Any]:
    """Read one page of a list: its items and the cursor of the next one.

    Raises:
        CliError: it is something else.
    """
    from ledger.encoding import parse_json
    from ledger.errors import MalformedValue

    try:
        page = parse_json(content)
    except MalformedValue:
        page = None
    items, cursor = (page.get("items"), page.get("next")) if isinstance(page, dict) else (None, None)
    is_page = isinstance(items, list) and all(isinstance(item, dict) for item in items)
    if not is_page or not isinstance(cursor, str | None):
        raise CliError("the exchange does not answer as it should: expected a page of a list")
    return {"items": items, "next": cursor}


def _show(home: Path | None, resource: str, columns: list[str], as_json: bool) -> None:
    items = fetch_items(Home.find(home), f"/{resource}")
    if as_json:
        print_json(items)
    else:
        show_items(resource, columns, items)


def show_items(title: str, columns: list[str], items: list[dict[str, Any]]) -> None:
    """Print some members of each item; what is not there, or empty, as such."""
    print_table(title, columns, [[item.get(column) or None for column in columns] for item in items])


@app.command()
def participants(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show who was admitted."""
    _show(home, "participants", ["address", "name", "roles"], as_json)


@app.command()
def assets(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show what holders registered."""
    _show(home, "assets", ["id", "name", "title", "holder"], as_json)


@app.command()
def requests(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the requests and where each stands."""
    _show(home, "requests", ["request_id", "state"], as_json)


@app.command(name="list")
def list_assets(
    name: Annotated[str, typer.Argument(help="The listing's name, as its policy has it.")],
    assets: Annotated[list[str], typer.Argument(help="Asset ids, 0x….")],
    title: Annotated[
        str | None, typer.Option(help="What people see; that of before, or the name, if not given.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Offer entrusted assets of different holders as one listing: these, and no other that it may have had before."""
    ids = [_asset_id(asset) for asset in assets]
    found = Home.find(home)
    url = connection.exchange_url(found, "exchange")
    keys = accounts.open_existing(found, "exchange")
    with exchange_client(url, keys.signer) as http:
        is_new = publish_listing(http, name, title, ids)
    what = f"{len(ids)} asset{'s' if len(ids) > 1 else ''}"
    say(
        f"listed: {name}, with {what}"
        if is_new
        else f"{name} is listed with exactly this already: {what}; nothing is changed"
    )


def _asset_id(text: str) -> Digest:
    from ledger.errors import MalformedValue
    from ledger.types import digest_from_hex

    try:
        return digest_from_hex("0x" + text.lower().removeprefix("0x"))
    except MalformedValue as err:
        raise CliError(
            f"asset {text!r}: expected 0x and 64 hex digits, as `shuyao broker assets` shows them"
        ) from err


AmountArgument = Annotated[int, typer.Argument(help="Minor units (fen).", min=1)]
ReferenceOption = Annotated[
    str, typer.Option("--reference", help="Names the movement; the same one is never made twice.")
]


@app.command(name="post-bond")
def post_bond(
    amount: AmountArgument,
    reference: ReferenceOption,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Put credits of the broker's into its bond; a running exchange goes on."""
    _move_bond(home, passphrase_file, amount, f"post-bond/{reference}")


@app.command(name="withdraw-bond")
def withdraw_bond(
    amount: AmountArgument,
    reference: ReferenceOption,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Take credits out of the bond; what requests in flight have locked stays."""
    _move_bond(home, passphrase_file, -amount, f"withdraw-bond/{reference}")


def _move_bond(home: Path | None, passphrase_file: Path | None, amount: int, key: str) -> None:
    """Raise the bond by `amount`, or lower it if that is negative, and say what it is then."""
    from cli.authority import open_desk

    found = Home.find(home)
    url = read_json(found.exchange / "settings.json")["database_url"]
    stage = Stages(quiet=False).stage("bond", "bond on the chain")
    with open_desk(found, "exchange", passphrase_file=passphrase_file, database_url=url) as desk, stage:
        settlement = desk.contracts.settlement
        desk.execute(key, settlement.post_bond(amount) if amount > 0 else settlement.withdraw_bond(-amount))
        state = settlement.bond_of(desk.account)
    say(f"bond: {state.total:,}, of which {state.locked:,} locked")


@app.command()
def bond(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the bond, and what of it is locked by requests in flight."""
    from ledger.chain import Chain
    from ledger.contracts import Contracts
    from ledger.types import Deployment

    found = Home.find(home)
    settings = read_json(found.exchange / "settings.json")
    contracts = Contracts(Chain(settings["rpc_url"]), Deployment.from_json(settings["deployment"]))
    state = contracts.settlement.bond_of(accounts.open_existing(found, "exchange").signer.address)
    if as_json:
        print_json({"total": str(state.total), "locked": str(state.locked)})
    else:
        print_table("bond, minor units", ["total", "locked"], [(state.total, state.locked)])
