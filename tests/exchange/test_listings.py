"""What holders show and the broker lists, compared with the chain."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from exchange.errors import (
    AssetInvalid,
    AssetUnknown,
    Invalid,
    ListingInvalid,
    ListingStale,
    ListingUnknown,
    NotAdmitted,
    NotYours,
    ParticipantUnknown,
)
from ledger.contracts import asset_id
from ledger.encoding import keccak
from ledger.types import AssetRetired, EntrustmentWithdrawn, ParticipantSuspended
from privacy.policy import Policy
from tests.exchange.world import DESCRIPTOR, POLICY, World, signer_of


@pytest.fixture
def unlisted(sqlite_engine: sa.Engine, tmp_path: Any) -> World:
    return World(sqlite_engine, f"sqlite:///{tmp_path}/workflows.db")


def put(world: World, **changes: Any) -> Any:
    assets = [asset_id(holder.address, "power") for holder in world.holders]
    given = {"name": "power", "title": "Power", "asset_ids": assets, **changes}
    sender = given.pop("sender", world.broker.address)
    return world.market.listings.put(sender, **given)


def test_a_listing_shows_its_assets_ascending_by_holder(world: World) -> None:
    listing = world.market.listings.get("power")
    assert world.market.listings.get("0x" + listing.listing_id.hex()) == listing
    holders = [asset.registered.holder for asset in world.market.listings.assets(listing)]
    assert holders == sorted(holder.address for holder in world.holders)


@pytest.mark.parametrize("name", ["nothing", "0x00", "0x" + "00" * 32, "../assets"])
def test_an_unknown_listing_is_named_as_such(world: World, name: str) -> None:
    with pytest.raises(ListingUnknown):
        world.market.listings.get(name)


def test_an_asset_must_have_the_policy_and_descriptor_on_the_chain(unlisted: World) -> None:
    holder = unlisted.holders[0].address
    show = unlisted.market.assets.show
    other = Policy.from_mapping({**POLICY, "rows_max": 999})
    with pytest.raises(AssetInvalid, match="policy"):
        show(holder, name="power", title="t", policy=other, descriptor=DESCRIPTOR)
    with pytest.raises(AssetInvalid, match="descriptor"):
        show(holder, name="power", title="t", policy=unlisted.the_policy, descriptor={"title": "x"})
    with pytest.raises(AssetInvalid, match="name"):
        show(holder, name="water", title="t", policy=unlisted.the_policy, descriptor=DESCRIPTOR)
    with pytest.raises(AssetInvalid, match="canonical"):
        show(holder, name="power", title="t", policy=unlisted.the_policy, descriptor={"n": 1 << 60})


def test_a_holder_cannot_show_the_asset_of_another(unlisted: World) -> None:
    stranger = signer_of("stranger").address
    with pytest.raises(NotAdmitted):
        unlisted.market.assets.show(
            stranger, name="power", title="t", policy=unlisted.the_policy, descriptor=DESCRIPTOR
        )


def test_an_asset_that_was_registered_just_now_is_found(unlisted: World) -> None:
    policy = Policy.from_mapping({**POLICY, "rows_max": 999})
    unlisted.update_asset(unlisted.holders[0], bytes(policy.hash()))  # not indexed yet
    shown = unlisted.market.assets.show(
        unlisted.holders[0].address, name="power", title="t", policy=policy, descriptor=DESCRIPTOR
    )
    assert shown.registered.version == 2
    assert shown.is_current


def test_only_the_broker_lists(unlisted: World) -> None:
    for holder in unlisted.holders:
        unlisted.show(holder)
    with pytest.raises(NotYours):
        put(unlisted, sender=unlisted.holders[0].address)
    unlisted.chain.emit(ParticipantSuspended, account=unlisted.broker.address)
    unlisted.follow()
    with pytest.raises(NotAdmitted):
        put(unlisted)


def test_a_listing_takes_entrusted_shown_assets_of_its_own_policy_only(unlisted: World) -> None:
    with pytest.raises(ListingInvalid, match="show here"):
        put(unlisted)
    for holder in unlisted.holders:
        unlisted.show(holder)
    with pytest.raises(ListingInvalid, match="entrusted"):
        put(unlisted, name="water")
    with pytest.raises(Invalid):
        put(unlisted, name="has space")
    with pytest.raises(ListingInvalid):
        put(unlisted, asset_ids=[])
    assets = [asset_id(holder.address, "power") for holder in unlisted.holders]
    with pytest.raises(ListingInvalid):
        put(unlisted, asset_ids=[assets[0], assets[0]])
    unlisted.update_asset(unlisted.holders[0], keccak(b"another policy"))
    unlisted.follow()
    with pytest.raises(ListingInvalid, match="one on the chain"):
        put(unlisted)


@pytest.mark.parametrize("change", ["policy", "retired", "withdrawn"])
def test_a_listing_whose_asset_changed_on_the_chain_is_stale(world: World, change: str) -> None:
    listing, holder = world.market.listings.get("power"), world.holders[0]
    asset = asset_id(holder.address, "power")
    if change == "policy":
        world.update_asset(holder, keccak(b"another policy"))
    elif change == "retired":
        world.chain.emit(AssetRetired, asset=asset)
    else:
        world.chain.emit(EntrustmentWithdrawn, asset=asset, listing=world.listing)
    world.follow()
    with pytest.raises(ListingStale):
        world.market.listings.require_current(listing)


def test_unknown_assets_and_participants_are_named_as_such(world: World) -> None:
    with pytest.raises(AssetUnknown):
        world.market.assets.get(keccak(b"nothing"))
    with pytest.raises(ParticipantUnknown):
        world.market.participants.get(signer_of("stranger").address)


def test_a_participant_chooses_its_own_name(world: World) -> None:
    holder = world.holders[0].address
    assert world.market.participants.set_name(holder, "  杭州电力 ").name == "杭州电力"
    with pytest.raises(NotAdmitted):
        world.market.participants.set_name(signer_of("stranger").address, "me")
    for name in ("", " ", "x" * 121, "a\nb", "a\u202eb"):
        with pytest.raises(Invalid):
            world.market.participants.set_name(holder, name)
