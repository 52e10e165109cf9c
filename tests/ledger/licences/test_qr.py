"""QR codes: what is written is read, what does not fit or is none is a named error."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from ledger.licences import qr
from ledger.licences.errors import Malformed, QrError, QrTooLong, QrUnreadable
from ledger.licences.sdjwt import bind, present
from tests.ledger.licences.credentials import HOLDER_KEY, NOW, credential


def presentation() -> str:
    shown = present(credential().text, ["uscc", "entity_name"])
    return bind(shown, HOLDER_KEY, nonce="n" * 22, audience="urn:shuyao:verifier:窗口", now_s=NOW)


def image_of(text: str) -> Image.Image:
    return Image.open(io.BytesIO(qr.png(text))).convert("L")


def saved(image: Image.Image, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def test_presentation_with_two_fields_and_its_bearer_fits_and_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "出示.png"
    path.write_bytes(qr.png(presentation()))
    assert qr.read(path) == presentation()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "BMP", "GIF"])
def test_rotated_and_rescaled_photo_is_read(kind: str) -> None:
    photo = image_of("presentation~" * 20).rotate(90, expand=True)
    photo = photo.resize((photo.width * 3 // 2, photo.height * 3 // 2))
    assert qr.read_image(saved(photo, kind)) == "presentation~" * 20


def test_longest_text_fits_and_one_more_does_not() -> None:
    assert qr.read_image(qr.png("a" * qr.TEXT_MAX)) == "a" * qr.TEXT_MAX
    for write in (qr.png, qr.svg, qr.terminal):
        with pytest.raises(QrTooLong):
            write("a" * (qr.TEXT_MAX + 1))


def test_svg_and_terminal_show_the_same_modules() -> None:
    assert qr.svg("abc").startswith(b"<?xml")
    lines = qr.terminal("abc").splitlines()
    assert len(lines) == 15  # 21 modules and a border of 4, two to a line
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize("text", ["", "数钥", "a\x80"])
def test_what_is_no_ascii_text_is_not_written(text: str) -> None:
    with pytest.raises(Malformed):
        qr.png(text)


def test_image_without_or_with_several_codes_is_refused() -> None:
    one = image_of("abc")
    two = Image.new("L", (one.width * 2, one.height), 255)
    two.paste(one, (0, 0))
    two.paste(one, (one.width, 0))
    for image in (two, Image.new("L", (200, 200), 255), one.crop((0, 0, one.width // 2, one.height))):
        with pytest.raises(QrUnreadable):
            qr.read_image(saved(image))


@pytest.mark.parametrize(
    "data", [b"", b"x", qr.png("abc")[:-40], b"GIF89a", b"\x89PNG\r\n\x1a\n", qr.svg("abc"), b"%PDF-1.4"]
)
def test_what_is_no_image_is_a_named_error(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(QrUnreadable):
        qr.read(path)


def test_image_with_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(QrUnreadable):
        qr.read_image(saved(Image.new("1", (20_000, 4_000))))


def test_missing_file_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(QrError):
        qr.read(tmp_path / "none.png")
