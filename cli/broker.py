"""`shuyao broker`: what the broker does with its own key."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import accounts, connection
from cli.errors import CliError
from cli.home import Home, read_json
from cli.options import HomeOption, JsonOption, PassphraseOption
from cli.output import Stages, print_json, print_table

if TYPE_CHECKING:  # what speaks HTTP is imported where it speaks: the command line also verifies offline
    import httpx

    from ledger.keystore import Keys
    from ledger.types import Digest

app = typer.Typer(help="Listings, assets, participants and bond of the broker.", no_args_is_help=True)


def publish_listing(url: str, keys: Keys, name: str, title: str, assets: list[Digest]) -> None:
    """Offer assets of different holders as one listing. A listing that is there already with the same assets is left alone.

    Raises:
        CliError: the exchange refused; its reason is the message.
    """
    import httpx

    from ledger.http_auth import SignedAuth
    from ledger.types import to_hex

    body = {"name": name, "title": title, "assets": sorted(to_hex(asset) for asset in assets)}
    with httpx.Client(base_url=url, auth=SignedAuth(keys.signer), timeout=30) as http:
        known = http.get(f"/listings/{name}")
        if known.status_code == 200:
            return
        answer = http.post("/listings", json=body, headers={"Idempotency-Key": secrets.token_hex(16)})
    if answer.status_code not in (200, 201):
        raise CliError(f"the exchange refused the listing: {problem(answer)}")


def problem(answer: httpx.Response) -> str:
    """Return the one-line reason of a problem+json answer; of anything else, its status."""
    from ledger.encoding import parse_json, printable
    from ledger.errors import MalformedValue

    try:
        body = parse_json(answer.content)
    except MalformedValue:
        body = None
    given = body if isinstance(body, dict) else {}
    title, detail = given.get("title", f"HTTP {answer.status_code}"), given.get("detail", "")
    return printable(f"{title}: {detail}").rstrip(": ")


def fetch_items(
    home: Home, resource: str, *, who: str = "exchange", passphrase_file: Path | None = None
) -> list[dict[str, Any]]:
    """Read a whole list from the exchange, page by page, signed by `who`.

    Raises:
        CliError: the exchange refused, or it is not known where it is.
    """
    import httpx

    from ledger.http_auth import SignedAuth

    url = connection.exchange_url(home, who)
    keys = accounts.open_existing(home, who, passphrase_file)
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    with httpx.Client(base_url=url, auth=SignedAuth(keys.signer), timeout=30) as http:
        while True:
            answer = http.get(resource, params={"limit": 100, **({"cursor": cursor} if cursor else {})})
            if answer.status_code != 200:
                raise CliError(problem(answer))
            page = _page(answer.content)
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                return items


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
        print_table(resource, columns, [[str(item.get(column, "")) for column in columns] for item in items])


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
    title: Annotated[str, typer.Option(help="What people see.")] = "",
    home: HomeOption = None,
) -> None:
    """Offer entrusted assets of different holders as one listing."""
    from ledger.types import Digest

    found = Home.find(home)
    settings = read_json(found.exchange / "settings.json")
    keys = accounts.open_existing(found, "exchange")
    ids = [Digest(bytes.fromhex(asset.removeprefix("0x"))) for asset in assets]
    publish_listing(settings["public_url"], keys, name, title or name, ids)
    typer.echo(f"listed: {name}")


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
    typer.echo(f"bond: {state.total:,}, of which {state.locked:,} locked")


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
