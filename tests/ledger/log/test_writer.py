"""The writer: idempotent appends, evidence and its erasure, publishing, and one writer at a time."""

import errno
import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.errors import MalformedValue
from ledger.log.batch import Batch, Bundle, Item, decode_evidence, encode_evidence
from ledger.log.checkpoint import Checkpoint, Quorum, cosign, sign_checkpoint, verify_log_checkpoint
from ledger.log.errors import (
    CosignatureMissing,
    EntryMissing,
    EntryTooLong,
    EventConflict,
    LogBusy,
    LogClosed,
    LogDamaged,
    LogExists,
    NotAligned,
    NoteUnverified,
    StorageFailed,
    WrongOrigin,
)
from ledger.log.files import Files
from ledger.log.notes import NoteSigner, SignedNote
from ledger.log.tiles import inclusion_proof, parse_tile_path
from ledger.log.tree import EMPTY_ROOT, leaf_hash, root_of, verify_inclusion
from ledger.log.writer import Log, rebuild_index
from tests.ledger.log.logs import ORIGIN, SIGNER, item, items, make_log, snapshot, witness_signer


def root(*numbers: int) -> bytes:
    return root_of([leaf_hash(item(number).entry) for number in numbers])


def test_a_new_log_publishes_the_empty_tree(tmp_path: Path) -> None:
    with make_log(tmp_path / "log") as log:
        note = (tmp_path / "log" / "public" / "checkpoint").read_text(encoding="utf-8")
        assert note == log.checkpoint_text
        found = verify_log_checkpoint(note, origin=ORIGIN, log_key=SIGNER.key)
        assert (found.size, found.root) == (0, EMPTY_ROOT)


def test_entries_get_their_indices_and_proofs(tmp_path: Path) -> None:
    with make_log(tmp_path / "log") as log:
        assert log.append(items(0, 3)) == [0, 1, 2]
        assert log.append([]) == []
        assert log.append(items(3, 300)) == list(range(3, 300))
        assert log.checkpoint.root == root(*range(300))
        assert (log.entry(299), log.evidence(299)) == (item(299).entry, item(299).evidence)
        assert log.find(item(7).event_id) == 7 and log.find(b"\0" * 16) is None
        assert log.lookup(b"licence 3") == [6, 7]
        proof = inclusion_proof(log.reader, 299, log.size)
        verify_inclusion(leaf_hash(item(299).entry), 299, 300, proof, log.checkpoint.root)
        for read in (log.entry, log.evidence):
            with pytest.raises(EntryMissing):
                read(300)
            with pytest.raises(EntryMissing):
                read(-1)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(st.integers(0, 400), max_size=120), max_size=8))
def test_an_append_repeated_in_any_way_keeps_every_index(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("repeated") / "log"
    indices: dict[int, int] = {}
    with make_log(folder) as log:
        for batch in batches:
            for number, index in zip(batch, log.append([item(n) for n in batch]), strict=True):
                assert indices.setdefault(number, index) == index
        assert sorted(indices.values()) == list(range(log.size))
        in_order = sorted(indices, key=lambda number: indices[number])
        assert log.checkpoint.root == (root(*in_order) if in_order else EMPTY_ROOT)
    with Log.open(folder, SIGNER) as again:
        assert again.append([item(number) for number in indices]) == list(indices.values())


def test_a_log_is_not_created_over_the_checkpoint_of_one(tmp_path: Path) -> None:
    make_log(tmp_path / "log", 3).close()
    config, path = tmp_path / "log" / "private" / "log.json", tmp_path / "log" / "public" / "checkpoint"
    config.unlink()
    seen = path.read_bytes()
    with pytest.raises(LogExists, match="without its"):
        Log.create(tmp_path / "log", ORIGIN, SIGNER)
    assert path.read_bytes() == seen
    make_log(tmp_path / "new").close()
    (tmp_path / "new" / "private" / "log.json").unlink()  # a creation that was interrupted is done again
    Log.create(tmp_path / "new", ORIGIN, SIGNER).close()


def test_the_same_event_with_other_bytes_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 300) as log:
        before = snapshot(tmp_path / "log")
        changed = Item(item(7).event_id, item(7).entry + b"a later timestamp")
        with pytest.raises(EventConflict) as caught:
            log.append([item(300), item(299), changed, Item(item(8).event_id, b"")])
        assert (caught.value.position, caught.value.index) == (2, 7)
        with pytest.raises(EventConflict) as caught:
            log.append([item(300), Item(item(300).event_id, b"")])
        assert (caught.value.position, caught.value.index) == (1, None)
        assert snapshot(tmp_path / "log") == before
        assert log.find(item(300).event_id) is None


