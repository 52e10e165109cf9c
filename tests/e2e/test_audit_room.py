"""The audit room with a real market: what the holder brings, what the regulator is told, and what nobody sees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from cli.app import app
from cli.errors import CliError
from holder.epoch import EpochFile
from holder.store import HolderStore
from holder.vault import Vault
from ledger.encoding import canonical_json
from ledger.types import RequestState
from privacy.sealed_sum import HolderSecrets
from tests.faults.world import wait_state
from tests.stack import LISTING

if TYPE_CHECKING:
    from ledger.types import Digest
    from tests.stack import Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A market of its own: tests of lost blocks expect that what others asked was settled long before."""
    from tests.stack import Stack, make_home, small_plan

    home = make_home(tmp_path_factory.mktemp("audit-room"), "market")
    built = Stack.build(home, small_plan(home))
    yield built
    built.close()


@pytest.fixture(scope="module")
def answered(stack: Stack) -> Digest:
    return settled(stack, f"SELECT AVG(kwh) AS a FROM {LISTING} WHERE kwh >= 5000")


def settled(stack: Stack, sql: str | None = None) -> Digest:
    """Ask, and leave nothing open behind: others use this market too."""
    request_id = stack.ask(sql).request_id
    stack.buyer.accept(request_id)
    wait_state(stack, request_id, RequestState.SETTLED)
    return request_id


def run(stack: Stack, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--home", str(stack.home.path)])


def collect(stack: Stack, request_id: Digest, folder: Path, number: int = 2) -> Path:
    done = run(stack, "holder", "audit", request_id.hex(), "--out", str(folder), "--number", str(number))
    assert done.exit_code == 0, done.output
    return folder / "audit.json"


def audit(stack: Stack, folder: Path, *, who: str = "regulator", number: int = 2) -> Result:
    key = ["--key", str(stack.home.path / who / "keystore.json")]
    key += ["--passphrase-file", str(stack.home.passphrases / who)]
    return run(stack, "audit", str(folder), *key, "--number", str(number), "--json")


def test_the_regulator_recomputes_each_holders_contribution(
    stack: Stack, answered: Digest, tmp_path: Path
) -> None:
    for number in stack.numbers:
        folder = tmp_path / str(number)
        collect(stack, answered, folder, number)
        done = audit(stack, folder, number=number)
        assert done.exit_code == 0, done.output
        verdict = json.loads(done.output)
        assert verdict["status"] == "PASSED"
        assert [step["ok"] for step in verdict["steps"]] == [True] * 5


def test_what_is_brought_to_another_request_or_changed_is_named(
    stack: Stack, answered: Digest, tmp_path: Path
) -> None:
    path = collect(stack, answered, tmp_path / "one")
    other = settled(stack)
    given = json.loads(path.read_text("utf8"))
    given["request_id"] = "0x" + other.hex()
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "audit.json").write_bytes(canonical_json(given))
    done = audit(stack, tmp_path / "two")
    assert done.exit_code == 1
    assert [step["name"] for step in json.loads(done.output)["steps"] if not step["ok"]] == [
        "request and plan"
    ]


def test_another_key_or_another_room_says_nothing_of_the_holder(
    stack: Stack, answered: Digest, tmp_path: Path
) -> None:
    collect(stack, answered, tmp_path / "one")
    for done, reason in (
        (audit(stack, tmp_path / "one", who="bank"), "nothing in this folder is sealed to this key"),
        (audit(stack, tmp_path / "one", number=1), "another holder"),
        (audit(stack, tmp_path / "none"), "cannot read"),
    ):
        assert isinstance(done.exception, CliError)  # `main` makes exit code 2 of it
        assert reason in str(done.exception)


def test_an_audit_does_not_overwrite_another(stack: Stack, answered: Digest, tmp_path: Path) -> None:
    path = collect(stack, answered, tmp_path / "one")
    before = path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    done = run(stack, "holder", "audit", answered.hex(), "--out", str(tmp_path / "one"), "--number", "2")
    assert isinstance(done.exception, CliError)
    assert path.read_bytes() == before


def test_the_seed_is_in_no_log_file_database_answer_or_transaction(
    stack: Stack, answered: Digest, tmp_path: Path
) -> None:
    path = collect(stack, answered, tmp_path / "one")
    printed = audit(stack, tmp_path / "one").output
    keys = stack.keys("holders/2")
    store = HolderStore(stack.holder_engine(2), Vault(keys.signer), EpochFile(tmp_path / "epoch"))
    mine = HolderSecrets.from_bytes(store.secret(answered, "session"))
    files = b"".join(each.read_bytes() for each in stack.home.path.rglob("*") if each.is_file())
    everything = files + path.read_bytes() + printed.encode() + repr(stack.events(answered)).encode()
    assert (
        mine.public_keys().noise_commitment.hex().encode() in files
    )  # in the receipt: what is searched is complete
    for secret in (mine.noise_seed, mine.blinding.to_bytes(32, "big")):
        for form in (secret, secret.hex().encode(), str(int.from_bytes(secret, "big")).encode()):
            assert form not in everything
