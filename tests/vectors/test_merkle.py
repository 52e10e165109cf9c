"""RFC 6962 proofs: transparency-dev's vectors, and a few from RFC 6962's reference tree for everybody."""

import base64
from pathlib import Path
from typing import Any

import pytest

from ledger.log.errors import ConsistencyInvalid, ProofInvalid
from ledger.log.tree import (
    EMPTY_ROOT,
    consistency_path,
    inclusion_path,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from tests.vectors.shared_files import shared_json, shared_path

# the eight entries of the Certificate Transparency project's reference tree, and its roots at sizes 1 to 8
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def decoded(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def vectors() -> list[tuple[str, Any]]:
    folder = shared_path("vectors", "merkle")
    paths = sorted(path.relative_to(folder) for path in Path(folder).rglob("*.json"))
    return [(str(path), shared_json("vectors", "merkle", *path.parts)) for path in paths]


def accepts(vector: Any) -> bool:
    proof = [decoded(node) for node in vector["proof"] or ()]
    try:
        if "leafIdx" in vector:
            leaf, root = decoded(vector["leafHash"]), decoded(vector["root"])
            verify_inclusion(leaf, vector["leafIdx"], vector["treeSize"], proof, root)
        else:
            roots = decoded(vector["root1"]), decoded(vector["root2"])
            verify_consistency(vector["size1"], roots[0], vector["size2"], roots[1], proof)
    except (ProofInvalid, ConsistencyInvalid):
        return False
    return True


def test_every_shared_vector_is_decided_as_it_says() -> None:
    found = vectors()
    assert len(found) == 196
    wrong = [name for name, vector in found if accepts(vector) == vector["wantErr"]]
    assert not wrong


@pytest.mark.parametrize("size", range(1, 9))
def test_the_reference_tree_has_its_published_roots(size: int) -> None:
    assert root_of(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root_of([]) == EMPTY_ROOT


@pytest.mark.parametrize(
    ("index", "size", "path"),
    [
        (0, 1, []),
        (
            0,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    ],
)
def test_the_reference_tree_has_its_published_inclusion_paths(index: int, size: int, path: list[str]) -> None:
    assert [node.hex() for node in inclusion_path(LEAVES[:size], index)] == path


@pytest.mark.parametrize(
    ("size1", "size2", "path"),
    [
        (1, 1, []),
        (
            1,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
    ],
)
def test_the_reference_tree_has_its_published_consistency_paths(
    size1: int, size2: int, path: list[str]
) -> None:
    assert [node.hex() for node in consistency_path(LEAVES[:size2], size1)] == path
    verify_consistency(
        size1,
        bytes.fromhex(ROOTS[size1 - 1]),
        size2,
        bytes.fromhex(ROOTS[size2 - 1]),
        [bytes.fromhex(node) for node in path],
    )
