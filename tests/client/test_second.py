"""The second implementation works where no other library of curves can be imported: for every kind of plan."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from client.types import Status
from client.verify import verify_receipt
from ledger.types import to_hex
from tests.client.receipts import KINDS, Specimen

Make = Callable[[str], Specimen]

PROGRAM = """
import sys
from pathlib import Path

FAST = ("py_arkworks_bls12381", "blst", "_blst", "blspy", "chia_rs", "privacy.deposit.blst", "privacy.curve")
for name in FAST:
    sys.modules[name] = None  # whoever imports it fails

from client.verify import verify_receipt

verdict = verify_receipt(Path(sys.argv[1]).read_bytes(), None, backend="reference")
assert [step.ok for step in verdict.steps] == [True] * 5 + [None] + [True] * 5, verdict
assert "py_ecc" in sys.modules
fast = [name for name, module in sys.modules.items() if module and ("arkworks" in name or "blst" in name)]
assert not fast, fast
"""


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    return cache(lambda kind: Specimen.make(kind, tmp_path_factory.mktemp(kind)))


@pytest.fixture(scope="module", params=KINDS)
def specimen(request: pytest.FixtureRequest, make: Make) -> Specimen:
    return make(request.param)


def test_a_receipt_is_verified_where_no_fast_library_can_be_imported(
    specimen: Specimen, tmp_path: Path
) -> None:
    path = tmp_path / "receipt.json"
    path.write_bytes(specimen.data)
    ran = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.fixture(scope="module")
def deposit(make: Make) -> Specimen:
    return make("deposit")


@pytest.mark.parametrize("backend", ["arkworks", "reference"])
@pytest.mark.parametrize(
    "point", [bytes(96), bytes(95) + b"\x02", b"\xff" * 96], ids=["infinity", "3", "none"]
)
def test_both_refuse_a_receipt_with_a_bad_joint_key_in_the_same_step(
    deposit: Specimen, point: bytes, backend: str
) -> None:
    value = json.loads(deposit.data)
    value["plan"]["deposit"]["key"] = to_hex(point)
    verdict = verify_receipt(deposit.signed(value), None, backend=backend)
    assert (verdict.status, verdict.first_failing and verdict.first_failing.number) == (Status.INVALID, 4)
    assert "joint key" in verdict.steps[-1].detail


@pytest.mark.parametrize("backend", ["arkworks", "reference"])
def test_both_refuse_verification_keys_on_no_polynomial_in_the_same_step(
    deposit: Specimen, backend: str
) -> None:
    value = json.loads(deposit.data)
    trustees = value["plan"]["deposit"]["trustees"]
    first, second = sorted(trustees)[:2]
    trustees[first] = trustees[second]
    verdict = verify_receipt(deposit.signed(value), None, backend=backend)
    assert (verdict.status, verdict.first_failing and verdict.first_failing.number) == (Status.INVALID, 4)
    assert "polynomial" in verdict.steps[-1].detail
