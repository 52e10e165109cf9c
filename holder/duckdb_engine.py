"""DuckDB over CSV and Parquet files, or over a pandas frame: the holder's engine without a database.

Each piece of work opens its own in-memory connection with a memory limit and a directory to spill to, so that a holder
stays small on tables that do not fit. DuckDB is imported when the first connection opens, not with this module.

Source: https://duckdb.org/docs/stable/configuration/overview
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB as _WholeDialect  # noqa: F401 - see below

from holder.engine import SourceType
from holder.errors import EngineFailed, SourceUnreadable
from holder.settings import EngineSettings, FileSource

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pandas import DataFrame

# sqlglot registers a dialect before its module is complete: a second thread that asks for it by name meanwhile writes SQL
# in half a dialect. The import above waits until it is whole.

RELATION: Final = "shuyao_data"
_TYPES: Final = {
    "TINYINT": SourceType.INTEGER,
    "SMALLINT": SourceType.INTEGER,
    "INTEGER": SourceType.INTEGER,
    "BIGINT": SourceType.INTEGER,
    "UTINYINT": SourceType.INTEGER,
    "USMALLINT": SourceType.INTEGER,
    "UINTEGER": SourceType.INTEGER,
    "UBIGINT": SourceType.WIDE,
    "HUGEINT": SourceType.WIDE,
    "UHUGEINT": SourceType.WIDE,
    "DECIMAL": SourceType.WIDE,
    "FLOAT": SourceType.FLOAT,
    "DOUBLE": SourceType.FLOAT,
    "VARCHAR": SourceType.TEXT,
    "ENUM": SourceType.TEXT,
    "UUID": SourceType.TEXT,
    "BOOLEAN": SourceType.BOOLEAN,
    "DATE": SourceType.DATE,
}
# The rewrite of "first m of each group" into an aggregate cannot spill to disk; the window can. And statistics of
# Parquet files leave NaN out, so that with them `isnan(x)` becomes false where a NaN is (DuckDB 2.0.0).
_DISABLED_OPTIMIZERS: Final = "top_n_window_elimination,statistics_propagation"


class DuckDbEngine:
    """One connection over one relation.

    Args:
        connection: holds the view or frame named RELATION.
        fingerprint: what the relation's data are recognised by.
    """

    dialect = "duckdb"

    def __init__(self, connection: DuckDBPyConnection, fingerprint: Mapping[str, Any]) -> None:
        self.relation = exp.to_table(RELATION)
        self._connection = connection
        self._fingerprint = fingerprint

    def schema(self) -> Mapping[str, SourceType]:
        """Return the relation's columns, in order."""
        with _named_errors():
            rows = self._connection.execute(f"DESCRIBE {RELATION}").fetchall()
        return {row[0]: _TYPES.get(str(row[1]).split("(")[0], SourceType.OTHER) for row in rows}

    def fetch(self, query: exp.Query) -> list[tuple[Any, ...]]:
        """Run a query that returns few rows.

        Raises:
            EngineFailed: DuckDB refuses or fails it; its message is not repeated, as it may quote a record.
        """
        with _named_errors():
            return self._connection.execute(query.sql(dialect=self.dialect, copy=False)).fetchall()

    def stream(self, query: exp.Query, batch: int) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Run a query that returns many rows, in the file's order, in batches."""
        with _named_errors():
            self._connection.execute("SET preserve_insertion_order = true")
            result = self._connection.execute(query.sql(dialect=self.dialect, copy=False))
            while rows := result.fetchmany(batch):
                yield rows

    def fingerprint(self) -> Mapping[str, Any]:
        """Return what was seen when the relation was opened."""
        return self._fingerprint

    def close(self) -> None:
        """Close the connection; its memory and spilled files are given back."""
        self._connection.close()


def open_files(source: FileSource, settings: EngineSettings) -> DuckDbEngine:
    """Open CSV or Parquet files.

    Raises:
        SourceUnreadable: no such file, or DuckDB cannot read it.
    """
    fingerprint = file_fingerprint(source)
    connection = _connect(settings)
    try:
        with _named_errors():
            connection.execute(f"CREATE VIEW {RELATION} AS {_reader(source)}")
            _strip_names(connection)
    except EngineFailed as err:
        connection.close()
        raise SourceUnreadable(f"{source.kind} source {source.path} cannot be read") from err
    return DuckDbEngine(connection, fingerprint)


def open_frame(frame: DataFrame, settings: EngineSettings) -> DuckDbEngine:
    """Open a pandas frame, for a holder that runs the node inside its own program."""
    from pandas.util import hash_pandas_object

    connection = _connect(settings)
    connection.register(RELATION, frame)
    total = int(hash_pandas_object(frame, index=False).sum()) if len(frame) else 0
    names = [str(name) for name in frame.columns]
    return DuckDbEngine(
        connection, {"kind": "frame", "rows": len(frame), "columns": names, "sum": str(total)}
    )


def file_fingerprint(source: FileSource) -> dict[str, Any]:
    """Return path, size, modification time and inode of each file of a source.

    Raises:
        SourceUnreadable: no file is there.
    """
    paths = _files(source)
    entries = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError as err:
            raise SourceUnreadable(f"{path.name} cannot be read") from err
        entries.append(
            {
                "path": str(path),
                "size": stat.st_size,
                "mtime_ns": str(stat.st_mtime_ns),
                "inode": str(stat.st_ino),
            }
        )
    return {"kind": "files", "files": entries}


def _files(source: FileSource) -> list[Path]:
    is_pattern = any(mark in source.path.name for mark in "*?[")
    paths = sorted(source.path.parent.glob(source.path.name)) if is_pattern else [source.path]
    if not paths or not all(path.is_file() for path in paths):
        raise SourceUnreadable(f"expected a file at {source.path.name}, found none")
    return paths


def _connect(settings: EngineSettings) -> DuckDBPyConnection:
    import duckdb

    settings.temp_directory.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "memory_limit": f"{settings.memory_mb}MB",
        "threads": settings.threads,
        "temp_directory": str(settings.temp_directory),
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "disabled_optimizers": _DISABLED_OPTIMIZERS,
    }
    with _named_errors():
        return duckdb.connect(":memory:", config=config)


def _reader(source: FileSource) -> str:
    paths = "[" + ", ".join(_text(str(path)) for path in _files(source)) + "]"
    if source.kind == "parquet":
        return f"SELECT * FROM read_parquet({paths})"  # noqa: S608 (quoted, and from the holder's own settings)
    options = [f"delim = {_text(source.delimiter)}", f"header = {source.header}", "all_varchar = true"]
    if source.columns:
        options.append("names = [" + ", ".join(map(_text, source.columns)) + "]")
    return f"SELECT * FROM read_csv({paths}, {', '.join(options)})"  # noqa: S608 (quoted)


def _strip_names(connection: DuckDBPyConnection) -> None:
    """Give columns whose names carry spaces, as in `age, workclass`, their names without."""
    names = [row[0] for row in connection.execute(f"DESCRIBE {RELATION}").fetchall()]
    if all(name == name.strip() for name in names):
        return
    columns = ", ".join(f"{_identifier(name)} AS {_identifier(name.strip())}" for name in names)
    connection.execute(f"ALTER VIEW {RELATION} RENAME TO {RELATION}_file")
    view = f"SELECT {columns} FROM {RELATION}_file"  # noqa: S608 (quoted)
    connection.execute(f"CREATE VIEW {RELATION} AS {view}")


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _named_errors() -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.Error as err:
        raise EngineFailed(f"DuckDB refused or failed a query ({type(err).__name__})") from None
