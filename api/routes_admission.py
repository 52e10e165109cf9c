"""Routes for admission by business licence: what an exchange asks for, and presenting a licence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Response

from api.edge import TheEdge, TheSpeaker, json_only, once
from api.models import LicenceIn
from api.once import TheCall
from api.views import time_text
from exchange.errors import Invalid, LicenceNotAsked, NotYours
from exchange.types import AdmittedLicence
from ledger.encoding import canonical_json
from ledger.types import Address, address_from_hex, to_hex

if TYPE_CHECKING:
    from ledger.licences.bundle import Bundle

router = APIRouter(tags=["admission"])


@router.get("/admission")
def read_admission(edge: TheEdge) -> dict[str, Any]:
    """Show which licence admits whom. `audience` is what a presentation must name, before the account's address."""
    terms = edge.market.settings.admission
    if terms is None:
        return {"types": [], "roles": [], "max_age_s": None, "audience": None}
    return {
        "types": list(terms.types),
        "roles": list(terms.roles),
        "max_age_s": terms.max_age_s,
        "audience": f"{edge.market.settings.origin}/participants/",
    }


@router.post("/participants/{address}/licence", status_code=201, dependencies=[Depends(json_only)])
def present_licence(
    edge: TheEdge, call: TheCall, speaker: TheSpeaker, address: str, body: LicenceIn
) -> Response:
    """Present a licence for the sender's account: SD-JWT+KB for this account over a nonce of `POST /nonces`."""

    def work() -> tuple[int, Any]:
        account = address_from_hex(address)
        if speaker.address != account:
            raise NotYours("account", to_hex(account))
        admission = edge.market.admission
        if admission is None:
            raise LicenceNotAsked
        licence = admission.present(
            account, _shown(body), use_nonce=lambda nonce: edge.store.use_nonce(nonce, edge.now())
        )
        return 201, _licence_json(account, licence)

    return once(edge, call, speaker, work)


def _shown(body: LicenceIn) -> Bundle | str:
    from ledger.licences.bundle import Bundle  # an exchange that asks for no licence never needs it

    if body.presentation is not None and body.bundle is None:
        return body.presentation
    if body.bundle is not None and body.presentation is None:
        return Bundle.parse(canonical_json(body.bundle))
    raise Invalid("body", "a presentation or a bundle", "both or neither")


def _licence_json(account: Address, licence: AdmittedLicence) -> dict[str, Any]:
    return {
        "address": to_hex(account),
        "origin": licence.origin,
        "type": licence.type_code,
        "as_of": time_text(licence.as_of),
        "expires_at": None if licence.expires_at is None else time_text(licence.expires_at),
    }
