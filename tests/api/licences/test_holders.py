"""What holders, departments, the registrar and the operator may ask, and what nobody else may."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from cli.licence.client import CityClient, ServiceRefused, Speaker
from cli.licence.department import Department, ref_of
from cli.licence.wallet import Wallet, uses_audience
from ledger.errors import MalformedValue
from ledger.licences.errors import LicenceError
from ledger.licences.events import registrar_urn, service_urn
from ledger.licences.sdjwt import parse
from tests.api.clients import fresh_key, problem
from tests.api.licences.conftest import NOW, ORIGIN, OTHER_USCC, USCC, VERIFIER, LicenceWorld, key


def once() -> dict[str, str]:
    return {"idempotency-key": fresh_key()}


def identifier(credential: str) -> str:
    return parse(credential).claims.identifier.text


def test_the_holder_lists_its_uses_with_their_salts_and_batches(world: LicenceWorld) -> None:
    made, other = world.issue(), world.issue()
    world.verify(made.credential)
    world.verify(other.credential)
    world.verify(made.credential)
    found = world.wallet.uses(world.client, made.credential)
    assert [use["verdict"] for use in found] == ["VALID", "VALID"]
    leaf = ref_of(made.credential).leaf_hash
    for use in found:
        subject = hmac.digest(bytes.fromhex(use["salt"]), leaf, "sha256").hex()
        assert use["record"][2:66] == subject
        assert use["verifier"] == hashlib.sha256(VERIFIER.encode()).hexdigest()
        assert use["batch"] is not None


def test_uses_need_the_holders_key_our_audience_and_our_nonce_once(world: LicenceWorld) -> None:
    made = world.issue()
    audience = uses_audience(ORIGIN)

    def asked(shown: str, status: int, kind: str) -> None:
        problem(world.http.post("/licences/uses", json={"presentation": shown}), status, kind)

    wallet, nonce = world.wallet, world.client.nonce()
    asked(made.credential, 401, "bearer-missing")
    asked(wallet.present(made.credential, (), nonce="mine", audience=audience), 409, "nonce-unknown")
    asked(wallet.present(made.credential, (), nonce=nonce, audience=VERIFIER), 401, "audience-mismatch")
    good = wallet.present(made.credential, (), nonce=nonce, audience=audience)
    assert world.http.post("/licences/uses", json={"presentation": good}).status_code == 200
    asked(good, 409, "nonce-unknown")


def test_a_nonce_ends(world: LicenceWorld) -> None:
    made, nonce = world.issue(), world.client.nonce()
    world.clock.now_s += 121
    shown = world.wallet.present(made.credential, (), nonce=nonce, audience=uses_audience(ORIGIN))
    problem(world.http.post("/licences/uses", json={"presentation": shown}), 409, "nonce-unknown")


def test_erasure_destroys_the_credential_and_leaves_the_log_as_it_was(world: LicenceWorld) -> None:
    made, department = world.issue(), world.department()
    world.verify(made.credential)
    book = world.service.book
    entry, root = book.log.entry(made.receipt.index), book.log.checkpoint.root
    assert len(department.client.find(department.speaker, identifier(made.credential))["items"]) == 1
    found = world.wallet.erase(world.client, made.credential)
    assert found == {"erased": True, "index": str(made.receipt.index), "uses": 1}
    with pytest.raises(LicenceError):
        book.credential(made.receipt.index)
    assert department.client.find(department.speaker, identifier(made.credential))["items"] == []
    assert (book.log.entry(made.receipt.index), book.log.checkpoint.root) == (entry, root)
    assert world.wallet.uses(world.client, made.credential) == []
    assert made.credential.partition("~")[0].rpartition(".")[2].encode() not in _all_bytes(world)


def _all_bytes(world: LicenceWorld) -> bytes:
    files = [path for path in world.service.book.folder.root.rglob("*") if path.is_file()]
    return b"\n".join(path.read_bytes() for path in files)


def test_the_issuer_may_erase_and_another_department_may_not(world: LicenceWorld) -> None:
    made, other = world.issue(), world.department(OTHER_USCC)
    licence = ref_of(made.credential)
    with pytest.raises(ServiceRefused, match="another issuer"):
        other.erase(licence)
    assert world.department().erase(licence)["erased"] is True


def test_departments_find_their_own_licences_only(world: LicenceWorld) -> None:
    made, other = world.issue(), world.department(OTHER_USCC)
    own = world.department()
    found = world.client.find(own.speaker, identifier(made.credential))["items"]
    assert [item["index"] for item in found] == [str(made.receipt.index)]
    assert world.client.find(other.speaker, identifier(made.credential))["items"] == []
    target = f"/licences?identifier={identifier(made.credential)}"
    problem(world.http.get(target), 401, "licence-request-rejected")


def request_of(world: LicenceWorld, **changes: object) -> str:
    return world.request(str(changes.pop("action", "reserve_slots")), {"count": "1"}, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": "another.example"},
        {"now_s": NOW - 61},
        {"now_s": NOW + 61},
        {"key": key("thief")},
        {"issuer": f"urn:shuyao:issuer:{OTHER_USCC}"},
        {"issuer": "urn:shuyao:issuer:none"},
        {"action": "anchor"},
    ],
)
def test_a_request_that_does_not_verify_is_refused(world: LicenceWorld, changes: dict[str, object]) -> None:
    body = {"request": request_of(world, **changes)}
    problem(world.http.post("/slots", json=body, headers=once()), 401, "licence-request-rejected")


def test_the_same_reservation_again_gets_the_same_slots(world: LicenceWorld) -> None:
    body = {"request": request_of(world)}

    def slots(body: dict[str, str]) -> list[list[int]]:
        found: list[list[int]] = world.http.post("/slots", json=body, headers=once()).json()["slots"]
        return found

    first, second = slots(body), slots(body)
    assert first == second
    assert slots({"request": request_of(world)}) != first


def test_nobody_but_the_operator_anchors_and_nothing_is_anchored_without_a_chain(world: LicenceWorld) -> None:
    with pytest.raises(ServiceRefused, match="operator"):
        world.client.anchor(world.department().speaker)
    with pytest.raises(ServiceRefused, match="not published"):
        world.client.anchor(Speaker(service_urn(ORIGIN), key("service")))
    assert world.client.anchors() == []


def test_the_registrar_cannot_speak_for_the_operator(world: LicenceWorld) -> None:
    with pytest.raises(ServiceRefused, match="operator"):
        world.client.anchor(Speaker(registrar_urn(ORIGIN), key("registrar")))


def test_a_retired_key_neither_issues_nor_asks(world: LicenceWorld) -> None:
    department = world.department()
    world.registrar.retire_key(USCC, department.key.public.key_id)
    with pytest.raises(ServiceRefused, match="active"):
        department.issue(world.order())


def test_the_registrar_signs_what_it_decided_and_not_what_the_service_says(world: LicenceWorld) -> None:
    world.department()
    spans = world.registrar.spans(USCC)
    assert [span.public for span in spans] == [key(f"department {USCC}").public]
    assert world.client.issuer(USCC)["keys"] == [span.to_json() for span in spans]
    forged = key("thief")
    with pytest.raises(ServiceRefused):
        world.client.publish_history(_history(world, forged))


def _history(world: LicenceWorld, signer: object) -> str:
    from ledger.licences.issuers import IssuerHistory

    history = IssuerHistory(USCC, ORIGIN, world.service.book.size, NOW, NOW + 100, ())
    return history.sign(signer)  # type: ignore[arg-type]  # a signing key


def test_a_holder_with_another_key_cannot_present(world: LicenceWorld) -> None:
    from cli.errors import CliError

    made = world.issue()
    with pytest.raises(CliError, match="holder"):
        Wallet(key("thief")).present(made.credential, (), nonce="n", audience=VERIFIER)


def test_a_value_outside_its_type_is_refused_before_it_is_signed(world: LicenceWorld) -> None:
    from cli.errors import CliError

    department = world.department()
    with pytest.raises(CliError, match="licence"):
        department.issue(world.order(serial="１２３"))
    assert isinstance(department, Department)
    assert isinstance(world.client, CityClient)


def test_bodies_are_strict(world: LicenceWorld) -> None:
    problem(world.http.post("/licences/bundles", json={"credential": 1}), 422, "body-invalid")
    problem(world.http.post("/licences/erasures", json={}, headers=once()), 422, "line-malformed")
    with pytest.raises(MalformedValue):
        from api.licences.settings import Pace

        Pace(cosign_s=61)
