"""Each attack on a verdict is refused with a reason of its own; what is only missing is UNKNOWN and never VALID."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from ledger.encoding import canonical_json
from ledger.licences import facts, sdjwt
from ledger.licences.bundle import Bundle, Inclusion, RecognitionPart, StatusPart
from ledger.licences.encoding import b64u
from ledger.licences.events import Code, KeyEvent, Kind, leaf_of_event, leaf_of_status_token, make_event
from ledger.licences.jws import parse_jws, sign_jws
from ledger.licences.leaf import FINAL
from ledger.licences.policy import TrustPolicy
from ledger.licences.status import TOKEN_MAX, slot
from ledger.licences.verify import Expected, Missing, Reason, State, Verdict, verify
from ledger.log.checkpoint import Checkpoint, cosign, sign_checkpoint
from ledger.log.notes import NOTE_SIZE_MAX, NoteSigner, SignedNote
from ledger.log.tree import leaf_hash, node_hash
from tests.ledger.anchors.sealing import PINNED
from tests.ledger.licences.sealed import proved
from tests.ledger.licences.world import BUSINESS, DAY, FOOD, NOW, Licence, TestCity, build_city, seed_of, uscc


class Case:
    """A city with a few licences, published once."""

    def __init__(self) -> None:
        self.city = build_city()
        for _ in range(3):
            self.city.issue()
        self.licence = self.city.issue()
        self.city.issue()
        self.city.publish()

    def bundle(self, **changes: Any) -> Bundle:
        return self.city.bundle(self.licence, **changes)

    def verify(
        self,
        bundle: Bundle | bytes | None = None,
        policy: TrustPolicy | None = None,
        *,
        now_s: int | None = None,
        expected: Expected | None = None,
    ) -> Verdict:
        now_s = self.city.now_s if now_s is None else now_s
        return verify(bundle or self.bundle(), policy or self.city.policy(), now_s=now_s, expected=expected)

    def after(self, act: Callable[[TestCity, Licence], object]) -> Bundle:
        """Let something happen, publish again, and return the new bundle."""
        act(self.city, self.licence)
        self.city.publish()
        return self.bundle()


@pytest.fixture
def case() -> Case:
    return Case()


def refused(verdict: Verdict, reason: Reason) -> None:
    assert (verdict.state, verdict.reason, verdict.missing) == (State.INVALID, reason, ())


def lacking(verdict: Verdict, *missing: Missing) -> None:
    assert (verdict.state, verdict.reason, verdict.missing) == (State.UNKNOWN, None, missing)


def test_an_honest_bundle_is_valid_and_says_as_of_when(case: Case) -> None:
    verdict = case.verify(case.bundle().to_bytes())
    assert (verdict.state, verdict.reason, verdict.missing) == (State.VALID, None, ())
    assert verdict.facts == {"checkpoint": NOW, "issuer": NOW, "status": NOW}
    assert (verdict.code, verdict.last_known) == (Code.VALID, NOW)
    assert verdict.presented is not None and verdict.presented.claims == case.licence.claims


# --- who bears it


def test_presentation_replayed_by_its_receiver_is_refused(case: Case) -> None:
    shown = case.city.present(case.licence, ["entity_name"], nonce="n-1", audience="urn:bank")
    bundle = case.bundle(text=shown)
    assert case.verify(bundle, expected=Expected("n-1", "urn:bank")).state is State.VALID
    refused(case.verify(bundle, expected=Expected("n-1", "urn:other bank")), Reason.AUDIENCE_MISMATCH)
    refused(case.verify(bundle, expected=Expected("n-2", "urn:bank")), Reason.NONCE_MISMATCH)
    lacking(case.verify(bundle, now_s=NOW + 61, expected=Expected("n-1", "urn:bank")), Missing.BEARER)
    lacking(case.verify(case.bundle(), expected=Expected("n-1", "urn:bank")), Missing.BEARER)


def test_presentation_bound_by_another_key_or_to_other_fields_is_refused(case: Case) -> None:
    expected = Expected("n", "urn:bank")
    shown = sdjwt.present(case.licence.text, ["entity_name"])
    digest = b64u(sha256(shown.encode()).digest())
    payload = {"aud": "urn:bank", "iat": NOW, "nonce": "n", "sd_hash": digest}
    thief = sign_jws("kb+jwt", payload, case.city.key("thief"))
    refused(case.verify(case.bundle(text=shown + thief), expected=expected), Reason.BEARER_FORGED)
    bound = case.city.present(case.licence, ["entity_name"], nonce="n", audience="urn:bank")
    proof = bound.rsplit("~", 1)[1]
    more = sdjwt.present(case.licence.text, ["entity_name", "address"])
    refused(case.verify(case.bundle(text=more + proof), expected=expected), Reason.BEARER_FORGED)


# --- what the credential shows


def payload_of(licence: Licence) -> dict[str, Any]:
    return parse_jws(licence.credential.jwt, "dc+sd-jwt").payload


def signed(case: Case, payload: dict[str, Any], disclosures: tuple[str, ...] = ()) -> str:
    return "~".join((sign_jws("dc+sd-jwt", payload, case.city.issuer().key), *disclosures, ""))


@pytest.mark.parametrize("name", ["iss", "vct", "lid", "ver", "jti", "iat", "nbf", "status", "cnf"])
def test_hidden_mandatory_field_is_refused(case: Case, name: str) -> None:
    payload = payload_of(case.licence)
    hidden = b64u(canonical_json([b64u(bytes(16)), name, payload.pop(name)]))
    digest = b64u(sha256(hidden.encode()).digest())
    payload["_sd"] = sorted([*payload["_sd"], digest])
    text = signed(case, payload, (hidden,))
    refused(case.verify(case.bundle(text=text)), Reason.HIDDEN_MANDATORY_FIELD)


def test_validity_named_by_a_disclosure_too_is_refused(case: Case) -> None:
    payload = payload_of(case.licence)
    extra = b64u(canonical_json([b64u(bytes(16)), "exp", NOW + 1000 * DAY]))
    payload["_sd"] = sorted([*payload["_sd"], b64u(sha256(extra.encode()).digest())])
    text = signed(case, payload, (extra,))
    refused(case.verify(case.bundle(text=text)), Reason.HIDDEN_MANDATORY_FIELD)


@pytest.mark.parametrize("old, new", [("A", "Α"), ("0", "０"), ("M", "м"), ("1", "l")])
def test_look_alike_names_are_refused(case: Case, old: str, new: str) -> None:
    payload = payload_of(case.licence)
    payload["lid"] = payload["lid"][:20] + payload["lid"][20:].replace(old, new, 1)
    if payload["lid"] == payload_of(case.licence)["lid"]:
        payload["lid"] += new
    refused(case.verify(case.bundle(text=signed(case, payload))), Reason.IDENTIFIER_INVALID)


def test_identifier_of_another_issuer_or_type_is_refused(case: Case) -> None:
    other = case.city.issue(issuer=case.city.issuer(uscc("2")), logged=False)
    for name in ("lid", "iss"):
        payload = {**payload_of(case.licence), name: payload_of(other)[name]}
        refused(case.verify(case.bundle(text=signed(case, payload))), Reason.IDENTIFIER_INVALID)


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"\xff", b"[" * 100_000, b'{"version":1}'])
def test_what_is_no_bundle_is_malformed(case: Case, data: bytes) -> None:
    refused(verify(data, case.city.policy(), now_s=NOW), Reason.MALFORMED)


def test_a_zero_leaf_as_predecessor_is_malformed(case: Case) -> None:
    payload = {**payload_of(case.licence), "prev": "00" * 32}
    refused(case.verify(case.bundle(text=signed(case, payload))), Reason.MALFORMED)


# --- which log


def test_unknown_city_is_unknown(case: Case) -> None:
    stranger = build_city("beigang")
    verdict = case.verify(policy=stranger.policy())
    assert verdict.state is State.UNKNOWN and verdict.missing[0] is Missing.CITY
    lacking(case.verify(policy=TrustPolicy((case.city.trust(types=(FOOD,)),))), Missing.CITY)


def test_checkpoint_of_another_log_is_refused(case: Case) -> None:
    other = build_city("beigang")
    other.issue()
    other.publish()
    assert other.published is not None
    bundle = case.bundle(checkpoint=other.published.checkpoint)
    refused(case.verify(bundle, case.city.policy(other)), Reason.WRONG_LOG)


def test_credential_under_another_logs_name_is_refused(case: Case) -> None:
    other = build_city("beigang")
    other.issue()
    other.publish()
    assert other.published is not None
    bundle = replace(case.bundle(checkpoint=other.published.checkpoint), origin=other.origin)
    refused(case.verify(bundle, case.city.policy(other)), Reason.WRONG_LOG)


def test_checkpoint_that_the_log_did_not_sign_is_refused(case: Case) -> None:
    impostor = NoteSigner.from_seed(case.city.origin, seed_of("impostor"))
    checkpoint = Checkpoint(case.city.origin, 9, seed_of("root"))
    note = SignedNote.parse(sign_checkpoint(checkpoint, impostor))
    text = note.with_signatures(cosign(note.text, w, NOW) for w in case.city.witnesses).to_text()
    refused(case.verify(case.bundle(checkpoint=text)), Reason.CHECKPOINT_FORGED)


@pytest.mark.parametrize("by", [(), (0,), (2, 3)])
def test_under_quorum_is_unknown(case: Case, by: tuple[int, ...]) -> None:
    lacking(case.verify(case.bundle(checkpoint=case.city.checkpoint(by=by))), Missing.QUORUM)


def test_one_witness_twice_and_strangers_make_no_quorum(case: Case) -> None:
    note = SignedNote.parse(case.city.checkpoint(by=(0, 1)))
    again = note.with_signatures([cosign(note.text, case.city.witnesses[1], NOW + 5)])
    lacking(case.verify(case.bundle(checkpoint=again.to_text())), Missing.QUORUM)
    line = cosign(note.text, case.city.witnesses[1], NOW + 5).to_line()
    refused(case.verify(case.bundle(checkpoint=note.to_text() + line)), Reason.MALFORMED)
    stranger = build_city("beigang").witnesses
    mixed = note.with_signatures(cosign(note.text, w, NOW) for w in stranger)
    lacking(case.verify(case.bundle(checkpoint=mixed.to_text())), Missing.QUORUM)


def test_replayed_cosignature_is_refused(case: Case) -> None:
    older = SignedNote.parse(case.city.checkpoint(size=case.city.size - 1))
    newest = SignedNote.parse(case.city.checkpoint(by=(0, 1)))
    replayed = newest.with_signatures([older.signatures[3]])
    refused(case.verify(case.bundle(checkpoint=replayed.to_text())), Reason.COSIGNATURE_FORGED)


def test_cosignature_with_a_newer_time_written_into_it_is_refused(case: Case) -> None:
    note = SignedNote.parse(case.city.checkpoint())
    line = note.signatures[1]
    forged = replace(line, signature=(NOW + DAY).to_bytes(8, "big") + line.signature[8:])
    text = note.with_signatures([forged]).to_text()
    refused(case.verify(case.bundle(checkpoint=text)), Reason.COSIGNATURE_FORGED)


def test_two_quorums_do_not_make_one(case: Case) -> None:
    """Half of the witnesses saw one history, half another: neither half is a quorum, and the halves do not add up."""
    fork = [*case.city.hashes[:-1], seed_of("fork")]
    mine, other = case.city.checkpoint(by=(0, 1)), case.city.checkpoint(by=(2, 3), hashes=fork)
    lacking(case.verify(case.bundle(checkpoint=mine)), Missing.QUORUM)
    halves = SignedNote.parse(mine).with_signatures(SignedNote.parse(other).signatures[1:])
    refused(case.verify(case.bundle(checkpoint=halves.to_text())), Reason.COSIGNATURE_FORGED)


def test_one_lying_witness_moves_no_clock(case: Case) -> None:
    note = SignedNote.parse(case.city.checkpoint(by=(0, 1, 2)))
    lied = note.with_signatures([cosign(note.text, case.city.witnesses[3], NOW + 9999 * DAY)])
    verdict = case.verify(case.bundle(checkpoint=lied.to_text()))
    assert (verdict.state, verdict.facts["checkpoint"]) == (State.VALID, NOW)


# --- whose key


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


# --- whether it is in the log


def test_unlogged_credential_is_refused_or_unknown(case: Case) -> None:
    unlogged = case.city.issue(logged=False)
    case.city.publish()
    lacking(case.verify(case.city.bundle(unlogged)), Missing.ISSUER, Missing.INCLUSION, Missing.STATUS)
    borrowed = case.city.bundle(unlogged, inclusion=case.bundle().inclusion)
    refused(case.verify(borrowed), Reason.NOT_IN_LOG)


def test_interior_node_as_a_leaf_is_refused(case: Case) -> None:
    """A service that logs 64 bytes made of two leaf hashes cannot pass the node above them off as a leaf, nor the other way."""
    place = case.bundle().inclusion
    assert place is not None
    shorter = Inclusion(place.index // 2, place.path[1:])
    refused(case.verify(case.bundle(inclusion=shorter)), Reason.NOT_IN_LOG)
    pair = case.city.hashes[2] + case.city.hashes[3]
    assert leaf_hash(pair) != node_hash(pair[:32], pair[32:])
    case.city.append(pair)
    case.city.publish()
    inner = Inclusion(case.city.size - 2, case.city.inclusion(case.city.size - 2).path)
    refused(case.verify(case.bundle(inclusion=inner)), Reason.NOT_IN_LOG)


@pytest.mark.parametrize("change", ["more", "fewer", "other index", "beyond", "duplicated last node"])
def test_another_proof_is_refused(case: Case, change: str) -> None:
    place = case.bundle().inclusion
    assert place is not None
    size = case.city.size
    other = {
        "more": Inclusion(place.index, (*place.path, bytes(32))),
        "fewer": Inclusion(place.index, place.path[:-1]),
        "other index": Inclusion(place.index ^ 1, place.path),
        "beyond": Inclusion(place.index + size, place.path),
        "duplicated last node": Inclusion(place.index, (place.path[0], *place.path)),
    }[change]
    refused(case.verify(case.bundle(inclusion=other)), Reason.NOT_IN_LOG)


def test_last_leaf_of_an_odd_tree_has_no_second_index(case: Case) -> None:
    """Where trees repeat their last node, the last leaf stands at the index after it as well."""
    last = case.city.issue()
    if case.city.size % 2 == 0:
        last = case.city.issue()
    assert last.index == case.city.size - 1
    honest = case.city.inclusion(last.index)
    parts: dict[str, Any] = {
        "credential": last.text,
        "checkpoint": case.city.checkpoint(),
        "issuer": case.city.history(last.claims.issuer).sign(case.city.registrar),
        "status": None,
    }
    lacking(case.verify(case.bundle(**parts, inclusion=honest)), Missing.STATUS)
    for path in (honest.path, (last.leaf_hash, *honest.path)):
        twice = Inclusion(last.index + 1, path)
        refused(case.verify(case.bundle(**parts, inclusion=twice)), Reason.NOT_IN_LOG)
    doubled = Inclusion(last.index, (last.leaf_hash, *honest.path))
    refused(case.verify(case.bundle(**parts, inclusion=doubled)), Reason.NOT_IN_LOG)


def test_missing_parts_are_unknown_each_by_its_name(case: Case) -> None:
    lacking(case.verify(case.bundle(checkpoint=None)), Missing.CHECKPOINT, Missing.INCLUSION, Missing.STATUS)
    lacking(case.verify(case.bundle(issuer=None)), Missing.ISSUER)
    lacking(case.verify(case.bundle(inclusion=None)), Missing.ISSUER, Missing.INCLUSION, Missing.STATUS)
    bare = Bundle(credential=case.licence.text, origin=case.city.origin)
    everything = (Missing.CHECKPOINT, Missing.ISSUER, Missing.INCLUSION, Missing.STATUS)
    lacking(case.verify(bare), *everything)
    lacking(case.verify(bare, case.city.policy(anchor="attested")), *everything, Missing.ANCHOR)


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


# --- anchor


def test_anchor_is_used_where_given_and_needed_where_insisted_on(case: Case) -> None:
    attested = case.bundle(anchor=case.city.attested())
    assert case.verify(attested).facts["anchor"] == NOW
    insists = case.city.policy(anchor="attested")
    assert case.verify(attested, insists).state is State.VALID
    lacking(case.verify(policy=insists), Missing.ANCHOR)
    lacking(case.verify(case.bundle(anchor=case.city.attested(by=(0, 1))), insists), Missing.ANCHOR)
    lacking(case.verify(attested, case.city.policy(anchor="proved")), Missing.ANCHOR)
    blind = TrustPolicy((case.city.trust(anchor=None),), anchor="attested")
    lacking(case.verify(attested, blind), Missing.ANCHOR)


def test_proved_anchor_is_worth_more_than_attested(case: Case) -> None:
    evidence = proved(case.city.statement(), sha256(case.city.origin.encode()).digest())
    pinned = case.city.trust(anchor=replace(case.city.pin, validators=PINNED))
    for kind in ("none", "attested", "proved"):
        policy = TrustPolicy((pinned,), anchor=kind)
        assert case.verify(case.bundle(anchor=evidence), policy).state is State.VALID


def test_anchor_of_another_chain_head_or_signer_is_refused(case: Case) -> None:
    city = case.city
    elsewhere = city.attested(city.statement(chain_id=1))
    refused(case.verify(case.bundle(anchor=elsewhere)), Reason.WRONG_CHAIN)
    for change in ({"size": city.size - 1}, {"root": seed_of("fork")}):
        other = city.attested(city.statement(**change))
        refused(case.verify(case.bundle(anchor=other)), Reason.ANCHOR_MISMATCH)
    forged = city.attested()
    forged["notes"] = forged["notes"].replace("\n77\n", "\n78\n")
    refused(case.verify(case.bundle(anchor=forged)), Reason.ANCHOR_FORGED)


# --- recognition


class Two:
    """A home city that the verifier knows, and a neighbour that the home city recognises."""

    def __init__(self, types: tuple[str, ...] = (BUSINESS,)) -> None:
        self.home, self.away = build_city(), build_city("beigang")
        self.licence = self.away.issue()
        self.away.publish()
        self.part = self.home.recognise(self.away, types)

    def verify(self, *, now_s: int = NOW, policy: TrustPolicy | None = None, **changes: Any) -> Verdict:
        bundle = self.away.bundle(self.licence, **{"recognition": self.part, **changes})
        return verify(bundle.to_bytes(), policy or self.home.policy(), now_s=now_s)


def test_recognised_city_counts_for_the_types_and_the_time_of_its_recognition() -> None:
    two = Two()
    verdict = two.verify()
    assert verdict.state is State.VALID and verdict.facts["recognition"] == NOW
    assert Missing.CITY in two.verify(recognition=None).missing
    lacking(Two((FOOD,)).verify(), Missing.CITY)
    narrow = TrustPolicy((two.home.trust(types=(FOOD,)),))
    lacking(two.verify(policy=narrow), Missing.CITY)
    assert Missing.CITY in two.verify(now_s=NOW + 30 * DAY).missing


def test_recognition_by_a_stranger_widens_nothing() -> None:
    two = Two()
    stranger = build_city("nangang").policy()
    assert Missing.CITY in two.verify(policy=stranger).missing


def test_forged_unlogged_and_under_quorum_recognitions() -> None:
    two = Two()
    payload = parse_jws(two.part.event, "licence-event+jwt").payload
    forged = sign_jws("licence-event+jwt", payload, two.away.registrar)
    refused(two.verify(recognition=replace(two.part, event=forged)), Reason.RECOGNITION_FORGED)
    elsewhere = Inclusion(two.part.inclusion.index, (bytes(32),))
    refused(two.verify(recognition=replace(two.part, inclusion=elsewhere)), Reason.RECOGNITION_FORGED)
    thin = two.home.checkpoint(by=(0, 1))
    lacking(two.verify(recognition=replace(two.part, checkpoint=thin)), Missing.CITY)
    away = two.away.published
    assert away is not None
    refused(two.verify(recognition=replace(two.part, checkpoint=away.checkpoint)), Reason.WRONG_LOG)
    refused(two.verify(recognition=replace(two.part, event="no event")), Reason.MALFORMED)


def test_recognition_that_another_key_signed_is_refused_though_it_is_logged() -> None:
    two = Two()
    payload = parse_jws(two.part.event, "licence-event+jwt").payload
    text = sign_jws("licence-event+jwt", payload, two.home.service)
    index = two.home.append(leaf_of_event(text))
    logged = RecognitionPart(text, two.home.checkpoint(), two.home.inclusion(index))
    refused(two.verify(recognition=logged), Reason.RECOGNITION_FORGED)
    key_event = make_event(
        KeyEvent(
            kind=Kind.KEY_RETIRE,
            event_id=b"k" * 16,
            issued_at=NOW,
            origin=two.home.origin,
            issuer=uscc("1"),
            key=bytes(32),
        ),
        two.home.registrar,
    )
    refused(two.verify(recognition=replace(two.part, event=key_event)), Reason.RECOGNITION_FORGED)


def test_recognition_of_another_city_widens_nothing() -> None:
    two, third = Two(), build_city("nangang")
    third.issue()
    third.publish()
    other = two.home.recognise(third)
    assert Missing.CITY in two.verify(recognition=other).missing


def test_recognition_that_was_cosigned_later_shows_a_wrong_clock() -> None:
    two = Two()
    later = replace(two.part, checkpoint=two.home.checkpoint(now_s=NOW + 61))
    lacking(two.verify(recognition=later), Missing.CLOCK)
    early = replace(two.part, checkpoint=two.home.checkpoint(now_s=NOW + 60))
    assert two.verify(recognition=early).state is State.VALID


def test_recognised_log_with_two_histories_is_refused() -> None:
    two = Two()
    fork = [*two.away.hashes[:-1], seed_of("fork")]
    refused(two.verify(checkpoint=two.away.checkpoint(hashes=fork)), Reason.WRONG_LOG)


def test_parts_that_are_too_long_are_refused_and_not_kept(case: Case) -> None:
    """What is opened is kept by its text: nobody may fill that memory with megabytes of nonsense."""
    status = case.bundle().status
    assert status is not None
    facts._open_checkpoint.cache_clear()
    facts._open_token.cache_clear()
    long = case.bundle(checkpoint="x" * (NOTE_SIZE_MAX + 1))
    refused(case.verify(long), Reason.MALFORMED)
    refused(case.verify(case.bundle(status=replace(status, token="x" * (TOKEN_MAX + 1)))), Reason.MALFORMED)
    assert facts._open_token.cache_info().currsize == 1  # of the first of them
    assert facts._open_checkpoint.cache_info().currsize == 1  # of the second


def test_what_one_policy_opened_is_no_fact_of_another(case: Case) -> None:
    """The same texts are opened again under other keys, whatever was kept of them."""
    bundle, policy = case.bundle(), case.city.policy()
    assert case.verify(bundle, policy).state is State.VALID
    (city,), other = policy.cities, build_city("beicheng").policy().cities[0]
    for changes, reason in (
        ({"log_key": other.log_key}, Reason.CHECKPOINT_FORGED),
        ({"service": other.service}, Reason.STATUS_FORGED),
        ({"registrar": other.registrar}, Reason.ISSUER_FORGED),
    ):
        refused(case.verify(bundle, replace(policy, cities=(replace(city, **changes),))), reason)
    strangers = replace(policy, cities=(replace(city, quorum=other.quorum),))
    lacking(case.verify(bundle, strangers), Missing.QUORUM)
    assert case.verify(bundle, policy).state is State.VALID
