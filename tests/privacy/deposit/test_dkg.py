"""Making a key: every trustee comes to the same one, and whoever cheats is named and left out."""

from dataclasses import replace
from itertools import combinations

import pytest
from py_arkworks_bls12381 import G1Point

from privacy.deposit import Ceremony, TrusteeSecret, announce, complain, deal
from privacy.deposit.ceremony import Announcement, Complaint, Complaints, Deal, message_set_hash
from privacy.deposit.dkg import _complaint_statement, _deal_statement, read_announcements
from privacy.deposit.errors import (
    AnnouncementMissing,
    CeremonyInvalid,
    ComplaintFalse,
    ComplaintMissing,
    DealersTooFew,
    DealMissing,
    DealRefused,
    Equivocation,
    MessageRefused,
    ProofRefused,
)
from privacy.deposit.keys import weights_at_zero
from privacy.deposit.points import generator, scalar
from privacy.deposit.proofs import Proof, prove_equality, prove_possession
from privacy.prg import CURVE_ORDER
from privacy.types import Address
from tests.privacy.deposit.deposit_world import (
    ORDER_THREE,
    THRESHOLD,
    TRUSTEES,
    Rounds,
    ceremony,
    outcomes,
    share,
)

OWN = ceremony()


@pytest.fixture
def rounds() -> Rounds:
    return Rounds.begin(OWN)


def read_deal(rounds: Rounds, dealer: int) -> Deal:
    return Deal.decode(OWN, rounds.deals[dealer], dealer)


def spoil_share(rounds: Rounds, dealer: int, receiver: int) -> None:
    """Let a dealer seal other bytes for one receiver."""
    message = read_deal(rounds, dealer)
    sealed = list(message.sealed)
    sealed[receiver] = sealed[receiver][:-1] + bytes([sealed[receiver][-1] ^ 1])
    rounds.deals[dealer] = replace(message, sealed=tuple(sealed)).encode(OWN)


def secret_of(trustees: tuple[int, ...]) -> int:
    weights = weights_at_zero(list(trustees))
    return sum(w * share(i).secret for w, i in zip(weights, trustees, strict=True)) % CURVE_ORDER


def test_every_trustee_has_the_same_key_and_nobody_is_at_fault() -> None:
    assert len({each.key.id for each in outcomes()}) == 1
    assert len({each.transcript for each in outcomes()}) == 1
    assert all(each.qualified == tuple(range(TRUSTEES)) and not each.faults for each in outcomes())


@pytest.mark.parametrize("trustees", combinations(range(TRUSTEES), THRESHOLD))
def test_any_threshold_of_shares_is_the_secret_key(trustees: tuple[int, ...]) -> None:
    assert generator() * scalar(secret_of(trustees)) == outcomes()[0].key.point


def test_fewer_shares_are_not() -> None:
    assert generator() * scalar(secret_of((0, 1))) != outcomes()[0].key.point


def test_a_stranger_comes_to_the_key_without_a_share(rounds: Rounds) -> None:
    rounds.complain()
    watched = rounds.finish()
    assert watched.key == outcomes()[0].key
    assert watched.share is None


def test_a_restart_sends_the_same_bytes(rounds: Rounds) -> None:
    again = TrusteeSecret(OWN, 1, rounds.secret(1).seed)
    assert announce(again) == rounds.announcements[1]
    assert deal(again, rounds.announcements) == rounds.deals[1]
    assert complain(again, rounds.announcements, rounds.deals) == complain(
        rounds.secret(1), rounds.announcements, rounds.deals
    )


def test_other_announcements_get_another_polynomial(rounds: Rounds) -> None:
    other = TrusteeSecret(OWN, 4, bytes(32))
    told = rounds.announcements | {4: announce(other)}
    first, second = (
        Deal.decode(OWN, deal(rounds.secret(0), each), 0) for each in (rounds.announcements, told)
    )
    assert first.commitments[0] != second.commitments[0]
    assert first.ephemeral != second.ephemeral


def test_one_trustee_can_hold_a_key_alone() -> None:
    alone = Rounds.begin(ceremony(1, 1))
    alone.complain()
    outcome = alone.finish(0)
    assert outcome.share is not None
    assert generator() * scalar(outcome.share.secret) == outcome.key.point


def test_a_dealer_of_a_bad_share_is_named_and_the_rest_make_the_key(rounds: Rounds) -> None:
    spoil_share(rounds, dealer=2, receiver=4)
    rounds.complain()
    ends = [rounds.finish(i) for i in range(TRUSTEES)]
    assert {each.key.id for each in ends} == {ends[0].key.id}
    assert ends[0].qualified == (0, 1, 3, 4)
    (fault,) = ends[0].faults
    assert isinstance(fault, DealRefused)
    assert fault.trustee == 2
    assert "trustee 4" in str(fault)


