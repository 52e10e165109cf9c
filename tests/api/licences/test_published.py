"""What everybody reads: the log's files, status lists, issuers, health, metrics, the document of the interface."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cli.licence.department import ref_of
from cli.licence.status import status_json, status_of
from ledger.licences.keys import PublicKey
from ledger.licences.policy import City
from ledger.log.checkpoint import verify_checkpoint
from ledger.log.tree import leaf_hash, root_of
from tests.api.clients import problem
from tests.api.licences.conftest import NOW, ORIGIN, WITNESSES, LicenceWorld


def test_a_stranger_reads_the_log_and_finds_its_root(world: LicenceWorld) -> None:
    for _ in range(3):
        world.issue()
    city = City.from_json(world.client.city())
    note = world.http.get("/checkpoint.cosigned").text
    head = verify_checkpoint(note, origin=ORIGIN, log_key=city.log_key, quorum=city.quorum).checkpoint
    hashes = world.http.get(f"/tile/0/000.p/{head.size}").content
    assert root_of([hashes[i : i + 32] for i in range(0, len(hashes), 32)]) == head.root
    entries = world.http.get(f"/tile/entries/000.p/{head.size}")
    assert entries.headers["cache-control"].endswith("immutable")
    length = int.from_bytes(entries.content[:2], "big")
    assert leaf_hash(entries.content[2 : 2 + length]) == hashes[:32]


class Meanwhile:
    """The application, and something that happens when the head of an answer is on its way and its body is not yet."""

    def __init__(self, app: ASGIApp, happens: Callable[[], object]) -> None:
        self._app, self._happens = app, happens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def through(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._happens()
            await send(message)

        await self._app(scope, receive, through)


def replacing(path: Path, data: bytes) -> Callable[[], object]:
    """Put a file in another's place, as a cosignature that comes does."""
    path.with_suffix(".new").write_bytes(data)
    return lambda: path.with_suffix(".new").replace(path)


@pytest.mark.parametrize("name", ["checkpoint", "checkpoint.cosigned", "tile/0/000.p/3"])
@pytest.mark.parametrize("change", ["longer", "shorter", "removed"])
def test_a_file_that_is_replaced_while_it_is_read_comes_whole(
    world: LicenceWorld, name: str, change: str
) -> None:
    world.issue()
    path = world.service.book.folder.log / "public" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.startswith("tile/"):
        path.write_bytes(bytes(96))
    data = path.read_bytes()
    happens = path.unlink if change == "removed" else replacing(path, data * 2 if change == "longer" else b"")
    with TestClient(Meanwhile(world.http.app, happens)) as http:
        answer = http.get(f"/{name}")
    assert (answer.status_code, answer.content) == (200, data)
    assert int(answer.headers["content-length"]) == len(data)
    if change == "removed":
        problem(world.http.get(f"/{name}"), 404, "not-published")


@pytest.mark.parametrize(
    "path",
    ["0/0", "0/000.p/999", "../private/log.json", "0/x000/../000", "entries/000/", "64/000", "0/０００"],
)
def test_a_path_that_names_no_tile_is_not_found(world: LicenceWorld, path: str) -> None:
    world.issue()
    assert world.http.get(f"/tile/{path}").status_code == 404


def test_nothing_private_is_served(world: LicenceWorld) -> None:
    world.issue()
    for path in (
        "/private/log.json",
        "/tile/../../private/log.json",
        "/book.json",
        "/city.json",
        "/licences",
    ):
        assert world.http.get(path).status_code in (401, 404, 422)


