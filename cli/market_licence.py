"""`shuyao present`: show a market the business licence that it asks for."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import accounts, connection
from cli.broker import problem
from cli.errors import CliError
from cli.home import Home
from cli.licence import keyring
from cli.licence.options import CredentialArgument, KeyOption, read_text
from cli.options import HomeOption, JsonOption, PassphraseOption
from cli.output import print_json, print_table

if TYPE_CHECKING:
    import httpx

    from cli.licence.wallet import Wallet
    from ledger.types import Address


def present(
    credential: CredentialArgument,
    key: KeyOption,
    who: Annotated[str, typer.Option("--as", help="Whose account: buyer, exchange, holders/1, …")] = "buyer",
    exchange: Annotated[
        str | None, typer.Option(help="Address of the exchange; the instance's if not given.")
    ] = None,
    city: Annotated[
        str | None,
        typer.Option(
            "--city",
            envvar="SHUYAO_CITY",
            help="Address of the city's service; the exchange asks if not given.",
        ),
    ] = None,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Be admitted to a market with a licence; no field of it is shown. The passphrase file is that of the licence's key."""
    import httpx

    from cli.licence.client import CityClient
    from cli.licence.wallet import Wallet
    from ledger.http_auth import SignedAuth

    found = Home.find(home)
    url = exchange or connection.exchange_url(found, who)
    signer = accounts.open_existing(found, who).signer
    wallet, text = Wallet(keyring.open_key(key, passphrase_file)), read_text(credential)
    with httpx.Client(base_url=url, auth=SignedAuth(signer), timeout=30) as http:
        if city is None:
            shown = present_licence(http, url, signer.address, wallet, text)
        else:
            with CityClient(city) as client:
                shown = present_licence(http, url, signer.address, wallet, text, bundle_of=client.bundle)
    if as_json:
        print_json(shown)
    else:
        print_table("admitted", ["what", "value"], list(shown.items()))


def present_licence(
    http: httpx.Client,
    url: str,
    account: Address,
    wallet: Wallet,
    credential: str,
    *,
    bundle_of: Callable[[str], bytes] | None = None,
) -> dict[str, Any]:
    """Present a licence to an exchange for an account.

    Args:
        http: to the exchange, signing as the account.
        url: of the exchange, as the user knows it: the proof is made for no other, whatever the exchange says of itself.
        account: to be admitted.
        wallet: of the licence's holder.
        credential: as the department gave it.
        bundle_of: fetches the facts about a presentation; None where the exchange is to.

    Raises:
        CliError: the exchange asks for no licence or refuses this one, or the wallet is another holder's.
    """
    from ledger.encoding import to_hex

    path = f"/participants/{to_hex(account)}"
    wanted = _answer(http, "GET", "/admission")
    if not wanted.get("types"):
        raise CliError("the exchange asks for no licence")
    audience = url.rstrip("/") + path
    if f"{wanted.get('audience')}{to_hex(account)}" != audience:
        raise CliError(
            f"{url}: the exchange calls itself {wanted.get('audience')}; give that address if it is the right one"
        )
    nonce = str(_answer(http, "POST", "/nonces").get("nonce"))
    presentation = wallet.present(credential, (), nonce=nonce, audience=audience)
    if bundle_of is None:
        return _answer(http, "POST", f"{path}/licence", json={"presentation": presentation})
    content = b'{"bundle":' + bundle_of(presentation) + b"}"
    headers = {"content-type": "application/json"}
    return _answer(http, "POST", f"{path}/licence", content=content, headers=headers)


def _answer(http: httpx.Client, method: str, path: str, **arguments: Any) -> dict[str, Any]:
    import httpx

    from ledger.encoding import parse_json
    from ledger.errors import MalformedValue

    headers = {"idempotency-key": secrets.token_hex(16), **arguments.pop("headers", {})}
    try:
        answer = http.request(method, path, headers=headers, **arguments)
        value = parse_json(answer.content)
    except (httpx.HTTPError, MalformedValue) as err:
        raise CliError(f"the exchange does not answer as it should: {type(err).__name__}") from err
    if answer.status_code not in (200, 201):
        raise CliError(f"the exchange refused: {problem(answer)}")
    if not isinstance(value, dict):
        raise CliError("the exchange does not answer as it should: expected a JSON object")
    return value
