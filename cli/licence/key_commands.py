"""`shuyao licence keys …`: key files, and what the registrar says of issuers' keys and of other cities."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CliError, named
from cli.licence import keyring
from cli.licence.options import CityOption, IssuerOption, find_kind, read_public
from cli.options import JsonOption, PassphraseOption
from cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from cli.licence.registrar import Registrar
    from cli.licence.registry import RegistryDesk
    from ledger.licences.keys import Algorithm

app = typer.Typer(
    help="Keys of departments, holders and services; a secret is never printed.", no_args_is_help=True
)
RegistrarOption = Annotated[Path, typer.Option("--registrar", help="The registrar's folder.")]
PublicArgument = Annotated[Path, typer.Argument(help="The issuer's key: a JWK or a key file.")]
RpcOption = Annotated[
    str | None, typer.Option("--rpc", help="A node of the city's chain: the registry there is written too.")
]
ContractOption = Annotated[
    str | None,
    typer.Option("--contract", help="Address of IssuerRegistry; else trust.json in the registrar's folder."),
]
AccountOption = Annotated[
    Path | None,
    typer.Option(
        "--account", help="Folder of the registrar's account; else account in the registrar's folder."
    ),
]
KEY = "registrar"


@app.command()
def new(
    file: Annotated[
        Path, typer.Argument(help="A file that does not exist yet, such as office/keys/signing.json.")
    ],
    algorithm: Annotated[str, typer.Option("--alg", help="EdDSA, ES256 or SM2.")] = "EdDSA",
    passphrase_file: PassphraseOption = None,
    unattended: Annotated[
        bool, typer.Option("--unattended", help="Make a passphrase and keep it beside the keys.")
    ] = False,
) -> None:
    """Make a key in an encrypted file; prints its id."""
    key = keyring.make_key(
        file,
        algorithm=_algorithm(algorithm),
        passphrase_file=passphrase_file,
        is_unattended=unattended,
    )
    typer.echo(key.public.kid)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="The key file, or a JWK.")], as_json: JsonOption = False
) -> None:
    """Show a key's public half as a JWK."""
    public = read_public(file)
    if as_json:
        print_json(public.jwk())
    else:
        print_table("key", ["member", "value"], [("kid", public.kid), *public.jwk().items()])


@app.command("account")
def make_account(registrar: RegistrarOption) -> None:
    """Make the registrar's account on the chain, its passphrase beside it; prints the address for `licence deploy --registrar`."""
    from cli import accounts
    from cli.home import Home
    from cli.licence.registry import ACCOUNT

    home = Home(registrar.absolute())
    home.passphrases.mkdir(parents=True, exist_ok=True, mode=0o700)
    accounts.open_or_create(home, ACCOUNT)
    typer.echo(accounts.address(home, ACCOUNT))


@app.command()
def admit(
    public: PublicArgument,
    registrar: RegistrarOption,
    city: CityOption,
    issuer: IssuerOption,
    kinds: Annotated[list[str], typer.Option("--type", help="A licence type; repeat it for each.")],
    passphrase_file: PassphraseOption = None,
    rpc: RpcOption = None,
    contract: ContractOption = None,
    account: AccountOption = None,
) -> None:
    """Let a key sign an issuer's licences of some types."""
    from cli.licence.registry import open_desk

    types = [find_kind(kind).code for kind in kinds]
    desk = open_desk(registrar, rpc=rpc, contract=contract, account=account)
    with _registrar(registrar, city, passphrase_file, desk) as found:
        index = found.add_key(issuer, read_public(public), types)
    typer.echo(f"key admitted at log index {index}")


@app.command()
def retire(
    public: PublicArgument,
    registrar: RegistrarOption,
    city: CityOption,
    issuer: IssuerOption,
    passphrase_file: PassphraseOption = None,
    rpc: RpcOption = None,
    contract: ContractOption = None,
    account: AccountOption = None,
) -> None:
    """End a key's use; what it signed before counts on."""
    from cli.licence.registry import open_desk

    desk = open_desk(registrar, rpc=rpc, contract=contract, account=account)
    with _registrar(registrar, city, passphrase_file, desk) as found:
        index = found.retire_key(issuer, read_public(public).key_id)
    typer.echo(f"key retired at log index {index}")


