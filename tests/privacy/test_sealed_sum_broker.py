"""The broker's side: surplus, malformed and lying unmask messages, and who is named."""

import pytest

from privacy.errors import BadUnmask, BelowThreshold, PayloadMalformed, SeedMismatch, SenderUnknown
from privacy.payloads import ShareType, Unmask, UnmaskShare
from privacy.sealed_sum import aggregate, require_bundle, require_masked_input, require_unmask
from privacy.shamir import FIELD_PRIME
from tests.privacy.sum_world import World


def lied(payload: bytes, owner: int) -> bytes:
    """Change one share of an unmask message."""
    shares = [
        UnmaskShare(s.owner, s.type, (s.share + 1) % FIELD_PRIME) if s.owner == owner else s
        for s in Unmask.of_payload(payload).shares
    ]
    return Unmask(tuple(shares)).payload()


def test_a_surplus_does_no_harm() -> None:
    world = World(5)
    least = world.aggregate(world.everybody, world.everybody, [0, 1, 2])
    for unmaskers in ([0, 1, 2, 3, 4], [2, 3, 4], [0, 2, 3, 4]):
        assert world.aggregate(world.everybody, world.everybody, unmaskers) == least


@pytest.mark.parametrize("owner", [0, 3, 4])
@pytest.mark.parametrize("liar", [0, 1, 2])
def test_a_lying_share_is_left_out_and_its_sender_named(liar: int, owner: int) -> None:
    world = World(5, dropouts=1)
    survivors = [0, 1, 2, 3]  # holder 4 shared and dropped out: its mask key is opened
    honest = world.aggregate(world.everybody, survivors, survivors)
    bad = lied(world.unmask(liar, world.everybody, survivors), owner)
    result = world.aggregate(world.everybody, survivors, survivors, unmasks={liar: bad})
    assert result.payload == honest.payload
    assert [(rejected.sender, rejected.owner) for rejected in result.rejected] == [(liar, owner)]


def test_several_liars_are_named_when_there_are_spare_shares() -> None:
    world = World(9)
    honest = world.aggregate(world.everybody, world.everybody, world.everybody)
    lies = {
        i: lied(world.unmask(i, world.everybody, world.everybody), owner)
        for i, owner in ((0, 5), (1, 5), (2, 7))
    }
    result = world.aggregate(world.everybody, world.everybody, world.everybody, unmasks=lies)
    assert result.payload == honest.payload
    assert {(rejected.sender, rejected.owner) for rejected in result.rejected} == {(0, 5), (1, 5), (2, 7)}


def test_a_lie_without_spare_shares_is_refused_never_summed() -> None:
    world = World(5)
    bad = lied(world.unmask(1, world.everybody, world.everybody), 4)
    with pytest.raises(SeedMismatch) as caught:
        world.aggregate(world.everybody, world.everybody, [0, 1, 2], unmasks={1: bad})
    assert caught.value.owner == 4
    assert caught.value.suspects == (0, 1, 2)


def test_a_dealer_that_dealt_another_secret_is_caught() -> None:
    world = World(3)
    hashes = world.seed_hashes
    hashes[2] = hashes[1]
    with pytest.raises(SeedMismatch) as caught:
        aggregate(
            world.session,
            cells=world.cells,
            sharers=world.everybody,
            masked={i: world.masked(i, world.everybody) for i in world.everybody},
            unmasks={i: world.unmask(i, world.everybody, world.everybody) for i in world.everybody},
            seed_hashes=hashes,
        )
    assert caught.value.owner == 2


def malformed(world: World, kind: str) -> bytes:
    good = world.unmask(1, world.everybody, world.everybody)
    shares = Unmask.of_payload(good).shares
    other = UnmaskShare(2, ShareType.MASK_KEY, 5)
    return {
        "truncated": good[:-1],
        "trailing": good + b"\x00",
        "empty": b"",
        "missing": Unmask(shares[:-1]).payload(),
        "both shares": b"\x00\x06" + good[2:] + good[2:37],
        "wrong type": Unmask((*shares[:2], other, *shares[3:])).payload(),
        "unknown type": good[:4] + b"\x03" + good[5:],
        "not reduced": good[:5] + b"\xff" * 32 + good[37:],
        "stranger": Unmask((*shares, UnmaskShare(9, ShareType.SELF_SEED, 5))).payload(),
    }[kind]


