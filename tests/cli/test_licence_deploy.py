"""`shuyao licence deploy`: a log's contracts, once, by accounts that are made for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import chain_process
from cli.licence.commands import app
from ledger.anchors.contract import LogAnchorContract
from ledger.anchors.types import TrustDeployment
from ledger.chain import Chain
from ledger.keystore import address_in
from ledger.types import Address
from tests.ledger.conftest import ANVIL, Anvil

ORIGIN = "licences.dg.example"


@pytest.fixture
def rpc_url() -> Iterator[str]:
    """A development chain on which nobody has anything yet."""
    if not ANVIL.exists():
        pytest.skip("anvil is not installed: run ./shuyao once")
    anvil = Anvil(("--hardfork", "prague"))
    anvil.start()
    yield anvil.url
    anvil.kill()


def test_deploy_asks_for_gas_money_then_binds_the_anchor_to_the_log_and_happens_once(
    tmp_path: Path, rpc_url: str
) -> None:
    command = ["deploy", "--city", str(tmp_path), "--origin", ORIGIN, "--rpc", rpc_url, "--json"]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code != 0
    assert "nothing to pay gas with" in str(refused.exception)

    administrator = Address(address_in(tmp_path / "administrator" / "keystore.json"))
    chain_process.fund(rpc_url, [administrator])
    made = CliRunner().invoke(app, command)
    assert made.exit_code == 0, made.output
    trust = TrustDeployment.from_json(json.loads((tmp_path / "trust.json").read_text()))
    with Chain(rpc_url) as chain:
        contract = LogAnchorContract(chain, trust.anchor)
        assert contract.origin_hash() == hashlib.sha256(ORIGIN.encode()).digest()
        assert contract.operator() == address_in(tmp_path / "operator" / "keystore.json")

    again = CliRunner().invoke(app, command)
    assert again.exit_code != 0
    assert "are deployed" in str(again.exception)
