"""A licence's status as the signed status lists say it."""

from __future__ import annotations

from typing import Any

from cli.licence.client import CityClient
from cli.licence.department import ref_of


def status_of(client: CityClient, credential: str, *, at_s: int | None = None) -> dict[str, Any]:
    """Return a licence's code, its meaning and since when, from the list's newest token or that of a past time.

    Raises:
        CliError: the service has no such list.
        LicenceError: the token is malformed or not the service's.
    """
    from ledger.licences.keys import PublicKey
    from ledger.licences.leaf import Code
    from ledger.licences.status import parse_status_token

    ref = ref_of(credential)
    token = parse_status_token(client.status_list(ref.list, at_s=at_s))
    token.verify(PublicKey.from_jwk(client.city()["service"]))
    code = token.code(ref.index)
    return {
        "code": int(code),
        "status": Code(code).name.lower(),
        "list": ref.list,
        "index": ref.index,
        "published_at": token.claims.issued_at,
        "expires_at": token.claims.expires_at,
    }