def test_the_first_evidence_of_an_event_stays(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 3) as log:
        again = Item(item(1).event_id, item(1).entry, b"other evidence", b"other key")
        assert log.append([again]) == [1]
        assert log.evidence(1) == item(1).evidence


def test_a_log_has_one_writer(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 3), pytest.raises(LogBusy):
        Log.open(tmp_path / "log", SIGNER)
    Log.open(tmp_path / "log", SIGNER).close()


def test_a_log_is_created_once_and_opened_with_its_own_key(tmp_path: Path) -> None:
    make_log(tmp_path / "log", 3).close()
    with pytest.raises(LogExists):
        make_log(tmp_path / "log")
    with pytest.raises(NoteUnverified):
        Log.open(tmp_path / "log", NoteSigner.from_seed(ORIGIN, b"\x01" * 32))
    with pytest.raises(EntryMissing):
        Log.open(tmp_path / "nothing", SIGNER)
    with pytest.raises(WrongOrigin):
        Log.create(tmp_path / "other", "other.example", SIGNER)


def test_the_private_folder_is_not_for_others(tmp_path: Path) -> None:
    make_log(tmp_path / "log", 3).close()
    assert (tmp_path / "log" / "private").stat().st_mode & 0o077 == 0
    published = [path for path in snapshot(tmp_path / "log" / "public") if path != "checkpoint"]
    assert all(parse_tile_path(path) for path in published)


def test_partial_tiles_stay_until_the_full_one_is_there(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 10) as log:
        log.append(items(10, 20))
        tiles = set(snapshot(tmp_path / "log" / "public" / "tile"))
        assert tiles == {"0/000.p/10", "0/000.p/20", "entries/000.p/10", "entries/000.p/20"}
        log.append(items(20, 256))
        tiles = set(snapshot(tmp_path / "log" / "public" / "tile"))
        assert tiles == {"0/000", "1/000.p/1", "entries/000"}


def test_full_evidence_bundles_are_compressed_and_read_the_same(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 300) as log:
        assert (tmp_path / "log" / "private" / "evidence" / "000").read_bytes()[:1] == b"\x01"
        assert (tmp_path / "log" / "private" / "evidence" / "001").read_bytes()[:1] == b"\x00"
        assert [log.evidence(index) for index in range(300)] == [one.evidence for one in items(0, 300)]


@pytest.mark.parametrize("index", [3, 255, 256, 299])
def test_erased_evidence_is_gone_from_every_file(tmp_path: Path, index: int) -> None:
    log = Log.create(tmp_path / "log", ORIGIN, SIGNER)
    secret = "个人信息-personal".encode()
    log.append(
        [*items(0, index), Item(item(index).event_id, item(index).entry, secret), *items(index + 1, 300)]
    )
    log.erase_evidence(index)
    log.erase_evidence(index)
    assert log.evidence(index) == b""
    assert log.evidence(index - 1) == item(index - 1).evidence
    assert log.entry(index) == item(index).entry
    log.append(items(300, 600))
    assert log.evidence(index) == b""
    log.close()
    for path, data in snapshot(tmp_path / "log").items():
        frames = decode_evidence(data) if "/evidence/" in path else [data]
        assert not any(secret in frame for frame in frames)
    with Log.open(tmp_path / "log", SIGNER) as again:
        assert again.evidence(index) == b""
        with pytest.raises(EntryMissing):
            again.erase_evidence(600)


def test_a_torn_evidence_file_is_damage(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 300) as log:
        for name, index in (("000", 3), ("001", 260)):
            path = tmp_path / "log" / "private" / "evidence" / name
            whole = path.read_bytes()
            for data in (whole[:-3], b"", b"\x07" + whole[1:]):
                path.write_bytes(data)
                with pytest.raises(LogDamaged):
                    log.evidence(index)
            path.unlink()
            with pytest.raises(LogDamaged):
                log.evidence(index)


@given(st.lists(st.binary(max_size=50), max_size=256))
def test_evidence_frames_round_trip(evidence: list[bytes]) -> None:
    assert decode_evidence(encode_evidence(evidence)) == evidence


def test_whole_bundles_and_single_items_make_the_same_log(tmp_path: Path) -> None:
    with make_log(tmp_path / "one", 1024):
        pass
    with make_log(tmp_path / "other", 256) as log:
        bundles = [Bundle.of(items(start, start + 256)) for start in (256, 512, 768)]
        assert log.append_bundles(bundles[:1]) == [256]
        assert log.append_bundles(bundles) == [256, 512, 768]
        assert log.append_bundles(bundles) == [256, 512, 768]
        assert log.size == 1024
    # the other has the partial tiles of the sizes in between as well
    assert snapshot(tmp_path / "one").items() <= snapshot(tmp_path / "other").items()


