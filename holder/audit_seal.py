"""What a holder keeps for an audit, sealed so that only the regulator opens it.

A box is X25519 with a fresh key, HKDF-SHA256 and ChaCha20-Poly1305. Its key and its associated data are of one session, one holder and
one use, so that no box can stand in for another.

Source: docs/protocol.md §5; RFC 7748, RFC 5869, RFC 8439.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from holder.errors import AuditBoxClosed
from ledger.types import Participant, to_hex
from privacy.agreement import x25519_public, x25519_shared
from privacy.errors import StateCorrupt, WeakKey
from privacy.prg import CURVE_ORDER, derive_key
from privacy.sealed_sum import HolderSecrets
from privacy.session import Session

SEED_USE: Final = "audit-seed"  # seed and blinding
ROWS_USE: Final = "audit-rows"  # the salt key of the asset's rows
MESSAGES_USE: Final = "audit-messages"  # the key of the folder's messages
STORED_NAME: Final = "audit"  # of the stored secret: the seed's boxes, one after the other
_MAGIC: Final = b"SYA\x01"
_NONCE: Final = bytes(12)  # each key seals one message
_KEY_BYTES: Final = 32
_HEAD_BYTES: Final = len(_MAGIC) + 2 * _KEY_BYTES
_TAG_BYTES: Final = 16
SEED_BOX_BYTES: Final = _HEAD_BYTES + 2 * _KEY_BYTES + _TAG_BYTES

log = structlog.get_logger("shuyao.holder")


@dataclass(frozen=True, slots=True)
class AuditContext:
    """Where a box belongs: 32 bytes of session, the holder's index, 32 bytes of request id."""

    session: bytes
    index: int
    request_id: bytes

    @classmethod
    def of(cls, session: Session, index: int) -> AuditContext:
        """Return the context of one holder in a session."""
        return cls(session.id, index, session.request_id)

    def to_bytes(self) -> bytes:
        """Encode what is sealed for this place is bound to: session ‖ u16 index ‖ request id."""
        return self.session + self.index.to_bytes(2, "big") + self.request_id


@dataclass(frozen=True, slots=True)
class AuditSecrets:
    """What makes a contribution recomputable: the seed of the noise, 32 bytes, and r_i mod q."""

    noise_seed: bytes = field(repr=False)
    blinding: int = field(repr=False)

    @classmethod
    def of(cls, secrets: HolderSecrets) -> AuditSecrets:
        """Return those among a session's secrets."""
        return cls(secrets.noise_seed, secrets.blinding)

    def to_bytes(self) -> bytes:
        """Encode as two words."""
        return self.noise_seed + self.blinding.to_bytes(_KEY_BYTES, "big")

    @classmethod
    def from_bytes(cls, data: bytes) -> AuditSecrets:
        """Decode two words.

        Raises:
            StateCorrupt: another length, or a blinding that is not reduced.
        """
        blinding = int.from_bytes(data[_KEY_BYTES:], "big")
        if len(data) != 2 * _KEY_BYTES or blinding >= CURVE_ORDER:
            raise StateCorrupt("audit secrets: expected a seed and a reduced blinding, 32 bytes each")
        return cls(data[:_KEY_BYTES], blinding)


def seal(secret: bytes, recipient: bytes, context: AuditContext, *, use: str, ephemeral: bytes) -> bytes:
    """Seal a secret to an X25519 key.

    Args:
        secret: what only the recipient shall read.
        recipient: its public key, 32 bytes.
        context: where it belongs.
        use: what it is.
        ephemeral: 32 bytes of the system's randomness, used for this box alone.

    Raises:
        WeakKey: the recipient's key has low order.
    """
    shared = x25519_shared(X25519PrivateKey.from_private_bytes(ephemeral), recipient)
    head = _MAGIC + recipient + x25519_public(ephemeral)
    return head + _cipher(shared, context, use).encrypt(_NONCE, secret, _associated(context, head))


def recipient_of(box: bytes) -> bytes:
    """Return the public key that a box was sealed to.

    Raises:
        AuditBoxClosed: these bytes are no box.
    """
    if box[: len(_MAGIC)] != _MAGIC or len(box) < _HEAD_BYTES + _TAG_BYTES:
        raise AuditBoxClosed("expected a sealed box of version 1")
    return box[len(_MAGIC) : len(_MAGIC) + _KEY_BYTES]


def open_box(box: bytes, key: X25519PrivateKey, context: AuditContext, *, use: str) -> bytes:
    """Open a box.

    Raises:
        AuditBoxClosed: it was sealed to another key, for another session, holder or use, or was changed.
    """
    if recipient_of(box) != key.public_key().public_bytes_raw():
        raise AuditBoxClosed("the box was sealed to another key")
    head, ephemeral = box[:_HEAD_BYTES], box[len(_MAGIC) + _KEY_BYTES : _HEAD_BYTES]
    try:
        shared = x25519_shared(key, ephemeral)
        return _cipher(shared, context, use).decrypt(_NONCE, box[_HEAD_BYTES:], _associated(context, head))
    except (InvalidTag, WeakKey) as err:
        raise AuditBoxClosed("the box does not open for this session, holder and use") from err


def seal_for_regulators(
    secrets: HolderSecrets,
    session: Session,
    index: int,
    regulators: Iterable[Participant],
    rand: Callable[[int], bytes],
) -> dict[str, bytes]:
    """Return what goes to disk with the bundle: seed and blinding, sealed to each regulator; empty without any.

    A regulator's unusable key is reported and left out: it must not stop a request.
    """
    context, secret = AuditContext.of(session, index), AuditSecrets.of(secrets).to_bytes()
    boxes = []
    for regulator in regulators:
        try:
            box = seal(secret, regulator.x25519, context, use=SEED_USE, ephemeral=rand(_KEY_BYTES))
        except WeakKey:
            log.warning("regulator's key unusable", regulator=to_hex(regulator.account))
            continue
        boxes.append(box)
    return {STORED_NAME: b"".join(boxes)} if boxes else {}


def stored_boxes(data: bytes) -> dict[bytes, bytes]:
    """Return the stored boxes of the seed by recipient.

    Raises:
        AuditBoxClosed: the stored bytes are no boxes.
    """
    if len(data) % SEED_BOX_BYTES:
        raise AuditBoxClosed(f"expected sealed boxes of {SEED_BOX_BYTES} bytes, the last one is shorter")
    boxes = [data[k : k + SEED_BOX_BYTES] for k in range(0, len(data), SEED_BOX_BYTES)]
    return {recipient_of(box): box for box in boxes}


def _cipher(shared: bytes, context: AuditContext, use: str) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(derive_key(shared, context.session, use, context.index, context.index))


def _associated(context: AuditContext, head: bytes) -> bytes:
    return context.to_bytes() + head
