"""The process of a witness: the witness protocol over HTTP, and attesting what it read on the chain."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message

from api.licences.attestor import Attestor
from api.licences.settings import WatchedLog, WitnessSettings
from api.licences.witness_app import create_witness_app
from ledger.encoding import to_hex
from ledger.errors import ChainUnreachable, MalformedValue
from ledger.licences.attest import AnchorStatement
from ledger.licences.errors import AnchorRefused, Malformed
from ledger.log.checkpoint import Checkpoint, sign_checkpoint, verify_cosignature
from ledger.log.notes import COSIGNATURE, NoteSignature, NoteSigner
from ledger.log.tree import leaf_hash, root_of
from ledger.log.witness import Witness, witness_request
from ledger.types import Address
from tests.api.clients import Clock
from tests.api.licences.conftest import NOW, ORIGIN, seed

NAME = "regulator.example"
CONTRACT = Address(b"\x11" * 20)


class Refusing:
    """An attestor that meets an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def attest(self, statement: str) -> str:
        raise self.error


def statement(**changes: object) -> AnchorStatement:
    given = {
        "chain_id": 31337,
        "contract": CONTRACT,
        "block": 5,
        "block_hash": bytes(32),
        "size": 3,
        "root": bytes(32),
        "status_root": bytes(32),
        "time_s": NOW,
        **changes,
    }
    return AnchorStatement(**given)  # type: ignore[arg-type]  # each of its own type


@pytest.fixture
def signer() -> NoteSigner:
    return NoteSigner.from_seed(NAME, seed(NAME), algorithm=COSIGNATURE)


@pytest.fixture
def log() -> NoteSigner:
    return NoteSigner.from_seed(ORIGIN, seed("log"))


@pytest.fixture
def http(tmp_path: Path, signer: NoteSigner, log: NoteSigner) -> TestClient:
    witness = Witness(signer, {ORIGIN: log.key}, tmp_path)
    return TestClient(create_witness_app(witness, None, now_s=Clock(NOW)))


def test_a_checkpoint_is_cosigned_and_a_fork_of_it_is_not(
    http: TestClient, signer: NoteSigner, log: NoteSigner
) -> None:
    leaves = [leaf_hash(bytes([n])) for n in range(3)]
    note = sign_checkpoint(Checkpoint(ORIGIN, 3, root_of(leaves)), log)
    answer = http.post("/add-checkpoint", content=witness_request(0, [], note))
    assert answer.status_code == 200
    line = NoteSignature.parse(answer.text.rstrip("\n"))
    assert verify_cosignature(note.partition("\n\n")[0] + "\n", line, signer.key) == NOW
    forked = sign_checkpoint(Checkpoint(ORIGIN, 3, root_of(leaves[::-1])), log)
    assert http.post("/add-checkpoint", content=witness_request(3, [], forked)).status_code in (409, 422)
    stale = http.post("/add-checkpoint", content=witness_request(0, [], note))
    assert (stale.status_code, stale.text) == (409, "3\n")


def test_a_body_over_the_limit_is_not_read(http: TestClient) -> None:
    assert http.post("/add-checkpoint", content=b"x" * (1 << 19)).status_code == 413


def test_a_witness_without_a_node_attests_nothing(http: TestClient) -> None:
    assert http.post("/attest", content=statement().to_text()).status_code == 404


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AnchorRefused("another head"), 422),
        (Malformed("anchor", "lines", "none"), 422),
        (ChainUnreachable("away"), 503),
    ],
)
def test_what_the_chain_does_not_bear_out_is_not_signed(
    tmp_path: Path, signer: NoteSigner, log: NoteSigner, error: Exception, status: int
) -> None:
    witness = Witness(signer, {ORIGIN: log.key}, tmp_path)
    http = TestClient(create_witness_app(witness, Refusing(error)))
    assert http.post("/attest", content=statement().to_text()).status_code == status


def test_only_watched_contracts_are_looked_at(log: NoteSigner) -> None:
    watched = WatchedLog(log.key.to_text(), ORIGIN, 31337, to_hex(CONTRACT))
    attestor = Attestor(NoteSigner.from_seed(NAME, seed(NAME)), [watched], rpc_url="http://127.0.0.1:9")
    for other in (statement(contract=Address(b"\x22" * 20)), statement(chain_id=1)):
        with pytest.raises(AnchorRefused):
            attestor.attest(other.to_text())
    with pytest.raises(Malformed):
        attestor.attest("shuyao/anchor/v2\n")


def test_settings_are_read_back_as_written(log: NoteSigner) -> None:
    settings = WitnessSettings(
        NAME, "v", (WatchedLog(log.key.to_text(), ORIGIN, 1, "0x" + "11" * 20),), "http://node", port=8801
    )
    assert WitnessSettings.from_json(settings.to_json()) == settings
    with pytest.raises(MalformedValue):
        WitnessSettings.from_json({**settings.to_json(), "extra": 1})
    with pytest.raises(MalformedValue):
        WatchedLog("v", ORIGIN, 1, None)


def test_a_body_whose_sender_has_gone_is_a_408(http: TestClient) -> None:
    seen: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        seen.append(message)

    scope = {"type": "http", "method": "POST", "path": "/add-checkpoint", "headers": [], "query_string": b""}

    async def call() -> None:
        await http.app(scope, receive, send)

    asyncio.run(call())
    assert seen[0]["status"] == 408
