"""The registry's ids, by the words of docs/licence.md §14."""

from __future__ import annotations

import subprocess

import pytest

from ledger.anchors.names import city_id, issuer_id, type_id
from ledger.licences.errors import LicenceError


def sha256sum(data: bytes) -> bytes:
    """SHA-256 by another program."""
    done = subprocess.run(["sha256sum"], input=data, capture_output=True, check=True)
    return bytes.fromhex(done.stdout.split()[0].decode())


def test_ids_are_those_of_the_specification() -> None:
    uscc, kind, origin = "1144190056666777AT", "11100000MB0143028R001", "licences.dg.example"
    assert issuer_id(uscc) == sha256sum(b"shuyao/v1/issuer\x001144190056666777AT")
    assert type_id(kind) == sha256sum(b"shuyao/v1/licence-type\x0011100000MB0143028R001")
    assert city_id(origin) == sha256sum(b"licences.dg.example")


@pytest.mark.parametrize("text", ["", "1144190056666777A", "1144190056666777AX", "１" * 18])
def test_what_is_no_name_has_no_id(text: str) -> None:
    with pytest.raises(LicenceError):
        issuer_id(text)
    with pytest.raises(LicenceError):
        type_id(text)
    with pytest.raises(LicenceError):
        city_id(f"{text} ")
