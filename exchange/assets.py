"""Assets: what holders registered on the chain, shown here with policy and descriptor in full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from exchange.errors import AssetInvalid, AssetUnknown
from exchange.follower import Follower
from exchange.mirror import Mirror
from exchange.participants import Participants, require_title
from exchange.store import Store
from exchange.types import AssetRecord, Page, ShownAsset
from ledger.contracts import asset_id as asset_id_of
from ledger.types import Address, Asset, AssetStatus, Digest, Roles, to_hex
from privacy.encoding import canonical_json, keccak, tagged_hash
from privacy.errors import NotCanonical
from privacy.policy import Policy
from privacy.types import Digest as PolicyHash

TITLE_MAX: Final = 200
NAME_MAX: Final = 200


def descriptor_hash(descriptor: Mapping[str, Any]) -> Digest:
    """Return H("descriptor"; keccak(JCS(descriptor))), which a holder registers with its asset.

    Raises:
        AssetInvalid: the descriptor has no canonical form.
    """
    return Digest(tagged_hash("descriptor", keccak(_canonical("descriptor", descriptor))))


class Assets:
    """The assets that holders show."""

    def __init__(
        self, *, store: Store, mirror: Mirror, follower: Follower, participants: Participants
    ) -> None:
        self._store, self._mirror, self._follower = store, mirror, follower
        self._participants = participants

    def show(
        self, holder: Address, *, name: str, title: str, policy: Policy, descriptor: Mapping[str, Any]
    ) -> ShownAsset:
        """Show an asset that the chain has with exactly this policy and descriptor; again to update it.

        Raises:
            NotAdmitted: the sender is no active holder.
            AssetInvalid: there is no such asset of this holder, or it has another policy or descriptor.
        """
        self._participants.require(holder, Roles.HOLDER)
        if not 0 < len(name) <= NAME_MAX:
            raise AssetInvalid("name", f"1 to {NAME_MAX} characters", f"{len(name)} characters")
        asset_id = asset_id_of(holder, name)
        registered = self._registered(asset_id, policy.hash(), descriptor_hash(descriptor))
        record = AssetRecord(
            asset_id=asset_id,
            holder=registered.holder,
            name=name,
            title=require_title("title", title, longest=TITLE_MAX),
            policy=policy.to_bytes(),
            policy_hash=Digest(policy.hash()),
            descriptor=_canonical("descriptor", descriptor),
        )
        self._store.put_asset(record)
        return ShownAsset(record, registered)

    def get(self, asset_id: Digest) -> ShownAsset:
        """Return an asset.

        Raises:
            AssetUnknown: no holder showed it.
        """
        record, registered = self._store.asset(asset_id), self._mirror.asset(asset_id)
        if record is None or registered is None:
            raise AssetUnknown(to_hex(asset_id))
        return ShownAsset(record, registered)

    def page(self, after: int, limit: int) -> Page[ShownAsset]:
        """Return assets in the order in which they were shown first."""
        page = self._store.asset_page(after, limit)
        found = [(record, self._mirror.asset(record.asset_id)) for record in page.items]
        return Page(tuple(ShownAsset(each, now) for each, now in found if now is not None), page.after)

    def _registered(self, asset_id: Digest, policy_hash: PolicyHash, descriptor: Digest) -> Asset:
        """Return the asset on the chain, which is looked at once more before a difference counts."""
        difference = ("name", "an asset of this holder on the chain", "none of this name")
        for attempt in range(2):
            found = self._mirror.asset(asset_id)
            if found is not None:
                difference = _difference(found, policy_hash, descriptor)
                if not difference[0]:
                    return found
            if attempt == 0:
                self._follower.catch_up()
        raise AssetInvalid(*difference)


def _difference(found: Asset, policy_hash: bytes, descriptor: bytes) -> tuple[str, str, str]:
    """Return field, expected and actual of the first difference; an empty field if there is none."""
    if found.status != AssetStatus.REGISTERED:
        return "name", "a registered asset", f"one with status {found.status}"
    if found.policy_hash != policy_hash:
        return "policy", f"policy hash {to_hex(found.policy_hash)}", to_hex(policy_hash)
    if found.descriptor_hash != descriptor:
        return "descriptor", f"descriptor hash {to_hex(found.descriptor_hash)}", to_hex(descriptor)
    return "", "", ""


def _canonical(field: str, value: Mapping[str, Any]) -> bytes:
    try:
        return canonical_json(dict(value))
    except NotCanonical as err:
        raise AssetInvalid(field, "JSON with a canonical form (RFC 8785)", "none") from err
