"""The holder's rows, reached through the engine of their source: only ever as sums, and only as registered.

One query runs at a time, so that the engine's memory limit is the process's, and every run compares the data with the
registered fingerprint before and after: a changed source is refused, never summed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from holder.engine import Engine
from holder.errors import (
    AssetUnknown,
    DataRefused,
    EngineFailed,
    KeysExceedList,
    RowsExceedCeiling,
    SchemaMismatch,
    SnapshotChanged,
    SourceUnreadable,
)
from holder.probe import require_same_numbers
from holder.settings import AssetSettings, DepositSource, EngineSettings, FileSource, HolderSettings
from holder.snapshot import Progress, Snapshot, snapshot_salt_key, take_snapshot
from holder.types import StoredAsset
from ledger.signing import Signer
from privacy.errors import CellOutOfRange, PolicyInvalid
from privacy.policy import Policy
from privacy.sides import asset_policy
from privacy.terms import PlanKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pandas import DataFrame

    from holder.deposit_data import HeldDeposit
    from holder.deposit_workers import DepositWorkers
    from holder.join_data import SideRows
    from privacy.plan import Plan


T = TypeVar("T")
WARM_S: Final = 60.0


class DataRoom:
    """Opens the sources of the configured assets.

    Args:
        settings: assets and engine limits.
        frames: pandas frames by asset name, for a holder that runs the node inside its own program.
    """

    def __init__(self, settings: HolderSettings, *, frames: Mapping[str, DataFrame] | None = None) -> None:
        self._settings = settings
        self._frames = dict(frames or {})
        self._turn = threading.Lock()
        self._warm: tuple[str, Engine] | None = None  # files stay open between requests: opening costs CPU
        self._used_at = 0.0

    def policy(self, name: str) -> Policy:
        """Read an asset's policy file.

        Raises:
            PolicyInvalid: with every problem.
        """
        path = self._settings.asset(name).policy_file
        try:
            return Policy.from_yaml(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as err:
            raise PolicyInvalid([f"policy: expected a UTF-8 file at {path}"]) from err

    def snapshot(
        self, name: str, policy: Policy, signer: Signer, asset_id: bytes, *, progress: Progress | None = None
    ) -> Snapshot:
        """Check an asset's rows and take their root.

        Raises:
            SchemaMismatch, RowsExceedCeiling, SourceUnreadable, EngineFailed
            EngineDisagrees: the engine computes other numbers than every other.
            SnapshotChanged: the source changed meanwhile.
        """
        asset = self._settings.asset(name)
        if isinstance(asset.source, DepositSource) or is_deposit(policy):
            from holder.deposit_data import take_in

            return take_in(asset, policy, signer, progress=progress)
        with self._turn:
            self._cool()
            engine = self._open(asset)
            try:
                require_same_numbers(engine)
                if policy.terms is not None and policy.terms.kind is PlanKind.JOIN:
                    from holder.join_data import require_keys

                    require_keys(engine, policy, name, trim=asset.source.trim)
                taken = take_snapshot(
                    engine,
                    asset_policy(policy, name),
                    salt_key=snapshot_salt_key(signer, asset_id),
                    trim=asset.source.trim,
                    progress=progress,
                )
            finally:
                engine.close()
            self._require_unchanged(asset, taken.fingerprint)
        return taken

    def cells(self, stored: StoredAsset, plan: Plan) -> NDArray[np.int64]:
        """Run a verified plan over an asset's registered rows.

        Raises:
            SnapshotChanged: the source is not what was registered.
            DataRefused: the query cannot be run as the plan promises.
            SourceUnreadable: the source is away; try again.
        """
        from holder.sums import compute_cells

        policy, trim = Policy.from_mapping(stored.policy), bool(stored.source.get("trim", False))
        return self._run(stored, lambda engine: compute_cells(engine, plan, policy, trim=trim))

    def join_side(self, stored: StoredAsset, plan: Plan) -> SideRows:
        """Read an asset's registered rows as its side of a verified plan's join.

        Raises:
            SnapshotChanged: the source is not what was registered.
            DataRefused: the rows cannot be read as the plan promises.
            SourceUnreadable: the source is away; try again.
        """
        from holder.join_data import read_side
        from privacy.join.kind import JoinPlan

        terms = plan.terms
        side = terms.side(stored.asset_id) if isinstance(terms, JoinPlan) else None
        if side is None or not isinstance(terms, JoinPlan):
            raise DataRefused(f"asset {stored.name}: the plan has it on no side of a join")
        policy, trim = Policy.from_mapping(stored.policy), bool(stored.source.get("trim", False))
        return self._run(stored, lambda engine: read_side(engine, plan, policy, side, trim=trim))

    @property
    def deposit_workers(self) -> DepositWorkers:
        """Where a deposit's cells are added up."""
        from holder.deposit_workers import DepositWorkers

        return DepositWorkers(self._settings.deposit)

    def deposit(self, stored: StoredAsset) -> HeldDeposit:
        """Open the deposit that an asset was registered with.

        Raises:
            SnapshotChanged: another deposit is in its folder, or none.
            DataRefused: the asset is no deposit.
        """
        from holder.deposit_data import hold

        return hold(self.configured(stored), stored)

    def _run(self, stored: StoredAsset, work: Callable[[Engine], T]) -> T:
        """Do something with an asset's rows, which are the registered ones before and after."""
        asset = self.configured(stored)
        with self._turn:
            self._require_unchanged(asset, stored.fingerprint)
            engine = self._take(asset, stored.fingerprint)
            try:
                _require_same(stored, engine.fingerprint())
                done = work(engine)
            except (EngineFailed, SchemaMismatch, RowsExceedCeiling, KeysExceedList, CellOutOfRange) as err:
                engine.close()
                raise DataRefused(f"{type(err).__name__}: {err}") from err
            except BaseException:
                engine.close()
                raise
            self._give_back(asset, engine)
            self._require_unchanged(asset, stored.fingerprint)
        return done

    def probe(self) -> None:
        """Open the first asset that is a file, compare the engine's numbers, and leave it open for a request.

        Raises:
            EngineDisagrees: the engine computes other numbers than every other.
            SourceUnreadable: the file cannot be read.
        """
        for asset in self._settings.assets:
            if isinstance(asset.source, FileSource) and asset.name not in self._frames:
                break
        else:
            return
        with self._turn:
            self._cool()
            engine = self._open(asset)
            try:
                require_same_numbers(engine)
            except BaseException:
                engine.close()
                raise
            self._give_back(asset, engine)

    def rest(self, now_s: float) -> None:
        """Close what was not used for a minute, so that its memory is given back.

        Args:
            now_s: the clock of `time.monotonic`.
        """
        if self._warm is not None and now_s - self._used_at > WARM_S and self._turn.acquire(blocking=False):
            try:
                self._cool()
            finally:
                self._turn.release()

    def close(self) -> None:
        """Close what is open."""
        with self._turn:
            self._cool()

    def require_unchanged(self, stored: StoredAsset) -> None:
        """Compare files with their fingerprint, without reading them; tables are compared when they are summed.

        Raises:
            SnapshotChanged: they differ.
        """
        self._require_unchanged(self.configured(stored), stored.fingerprint)

    def configured(self, stored: StoredAsset) -> AssetSettings:
        """Return the settings of a registered asset.

        Raises:
            AssetUnknown: the configuration no longer has it, or has another source under its name.
        """
        for asset in self._settings.assets:
            if asset.name == stored.name:
                if asset.source.to_json() != dict(stored.source):
                    raise SnapshotChanged(
                        f"asset {asset.name}: its source is not the one that was registered"
                    )
                return asset
        raise AssetUnknown(f"asset {stored.name} is registered, but not configured here")

    def _take(self, asset: AssetSettings, fingerprint: Mapping[str, Any]) -> Engine:
        if self._warm is not None:
            name, engine = self._warm
            if name == asset.name and dict(engine.fingerprint()) == dict(fingerprint):
                self._warm = None
                return engine
            self._cool()
        return self._open(asset)

    def _give_back(self, asset: AssetSettings, engine: Engine) -> None:
        if isinstance(asset.source, FileSource) and asset.name not in self._frames:
            self._warm, self._used_at = (asset.name, engine), time.monotonic()
        else:
            engine.close()  # a table's transaction must not outlive its query

    def _cool(self) -> None:
        if self._warm is not None:
            self._warm[1].close()
            self._warm = None

    def _open(self, asset: AssetSettings) -> Engine:
        if asset.name in self._frames:
            from holder.duckdb_engine import open_frame

            return open_frame(self._frames[asset.name], self._settings.engine)
        return open_source(asset, self._settings.engine)

    def _require_unchanged(self, asset: AssetSettings, fingerprint: Mapping[str, Any]) -> None:
        if isinstance(asset.source, FileSource) and asset.name not in self._frames:
            from holder.duckdb_engine import file_fingerprint

            try:
                found = file_fingerprint(asset.source)
            except SourceUnreadable as err:
                raise SnapshotChanged(f"asset {asset.name}: its files are gone") from err
            if found != dict(fingerprint):
                raise SnapshotChanged(f"asset {asset.name}: its files are not those that were registered")


def open_source(asset: AssetSettings, engine: EngineSettings) -> Engine:
    """Open an asset's rows.

    Raises:
        SourceUnreadable: there is nothing to open.
    """
    if isinstance(asset.source, DepositSource):
        raise SourceUnreadable(f"asset {asset.name} is an encrypted deposit: it has no rows")
    if isinstance(asset.source, FileSource):
        from holder.duckdb_engine import open_files

        return open_files(asset.source, engine)
    from holder.sqlalchemy_engine import open_table

    return open_table(asset.source)


def is_deposit(policy: Policy) -> bool:
    """Tell whether a policy's assets are encrypted deposits."""
    return policy.terms is not None and policy.terms.kind is PlanKind.DEPOSIT


def _require_same(stored: StoredAsset, found: Mapping[str, Any]) -> None:
    if dict(found) != dict(stored.fingerprint):
        raise SnapshotChanged(f"asset {stored.name}: its rows are not those that were registered")