def test_a_share_off_the_committed_polynomial_is_bad_though_it_opens(rounds: Rounds) -> None:
    message = read_deal(rounds, 1)
    commitments = (*message.commitments[:-1], message.commitments[-1] + generator())
    statement = _deal_statement(OWN, 1, message.announced, commitments)
    constant = rounds.secret(1).polynomial(message.announced)[0]
    proof = prove_possession(constant, statement)
    rounds.deals[1] = replace(message, commitments=commitments, proof=proof).encode(OWN)
    rounds.complain()
    outcome = rounds.finish(0)
    assert outcome.qualified == (0, 2, 3, 4)
    assert {fault.trustee for fault in outcome.faults} == {1}


def test_a_complaint_about_a_good_share_names_the_one_who_complains(rounds: Rounds) -> None:
    rounds.complain()
    message, liar = read_deal(rounds, 0), rounds.secret(3)
    shared = message.ephemeral * scalar(liar.receiving)
    proof = prove_equality(liar.receiving, message.ephemeral, _complaint_statement(OWN, 3, message, shared))
    dealt = message_set_hash("deposit-deals", OWN, rounds.deals.items())
    rounds.complaints[3] = Complaints(3, dealt, (Complaint(0, shared, proof),)).encode(OWN)
    outcome = rounds.finish(0)
    assert outcome.qualified == tuple(range(TRUSTEES))
    (fault,) = outcome.faults
    assert isinstance(fault, ComplaintFalse)
    assert fault.trustee == 3


def test_a_complaint_with_another_shared_point_is_not_believed(rounds: Rounds) -> None:
    rounds.complain()
    dealt = message_set_hash("deposit-deals", OWN, rounds.deals.items())
    framed = Complaint(0, generator(), Proof(1, 2))  # would open nothing, so the dealer would be out
    rounds.complaints[3] = Complaints(3, dealt, (framed,)).encode(OWN)
    outcome = rounds.finish(0)
    assert 0 in outcome.qualified
    assert [type(fault) for fault in outcome.faults] == [ComplaintFalse]


def test_a_bad_share_without_a_complaint_makes_no_share_of_the_key(rounds: Rounds) -> None:
    spoil_share(rounds, dealer=2, receiver=4)
    rounds.complain()
    dealt = message_set_hash("deposit-deals", OWN, rounds.deals.items())
    rounds.complaints[4] = Complaints(4, dealt, ()).encode(OWN)
    with pytest.raises(ComplaintMissing, match="trustee 2"):
        rounds.finish(4)


def test_who_deals_nothing_does_not_count_but_gets_a_share(rounds: Rounds) -> None:
    del rounds.deals[2]
    rounds.complain()
    outcome = rounds.finish(2)
    assert outcome.qualified == (0, 1, 3, 4)
    assert [(type(f), f.trustee) for f in outcome.faults] == [(DealMissing, 2)]
    assert outcome.share is not None
    assert outcome.share.trustee == 2


def test_a_rogue_constant_term_is_not_proved(rounds: Rounds) -> None:
    # the last dealer subtracts the others' constants, so that the joint key would be one that it knows
    message = read_deal(rounds, 4)
    others = sum((read_deal(rounds, i).commitments[0] for i in range(4)), G1Point.identity())
    rogue = (message.commitments[0] - others, *message.commitments[1:])
    rounds.deals[4] = replace(message, commitments=rogue).encode(OWN)
    rounds.complain()
    outcome = rounds.finish(0)
    assert [(type(f), f.trustee) for f in outcome.faults] == [(ProofRefused, 4)]
    assert outcome.qualified == (0, 1, 2, 3)


def test_a_proof_of_another_trustee_does_not_hold(rounds: Rounds) -> None:
    copied = replace(read_deal(rounds, 0), sender=1)
    rounds.deals[1] = copied.encode(OWN)
    rounds.complain()
    assert [(type(f), f.trustee) for f in rounds.finish(0).faults] == [(ProofRefused, 1)]


def test_too_few_dealers_make_no_key(rounds: Rounds) -> None:
    for dealer in (0, 1, 2):
        del rounds.deals[dealer]
    rounds.complain()
    with pytest.raises(DealersTooFew, match="at least 3 good dealers, got 2"):
        rounds.finish(0)


def test_without_an_announcement_nobody_deals(rounds: Rounds) -> None:
    del rounds.announcements[3]
    with pytest.raises(AnnouncementMissing, match="trustee 3"):
        deal(rounds.secret(0), rounds.announcements)


