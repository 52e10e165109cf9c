"""Where third-party test vectors are, and the skip when they are absent."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def shared_path(*parts: str) -> Path:
    """Return a shared file or folder, or skip the test, saying why."""
    shared = Path(os.environ.get("SHUYAO_SHARED") or ROOT.parent / "shared")
    path = shared.joinpath(*parts)
    if not path.exists():
        pytest.skip(
            f"third-party vectors are absent: {'/'.join(parts)} (set SHUYAO_SHARED to where they are)"
        )
    return path


def shared_json(*parts: str) -> Any:
    """Read a shared JSON file, or skip the test."""
    return json.loads(shared_path(*parts).read_text(encoding="utf-8"))
