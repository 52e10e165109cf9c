"""`shuyao registrar`, `regulator` and `bank`: who is admitted to a market, stopped in it, given credits in it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli import accounts, connection
from cli.errors import CliError, named
from cli.home import Home, read_json
from cli.options import HomeOption, JsonOption, PassphraseOption
from cli.output import Stages, print_json, say

if TYPE_CHECKING:
    from ledger.contracts import Contracts
    from ledger.signing import Signer
    from ledger.submitter import Submitter
    from ledger.types import Address, Call, Deployment

registrar = typer.Typer(help="The registrar of a market: who is admitted.", no_args_is_help=True)
regulator = typer.Typer(help="The regulator of a market: who is stopped.", no_args_is_help=True)
bank = typer.Typer(help="The bank of a market: who has credits.", no_args_is_help=True)

ROLES: Final = ("holder", "broker", "buyer", "regulator")
TIMEOUT_S: Final = 60.0

AccountArgument = Annotated[str, typer.Argument(help="The account, 0x….")]
RpcOption = Annotated[
    str | None, typer.Option("--rpc", help="JSON-RPC address of a node; the instance's if not given.")
]
DeploymentOption = Annotated[
    Path | None, typer.Option("--deployment", help="deployment.json; the instance's if not given.")
]


@dataclass(frozen=True, slots=True)
class Desk:
    """An account at work: the chain's address, its account, the contracts, and the one writer of its account."""

    url: str
    account: Address
    contracts: Contracts
    submitter: Submitter

    def execute(self, key: str, call: Call) -> None:
        """Send a call and wait until it is final; the same key is never sent twice.

        Raises:
            LedgerError: chain or contract refuse.
        """
        self.submitter.execute(key, call, TIMEOUT_S)


@contextmanager
def open_desk(
    home: Home,
    who: str,
    *,
    rpc: str | None = None,
    deployment: Path | None = None,
    passphrase_file: Path | None = None,
    database_url: str | None = None,
) -> Iterator[Desk]:
    """Open what an authority of an instance, or its broker, needs to write to the chain.

    Args:
        home: the instance.
        who: whose keys.
        rpc: a node; the instance's if None.
        deployment: file with the contracts' addresses; the instance's if None.
        passphrase_file: of the keystore.
        database_url: where the account's transactions stand; a file of this party's own if None.

    Raises:
        CliError: no keystore, no chain, or a refusal while it is open.
    """
    signer = accounts.open_existing(home, who, passphrase_file).signer
    accepted = connection.read_deployment(deployment or home.deployment)
    url = rpc or str(read_json(home.exchange / "settings.json")["rpc_url"])
    journal = database_url or f"sqlite:///{accounts.folder(home, who) / 'chain.db'}"
    with desk_of(signer, url, accepted, journal) as desk:
        yield desk


@contextmanager
def desk_of(
    signer: Signer, url: str, accepted: Deployment, journal: str, *, confirmations: int = 0
) -> Iterator[Desk]:
    """Open what an account needs to write to the chain.

    Args:
        signer: the account.
        url: of a node.
        accepted: the contracts.
        journal: database URL, where the account's transactions stand.
        confirmations: blocks on top of a transaction's own before it is final.

    Raises:
        CliError: no chain, or a refusal while it is open.
    """
    from ledger.chain import Chain
    from ledger.contracts import Contracts
    from ledger.database import make_engine
    from ledger.store import create_tables
    from ledger.submitter import Submitter

    with named():
        engine = make_engine(journal)
    try:
        with named(), Chain(url) as chain:
            contracts = Contracts(chain, accepted)
            contracts.require_deployed()  # before anything is stored that would be sent later
            create_tables(engine)
            submitter = Submitter(engine, chain, signer, confirmations=confirmations)
            yield Desk(url, signer.address, contracts, submitter)
    finally:
        engine.dispose()


