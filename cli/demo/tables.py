"""The tables that a demo's holders hold: generated ones, or one CSV file split between them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cli.demo import electricity as generator
from cli.errors import CliError
from cli.home import Home, repository_root
from privacy.errors import PolicyInvalid
from privacy.policy import Policy

HOLDERS = 3
Value = str | int | float | None


def electricity_policy() -> Path:
    """Return the policy of the generated table."""
    return repository_root() / "examples" / "electricity" / "policy.yaml"


def electricity(home: Home, *, holders: int, rows: int) -> tuple[Path, tuple[Path, ...]]:
    """Write the generated tables, once; returns the policy and the files."""
    policy = Policy.from_yaml(electricity_policy().read_text(encoding="utf8"))
    files = tuple(data_folder(home, number) / "electricity.parquet" for number in range(1, holders + 1))
    for number, file in enumerate(files, start=1):
        write_electricity(file, policy, number, rows)
    return electricity_policy(), files


def write_electricity(path: Path, policy: Policy, number: int, rows: int) -> None:
    """Write one generated table, once, over the towns and industries of a policy."""
    if path.exists():
        return
    towns, industries = (
        [str(value) for value in column.domain or ()]
        for name in ("town", "industry")
        if (column := policy.column(name))
    )
    generator.write(path, number, rows, towns=towns, industries=industries)


def split(home: Home, data: Path, policy_file: Path, *, holders: int = HOLDERS) -> tuple[Path, ...]:
    """Split a CSV file over holders, row by row in turn; returns the Parquet files.

    The header's names are trimmed and `-` becomes `_`; values are trimmed; the policy's unknown values become NULL.

    Raises:
        CliError: no such file, no header, a column of the policy missing, or a value that is not of its column's type (with its line).
    """
    try:
        policy = Policy.from_yaml(policy_file.read_text(encoding="utf8"))
        with data.open(encoding="utf-8-sig", newline="") as file:
            rows = _read(csv.reader(file), policy, data)
    except OSError as err:
        raise CliError(f"cannot read {err.filename}: {err.strerror}") from err
    except PolicyInvalid as err:
        raise CliError(f"{policy_file}: {err}") from err
    except UnicodeDecodeError as err:
        raise CliError(f"{data} is not UTF-8 at byte {err.start}") from err
    schema = pa.schema([(column.name, _arrow_type(str(column.type))) for column in policy.columns])
    files = []
    for number in range(1, holders + 1):
        part = rows[number - 1 :: holders]
        arrays = [pa.array([row[i] for row in part], type=field.type) for i, field in enumerate(schema)]
        path = data_folder(home, number) / f"{policy.listing}.parquet"
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd")
        files.append(path)
    return tuple(files)


def data_folder(home: Home, number: int) -> Path:
    """Return where a holder's tables are, and make it."""
    folder = home.holder(number) / "data"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _arrow_type(name: str) -> pa.DataType:
    return {"text": pa.string(), "integer": pa.int64(), "number": pa.float64()}[name]


def _read(reader: Any, policy: Policy, data: Path) -> list[list[Value]]:
    header = [name.strip().replace("-", "_") for name in next(reader, [])]
    missing = [column.name for column in policy.columns if column.name not in header]
    if missing:
        raise CliError(
            f"{data}: no column {', '.join(missing)}; the header has {', '.join(header) or 'nothing'}"
        )
    places = [(column, header.index(column.name)) for column in policy.columns]
    rows = []
    for record in reader:
        if not any(value.strip() for value in record):
            continue
        if len(record) != len(header):
            raise CliError(f"{data} line {reader.line_num}: {len(record)} values, expected {len(header)}")
        rows.append(
            [_value(record[i].strip(), str(c.type), c.name, policy, reader.line_num) for c, i in places]
        )
    return rows


def _value(text: str, kind: str, name: str, policy: Policy, line: int) -> Value:
    if text in policy.null_values or text == "":
        return None
    if kind == "text":
        return text
    try:
        return int(text) if kind == "integer" else float(text)
    except ValueError as err:
        raise CliError(f"line {line}: column {name} is not of type {kind}") from err
