"""The bodies that the routes of a licence service take."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

TOKEN_MAX = 1 << 20
CREDENTIAL_MAX = 1 << 17


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class RequestIn(_Body):
    """A signed request of a department, the registrar or the operator."""

    request: Annotated[str, StringConstraints(max_length=16_384)]


class HistoryIn(_Body):
    """An issuer history signed by the registrar."""

    history: Annotated[str, StringConstraints(max_length=TOKEN_MAX)]


class CredentialIn(_Body):
    """A credential or a presentation of it. `anchored` asks for the newest checkpoint that is on the chain, which may be older."""

    credential: Annotated[str, StringConstraints(max_length=CREDENTIAL_MAX)]
    anchored: bool = False


class PresentationIn(_Body):
    """A presentation with the proof of its bearer, made for this service."""

    presentation: Annotated[str, StringConstraints(max_length=CREDENTIAL_MAX)]


class ErasureIn(_Body):
    """The word of a licence's holder (`presentation`) or of its issuer (`request`), one of both."""

    presentation: Annotated[str, StringConstraints(max_length=CREDENTIAL_MAX)] | None = None
    request: Annotated[str, StringConstraints(max_length=16_384)] | None = None
