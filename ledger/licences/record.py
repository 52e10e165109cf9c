"""Private records: what a credential is rebuilt from byte for byte. Destroying its record erases a licence.

Form 1 is `u8 1 ‖ the text of any SD-JWT`. Form 2 leaves out what the template has:
`u8 2 ‖ template id (8) ‖ u8 flags ‖ event id (16) ‖ seed (32) ‖ signature (64) ‖ u32 list ‖ u32 index ‖ u40 issued at
‖ u40 not before ‖ u40 expires at (all ones: never) ‖ u8 length ‖ serial ‖ version (3)
[‖ u8 algorithm ‖ raw holder key: flag 1] [‖ previous (32): flag 2; flag 4: transferred in]
‖ for each field a size (0: none, else length + 1) ‖ the values in UTF-8`;
a size below 128 is one byte, else two: the low 7 bits with the top bit set, then the rest.
The seed is in its record and nowhere else, so no salt can be computed again when the record is gone.
"""

from __future__ import annotations

import struct
from typing import Final

from ledger.encoding import Digest
from ledger.licences.errors import Malformed
from ledger.licences.keys import ALGORITHMS, PublicKey
from ledger.licences.sdjwt import Credential
from ledger.licences.template import TEMPLATE_ID_SIZE, Assembler, Row, Template, assembler_of, b64u_bytes

_HEAD: Final = struct.Struct(">B8sB16s32s64sIIBIBIBIB")
_NEVER: Final = (1 << 40) - 1
_LOW: Final = 0xFFFFFFFF
_RAW, _COMPACT = 1, 2
_HAS_HOLDER, _HAS_PREVIOUS, _TRANSFERRED = 1, 2, 4


def pack_text(text: str) -> bytes:
    """Return the private record of any credential from its SD-JWT, in the form that needs no template."""
    return bytes((_RAW,)) + text.encode("ascii")


def template_id_of(record: bytes) -> bytes | None:
    """Return the id of the template that a record needs, 8 bytes, or None if it needs none.

    Raises:
        Malformed: it is no record.
    """
    if record[:1] == bytes((_RAW,)):
        return None
    if record[:1] != bytes((_COMPACT,)) or len(record) < _HEAD.size:
        raise Malformed("private record", "a record of form 1 or 2", "something else")
    return record[1 : 1 + TEMPLATE_ID_SIZE]


def unpack_record(record: bytes, template: Template | None = None) -> Credential:
    """Rebuild a credential, byte for byte as it was issued. Its signature is not checked.

    Args:
        template: the one that `template_id_of` names.

    Raises:
        Malformed: it is no record, or of another template.
        LicenceError: what is in it is no licence.
    """
    if template_id_of(record) is None:
        parts = _ascii(record[1:]).split("~")
        if len(parts) < 2 or parts[-1]:
            raise Malformed("private record", "an SD-JWT without a KB-JWT", "something else")
        return Credential(parts[0], tuple(parts[1:-1]))
    if template is None or template_id_of(record) != assembler_of(template).template_id:
        raise Malformed("template", "the one that the record names", "another, or none")
    row, signature = _unpack(record, len(template.fields))
    signing_input, disclosures, _ = assembler_of(template).signing_input(row)
    jwt = b"%b.%b" % (signing_input, b64u_bytes(signature))
    return Credential(jwt.decode("ascii"), tuple(text.decode("ascii") for text in disclosures))