def test_status_lists_in_both_forms_and_at_a_past_time(world: LicenceWorld) -> None:
    made, department = world.issue(), world.department()
    world.clock.now_s = NOW + 100
    department.suspend(ref_of(made.credential))
    world.publish()
    world.clock.now_s = NOW + 200
    department.resume(ref_of(made.credential))
    world.publish()
    policy = world.service.policy
    codes = {
        at: status_of(world.client, made.credential, policy, at_s=at, now_s=NOW + 200).code
        for at in (NOW + 50, NOW + 150)
    }
    assert codes == {NOW + 50: 0, NOW + 150: 2}
    newest = status_json(status_of(world.client, made.credential, policy, now_s=NOW + 200))
    assert (newest["state"], newest["status"]) == ("VALID", "valid")
    assert newest["published_at"] == NOW + 200
    w3c = world.http.get("/status-lists/0", headers={"accept": "application/vc+jwt"})
    assert w3c.headers["content-type"].startswith("application/vc+jwt")
    assert w3c.text == world.client.status_list(0, is_bitstring=True)
    past = world.http.get(f"/status-lists/0?at={NOW + 50}", headers={"accept": "application/vc+jwt"})
    problem(past, 404, "not-published")
    problem(world.http.get("/status-lists/7"), 404, "not-published")
    assert world.http.get("/status-lists/0?at=1").status_code == 503
    for number in ("-1", str(2**32), "9" * 300):
        for path in (
            f"/status-lists/{number}",
            f"/status-lists/{number}?at=1",
            f"/status-lists/{number}/bitstring",
        ):
            problem(world.http.get(path), 422, "body-invalid")


def test_one_dead_witness_costs_nothing_and_two_stop_what_is_new(world: LicenceWorld) -> None:
    from ledger.log.errors import CosignatureMissing

    world.post.dead = {WITNESSES[3]}
    made = world.issue()
    assert world.verify(made.credential).json()["verdict"] == "VALID"
    world.post.dead = set(WITNESSES[2:])
    new = world.department().issue(world.order())
    with pytest.raises(CosignatureMissing):
        world.service.publish()
    assert world.verify(new.credential).json()["verdict"] == "UNKNOWN"
    assert world.verify(made.credential).json()["verdict"] == "VALID"
    world.post.dead = set()
    world.publish()
    assert world.verify(new.credential).json()["verdict"] == "VALID"


def test_health_and_metrics_name_nobody(world: LicenceWorld) -> None:
    made = world.issue()
    world.verify(made.credential)
    health = world.http.get("/healthz").json()
    assert (health["status"], health["is_cosigned"]) == ("ok", True)
    text = world.http.get("/metrics").text
    assert 'shuyao_licence_verdicts_total{verdict="VALID"} 1.0' in text
    assert 'route="/licences/verify"' in text
    for secret in (made.credential[:40], "陈示例", ref_of(made.credential).leaf_hash.hex()):
        assert secret not in text


def test_the_interface_is_documented_with_its_hot_route(world: LicenceWorld) -> None:
    document = world.http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    wanted = {
        "/checkpoint",
        "/slots",
        "/licence-events",
        "/licences/verify",
        "/licences/bundles",
        "/licences/export",
        "/licences/{lic}",
        "/status-tokens/{digest}",
        "/licences/uses",
        "/licences/erasures",
        "/status-lists/{number}",
        "/issuers/{uscc}",
        "/issuer-histories",
        "/anchors",
        "/nonces",
    }
    assert wanted <= set(document["paths"])


def test_unknown_paths_and_methods_are_problems(world: LicenceWorld) -> None:
    problem(world.http.get("/nothing"), 404, "not-found")
    problem(world.http.delete("/slots"), 405, "method-not-allowed")


def test_the_city_is_what_a_policy_takes(world: LicenceWorld) -> None:
    city = City.from_json(world.client.city())
    assert (city.origin, city.name, city.quorum.threshold) == (ORIGIN, "东莞", 3)
    assert city.service == PublicKey.from_jwk(world.client.city()["service"])


def test_a_restarted_service_goes_on_where_it_was(world: LicenceWorld) -> None:
    made = world.issue()
    again = world.service.book.folder.log
    before = hashlib.sha256((again / "public" / "checkpoint.cosigned").read_bytes()).digest()
    world.service.publisher.repair()
    world.service.online.refresh()
    assert world.verify(made.credential).json()["verdict"] == "VALID"
    assert hashlib.sha256((again / "public" / "checkpoint.cosigned").read_bytes()).digest() == before
