"""Attacks on whose key signed a licence: each is refused with a reason of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ledger.encoding import canonical_json
from ledger.licences.encoding import b64u
from ledger.licences.events import Kind
from ledger.licences.verify import Missing, Reason, State
from tests.ledger.licences.cases import Case, lacking, payload_of, refused
from tests.ledger.licences.world import BUSINESS, DAY, FOOD, NOW, uscc


@pytest.fixture
def case() -> Case:
    return Case()


def test_history_that_the_registrar_did_not_sign_is_refused(case: Case) -> None:
    code = case.licence.claims.issuer
    text = case.city.history(code).sign(case.city.service)
    refused(case.verify(case.bundle(issuer=text)), Reason.ISSUER_FORGED)


@pytest.mark.parametrize("change", [{"issuer": uscc("2")}, {"origin": "beigang.example/licences"}])
def test_history_of_another_issuer_or_log_is_refused(case: Case, change: dict[str, Any]) -> None:
    text = case.city.history(case.licence.claims.issuer, **change).sign(case.city.registrar)
    refused(case.verify(case.bundle(issuer=text)), Reason.ISSUER_FORGED)


def test_credential_of_a_key_that_nobody_added_is_refused(case: Case) -> None:
    case.city.issuers[case.licence.claims.issuer].key = case.city.key("made up")
    made_up = case.city.issue()
    case.city.publish()
    refused(case.verify(case.city.bundle(made_up)), Reason.KEY_UNKNOWN)


def test_history_that_ends_before_the_licence_does_not_condemn_its_key(case: Case) -> None:
    code = case.licence.claims.issuer
    old = case.city.history(code).sign(case.city.registrar)
    case.city.add_key(code, (BUSINESS,), case.city.key("new"))
    licence = case.city.issue()
    case.city.publish()
    assert case.verify(case.city.bundle(licence)).state is State.VALID
    lacking(case.verify(case.city.bundle(licence, issuer=old)), Missing.ISSUER)


def test_type_that_the_key_may_not_sign_is_refused(case: Case) -> None:
    clerk = case.city.issuer(uscc("3"), types=(FOOD,))
    licence = case.city.issue(issuer=clerk)
    case.city.publish()
    refused(case.verify(case.city.bundle(licence)), Reason.TYPE_NOT_ALLOWED)


def test_altered_credential_is_refused(case: Case) -> None:
    payload = {**payload_of(case.licence), "exp": NOW + 9999 * DAY}
    header, _, signature = case.licence.credential.jwt.split(".")
    text = f"{header}.{b64u(canonical_json(payload))}.{signature}~"
    refused(case.verify(case.bundle(text=text)), Reason.CREDENTIAL_FORGED)


def test_key_retired_before_signing_is_refused(case: Case) -> None:
    case.city.end_key(case.licence.claims.issuer, Kind.KEY_RETIRE)
    late = case.city.issue()
    case.city.publish()
    refused(case.verify(case.city.bundle(late)), Reason.KEY_RETIRED)
    assert case.verify().state is State.VALID, "what the key signed before stays"


def test_key_compromised_before_and_after_logging(case: Case) -> None:
    case.city.end_key(case.licence.claims.issuer, Kind.KEY_COMPROMISE)
    backdated = case.city.issue(issued_at=NOW - 100 * DAY, not_before=NOW - 100 * DAY)
    case.city.publish()
    refused(case.verify(case.city.bundle(backdated)), Reason.KEY_COMPROMISED)
    assert case.verify().state is State.VALID, "the log's order says that it was signed before"


def test_key_added_after_the_licence_was_logged_is_refused(case: Case) -> None:
    code = case.licence.claims.issuer
    spans = case.city.issuers[code].spans
    late = (replace(spans[0], added=case.licence.index or 0),)
    text = case.city.history(code, keys=late).sign(case.city.registrar)
    refused(case.verify(case.bundle(issuer=text)), Reason.KEY_NOT_YET_ACTIVE)
