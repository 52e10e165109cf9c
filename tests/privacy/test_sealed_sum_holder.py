"""The holder's side: secrets on disk, dealing, opening, contributing once, releasing one share of each."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.agreement import clamp
from privacy.encoding import tagged_hash
from privacy.errors import (
    BadShare,
    BelowThreshold,
    CellOutOfRange,
    PayloadMalformed,
    SenderUnknown,
    StateCorrupt,
    UnmaskRefused,
    WeakKey,
)
from privacy.payloads import ShareType, Unmask, UnmaskShare
from privacy.sealed_sum import (
    HolderSecrets,
    ReceivedShares,
    commitment_hash,
    make_bundle,
    mask_input,
    open_bundles,
    release,
    seed_hash,
    unmask_payload,
)
from privacy.sealed_sum_secrets import ShareRow, noise_commitment
from privacy.shamir import FIELD_PRIME
from tests.privacy.sum_world import World, digest_of, rand_of


def test_secrets_read_back_and_send_the_same_bytes_again() -> None:
    world = World(3)
    again = HolderSecrets.from_bytes(world.secrets[0].to_bytes())
    assert again == world.secrets[0]
    assert make_bundle(again, world.session, 0) == world.bundles[0]
    masked = mask_input(
        again,
        world.session,
        0,
        sharers=world.everybody,
        buyer_key=world.buyer.compressed,
        cells=world.input_of(0),
    )
    assert masked == world.masked(0, world.everybody)


@settings(deadline=None)
@given(st.integers(0, 259), st.integers(1, 255))
def test_changed_secrets_are_refused(position: int, change: int) -> None:
    data = bytearray(World(1).secrets[0].to_bytes())
    assert len(data) == 260
    data[position] ^= change
    with pytest.raises(StateCorrupt):
        HolderSecrets.from_bytes(bytes(data))


def test_truncated_or_extended_state_is_refused() -> None:
    world = World(2)
    received = world.received(0, world.everybody)
    assert ReceivedShares.from_bytes(received.to_bytes()) == received
    for data in (world.secrets[0].to_bytes(), received.to_bytes()):
        for wrong in (b"", data[:3], data[:-1], data + b"\x00", b"SYX" + data[3:]):
            with pytest.raises(StateCorrupt):
                HolderSecrets.from_bytes(wrong)
            with pytest.raises(StateCorrupt):
                ReceivedShares.from_bytes(wrong)
    with pytest.raises(StateCorrupt):
        ReceivedShares.from_bytes(world.secrets[0].to_bytes())


def test_no_secret_shows_in_a_representation() -> None:
    world = World(2)
    received = world.received(0, world.everybody)
    shown = repr(world.secrets[0]) + repr(received) + repr(world.buyer) + repr(received.rows[0][1])
    unmask = release(received, world.session, 0, sharers=world.everybody, survivors=world.everybody)
    shown += repr(unmask)
    hidden = (world.secrets[0].self_seed, received.rows[1][1].mask_key, world.secrets[0].mask_integer)
    assert not any(str(value) in shown for value in hidden)
    assert repr(world.buyer.secret) not in shown
    assert repr(world.secrets[0].noise_seed) not in shown


def test_the_seed_of_the_noise_is_fixed_by_the_approval() -> None:
    first, second = World(2).secrets
    assert first.public_keys().noise_commitment == tagged_hash("noise-seed", first.noise_seed)
    assert first.public_keys().noise_commitment != second.public_keys().noise_commitment
    assert HolderSecrets.from_bytes(first.to_bytes()).noise_seed == first.noise_seed
    typed_in = "79ea84bbe846bdd38232451ebf5184ba81dd87339b991693242bd430b973eb44"
    assert noise_commitment(bytes(range(32))).hex() == typed_in


def test_a_holder_knows_its_own_place_in_a_roster() -> None:
    world = World(3)
    assert [secrets.index_in(world.session) for secrets in world.secrets] == [0, 1, 2]
    with pytest.raises(SenderUnknown):
        HolderSecrets.generate(lambda size: b"\x42" * size).index_in(world.session)


@pytest.mark.parametrize(
    "change",
    [
        {"mask_private": bytes(32)},
        {"mask_private": clamp(b"\xff" * 32)},
        {"e_private": bytes(32)},
        {"e_private": b"\xff" * 32},
        {"self_seed": FIELD_PRIME},
        {"blinding": -1},
        {"dealing_seed": b""},
        {"noise_seed": bytes(31)},
    ],
)
def test_impossible_secrets_cannot_be_built(change: dict[str, object]) -> None:
    secrets = World(1).secrets[0]
    fields = {each.name: getattr(secrets, each.name) for each in dataclasses.fields(secrets) if each.init}
    with pytest.raises(StateCorrupt):
        HolderSecrets(**{**fields, **change})


def test_a_mask_key_that_is_no_field_element_is_drawn_again() -> None:
    draws = [b"\xff" * 32]
    rest = rand_of("rest")

    def rand(count: int) -> bytes:
        return draws.pop() if draws else rest(count)

    assert HolderSecrets.generate(rand).mask_integer < FIELD_PRIME


def test_dealings_of_two_sessions_differ() -> None:
    first, second = World(3), World(3, request="second")
    assert first.secrets == second.secrets
    assert first.received(0, range(3)).rows[0] != second.received(0, range(3)).rows[0]


def test_hashes_are_bound_to_their_place() -> None:
    assert (
        len(
            {
                seed_hash(digest_of("a"), 1, 7),
                seed_hash(digest_of("a"), 2, 7),
                seed_hash(digest_of("b"), 1, 7),
            }
        )
        == 3
    )
    point = bytes(128)
    places = {
        commitment_hash(digest_of("a"), bytes(20), point),
        commitment_hash(digest_of("b"), bytes(20), point),
        commitment_hash(digest_of("a"), b"\x01" * 20, point),
        commitment_hash(digest_of("a"), bytes(20), bytes(127) + b"\x01"),
    }
    assert len(places) == 4


def test_keys_that_are_not_the_rosters_do_nothing() -> None:
    world = World(2)
    with pytest.raises(SenderUnknown):
        make_bundle(world.secrets[1], world.session, 0)
    with pytest.raises(SenderUnknown):
        make_bundle(world.secrets[0], world.session, 2)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 79), st.integers(1, 255))
def test_a_share_that_does_not_open_names_its_dealer(position: int, change: int) -> None:
    world = World(3)
    bundle = bytearray(world.bundles[2])
    bundle[2 + 2 + position] ^= change  # the entry for holder 0
    with pytest.raises(BadShare) as caught:
        open_bundles(world.secrets[0], world.session, 0, {1: world.bundles[1], 2: bytes(bundle)})
    assert caught.value.sender == 2


def test_a_bundle_of_another_session_or_sender_does_not_open() -> None:
    world, other = World(3), World(3, request="second")
    for bundles in ({1: other.bundles[1], 2: world.bundles[2]},):
        with pytest.raises(BadShare) as caught:
            open_bundles(world.secrets[0], world.session, 0, bundles)
        assert caught.value.sender == 1


@pytest.mark.parametrize("damage", ["truncated", "trailing", "missing", "to itself", "unordered", "empty"])
def test_a_bundle_of_another_form_is_refused(damage: str) -> None:
    world = World(3)
    bundle = world.bundles[1]
    entries = [bundle[2:84], bundle[84:]]
    bad = {
        "truncated": bundle[:-1],
        "trailing": bundle + b"\x00",
        "missing": b"\x00\x01" + entries[0],
        "to itself": b"\x00\x02" + entries[0] + b"\x00\x01" + entries[1][2:],
        "unordered": b"\x00\x02" + entries[1] + entries[0],
        "empty": b"",
    }[damage]
    with pytest.raises(PayloadMalformed, match="sender 1"):
        open_bundles(world.secrets[0], world.session, 0, {1: bad, 2: world.bundles[2]})


def test_too_few_bundles_are_refused() -> None:
    world = World(4, dropouts=1)
    with pytest.raises(BelowThreshold):
        open_bundles(world.secrets[0], world.session, 0, {1: world.bundles[1]})


def test_an_own_bundle_changes_nothing() -> None:
    world = World(3)
    assert world.received(0, [0, 1, 2]) == world.received(0, [1, 2])


def test_a_holder_that_did_not_share_does_not_contribute() -> None:
    world = World(4, dropouts=1)
    with pytest.raises(UnmaskRefused):
        world.masked(0, [1, 2, 3])
    with pytest.raises(BelowThreshold):
        world.masked(0, [0, 1])


def masked_with(world: World, cells: list[int], buyer_key: bytes | None = None) -> bytes:
    return mask_input(
        world.secrets[0],
        world.session,
        0,
        sharers=world.everybody,
        buyer_key=world.buyer.compressed if buyer_key is None else buyer_key,
        cells=np.array(cells, dtype=np.int64),
    )


def test_cells_out_of_range_are_not_masked() -> None:
    world = World(1)
    with pytest.raises(CellOutOfRange):
        masked_with(world, [1 << 62])
    for cells in ([], [0] * ((1 << 17) + 1)):
        with pytest.raises(PayloadMalformed):
            masked_with(world, cells)


def test_a_buyers_key_that_is_no_point_is_refused() -> None:
    with pytest.raises(WeakKey):
        masked_with(World(1), [1], b"\x02" + bytes(31) + b"\x05")


def test_masking_leaves_the_cells_alone() -> None:
    world = World(2)
    cells = world.input_of(0)
    before = cells.copy()
    mask_input(
        world.secrets[0],
        world.session,
        0,
        sharers=world.everybody,
        buyer_key=world.buyer.compressed,
        cells=cells,
    )
    assert np.array_equal(cells, before)


def test_one_share_of_each_leaves() -> None:
    world = World(5, dropouts=2)
    sharers, survivors = [0, 1, 2, 4], [0, 2, 4]
    received = world.received(2, sharers)
    unmask = release(received, world.session, 2, sharers=sharers, survivors=survivors)
    assert unmask.types() == {
        0: ShareType.SELF_SEED,
        1: ShareType.MASK_KEY,
        2: ShareType.SELF_SEED,
        4: ShareType.SELF_SEED,
    }
    rows = dict(received.rows)
    assert [share.share for share in unmask.shares] == [
        rows[0].self_seed,
        rows[1].mask_key,
        rows[2].self_seed,
        rows[4].self_seed,
    ]
    payload = unmask.payload()
    assert payload == unmask_payload(received, world.session, 2, sharers=sharers, survivors=survivors)
    assert Unmask.of_payload(payload) == unmask
    assert payload[:5] == b"\x00\x04\x00\x00\x01"
    assert len(payload) == 2 + 4 * 35


def test_both_shares_of_a_peer_cannot_be_in_one_message() -> None:
    row = ShareRow(1, 2)
    shares = (
        UnmaskShare(3, ShareType.SELF_SEED, row.self_seed),
        UnmaskShare(3, ShareType.MASK_KEY, row.mask_key),
    )
    with pytest.raises(PayloadMalformed):
        Unmask(shares)


def test_inconsistent_unmask_requests_are_refused() -> None:
    world = World(5, dropouts=2)
    sharers = [0, 1, 2, 4]
    received = world.received(2, sharers)

    def ask(shared: list[int], alive: list[int], me: int = 2) -> None:
        release(received, world.session, me, sharers=shared, survivors=alive)

    with pytest.raises(UnmaskRefused):
        ask([0, 1, 2, 3, 4], [0, 2, 4])  # not those whose shares are held
    with pytest.raises(UnmaskRefused):
        ask([0, 2, 4], [0, 2, 4])
    with pytest.raises(UnmaskRefused):
        ask(sharers, [0, 1, 4])  # this holder is no survivor
    with pytest.raises(SenderUnknown):
        ask(sharers, [0, 2, 3])  # one that did not share
    with pytest.raises(BelowThreshold):
        ask(sharers, [0, 2])
    other = World(5, dropouts=2, request="second")
    with pytest.raises(UnmaskRefused):
        release(received, other.session, 2, sharers=sharers, survivors=[0, 2, 4])


def test_stored_shares_must_be_ordered_field_elements() -> None:
    row = ShareRow(1, 2)
    with pytest.raises(StateCorrupt):
        ReceivedShares(bytes(32), ((1, row), (1, row)))
    with pytest.raises(StateCorrupt):
        ReceivedShares(bytes(32), ((1, replace(row, mask_key=FIELD_PRIME)),))
    with pytest.raises(StateCorrupt):
        ReceivedShares(b"", ())
