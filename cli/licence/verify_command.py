"""`shuyao licence verify`: a verdict with no network at all, from a bundle and the verifier's own policy."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CliError
from cli.options import JsonOption
from cli.output import console, print_json, print_table
from ledger.errors import LedgerError

if TYPE_CHECKING:
    from ledger.licences.verify import Verdict

EXIT_CODES = {"VALID": 0, "INVALID": 1, "UNKNOWN": 3}


def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    policy: Annotated[Path, typer.Option("--policy", help="The verifier's policy.")] = Path("policy.json"),
    nonce: Annotated[
        str | None, typer.Option(help="The challenge that the bearer must have answered.")
    ] = None,
    audience: Annotated[str | None, typer.Option(help="Whom the presentation must be for.")] = None,
    now: Annotated[int | None, typer.Option("--now", help="Unix seconds; else this machine's clock.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a bundle offline: exit 0 VALID, 1 INVALID, 3 UNKNOWN."""
    forbid_sockets()
    verdict = verdict_of(_read(bundle), _read(policy), nonce=nonce, audience=audience, now_s=now)
    found = verdict_json(verdict)
    if as_json:
        print_json(found)
    else:
        show_verdict(found)
    raise typer.Exit(EXIT_CODES[found["verdict"]])


def verdict_of(
    bundle: bytes, policy: bytes, *, nonce: str | None, audience: str | None, now_s: int | None
) -> Verdict:
    """Verify a bundle under a policy.

    Args:
        bundle, policy: the files.
        nonce, audience: what the bearer must have answered, both or neither.
        now_s: Unix seconds; this machine's clock when None.

    Raises:
        CliError: the policy is none, or one of nonce and audience is missing.
    """
    from ledger.licences.policy import TrustPolicy
    from ledger.licences.verify import Expected
    from ledger.licences.verify import verify as verify_bundle

    if (nonce is None) != (audience is None):
        raise CliError("--nonce and --audience go together")
    expected = None if nonce is None or audience is None else Expected(nonce, audience)
    try:
        trusted = TrustPolicy.parse(policy)
    except LedgerError as err:
        raise CliError(f"policy: {err}") from err
    return verify_bundle(
        bundle, trusted, now_s=int(time.time()) if now_s is None else now_s, expected=expected
    )


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """Return the JSON form of a verdict, as the service's `POST /licences/verify` answers it."""
    return {
        "verdict": verdict.state.value,
        "reason": None if verdict.reason is None else verdict.reason.value,
        "code": verdict.code,
        "facts": dict(verdict.facts),
        "missing": [what.value for what in verdict.missing],
    }


def forbid_sockets() -> None:
    """Have this process refuse to make a socket from here on, whoever asks: offline is enforced, not promised."""

    def refuse(event: str, _arguments: tuple[Any, ...]) -> None:
        if event in ("socket.__new__", "socket.connect", "socket.getaddrinfo"):
            raise CliError("offline verification asked for the network")

    sys.addaudithook(refuse)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise CliError(f"{path} cannot be read: {err.strerror}") from err


def show_verdict(found: dict[str, Any]) -> None:
    """Print a verdict with its facts."""
    colour = {"VALID": "green", "INVALID": "red", "UNKNOWN": "yellow"}[found["verdict"]]
    reason = f" {found['reason']}" if found["reason"] else ""
    console.print(f"[bold {colour}]{found['verdict']}[/bold {colour}]{reason}", highlight=False)
    if found["missing"]:
        console.print(f"missing: {', '.join(found['missing'])}", highlight=False)
    rows = [
        (name, time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))) for name, at in found["facts"].items()
    ]
    print_table("facts (UTC)", ["fact", "time"], rows)
