"""The threat model names tests that exist, and every test of misbehaviour is named there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
REFERENCE = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|t\.sol))(?:::(\w+))?`")


def file_of(path: str) -> Path:
    return ROOT / path if path.startswith("contracts/") else ROOT / "tests" / path


def test_every_test_that_the_threat_model_names_exists() -> None:
    found = REFERENCE.findall(TEXT)
    assert len(found) > 80
    missing = []
    for path, name in found:
        file = file_of(path.removeprefix("tests/"))
        if not file.exists() or (name and not re.search(rf"\b{name}\(", file.read_text("utf-8"))):
            missing.append(f"{path}::{name}")
    assert not missing


def test_every_test_of_misbehaviour_is_in_the_threat_model() -> None:
    named = {name for _, name in REFERENCE.findall(TEXT)}
    skipped = {"test_threat_model.py"}
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        if file.name not in skipped:
            defined = set(re.findall(r"^def (test_\w+)\(", file.read_text("utf-8"), re.MULTILINE))
            assert defined <= named, f"{file.name}: {sorted(defined - named)}"
