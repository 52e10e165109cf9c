"""Witnesses: what C2SP tlog-witness answers, and that no rollback or fork is ever cosigned."""

import threading
from pathlib import Path

import pytest

from ledger.errors import MalformedValue
from ledger.log.checkpoint import Checkpoint, Quorum, sign_checkpoint, verify_checkpoint, verify_cosignature
from ledger.log.errors import LogDamaged, NoteMalformed, StorageFailed, WitnessRefused, WitnessUnreachable
from ledger.log.notes import NoteSignature, NoteSigner, SignedNote, encode_base64, sign_note
from ledger.log.tree import EMPTY_ROOT, consistency_path, leaf_hash, root_of
from ledger.log.witness import Witness, WitnessRequest, witness_request
from ledger.log.witness_client import Post, WitnessAddress, WitnessClient
from ledger.log.writer import Log
from tests.ledger.log.faulty import SteppedFiles, disk_full
from tests.ledger.log.logs import ORIGIN, SIGNER, items, make_log, witness_signer

LEAVES = [leaf_hash(b"%d" % number) for number in range(40)]
FORKED = [*LEAVES[:5], leaf_hash(b"forked"), *LEAVES[6:]]
# the example of C2SP tlog-witness
EXAMPLE = """old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
"""


def note(size: int, leaves: list[bytes] = LEAVES) -> str:
    return sign_checkpoint(Checkpoint(ORIGIN, size, root_of(leaves[:size])), SIGNER)


def request(old_size: int, size: int, leaves: list[bytes] = LEAVES) -> bytes:
    return witness_request(old_size, consistency_path(leaves[:size], old_size), note(size, leaves))


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return Witness(witness_signer(0), {ORIGIN: SIGNER.key}, tmp_path / "witness")


def test_the_specification_s_request_is_read() -> None:
    found = WitnessRequest.parse(EXAMPLE.encode())
    assert found.old_size == 20_852_014 and len(found.proof) == 4
    assert Checkpoint.parse(found.note.text).size == 20_852_163
    assert found.to_bytes() == EXAMPLE.encode()


def test_each_growing_checkpoint_is_cosigned(witness: Witness) -> None:
    at = 0
    for now_s, size in enumerate((1, 1, 5, 8, 8, 40), 1_700_000_000):
        answer = witness.add_checkpoint(request(at, size), now_s)
        assert answer.status == 200 and answer.body.endswith(b"\n")
        line = NoteSignature.parse(answer.body.decode().removesuffix("\n"))
        assert verify_cosignature(SignedNote.parse(note(size)).text, line, witness_signer(0).key) == now_s
        assert witness.size(ORIGIN) == size
        at = size


def test_the_empty_log_is_cosigned_only_with_the_empty_root(witness: Witness) -> None:
    wrong = witness_request(0, [], sign_checkpoint(Checkpoint(ORIGIN, 0, b"\x01" * 32), SIGNER))
    assert witness.add_checkpoint(wrong, 1).status == 422
    right = witness_request(0, [], sign_checkpoint(Checkpoint(ORIGIN, 0, EMPTY_ROOT), SIGNER))
    assert witness.add_checkpoint(right, 1).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 1",
        b"old 1\n\n",
        request(0, 3).replace(b"old 0", b"old 00"),
        request(0, 3).replace(b"old 0", b"old +0"),
        request(0, 3).replace(b"old 0", b"old 9223372036854775808"),
        request(0, 3).replace(b"old 0\n", b"old 0\nAAAA=\n"),
        request(0, 3).replace(b"old 0\n", b"old 0\nAAAA\n"),
        request(0, 3).replace(b"old 0\n", b"old 0\n" + b"AAAA\n" * 64),
        request(0, 3).replace(b"old 0\n", "old 0\n—\n".encode()),
        witness_request(0, [], sign_note("no checkpoint\n", SIGNER).to_text()),
        witness_request(7, [], note(3)),
        b"x" * 1_000_000,
    ],
)
def test_a_malformed_request_is_400(witness: Witness, body: bytes) -> None:
    assert witness.add_checkpoint(body, 1).status == 400
    assert witness.size(ORIGIN) == 0


