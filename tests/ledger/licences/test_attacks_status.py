"""Attacks on a licence's status and on the clock: what is old or missing is UNKNOWN and never VALID."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger.licences.bundle import Bundle, StatusPart
from ledger.licences.encoding import b64u, parse_b64u
from ledger.licences.events import Code, Kind, leaf_of_status_token
from ledger.licences.leaf import FINAL
from ledger.licences.status import slot
from ledger.licences.verify import Missing, Reason, State
from tests.ledger.licences.cases import Case, lacking, refused
from tests.ledger.licences.world import DAY, NOW


@pytest.fixture
def case() -> Case:
    return Case()


# --- its status


def test_stripped_status_token_is_unknown_never_valid(case: Case) -> None:
    bundle = case.after(lambda city, licence: city.event(licence, Kind.REVOKE))
    refused(case.verify(bundle), Reason.REVOKED)
    verdict = case.verify(replace(bundle, status=None))
    lacking(verdict, Missing.STATUS)
    assert verdict.last_known is None


def test_suspended_revoked_and_resumed_licences(case: Case) -> None:
    refused(case.verify(case.after(lambda c, licence: c.event(licence, Kind.SUSPEND))), Reason.SUSPENDED)
    assert case.verify(case.after(lambda c, licence: c.event(licence, Kind.RESUME))).state is State.VALID
    for code in sorted(FINAL):
        case.city.set_code(case.licence.claims.list, case.licence.claims.index, code)
        case.city.publish()
        verdict = case.verify(case.bundle())
        refused(verdict, Reason.REVOKED)
        assert verdict.code == code


def test_stale_status_is_unknown_with_its_time(case: Case) -> None:
    later = NOW + DAY + 1
    verdict = case.verify(now_s=later)
    lacking(verdict, Missing.STATUS)
    assert verdict.last_known == NOW
    strict = replace(case.city.policy(), status_age_s=10)
    lacking(case.verify(policy=strict, now_s=NOW + 11), Missing.STATUS)
    short = case.city.token(0, ttl_s=5)
    index = case.city.append(leaf_of_status_token(short))
    bundle = case.bundle(
        checkpoint=case.city.checkpoint(),
        inclusion=case.city.inclusion(case.licence.index or 0),
        status=StatusPart(short, case.city.inclusion(index)),
    )
    assert case.verify(bundle, now_s=NOW + 5).state is State.VALID
    lacking(case.verify(bundle, now_s=NOW + 6), Missing.STATUS)
    ending = case.city.token(0, expires_at=NOW + 5)
    index = case.city.append(leaf_of_status_token(ending))
    bundle = case.bundle(
        checkpoint=case.city.checkpoint(),
        inclusion=case.city.inclusion(case.licence.index or 0),
        status=StatusPart(ending, case.city.inclusion(index)),
    )
    assert case.verify(bundle, now_s=NOW + 4).state is State.VALID
    lacking(case.verify(bundle, now_s=NOW + 5), Missing.STATUS)


def test_stale_token_condemns_only_by_what_is_final(case: Case) -> None:
    suspended = case.after(lambda c, licence: c.event(licence, Kind.SUSPEND))
    lacking(case.verify(suspended, now_s=NOW + 2 * DAY), Missing.STATUS)
    revoked = case.after(lambda c, licence: c.event(licence, Kind.REVOKE, Code.WITHDRAWN))
    refused(case.verify(revoked, now_s=NOW + 2 * DAY), Reason.REVOKED)


def test_token_from_before_the_licence_says_nothing_about_it(case: Case) -> None:
    early = case.city.token(0)
    index = case.city.append(leaf_of_status_token(early))
    fresh = case.city.issue()
    case.city.publish()
    assert case.city.published is not None
    part = StatusPart(early, case.city.inclusion(index, case.city.published.size))
    lacking(case.verify(case.city.bundle(fresh, status=part)), Missing.STATUS)
    assert case.verify(case.city.bundle(fresh)).state is State.VALID


def test_never_issued_index_is_refused(case: Case) -> None:
    number, index = slot(case.city.slot_key, 999)
    lying = case.city.issue(list=number, index=index)
    case.city.set_code(number, index, Code.NOT_ISSUED)  # a service that logs without checking
    case.city.publish()
    refused(case.verify(case.city.bundle(lying)), Reason.NOT_ISSUED)


def test_token_of_another_list_or_signer_is_refused(case: Case) -> None:
    def with_token(token: str) -> Bundle:
        index = case.city.append(leaf_of_status_token(token))
        return case.bundle(
            checkpoint=case.city.checkpoint(),
            inclusion=case.city.inclusion(case.licence.index or 0),
            status=StatusPart(token, case.city.inclusion(index)),
        )

    refused(case.verify(with_token(case.city.token(7))), Reason.STATUS_OF_OTHER_LIST)
    other = case.city.token(0, origin="beigang.example/licences")
    refused(case.verify(with_token(other)), Reason.STATUS_OF_OTHER_LIST)
    forged = case.city.token(0, key=case.city.issuer().key)
    refused(case.verify(with_token(forged)), Reason.STATUS_FORGED)


def test_unlogged_token_is_refused(case: Case) -> None:
    """The service cannot give a status to one verifier and another to the log."""
    bundle = case.bundle()
    assert bundle.status is not None
    secret = StatusPart(case.city.token(0), bundle.status.inclusion)
    refused(case.verify(replace(bundle, status=secret)), Reason.STATUS_FORGED)


def test_altered_token_is_refused_beside_the_one_whose_signature_it_has(case: Case) -> None:
    """A verifier keeps an opened token by its signature: another text with that signature is another token, before and after."""
    bundle = case.bundle()
    assert bundle.status is not None and case.verify(bundle).state is State.VALID
    token = bundle.status.token
    header, payload, signature = token.split(".")
    longer = parse_b64u(payload, "payload").replace(b'"ttl":', b'"ttl":1')
    altered = f"{header}.{b64u(longer)}.{signature}"
    refused(case.verify(replace(bundle, status=replace(bundle.status, token=altered))), Reason.STATUS_FORGED)
    assert case.verify(bundle).state is State.VALID
    shorter = replace(bundle, status=replace(bundle.status, token=token[1:]))
    refused(case.verify(shorter), Reason.MALFORMED)
    assert case.verify(bundle).state is State.VALID


# --- time


def test_expiry_has_no_grace_and_validity_no_advance(case: Case) -> None:
    end = case.licence.claims.expires_at
    assert end is not None
    case.city.publish(end - 1)
    assert case.verify(case.bundle(), now_s=end - 1).state is State.VALID
    refused(case.verify(case.bundle(), now_s=end), Reason.EXPIRED)
    future = case.city.issue(not_before=end + 10, expires_at=None)
    case.city.publish(end)
    refused(case.verify(case.city.bundle(future), now_s=end + 9), Reason.NOT_YET_VALID)


def test_clock_set_back_at_expiry_does_not_help(case: Case) -> None:
    end = case.licence.claims.expires_at
    assert end is not None
    case.city.publish(end + 5)
    refused(case.verify(case.bundle(), now_s=end - 1), Reason.EXPIRED)
    refused(case.verify(case.bundle(), now_s=end - 10 * DAY), Reason.EXPIRED)


def test_facts_newer_than_now_show_a_wrong_clock(case: Case) -> None:
    case.city.publish(NOW + 1000)
    lacking(case.verify(case.bundle(), now_s=NOW + 1000 - 61), Missing.CLOCK)
    assert case.verify(case.bundle(), now_s=NOW + 1000 - 60).state is State.VALID


@pytest.mark.parametrize("fact", ["credential", "checkpoint", "token", "history"])
def test_each_fact_alone_shows_a_wrong_clock(case: Case, fact: str) -> None:
    city, later = case.city, NOW + 61
    licence = city.issue(issued_at=later) if fact == "credential" else case.licence
    token = city.token(0, issued_at=later if fact == "token" else NOW)
    index = city.append(leaf_of_status_token(token))
    history = city.history(licence.claims.issuer, issued_at=later if fact == "history" else NOW)
    bundle = city.bundle(
        licence,
        checkpoint=city.checkpoint(now_s=later if fact == "checkpoint" else NOW),
        inclusion=city.inclusion(licence.index or 0),
        issuer=history.sign(city.registrar),
        status=StatusPart(token, city.inclusion(index)),
    )
    lacking(case.verify(bundle), Missing.CLOCK)
    assert case.verify(bundle, now_s=NOW + 1).state is State.VALID


def test_wrong_clock_before_validity_is_no_contradiction(case: Case) -> None:
    lacking(case.verify(now_s=NOW - DAY), Missing.CLOCK)


def test_stale_history_is_unknown(case: Case) -> None:
    policy = replace(case.city.policy(), status_age_s=30 * DAY)
    token = case.city.token(0, ttl_s=20 * DAY, expires_at=NOW + 20 * DAY)
    index = case.city.append(leaf_of_status_token(token))
    bundle = case.bundle(
        checkpoint=case.city.checkpoint(),
        inclusion=case.city.inclusion(case.licence.index or 0),
        status=StatusPart(token, case.city.inclusion(index)),
    )
    assert case.verify(bundle, policy, now_s=NOW + 7 * DAY).state is State.VALID
    lacking(case.verify(bundle, policy, now_s=NOW + 7 * DAY + 1), Missing.ISSUER)
