"""Files that processes share as a cache: whole or not there."""

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that another process sees all of it or nothing; its folder is made if it is missing.

    It is not synced: a cache that a crash tears fails its digest and is made again.

    Raises:
        OSError: no space, or not allowed; a file that was there before is still whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=path.name, suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
