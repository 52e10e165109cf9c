"""RFC 8785 vectors: canonical JSON."""

import json
from pathlib import Path

import pytest

from privacy.encoding import canonical_json, parse_canonical_json
from privacy.errors import NotCanonical
from tests.vectors.shared_files import shared_path

NAMES = ["arrays", "french", "structures", "unicode", "values", "weird"]


def files(name: str) -> tuple[Path, Path, Path]:
    folder = shared_path("vectors", "jcs")
    return (
        folder / "input" / f"{name}.json",
        folder / "output" / f"{name}.json",
        folder / "outhex" / f"{name}.txt",
    )


@pytest.mark.parametrize("name", NAMES)
def test_canonical_form_matches(name: str) -> None:
    source, output, outhex = files(name)
    canonical = canonical_json(json.loads(source.read_text(encoding="utf-8")))
    assert canonical == output.read_bytes().rstrip(b"\n")
    assert canonical == bytes.fromhex(outhex.read_text(encoding="ascii"))


@pytest.mark.parametrize("name", NAMES)
def test_only_the_canonical_form_is_read(name: str) -> None:
    source, _, outhex = files(name)
    canonical = bytes.fromhex(outhex.read_text(encoding="ascii"))
    assert canonical_json(parse_canonical_json(canonical)) == canonical
    with pytest.raises(NotCanonical):
        parse_canonical_json(source.read_bytes())
