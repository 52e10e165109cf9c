"""Each route as its user sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from exchange.chainside import Open, PostAnswer, Seal
from exchange.sums import Sums
from ledger.contracts import asset_id
from ledger.eip712 import sign_acceptance
from privacy.messages import decode_frame, decode_frames
from privacy.policy import Policy
from tests.api.clients import Machine, problem
from tests.exchange.fake_chain import DEPLOYMENT
from tests.exchange.world import DESCRIPTOR, POLICY, SQL, Signed, World


def quote(buyer: Machine, sql: str = SQL, **options: Any) -> dict[str, Any]:
    response = buyer.post("/quotes", {"listing": "power", "sql": sql, **options})
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    return found


def submit(world: World, buyer: Machine) -> Signed:
    """Quote and submit over HTTP, and mine the opening."""
    signed = world.sign(buyer.signer, world.quote(buyer.signer))
    body = {
        "plan": signed.plan_json,
        "request": signed.request.to_json(),
        "signature": "0x" + signed.signature.hex(),
    }
    response = buyer.post("/requests", body)
    assert response.status_code == 202, response.text
    assert response.json()["request_id"] == "0x" + signed.id.hex()
    world.chain.submit(Open(signed.request, signed.signature))
    world.follow()
    return signed


def test_the_deployment_is_shown_to_everybody(client: TestClient, world: World) -> None:
    found = client.get("/deployment").json()
    assert found["contracts"]["ledger"] == "0x" + DEPLOYMENT.ledger.hex()
    assert found["broker"] == "0x" + world.broker.address.hex()
    assert int(found["chain_id"]) == DEPLOYMENT.chain_id
    assert set(found["windows"]) == {"approve", "share", "contribute", "answer"}


def test_listings_and_assets_are_shown_to_everybody(client: TestClient, world: World) -> None:
    listing = client.get("/listings/power").json()
    assert listing["policy_hash"] == "0x" + world.the_policy.hash().hex()
    assert Policy.from_mapping(listing["policy"]) == world.the_policy
    assert [each["holder"] for each in listing["assets"]] == sorted(
        "0x" + holder.address.hex() for holder in world.holders
    )
    assert client.get("/listings/" + listing["id"]).json() == listing
    assert client.get("/listings").json() == {"items": [listing], "next": None}
    asset = client.get("/assets/" + listing["assets"][0]["asset"]).json()
    assert asset["descriptor"] == DESCRIPTOR
    assert asset["current"] is True
    problem(client.get("/listings/nothing"), 404, "listing-unknown")
    problem(client.get("/assets/0x00"), 422, "malformed-value")


def test_lists_are_paged_by_an_opaque_cursor(client: TestClient, world: World) -> None:
    first = client.get("/assets?limit=2").json()
    assert len(first["items"]) == 2
    rest = client.get(f"/assets?limit=2&cursor={first['next']}").json()
    assert len(rest["items"]) == 1
    assert rest["next"] is None
    names = {each["asset"] for each in (*first["items"], *rest["items"])}
    assert names == {"0x" + asset_id(holder.address, "power").hex() for holder in world.holders}
    problem(client.get("/assets?cursor=1"), 400, "cursor-invalid")
    assert len(client.get("/participants?limit=1").json()["items"]) == 1


def test_a_participant_names_itself(holder: Machine, client: TestClient) -> None:
    assert holder.post("/participants", {"name": "杭州电力"}).status_code == 201
    found = client.get("/participants/0x" + holder.signer.address.hex()).json()
    assert found["name"] == "杭州电力"
    assert found["roles"] == ["holder"]


def test_a_holder_shows_an_asset_and_the_broker_lists_it(
    holder: Machine, broker: Machine, world: World
) -> None:
    body = {"name": "power", "title": "Power", "policy": POLICY, "descriptor": DESCRIPTOR}
    assert holder.post("/assets", body).status_code == 201
    assets = ["0x" + asset_id(each.address, "power").hex() for each in world.holders]
    listing = {"name": "power", "title": "Another title", "assets": assets}
    assert broker.post("/listings", listing).json()["title"] == "Another title"
    problem(holder.post("/listings", listing), 403, "not-yours")


def test_a_quote_has_plan_price_errors_and_draft(buyer: Machine) -> None:
    found = quote(buyer, rho_micro="100000", purpose="research")
    assert (found["rho_micro"], found["price_minor"]) == ("100000", str(1000 + 6000))
    assert found["columns"] == ["town", "n", "mean"]
    assert [each["column"] for each in found["expected_error95"]] == found["columns"]
    assert found["existing_request"] is None
    assert found["request"]["rho"] == "100000"


def test_a_rejected_query_gives_every_violation_with_rule_column_and_position(buyer: Machine) -> None:
    sql = "SELECT MEDIAN(kwh), nothing FROM power"
    found = problem(buyer.post("/quotes", {"listing": "power", "sql": sql}), 422, "plan-rejected")
    assert len(found["violations"]) >= 2
    assert all(set(each) == {"rule", "message", "column", "line", "position"} for each in found["violations"])
    assert any(each["position"] for each in found["violations"])


def test_sql_of_more_than_64_kb_is_a_violation_and_a_megabyte_is_too_large(buyer: Machine) -> None:
    long = "SELECT COUNT(*) FROM power -- " + "x" * 66_000
    found = problem(buyer.post("/quotes", {"listing": "power", "sql": long}), 422, "plan-rejected")
    assert found["violations"]
    huge = {"listing": "power", "sql": "x" * (1 << 20)}
    problem(buyer.post("/quotes", huge), 413, "body-too-large")


def test_a_request_from_quote_to_settlement_over_http(
    world: World, buyer: Machine, client: TestClient, clock: Any
) -> None:
    signed = submit(world, buyer)
    target = "/requests/0x" + signed.id.hex()
    machines = [Machine(client, holder.signer, clock) for holder in world.holders]
    for node in world.holders:
        node.approve(signed.id)
    world.follow()
    for node, machine in zip(world.holders, machines, strict=True):
        body = machine.get(target).json()
        assert body["plan"] == signed.plan_json
        assert body["request"] == signed.request.to_json()
        assert body["state"] == "sharing"
        response = machine.post_bytes(target + "/messages", node.bundle(signed.id))
        assert response.status_code == 201, response.text
        node.share(signed.id)
    frames = decode_frames(machines[0].get(target + "/messages?kind=1").content)
    assert [frame.sender for frame in frames] == [0, 1, 2]
    for node, machine in zip(world.holders, machines, strict=True):
        frame = node.masked_input(signed.id)
        response = machine.post_bytes(target + "/messages", frame)
        assert response.json()["message_hash"] == "0x" + decode_frame(frame).message_hash.hex()
        assert machine.post_bytes(target + "/messages", frame).status_code == 200
        node.contribute(signed.id)
    progress = world.progress(signed.id)
    world.chain.submit(Seal(progress.request, tuple(progress.members)))
    for node, machine in zip(world.holders, machines, strict=True):
        assert machine.post_bytes(target + "/messages", node.unmask(signed.id)).status_code == 201
    answer = Sums(world.market.store).answer(world.progress(signed.id))
    assert answer is not None
    problem(buyer.get(target + "/answer"), 409, "answer-not-ready")
    world.chain.submit(PostAnswer(progress.request, answer.root))
    world.follow()
    response = buyer.get(target + "/answer")
    assert response.headers["content-type"] == "application/octet-stream"
    expected = sum(node.cells(signed.id) for node in world.holders)
    assert np.array_equal(world.open_sum(signed, response.content), expected)
    evidence = buyer.get(target + "/receipt").json()
    assert evidence["answer_root"] == "0x" + answer.root.hex()
    assert len(evidence["messages"]) == 9
    names = [event["name"] for event in buyer.get(target).json()["events"]]
    assert names == ["Opened", *["Approved"] * 3, *["Shared"] * 3, *["Contributed"] * 3, "Sealed", "Answered"]
    acceptance = sign_acceptance(buyer.signer, signed.id, DEPLOYMENT.chain_id, DEPLOYMENT.ledger)
    body = {"signature": "0x" + acceptance.hex()}
    assert buyer.post(target + "/acceptances", body).status_code == 202
    assert world.market.store.request(signed.id).acceptance == acceptance
    assert buyer.get("/requests").json()["items"][0]["state"] == "answered"


def test_progress_is_streamed_from_the_last_event_seen_to_the_last_stage(
    world: World, buyer: Machine
) -> None:
    from exchange.types import Stage

    signed = submit(world, buyer)
    target = f"/requests/0x{signed.id.hex()}/events"
    world.market.store.set_stage(signed.id, Stage.CLOSED, 1_790_000_001, "too few")
    whole = events(buyer.get(target).text)
    assert [each["event"] for each in whole] == ["state"] * 3
    assert [each["data"] for each in whole] == [
        '{"state": "submitted", "at": "2026-09-21T14:13:20Z"}',
        '{"state": "open", "at": "2026-09-21T14:13:20Z"}',
        '{"state": "closed", "at": "2026-09-21T14:13:21Z"}',
    ]
    assert events(buyer.get(target, **{"last-event-id": whole[1]["id"]}).text) == whole[2:]
    assert events(buyer.get(target, **{"last-event-id": whole[2]["id"]}).text) == []
    problem(buyer.get(target, **{"last-event-id": "-1"}), 422, "invalid")


def events(text: str) -> list[dict[str, str]]:
    """Parse a whole event stream."""
    blocks = [
        block for block in text.replace("\r\n", "\n").split("\n\n") if block and not block.startswith(":")
    ]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


def test_health_says_what_is_wrong(client: TestClient, world: World) -> None:
    found = client.get("/healthz")
    assert (found.status_code, found.json()["status"]) == (503, "down")  # the follower does not run here
    world.market.start()
    try:
        assert client.get("/healthz").json()["status"] == "ok"
        world.chain.away = True
        world.follow()
        found = client.get("/healthz")
        assert (found.status_code, found.json()["status"]) == (200, "degraded")
        assert found.json()["chain"]["fault"] == "ChainUnreachable"
        assert client.get("/listings/power").status_code == 200
    finally:
        world.market.stop()


def test_metrics_name_routes_and_never_ids(client: TestClient, world: World, buyer: Machine) -> None:
    signed = submit(world, buyer)
    buyer.get("/requests/0x" + signed.id.hex())
    text = client.get("/metrics").text
    assert 'route="/requests/{request_id}"' in text
    assert signed.id.hex() not in text
    assert 'shuyao_requests{stage="open"} 1.0' in text


def test_the_api_describes_itself(app: FastAPI, client: TestClient) -> None:
    found = client.get("/openapi.json").json()
    assert found["openapi"].startswith("3.1")
    expected = {
        "/nonces": {"post"},
        "/sessions": {"post"},
        "/sessions/current": {"delete"},
        "/deployment": {"get"},
        "/participants": {"get", "post"},
        "/participants/{address}": {"get"},
        "/participants/{address}/licence": {"post"},
        "/admission": {"get"},
        "/assets": {"get", "post"},
        "/assets/{asset_id}": {"get"},
        "/listings": {"get", "post"},
        "/listings/{name_or_id}": {"get"},
        "/quotes": {"post"},
        "/requests": {"get", "post"},
        "/requests/{request_id}": {"get"},
        "/requests/{request_id}/answer": {"get"},
        "/requests/{request_id}/receipt": {"get"},
        "/requests/{request_id}/events": {"get"},
        "/requests/{request_id}/messages": {"get", "post"},
        "/requests/{request_id}/acceptances": {"post"},
        "/healthz": {"get"},
        "/metrics": {"get"},
    }
    assert {path: set(methods) for path, methods in found["paths"].items()} == expected


@pytest.mark.parametrize("path", ["/nothing", "/requests/x/y", "/docs"])
def test_an_unknown_path_is_a_problem(client: TestClient, path: str) -> None:
    problem(client.get(path), 404, "not-found")
    problem(client.put("/quotes"), 405, "method-not-allowed")