def test_bundles_are_refused_unless_they_fit(tmp_path: Path) -> None:
    bundle = Bundle.of(items(0, 256))
    with make_log(tmp_path / "log", 256) as log:
        overlapping = Bundle.of([*items(300, 310), *items(10, 256)])
        changed = Bundle.of([*items(0, 255), Item(item(255).event_id, b"")])
        shifted = Bundle.of([*items(1, 256), item(0)])
        twice = Bundle.of([*items(300, 555), item(300)])
        for wrong in (overlapping, changed, shifted, twice):
            with pytest.raises(EventConflict):
                log.append_bundles([wrong])
        with pytest.raises(EventConflict):
            log.append_bundles([Bundle.of(items(300, 556)), Bundle.of(items(400, 656))])
        with pytest.raises(MalformedValue):
            log.append_bundles([Bundle.of(items(300, 302))])
        assert log.size == 256
        log.append([item(300)])
        with pytest.raises(NotAligned):
            log.append_bundles([bundle])


def test_items_and_bundles_are_bounded() -> None:
    with pytest.raises(EntryTooLong):
        Item(b"x" * 16, b"x" * 65_536)
    with pytest.raises(EntryTooLong):
        Item(b"x" * 16, b"", b"x" * ((1 << 20) + 1))
    with pytest.raises(MalformedValue):
        Item(b"x" * 15, b"")
    whole = Bundle.of(items(0, 3))
    with pytest.raises(MalformedValue):
        Bundle(whole.entries, whole.leaf_hashes[:-32], whole.evidence, whole.event_ids, whole.lookups)
    with pytest.raises(MalformedValue):
        Bundle(whole.entries, b"", whole.evidence, b"", b"")


def test_a_journal_round_trips_and_any_changed_bit_is_found() -> None:
    batch = Batch(5, EMPTY_ROOT, (Bundle.of(items(5, 9)), Bundle.of(items(9, 20))))
    journal = b"".join(batch.to_journal())
    assert Batch.from_journal(journal) == batch
    for at in range(0, len(journal), 7):
        changed = bytearray(journal)
        changed[at] ^= 1
        with pytest.raises(LogDamaged):
            Batch.from_journal(bytes(changed))
    for end in (0, 31, 32, 60, len(journal) - 1):
        with pytest.raises(LogDamaged):
            Batch.from_journal(journal[:end])


def test_the_index_is_written_again_from_the_entries(tmp_path: Path) -> None:
    make_log(tmp_path / "log", 700).close()
    before = snapshot(tmp_path / "log")
    known = {one.entry: (one.event_id, one.lookup) for one in items(0, 700)}
    for path in (tmp_path / "log" / "private" / "index").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(LogDamaged):
        Log.open(tmp_path / "log", SIGNER)
    rebuild_index(tmp_path / "log", SIGNER, known.__getitem__)
    assert snapshot(tmp_path / "log") == before


def test_the_inner_nodes_are_written_again_from_the_tiles(tmp_path: Path) -> None:
    make_log(tmp_path / "log", 700).close()
    before = snapshot(tmp_path / "log")
    (tmp_path / "log" / "private" / "nodes").unlink()
    Log.open(tmp_path / "log", SIGNER).close()
    assert snapshot(tmp_path / "log") == before


def test_tiles_that_contradict_the_checkpoint_are_damage(tmp_path: Path) -> None:
    make_log(tmp_path / "log", 300).close()
    path = tmp_path / "log" / "public" / "tile" / "0" / "001.p" / "44"
    path.write_bytes(bytes(44 * 32))
    with pytest.raises(LogDamaged):
        Log.open(tmp_path / "log", SIGNER)
    path.unlink()
    with pytest.raises(LogDamaged):
        Log.open(tmp_path / "log", SIGNER)


# --- cosigned checkpoints --------------------------------------------------------------------------------

WITNESSES = [witness_signer(number) for number in range(4)]
QUORUM = Quorum(tuple(witness.key for witness in WITNESSES), 3)


def cosigned(note: str, count: int = 3) -> str:
    parsed = SignedNote.parse(note)
    return parsed.with_signatures(cosign(parsed.text, one, 1000) for one in WITNESSES[:count]).to_text()


def test_a_cosigned_checkpoint_is_published_beside_the_newest(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 3) as log:
        assert log.cosigned() is None
        first = cosigned(log.checkpoint_text)
        log.publish_cosigned(first, quorum=QUORUM)
        assert log.cosigned() == log.checkpoint_text == first
        log.append(items(3, 5))
        assert log.cosigned() == first
        assert len(SignedNote.parse(log.checkpoint_text).signatures) == 1
        log.publish_cosigned(cosigned(log.checkpoint_text, 4), quorum=QUORUM)
        newest = log.cosigned()
        log.publish_cosigned(first, quorum=QUORUM)  # late: an older one does not come back
        assert log.cosigned() == newest
    with Log.open(tmp_path / "log", SIGNER) as again:
        assert again.checkpoint_text == newest
        again.append(items(5, 6))


