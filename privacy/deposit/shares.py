"""One trustee's share of a joint key: secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from privacy.deposit.errors import DepositError, EncodingRefused, ShareMismatch
from privacy.deposit.keys import MAGIC, DepositKey
from privacy.deposit.points import decode_scalar, encode_scalar, generator, scalar
from privacy.encoding import WORD_BYTES
from privacy.types import Digest

SHARE_KIND: Final = 16
_SHARE_HEAD = MAGIC + bytes([SHARE_KIND])
_SHARE_BYTES = len(_SHARE_HEAD) + WORD_BYTES + 2 + WORD_BYTES


@dataclass(frozen=True, slots=True)
class KeyShare:
    """One trustee's share of a joint key: secret.

    Attributes:
        trustee: the index i.
        secret: s_i, below q.
        key_id: of the key's record.
    """

    trustee: int
    secret: int = field(repr=False)
    key_id: Digest

    @classmethod
    def of(cls, key: DepositKey, trustee: int, secret: int) -> KeyShare:
        """Return a checked share.

        Raises:
            ShareMismatch: s_i·G is not Y_i.
            KeyInvalid: there is no such trustee.
        """
        share = cls(trustee, secret, key.id)
        share.require_of(key)
        return share

    def require_of(self, key: DepositKey) -> None:
        """Require that this is a share of that key.

        Raises:
            ShareMismatch: of another key, or s_i·G is not Y_i.
            KeyInvalid: there is no such trustee.
        """
        if self.key_id != key.id or generator() * scalar(self.secret) != key.share_point(self.trustee):
            raise ShareMismatch(f"trustee {self.trustee}: the share is not of this key")

    def encode(self) -> bytes:
        """Encode for a keystore, which seals it: these bytes are not encrypted."""
        return _SHARE_HEAD + self.key_id + self.trustee.to_bytes(2, "big") + encode_scalar(self.secret)

    @classmethod
    def decode(cls, data: bytes) -> KeyShare:
        """Read what `encode` wrote.

        Raises:
            EncodingRefused: other bytes.
        """
        if len(data) != _SHARE_BYTES or not data.startswith(_SHARE_HEAD):
            raise EncodingRefused(f"expected the {_SHARE_BYTES} bytes of a share of a deposit's key")
        body = data[len(_SHARE_HEAD) :]
        trustee = int.from_bytes(body[WORD_BYTES : WORD_BYTES + 2], "big")
        try:
            secret = decode_scalar(body[WORD_BYTES + 2 :])
        except DepositError as err:
            raise EncodingRefused(f"a share: {err}") from err
        return cls(trustee, secret, Digest(body[:WORD_BYTES]))
