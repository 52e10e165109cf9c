"""Frames: strict parsing, and a named error for everything else."""

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from privacy.encoding import keccak, tagged_hash
from privacy.errors import (
    BadMessage,
    FrameKindUnknown,
    FrameMagicWrong,
    FrameTooLong,
    FrameTrailing,
    FrameTruncated,
    FrameVersionUnknown,
    SenderUnknown,
    SessionMismatch,
    WordInvalid,
)
from privacy.messages import (
    PAYLOAD_MAX,
    Frame,
    Kind,
    decode_frame,
    decode_frames,
    encode_frame,
    message_hash,
    receipt_digest,
    require_frame,
)
from tests.privacy.sum_world import World, digest_of

SESSION = digest_of("session")
SIGNATURE = bytes(range(65))
FRAMES = st.builds(
    Frame,
    st.sampled_from(Kind),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 65535),
    st.binary(max_size=300),
    st.binary(min_size=65, max_size=65),
)
DATA = encode_frame(Kind.UNMASK, SESSION, 258, b"payload", SIGNATURE)


def test_a_frame_is_laid_out_as_documented() -> None:
    expected = b"SYM\x01\x03" + SESSION + b"\x01\x02" + b"\x00\x00\x00\x07" + b"payload" + SIGNATURE
    assert expected == DATA
    assert decode_frame(DATA).encode() == DATA


def test_hashes_are_what_the_document_spells() -> None:
    expected = tagged_hash("message", 3, SESSION, 258, keccak(b"payload"))
    assert message_hash(3, SESSION, 258, b"payload") == expected == decode_frame(DATA).message_hash
    assert receipt_digest(SESSION, bytes(20), expected) == tagged_hash(
        "receipt", SESSION, bytes(20), expected
    )


@settings(deadline=None)
@given(st.lists(FRAMES, max_size=4))
def test_frames_read_back_one_after_another(frames: list[Frame]) -> None:
    assert decode_frames(b"".join(frame.encode() for frame in frames)) == frames


@settings(deadline=None)
@given(FRAMES)
def test_every_truncation_is_named(frame: Frame) -> None:
    data = frame.encode()
    for length in range(len(data)):
        with pytest.raises(FrameTruncated):
            decode_frame(data[:length])


@settings(deadline=None)
@given(FRAMES, st.binary(min_size=1, max_size=9))
def test_trailing_bytes_are_named(frame: Frame, rest: bytes) -> None:
    with pytest.raises(FrameTrailing):
        decode_frame(frame.encode() + rest)
    with pytest.raises(BadMessage):
        decode_frames(frame.encode() + rest)


@pytest.mark.parametrize(
    ("position", "value", "error"),
    [
        (0, 0x73, FrameMagicWrong),
        (3, 0, FrameVersionUnknown),
        (3, 2, FrameVersionUnknown),
        (4, 0, FrameKindUnknown),
        (4, 5, FrameKindUnknown),
        (39, 0xFF, FrameTooLong),
        (42, 8, FrameTruncated),
        (42, 6, FrameTrailing),
    ],
)
def test_each_wrong_part_has_its_own_error(position: int, value: int, error: type[BadMessage]) -> None:
    data = bytearray(DATA)
    data[position] = value
    with pytest.raises(error):
        decode_frame(bytes(data))


def test_a_length_beyond_every_payload_is_refused_before_it_is_waited_for() -> None:
    header = DATA[:39] + (PAYLOAD_MAX + 1).to_bytes(4, "big")
    with pytest.raises(FrameTooLong):
        decode_frame(header)


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"SYM\x01")
@example(b"SY")
def test_noise_never_escapes_as_another_exception(data: bytes) -> None:
    for parse in (decode_frame, decode_frames):
        try:
            parse(data)
        except BadMessage:
            continue
        assert parse is decode_frames
        assert data == b""


@settings(deadline=None)
@given(FRAMES, st.data())
def test_a_changed_byte_is_refused_or_changes_what_is_signed(frame: Frame, draw: st.DataObject) -> None:
    data = bytearray(frame.encode())
    position = draw.draw(st.integers(0, len(data) - 66))
    data[position] ^= draw.draw(st.integers(1, 255))
    try:
        other = decode_frame(bytes(data))
    except BadMessage:
        return
    assert other.message_hash != frame.message_hash


def test_what_no_reader_accepts_cannot_be_written() -> None:
    with pytest.raises(FrameKindUnknown):
        encode_frame(9, SESSION, 0, b"", SIGNATURE)
    with pytest.raises(SenderUnknown):
        encode_frame(1, SESSION, 1 << 16, b"", SIGNATURE)
    with pytest.raises(FrameTooLong):
        encode_frame(1, SESSION, 0, bytes(PAYLOAD_MAX + 1), SIGNATURE)
    for session, signature in ((SESSION[:-1], SIGNATURE), (SESSION, SIGNATURE[:-1])):
        with pytest.raises(WordInvalid):
            encode_frame(1, session, 0, b"", signature)


def test_a_frame_must_belong_here() -> None:
    world = World(3)
    good = Frame(Kind.BUNDLE, world.session.id, 1, world.bundles[1], SIGNATURE)
    assert require_frame(good, world.session, kind=Kind.BUNDLE, sender=1) == world.bundles[1]
    wrong: list[tuple[Frame, type[BadMessage]]] = [
        (replace(good, session=World(3, request="late").session.id), SessionMismatch),
        (replace(good, kind=Kind.UNMASK), FrameKindUnknown),
        (replace(good, sender=2), SenderUnknown),
        (replace(good, sender=3), SenderUnknown),
    ]
    for frame, error in wrong:
        with pytest.raises(error):
            require_frame(frame, world.session, kind=Kind.BUNDLE, sender=1)
