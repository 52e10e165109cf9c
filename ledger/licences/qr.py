"""Presentations as QR codes: written as PNG, SVG or for a terminal, read from an image file.

Source: ISO/IEC 18004 (QR code model 2, byte mode, version 40 at most).
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Final

import segno
import zxingcpp
from PIL import Image
from segno.encoder import DataOverflowError

from ledger.licences.errors import Malformed, QrError, QrTooLong, QrUnreadable

TEXT_MAX: Final = 2953  # bytes of a version 40 code with the lowest error correction
FILE_MAX: Final = 32 << 20
PIXELS_MAX: Final = 1 << 26
_SCALE: Final = 4  # image pixels of one module: what a phone's camera and a printer resolve
_QR: Final = zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.QRCode])
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")


def png(text: str) -> bytes:
    """Return a QR code as a PNG image.

    Raises:
        Malformed: the text is not ASCII, or empty.
        QrTooLong: it does not fit.
    """
    return _saved(text, "png")


def svg(text: str) -> bytes:
    """Return a QR code as an SVG document.

    Raises:
        Malformed, QrTooLong: as `png`.
    """
    return _saved(text, "svg")


def terminal(text: str) -> str:
    """Return a QR code in half-block characters, for a terminal that shows them square.

    Raises:
        Malformed, QrTooLong: as `png`.
    """
    out = io.StringIO()
    _code(text).terminal(out, compact=True)
    return out.getvalue()


def read(path: Path) -> str:
    """Return the text of the one QR code that an image file shows.

    Raises:
        QrError: the file cannot be read.
        QrUnreadable: it is no image, has too many pixels, shows no QR code or several, or one that is not ASCII.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX + 1)
    except OSError as err:
        raise QrError(f"{path} cannot be read: {err.strerror}") from err
    return read_image(data)


def read_image(data: bytes) -> str:
    """Return the text of the one QR code in an image.

    Args:
        data: PNG, JPEG, WebP, BMP, TIFF or GIF; it may come from anybody.

    Raises:
        QrUnreadable: as `read`.
    """
    if len(data) > FILE_MAX:
        raise QrUnreadable(f"expected an image of at most {FILE_MAX} bytes")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > PIXELS_MAX:
                raise QrUnreadable(
                    f"expected at most {PIXELS_MAX} pixels, got {image.width} x {image.height}"
                )
            grey = image.convert("L")
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as err:
        raise QrUnreadable("expected an image in one of the formats " + ", ".join(_FORMATS)) from err
    found = zxingcpp.read_barcodes(grey, formats=_QR)
    if len(found) != 1:
        raise QrUnreadable(f"expected one QR code, got {len(found)}")
    content = bytes(found[0].bytes)
    if not content.isascii():
        raise QrUnreadable("expected a QR code with ASCII text")
    return content.decode("ascii")


def _saved(text: str, kind: str) -> bytes:
    out = io.BytesIO()
    _code(text).save(out, kind=kind, scale=_SCALE)
    return out.getvalue()


def _code(text: str) -> segno.QRCode:
    if not text or not text.isascii():
        raise Malformed("QR code", "an ASCII text", "something else")
    try:
        return segno.make_qr(text, error="l", mode="byte")
    except DataOverflowError as err:
        raise QrTooLong(len(text), TEXT_MAX) from err
