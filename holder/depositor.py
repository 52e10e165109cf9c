"""Making an encrypted deposit from a table: the depositor's part, which is over when the folder is written.

The table is read once, checked against the policy, summed into the cells of the cube and encrypted. A run that was stopped, by
whatever, is taken up by the same command and gives the same bytes: the seed stands on disk until the deposit is complete.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlglot import exp

from holder.data import open_source
from holder.engine import Engine, Reading
from holder.errors import SchemaMismatch
from holder.settings import AssetSettings, EngineSettings, FileSource
from holder.snapshot import require_rows
from ledger.errors import KeystoreExists
from ledger.keystore import read_file, write_new
from privacy.deposit import Cube, CubeRows, Deposit, bound_units, write_deposit
from privacy.deposit.errors import DepositError, DepositInvalid
from privacy.deposit.parallel import Mapper
from privacy.deposit.stored import MANIFEST_FILE
from privacy.deposit.tabulate import tabulate
from privacy.deposit.terms import DepositPolicy
from privacy.policy import Policy
from privacy.types import Digest

Progress = Callable[[int, int], None]
"""Called with blocks encrypted and blocks in all."""

Job = TypeVar("Job")
Result = TypeVar("Result")
BATCH_ROWS: Final = 1 << 15
SEED_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Table:
    """What is deposited.

    Attributes:
        source: CSV or Parquet files.
        engine: limits of the engine that reads them.
    """

    source: FileSource
    engine: EngineSettings


def make_deposit(
    policy: Policy,
    table: Table,
    folder: Path,
    *,
    mapper: Mapper = map,
    progress: Progress | None = None,
    rand: Callable[[int], bytes] = secrets.token_bytes,
) -> Deposit:
    """Encrypt a table's cube into a folder, or finish what was begun there; a complete deposit is left alone.

    Args:
        policy: with `deposit`.
        table: the rows.
        folder: new, or of the same deposit.
        mapper: where blocks are encrypted; only this machine's processes.
        progress: told of blocks.
        rand: the system's randomness.

    Raises:
        SchemaMismatch, RowsExceedCeiling, SourceUnreadable, EngineFailed: the table does not fit the policy.
        DepositInUse: the folder has another deposit, or one begun from other rows.
        DepositInvalid: the folder has a complete deposit of another policy.
    """
    terms = policy.terms
    if not isinstance(terms, DepositPolicy):
        raise SchemaMismatch(["expected a policy with `deposit`"])
    header = terms.header(policy)
    if (folder / MANIFEST_FILE).exists():
        with suppress(DepositInvalid):
            deposit = Deposit.open(folder)
            deposit.require_of(header)
            _seed_path(folder).unlink(missing_ok=True)
            return deposit
        raise DepositInvalid(f"{folder.name}: expected this policy's deposit, found another or a damaged one")
    cells = tabulated(policy, terms, table)
    seed = _seed(folder, rand)
    deposit = write_deposit(
        folder, header, terms.key, cells, seed=seed, mapper=_telling(mapper, header.blocks, progress)
    )
    _seed_path(folder).unlink(missing_ok=True)
    return deposit


def tabulated(policy: Policy, terms: DepositPolicy, table: Table) -> NDArray[np.int64]:
    """Return the cells of a table's cube, its units bounded.

    Raises:
        SchemaMismatch, RowsExceedCeiling, SourceUnreadable, EngineFailed: as `make_deposit`.
    """
    asset = AssetSettings(policy.listing, policy.title, table.source, Path(), policy.listing)
    engine = open_source(asset, table.engine)
    try:
        reading = Reading(policy, engine.schema(), dialect=engine.dialect, trim=table.source.trim)
        require_rows(engine, policy, reading)
        kept = _bounded(engine, policy, reading)
        cube, done = terms.cube(policy), 0
        cells = np.zeros(cube.cells, dtype=np.int64)
        columns = _Columns.of(cube)
        for batch in engine.stream(columns.query(engine, reading), BATCH_ROWS):
            rows = columns.rows(cube, batch)
            if kept is not None:
                rows = rows.taken(kept[done : done + len(batch)])
            done += len(batch)
            cells += tabulate(cube, rows)
        return cells
    except DepositError as err:
        raise SchemaMismatch([str(err)]) from err
    finally:
        engine.close()


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns that a cube reads, and where each value stands in its domain."""

    measures: tuple[str, ...]
    dimensions: tuple[str, ...]
    places: tuple[dict[Any, int], ...] = field(repr=False)

    @classmethod
    def of(cls, cube: Cube) -> _Columns:
        names = {lane.column for lane in cube.lanes} | {lane.by.column for lane in cube.lanes if lane.by}
        measures = tuple(sorted(name for name in names if name is not None))
        places = tuple({value: place for place, value in enumerate(each.domain)} for each in cube.dimensions)
        return cls(measures, tuple(each.column for each in cube.dimensions), places)

    def query(self, engine: Engine, reading: Reading) -> exp.Select:
        names = [*self.dimensions, *self.measures]
        columns = [exp.alias_(reading.value(name), f"c{number}") for number, name in enumerate(names)]
        columns = columns or [exp.alias_(exp.Literal.number(1), "c0")]
        return exp.select(*columns).from_(engine.relation.copy())

    def rows(self, cube: Cube, batch: Sequence[tuple[Any, ...]]) -> CubeRows:
        columns = list(zip(*batch, strict=True))
        codes = tuple(
            np.array([places.get(value, len(places)) for value in column], dtype=np.int64)
            for places, column in zip(self.places, columns, strict=False)
        )
        measured = {
            name: np.array(column, dtype=np.float64)  # None becomes NaN
            for name, column in zip(self.measures, columns[len(self.dimensions) :], strict=False)
        }
        return CubeRows(codes, measured, len(batch))


def _bounded(engine: Engine, policy: Policy, reading: Reading) -> NDArray[np.bool_] | None:
    """Return which rows count, in the source's order; None if all do."""
    unit = policy.unit
    if unit.column is None or unit.proved:
        return None
    names = [unit.column, *policy.row_key]
    columns = [exp.alias_(reading.key_text(name), f"k{number}") for number, name in enumerate(names)]
    query = exp.select(*columns).from_(engine.relation.copy())
    rows = [row for batch in engine.stream(query, BATCH_ROWS) for row in batch]
    return bound_units(
        Digest(policy.hash()), [row[0] for row in rows], [row[1:] for row in rows], unit.rows_per_unit
    )


def _seed(folder: Path, rand: Callable[[int], bytes]) -> bytes:
    """Return the deposit's seed, drawn and on disk before anything is encrypted."""
    path = _seed_path(folder)
    with suppress(KeystoreExists):  # that of a run that was stopped
        write_new(path, rand(SEED_BYTES))
    return read_file(path)


def _seed_path(folder: Path) -> Path:
    return folder.with_name(folder.name + ".seed")


def _telling(mapper: Mapper, blocks: int, progress: Progress | None) -> Mapper:
    """Return a mapper that tells of each block."""
    if progress is None:
        return mapper

    def told(function: Callable[[Job], Result], jobs: Iterable[Job], /) -> Iterator[Result]:
        for done, result in enumerate(mapper(function, jobs), start=1):
            progress(done, blocks)
            yield result

    return told
