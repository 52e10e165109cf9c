"""A clean log has no difference; every kind of tampering is found, with its index or block."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ledger.encoding import Digest
from ledger.licences.leaf import Code, Kind, Leaf
from ledger.licences.status import StatusBits
from ledger.log.checkpoint import Checkpoint
from ledger.log.tiles import bundle_path, decode_bundle, encode_bundle, tile_path
from ledger.log.tree import leaf_hash
from ledger.replay.anchors import ChainFacts
from ledger.replay.errors import LogUnreadable
from ledger.replay.findings import Rule
from ledger.replay.keys import KeyBook
from ledger.replay.licences import Against, LogReplay, replay_log
from ledger.replay.scan import ScanPlan, scan_chunk
from ledger.replay.stages import ReplayOptions
from tests.ledger.replay.synthetic import (
    CITY,
    ISSUER,
    OTHER_ISSUER,
    TYPE_A,
    TYPE_B,
    SyntheticLog,
    facts_of,
    honest_log,
    put,
    renamed,
    seed,
    signing_key,
    write_checkpoint,
)

OPTIONS = ReplayOptions(rand=b"\x5a" * 8, workers=0)


def replayed(folder: Path, chain: ChainFacts | None = None) -> LogReplay:
    return replay_log(folder, options=OPTIONS, against=Against(city=CITY, chain=chain))


def found(replay: LogReplay) -> list[tuple[Rule, int | None]]:
    assert replay.findings.total == len(replay.findings.kept)
    return [(difference.rule, difference.index) for difference in replay.findings.kept]


def small_log() -> SyntheticLog:
    """Three licences of one key, from index 1."""
    log = SyntheticLog()
    log.key_add("one", TYPE_A)
    for slot in range(3):
        log.issue("one", slot)
    return log


def after(
    log: SyntheticLog, tmp_path: Path, chain: ChainFacts | None = None
) -> list[tuple[Rule, int | None]]:
    return found(replayed(log.write(tmp_path), chain))


# --- nothing wrong ---------------------------------------------------------------------------------------


def test_a_clean_log_has_no_difference_and_the_right_figures(tmp_path: Path) -> None:
    log = honest_log()
    size = len(log.entries)
    replay = replayed(log.write(tmp_path), log.chain(1, 256, 303, 400, size, size))
    assert found(replay) == []
    assert replay.root == log.root()
    assert (replay.status_lists, replay.anchors) == (4, 7)
    assert replay.counts.by_kind["issue"] == 600
    assert replay.counts.by_code == {
        "valid": 598,
        "revoked": 1,
        "withdrawn": 1,
        "transferred": 1,
        "cancelled": 3,
    }
    assert replay.counts.by_issuer[OTHER_ISSUER] == {"valid": 1}
    assert replay.counts.by_issuer[ISSUER].total() == 603
    assert replay.counts.by_type[TYPE_B].total() == 450
    assert list(replay.counts.by_day) == ["2024-10-04"]
    assert [(s.added, s.retired, s.compromised) for s in replay.keys] == [
        (0, None, None),
        (1, 314, 315),
        (316, None, None),
    ]


def test_an_empty_log_has_no_difference(tmp_path: Path) -> None:
    log = SyntheticLog()
    assert after(log, tmp_path, log.chain()) == []


def test_a_log_over_several_chunks_is_replayed_by_workers(tmp_path: Path) -> None:
    log = SyntheticLog()
    log.key_add("one", TYPE_A)
    first = log.issue("one", 0)
    leaf = log.leaf(Kind.ISSUE, signing_key("one").public, list=0, index=1, code=0, type_code=TYPE_A)
    head, tail = leaf.encode()[:2], leaf.encode()[18:]
    while len(log.entries) < 65_536 + 700:
        slot = len(log.entries)
        log.entries.append(head + slot.to_bytes(16, "big") + tail[:68] + slot.to_bytes(4, "big") + tail[72:])
    log.bits[0].set_many(range(2, slot + 1), Code.VALID)
    replaced = log.supersede("one", first, 1)
    log.change(Kind.REVOKE, "one", 66_000, Code.REVOKED)
    log.publish()
    chain = log.chain(65_535, 65_536, 65_537, replaced, len(log.entries))
    log.write(tmp_path)
    options = replace(OPTIONS, workers=2)
    replay = replay_log(tmp_path, options=options, against=Against(city=CITY, chain=chain))
    assert found(replay) == []
    assert replay.counts.by_code == {"cancelled": 1, "revoked": 1, "valid": len(log.entries) - 5}
    # the same again, with one entry changed in the second chunk and the top tile in pieces
    put(tmp_path / tile_path(2, 0, 1), bytes(32))
    path = tmp_path / bundle_path(257)
    data = bytearray(path.read_bytes())
    data[5 * 157 + 2 + 98] ^= 1
    path.write_bytes(data)
    rules = found(replay_log(tmp_path, options=options, against=Against(city=CITY, chain=chain)))
    assert rules == [(Rule.LEAF_HASH, 257 * 256 + 5), (Rule.TILE_HASH, 0)]


# --- the published files ---------------------------------------------------------------------------------


def rewrite_bundle(folder: Path, n: int, width: int, change: dict[int, bytes]) -> None:
    path = folder / bundle_path(n, width)
    entries = decode_bundle(path.read_bytes(), width)
    path.write_bytes(encode_bundle([change.get(i, entry) for i, entry in enumerate(entries)]))


def test_a_changed_entry_is_found_at_its_index(tmp_path: Path) -> None:
    log = honest_log()
    log.write(tmp_path)
    changed = Leaf.decode(log.entries[300])
    rewrite_bundle(tmp_path, 1, 256, {44: replace(changed, last_day=changed.last_day + 1).encode()})
    assert found(replayed(tmp_path, log.chain(400))) == [(Rule.LEAF_HASH, 300)]


def test_swapped_entries_are_both_found(tmp_path: Path) -> None:
    log = honest_log()
    log.write(tmp_path)
    rewrite_bundle(tmp_path, 1, 256, {3: log.entries[300], 44: log.entries[259]})
    assert found(replayed(tmp_path)) == [(Rule.LEAF_HASH, 259), (Rule.LEAF_HASH, 300)]


def test_a_changed_entry_with_a_changed_tile_breaks_the_tree(tmp_path: Path) -> None:
    log = honest_log()
    log.write(tmp_path)
    changed = replace(Leaf.decode(log.entries[20]), last_day=9).encode()
    rewrite_bundle(tmp_path, 0, 256, {20: changed})
    tile = bytearray((tmp_path / tile_path(0, 0)).read_bytes())
    tile[20 * 32 : 21 * 32] = leaf_hash(changed)
    (tmp_path / tile_path(0, 0)).write_bytes(tile)
    size = len(log.entries)
    assert found(replayed(tmp_path, log.chain(256))) == [
        (Rule.TILE_HASH, 0),
        (Rule.CHECKPOINT_ROOT, size),
        (Rule.ANCHOR_ROOT, 256),
    ]


def test_a_forged_upper_tile_is_found(tmp_path: Path) -> None:
    log = honest_log()
    log.write(tmp_path)
    path = tmp_path / tile_path(1, 0, 2)
    path.write_bytes(path.read_bytes()[:32] + seed("forged"))
    assert found(replayed(tmp_path)) == [(Rule.TILE_HASH, 256)]


def test_missing_and_torn_files_are_found(tmp_path: Path) -> None:
    log = honest_log()
    log.write(tmp_path)
    (tmp_path / tile_path(0, 1)).unlink()
    (tmp_path / bundle_path(0)).write_bytes((tmp_path / bundle_path(0)).read_bytes()[:-1])
    rules = found(replayed(tmp_path))
    assert rules[:2] == [(Rule.ENTRY_MISSING, 0), (Rule.TILE_MISSING, 256)]


def test_removed_last_entries_are_found_against_the_checkpoint(tmp_path: Path) -> None:
    log = honest_log()
    log.write(tmp_path)
    width = len(log.entries) - 512
    whole = (tmp_path / bundle_path(2, width)).read_bytes()
    (tmp_path / bundle_path(2, width)).unlink()
    put(tmp_path / bundle_path(2, width - 5), encode_bundle(decode_bundle(whole, width)[:-5]))
    assert (Rule.ENTRY_MISSING, 512) in found(replayed(tmp_path))


def test_removed_last_entries_are_found_against_an_anchor_and_the_witnesses(tmp_path: Path) -> None:
    log = honest_log()
    size = len(log.entries)
    chain = log.chain(300, size)
    log.write(tmp_path)
    cosigned = (tmp_path / "checkpoint.cosigned").read_bytes()
    del log.entries[-2:]
    log.write(tmp_path)
    (tmp_path / "checkpoint.cosigned").write_bytes(cosigned)
    assert found(replayed(tmp_path, chain)) == [
        (Rule.CHECKPOINT_ROLLBACK, size - 2),
        (Rule.ANCHOR_BEYOND_LOG, size - 2),
    ]
    without_policy = replay_log(tmp_path, options=OPTIONS, against=Against())
    assert (Rule.CHECKPOINT_ROLLBACK, size - 2) in found(without_policy)


def test_a_checkpoint_of_another_tree_is_found(tmp_path: Path) -> None:
    log = small_log()
    log.write(tmp_path, checkpoint_root=seed("another tree"))
    assert found(replayed(tmp_path)) == [(Rule.CHECKPOINT_ROOT, 4)]


def test_signatures_of_log_and_witnesses_are_checked(tmp_path: Path) -> None:
    log = small_log()
    log.write(tmp_path)
    write_checkpoint(tmp_path, Checkpoint("log.example.cn/licences", 4, log.root()), witnesses=2)
    assert found(replayed(tmp_path)) == [(Rule.CHECKPOINT_QUORUM, 4)]
    write_checkpoint(tmp_path, Checkpoint("log.example.cn/other", 4, log.root()))
    assert {rule for rule, _ in found(replayed(tmp_path))} == {Rule.CHECKPOINT_SIGNATURE}


def test_a_folder_without_a_log_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LogUnreadable):
        replayed(tmp_path)
    put(tmp_path / "checkpoint", b"no note")
    with pytest.raises(LogUnreadable):
        replayed(tmp_path)


# --- what the leaves say ---------------------------------------------------------------------------------


def test_a_forged_status_bit_is_found_at_the_list_that_publishes_it(tmp_path: Path) -> None:
    log = small_log()
    log.publish()
    log.set(0, 1, Code.REVOKED)
    at = log.publish()
    replay = replayed(log.write(tmp_path))
    assert found(replay) == [(Rule.STATUS_DIGEST, at)]
    assert replay.findings.kept[0].status_list == 0


def test_a_list_published_before_its_events_is_found(tmp_path: Path) -> None:
    log = small_log()
    log.set(0, 2, Code.SUSPENDED)
    at = log.publish()
    log.set(0, 2, Code.VALID)
    log.change(Kind.SUSPEND, "one", 3, Code.SUSPENDED)
    log.publish()
    assert after(log, tmp_path) == [(Rule.STATUS_DIGEST, at)]


def test_the_digest_of_a_list_nobody_has_a_licence_in_is_checked(tmp_path: Path) -> None:
    log = small_log()
    log.publish(7)
    at = log.add(log.leaf(Kind.STATUS_LIST, CITY.service, list=8, extra=seed("other bits")))
    assert after(log, tmp_path) == [(Rule.STATUS_DIGEST, at)]
    assert StatusBits().digest != seed("other bits")


def test_a_repeated_event_id_is_found(tmp_path: Path) -> None:
    log = small_log()
    again = log.issue("one", 77)
    log.alter(again, lambda leaf: replace(leaf, event_id=Leaf.decode(log.entries[2]).event_id))
    replay = replayed(log.write(tmp_path))
    assert found(replay) == [(Rule.EVENT_REPEATED, again)]
    assert "entry 2" in replay.findings.kept[0].detail


def test_event_ids_that_share_half_their_bits_are_no_repetition(tmp_path: Path) -> None:
    log = small_log()
    for index, half in ((1, bytes(8)), (2, b"\1" * 8)):
        log.alter(index, lambda leaf, half=half: replace(leaf, event_id=bytes(8) + half))  # type: ignore[misc]  # mypy cannot infer a lambda's default
    log.alter(3, lambda leaf: replace(leaf, event_id=b"\1" * 8 + bytes(8)))
    assert after(log, tmp_path) == []


def test_a_reused_slot_is_found(tmp_path: Path) -> None:
    log = small_log()
    log.change(Kind.REVOKE, "one", 2, Code.REVOKED)
    again = log.issue("one", 1)
    assert after(log, tmp_path) == [(Rule.SLOT_REUSED, again)]


def test_a_slot_used_twice_in_one_segment_is_found(tmp_path: Path) -> None:
    log = small_log()
    again = log.issue("one", 2)
    assert after(log, tmp_path) == [(Rule.SLOT_REUSED, again)]


@pytest.mark.parametrize(
    ("kinds", "bad"),
    [
        ([(Kind.RESUME, Code.VALID)], 0),
        ([(Kind.SUSPEND, Code.SUSPENDED), (Kind.SUSPEND, Code.SUSPENDED)], 1),
        ([(Kind.SUSPEND, Code.SUSPENDED), (Kind.TRANSFER_OUT, Code.TRANSFERRED)], 1),
        ([(Kind.REVOKE, Code.REVOKED), (Kind.RESUME, Code.VALID)], 1),
        ([(Kind.TRANSFER_OUT, Code.TRANSFERRED), (Kind.REVOKE, Code.REVOKED)], 1),
    ],
)
def test_an_illegal_transition_is_found(tmp_path: Path, kinds: list[tuple[Kind, Code]], bad: int) -> None:
    log = small_log()
    indexes = [log.change(kind, "one", 2, code) for kind, code in kinds]
    assert after(log, tmp_path) == [(Rule.TRANSITION, indexes[bad])]


def test_an_event_that_names_another_licence_than_its_slot_has_is_found(tmp_path: Path) -> None:
    log = small_log()
    at = log.change(Kind.REVOKE, "one", 2, Code.REVOKED)
    log.alter(at, lambda leaf: replace(leaf, index=0))
    assert after(log, tmp_path) == [(Rule.LICENCE_MISMATCH, at)]


def test_an_event_of_a_licence_that_is_not_in_the_log_is_found(tmp_path: Path) -> None:
    log = small_log()
    at = log.change(Kind.REVOKE, "one", 2, Code.REVOKED)
    log.alter(at, lambda leaf: replace(leaf, previous=seed("nowhere")))
    replacing = log.supersede("one", 3, 9)
    log.alter(replacing, lambda leaf: replace(leaf, previous=seed("nowhere")))
    assert after(log, tmp_path) == [(Rule.LICENCE_UNKNOWN, at), (Rule.LICENCE_UNKNOWN, replacing)]


def test_a_name_that_shares_only_its_beginning_with_a_leaf_is_no_licence(tmp_path: Path) -> None:
    log = small_log()
    at = log.change(Kind.REVOKE, "one", 2, Code.REVOKED)
    log.alter(at, lambda leaf: replace(leaf, previous=leaf.previous[:31] + bytes([leaf.previous[31] ^ 1])))
    assert after(log, tmp_path) == [(Rule.LICENCE_UNKNOWN, at)]


def test_a_licence_in_a_list_far_beyond_the_log_cannot_be_superseded(tmp_path: Path) -> None:
    log = small_log()
    issued = log.issue("one", 0, status_list=2_000_000_000)
    replacing = log.supersede("one", issued, 50)
    assert after(log, tmp_path) == [(Rule.SLOT_OUT_OF_RANGE, issued), (Rule.LICENCE_UNKNOWN, replacing)]


def test_an_event_before_the_licence_that_it_names_is_found(tmp_path: Path) -> None:
    log = small_log()
    early = log.change(Kind.REVOKE, "one", 3, Code.REVOKED)
    log.entries[3], log.entries[early] = log.entries[early], log.entries[3]
    assert after(log, tmp_path) == [(Rule.LICENCE_UNKNOWN, 3)]


def test_a_licence_superseded_twice_is_found(tmp_path: Path) -> None:
    log = small_log()
    log.supersede("one", 2, 10)
    again = log.supersede("one", 2, 11)
    assert after(log, tmp_path) == [(Rule.TRANSITION, again)]


def test_an_event_by_another_issuer_is_found(tmp_path: Path) -> None:
    log = small_log()
    log.key_add("other", TYPE_A, issuer=OTHER_ISSUER)
    at = log.change(Kind.REVOKE, "other", 2, Code.REVOKED)
    replacing = log.supersede("other", 3, 9)
    assert after(log, tmp_path) == [(Rule.WRONG_ISSUER, at), (Rule.WRONG_ISSUER, replacing)]


def test_a_type_that_the_key_may_not_sign_is_found(tmp_path: Path) -> None:
    log = small_log()
    log.key_add("b", TYPE_B)
    issued = log.issue("b", 50)
    changed = log.change(Kind.REVOKE, "b", 2, Code.REVOKED)
    assert after(log, tmp_path) == [(Rule.TYPE_NOT_ALLOWED, issued), (Rule.TYPE_NOT_ALLOWED, changed)]


@pytest.mark.parametrize("kind", [Kind.KEY_RETIRE, Kind.KEY_COMPROMISE])
def test_a_key_used_after_its_end_is_found(tmp_path: Path, kind: Kind) -> None:
    log = small_log()
    log.key_end(kind, "one")
    issued = log.issue("one", 50)
    changed = log.change(Kind.REVOKE, "one", 2, Code.REVOKED)
    assert after(log, tmp_path) == [(Rule.KEY_NOT_ACTIVE, issued), (Rule.KEY_NOT_ACTIVE, changed)]


def test_a_key_used_before_it_was_added_is_found(tmp_path: Path) -> None:
    log = small_log()
    early = log.issue("late", 50)
    log.key_add("late", TYPE_A)
    log.issue("late", 51)
    assert after(log, tmp_path) == [(Rule.KEY_NOT_ACTIVE, early)]


def test_a_refused_leaf_changes_nothing(tmp_path: Path) -> None:
    log = small_log()
    log.key_end(Kind.KEY_RETIRE, "one")
    revoked = log.change(Kind.REVOKE, "one", 2, Code.REVOKED)
    published = log.publish()
    assert after(log, tmp_path) == [(Rule.KEY_NOT_ACTIVE, revoked), (Rule.STATUS_DIGEST, published)]


def test_only_registrar_and_service_sign_their_leaves(tmp_path: Path) -> None:
    log = small_log()
    at = log.publish()
    log.alter(at, lambda leaf: replace(leaf, key_id=signing_key("one").public.key_id))
    key = log.key_add("two", TYPE_A)
    log.alter(key, lambda leaf: replace(leaf, key_id=CITY.service.key_id))
    used = log.issue("two", 60)
    assert after(log, tmp_path) == [
        (Rule.WRONG_SIGNER, at),
        (Rule.WRONG_SIGNER, key),
        (Rule.KEY_NOT_ACTIVE, used),
    ]


def test_without_a_policy_a_second_registrar_is_found(tmp_path: Path) -> None:
    log = small_log()
    key = log.key_add("two", TYPE_A)
    log.alter(key, lambda leaf: replace(leaf, key_id=CITY.service.key_id))
    replay = replay_log(log.write(tmp_path), options=OPTIONS, against=Against())
    assert found(replay) == [(Rule.WRONG_SIGNER, key)]
    assert any("no policy" in what for what in replay.unchecked)


def test_a_key_history_that_contradicts_itself_is_found(tmp_path: Path) -> None:
    log = small_log()
    bad = [
        log.key_add("one", TYPE_A),
        log.key_end(Kind.KEY_RETIRE, "never"),
        log.key_end(Kind.KEY_RETIRE, "one", issuer=OTHER_ISSUER),
    ]
    log.key_end(Kind.KEY_RETIRE, "one")
    bad.append(log.key_end(Kind.KEY_RETIRE, "one"))
    log.key_end(Kind.KEY_COMPROMISE, "one")
    bad.append(log.key_end(Kind.KEY_COMPROMISE, "one"))
    bad.append(log.add(log.leaf(Kind.KEY_ADD, CITY.registrar, extra=b'{"issuer": 1}')))
    assert after(log, tmp_path) == [(Rule.KEY_HISTORY, index) for index in bad]


def test_a_list_far_beyond_the_log_is_found_and_costs_no_page(tmp_path: Path) -> None:
    log = small_log()
    issued = log.issue("one", 0, status_list=2_000_000_000)
    changed = log.change(Kind.REVOKE, "one", issued, Code.REVOKED)
    published = log.publish(2_000_000_000)
    assert after(log, tmp_path) == [
        (Rule.SLOT_OUT_OF_RANGE, issued),
        (Rule.SLOT_OUT_OF_RANGE, changed),
        (Rule.SLOT_OUT_OF_RANGE, published),
    ]


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, 2),  # version
        (1, 0),  # kind
        (1, 99),
        (1, 3),  # an event with a type
        (85, 0xFF),  # list 0xff is fine: no change, see below
        (86, 0x10),  # index over 2^20
        (90, 1),  # an issue that is revoked
        (99, 1),  # an issue with a previous leaf
        (131, 20),  # type length
        (154, 1),  # extra length
    ],
)
def test_a_malformed_leaf_is_found(tmp_path: Path, at: int, value: int) -> None:
    log = small_log()
    entry = bytearray(log.entries[2])
    entry[at] = value
    log.entries[2] = bytes(entry)
    assert after(log, tmp_path) == ([] if at == 85 else [(Rule.LEAF_MALFORMED, 2)])


def test_entries_of_any_length_are_read(tmp_path: Path) -> None:
    log = small_log()
    log.entries += [b"", b"\x01", bytes(133), bytes(60_000)]
    log.issue("one", 99)
    assert after(log, tmp_path) == [(Rule.LEAF_MALFORMED, index) for index in (4, 5, 6, 7)]


# --- the chain -------------------------------------------------------------------------------------------


def test_an_anchor_with_another_root_is_found_with_its_block(tmp_path: Path) -> None:
    log = honest_log()
    chain = log.chain(256, 400)
    anchors = list(chain.anchors)
    anchors[1] = replace(anchors[1], root=Digest(seed("fork")))
    replay = replayed(log.write(tmp_path), facts_of(tuple(anchors)))
    assert found(replay) == [(Rule.ANCHOR_ROOT, 256)]
    assert replay.findings.kept[0].block == 1


def test_an_anchor_with_another_status_root_is_found_with_its_block(tmp_path: Path) -> None:
    log = honest_log()
    chain = log.chain(256, 400)
    anchors = list(chain.anchors)
    anchors[2] = replace(anchors[2], status_root=Digest(seed("fork")))
    replay = replayed(log.write(tmp_path), facts_of(tuple(anchors)))
    assert found(replay) == [(Rule.ANCHOR_STATUS_ROOT, 400)]
    assert replay.findings.kept[0].block == 2


def test_a_missing_anchor_block_is_found(tmp_path: Path) -> None:
    log = honest_log()
    chain = log.chain(256, 400)
    log.write(tmp_path)
    gone = replace(chain, blocks={n: block for n, block in chain.blocks.items() if n != 1})
    assert found(replayed(tmp_path, gone)) == [(Rule.ANCHOR_BLOCK, 256)]
    other = dict(chain.blocks)
    other[1] = replace(other[1], hash=seed("other block"))
    assert found(replayed(tmp_path, replace(chain, blocks=other))) == [(Rule.ANCHOR_BLOCK, 256)]
    late = dict(chain.blocks)
    late[1] = replace(late[1], time_s=9)
    assert found(replayed(tmp_path, replace(chain, blocks=late))) == [(Rule.ANCHOR_TIME, 256)]


def test_events_that_do_not_lead_to_the_head_are_found(tmp_path: Path) -> None:
    log = honest_log()
    chain = log.chain(256, 400)
    log.write(tmp_path)
    assert found(replayed(tmp_path, replace(chain, anchors=chain.anchors[:-1]))) == [(Rule.ANCHOR_HEAD, 256)]
    assert found(replayed(tmp_path, replace(chain, anchors=chain.anchors[1:]))) == [(Rule.ANCHOR_HEAD, 0)]
    shrunk = facts_of((*chain.anchors, chain.anchors[1]))
    assert found(replayed(tmp_path, shrunk)) == [(Rule.ANCHOR_ORDER, 256)]


def test_the_contract_of_another_log_is_found(tmp_path: Path) -> None:
    log = honest_log()
    chain = replace(log.chain(256), origin_hash=seed("another origin"))
    assert after(log, tmp_path, chain) == [(Rule.ANCHOR_CHAIN, None)]


# --- output ----------------------------------------------------------------------------------------------


def test_every_difference_reaches_the_sink_and_only_so_many_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = small_log()
    for index in range(1, 4):
        log.alter(index, lambda leaf: renamed(leaf, 1))
    log.write(tmp_path)
    seen: list[int | None] = []
    replay = replay_log(
        tmp_path, options=OPTIONS, against=Against(city=CITY), sink=lambda d: seen.append(d.index)
    )
    assert seen == [2, 3]
    assert replay.to_json()["differences"]["rules"] == {"event-repeated": 2}


# --- logs made to exhaust whoever replays them -----------------------------------------------------------


def test_entries_that_would_fill_the_memory_are_not_read_and_named(tmp_path: Path) -> None:
    log = small_log()
    for slot in range(3, 300):
        log.issue("one", slot)
    folder = log.write(tmp_path / "log")
    whole = len((folder / bundle_path(0)).read_bytes())
    plan = ScanPlan(folder, tmp_path, len(log.entries), 0, 1, (), chunk_bytes_max=whole)
    differences = scan_chunk(plan, 0).differences
    assert [(d.rule, d.index) for d in differences] == [(Rule.ENTRY_MISSING, 256)]


def test_key_adds_that_would_fill_the_memory_are_refused() -> None:
    log = SyntheticLog()
    for number in range(4):
        log.key_add(f"{number}", *(f"91350100M000100Y43{number}{at:02}" for at in range(9)))
    keys = KeyBook(None, None, cells_max=120)
    problems = [
        keys.apply(Kind.KEY_ADD, Leaf.decode(entry).extra, at) for at, entry in enumerate(log.entries)
    ]
    assert problems[:3] == [None] * 3
    assert problems[3] is not None and "120 pairs" in problems[3]
    assert len(keys.spans) == 3


def test_anchors_without_a_policy_s_contract_are_said_to_be_unpinned(tmp_path: Path) -> None:
    log = small_log()
    assert CITY.anchor is None
    assert [what for what in replayed(log.write(tmp_path), log.chain(4)).unchecked if "contract" in what]
