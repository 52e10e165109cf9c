"""A licence's status, now or at a past time, proved from the city's log under the verifier's own policy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cli.errors import CliError
from cli.licence.client import CityClient, ServiceRefused
from cli.licence.times import utc
from cli.output import print_styled, print_table, say

if TYPE_CHECKING:
    from ledger.licences.past import PastStatus
    from ledger.licences.policy import TrustPolicy


def status_of(
    client: CityClient,
    credential: str,
    policy: TrustPolicy,
    *,
    at_s: int | None = None,
    now_s: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PastStatus:
    """Prove a licence's status from the log, whatever the service says.

    Args:
        client: of the city's service, which is not believed.
        credential: or a presentation of it.
        policy: whom the verifier trusts.
        at_s: Unix seconds; None for now.
        now_s: this machine's clock when None.
        progress: told how many bundles of entries were looked through, of how many at most.

    Raises:
        CliError: the service does not answer, or refuses to make a bundle.
    """
    from exchange.errors import CityAway
    from ledger.licences.past import status_at

    bundle = client.bundle(credential, is_anchored=policy.anchor != "none")
    try:
        return status_at(
            credential,
            bundle,
            policy,
            at_s=at_s,
            now_s=int(time.time() if now_s is None else now_s),
            reader=client.tiles(),
            token_of=lambda digest: _token(client, digest),
            progress=progress,
        )
    except CityAway as err:
        raise CliError(f"{client.url} does not answer: {err}") from err


def _token(client: CityClient, digest: bytes) -> str | None:
    try:
        return client.published_token(digest)
    except ServiceRefused:
        return None


def status_json(found: PastStatus) -> dict[str, Any]:
    """Return the JSON form: `state` VALID where the status is proved, `code` and `status` what it is."""
    claims = None if found.token is None else found.token.claims
    checkpoint = found.checkpoint
    return {
        "state": found.state.value,
        "reason": None if found.reason is None else found.reason.value,
        "missing": [what.value for what in found.missing],
        "at": found.at_s,
        "code": None if found.code is None else int(found.code),
        "status": None if found.code is None else found.code.name.lower(),
        "list": None if claims is None else claims.list,
        "published_at": None if claims is None else claims.issued_at,
        "expires_at": None if claims is None else claims.expires_at,
        "token_index": None if found.token_index is None else str(found.token_index),
        "size": None if checkpoint is None else str(checkpoint.checkpoint.size),
        "cosigned_at": None if checkpoint is None else checkpoint.quorum_at,
    }


def show_status(found: dict[str, Any]) -> None:
    """Print what `status_json` returned: a proved status, or what keeps it from being proved."""
    name = (found["status"] or "").replace("_", " ")
    when = utc(found["at"])
    if found["state"] == "VALID":
        print_styled(name, "bold", f" at {when} UTC, proved from the log")
    elif found["state"] == "INVALID":
        print_styled("INVALID", "bold red", f" {found['reason']}: no licence of this log")
    else:
        print_styled("UNKNOWN", "bold yellow", f"{f' at {when} UTC' if when else ''}: not proved")
        say(f"missing: {', '.join(found['missing'])}" + (f"; last known: {name}" if name else ""))
    rows = [
        ("status token published (UTC)", utc(found["published_at"])),
        ("... and valid until (UTC)", utc(found["expires_at"])),
        ("its log index", found["token_index"]),
        ("log size that was looked through", found["size"]),
        ("... cosigned by a quorum (UTC)", utc(found["cosigned_at"])),
    ]
    if shown := [(what, value) for what, value in rows if value is not None]:
        print_table("evidence", ["what", "value"], shown)
