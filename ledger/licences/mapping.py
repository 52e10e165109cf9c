"""How the columns of a Parquet file become licences of one type by one issuer.

A mapping is JSON or YAML:

    version: 1
    type: 111000000000134359001
    type_version: 1
    issuer: 91440300MA5EXAMPLA
    serial: {column: 编号}
    licence_version: "001"
    first_day: {column: 发证日期}
    last_day: {column: 有效期至}      # or null: no end
    fields: {name: 名称, address: 住所}
    holder: {crv: Ed25519, kty: OKP, x: …}

Days are Parquet dates, ISO strings or timestamps; the first begins, and the last ends, at midnight in China Standard Time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from ledger.errors import MalformedValue
from ledger.licences.errors import BackfillRefused, LicenceError
from ledger.licences.identifiers import require_type, require_uscc, require_version
from ledger.licences.keys import PublicKey
from ledger.licences.schema import VERSION_MAX, LicenceType

_KEYS: Final = frozenset(
    {
        "version",
        "type",
        "type_version",
        "issuer",
        "serial",
        "licence_version",
        "first_day",
        "last_day",
        "fields",
        "holder",
    }
)
_SIZE_MAX: Final = 1 << 16
_LEVELS_MAX: Final = 8
# what the library lets through of numbers, times and tags that it cannot make a value of
_NO_YAML: Final = (
    yaml.YAMLError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
)
_DAY_S: Final = 86_400
_CHINA_OFFSET_S: Final = 28_800


class _Loader(yaml.SafeLoader):
    """YAML that nests as deep as a mapping does and no deeper: the library needs quadratic time for what does."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._level = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self._level == _LEVELS_MAX:
            raise BackfillRefused(f"the mapping: expected at most {_LEVELS_MAX} levels")
        self._level += 1
        node = super().compose_node(parent, index)
        self._level -= 1
        return node


@dataclass(frozen=True, slots=True)
class BackfillMapping:
    """Which column gives what. `last_day` is None where licences have no end; `holder` is the custodian's key."""

    type_code: str
    type_version: int
    issuer: str
    serial: str
    licence_version: str
    first_day: str
    last_day: str | None
    fields: tuple[tuple[str, str], ...]
    holder: PublicKey

    @property
    def columns(self) -> list[str]:
        """The columns that are read, each once."""
        dates = [self.first_day] if self.last_day is None else [self.first_day, self.last_day]
        return list(dict.fromkeys([self.serial, *dates, *(column for _, column in self.fields)]))

    @classmethod
    def load(cls, path: Path) -> BackfillMapping:
        """Read a mapping file.

        Raises:
            BackfillRefused: it is none.
        """
        try:
            data = path.read_bytes()
        except OSError as err:
            raise BackfillRefused(f"the mapping {path.name} cannot be read") from err
        return cls.parse(data)

    @classmethod
    def parse(cls, data: bytes) -> BackfillMapping:
        """Read a mapping, JSON or YAML.

        Raises:
            BackfillRefused: it is none.
        """
        if len(data) > _SIZE_MAX:
            raise BackfillRefused(f"the mapping: expected at most {_SIZE_MAX} bytes, got {len(data)}")
        try:
            value = yaml.load(data.decode("utf-8"), Loader=_Loader)  # noqa: S506 (a SafeLoader)
            return cls._of(value)
        except (LicenceError, MalformedValue) as err:
            raise BackfillRefused(f"the mapping is malformed: {err}") from err
        except _NO_YAML as err:
            raise BackfillRefused("the mapping: expected JSON or YAML in UTF-8") from err

    @classmethod
    def _of(cls, value: object) -> BackfillMapping:
        if not isinstance(value, dict) or value.keys() != _KEYS or value["version"] != 1:
            raise BackfillRefused(
                f"the mapping: expected version 1 and the members {', '.join(sorted(_KEYS))}"
            )
        fields = value["fields"]
        if not isinstance(fields, dict) or not all(
            isinstance(part, str) for pair in fields.items() for part in pair
        ):
            raise BackfillRefused("the mapping: expected fields to name a column for each")
        version = value["type_version"]
        if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= VERSION_MAX:
            raise BackfillRefused(f"the mapping: expected an integer in [1, {VERSION_MAX}] as type_version")
        return cls(
            type_code=require_type(str(value["type"])),
            type_version=version,
            issuer=require_uscc(str(value["issuer"])),
            serial=_column(value["serial"]),
            licence_version=require_version(str(value["licence_version"])),
            first_day=_column(value["first_day"]),
            last_day=None if value["last_day"] is None else _column(value["last_day"]),
            fields=tuple(sorted(fields.items())),
            holder=PublicKey.from_jwk(value["holder"]),
        )

    def describe(self) -> dict[str, Any]:
        """Return the mapping as JSON, to be kept with its job."""
        return {
            "type": self.type_code,
            "type_version": self.type_version,
            "issuer": self.issuer,
            "serial": self.serial,
            "licence_version": self.licence_version,
            "first_day": self.first_day,
            "last_day": self.last_day,
            "fields": dict(self.fields),
            "holder": self.holder.jwk(),
        }

    def require_kind(self, kind: LicenceType) -> None:
        """Refuse a mapping that is not for this type.

        Raises:
            BackfillRefused: another type or version, or a field that the type has not.
        """
        if (kind.code, kind.version) != (self.type_code, self.type_version):
            raise BackfillRefused(
                f"the mapping is for {self.type_code} version {self.type_version}, not {kind.code}"
            )
        if unknown := dict(self.fields).keys() - set(kind.names):
            raise BackfillRefused(
                f"the mapping names fields that the type has not: {', '.join(sorted(unknown))}"
            )


