"""Listings: the broker's offers, each a set of assets of different holders under one policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from exchange.assets import Assets
from exchange.errors import AssetUnknown, ListingInvalid, ListingStale, ListingUnknown, NotYours
from exchange.follower import Follower
from exchange.mirror import Mirror
from exchange.participants import LicenceCheck, Participants, require_name, require_title
from exchange.store import Store
from exchange.types import ListingRecord, Page, ShownAsset
from ledger.contracts import listing_id as listing_id_of
from ledger.errors import MalformedValue
from ledger.types import Address, Digest, Roles, digest_from_hex, to_hex
from privacy.policy import Policy

TITLE_MAX: Final = 200
ASSETS_MAX: Final = 1024


class Listings:
    """What this broker lists."""

    def __init__(
        self,
        *,
        broker: Address,
        store: Store,
        mirror: Mirror,
        follower: Follower,
        assets: Assets,
        participants: Participants,
        require_licence: LicenceCheck,
    ) -> None:
        self._broker, self._store, self._mirror, self._follower = broker, store, mirror, follower
        self._assets, self._participants = assets, participants
        self._require_licence = require_licence

    def put(self, sender: Address, *, name: str, title: str, asset_ids: Sequence[Digest]) -> ListingRecord:
        """List assets under a name; again to change a listing.

        Raises:
            NotYours: the sender is not the broker of this exchange.
            NotAdmitted: the broker is not an active one.
            ListingInvalid: no assets, one or one's holder twice, not entrusted here, or different policies.
            LicenceRequired, LicenceRefused, LicenceUnconfirmed: where the broker or a holder needs a licence.
        """
        if sender != self._broker:
            raise NotYours("market", f"its broker {to_hex(self._broker)}")
        self._participants.require(sender, Roles.BROKER)
        require_name("name", name)
        if not 0 < len(asset_ids) <= ASSETS_MAX or len(set(asset_ids)) != len(asset_ids):
            raise ListingInvalid("assets", f"1 to {ASSETS_MAX} different assets", f"{len(asset_ids)} ids")
        listing_id = listing_id_of(self._broker, name)
        self._require_entrusted(listing_id, asset_ids)
        shown = [self._shown(asset_id) for asset_id in asset_ids]
        policy = self._common_policy(name, shown)
        self._require_licence(sender, Roles.BROKER)
        for asset in shown:
            self._require_licence(asset.registered.holder, Roles.HOLDER)
        record = ListingRecord(
            listing_id=listing_id,
            name=name,
            title=require_title("title", title, longest=TITLE_MAX),
            policy=policy.to_bytes(),
            policy_hash=Digest(policy.hash()),
            assets=tuple(sorted(asset_ids)),
        )
        self._store.put_listing(record)
        return record

    def get(self, name_or_id: str) -> ListingRecord:
        """Return a listing by its name or its id in hex.

        Raises:
            ListingUnknown: there is none.
        """
        found = self._store.listing(name=name_or_id)
        if found is None and name_or_id.startswith("0x"):
            try:
                found = self._store.listing(listing_id=digest_from_hex(name_or_id))
            except MalformedValue as err:
                raise ListingUnknown("of this id: expected 32 bytes of lower-case hex") from err
        if found is None:
            raise ListingUnknown("of this name or id")
        return found

    def page(self, after: int, limit: int) -> Page[ListingRecord]:
        """Return listings in the order in which they were made."""
        return self._store.listing_page(after, limit)

    def assets(self, listing: ListingRecord) -> list[ShownAsset]:
        """Return a listing's assets as they are now, ascending by holder."""
        return sorted((self._assets.get(each) for each in listing.assets), key=lambda a: a.registered.holder)

    def require_current(self, listing: ListingRecord) -> list[ShownAsset]:
        """Return a listing's assets: all registered, entrusted, and with the listing's policy on the chain.

        Raises:
            ListingStale: one is not, any more.
        """
        found = self.assets(listing)
        for asset in found:
            registered = asset.registered
            is_entrusted = self._mirror.entrusted_to(listing.listing_id, registered.asset_id) == self._broker
            if not asset.is_current or registered.policy_hash != listing.policy_hash or not is_entrusted:
                raise ListingStale(to_hex(registered.asset_id))
        return found

    def _require_entrusted(self, listing_id: Digest, asset_ids: Sequence[Digest]) -> None:
        for attempt in range(2):
            missing = [
                each for each in asset_ids if self._mirror.entrusted_to(listing_id, each) != self._broker
            ]
            if not missing:
                return
            if attempt == 0:
                self._follower.catch_up()
        raise ListingInvalid(
            "assets", "assets entrusted to this broker under this listing", to_hex(missing[0])
        )

    def _shown(self, asset_id: Digest) -> ShownAsset:
        try:
            return self._assets.get(asset_id)
        except AssetUnknown as err:
            raise ListingInvalid("assets", "assets that their holders show here", to_hex(asset_id)) from err

    @staticmethod
    def _common_policy(name: str, assets: Sequence[ShownAsset]) -> Policy:
        holders = {asset.registered.holder for asset in assets}
        if len(holders) != len(assets):
            raise ListingInvalid(
                "assets", "one asset of each holder", f"{len(assets)} of {len(holders)} holders"
            )
        for asset in assets:
            if not asset.is_current:
                shown = to_hex(asset.registered.asset_id)
                raise ListingInvalid("assets", "assets whose policy here is the one on the chain", shown)
            if asset.registered.policy_hash != assets[0].registered.policy_hash:
                raise ListingInvalid("assets", "assets with one policy", "different policies")
        policy = Policy.from_json(assets[0].shown.policy)
        if policy.listing != name:
            raise ListingInvalid("name", f"the policy's listing {policy.listing}", name)
        return policy
