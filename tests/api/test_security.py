"""What a dishonest buyer, holder or stranger tries at the HTTP edge."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.errors import STATUS, problem_of
from exchange import errors as market_errors
from exchange.types import MaskedAnswer
from ledger import errors as ledger_errors
from ledger.signing import Signer
from ledger.siwe import SignInMessage, build_message, sign_message
from privacy import errors as privacy_errors
from tests.api.clients import Clock, Machine, fresh_key, problem
from tests.api.test_routes import submit
from tests.exchange.fake_chain import DEPLOYMENT
from tests.exchange.world import NOW, SQL, World, signer_of

QUOTE = {"listing": "power", "sql": SQL}


# --- signatures ------------------------------------------------------------------------------------------


def test_without_credentials_nothing_private_is_answered(app: FastAPI, client: TestClient) -> None:
    body: Any = {"content": b"{}", "headers": {"idempotency-key": "k", "content-type": "application/json"}}
    for path in (
        "/participants",
        "/assets",
        "/listings",
        "/quotes",
        "/requests",
        "/requests/0x00/acceptances",
    ):
        problem(client.post(path, **body), 401, "credentials-missing")
    for path in ("/requests", "/requests/0x00", "/requests/0x00/answer", "/requests/0x00/receipt"):
        assert problem(client.get(path), 401, "credentials-missing")
    for path in ("/requests/0x00/messages?kind=1", "/requests/0x00/events"):
        problem(client.get(path), 401, "credentials-missing")


def test_a_signed_request_serves_once(client: TestClient, buyer: Machine) -> None:
    body = json.dumps(QUOTE).encode()
    headers = {**buyer.signed("POST", "/quotes", body), "content-type": "application/json"}
    first = client.post("/quotes", content=body, headers={**headers, "idempotency-key": "a"})
    assert first.status_code == 201
    for key in ("a", "b"):
        again = client.post("/quotes", content=body, headers={**headers, "idempotency-key": key})
        problem(again, 401, "request-replayed")


def test_a_signature_covers_method_target_body_and_time(client: TestClient, buyer: Machine) -> None:
    body = json.dumps(QUOTE).encode()
    common = {"content-type": "application/json", "idempotency-key": "k"}

    def post(target: str, sent: bytes, headers: dict[str, str]) -> None:
        response = client.post(target, content=sent, headers={**common, **headers})
        problem(response, 401, "http-signature-rejected")

    post("/quotes", body + b" ", buyer.signed("POST", "/quotes", body))
    post("/quotes?x=1", body, buyer.signed("POST", "/quotes", body))
    post("/quotes", body, buyer.signed("PUT", "/quotes", body))
    post("/quotes", body, buyer.signed("POST", "/quotes", body, now_s=NOW - 61))
    post("/quotes", body, buyer.signed("POST", "/quotes", body, now_s=NOW + 61))
    other = "0x" + signer_of("other").address.hex()
    post("/quotes", body, {**buyer.signed("POST", "/quotes", body), "Shuyao-Address": other})


def test_the_target_is_signed_as_it_stands_on_the_request_line(client: TestClient, buyer: Machine) -> None:
    assert buyer.get("/requests?limit=1&cursor=p0").status_code == 200
    headers = buyer.signed("GET", "/requests?limit=1")
    problem(client.get("/requests?limit=2", headers=headers), 401, "http-signature-rejected")


# --- idempotency -----------------------------------------------------------------------------------------


def test_every_post_needs_an_idempotency_key(app: FastAPI, client: TestClient, buyer: Machine) -> None:
    paths = [p for p, methods in client.get("/openapi.json").json()["paths"].items() if "post" in methods]
    assert len(paths) == 10
    for path in paths:
        target = re.sub(r"\{.*?\}", "0x" + "00" * 32, path)
        kind = "application/octet-stream" if path.endswith("/messages") else "application/json"
        body = json.dumps(BODIES.get(path, {})).encode()
        headers = {**buyer.signed("POST", target, body), "content-type": kind}
        found = client.post(target, content=body, headers=headers)
        problem(found, 400, "idempotency-key-invalid")
        for key in ("", " ", "a b", "é".encode(), b"x" * 129):
            headers = {**buyer.signed("POST", target, body), "content-type": kind}
            given: Any = {**{k: v.encode() for k, v in headers.items()}, "idempotency-key": key}
            problem(client.post(target, content=body, headers=given), 400, "idempotency-key-invalid")


SIGNATURE = "0x" + "11" * 65
BODIES: dict[str, Any] = {
    "/sessions": {"message": "m", "signature": SIGNATURE},
    "/participants": {"name": "n"},
    "/assets": {"name": "n", "title": "t", "policy": {}, "descriptor": {}},
    "/listings": {"name": "n", "title": "t", "assets": ["0x" + "00" * 32]},
    "/quotes": QUOTE,
    "/requests": {"plan": {}, "request": {}, "signature": SIGNATURE},
    "/requests/{request_id}/acceptances": {"signature": SIGNATURE},
}


def test_the_same_key_and_body_gets_the_stored_answer_and_another_body_a_problem(buyer: Machine) -> None:
    first = buyer.post("/quotes", QUOTE, key="one")
    again = buyer.post("/quotes", QUOTE, key="one")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    other = {**QUOTE, "sql": "SELECT COUNT(*) AS n FROM power"}
    problem(buyer.post("/quotes", other, key="one"), 422, "idempotency-conflict")
    problem(buyer.post("/participants", {"name": "x"}, key="one"), 422, "idempotency-conflict")
    assert buyer.post("/quotes", other, key="two").status_code == 201


def test_a_key_belongs_to_its_sender(buyer: Machine, holder: Machine) -> None:
    assert buyer.post("/participants", {"name": "buyer"}, key="one").json()["name"] == "buyer"
    assert holder.post("/participants", {"name": "holder"}, key="one").json()["name"] == "holder"


def test_a_post_that_failed_can_be_tried_again_under_its_key(world: World, buyer: Machine) -> None:
    signed = world.sign(buyer.signer, world.quote(buyer.signer))
    body = {
        "plan": signed.plan_json,
        "request": signed.request.to_json(),
        "signature": "0x" + signed.signature.hex(),
    }
    world.chain.balances[buyer.signer.address] = 0
    problem(buyer.post("/requests", body, key="one"), 409, "balance-too-low")
    world.chain.balances[buyer.signer.address] = 31_000
    assert buyer.post("/requests", body, key="one").status_code == 202


def test_one_key_twice_at_the_same_time_is_done_once(world: World, buyer: Machine) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: buyer.post("/quotes", QUOTE, key="one"), range(8)))
    good = {response.content for response in found if response.status_code == 201}
    assert len(good) == 1
    for response in found:
        if response.status_code != 201:
            problem(response, 409, "idempotency-in-progress")


# --- bodies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application/jsonx"],
)
def test_a_body_of_another_type_is_refused(buyer: Machine, kind: str) -> None:
    body = json.dumps(QUOTE).encode()
    problem(buyer.post_bytes("/quotes", body, kind=kind), 415, "media-type-unsupported")
    target = "/requests/0x" + "00" * 32 + "/messages"
    problem(buyer.post_bytes(target, b"SYM", kind="application/json"), 415, "media-type-unsupported")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b"[" * 100_000,
        b"\xff\xfe",
        json.dumps({**QUOTE, "more": 1}).encode(),
        json.dumps({**QUOTE, "sql": 5}).encode(),
        json.dumps({**QUOTE, "rho_micro": "-1"}).encode(),
        json.dumps({**QUOTE, "rho_micro": 1e400}).encode(),
        json.dumps({**QUOTE, "rho_micro": "1" * 30}).encode(),
        json.dumps({**QUOTE, "listing": "x" * 201}).encode(),
    ],
)
def test_a_malformed_body_is_a_problem_and_never_an_internal_error(buyer: Machine, body: bytes) -> None:
    response = buyer.post_bytes("/quotes", body, kind="application/json")
    assert response.status_code in (400, 422), response.text
    assert response.headers["content-type"] == "application/problem+json"


def test_a_body_over_its_limit_is_refused_with_and_without_a_declared_length(
    client: TestClient, buyer: Machine
) -> None:
    target = "/requests/0x" + "00" * 32 + "/messages"
    problem(buyer.post_bytes(target, bytes((1 << 20) + 5000)), 413, "body-too-large")
    chunks = (bytes(1 << 16) for _ in range(40))
    headers = {"content-type": "application/octet-stream", "idempotency-key": fresh_key()}
    problem(client.post(target, content=chunks, headers=headers), 413, "body-too-large")


def test_a_problem_never_repeats_what_was_sent(buyer: Machine) -> None:
    secret = "correct horse battery staple"
    bodies: list[Any] = [
        {"listing": secret * 20, "sql": "x"},
        {"listing": "power", "sql": "x", "rho_micro": secret},
        {secret: 1},
    ]
    for body in bodies[:2]:
        assert secret not in buyer.post("/quotes", body).text
    target = "/requests/0x" + "00" * 32 + "/acceptances"
    assert secret not in buyer.post(target, {"signature": secret}).text


# --- others' things --------------------------------------------------------------------------------------


def test_an_answer_is_for_its_buyer_alone(
    world: World, buyer: Machine, holder: Machine, broker: Machine, client: TestClient, clock: Clock
) -> None:
    from ledger.types import Answered

    signed = submit(world, buyer)
    target = "/requests/0x" + signed.id.hex()
    world.chain.emit(Answered, request_id=signed.id, answer_root=bytes(32))
    world.market.store.put_answer(signed.id, MaskedAnswer(b"b", b"masked", bytes(32)))
    world.follow()
    other = Machine(client, world.buyer("other"), clock)
    assert buyer.get(target + "/answer").content == b"masked"
    for machine in (other, holder, broker):
        problem(machine.get(target + "/answer"), 403, "not-yours")
    for path in ("", "/receipt", "/events"):
        problem(other.get(target + path), 403, "not-yours")
    assert other.get("/requests").json() == {"items": [], "next": None}


def test_masked_inputs_are_given_to_nobody(
    world: World, buyer: Machine, holder: Machine, broker: Machine
) -> None:
    signed = submit(world, buyer)
    target = "/requests/0x" + signed.id.hex() + "/messages?kind="
    for machine in (buyer, holder, broker):
        problem(machine.get(target + "2"), 403, "message-private")
    for kind in ("0", "4", "-1", "99999999999999999999"):
        assert buyer.get(target + kind).status_code in (403, 422)
    problem(buyer.get(target + "x"), 422, "body-invalid")


# --- sign-in ---------------------------------------------------------------------------------------------


def message_of(signer: Signer, nonce: str, **changes: Any) -> str:
    """Return the EIP-4361 text that a wallet would be shown."""
    given: dict[str, Any] = {
        "domain": "market.example:8700",
        "address": signer.address,
        "uri": "http://market.example:8700",
        "chain_id": DEPLOYMENT.chain_id,
        "nonce": nonce,
        "issued_at": datetime.fromtimestamp(NOW, UTC).isoformat().replace("+00:00", "Z"),
    }
    return build_message(SignInMessage(**{**given, **changes}))


def nonce_of(client: TestClient, key: str | None = None) -> str:
    response = client.post("/nonces", headers={"idempotency-key": key or fresh_key()})
    assert response.status_code == 201
    nonce: str = response.json()["nonce"]
    return nonce


def sign_in(client: TestClient, signer: Signer, text: str, *, key: str | None = None) -> Any:
    body = {"message": text, "signature": "0x" + sign_message(signer, text).hex()}
    return client.post("/sessions", json=body, headers={"idempotency-key": key or fresh_key()})


def test_a_session_speaks_for_its_account_until_it_expires(
    client: TestClient, world: World, clock: Clock
) -> None:
    buyer = world.buyer()
    found = sign_in(client, buyer, message_of(buyer, nonce_of(client))).json()
    assert found["address"] == "0x" + buyer.address.hex()
    bearer = {"authorization": "Bearer " + found["token"]}
    assert client.get("/requests", headers=bearer).status_code == 200
    posted = client.post("/quotes", json=QUOTE, headers={**bearer, "idempotency-key": "k"})
    assert posted.status_code == 201
    clock.now_s += 3601
    problem(client.get("/requests", headers=bearer), 401, "session-invalid")


def test_signing_out_ends_the_session(client: TestClient, world: World) -> None:
    buyer = world.buyer()
    token = sign_in(client, buyer, message_of(buyer, nonce_of(client))).json()["token"]
    bearer = {"authorization": f"Bearer {token}"}
    assert client.delete("/sessions/current", headers=bearer).status_code == 204
    problem(client.get("/requests", headers=bearer), 401, "session-invalid")


def test_a_sign_in_nonce_serves_once_and_a_repeated_post_gets_the_same_session(
    client: TestClient, world: World
) -> None:
    buyer = world.buyer()
    text = message_of(buyer, nonce_of(client))
    first = sign_in(client, buyer, text, key="one")
    assert sign_in(client, buyer, text, key="one").json() == first.json()
    problem(sign_in(client, buyer, text, key="two"), 401, "nonce-invalid")
    other = message_of(buyer, nonce_of(client))
    problem(sign_in(client, buyer, other, key="one"), 422, "idempotency-conflict")


def test_a_nonce_of_ones_own_or_an_expired_one_is_refused(
    client: TestClient, world: World, clock: Clock
) -> None:
    buyer = world.buyer()
    problem(sign_in(client, buyer, message_of(buyer, "a" * 32)), 401, "nonce-invalid")
    nonce = nonce_of(client)
    clock.now_s += 301
    problem(sign_in(client, buyer, message_of(buyer, nonce)), 401, "nonce-invalid")


def test_a_message_for_another_place_or_time_is_refused_and_uses_no_nonce(
    client: TestClient, world: World
) -> None:
    buyer, nonce = world.buyer(), nonce_of(client)
    old = (datetime.fromtimestamp(NOW, UTC) - timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    changes: list[dict[str, Any]] = [
        {"domain": "evil.example"},
        {"uri": "http://evil.example"},
        {"chain_id": 1},
        {"issued_at": old},
        {"expiration_time": old},
    ]
    for change in changes:
        problem(sign_in(client, buyer, message_of(buyer, nonce, **change)), 401, "sign-in-rejected")
    forged = {"message": message_of(buyer, nonce), "signature": "0x" + "11" * 64 + "1b"}
    response = client.post("/sessions", json=forged, headers={"idempotency-key": "k"})
    problem(response, 401, "sign-in-rejected")
    assert sign_in(client, buyer, message_of(buyer, nonce)).status_code == 201


def test_a_token_is_nowhere_in_the_database(client: TestClient, world: World, engine: Any) -> None:
    buyer = world.buyer()
    token = sign_in(client, buyer, message_of(buyer, nonce_of(client))).json()["token"]
    for path in Path(engine.url.database).parent.iterdir():
        assert token.encode() not in path.read_bytes()


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer nothing", "Basic dXNlcjpwYXNz", "bearer\tx"])
def test_a_bad_token_is_refused(client: TestClient, value: str) -> None:
    assert client.get("/requests", headers={"authorization": value}).status_code == 401


# --- the table of problems -------------------------------------------------------------------------------


def test_every_error_that_a_route_can_raise_has_a_status() -> None:
    modules = {"exchange.errors", "ledger.errors", "privacy.errors"}
    roots = (market_errors.ExchangeError, ledger_errors.LedgerError, privacy_errors.PrivacyError)
    internal = {
        market_errors.SettingsInvalid,
        market_errors.SchemaUnknown,
        ledger_errors.KeystoreError,
        ledger_errors.SubmitterError,
        ledger_errors.ReceiptInvalid,
        privacy_errors.EncodingError,
        privacy_errors.PlanningError,
    }
    for root in roots:
        for each in subclasses(root):
            if each.__module__ not in modules:
                continue
            known = any(base in STATUS for base in each.__mro__)
            expected_internal = any(base in internal for base in each.__mro__)
            assert known or expected_internal or subclasses(each), each


def subclasses(kind: type) -> set[type]:
    found: set[type] = set(kind.__subclasses__())
    for direct in list(found):
        found |= subclasses(direct)
    return found


def test_an_unforeseen_exception_shows_and_logs_nothing_of_itself(
    app: FastAPI, client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("the secret is xyzzy")

    found = problem(client.get("/broken"), 500, "internal-error")
    assert "xyzzy" not in json.dumps(found)
    logged = capsys.readouterr()
    assert "RuntimeError" in logged.out + logged.err
    assert "xyzzy" not in logged.out + logged.err


def test_errors_of_chain_and_database_show_no_detail() -> None:
    for error in (
        ledger_errors.ChainUnreachable("http://user:password@node"),
        ledger_errors.DatabaseUnavailable("postgresql://user:password@host"),
    ):
        found = problem_of(error)
        assert found.status == 503
        assert "password" not in found.detail
