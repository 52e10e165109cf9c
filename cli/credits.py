"""`transfer`, `reclaim` and `adopt`: what holder, broker and buyer earned goes on; what an account has that they replaced is taken over."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import accounts
from cli.authority import Desk, desk_of, open_desk
from cli.errors import named
from cli.home import Home, read_json
from cli.options import HomeOption, JsonOption, NumberOption, PassphraseOption
from cli.output import Stages, print_json, say

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

ToArgument = Annotated[str, typer.Argument(help="The account that gets them, 0x….")]
AmountArgument = Annotated[int, typer.Argument(help="Minor units (fen).", min=1)]
ReferenceOption = Annotated[
    str, typer.Option("--reference", help="Names the movement; the same one is never made twice.")
]
OldArgument = Annotated[str, typer.Argument(help="The account that the registrar replaced by this one, 0x….")]
AssetArgument = Annotated[
    str, typer.Argument(help="The asset's id, 0x…, as `shuyao broker assets` shows it.")
]


def holder_transfer(
    to: ToArgument,
    amount: AmountArgument,
    reference: ReferenceOption,
    home: HomeOption = None,
    number: NumberOption = 1,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give credits of the holder's, such as it earned, to another account; a running node goes on."""
    _transfer(_holder(home, number, passphrase_file), to, amount, reference, as_json=as_json)


def broker_transfer(
    to: ToArgument,
    amount: AmountArgument,
    reference: ReferenceOption,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give credits of the broker's, such as it earned, to another account; a running exchange goes on. The bond stays."""
    _transfer(_broker(home, passphrase_file), to, amount, reference, as_json=as_json)


def buyer_transfer(
    to: ToArgument,
    amount: AmountArgument,
    reference: ReferenceOption,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give credits of the buyer's to another account."""
    _transfer(_buyer(home, passphrase_file), to, amount, reference, as_json=as_json)


def holder_reclaim(
    account: OldArgument,
    home: HomeOption = None,
    number: NumberOption = 1,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take over the credits of the account that this one replaced; again for what was paid to it later."""
    _reclaim(_holder(home, number, passphrase_file), account, as_json=as_json)


def broker_reclaim(
    account: OldArgument,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take over credits and free bond of the account that this one replaced; again for what comes free later."""
    _reclaim(_broker(home, passphrase_file), account, as_json=as_json)


def buyer_reclaim(
    account: OldArgument,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take over the credits of the account that this one replaced; again for what is refunded to it later."""
    _reclaim(_buyer(home, passphrase_file), account, as_json=as_json)


def holder_adopt(
    asset: AssetArgument,
    home: HomeOption = None,
    number: NumberOption = 1,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take over an asset of the account that this one replaced: its id, budget line and entrustments stay."""
    from ledger.types import digest_from_hex, to_hex

    with named():
        asset_id = digest_from_hex(asset.lower())
    with (
        _holder(home, number, passphrase_file) as desk,
        Stages(quiet=as_json).stage("adopt", "asset taken over on the chain"),
    ):
        registry = desk.contracts.assets
        if registry.get(asset_id).holder != desk.account:
            desk.execute(f"adopt/{to_hex(asset_id)}", registry.adopt(asset_id))
        found = registry.get(asset_id)
    shown = {"asset": to_hex(asset_id), "holder": to_hex(found.holder), "version": found.version}
    if as_json:
        print_json(shown)
    else:
        say(f"{shown['asset']}: version {found.version}, of {shown['holder']} now")


def _transfer(
    opened: AbstractContextManager[Desk], to: str, amount: int, reference: str, *, as_json: bool
) -> None:
    """Move credits once for each reference, and say what is left."""
    from ledger.types import address_from_hex, to_hex

    with named():
        receiver = address_from_hex(to.lower())
    with opened as desk, Stages(quiet=as_json).stage("transfer", "credits on the chain"):
        settlement = desk.contracts.settlement
        desk.execute(f"transfer/reference/{reference}", settlement.transfer(receiver, amount))
        balance = settlement.balance_of(desk.account)
    if as_json:
        shown = {"address": to_hex(desk.account), "to": to_hex(receiver), "amount": str(amount)}
        print_json({**shown, "balance": str(balance)})
    else:
        say(f"{to_hex(receiver)}: {amount:,} given, {balance:,} left")


def _reclaim(opened: AbstractContextManager[Desk], account: str, *, as_json: bool) -> None:
    """Move what the replaced account has; nothing is sent where it has nothing."""
    from ledger.types import address_from_hex, to_hex

    with named():
        old = address_from_hex(account.lower())
    with opened as desk, Stages(quiet=as_json).stage("reclaim", "credits and free bond on the chain"):
        settlement = desk.contracts.settlement
        given, bond = settlement.balance_of(old), settlement.bond_of(old)
        free = bond.total - bond.locked
        if given or free:
            # a key of its own: more may come to the old account, from requests that were open
            desk.execute(f"reclaim/{to_hex(old)}/{secrets.token_hex(8)}", settlement.reclaim(old))
        balance = settlement.balance_of(desk.account)
    moved = {"credits": given, "bond": free, "locked": bond.locked, "balance": balance}
    if as_json:
        print_json(
            {"from": to_hex(old), "address": to_hex(desk.account)} | {k: str(v) for k, v in moved.items()}
        )
    else:
        say(
            f"{given:,} credits and {free:,} of the bond of {to_hex(old)} taken over, {bond.locked:,} still locked; {balance:,} in all"
        )


@contextmanager
def _holder(home: Path | None, number: int, passphrase_file: Path | None) -> Iterator[Desk]:
    """Open a holder's account, with the journal of its node."""
    from holder.settings import load_settings

    found = Home.find(home)
    signer = accounts.open_existing(found, f"holders/{number}", passphrase_file).signer
    with named():
        settings = load_settings(found.holder(number))
    opened = desk_of(
        signer,
        settings.rpc_url,
        settings.deployment,
        settings.database_url,
        confirmations=settings.confirmations,
    )
    with opened as desk:
        yield desk


@contextmanager
def _broker(home: Path | None, passphrase_file: Path | None) -> Iterator[Desk]:
    """Open the broker's account, with the journal of its exchange."""
    found = Home.find(home)
    url = read_json(found.exchange / "settings.json")["database_url"]
    with open_desk(found, "exchange", passphrase_file=passphrase_file, database_url=url) as desk:
        yield desk


@contextmanager
def _buyer(home: Path | None, passphrase_file: Path | None) -> Iterator[Desk]:
    """Open the buyer's account, with the journal of its demands and claims."""
    from cli.buyer import settings_of

    found = Home.find(home)
    settings = settings_of(found)
    settings.home.mkdir(parents=True, exist_ok=True)
    signer = accounts.open_existing(found, "buyer", passphrase_file).signer
    opened = desk_of(
        signer,
        settings.rpc_url,
        settings.deployment,
        settings.database_url,
        confirmations=settings.confirmations,
    )
    with opened as desk:
        yield desk
