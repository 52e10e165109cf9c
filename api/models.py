"""The bodies that the routes take. Bytes are lower-case hex with 0x, big integers decimal strings."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Hex32 = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-f]{64}$")]
Signature = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-f]{130}$")]
Decimal64 = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,18}$")]
Text200 = Annotated[str, StringConstraints(max_length=200)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class SessionIn(_Body):
    """A signed EIP-4361 message."""

    message: Annotated[str, StringConstraints(max_length=4096)]
    signature: Signature


class ParticipantIn(_Body):
    """The display name of the sender."""

    name: Text200


class LicenceIn(_Body):
    """A licence that the sender presents: a presentation with KB-JWT, or a bundle whose credential is one; one of both."""

    presentation: Annotated[str, StringConstraints(max_length=1 << 17)] | None = None
    bundle: dict[str, Any] | None = None


class AssetIn(_Body):
    """An asset that the sender registered on the chain, with policy and descriptor in full."""

    name: Text200
    title: Text200
    policy: dict[str, Any]
    descriptor: dict[str, Any]


class ListingIn(_Body):
    """Assets under one name."""

    name: Text200
    title: Text200
    assets: Annotated[list[Hex32], Field(min_length=1, max_length=1024)]


class QuoteIn(_Body):
    """A query over a listing. `rho_micro` is micro-ρ; the policy's own when absent.

    `asked` is what the policy's kind of plans needs besides, an encrypted model for one; the body's limit bounds it.
    """

    listing: Text200
    sql: str
    purpose: Text200 | None = None
    rho_micro: Decimal64 | None = None
    asked: dict[str, Any] | None = None


class RequestIn(_Body):
    """A request signed by its buyer, with the plan that it names by hash."""

    plan: dict[str, Any]
    request: dict[str, Any]
    signature: Signature


class AcceptanceIn(_Body):
    """The buyer's EIP-712 Accept."""

    signature: Signature
