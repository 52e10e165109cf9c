"""What a trustee of an encrypted deposit keeps: seeds of ceremonies that go on, shares of joint keys, and what each share serves.

Everything secret is sealed under the holder's account key, which the keystore seals; a share never stands on disk in the open.

    ⟨context⟩.seed     the seed of a ceremony, until its share is stored
    ⟨key id⟩.share     this trustee's share of a joint key
    ⟨key id⟩.deposit   the root of the one deposit that the share decrypts sums of
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from holder.errors import KeyUsed, ShareMissing, StoreError
from holder.vault import Vault
from ledger.errors import KeystoreExists, KeystoreMissing
from ledger.keystore import read_file, write_new
from ledger.signing import Signer
from privacy.deposit import Ceremony, DepositKey, KeyShare, TrusteeSecret
from privacy.types import Digest

SEED_BYTES: Final = 32
_SEED: Final = "deposit-seed"
_SHARE: Final = "deposit-share"


class TrusteeKeys:
    """A trustee's folder.

    Args:
        folder: made when needed, for its owner alone.
        signer: the holder's account.
        rand: the system's randomness.
    """

    def __init__(
        self, folder: Path, signer: Signer, *, rand: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self._folder, self._signer, self._rand = folder, signer, rand
        self._vault = Vault(signer)

    def begin(self, ceremony: Ceremony) -> TrusteeSecret:
        """Return the secret of a ceremony, drawn and stored before it is used for the first time.

        Raises:
            ShareMissing: this account is no trustee of the ceremony.
            VaultLocked: the stored seed is another account's.
        """
        self.index_in(ceremony)
        sealed = self._vault.seal(ceremony.context, _SEED, self._rand(SEED_BYTES))
        with suppress(KeystoreExists):  # the one that was stored first stands
            write_new(self._seed_path(ceremony), sealed)
        return self.secret(ceremony)

    def secret(self, ceremony: Ceremony) -> TrusteeSecret:
        """Return the secret of a ceremony that this trustee began.

        Raises:
            ShareMissing: it never did, or finished it already; or this account is no trustee of it.
            VaultLocked: the stored seed is another account's.
        """
        index = self.index_in(ceremony)
        try:
            sealed = read_file(self._seed_path(ceremony))
        except KeystoreMissing as err:
            raise ShareMissing("this trustee has no seed of this ceremony: `announce` comes first") from err
        return TrusteeSecret(ceremony, index, self._vault.open(ceremony.context, _SEED, sealed))

    def index_in(self, ceremony: Ceremony) -> int:
        """Return this account's index.

        Raises:
            ShareMissing: it is no trustee of the ceremony.
        """
        for index, trustee in enumerate(ceremony.trustees):
            if bytes(trustee) == self._signer.address:
                return index
        raise ShareMissing(f"0x{self._signer.address.hex()} is no trustee of this ceremony")

    def put(self, ceremony: Ceremony, key: DepositKey, share: KeyShare) -> None:
        """Store a share, and then forget the seed it was made from.

        Raises:
            ShareMismatch: the share is not of this key.
        """
        share.require_of(key)
        try:
            write_new(self._path(key.id, "share"), self._vault.seal(key.id, _SHARE, share.encode()))
        except KeystoreExists:
            self.share(key)
        self._seed_path(ceremony).unlink(missing_ok=True)

    def share(self, key: DepositKey) -> KeyShare:
        """Return the share of a joint key.

        Raises:
            ShareMissing: there is none.
            VaultLocked: it was sealed by another account, or altered.
            ShareMismatch: it is not of this key.
        """
        try:
            sealed = read_file(self._path(key.id, "share"))
        except KeystoreMissing as err:
            raise ShareMissing(f"no share of the joint key {key.id.hex()} in {self._folder.name}") from err
        share = KeyShare.decode(self._vault.open(key.id, _SHARE, sealed))
        share.require_of(key)
        return share

    def has(self, key: DepositKey) -> bool:
        """Tell whether there is a share of a joint key."""
        return self._path(key.id, "share").exists()

    def bind(self, key: DepositKey, root: Digest) -> None:
        """Let a share serve one deposit from now on, and no other ever.

        Raises:
            KeyUsed: it serves another.
        """
        try:
            write_new(self._path(key.id, "deposit"), root.hex().encode())
        except KeystoreExists:
            self.require_bound(key, root)

    def require_bound(self, key: DepositKey, root: bytes) -> None:
        """Require that a share serves this deposit.

        Raises:
            KeyUsed: it serves another, or none yet.
        """
        found = self.bound(key.id)
        if found != root:
            raise KeyUsed(f"the share of key {key.id.hex()} serves {found.hex() or 'no deposit'} alone")

    def bound(self, key_id: bytes) -> bytes:
        """Return the root of the deposit that a share serves; empty if none.

        Raises:
            StoreError: what stands on disk is no root.
        """
        try:
            return bytes.fromhex(read_file(self._path(key_id, "deposit")).decode("ascii"))
        except KeystoreMissing:
            return b""
        except ValueError as err:
            raise StoreError(f"the note of what key {key_id.hex()} serves is damaged") from err

    def key_ids(self) -> list[Digest]:
        """Return the ids of the keys that there are shares of."""
        found = sorted(path.stem for path in self._folder.glob("*.share"))
        return [Digest(bytes.fromhex(stem)) for stem in found]

    def _seed_path(self, ceremony: Ceremony) -> Path:
        return self._path(ceremony.context, "seed")

    def _path(self, name: bytes, kind: str) -> Path:
        return self._folder / f"{name.hex()}.{kind}"
