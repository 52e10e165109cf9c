"""Registering at the market: the budget line, the asset with its snapshot, the entrustment to a broker.

Each function may be repeated: what the chain and the store have already is left as it is, so a run that was
interrupted goes on. They can run beside a node of the same home.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from holder.errors import AssetNotRegistered, StoreError
from holder.parts import Parts
from holder.settings import AssetSettings
from holder.snapshot import Progress, Snapshot
from holder.types import Entrustment, StoredAsset
from ledger.contracts import asset_id, line_id, listing_id
from ledger.encoding import canonical_json, keccak, tagged_hash
from ledger.types import Address, Asset, AssetStatus, Digest, Line, to_hex
from privacy.policy import Policy
from privacy.sides import asset_policy

WAIT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Registered:
    """An asset as it stands after registration."""

    stored: StoredAsset
    descriptor: dict[str, Any]


def register_all(parts: Parts, broker: Address, *, progress: Progress | None = None) -> None:
    """Register every configured asset with its budget line, and entrust each to the listing that its policy is for.

    Args:
        parts: the holder's pieces.
        broker: to whose listings they are entrusted.
        progress: told, for each asset in turn, of rows done and rows in all.

    Raises:
        As `open_line`, `register_asset` and `entrust`.
    """
    for asset in parts.settings.assets:
        open_line(parts, asset.name)
        register_asset(parts, asset.name, progress=progress)
        entrust(parts, asset.name, listing=parts.data.policy(asset.name).listing, broker=broker)


def open_line(parts: Parts, name: str, *, timeout_s: float = WAIT_S) -> Line:
    """Open the budget line of an asset, with the policy's total, on the chain and in the own ledger.

    Raises:
        StoreError: the chain has the line with another total than the policy says.
        ContractReverted, SubmitTimeout: the chain refuses it, or is away.
    """
    asset, policy = parts.settings.asset(name), parts.data.policy(name)
    line, total = _line(parts, asset), policy.rho_total_micro
    found = parts.contracts.ledger.line(line)
    if found.total == 0:
        call = parts.contracts.ledger.open_line(asset.key_space, total)
        parts.submitter.execute(f"open-line:{to_hex(line)}", call, timeout_s)
        found = parts.contracts.ledger.line(line)
    if found.total != total:
        raise StoreError(
            f"line {asset.key_space}: expected a total of {total} micro-rho, the chain has {found.total}"
        )
    parts.store.put_line(line, asset.key_space, total)
    parts.store.raise_spent(line, at_least=found.reserved + found.spent)
    return found


def register_asset(
    parts: Parts, name: str, *, progress: Progress | None = None, timeout_s: float = WAIT_S
) -> Registered:
    """Check an asset's data, take their snapshot, register it on the chain, and show it at the exchange.

    A source or policy that changed since becomes the asset's next version.

    Args:
        parts: the holder's pieces.
        name: of the configured asset.
        progress: told of rows done and rows in all.
        timeout_s: for the transaction.

    Raises:
        SchemaMismatch, RowsExceedCeiling, SourceUnreadable, EngineDisagrees, SnapshotChanged: see `DataRoom`.
        PolicyInvalid: the policy file has problems.
        ContractReverted, SubmitTimeout, ExchangeError
    """
    asset, policy = parts.settings.asset(name), parts.data.policy(name)
    identity = asset_id(parts.keys.signer.address, name)
    taken = parts.data.snapshot(name, policy, parts.keys.signer, identity, progress=progress)
    descriptor = make_descriptor(asset, policy)
    on_chain = _register(parts, asset, policy, taken, descriptor, timeout_s)
    stored = StoredAsset(
        asset_id=identity,
        version=on_chain.version,
        name=name,
        line=_line(parts, asset),
        policy=policy.to_json(),
        policy_hash=Digest(policy.hash()),
        snapshot_root=taken.root,
        descriptor_hash=descriptor_hash(descriptor),
        source=asset.source.to_json(),
        fingerprint=taken.fingerprint,
        rows=taken.rows,
    )
    parts.store.put_asset(stored)
    show_asset(parts, name)
    return Registered(stored, descriptor)


def show_asset(parts: Parts, name: str) -> None:
    """Show a registered asset at the exchange, with policy and descriptor in full.

    Raises:
        AssetNotRegistered: it has no snapshot yet.
        ExchangeError: the exchange refuses it, or is away.
    """
    asset, stored = parts.settings.asset(name), newest(parts, name)
    policy = Policy.from_mapping(stored.policy)
    shown = {"name": name, "title": asset.title, "policy": policy.to_json()}
    parts.exchange.post_asset({**shown, "descriptor": make_descriptor(asset, policy)})


def entrust(parts: Parts, name: str, *, listing: str, broker: Address, timeout_s: float = WAIT_S) -> Digest:
    """Let a broker list an asset under a listing of its own, and watch for that listing's requests.

    Returns:
        The listing's id.

    Raises:
        AssetNotRegistered: the asset is not on the chain.
        ContractReverted, SubmitTimeout
    """
    stored = newest(parts, name)
    listing_digest = listing_id(broker, listing)
    if parts.contracts.assets.entrusted_to(listing_digest, stored.asset_id) != broker:
        key = f"entrust:{to_hex(stored.asset_id)}:{to_hex(listing_digest)}"
        call = parts.contracts.assets.entrust(stored.asset_id, listing_digest, broker)
        parts.submitter.execute(key, call, timeout_s)
    parts.store.put_entrustment(Entrustment(stored.asset_id, listing_digest, listing, broker))
    return listing_digest


def newest(parts: Parts, name: str) -> StoredAsset:
    """Return the newest version of an asset of ours.

    Raises:
        AssetNotRegistered: there is none.
    """
    for stored in parts.store.newest_assets():
        if stored.name == name:
            return stored
    raise AssetNotRegistered(f"asset {name} is not registered yet")


def make_descriptor(asset: AssetSettings, policy: Policy) -> dict[str, Any]:
    """Return what describes an asset publicly: its columns and unit, never a number that follows from rows."""
    own = asset_policy(policy, asset.name)
    columns = [
        {"name": column.name, "type": column.type.value, "nullable": column.nullable}
        for column in own.columns
    ]
    return {
        "version": "1",
        "name": asset.name,
        "title": asset.title,
        "columns": columns,
        "unit": policy.unit.column,
        "grade": str(asset.grade),
    }


def descriptor_hash(descriptor: dict[str, Any]) -> Digest:
    """Return H("descriptor"; keccak(JCS(descriptor)))."""
    return tagged_hash("descriptor", keccak(canonical_json(descriptor)))


def _register(
    parts: Parts,
    asset: AssetSettings,
    policy: Policy,
    taken: Snapshot,
    descriptor: dict[str, Any],
    timeout_s: float,
) -> Asset:
    """Register the first version on the chain, or update to the next one; nothing if the chain has this one."""
    identity = asset_id(parts.keys.signer.address, asset.name)
    hashes = (policy.hash(), taken.root, descriptor_hash(descriptor))
    registry, found = parts.contracts.assets, parts.contracts.assets.get(identity)
    if found.status == AssetStatus.NONE:
        call = registry.register(asset.name, asset.key_space, *hashes, asset.grade)
        version = 1
    elif (found.policy_hash, found.snapshot_root, found.descriptor_hash, found.grade) != (
        *hashes,
        asset.grade,
    ):
        call = registry.update(identity, *hashes, asset.grade)
        version = found.version + 1
    else:
        return found
    parts.submitter.execute(f"asset:{to_hex(identity)}:{version}", call, timeout_s)
    return registry.get(identity)


def _line(parts: Parts, asset: AssetSettings) -> Digest:
    """Return the budget line's id; a participant whose account was replaced keeps its first account's lines."""
    me = parts.keys.signer.address
    root = parts.contracts.participants.root_of(me)
    return line_id(root if any(root) else me, asset.key_space)
