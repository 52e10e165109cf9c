"""`shuyao licence verify`: a verdict with no network at all, from a bundle and the verifier's own policy."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CliError
from cli.licence.fields import titles_of
from cli.licence.options import PolicyOption
from cli.licence.times import utc
from cli.options import JsonOption
from cli.output import print_json, print_styled, print_table, say
from ledger.errors import LedgerError

if TYPE_CHECKING:
    from ledger.licences.policy import TrustPolicy
    from ledger.licences.sdjwt import Presented
    from ledger.licences.verify import Verdict

EXIT_CODES = {"VALID": 0, "INVALID": 1, "UNKNOWN": 3}


def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    policy: PolicyOption = Path("policy.json"),
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
    licence = None if verdict.presented is None or not verdict.authentic else licence_json(verdict.presented)
    found = {**verdict_json(verdict), "licence": licence}
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
    from ledger.licences.verify import Expected
    from ledger.licences.verify import verify as verify_bundle

    if (nonce is None) != (audience is None):
        raise CliError("--nonce and --audience go together")
    expected = None if nonce is None or audience is None else Expected(nonce, audience)
    now = int(time.time()) if now_s is None else now_s
    return verify_bundle(bundle, parse_policy(policy), now_s=now, expected=expected)


def read_policy(path: Path) -> TrustPolicy:
    """Read the verifier's policy out of its file.

    Raises:
        CliError: it cannot be read, or is none.
    """
    return parse_policy(_read(path))


def parse_policy(data: bytes) -> TrustPolicy:
    """Read a policy.

    Raises:
        CliError: it is none.
    """
    from ledger.licences.policy import TrustPolicy

    try:
        return TrustPolicy.parse(data)
    except LedgerError as err:
        raise CliError(f"policy: {err}") from err


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """Return the JSON form of a verdict, as the service's `POST /licences/verify` answers it."""
    return {
        "verdict": verdict.state.value,
        "reason": None if verdict.reason is None else verdict.reason.value,
        "code": verdict.code,
        "facts": dict(verdict.facts),
        "missing": [what.value for what in verdict.missing],
        "authentic": verdict.authentic,
    }


def licence_json(presented: Presented) -> dict[str, Any]:
    """Return which licence a verdict is about, and the fields that it discloses: true only beside an authentic verdict."""
    claims = presented.claims
    return {
        "identifier": claims.identifier.text,
        "issuer": claims.issuer,
        "type": claims.type_code,
        "not_before": claims.not_before,
        "expires_at": claims.expires_at,
        "fields": dict(presented.disclosed),
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
    """Print a verdict: what it is, why, about which licence with which fields, and the time of each fact."""
    colour = {"VALID": "green", "INVALID": "red", "UNKNOWN": "yellow"}[found["verdict"]]
    reason = f" {found['reason']}{_why_revoked(found)}" if found["reason"] else ""
    print_styled(found["verdict"], f"bold {colour}", reason)
    if found["missing"]:
        say(f"missing: {', '.join(found['missing'])}")
    if found["licence"] is not None:
        _show_licence(found["licence"])
    elif found["verdict"] != "VALID":
        say("which licence it is, and what it says, is not proved")
    print_table("facts (UTC)", ["fact", "time"], [(name, utc(at)) for name, at in found["facts"].items()])


def _why_revoked(found: dict[str, Any]) -> str:
    """Return which of the final codes it is: superseded, lapsed, transferred and others are all `Revoked` (docs/licence.md §11)."""
    from ledger.licences.leaf import Code

    if found["reason"] != "Revoked":
        return ""
    code = found["code"]
    return f" ({Code(code).name.lower() if code in list(Code) else 'code ' + str(code)})"


def _show_licence(licence: dict[str, Any]) -> None:
    from ledger.licences.schema import demonstration_types

    kind = demonstration_types().get(licence["type"])
    rows = [
        ("identifier", licence["identifier"]),
        ("issuer", licence["issuer"]),
        ("type", licence["type"] if kind is None else f"{kind.name} ({licence['type']})"),
        ("valid from (UTC)", utc(licence["not_before"])),
        ("valid until (UTC)", utc(licence["expires_at"]) or "no end"),
    ]
    print_table("licence", ["what", "value"], rows)
    titles = titles_of(licence["type"])
    fields = [(name, titles.get(name, ""), str(value)) for name, value in licence["fields"].items()]
    print_table("disclosed", ["field", "title", "value"], fields)
