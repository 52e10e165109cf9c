"""The online check: verdicts, and the use that each leaves."""

from __future__ import annotations

import json

import pytest

from cli.licence.department import ref_of
from ledger.licences.access import AccessFiles, Use
from ledger.licences.bundle import Bundle
from ledger.licences.events import Code
from ledger.licences.policy import TrustPolicy
from ledger.licences.verify import verify
from tests.api.clients import problem
from tests.api.licences.conftest import NOW, VERIFIER, LicenceWorld, key


def uses(world: LicenceWorld, credential: str) -> list[Use]:
    index = world.service.book.standing(*_slot(credential))
    assert index is not None
    files = AccessFiles(world.service.book.folder.access)
    return [use.record.use for use in files.uses_of(index.leaf_index, index.leaf_hash)]


def _slot(credential: str) -> tuple[int, int]:
    ref = ref_of(credential)
    return ref.list, ref.index


def test_a_published_licence_is_valid_and_its_use_is_recorded_before_the_answer(world: LicenceWorld) -> None:
    made = world.issue()
    answer = world.verify(made.credential, ("entity_name",))
    assert answer.status_code == 200
    found = answer.json()
    assert (found["verdict"], found["reason"], found["missing"]) == ("VALID", None, [])
    assert set(found["facts"]) == {"bearer", "checkpoint", "issuer", "status"}
    assert uses(world, made.credential) == [Use.VALID]


def test_a_licence_that_no_quorum_has_seen_is_unknown(world: LicenceWorld) -> None:
    world.issue()
    made = world.department().issue(world.order())
    found = world.verify(made.credential).json()
    assert found["verdict"] == "UNKNOWN"
    assert "inclusion" in found["missing"]


def test_without_any_checkpoint_the_verdict_is_unknown(world: LicenceWorld) -> None:
    made = world.department().issue(world.order())
    found = world.verify(made.credential).json()
    assert (found["verdict"], "checkpoint" in found["missing"]) == ("UNKNOWN", True)


def test_suspended_then_resumed(world: LicenceWorld) -> None:
    made, department = world.issue(), world.department()
    department.suspend(ref_of(made.credential))
    world.publish()
    found = world.verify(made.credential).json()
    assert (found["verdict"], found["reason"], found["code"]) == ("INVALID", "Suspended", 2)
    department.resume(ref_of(made.credential))
    world.publish()
    assert world.verify(made.credential).json()["verdict"] == "VALID"
    assert uses(world, made.credential) == [Use.INVALID, Use.VALID]


def test_a_revoked_licence_stays_invalid(world: LicenceWorld) -> None:
    made, department = world.issue(), world.department()
    department.revoke(ref_of(made.credential), Code.WITHDRAWN)
    world.publish()
    found = world.verify(made.credential).json()
    assert (found["verdict"], found["reason"], found["code"]) == ("INVALID", "Revoked", 0xE)


def test_expiry_is_computed_at_the_second(world: LicenceWorld) -> None:
    made = world.issue(expires_at=NOW + 30)
    world.clock.now_s = NOW + 29
    assert world.verify(made.credential).json()["verdict"] == "VALID"
    world.clock.now_s = NOW + 30
    assert world.verify(made.credential).json()["reason"] == "Expired"


def test_a_licence_that_was_never_logged_leaves_no_use(world: LicenceWorld) -> None:
    made, department = world.issue(), world.department()
    slot = department.client.reserve(department.speaker, 1)[0]
    unlogged = department.sign(world.order(), slot)
    assert world.verify(unlogged).json()["verdict"] == "UNKNOWN"
    same_slot = department.sign(world.order(), _slot(made.credential))
    assert world.verify(same_slot).json()["reason"] == "NotInLog"
    offline = verify(world.client.bundle(same_slot), TrustPolicy(world.service.policy.cities), now_s=NOW)
    assert offline.reason == "NotInLog"
    assert uses(world, made.credential) == []