@dataclass(frozen=True, slots=True)
class Columns:
    """A stretch of rows, column by column: serials, times in Unix seconds, and the values of each field of the type."""

    serials: list[str]
    not_before: list[int]
    expires_at: list[int | None]
    values: list[tuple[str | None, ...]]


def read_columns(batch: pa.RecordBatch, mapping: BackfillMapping, kind: LicenceType) -> Columns:
    """Turn a record batch into what licences are made of.

    Raises:
        BackfillRefused: a column is missing or cannot be a text or a day, or a serial or a first day is null.
    """
    named = {name: batch.column(i) for i, name in enumerate(batch.schema.names)}
    if missing := [name for name in mapping.columns if name not in named]:
        raise BackfillRefused(f"the file has no column {', '.join(missing)}")
    columns = dict(mapping.fields)
    count = batch.num_rows
    texts = [_texts(named[columns[n]]) if n in columns else [None] * count for n in kind.names]
    serials, first = _texts(named[mapping.serial]), _days(named[mapping.first_day])
    if None in serials or None in first:
        raise BackfillRefused("a serial or a first day is null")
    ends: list[int | None] = [None] * count
    if mapping.last_day is not None:
        last = _days(named[mapping.last_day])
        ends = [None if day is None else (day + 1) * _DAY_S - _CHINA_OFFSET_S for day in last]
    starts = [day * _DAY_S - _CHINA_OFFSET_S for day in first if day is not None]
    return Columns(
        [text for text in serials if text is not None], starts, ends, list(zip(*texts, strict=True))
    )


def _texts(column: pa.Array) -> list[str | None]:
    try:
        found = column if pa.types.is_string(column.type) else pc.cast(column, pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as err:
        raise BackfillRefused(f"a column of type {column.type} cannot be a text") from err
    texts: list[str | None] = found.to_pylist()
    return texts


def _days(column: pa.Array) -> list[int | None]:
    try:
        if pa.types.is_timestamp(column.type) and column.type.tz is not None:
            column = pc.cast(
                pc.add(column, pa.scalar(_CHINA_OFFSET_S * 10**9, pa.duration("ns"))),
                pa.timestamp("ns", "UTC"),
            )
            column = pc.cast(column, pa.timestamp("ns"))
        days: list[int | None] = pc.cast(pc.cast(column, pa.date32()), pa.int32()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as err:
        raise BackfillRefused(f"a column of type {column.type} cannot be a day") from err
    return days


def _column(value: object) -> str:
    if not isinstance(value, Mapping) or value.keys() != {"column"} or not isinstance(value["column"], str):
        raise BackfillRefused("the mapping: expected {column: NAME}")
    return str(value["column"])