def test_an_unknown_log_is_404_and_an_unknown_key_403(witness: Witness) -> None:
    other = NoteSigner.from_seed("other.example", b"\x01" * 32)
    foreign = sign_checkpoint(Checkpoint("other.example", 3, LEAVES[0]), other)
    assert witness.add_checkpoint(witness_request(0, [], foreign), 1).status == 404
    imposter = NoteSigner.from_seed(ORIGIN, b"\x02" * 32)
    forged = sign_checkpoint(Checkpoint(ORIGIN, 3, LEAVES[0]), imposter)
    assert witness.add_checkpoint(witness_request(0, [], forged), 1).status == 403
    line = SignedNote.parse(note(3)).signatures[0]
    altered = SignedNote(Checkpoint(ORIGIN, 4, LEAVES[0]).to_text(), (line,)).to_text()
    assert witness.add_checkpoint(witness_request(0, [], altered), 1).status == 403
    assert witness.size(ORIGIN) == 0


def test_signatures_of_strangers_are_ignored(witness: Witness) -> None:
    stranger = sign_note(SignedNote.parse(note(3)).text, NoteSigner.from_seed("x.example", b"\x03" * 32))
    both = SignedNote.parse(note(3)).with_signatures(stranger.signatures)
    assert witness.add_checkpoint(witness_request(0, [], both.to_text()), 1).status == 200


def test_another_old_size_is_409_with_the_known_one(witness: Witness) -> None:
    witness.add_checkpoint(request(0, 5), 1)
    for old_size in (0, 4, 6):
        answer = witness.add_checkpoint(request(old_size, 8), 1)
        assert (answer.status, answer.content_type, answer.body) == (409, "text/x.tlog.size", b"5\n")
    assert witness.size(ORIGIN) == 5


def test_a_rollback_is_refused(witness: Witness) -> None:
    witness.add_checkpoint(request(0, 8), 1)
    assert witness.add_checkpoint(request(5, 5), 1).status == 409
    assert witness.add_checkpoint(witness_request(8, [], note(5)), 1).status == 400
    assert witness.size(ORIGIN) == 8


def test_a_fork_is_refused_and_its_evidence_kept(witness: Witness) -> None:
    witness.add_checkpoint(request(0, 8), 1)
    same_size = request(8, 8, FORKED)
    larger = request(8, 12, FORKED)
    unproved = witness_request(8, [], note(12))
    assert witness.add_checkpoint(same_size, 1).status == 409
    assert witness.add_checkpoint(larger, 1).status == 422
    assert witness.add_checkpoint(larger, 2).status == 422
    assert witness.add_checkpoint(unproved, 1).status == 422
    assert witness.refused(ORIGIN) == [note(8, FORKED).encode()]
    assert sorted(witness.refused(ORIGIN, "proof")) == sorted([note(12, FORKED).encode(), note(12).encode()])
    assert witness.size(ORIGIN) == 8
    assert witness.add_checkpoint(request(8, 12), 1).status == 200


def test_a_flood_of_true_checkpoints_does_not_take_the_place_of_a_forked_one(witness: Witness) -> None:
    witness.add_checkpoint(request(0, 8), 1)
    for size in range(9, 30):  # anybody can send these
        for junk in range(3):
            lie = witness_request(8, [bytes([junk]) * 32], note(size))
            assert witness.add_checkpoint(lie, 1).status == 422
    stranger = sign_note(SignedNote.parse(note(30)).text, NoteSigner.from_seed("x.example", b"\x03" * 32))
    signed_by_both = SignedNote.parse(note(30)).with_signatures(stranger.signatures).to_text()
    assert witness.add_checkpoint(witness_request(8, [], signed_by_both), 1).status == 422
    kept = witness.refused(ORIGIN, "proof")
    assert sorted(kept) == sorted(note(size).encode() for size in range(9, 31))
    witness.add_checkpoint(request(8, 8, FORKED), 1)
    assert witness.refused(ORIGIN) == [note(8, FORKED).encode()]