def test_a_credential_signed_by_nobody_is_forged_and_no_use_of_the_true_one(world: LicenceWorld) -> None:
    made, department = world.issue(), world.department()
    thief = type(department)(department.uscc, key("thief"), world.client, now_s=world.clock)
    forged = thief.sign(world.order(), _slot(made.credential))
    assert world.verify(forged).json()["reason"] == "KeyUnknown"
    assert uses(world, made.credential) == []


def test_a_replayed_presentation_is_refused_by_nonce_and_audience(world: LicenceWorld) -> None:
    made = world.issue()
    shown = world.wallet.present(made.credential, (), nonce="n1", audience=VERIFIER)
    for nonce, audience, reason in (
        ("n2", VERIFIER, "NonceMismatch"),
        ("n1", "https://other.example", "AudienceMismatch"),
    ):
        body = {"presentation": shown, "nonce": nonce, "audience": audience}
        assert world.http.post("/licences/verify", json=body).json()["reason"] == reason
    world.clock.now_s += 61
    body = {"presentation": shown, "nonce": "n1", "audience": VERIFIER}
    assert world.http.post("/licences/verify", json=body).json()["missing"] == ["bearer"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"presentation":1}',
        b'{"presentation":"x","nonce":"n"}',
        b'{"presentation":"x","other":"n"}',
        b'{"presentation":"x","nonce":"n","audience":"\\ud800"}',
        b"\xff",
        b"[" * 5000,
    ],
)
def test_a_body_that_is_none_is_a_problem(world: LicenceWorld, body: bytes) -> None:
    problem(world.http.post("/licences/verify", content=body), 422, "line-malformed")


def test_a_body_over_the_limit_is_a_problem(world: LicenceWorld) -> None:
    problem(world.http.post("/licences/verify", content=b"x" * (1 << 19)), 413, "body-too-large")


@pytest.mark.parametrize("text", ["", "x", "~", "a.b.c~", "ｅyJ.x.y~"])
def test_a_malformed_presentation_is_invalid(world: LicenceWorld, text: str) -> None:
    found = world.http.post("/licences/verify", json={"presentation": text}).json()
    assert (found["verdict"], found["reason"]) == ("INVALID", "Malformed")


def test_no_verdict_when_the_use_cannot_be_recorded(world: LicenceWorld) -> None:
    made = world.issue()
    world.service.access.close()
    problem(world.verify(made.credential), 503, "book-closed")


def test_online_and_offline_agree(world: LicenceWorld) -> None:
    """The same facts and the same time give the same verdict, reason, missing and times."""
    department = world.department()
    licences = {name: world.issue() for name in ("valid", "suspended", "revoked")}
    licences["expired"] = world.issue(expires_at=NOW + 5)
    department.suspend(ref_of(licences["suspended"].credential))
    department.revoke(ref_of(licences["revoked"].credential), Code.REVOKED)
    world.clock.now_s = NOW + 10
    world.publish()
    licences["unpublished"] = department.issue(world.order())
    policy = TrustPolicy.from_json(
        {
            "version": 1,
            "cities": [world.client.city()],
            "skew_s": 60,
            "status_age_s": 86_400,
            "issuer_age_s": 604_800,
            "kb_age_s": 60,
            "anchor": "none",
        }
    )
    seen = set()
    for now_s in (NOW + 10, NOW + 90_000, NOW + 700_000, NOW - 100):
        world.clock.now_s = now_s
        for made in licences.values():
            bundle = Bundle.parse(world.client.bundle(made.credential))
            offline = verify(bundle, policy, now_s=now_s)
            online = world.http.post("/licences/verify", json={"presentation": made.credential}).json()
            assert online == json.loads(
                json.dumps(
                    {
                        "verdict": offline.state,
                        "reason": offline.reason,
                        "code": offline.code,
                        "facts": offline.facts,
                        "missing": offline.missing,
                        "authentic": offline.authentic,
                    }
                )
            )
            seen.add((online["verdict"], online["reason"]))
    assert seen >= {
        ("VALID", None),
        ("INVALID", "Suspended"),
        ("INVALID", "Revoked"),
        ("INVALID", "Expired"),
        ("UNKNOWN", None),
    }
