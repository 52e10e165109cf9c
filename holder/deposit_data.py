"""The encrypted deposit that a trustee holds in place of rows: taken in once, with every point checked, and opened for requests."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from holder.errors import DataRefused, SchemaMismatch, SnapshotChanged
from holder.settings import AssetSettings, DepositSource
from holder.snapshot import Progress, Snapshot
from holder.trustee import TrusteeKeys
from holder.types import StoredAsset
from ledger.signing import Signer
from ledger.types import Digest
from privacy.deposit import Deposit, check_points
from privacy.deposit.errors import DepositError
from privacy.deposit.terms import DepositPolicy
from privacy.encoding import WORD_BYTES
from privacy.policy import Policy

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class HeldDeposit:
    """A registered deposit.

    Attributes:
        deposit: with the registered root.
        share: the folder of this trustee's share.
    """

    deposit: Deposit
    share: Path


def take_in(
    asset: AssetSettings, policy: Policy, signer: Signer, *, progress: Progress | None = None
) -> Snapshot:
    """Check a deposit whole, and let this trustee's share serve it alone.

    Args:
        asset: its source is a deposit's folder.
        policy: the deposit's.
        signer: the holder's account.
        progress: told of files done and files in all.

    Raises:
        SchemaMismatch: no deposit of this policy, key and cube, or with a bad file or point; or no policy of a deposit.
        ShareMissing, VaultLocked: this holder has no share of the policy's key.
        KeyUsed: the share serves another deposit.
    """
    source, terms = asset.source, policy.terms
    if not isinstance(source, DepositSource) or not isinstance(terms, DepositPolicy):
        raise SchemaMismatch([f"{asset.name}: expected an encrypted deposit under a policy with `deposit`"])
    if not any(bytes(trustee) == signer.address for trustee in terms.trustees):
        raise SchemaMismatch([f"{asset.name}: this holder is no trustee under the policy"])
    keys = TrusteeKeys(source.share, signer)
    keys.share(terms.key)
    try:
        deposit = Deposit.open(source.path)
        deposit.require_of(terms.header(policy))
        _check(deposit, progress)
    except DepositError as err:
        raise SchemaMismatch([f"{asset.name}: {err}"]) from err
    keys.bind(terms.key, deposit.root)
    return Snapshot(Digest(deposit.root), deposit.header.cells, {"root": deposit.root.hex()})


def hold(asset: AssetSettings, stored: StoredAsset) -> HeldDeposit:
    """Open the deposit of a registered asset.

    Raises:
        SnapshotChanged: it is not there, or is another.
        DataRefused: the asset is no deposit.
    """
    if not isinstance(asset.source, DepositSource):
        raise DataRefused(f"asset {asset.name} is no encrypted deposit")
    try:
        deposit = Deposit.open(asset.source.path)
        deposit.require_root(stored.snapshot_root)
    except DepositError as err:
        raise SnapshotChanged(f"asset {asset.name}: {err}") from err
    return HeldDeposit(deposit, asset.source.share)


def _check(deposit: Deposit, progress: Progress | None) -> None:
    """Check all points, telling of each file."""
    files = deposit.header.fragments
    jobs = iter(range(1, files + 1))

    def told(function: Callable[[Job], Result], work: Iterable[Job], /) -> Iterator[Result]:
        for each in work:
            yield function(each)
            if progress is not None:
                progress(next(jobs), files)

    check_points(deposit, secrets.token_bytes(WORD_BYTES), mapper=told)