def test_a_checkpoint_is_published_only_with_a_quorum(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 3) as log:
        with pytest.raises(CosignatureMissing):
            log.publish_cosigned(cosigned(log.checkpoint_text, 2), quorum=QUORUM)
        assert log.cosigned() is None


def test_a_forked_checkpoint_under_this_log_s_key_is_damage(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 3) as log:
        for size in (2, 3, 4):
            fork = sign_checkpoint(Checkpoint(ORIGIN, size, b"\x01" * 32), SIGNER)
            with pytest.raises(LogDamaged):
                log.publish_cosigned(cosigned(fork), quorum=QUORUM)


def test_a_checkpoint_older_than_the_cosigned_one_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "log" / "public" / "checkpoint"
    with make_log(tmp_path / "log", 3) as log:
        old = path.read_bytes()
        log.append(items(3, 5))
        log.publish_cosigned(cosigned(log.checkpoint_text), quorum=QUORUM)
    path.write_bytes(old)  # a backup: going on from it would fork what the witnesses saw
    with pytest.raises(LogDamaged, match="rolled back"):
        Log.open(tmp_path / "log", SIGNER)


def test_a_torn_cosigned_checkpoint_is_damage(tmp_path: Path) -> None:
    with make_log(tmp_path / "log", 3) as log:
        log.publish_cosigned(cosigned(log.checkpoint_text), quorum=QUORUM)
    path = tmp_path / "log" / "public" / "checkpoint.cosigned"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(LogDamaged, match="cosigned"):
        Log.open(tmp_path / "log", SIGNER)


class UnsyncedCheckpoint(Files):
    """Puts the checkpoint in place and then, once, cannot sync its folder."""

    failures = 1

    def replace(self, path: Path, parts: Sequence[bytes]) -> None:
        super().replace(path, parts)
        if path.name == "checkpoint" and self.failures:
            self.failures -= 1
            raise OSError(errno.EIO, "Input/output error")


def test_a_late_cosignature_does_not_bring_back_the_checkpoint_before_an_interrupted_batch(
    tmp_path: Path,
) -> None:
    make_log(tmp_path / "log", 3).close()
    path = tmp_path / "log" / "public" / "checkpoint"
    with Log.open(tmp_path / "log", SIGNER, files=UnsyncedCheckpoint()) as log:
        first = cosigned(log.checkpoint_text)
        with pytest.raises(StorageFailed):
            log.append(items(3, 5))
        seen = path.read_bytes()
        log.publish_cosigned(first, quorum=QUORUM)
        assert path.read_bytes() == seen and log.size == 5


# --- one writer ------------------------------------------------------------------------------------------

FORK = multiprocessing.get_context("fork")
WRITES: dict[str, Callable[[Log], object]] = {
    "append": lambda log: log.append(items(3, 4)),
    "append_bundles": lambda log: log.append_bundles([Bundle.of(items(0, 256))]),
    "erase": lambda log: log.erase_evidence(0),
    "publish": lambda log: log.publish_cosigned(cosigned(log.checkpoint_text), quorum=QUORUM),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_a_closed_log_is_not_written_to(tmp_path: Path, write: Callable[[Log], object]) -> None:
    log = make_log(tmp_path / "log", 3)
    log.close()
    before = snapshot(tmp_path / "log")
    with pytest.raises(LogClosed):
        write(log)
    assert snapshot(tmp_path / "log") == before


def test_a_forked_process_does_not_write_its_parents_log(tmp_path: Path) -> None:
    def write(log: Log) -> None:
        with pytest.raises(LogClosed):
            log.append(items(3, 4))
        log.close()

    with make_log(tmp_path / "log", 3) as log:
        child = FORK.Process(target=write, args=(log,))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        with pytest.raises(LogBusy):
            Log.open(tmp_path / "log", SIGNER)
        assert log.append(items(3, 4)) == [3]


def test_a_forked_process_that_lives_on_does_not_keep_the_lock(tmp_path: Path) -> None:
    ready, done = FORK.Event(), FORK.Event()

    def stay() -> None:
        ready.set()
        done.wait(60)

    log = make_log(tmp_path / "log", 3)
    child = FORK.Process(target=stay)
    child.start()
    assert ready.wait(60)
    log.close()
    try:
        Log.open(tmp_path / "log", SIGNER).close()
    finally:
        done.set()
        child.join(60)