@registrar.command()
def admit(
    account: AccountArgument,
    role: Annotated[list[str], typer.Option("--role", help=f"{', '.join(ROLES)}; once for each.")],
    encryption_key: Annotated[
        str, typer.Option("--encryption-key", help="What `shuyao keys public` shows, 0x….")
    ],
    operator: Annotated[
        str | None,
        typer.Option(
            "--operator",
            help="The body behind the account, 0x…: one body has one holder. The account itself if not given.",
        ),
    ] = None,
    rpc: RpcOption = None,
    deployment: DeploymentOption = None,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Admit an account to the market; one that is admitted with the same roles and key is left alone.

    An instance's own development chain gives it gas money too; on any other it has to come by that itself.
    """
    from cli import chain_process
    from ledger.types import Roles, address_from_hex, digest_from_hex, to_hex

    if unknown := sorted(set(role) - set(ROLES)):
        raise CliError(f"--role {', '.join(unknown)}: expected some of {', '.join(ROLES)}")
    roles = Roles(sum(Roles[each.upper()] for each in set(role)))
    with named():
        who = address_from_hex(account.lower())
        body = address_from_hex((operator or account).lower())
        key = digest_from_hex(encryption_key.lower())
    found_home = Home.find(home)
    opened = open_desk(
        found_home, "registrar", rpc=rpc, deployment=deployment, passphrase_file=passphrase_file
    )
    with opened as desk, Stages(quiet=as_json).stage("admit", "admission on the chain"):
        found = desk.contracts.participants.get(who)
        if not any(found.operator):
            call = desk.contracts.participants.admit(who, body, roles, key)
            desk.execute(f"admit/{to_hex(who)}", call)
        elif (found.operator, found.roles, found.x25519, found.active) != (body, roles, bytes(key), True):
            raise CliError(f"{account} is admitted already, as {found.roles!r}, {found.status.name}")
        if rpc is None and found_home.chain.is_dir():
            chain_process.fund(desk.url, [who])
    shown: dict[str, Any] = {"address": to_hex(who), "operator": to_hex(body), "roles": sorted(set(role))}
    if as_json:
        print_json(shown)
    else:
        say(f"{shown['address']}: admitted as {', '.join(shown['roles'])}, of {shown['operator']}")


@registrar.command()
def replace(
    account: Annotated[str, typer.Argument(help="The account whose key is lost, 0x….")],
    successor: Annotated[str, typer.Argument(help="The account that takes its place, 0x….")],
    encryption_key: Annotated[
        str, typer.Option("--encryption-key", help="The successor's, as `shuyao keys public` shows it.")
    ],
    rpc: RpcOption = None,
    deployment: DeploymentOption = None,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Move a participant whose key is lost to a new account, for good: the old one never acts again."""
    from ledger.types import address_from_hex, digest_from_hex, to_hex

    with named():
        old, new = address_from_hex(account.lower()), address_from_hex(successor.lower())
        key = digest_from_hex(encryption_key.lower())
    opened = open_desk(
        Home.find(home), "registrar", rpc=rpc, deployment=deployment, passphrase_file=passphrase_file
    )
    with opened as desk, Stages(quiet=False).stage("replace", "succession on the chain"):
        call = desk.contracts.participants.replace_account(old, new, key)
        desk.execute(f"replace/{to_hex(old)}/{to_hex(new)}", call)
    say(f"{to_hex(old)}: replaced by {to_hex(new)}")


@regulator.command()
def suspend(
    account: AccountArgument,
    rpc: RpcOption = None,
    deployment: DeploymentOption = None,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Stop an account at once; what is sealed goes on."""
    opened = open_desk(
        Home.find(home), "regulator", rpc=rpc, deployment=deployment, passphrase_file=passphrase_file
    )
    with opened as desk:
        _set_standing(desk, account, suspended=True)


@regulator.command()
def lift(
    account: AccountArgument,
    rpc: RpcOption = None,
    deployment: DeploymentOption = None,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """End a suspension."""
    opened = open_desk(
        Home.find(home), "regulator", rpc=rpc, deployment=deployment, passphrase_file=passphrase_file
    )
    with opened as desk:
        _set_standing(desk, account, suspended=False)


def _set_standing(desk: Desk, account: str, *, suspended: bool) -> None:
    """Have an account suspended, or active; nothing is sent where it is so already."""
    from ledger.types import ParticipantStatus, address_from_hex, to_hex

    who, participants = address_from_hex(account.lower()), desk.contracts.participants
    verb, done = ("suspend", "suspended") if suspended else ("lift", "active")
    wanted = ParticipantStatus.SUSPENDED if suspended else ParticipantStatus.ACTIVE
    with Stages(quiet=False).stage(verb, f"{verb} on the chain"):
        if participants.get(who).status is not wanted:
            call = participants.suspend(who) if suspended else participants.lift(who)
            desk.execute(f"{verb}/{to_hex(who)}/{secrets.token_hex(8)}", call)
    say(f"{to_hex(who)}: {done}")


@bank.command()
def mint(
    account: AccountArgument,
    amount: Annotated[int, typer.Argument(help="Minor units (fen).", min=1)],
    reference: Annotated[
        str, typer.Option("--reference", help="Names the payment; the same one is never made twice.")
    ],
    rpc: RpcOption = None,
    deployment: DeploymentOption = None,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give an account credits."""
    from ledger.types import address_from_hex, to_hex

    with named():
        who = address_from_hex(account.lower())
    opened = open_desk(
        Home.find(home), "bank", rpc=rpc, deployment=deployment, passphrase_file=passphrase_file
    )
    with opened as desk, Stages(quiet=as_json).stage("mint", "credits on the chain"):
        desk.execute(f"mint/reference/{reference}", desk.contracts.settlement.mint(who, amount))
        balance = desk.contracts.settlement.balance_of(who)
    if as_json:
        print_json({"address": to_hex(who), "amount": str(amount), "balance": str(balance)})
    else:
        say(f"{to_hex(who)}: {amount:,} given, {balance:,} in all")
