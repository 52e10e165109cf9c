"""The log's published files, as C2SP tlog-tiles has them. A web server over the same folder serves them as well.

A checkpoint is replaced, and a partial tile removed, while it is read: each answer is what one read of the file gave.

Source: C2SP tlog-tiles; docs/log.md.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from api.errors import NotPublished
from api.licences.service import TheService

router = APIRouter(tags=["log"])
_TILE: Final = re.compile(
    r"(?:[0-9]|[1-5][0-9]|6[0-3]|entries)/(?:x[0-9]{3}/)*[0-9]{3}(?:\.p/[0-9]{1,3})?", re.ASCII
)
FOR_EVER: Final = "public, max-age=31536000, immutable"


@router.get("/checkpoint", response_class=Response)
def read_checkpoint(service: TheService) -> Response:
    """Return the newest checkpoint, signed by the log, with the cosignatures that are in."""
    return _file(service.book.log.public_folder, "checkpoint", "text/plain; charset=utf-8", "no-store")


@router.get("/checkpoint.cosigned", response_class=Response)
def read_cosigned(service: TheService) -> Response:
    """Return the newest checkpoint that a quorum of witnesses cosigned."""
    return _file(
        service.book.log.public_folder, "checkpoint.cosigned", "text/plain; charset=utf-8", "no-store"
    )


@router.get("/tile/{path:path}", response_class=Response)
def read_tile(service: TheService, path: str) -> Response:
    """Return a tile of hashes, or a bundle of entries."""
    if not _TILE.fullmatch(path):
        raise NotPublished("the tile")
    return _file(service.book.log.public_folder, f"tile/{path}", "application/octet-stream", FOR_EVER)


def _file(folder: Path, name: str, media_type: str, cache: str) -> Response:
    try:
        data = (folder / name).read_bytes()
    except FileNotFoundError as err:
        raise NotPublished("the tile" if name.startswith("tile/") else name) from err
    return Response(data, media_type=media_type, headers={"cache-control": cache})