def test_an_interrupted_write_is_no_kept_checkpoint(witness: Witness, tmp_path: Path) -> None:
    witness.add_checkpoint(request(0, 8), 1)
    witness.add_checkpoint(request(8, 8, FORKED), 1)
    (folder,) = (tmp_path / "witness").glob("*.fork")
    (folder / "x.tmp").write_bytes(b"torn")
    assert witness.refused(ORIGIN) == [note(8, FORKED).encode()]


def test_the_state_outlives_the_process(witness: Witness, tmp_path: Path) -> None:
    witness.add_checkpoint(request(0, 8), 1)
    again = Witness(witness_signer(0), {ORIGIN: SIGNER.key}, tmp_path / "witness")
    assert again.add_checkpoint(request(0, 12), 1).status == 409
    assert again.add_checkpoint(request(8, 12, FORKED), 1).status == 422
    assert again.add_checkpoint(request(8, 12), 1).status == 200


def test_torn_state_cosigns_nothing(witness: Witness, tmp_path: Path) -> None:
    witness.add_checkpoint(request(0, 8), 1)
    (path,) = (tmp_path / "witness").glob("*.checkpoint")
    for data in (path.read_bytes()[:-1], b"", bytes(40)):
        path.write_bytes(data)
        with pytest.raises(LogDamaged):
            witness.add_checkpoint(request(0, 12), 1)


def test_nothing_is_cosigned_that_is_not_persisted(tmp_path: Path) -> None:
    for at in range(1, 3):
        files = SteppedFiles(at, disk_full)
        witness = Witness(witness_signer(0), {ORIGIN: SIGNER.key}, tmp_path / f"{at}", files=files)
        try:
            assert witness.add_checkpoint(request(0, 8), 1).status == 200
        except StorageFailed:
            assert witness.size(ORIGIN) == 0
            assert witness.add_checkpoint(request(0, 8), 1).status == 200
        assert witness.size(ORIGIN) == 8


