"""A joint key made through a folder: resumable, signed, and the same for all; what is wrong in it is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from holder.ceremony_folder import CeremonyFolder, CeremonyPart, judge
from holder.errors import CeremonyRefused, CeremonyWaits, ShareMissing
from holder.trustee import TrusteeKeys
from ledger.signing import Signer
from privacy.deposit import Ceremony
from privacy.deposit.ceremony import COMPLAINTS, DEAL
from privacy.deposit.errors import Equivocation
from privacy.types import Address
from tests.holder.world import signer_for

COUNT, THRESHOLD = 4, 2


class Meeting:
    """Trustees at one folder."""

    def __init__(self, path: Path) -> None:
        self.folder = CeremonyFolder(path / "shared")
        self.homes = [path / f"trustee {number}" for number in range(COUNT)]
        self.signers = [signer_for(f"trustee {number}") for number in range(COUNT)]
        accounts = sorted(Address(signer.address) for signer in self.signers)
        self.ceremony = Ceremony(b"\x05" * 32, tuple(accounts), THRESHOLD)
        self.folder.start(self.ceremony)

    def part(self, number: int, signer: Signer | None = None) -> CeremonyPart:
        """A trustee, as a new process would be."""
        own = signer or self.signers[number]
        return CeremonyPart(self.folder, TrusteeKeys(self.homes[number], own), own)

    def all(self, step: str) -> None:
        for number in range(COUNT):
            getattr(self.part(number), step)()

    def finished(self) -> Meeting:
        for step in ("announce", "deal", "receive", "finish"):
            self.all(step)
        return self

    def file(self, kind: int, number: int) -> Path:
        return self.folder.path / f"{kind}-{self.part(number).index:02}.message"


@pytest.fixture
def meeting(tmp_path: Path) -> Meeting:
    return Meeting(tmp_path)


def test_all_come_to_one_key_and_each_has_a_share_of_it(meeting: Meeting) -> None:
    outcomes = [meeting.finished().part(number).finish() for number in range(COUNT)]
    assert len({outcome.key.id for outcome in outcomes}) == 1
    key = outcomes[0].key
    shares = [TrusteeKeys(meeting.homes[n], meeting.signers[n]).share(key) for n in range(COUNT)]
    assert sorted(share.trustee for share in shares) == list(range(COUNT))
    record = json.loads((meeting.folder.path / "key.json").read_text())
    assert list(record["trustees"]) == ["0x" + account.hex() for account in meeting.ceremony.trustees]
    assert judge(meeting.folder.path).key == key


def test_every_step_may_be_repeated_and_nothing_changes(meeting: Meeting) -> None:
    for step in ("announce", "deal", "receive", "finish"):
        meeting.all(step)
        before = {path.name: path.read_bytes() for path in meeting.folder.path.iterdir()}
        meeting.all(step)
        assert {path.name: path.read_bytes() for path in meeting.folder.path.iterdir()} == before
    assert not list(meeting.homes[0].glob("*.seed"))


def test_a_restart_between_seed_and_message_announces_the_same(meeting: Meeting) -> None:
    part = meeting.part(0)
    part.announce()
    first = meeting.file(1, 0).read_bytes()
    meeting.file(1, 0).unlink()
    meeting.part(0).announce()
    assert meeting.file(1, 0).read_bytes()[:-65] == first[:-65]


def test_a_round_waits_for_those_before_and_names_who_is_missing(meeting: Meeting) -> None:
    meeting.part(0).announce()
    with pytest.raises(CeremonyWaits, match="announcement") as waits:
        meeting.part(0).deal()
    assert meeting.signers[0].address.hex() not in str(waits.value)
    assert meeting.signers[1].address.hex() in str(waits.value)
    for number in range(1, COUNT):
        meeting.part(number).announce()
    meeting.part(0).deal()
    for step in ("receive", "finish"):
        with pytest.raises(CeremonyWaits, match="deal"):
            getattr(meeting.part(0), step)()


def test_without_a_trustee_that_never_dealt_the_others_finish(meeting: Meeting) -> None:
    meeting.all("announce")
    for number in range(1, COUNT):
        meeting.part(number).deal()
    for number in range(1, COUNT):
        meeting.part(number).receive(now=True)
    outcomes = [meeting.part(number).finish(now=True) for number in range(1, COUNT)]
    assert {fault.trustee for fault in outcomes[0].faults} == {meeting.part(0).index}
    assert len({outcome.key.id for outcome in outcomes}) == 1


def test_a_message_that_its_account_did_not_sign_is_refused(meeting: Meeting) -> None:
    meeting.all("announce")
    path = meeting.file(1, 2)
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CeremonyRefused, match="not signed"):
        meeting.part(0).deal()


def test_a_bad_share_is_opened_to_all_and_its_dealer_does_not_count(meeting: Meeting) -> None:
    meeting.all("announce")
    meeting.all("deal")
    liar, path = meeting.part(1), meeting.file(DEAL, 1)
    message = bytearray(path.read_bytes()[:-65])
    message[-1] ^= 1  # the last trustee's sealed share
    path.unlink()
    meeting.folder.put(DEAL, liar.index, bytes(message), meeting.signers[1])
    meeting.all("receive")
    meeting.all("finish")
    outcome = judge(meeting.folder.path)
    assert liar.index not in outcome.qualified
    assert {fault.trustee for fault in outcome.faults} == {liar.index}


def test_two_stories_stop_the_ceremony(meeting: Meeting) -> None:
    meeting.all("announce")
    meeting.all("deal")
    meeting.part(0).receive()
    path = meeting.file(DEAL, 1)
    message = bytearray(path.read_bytes()[:-65])
    message[-1] ^= 1
    path.unlink()
    meeting.folder.put(DEAL, meeting.part(1).index, bytes(message), meeting.signers[1])
    for number in range(1, COUNT):
        meeting.part(number).receive()
    with pytest.raises(Equivocation):
        meeting.part(0).finish()


def test_a_second_message_does_not_replace_the_first(meeting: Meeting) -> None:
    meeting.all("announce")
    with pytest.raises(CeremonyRefused, match="another message"):
        meeting.folder.put(1, meeting.part(0).index, b"other", meeting.signers[0])


def test_strangers_and_other_ceremonies_are_refused(meeting: Meeting) -> None:
    with pytest.raises(ShareMissing):
        meeting.part(0, signer_for("a stranger"))
    other = Ceremony(b"\x06" * 32, meeting.ceremony.trustees, THRESHOLD)
    with pytest.raises(CeremonyRefused, match="another ceremony"):
        meeting.folder.start(other)
    with pytest.raises(CeremonyRefused, match=r"no ceremony\.json"):
        CeremonyFolder(meeting.folder.path / "none").ceremony()
    (meeting.folder.path / "ceremony.json").write_text('{"label": 1}')
    with pytest.raises(CeremonyRefused):
        meeting.folder.ceremony()


def test_standing_says_who_has_sent_what(meeting: Meeting) -> None:
    meeting.part(0).announce()
    standing = meeting.folder.standing(meeting.ceremony)
    assert (standing.announced, standing.dealt, standing.is_done) == ((meeting.part(0).index,), (), False)
    assert meeting.finished().folder.standing(meeting.ceremony).is_done
    assert len(meeting.folder.messages(meeting.ceremony, COMPLAINTS)) == COUNT
