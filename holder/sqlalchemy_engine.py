"""Any database with a SQLAlchemy dialect: rows stay where they are, and d numbers come back.

All work on one table runs in one read-only transaction, on PostgreSQL a repeatable-read one, so that the data that were
compared with the registered fingerprint are the data that are summed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import TypeEngine
from sqlglot import exp
from sqlglot.dialects.postgres import Postgres as _WholeDialect  # noqa: F401 - see holder.duckdb_engine

from holder.engine import SourceType
from holder.errors import EngineFailed, SourceUnreadable
from holder.settings import SqlSource

_DIALECTS: Final = {"postgresql": "postgres", "mariadb": "mysql", "mssql": "tsql"}
_POSTGRES_SESSION: Final = (
    "SET LOCAL DateStyle = 'ISO'",
    "SET LOCAL TimeZone = 'UTC'",
    "SET LOCAL extra_float_digits = 1",
    "SET LOCAL jit = off",
)


class SqlAlchemyEngine:
    """One transaction over one table.

    Args:
        connection: open, its transaction begun.
        source: which table.
    """

    def __init__(self, connection: sa.Connection, source: SqlSource) -> None:
        self._connection = connection
        self._source = source
        name = connection.dialect.name
        self.dialect = _DIALECTS.get(name, name)
        table, schema = exp.to_identifier(source.table, quoted=True), None
        if source.schema is not None:
            schema = exp.to_identifier(source.schema, quoted=True)
        self.relation = exp.Table(this=table, db=schema)

    def schema(self) -> Mapping[str, SourceType]:
        """Return the table's columns, in order."""
        with _named_errors():
            columns = sa.inspect(self._connection).get_columns(self._source.table, schema=self._source.schema)
        return {column["name"]: source_type(column["type"]) for column in columns}

    def fetch(self, query: exp.Query) -> list[tuple[Any, ...]]:
        """Run a query that returns few rows.

        Raises:
            EngineFailed: the database refuses or fails it; its message is not repeated, as it may quote a record.
        """
        with _named_errors():
            return [tuple(row) for row in self._execute(query.sql(dialect=self.dialect, copy=False))]

    def stream(self, query: exp.Query, batch: int) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Run a query that returns many rows, in batches, with a cursor at the server."""
        with _named_errors():
            rows = self._execute(
                query.sql(dialect=self.dialect, copy=False), stream_results=True, yield_per=batch
            )
            for partition in rows.partitions(batch):
                yield [tuple(row) for row in partition]

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the number of rows and, per column, its least and greatest value, as text.

        On a PostgreSQL table the sum and the greatest of the rows' transaction ids are there too, so that a changed
        row is noticed wherever it changed.
        """
        columns = [
            exp.column(exp.to_identifier(name, quoted=True))
            for name, kind in self.schema().items()
            if kind not in (SourceType.OTHER, SourceType.BOOLEAN)
        ]
        parts: list[exp.Expr] = [exp.Count(this=exp.Star())]
        for column in columns:
            parts += [
                exp.cast(exp.Min(this=column.copy()), "text"),
                exp.cast(exp.Max(this=column.copy()), "text"),
            ]
        if self._is_postgres_table():
            number = exp.cast(exp.cast(exp.column("xmin"), "text"), "bigint")
            parts += [exp.Sum(this=number), exp.Max(this=number.copy())]
        row = self.fetch(exp.select(*parts).from_(self.relation.copy()))[0]
        return {
            "kind": "table",
            "rows": int(row[0]),
            "state": [None if value is None else str(value) for value in row[1:]],
        }

    def close(self) -> None:
        """End the transaction and give the connection back."""
        self._connection.close()

    def _execute(self, sql: str, **options: Any) -> sa.CursorResult[Any]:
        # no_parameters: the driver must not look for placeholders in literals
        marked = self._connection.execution_options(no_parameters=True, **options)
        return marked.exec_driver_sql(sql)

    def _is_postgres_table(self) -> bool:
        if self.dialect != "postgres":
            return False
        return self._source.table in sa.inspect(self._connection).get_table_names(schema=self._source.schema)


def open_table(source: SqlSource) -> SqlAlchemyEngine:
    """Open a table in a read-only transaction.

    Raises:
        SourceUnreadable: the database or the table is not there.
    """
    try:
        connection = _database(source.url).connect()
    except SQLAlchemyError as err:
        raise SourceUnreadable(
            f"the database of {source.table} cannot be reached ({type(err).__name__})"
        ) from None
    try:
        if connection.dialect.name == "postgresql":
            connection = connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            for statement in _POSTGRES_SESSION:
                connection.exec_driver_sql(statement)
        if not sa.inspect(connection).has_table(source.table, schema=source.schema):
            raise SourceUnreadable(f"expected a table {source.table}, found none")
    except SQLAlchemyError as err:
        connection.close()
        raise SourceUnreadable(f"{source.table} cannot be opened ({type(err).__name__})") from None
    except SourceUnreadable:
        connection.close()
        raise
    return SqlAlchemyEngine(connection, source)


def source_type(kind: TypeEngine[Any]) -> SourceType:
    """Return the class of a column type."""
    for classes, found in _CLASSES:
        if isinstance(kind, classes):
            return found
    return SourceType.OTHER


@lru_cache(maxsize=8)
def _database(url: str) -> sa.Engine:
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return sa.create_engine(parsed, pool_size=1, max_overflow=2, pool_pre_ping=True)


_CLASSES: Final[tuple[tuple[tuple[type[Any], ...], SourceType], ...]] = (
    ((sa.Boolean,), SourceType.BOOLEAN),
    ((sa.Integer,), SourceType.INTEGER),
    ((sa.Float,), SourceType.FLOAT),
    ((sa.Numeric,), SourceType.WIDE),
    ((sa.String, sa.Uuid), SourceType.TEXT),
    ((sa.Date,), SourceType.DATE),
)


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as err:
        raise EngineFailed(f"the database refused or failed a query ({type(err).__name__})") from None
