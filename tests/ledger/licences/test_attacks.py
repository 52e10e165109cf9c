"""Each attack on a verdict is refused with a reason of its own; what is only missing is UNKNOWN and never VALID."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from ledger.encoding import canonical_json
from ledger.licences import facts, sdjwt
from ledger.licences.bundle import Bundle, Inclusion
from ledger.licences.encoding import b64u
from ledger.licences.events import Code
from ledger.licences.jws import sign_jws
from ledger.licences.policy import TrustPolicy
from ledger.licences.status import TOKEN_MAX
from ledger.licences.verify import Expected, Missing, Reason, State, verify
from ledger.log.checkpoint import Checkpoint, cosign, sign_checkpoint
from ledger.log.notes import NOTE_SIZE_MAX, NoteSigner, SignedNote
from ledger.log.tree import leaf_hash, node_hash
from tests.ledger.anchors.sealing import PINNED
from tests.ledger.licences.cases import Case, lacking, payload_of, refused
from tests.ledger.licences.sealed import proved
from tests.ledger.licences.world import DAY, FOOD, NOW, build_city, seed_of, uscc


@pytest.fixture
def case() -> Case:
    return Case()


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


# --- what a verifier keeps


def test_parts_that_are_too_long_are_refused_and_not_kept(case: Case) -> None:
    """What is opened is kept by its text: nobody may fill that memory with megabytes of nonsense."""
    status = case.bundle().status
    assert status is not None
    facts._open_checkpoint.cache_clear()
    facts.kept_tokens.cache_clear()
    long = case.bundle(checkpoint="x" * (NOTE_SIZE_MAX + 1))
    refused(case.verify(long), Reason.MALFORMED)
    refused(case.verify(case.bundle(status=replace(status, token="x" * (TOKEN_MAX + 1)))), Reason.MALFORMED)
    assert facts.kept_tokens.cache_info().currsize == 1  # of the first of them
    assert facts._open_checkpoint.cache_info().currsize == 1  # of the second


def test_a_history_is_opened_once_and_kept_only_if_it_is_short(case: Case) -> None:
    (city,), text = case.city.policy().cities, case.bundle().issuer
    assert text is not None
    facts._kept_history.cache_clear()
    assert facts.open_issuer(text, city) is facts.open_issuer(text, city)
    assert isinstance(facts.open_issuer("x" * facts._KEPT_HISTORY_MAX, city), facts.Refused)
    assert facts._kept_history.cache_info().currsize == 2
    assert isinstance(facts.open_issuer("x" * (facts._KEPT_HISTORY_MAX + 1), city), facts.Refused)
    assert facts._kept_history.cache_info().currsize == 2


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