@app.command()
def compromise(
    public: PublicArgument,
    registrar: RegistrarOption,
    city: CityOption,
    issuer: IssuerOption,
    passphrase_file: PassphraseOption = None,
    rpc: RpcOption = None,
    contract: ContractOption = None,
    account: AccountOption = None,
) -> None:
    """Say that a key is in other hands; what is logged from now on does not count."""
    from cli.licence.registry import open_desk

    desk = open_desk(registrar, rpc=rpc, contract=contract, account=account)
    with _registrar(registrar, city, passphrase_file, desk) as found:
        index = found.compromise_key(issuer, read_public(public).key_id)
    typer.echo(f"key declared compromised at log index {index}")


@app.command()
def history(
    registrar: RegistrarOption,
    city: CityOption,
    issuer: IssuerOption,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Sign an issuer's history anew: a verifier wants one that is at most a week old."""
    with _registrar(registrar, city, passphrase_file) as found:
        found.publish_history(issuer)
    typer.echo(f"history of {issuer} published")


@app.command()
def attend(
    registrar: RegistrarOption,
    city: CityOption,
    every_s: Annotated[
        float, typer.Option("--every", help="Seconds between two looks at the log.", min=0.05)
    ] = 60.0,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Stay, and sign every issuer's history anew whenever the log has grown; until SIGTERM."""
    import signal
    import threading

    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    size, fault = 0, ""
    with _registrar(registrar, city, passphrase_file) as found:
        while not ended.is_set():
            try:
                size, fault = found.attend(size), ""
            except CliError as err:
                if str(err) != fault:
                    fault = str(err)
                    say(f"not signed: {fault}", err=True)
            ended.wait(every_s)


@app.command()
def recognise(
    policy: Annotated[
        Path, typer.Argument(help="A policy that names the other city, got by a way you trust.")
    ],
    other: Annotated[str, typer.Argument(help="Address of the other city's service.")],
    registrar: RegistrarOption,
    city: CityOption,
    kinds: Annotated[list[str], typer.Option("--type", help="A licence type; repeat it for each.")],
    passphrase_file: PassphraseOption = None,
    rpc: RpcOption = None,
    contract: ContractOption = None,
    account: AccountOption = None,
) -> None:
    """Recognise another city's licences of some types, at the newest head that its quorum cosigned."""
    from cli.licence.client import CityClient
    from cli.licence.registry import open_desk
    from ledger.licences.policy import TrustPolicy

    with named():
        trusted = TrustPolicy.parse(policy.read_bytes())
    types = [find_kind(kind).code for kind in kinds]
    desk = open_desk(registrar, rpc=rpc, contract=contract, account=account)
    with _registrar(registrar, city, passphrase_file, desk) as found, CityClient(other) as theirs:
        named_city = trusted.city(theirs.origin)
        if named_city is None:
            raise CliError(f"{policy} does not name the city {theirs.origin!r}")
        receipt = found.recognise(named_city, theirs.checkpoint(), types)
    typer.echo(f"recognised at log index {receipt.index}")


@contextmanager
def _registrar(
    folder: Path,
    city: str,
    passphrase_file: Path | None,
    desk: AbstractContextManager[RegistryDesk | None] | None = None,
) -> Iterator[Registrar]:
    """Open the registrar's key and the city's service, and the registry first where a command writes it too."""
    from cli.licence.client import CityClient
    from cli.licence.registrar import Registrar

    with desk or nullcontext() as registry:
        key = keyring.open_key(keyring.key_path(folder, KEY), passphrase_file)
        with CityClient(city) as client:
            yield Registrar(folder, key, client, registry=registry)


def _algorithm(text: str) -> Algorithm:
    from typing import cast

    from ledger.licences.keys import ALGORITHMS

    if text not in ALGORITHMS:
        raise CliError(f"no algorithm {text!r}; there are {', '.join(ALGORITHMS)}")
    return cast("Algorithm", text)
