"""`shuyao holder audit` and `shuyao audit`: what a holder brings to the audit room, and what the regulator says there.

The regulator runs its command on a machine inside the holder's room, where the rows are. Nothing is written, and nothing is shown
but the verdict and the step at which it was reached.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import accounts, passphrases
from cli.errors import CliError
from cli.home import Home, read_json
from cli.output import print_json, print_step, print_styled, say

if TYPE_CHECKING:
    from holder.audit import AuditVerdict
    from holder.audit_bundle import AuditBundle

EXIT_CODES = {"PASSED": 0, "FAILED": 1, "UNKNOWN": 3}

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="The instance; the current one if not given.")
]
NumberOption = Annotated[int, typer.Option("--number", help="Which holder of the instance.", min=1)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def collect(
    request: Annotated[str, typer.Argument(help="The request's id, or how it begins.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the audit room.")],
    home: HomeOption = None,
    number: NumberOption = 1,
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", help="File with the passphrase.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put together what the audit of one request needs: plan, session, and sealed to the regulator seed and messages; no record."""
    from holder import operations
    from holder.audit_bundle import FILE_NAME, make_audit
    from holder.audit_messages import MESSAGES_NAME
    from holder.errors import HolderError
    from holder.parts import Parts
    from holder.settings import load_settings
    from ledger.errors import LedgerError
    from privacy.errors import PrivacyError

    found = Home.find(home)
    keys = accounts.open_existing(found, f"holders/{number}", passphrase_file)
    try:
        with Parts(load_settings(found.holder(number)), keys) as parts:
            request_id = operations.find(parts.store, request).request_id
            made = make_audit(
                parts.store,
                parts.chain_side,
                keys.signer,
                parts.settings.deployment,
                request_id,
                rand=secrets.token_bytes,
            )
            bundle, path = made.bundle, out / FILE_NAME
            _write_messages(out / MESSAGES_NAME, made.messages, beside=path)
            _write(path, [bundle.to_bytes()])
    except (HolderError, LedgerError, PrivacyError) as err:
        raise CliError(f"{type(err).__name__}: {err}") from err
    facts = {"request_id": request_id.hex(), "file": str(path), "sealed_for": len(bundle.sealed)}
    if as_json:
        print_json(facts)
    else:
        say(f"{path}: request {request_id.hex()[:16]}, sealed for {len(bundle.sealed)} regulator(s)")


def audit(
    folder: Annotated[Path, typer.Argument(help="What `shuyao holder audit` made.")],
    key: Annotated[Path, typer.Option("--key", help="The regulator's keystore.")],
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", help="File with the keystore's passphrase.")
    ] = None,
    home: HomeOption = None,
    number: NumberOption = 1,
    rpc: Annotated[
        str | None, typer.Option("--rpc", help="JSON-RPC address of a node you trust; else the holder's.")
    ] = None,
    deployment: Annotated[
        Path | None, typer.Option(help="The contracts you accept; else the holder's.")
    ] = None,
    confirmations: Annotated[int, typer.Option(help="Blocks that must follow an event.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Recompute a holder's contribution in its room: exit 0 it is right, 1 it is not (naming the step), 3 unknown."""
    from dataclasses import replace

    from holder.audit import audit_contribution
    from holder.audit_bundle import FILE_NAME, AuditBundle
    from holder.audit_chain import IndexedChain
    from holder.audit_messages import MESSAGES_NAME
    from holder.errors import HolderError
    from holder.settings import load_settings
    from ledger import keystore
    from ledger.errors import LedgerError
    from ledger.types import Deployment
    from privacy.errors import PrivacyError
    from privacy.generators import GeneratorCache

    try:
        bundle = AuditBundle.from_bytes((folder / FILE_NAME).read_bytes())
        folder_of_holder = Home.find(home).holder(number)
        if keystore.address_in(folder_of_holder / "keystore.json") != bundle.holder:
            raise CliError(f"{folder_of_holder} is the room of another holder than the one to be audited")
        room = load_settings(folder_of_holder)
        keys = keystore.load(key, passphrases.obtain(passphrase_file, what="the regulator"))
        if deployment is not None:
            room = replace(room, deployment=Deployment.from_json(read_json(deployment)))
        node = IndexedChain(rpc or room.rpc_url, room.deployment, confirmations=confirmations)
        verdict = audit_contribution(
            bundle,
            keys.x25519_private,
            chain=node,
            room=room,
            generators=GeneratorCache(room.cache),
            messages=folder / MESSAGES_NAME,
        )
    except OSError as err:
        raise CliError(f"cannot read {folder / FILE_NAME}: {err.strerror}") from err
    except (HolderError, LedgerError, PrivacyError) as err:
        raise CliError(f"{type(err).__name__}: {err}") from err
    _show(bundle, verdict, as_json=as_json)
    raise typer.Exit(EXIT_CODES[verdict.status])


def _show(bundle: AuditBundle, verdict: AuditVerdict, *, as_json: bool) -> None:
    from ledger.types import to_hex

    if as_json:
        steps = [{"number": s.number, "name": s.name, "ok": s.ok, "detail": s.detail} for s in verdict.steps]
        who = {"request_id": to_hex(bundle.request_id), "holder": to_hex(bundle.holder)}
        print_json({**who, "status": verdict.status.value, "steps": steps})
        return
    for step in verdict.steps:
        print_step(step.ok, step.number, f"{step.name}: {step.detail}")
    print_styled(verdict.status.value, "bold", f" {to_hex(bundle.holder)}")


def _write_messages(path: Path, records: Iterator[bytes], *, beside: Path) -> None:
    """Write the messages, if there are any; the other file, which makes the folder whole, is written after it."""
    if beside.exists():
        raise CliError(f"{beside} exists already")
    first = next(records, None)
    if first is not None:
        _write(path, chain([first], records))


def _write(path: Path, data: Iterable[bytes]) -> None:
    """Write a file that its owner alone can read; one that exists is not replaced."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(data)
    except FileExistsError as err:
        raise CliError(f"{path} exists already") from err
    except OSError as err:
        raise CliError(f"cannot write {path}: {err.strerror}") from err
