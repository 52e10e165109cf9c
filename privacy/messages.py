"""Signed frames between holders, through the exchange (docs/protocol.md §4). Signing is the caller's."""

from dataclasses import dataclass
from enum import IntEnum

from privacy.encoding import WORD_BYTES, keccak, tagged_hash
from privacy.errors import (
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
from privacy.prg import CELL_BYTES, CELLS_MAX, LANE_BYTES
from privacy.session import Session

MAGIC = b"SYM"
VERSION = 1
SIGNATURE_BYTES = 65
PAYLOAD_MAX = (
    CELLS_MAX * CELL_BYTES + LANE_BYTES
)  # a masked input of 2^17 cells, the longest payload there is
_HEADER_BYTES = len(MAGIC) + 2 + WORD_BYTES + 2 + 4


class Kind(IntEnum):
    """What a frame carries."""

    BUNDLE = 1
    MASKED_INPUT = 2
    UNMASK = 3
    JOIN = 4  # a part of a round of a private join


@dataclass(frozen=True, slots=True)
class Frame:
    """One message with its signature; nothing in it has been verified yet but its shape.

    Attributes:
        kind: what the payload is.
        session: session id, 32 bytes.
        sender: roster index.
        payload: as `privacy.payloads` parses it.
        signature: 65 bytes over `message_hash`.
    """

    kind: Kind
    session: bytes
    sender: int
    payload: bytes
    signature: bytes

    @property
    def message_hash(self) -> bytes:
        """What the sender signs."""
        return message_hash(self.kind, self.session, self.sender, self.payload)

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        return encode_frame(self.kind, self.session, self.sender, self.payload, self.signature)


def message_hash(kind: int, session: bytes, sender: int, payload: bytes) -> bytes:
    """Return H("message"; kind, session, sender, keccak(payload)), the digest that the sender signs."""
    return tagged_hash("message", kind, session, sender, keccak(payload))


def receipt_digest(request_id: bytes, holder: bytes, message: bytes) -> bytes:
    """Return H("receipt"; requestId, holder, messageHash): what the broker signs for an accepted message."""
    return tagged_hash("receipt", request_id, holder, message)


def encode_frame(kind: int, session: bytes, sender: int, payload: bytes, signature: bytes) -> bytes:
    """Encode a frame.

    Raises:
        FrameKindUnknown, FrameTooLong, SenderUnknown, WordInvalid: a part that no reader would accept.
    """
    if len(session) != WORD_BYTES or len(signature) != SIGNATURE_BYTES:
        raise WordInvalid(f"a frame needs a {WORD_BYTES}-byte session and a {SIGNATURE_BYTES}-byte signature")
    if not 0 <= sender < 1 << 16:
        raise SenderUnknown(f"sender: expected a u16, got {sender}")
    if len(payload) > PAYLOAD_MAX:
        raise FrameTooLong(f"payload: expected at most {PAYLOAD_MAX} bytes, got {len(payload)}")
    header = MAGIC + bytes([VERSION, _kind(kind)]) + session + sender.to_bytes(2, "big")
    return header + len(payload).to_bytes(4, "big") + payload + signature


def decode_frame(data: bytes) -> Frame:
    """Parse exactly one frame.

    Raises:
        FrameTruncated, FrameTrailing, FrameMagicWrong, FrameVersionUnknown, FrameKindUnknown, FrameTooLong
    """
    frame, end = _read_frame(data, 0)
    if end != len(data):
        raise FrameTrailing(f"frame: expected {end} bytes, got {len(data)}")
    return frame


def decode_frames(data: bytes) -> list[Frame]:
    """Parse frames that follow one another without anything between them; errors as `decode_frame`."""
    frames: list[Frame] = []
    position = 0
    while position < len(data):
        frame, position = _read_frame(data, position)
        frames.append(frame)
    return frames


def require_frame(frame: Frame, session: Session, *, kind: Kind, sender: int) -> bytes:
    """Return the payload of a frame that belongs here; its signature is for the caller to verify.

    Raises:
        SessionMismatch: late, replayed or misdirected.
        FrameKindUnknown: not the kind that was asked for.
        SenderUnknown: outside the roster, or another holder than expected.
    """
    if frame.session != session.id:
        raise SessionMismatch("the frame is of another session", sender=sender)
    if frame.kind != kind:
        raise FrameKindUnknown(f"kind: expected {kind.name}, got {frame.kind.name}", sender=sender)
    session.require_index(frame.sender)
    if frame.sender != sender:
        raise SenderUnknown(f"sender: expected {sender}, the frame says {frame.sender}", sender=sender)
    return frame.payload


def _read_frame(data: bytes, start: int) -> tuple[Frame, int]:
    """Parse the frame at `start`; return it and the position after it."""
    header = data[start : start + _HEADER_BYTES]
    if header[:3] != MAGIC[: len(header)]:
        raise FrameMagicWrong("frame: the first three bytes must be SYM")
    if len(header) > 3 and header[3] != VERSION:
        raise FrameVersionUnknown(f"version: expected {VERSION}, got {header[3]}")
    if len(header) < _HEADER_BYTES:
        raise FrameTruncated(f"header: expected {_HEADER_BYTES} bytes, got {len(header)}")
    kind = _kind(header[4])
    sender = int.from_bytes(header[37:39], "big")
    length = int.from_bytes(header[39:43], "big")
    if length > PAYLOAD_MAX:
        raise FrameTooLong(f"payload: expected at most {PAYLOAD_MAX} bytes, got {length}")
    body = start + _HEADER_BYTES
    end = body + length + SIGNATURE_BYTES
    if len(data) < end:
        raise FrameTruncated(f"frame: expected {end - start} bytes, got {len(data) - start}")
    payload = bytes(data[body : body + length])
    return Frame(kind, bytes(header[5:37]), sender, payload, bytes(data[body + length : end])), end


def _kind(value: int) -> Kind:
    try:
        return Kind(value)
    except ValueError as err:
        raise FrameKindUnknown(f"kind: expected 1 to 4, got {value}") from err