KINDS = [
    "truncated",
    "trailing",
    "empty",
    "missing",
    "both shares",
    "wrong type",
    "unknown type",
    "not reduced",
    "stranger",
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_malformed_unmask_names_its_sender(kind: str) -> None:
    world = World(5)
    bad = malformed(world, kind)
    with pytest.raises(BadUnmask) as caught:
        require_unmask(world.session, 1, bad, sharers=world.everybody, survivors=world.everybody)
    assert caught.value.sender == 1
    with pytest.raises(BadUnmask, match="sender 1"):
        world.aggregate(world.everybody, world.everybody, [0, 2], unmasks={1: bad})
    tolerated = world.aggregate(world.everybody, world.everybody, [0, 2, 3], unmasks={1: bad})
    assert [(rejected.sender, rejected.owner) for rejected in tolerated.rejected] == [(1, None)]
    assert world.opened(tolerated.payload, world.everybody) == world.expected(world.everybody)


def test_an_unmask_of_one_that_did_not_survive_is_refused() -> None:
    world = World(5, dropouts=1)
    good = world.unmask(0, world.everybody, [0, 1, 2, 3])
    assert require_unmask(world.session, 0, good, sharers=world.everybody, survivors=[0, 1, 2, 3])
    with pytest.raises(BadUnmask, match="sender 4"):
        require_unmask(world.session, 4, good, sharers=world.everybody, survivors=[0, 1, 2, 3])


def test_too_few_messages_are_counted() -> None:
    world = World(5)
    with pytest.raises(BelowThreshold) as caught:
        world.aggregate(world.everybody, world.everybody, [0, 1])
    assert (caught.value.expected, caught.value.actual) == (3, 2)
    with pytest.raises(BelowThreshold):
        World(4, dropouts=1).aggregate([0, 1, 2, 3], [0, 1], [0, 1])


def test_a_masked_input_of_another_length_names_its_sender() -> None:
    world = World(3)
    good = world.masked(2, world.everybody)
    require_masked_input(world.session, 2, good, cells=3)
    for bad in (good[:-1], good + b"\x00", good[8:], b"", good + bytes(8)):
        with pytest.raises(PayloadMalformed, match="sender 2"):
            require_masked_input(world.session, 2, bad, cells=3)
        with pytest.raises(PayloadMalformed, match="sender 2"):
            world.aggregate(world.everybody, world.everybody, world.everybody, masked={2: bad})
    with pytest.raises(SenderUnknown):
        require_masked_input(world.session, 3, good, cells=3)


def test_a_survivor_must_have_shared() -> None:
    world = World(4, dropouts=1)
    with pytest.raises(SenderUnknown, match="sender 3"):
        world.aggregate([0, 1, 2], [0, 1, 2], [0, 1, 2], masked={3: world.masked(3, range(4))})


def test_every_sharer_needs_its_seed_hash() -> None:
    world = World(3)
    hashes = world.seed_hashes
    del hashes[1]
    with pytest.raises(SenderUnknown, match="sender 1"):
        aggregate(
            world.session,
            cells=3,
            sharers=world.everybody,
            masked={i: world.masked(i, world.everybody) for i in world.everybody},
            unmasks={},
            seed_hashes=hashes,
        )


def test_the_exchange_checks_a_bundles_form() -> None:
    world = World(3)
    require_bundle(world.session, 1, world.bundles[1])
    with pytest.raises(PayloadMalformed, match="sender 0"):
        require_bundle(world.session, 0, world.bundles[1])
    with pytest.raises(SenderUnknown):
        require_bundle(world.session, 3, world.bundles[1])
