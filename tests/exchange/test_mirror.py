"""Participants, assets and entrustments, followed from the chain's events."""

from __future__ import annotations

from ledger.contracts import asset_id
from ledger.types import (
    AccountReplaced,
    AssetAdopted,
    AssetRetired,
    AssetStatus,
    EntrustmentWithdrawn,
    KeysRotated,
    ParticipantLifted,
    ParticipantStatus,
    ParticipantSuspended,
    Roles,
    RolesChanged,
)
from tests.exchange.world import World, signer_of


def test_suspension_roles_and_keys_are_followed(world: World) -> None:
    account = world.holders[0].address
    mirror = world.market.mirror
    world.chain.emit(ParticipantSuspended, account=account)
    world.follow()
    found = mirror.participant(account)
    assert found is not None
    assert found.status is ParticipantStatus.SUSPENDED
    assert not found.has(Roles.HOLDER)
    world.chain.emit(ParticipantLifted, account=account)
    world.chain.emit(RolesChanged, account=account, roles=Roles.HOLDER | Roles.BUYER)
    world.chain.emit(KeysRotated, account=account, key_version=2, x25519=bytes(32))
    world.follow()
    found = mirror.participant(account)
    assert found is not None
    assert found.has(Roles.HOLDER | Roles.BUYER)
    assert (found.key_version, found.x25519) == (2, bytes(32))


def test_an_account_that_was_replaced_can_do_nothing_and_its_successor_takes_its_asset(world: World) -> None:
    account, successor = world.holders[0].address, signer_of("successor").address
    world.chain.emit(AccountReplaced, account=account, successor=successor, key_version=2, x25519=bytes(32))
    asset = asset_id(account, "power")
    world.chain.emit(AssetAdopted, asset=asset, previous=account, holder=successor)
    world.follow()
    assert not world.market.participants.has(account, Roles.HOLDER)
    assert world.market.participants.has(successor, Roles.HOLDER)
    found = world.market.mirror.asset(asset)
    assert found is not None
    assert found.holder == successor


def test_a_retired_asset_and_a_withdrawn_entrustment_are_followed(world: World) -> None:
    asset = asset_id(world.holders[0].address, "power")
    world.chain.emit(AssetRetired, asset=asset)
    world.chain.emit(EntrustmentWithdrawn, asset=asset, listing=world.listing)
    world.follow()
    found = world.market.mirror.asset(asset)
    assert found is not None
    assert found.status == AssetStatus.RETIRED
    assert world.market.mirror.entrusted_to(world.listing, asset) is None


def test_events_that_the_chain_lost_are_undone(world: World) -> None:
    account = world.holders[0].address
    world.chain.emit(ParticipantSuspended, account=account)
    world.follow()
    assert not world.market.participants.has(account, Roles.HOLDER)
    world.chain.lose(lambda event: not isinstance(event, ParticipantSuspended))
    world.follow()
    assert world.market.participants.has(account, Roles.HOLDER)


def test_participants_are_paged_in_the_order_of_admission(world: World) -> None:
    first = world.market.participants.page(0, 2)
    assert first.after == 2
    rest = world.market.participants.page(first.after, 10)
    found = [each.participant.account for each in (*first.items, *rest.items)]
    assert found == [world.broker.address, *(holder.address for holder in world.holders)]
    assert rest.after is None