def test_a_copied_announcement_is_not_proved(rounds: Rounds) -> None:
    rounds.announcements[1] = replace(Announcement.decode(OWN, rounds.announcements[0], 0), sender=1).encode(
        OWN
    )
    with pytest.raises(ProofRefused, match="trustee 1"):
        read_announcements(OWN, rounds.announcements)


def test_infinity_is_no_announced_key(rounds: Rounds) -> None:
    message = Announcement.decode(OWN, rounds.announcements[1], 1)
    rounds.announcements[1] = replace(message, public=G1Point.identity()).encode(OWN)
    with pytest.raises(ProofRefused, match="trustee 1"):
        read_announcements(OWN, rounds.announcements)


def test_a_dealer_who_saw_other_announcements_is_named(rounds: Rounds) -> None:
    told = rounds.announcements | {4: announce(TrusteeSecret(OWN, 4, bytes(32)))}
    rounds.deals[1] = deal(rounds.secret(1), told)
    rounds.complain()
    assert [(type(f), f.trustee) for f in rounds.finish(0).faults] == [(Equivocation, 1)]


def test_a_trustee_who_saw_other_deals_stops_the_ceremony(rounds: Rounds) -> None:
    rounds.complain()
    told = {k: data for k, data in rounds.deals.items() if k != 0}
    rounds.complaints[2] = complain(rounds.secret(2), rounds.announcements, told)
    with pytest.raises(Equivocation, match="trustee 2"):
        rounds.finish(0)


@pytest.mark.parametrize("change", ["short", "long", "head", "point", "subgroup"])
def test_a_damaged_deal_names_its_dealer(rounds: Rounds, change: str) -> None:
    data = rounds.deals[3]
    first_point = 39 + 32
    changed = {
        "short": data[:-1],
        "long": data + b"\x00",
        "head": b"SYD\x02" + data[4:],
        "point": data[:first_point] + b"\xff" * 96 + data[first_point + 96 :],
        "subgroup": data[:first_point] + ORDER_THREE + data[first_point + 96 :],
    }
    rounds.deals[3] = changed[change]
    rounds.complain()
    assert [(type(f), f.trustee) for f in rounds.finish(0).faults] == [(MessageRefused, 3)]


def test_a_message_of_another_ceremony_is_refused(rounds: Rounds) -> None:
    other = Rounds.begin(ceremony(label=b"\x01" * 32))
    with pytest.raises(MessageRefused, match="trustee 0"):
        read_announcements(OWN, rounds.announcements | {0: other.announcements[0]})


def test_complaints_out_of_order_are_refused_and_the_rest_go_on(rounds: Rounds) -> None:
    rounds.complain()
    dealt = message_set_hash("deposit-deals", OWN, rounds.deals.items())
    twice = (Complaint(1, generator(), Proof(0, 0)),) * 2
    rounds.complaints[0] = Complaints(0, dealt, twice).encode(OWN)
    assert [(type(f), f.trustee) for f in rounds.finish(1).faults] == [(MessageRefused, 0)]


@pytest.mark.parametrize(
    ("label", "count", "threshold"),
    [(bytes(31), 3, 2), (bytes(32), 3, 0), (bytes(32), 3, 4), (bytes(32), 65, 2)],
)
def test_no_ceremony_of_these_numbers(label: bytes, count: int, threshold: int) -> None:
    trustees = tuple(Address(bytes([i]) * 20) for i in range(count))
    with pytest.raises(CeremonyInvalid):
        Ceremony(label, trustees, threshold)


@pytest.mark.parametrize("trustees", [(b"\x02" * 20, b"\x01" * 20), (b"\x01" * 20,) * 2, (b"\x01" * 19,)])
def test_trustees_are_ascending_different_accounts(trustees: tuple[bytes, ...]) -> None:
    with pytest.raises(CeremonyInvalid):
        Ceremony(bytes(32), tuple(map(Address, trustees)), 1)


def test_a_seed_is_32_bytes_of_a_trustee_that_exists() -> None:
    for index, seed in ((0, bytes(31)), (TRUSTEES, bytes(32)), (-1, bytes(32))):
        with pytest.raises(CeremonyInvalid):
            TrusteeSecret(OWN, index, seed)


def test_secrets_are_in_no_representation(rounds: Rounds) -> None:
    secret = rounds.secret(0)
    assert secret.seed.hex() not in repr(secret) and repr(secret.seed) not in repr(secret)
    assert str(share(0).secret) not in repr(outcomes()[0])
