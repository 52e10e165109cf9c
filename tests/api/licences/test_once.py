"""POSTs that change something are answered once for their sender and Idempotency-Key, also after a restart."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api.licences.app import create_app
from api.licences.once import DATABASE, Answers
from api.licences.service import LicenceService, ServiceKeys
from api.once import Call
from api.store import AnswerStore
from cli.licence.client import ServiceRefused
from cli.licence.department import ref_of
from cli.licence.wallet import erase_audience
from exchange.errors import IdempotencyInProgress
from ledger.database import make_engine
from ledger.licences.events import Code, Kind, LicenceEvent, make_event, service_urn
from ledger.licences.issuers import IssuerHistory
from ledger.log.notes import NoteSigner
from tests.api.clients import Clock, problem
from tests.api.licences.conftest import NOW, ORIGIN, OTHER_USCC, USCC, LicenceWorld, key, seed

Body = dict[str, Any]
ROUTES = ("/slots", "/issuer-histories", "/licences/erasures", "/anchors")
DAY_S = 86_400


def post(http: TestClient, path: str, body: Body, name: str = "one") -> httpx.Response:
    found: httpx.Response = http.post(path, json=body, headers={"idempotency-key": name})
    return found


def slots(world: LicenceWorld, count: int = 1, uscc: str = USCC) -> Body:
    return request(world, "reserve_slots", {"count": str(count)}, uscc)


def request(world: LicenceWorld, action: str, arguments: dict[str, str], uscc: str = USCC) -> Body:
    return {"request": world.request(action, arguments, uscc=uscc)}


def erasure(world: LicenceWorld, credential: str) -> Body:
    shown = world.wallet.present(credential, (), nonce=world.client.nonce(), audience=erase_audience(ORIGIN))
    return {"presentation": shown}


def history(world: LicenceWorld, lifetime_s: int = 1_000) -> Body:
    size, now_s = world.service.book.size, int(world.clock())
    spans = tuple(world.registrar.spans(USCC))
    return {
        "history": IssuerHistory(USCC, ORIGIN, size, now_s, now_s + lifetime_s, spans).sign(key("registrar"))
    }


@contextmanager
def restarted(world: LicenceWorld) -> Iterator[TestClient]:
    """End the service and run another one over the same book."""
    old = world.service
    root = old.book.folder.root
    old.stop()
    keys = ServiceKeys(NoteSigner.from_seed(ORIGIN, seed("log")), key("service"))
    service = LicenceService(root, old.settings, keys, post=world.post, now_s=world.clock)
    with TestClient(create_app(service), base_url="http://city.example") as http:
        yield http
    world.service = service  # the fixture stops it


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("name", [None, "", "中文".encode().decode("latin-1"), "a b", "x" * 129])
def test_what_changes_something_needs_a_key(world: LicenceWorld, path: str, name: str | None) -> None:
    made = world.issue()
    bodies = {
        "/slots": slots(world),
        "/issuer-histories": history(world),
        "/licences/erasures": erasure(world, made.credential),
        "/anchors": request(world, "anchor", {}),
    }
    headers = {} if name is None else {"idempotency-key": name.encode("latin-1")}
    found = world.http.post(path, json=bodies[path], headers=headers)
    problem(found, 400, "idempotency-key-invalid")
    assert world.service.book.credential(made.receipt.index)


def test_the_same_key_and_body_get_the_same_answer_when_the_body_is_too_old_to_count(
    world: LicenceWorld,
) -> None:
    made = world.issue()
    sent = {
        "/slots": slots(world, 3),
        "/issuer-histories": history(world),
        "/licences/erasures": erasure(world, made.credential),
    }
    first = {path: post(world.http, path, body) for path, body in sent.items()}
    assert [answer.status_code for answer in first.values()] == [201, 201, 200]
    world.clock.now_s += 3_600
    for path, body in sent.items():
        again = post(world.http, path, body)
        assert (again.status_code, again.content) == (first[path].status_code, first[path].content)
        assert again.headers["content-type"] == "application/json"
    problem(post(world.http, "/slots", sent["/slots"], "two"), 401, "licence-request-rejected")
    problem(post(world.http, "/licences/erasures", sent["/licences/erasures"], "two"), 401, "bearer-stale")


def test_an_answer_outlives_the_service_that_gave_it(world: LicenceWorld) -> None:
    made = world.issue()
    world.verify(made.credential)
    by_holder, reservation = erasure(world, made.credential), slots(world, 2)
    by_issuer = request(world, "erase", {"lic": ref_of(made.credential).leaf_hash.hex()})
    first = [
        post(world.http, "/slots", reservation),
        post(world.http, "/licences/erasures", by_holder, "holder"),
        post(world.http, "/licences/erasures", by_issuer, "issuer"),
    ]
    assert [answer.json().get("uses") for answer in first] == [None, 1, 0]
    with restarted(world) as http:
        again = [
            post(http, "/slots", reservation),
            post(http, "/licences/erasures", by_holder, "holder"),
            post(http, "/licences/erasures", by_issuer, "issuer"),
        ]
        assert [each.content for each in again] == [each.content for each in first]
        problem(post(http, "/slots", slots(world)), 422, "idempotency-conflict")


def test_the_same_key_for_another_request_is_a_conflict(world: LicenceWorld) -> None:
    assert post(world.http, "/slots", slots(world)).status_code == 201
    before = world.service.book.store.next_number()
    problem(post(world.http, "/slots", slots(world, 5)), 422, "idempotency-conflict")
    problem(post(world.http, "/licences/erasures", request(world, "erase", {})), 422, "idempotency-conflict")
    assert world.service.book.store.next_number() == before


def test_another_sender_has_keys_of_its_own(world: LicenceWorld) -> None:
    first = post(world.http, "/slots", slots(world))
    other = post(world.http, "/slots", slots(world, uscc=OTHER_USCC))
    assert (first.status_code, other.status_code) == (201, 201)
    assert first.json() != other.json()


def test_who_only_claims_to_be_a_sender_leaves_nothing_under_its_keys(world: LicenceWorld) -> None:
    forged = world.request("reserve_slots", {"count": "1"}, key=key("thief"))
    problem(post(world.http, "/slots", {"request": forged}), 401, "licence-request-rejected")
    assert post(world.http, "/slots", slots(world)).status_code == 201
    problem(post(world.http, "/slots", {"request": forged}), 422, "idempotency-conflict")


def test_what_failed_may_be_tried_again_under_the_same_key(world: LicenceWorld) -> None:
    made = world.issue()
    unknown = world.wallet.present(made.credential, (), nonce="mine", audience=erase_audience(ORIGIN))
    problem(post(world.http, "/licences/erasures", {"presentation": unknown}), 409, "nonce-unknown")
    assert post(world.http, "/licences/erasures", erasure(world, made.credential)).status_code == 200


def test_a_request_counts_once_under_whatever_key(world: LicenceWorld) -> None:
    made = world.issue()
    body = request(world, "erase", {"lic": ref_of(made.credential).leaf_hash.hex()})
    assert post(world.http, "/licences/erasures", body).status_code == 200
    problem(post(world.http, "/licences/erasures", body, "two"), 401, "licence-request-rejected")
    held = erasure(world, made.credential)
    assert post(world.http, "/licences/erasures", held).status_code == 200
    problem(post(world.http, "/licences/erasures", held, "two"), 409, "nonce-unknown")


@pytest.mark.parametrize("ahead_s", [0, 60])
def test_a_request_counts_once_through_a_restart_whatever_its_signers_clock_says(
    world: LicenceWorld, ahead_s: int
) -> None:
    made = world.issue()
    lic = ref_of(made.credential).leaf_hash.hex()
    now_s = int(world.clock()) + ahead_s
    body = {"request": world.request("erase", {"lic": lic}, now_s=now_s)}
    bearer = world.request("export_licences", {"from": "0"}, now_s=now_s)
    headers = {"authorization": f"Bearer {bearer}"}
    assert post(world.http, "/licences/erasures", body).status_code == 200
    assert world.http.get("/licences/export?from=0", headers=headers).status_code == 200
    with restarted(world) as http:
        problem(post(http, "/licences/erasures", body, "two"), 401, "licence-request-rejected")
        problem(http.get("/licences/export?from=0", headers=headers), 401, "licence-request-rejected")


def test_a_used_request_is_kept_as_long_as_it_would_be_taken(world: LicenceWorld) -> None:
    asked = world.service.signed(world.request("export_licences", {"from": "0"}), "export_licences")
    answers = world.service.answers
    assert answers.use_up(asked)
    answers.forget()
    assert not answers.use_up(asked)
    assert answers.use_up(replace(asked, issuer="urn:shuyao:issuer:other"))
    world.clock.now_s += 2 * 3_600
    answers.forget()
    assert answers.use_up(asked)  # which `signed` would refuse by its time


def test_an_answer_is_forgotten_after_a_day(world: LicenceWorld) -> None:
    reservation = slots(world)
    assert post(world.http, "/slots", reservation).status_code == 201
    world.clock.now_s += DAY_S + 1
    world.service.answers.forget()
    assert post(world.http, "/slots", slots(world)).status_code == 201


CALL = Call("POST", "/slots", {"idempotency-key": "one"}, b"{}")


def test_a_post_that_is_being_answered_is_not_begun_again(tmp_path: Path) -> None:
    answers = Answers(tmp_path, now_s=Clock(NOW))

    def meanwhile(_proved: None) -> tuple[int, Any]:
        with pytest.raises(IdempotencyInProgress):
            answers.once(CALL, "somebody", prove=lambda: None, work=lambda _: (200, "twice"))
        return 200, "once"

    assert answers.once(CALL, "somebody", prove=lambda: None, work=meanwhile).body == b'"once"'
    answers.close()


def test_what_a_process_began_before_it_died_is_begun_again_by_the_next(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / DATABASE}")
    died = CALL.once(hashlib.sha256(b"somebody").digest(), owner="died", now_s=NOW)
    assert AnswerStore(engine).begin(died) is None
    engine.dispose()
    answers = Answers(tmp_path, now_s=Clock(NOW))
    for _ in range(2):
        found = answers.once(CALL, "somebody", prove=lambda: None, work=lambda _: (200, secrets.token_hex(8)))
        assert found.body == answers.once(CALL, "somebody", prove=refuse, work=lambda _: (200, "")).body
    answers.close()


def refuse() -> None:
    raise AssertionError("a kept answer needs no proof")


def test_nobody_but_the_operator_has_an_anchor_kept_as_asked(world: LicenceWorld) -> None:
    body = {"request": world.request("anchor", {}, key=key("service"), issuer=service_urn(ORIGIN))}
    problem(post(world.http, "/anchors", body), 404, "not-published")  # this log is on no chain
    problem(post(world.http, "/anchors", request(world, "anchor", {})), 401, "licence-request-rejected")


def test_what_creates_nothing_needs_no_key(world: LicenceWorld) -> None:
    made = world.issue()
    assert world.http.post("/nonces").status_code == 201
    assert world.http.post("/licences/bundles", json={"credential": made.credential}).status_code == 200
    assert world.http.post("/licences/verify", json={"presentation": made.credential}).status_code == 200


def test_an_events_id_is_its_key_for_ever(world: LicenceWorld) -> None:
    made = world.issue()
    licence = ref_of(made.credential)
    event = LicenceEvent(
        kind=Kind.SUSPEND,
        event_id=seed("event")[:16],
        issued_at=NOW,
        issuer=USCC,
        licence=licence.leaf_hash,
        origin=ORIGIN,
        list=licence.list,
        index=licence.index,
        code=Code.SUSPENDED,
        reason="",
    )
    signer = world.department().key
    first = world.client.submit(make_event(event, signer))
    size = world.service.book.size
    with pytest.raises(ServiceRefused) as caught:
        world.client.submit(make_event(replace(event, issued_at=NOW - 1), signer))
    assert caught.value.kind == "event-conflict"
    world.clock.now_s += 2 * DAY_S
    assert world.client.submit(make_event(event, signer)) == first
    assert world.service.book.size == size


def test_the_key_is_documented_where_it_is_needed(world: LicenceWorld) -> None:
    paths = world.http.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        parameters = methods.get("post", {}).get("parameters", [])
        named = [each for each in parameters if each["name"] == "Idempotency-Key" and each["required"]]
        assert len(named) == (path in ROUTES)