def test_two_requests_at_once_never_roll_the_state_back(witness: Witness, tmp_path: Path) -> None:
    witness.add_checkpoint(request(0, 5), 1)
    twin = Witness(witness_signer(0), {ORIGIN: SIGNER.key}, tmp_path / "witness")
    statuses: list[int] = []
    threads = [
        threading.Thread(
            target=lambda one=one, size=size: statuses.append(one.add_checkpoint(request(5, size), 1).status)
        )
        for size in range(6, 30)
        for one in (witness, twin)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count(200) == 1 and set(statuses) == {200, 409}


def test_a_log_key_is_no_witness_key(tmp_path: Path) -> None:
    with pytest.raises(MalformedValue):
        Witness(SIGNER, {ORIGIN: SIGNER.key}, tmp_path)


# --- gathering -------------------------------------------------------------------------------------------


class Network:
    """Four witnesses that are called directly; some may be dead, or answer with rubbish."""

    def __init__(self, folder: Path) -> None:
        self.signers = [witness_signer(number) for number in range(4)]
        self.witnesses = [
            Witness(one, {ORIGIN: SIGNER.key}, folder / f"{at}") for at, one in enumerate(self.signers)
        ]
        self.answers: dict[int, tuple[int, bytes] | None] = {}
        self.asked: list[int] = []

    def post(self, url: str, body: bytes) -> tuple[int, bytes]:
        number = int(url)
        self.asked.append(number)
        if number in self.answers:
            answer = self.answers[number]
            if answer is None:
                raise WitnessUnreachable(f"witness {number} does not answer")
            return answer
        answered = self.witnesses[number].add_checkpoint(body, 1_700_000_000 + number)
        return answered.status, answered.body

    def client(self, log: Log, post: Post | None = None) -> WitnessClient:
        addresses = [WitnessAddress(one.key, str(at)) for at, one in enumerate(self.signers)]
        return WitnessClient(log.reader, addresses, post=post or self.post)

    @property
    def quorum(self) -> Quorum:
        return Quorum(tuple(one.key for one in self.signers), 3)


def verified(text: str, quorum: Quorum) -> tuple[int, ...]:
    found = verify_checkpoint(text, origin=ORIGIN, log_key=SIGNER.key, quorum=quorum)
    return tuple(sorted((each.time_s for each in found.cosignatures), reverse=True))


def test_all_witnesses_cosign_as_the_log_grows(tmp_path: Path) -> None:
    network = Network(tmp_path / "network")
    with make_log(tmp_path / "log", 3) as log:
        client = network.client(log)
        for size in (3, 300, 301):
            log.append(items(0, size))
            gathered = client.gather(log.checkpoint_text)
            assert gathered.failures == ()
            assert len(verified(gathered.note, network.quorum)) == 4
            log.publish_cosigned(gathered.note, quorum=network.quorum)
    assert len(network.asked) == 12


def test_a_new_client_asks_each_witness_for_its_size(tmp_path: Path) -> None:
    network = Network(tmp_path / "network")
    with make_log(tmp_path / "log", 3) as log:
        network.client(log).gather(log.checkpoint_text)
        log.append(items(3, 700))
        gathered = network.client(log).gather(log.checkpoint_text)
        assert gathered.failures == () and len(verified(gathered.note, network.quorum)) == 4
    assert len(network.asked) == 4 + 8


@pytest.mark.parametrize(
    "answer",
    [
        None,
        (500, b"broken"),
        (200, b""),
        (200, b"\xff\n"),
        (200, b"rubbish\n"),
        (200, NoteSignature("x.example", b"1234", b"x" * 72).to_line().encode()),
        (200, b"x" * 100_000 + b"\n"),
        (409, b"0\n"),
        (409, b"999\n"),
        (409, b"rubbish\n"),
        (422, b""),
    ],
)
def test_a_dead_or_broken_witness_costs_only_its_own_cosignature(
    tmp_path: Path, answer: tuple[int, bytes] | None
) -> None:
    network = Network(tmp_path / "network")
    network.answers[1] = answer
    with make_log(tmp_path / "log", 3) as log:
        gathered = network.client(log).gather(log.checkpoint_text)
    assert len(verified(gathered.note, network.quorum)) == 3
    assert [name for name, _ in gathered.failures] == [network.signers[1].key.name]


def test_a_witness_that_answers_with_an_older_cosignature_is_not_believed(tmp_path: Path) -> None:
    network = Network(tmp_path / "network")
    with make_log(tmp_path / "log", 3) as log:
        old = network.witnesses[0].add_checkpoint(witness_request(0, [], log.checkpoint_text), 1)
        log.append(items(3, 5))
        network.answers[0] = (200, old.body)
        gathered = network.client(log).gather(log.checkpoint_text)
    assert [name for name, _ in gathered.failures] == [network.signers[0].key.name]
    assert len(verified(gathered.note, network.quorum)) == 3


def test_a_witness_that_is_ahead_is_reported(tmp_path: Path) -> None:
    network = Network(tmp_path / "network")
    with make_log(tmp_path / "log", 3) as log:
        first = log.checkpoint_text
        log.append(items(3, 9))
        network.client(log).gather(log.checkpoint_text)
        gathered = network.client(log).gather(first)
    assert len(gathered.failures) == 4
    assert all(isinstance(error, WitnessRefused) and error.size == 9 for _, error in gathered.failures)


def test_a_witness_whose_size_keeps_moving_is_given_up(tmp_path: Path) -> None:
    network = Network(tmp_path / "network")
    sizes = iter([b"1\n", b"2\n", b"1\n", b"2\n"])
    with make_log(tmp_path / "log", 3) as log:
        addresses = [WitnessAddress(network.signers[0].key, "0")]
        client = WitnessClient(log.reader, addresses, post=lambda url, body: (409, next(sizes)))
        gathered = client.gather(log.checkpoint_text)
    assert isinstance(gathered.failures[0][1], WitnessRefused)


def test_without_witnesses_the_note_is_unchanged(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 3) as log:
        client = WitnessClient(log.reader, [], post=lambda url, body: (500, b""))
        assert client.gather(log.checkpoint_text).note == log.checkpoint_text
        with pytest.raises(NoteMalformed):
            client.gather("rubbish")


def test_proof_lines_are_base64_of_the_hashes() -> None:
    body = request(5, 8).decode()
    assert body.split("\n")[1] == encode_base64(consistency_path(LEAVES[:8], 5)[0])