def pack_record(assembler: Assembler, row: Row, signature: bytes, quoted: list[bytes]) -> bytes:
    """Return the compact record of a licence that was put together by `assembler`.

    Args:
        signature: 64 bytes.
        quoted: the values that there are as JSON strings, as `Assembler.signing_input` returns them.
    """
    flags, more = 0, b""
    if row.holder is not None and row.holder != assembler.template.holder:
        flags, more = _HAS_HOLDER, bytes((ALGORITHMS.index(row.holder.alg),)) + row.holder.raw
    if row.previous is not None:
        flags |= _HAS_PREVIOUS | (_TRANSFERRED if row.transfer_in else 0)
        more += row.previous
    expires_at = _NEVER if row.expires_at is None else row.expires_at
    head = _HEAD.pack(
        _COMPACT,
        assembler.template_id,
        flags,
        row.event_id,
        row.seed,
        signature,
        row.status_list,
        row.status_index,
        row.issued_at >> 32,
        row.issued_at & _LOW,
        row.not_before >> 32,
        row.not_before & _LOW,
        expires_at >> 32,
        expires_at & _LOW,
        len(row.serial),
    )
    sizes, values = _values_of(row, quoted)
    coded = bytes(sizes) if max(sizes) < 128 else b"".join(map(_code_size, sizes))
    serial = f"{row.serial}{row.version}".encode("ascii")
    return b"".join((head, serial, more, coded, values))


def _values_of(row: Row, quoted: list[bytes]) -> tuple[list[int], bytes]:
    """Return the size of each field as the record has it, and the values in UTF-8 one after the other."""
    values = b"".join(quoted)
    if b"\\" not in values:  # JSON changed none of them: all that it added is the quotation marks
        sizes, values = [len(text) - 1 for text in quoted], values.translate(None, b'"')
    else:
        raw = [value.encode() for value in row.values if value is not None]
        sizes, values = [len(value) + 1 for value in raw], b"".join(raw)
    if None in row.values:
        left = iter(sizes)
        sizes = [0 if value is None else next(left) for value in row.values]
    return sizes, values


def _code_size(size: int) -> bytes:
    return bytes((size,)) if size < 128 else bytes((size & 127 | 128, size >> 7))


def _unpack(record: bytes, count: int) -> tuple[Row, bytes]:
    _, _, flags, event_id, seed, signature, number, index, *times, size = _HEAD.unpack_from(record)
    issued_at, not_before, expires_at = (
        high << 32 | low for high, low in zip(times[::2], times[1::2], strict=True)
    )
    reader = _Reader(record, _HEAD.size)
    serial, version = _ascii(reader.take(size)), _ascii(reader.take(3))
    holder = previous = None
    if flags & _HAS_HOLDER:
        algorithm = reader.take(1)[0]
        if algorithm >= len(ALGORITHMS):
            raise Malformed("private record", "a known algorithm", str(algorithm))
        alg = ALGORITHMS[algorithm]
        holder = PublicKey(alg, reader.take(32 if alg == "EdDSA" else 64))
    if flags & _HAS_PREVIOUS:
        previous = Digest(reader.take(32))
    sizes = [reader.take_size() for _ in range(count)]
    values = [None if length == 0 else _utf8(reader.take(length - 1)) for length in sizes]
    if reader.left or flags & ~(_HAS_HOLDER | _HAS_PREVIOUS | _TRANSFERRED):
        raise Malformed("private record", "known flags, and no bytes after the values", "something else")
    expires = None if expires_at == _NEVER else expires_at
    fixed = (event_id, seed, serial, version, issued_at, not_before, expires, number, index, values)
    return Row(*fixed, holder, previous, bool(flags & _TRANSFERRED)), signature


class _Reader:
    """Takes pieces off a record and never reads past its end."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    @property
    def left(self) -> int:
        """How many bytes were not taken."""
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        if self.left < size:
            raise Malformed("private record", f"{size} more bytes", f"{self.left} bytes")
        self._at += size
        return self._data[self._at - size : self._at]

    def take_size(self) -> int:
        """Return the next size."""
        low = self.take(1)[0]
        return low if low < 128 else low & 127 | self.take(1)[0] << 7


def _ascii(data: bytes) -> str:
    if not data.isascii():
        raise Malformed("private record", "ASCII", "something else")
    return data.decode("ascii")


def _utf8(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as err:
        raise Malformed("private record", "UTF-8", "something else") from err
