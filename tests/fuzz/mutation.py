"""Changes of an input: of its bytes, and of what the bytes spell (JSON, base64url parts, hex, lines)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from tests.fuzz.contract import SIZE_MAX
from tests.fuzz.draw import Draw

_DEPTH: Final = 200
_TOKENS: Final = tuple(
    token.encode("utf-8", "surrogatepass")
    for token in (
        *(
            "null",
            "true",
            "false",
            "0",
            "-0",
            "-1",
            "1e999",
            "NaN",
            "1.5",
            '""',
            "[]",
            "{}",
            '"',
            "\\",
            "\\u0000",
        ),
        *(
            "\\ud800",
            "\ud800",
            "\ufeff",
            "\u0000",
            "\u2028",
            "é",
            "数",
            "Ａ",
            "\u202e",
            "\n",
            "\r\n",
            "\t",
            " ",
            "'",
        ),
        *(
            "(",
            ")",
            ",",
            ".",
            "~",
            "=",
            "-",
            "+",
            "/",
            ":",
            "#",
            "*",
            "&a ",
            "*a",
            "!!int ",
            "!!timestamp x",
            "<<: ",
        ),
        *(
            "9" * 20,
            "9" * 400,
            "1_0",
            "0x",
            "1:1",
            "—",
            "— a b\n",
            "2001-99-99",
            "0001-01-01 00:00:00 +23:59",
        ),
        *("SELECT ", "COUNT(*)", " FROM ", " WHERE ", " AND ", " NOT ", "((", "1.2.840.113549.1.1.1"),
    )
)
_NUMBERS: Final = tuple(
    number.to_bytes(width, order)
    for width in (1, 2, 4, 8)
    for number in (0, 1, (1 << 8 * width - 1) - 1, 1 << 8 * width - 1, (1 << 8 * width) - 1)
    for order in ("big", "little")
)
_VALUES: Final[tuple[Any, ...]] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        1.5,
        -0.0,
        1e308,
        10**17,
        2**53 - 1,
        2**53,
        "",
        "0",
        "-0",
        "1",
        "-1",
        "00",
    ),
    *(
        "1e5",
        "9" * 39,
        "9" * 80,
        "0x",
        "0x" + "00" * 32,
        "0x" + "ff" * 32,
        "\ud800",
        "\u0000",
        " ",
        "\n",
        "é",
        "e\u0301",
    ),
    *("数", "Ａ", "A" * 300, [], {}, [[]], [None], {"": None}, {"version": "1"}, ["a", "a"]),
)

Change = Callable[[bytes, Draw, Sequence[bytes]], bytes]


def mutate(data: bytes, draw: Draw, others: Sequence[bytes], *, size_max: int = SIZE_MAX) -> bytes:
    """Return a changed input: one to four changes, each of the bytes or of what they spell.

    Args:
        data: to change.
        others: inputs to take pieces from.
        size_max: of the result.
    """
    for _ in range(1 + draw.below(4) * draw.below(2)):
        structured = spelled(data, draw, others) if draw.below(2) else None
        data = draw.one_of(CHANGES)(data, draw, others) if structured is None else structured
        data = data[:size_max]
    return data


# --- bytes -------------------------------------------------------------------------------------------------


def _span(data: bytes, draw: Draw) -> tuple[int, int]:
    start = draw.below(len(data) + 1)
    return start, min(len(data), start + draw.size(max(1, len(data))))


def _flip(data: bytes, draw: Draw, others: Sequence[bytes]) -> bytes:
    if not data:
        return draw.data(1)
    changed, at = bytearray(data), draw.below(len(data))
    changed[at] ^= 1 << draw.below(8)
    return bytes(changed)


def _set(data: bytes, draw: Draw, others: Sequence[bytes]) -> bytes:
    start, _ = _span(data, draw)
    value = draw.data(draw.size(8)) if draw.below(2) else draw.one_of(_NUMBERS)
    return data[:start] + value + data[start + len(value) :]


def _insert(data: bytes, draw: Draw, others: Sequence[bytes]) -> bytes:
    start, end = _span(data, draw)
    kind = draw.below(4)
    if kind == 0:
        piece = draw.one_of(_TOKENS)
    elif kind == 1:
        piece = draw.data(draw.size(64))
    elif kind == 2:
        piece = data[start:end]
    else:
        piece = draw.one_of(_NUMBERS)
    at = draw.below(len(data) + 1)
    return data[:at] + piece + data[at + (len(piece) if draw.below(2) else 0) :]


def _cut(data: bytes, draw: Draw, others: Sequence[bytes]) -> bytes:
    start, end = _span(data, draw)
    return data[:start] + data[end:] if draw.below(3) else data[:start]


def _cross(data: bytes, draw: Draw, others: Sequence[bytes]) -> bytes:
    other = draw.one_of(others) if others else data
    start, end = _span(other, draw)
    at, until = _span(data, draw)
    return data[:at] + other[start:end] + data[until:]


def repeat(data: bytes, draw: Draw, others: Sequence[bytes]) -> bytes:
    """Repeat a piece up to the largest size: what takes quadratic time shows."""
    start, end = _span(data, draw)
    piece = data[start : min(end, start + draw.size(64))] or draw.one_of(_TOKENS)
    room = SIZE_MAX - len(data)
    if room <= 0:
        return data[start:end]
    count = draw.size(max(1, room // len(piece)))
    return data[:start] + piece * count + data[start:]


CHANGES: Final[tuple[Change, ...]] = (_flip, _set, _insert, _insert, _cut, _cross, repeat)


# --- what the bytes spell ----------------------------------------------------------------------------------


def spelled(data: bytes, draw: Draw, others: Sequence[bytes]) -> bytes | None:
    """Change what the bytes spell; None if they spell nothing known."""
    value = _parsed(data)
    if isinstance(value, dict | list):
        changed = _changed(value, draw, others, 0)
        return _dump(changed, draw)
    for separator in (b"~", b".", b"\n"):
        if separator in data:
            return _parts(data, separator, draw, others)
    return _decoded(data, draw, others)


def _parsed(data: bytes) -> Any:
    if data[:1] not in (b"{", b"[") or data.count(b"[") + data.count(b"{") > _DEPTH:
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _dump(value: Any, draw: Draw) -> bytes:
    """Write JSON, mostly in its canonical form, so that what asks for that is passed."""
    canonical = draw.below(8) > 0
    text = json.dumps(
        value, ensure_ascii=not canonical, sort_keys=canonical, separators=(",", ":") if canonical else None
    )
    return text.encode(
        "utf-8", "backslashreplace" if draw.below(4) else "surrogatepass"
    )  # as JSON escapes it, too


def _changed(value: Any, draw: Draw, others: Sequence[bytes], depth: int) -> Any:
    """Change one place of a JSON value."""
    if isinstance(value, dict) and value and draw.below(8):
        return _changed_object(value, draw, others, depth)
    if isinstance(value, list) and value and draw.below(8):
        return _changed_array(value, draw, others, depth)
    if isinstance(value, str) and draw.below(3):
        data = value.encode("utf-8", "surrogatepass")
        inner = spelled(data, draw, others) if draw.below(2) else None
        changed = draw.one_of(CHANGES)(data, draw, others) if inner is None else inner
        return changed[: SIZE_MAX // 2].decode("utf-8", "replace")
    if isinstance(value, int | float) and not isinstance(value, bool) and draw.below(2):
        return draw.one_of([value + 1, value - 1, -value, value * 2, str(value)])
    if draw.below(16) == 0:
        nested: Any = value
        for _ in range(draw.size(_DEPTH)):
            nested = [nested] if draw.below(2) else {"a": nested}
        return nested
    return draw.one_of(_VALUES)


def _changed_object(value: dict[str, Any], draw: Draw, others: Sequence[bytes], depth: int) -> Any:
    key, kind = draw.one_of(list(value)), draw.below(12)
    changed = dict(value)
    if kind == 0:
        del changed[key]
    elif kind == 1:
        changed[draw.one_of(["", "a", "version", "\ud800", key + "x"])] = changed[key]
    elif kind == 2:
        changed[key] = changed[draw.one_of(list(value))]
    elif depth < _DEPTH:
        changed[key] = _changed(changed[key], draw, others, depth + 1)
    return changed


def _changed_array(value: list[Any], draw: Draw, others: Sequence[bytes], depth: int) -> Any:
    at, kind = draw.below(len(value)), draw.below(12)
    if kind == 0:
        return value[:at] + value[at + 1 :]
    if kind == 1:
        return [*value, value[at]]
    if kind == 2:
        return [value[at], *value[:at], *value[at + 1 :]]
    if kind == 3:
        return [value[at]] * draw.size(512)
    changed = list(value)
    if depth < _DEPTH:
        changed[at] = _changed(changed[at], draw, others, depth + 1)
    return changed


def _parts(data: bytes, separator: bytes, draw: Draw, others: Sequence[bytes]) -> bytes:
    parts = data.split(separator)
    at, kind = draw.below(len(parts)), draw.below(8)
    if kind == 0:
        del parts[at]
    elif kind == 1:
        parts.insert(draw.below(len(parts) + 1), parts[at])
    elif kind == 2:
        other = draw.below(len(parts))
        parts[at], parts[other] = parts[other], parts[at]
    else:
        changed = (
            spelled(parts[at], draw, others) if separator in (b"~",) else _decoded(parts[at], draw, others)
        )
        parts[at] = draw.one_of(CHANGES)(parts[at], draw, others) if changed is None else changed
    return separator.join(parts)


def _decoded(data: bytes, draw: Draw, others: Sequence[bytes]) -> bytes | None:
    """Change the bytes that hex or base64 spells, and spell them again."""
    if len(data) > 1 and data.startswith(b"0x"):
        try:
            return b"0x" + _inner(bytes.fromhex(data[2:].decode("ascii")), draw, others).hex().encode()
        except ValueError:
            return None
    try:
        if len(data) >= 4 and len(data) % 4 == 0:
            decoded = base64.b64decode(data, validate=True)
            return base64.b64encode(_inner(decoded, draw, others))
        if len(data) >= 8:
            decoded = base64.b64decode(data + b"=" * (-len(data) % 4), altchars=b"-_", validate=True)
            return base64.urlsafe_b64encode(_inner(decoded, draw, others)).rstrip(b"=")
    except (binascii.Error, ValueError):
        return None
    return None


def _inner(data: bytes, draw: Draw, others: Sequence[bytes]) -> bytes:
    value = _parsed(data)
    if isinstance(value, dict | list) and draw.below(8):
        return _dump(_changed(value, draw, others, 0), draw)
    return draw.one_of(CHANGES)(data, draw, others)[: SIZE_MAX // 2]


# --- inputs that nobody is glad of -------------------------------------------------------------------------


def hostile() -> list[bytes]:
    """Return inputs that break what reads without care: empty, deep, endless, doubled, without an end."""
    full = SIZE_MAX
    pieces = [
        *(
            b"[",
            b"{",
            b"(",
            b'{"a":',
            b'"',
            b'"\\"',
            b'\\"',
            b"'",
            b"''",
            b"a",
            b"9",
            b"0",
            b"-",
            b" ",
            b"\n",
            b"\0",
            b"\xff",
        ),
        *(
            b"a,",
            b"a.",
            b"a~",
            b"a:",
            b"- ",
            b"? ",
            b"&a [",
            b"*a,",
            b"[a, ",
            b"{a: ",
            b"!!a ",
            b"NOT ",
            b"a+",
            b"1:",
            b"x and ",
        ),
        *(
            b"1 ",
            b"a\n",
            "— a b\n".encode(),
            "数".encode(),
            b"\xcc\x81",
            b"\xed\xa0\x80",
            b"\xf8",
            b"\xc0",
            b"\xf9\xff\xff",
            b"%",
        ),
    ]
    small = [
        b"",
        b"\0",
        b"\xff",
        b"\xff" * 64,
        bytes(64),
        b"null",
        b"0",
        b'""',
        b"[]",
        b"{}",
        b"\n\n",
        b"a.b.c",
        b"~",
    ]
    return small + [(piece * (full // len(piece) + 1))[:full] for piece in pieces]
