"""The Paillier key of a holder for the joins in which it has the measures: made once, sealed on its disk."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sqlalchemy import Engine, and_, insert, select
from sqlalchemy.exc import IntegrityError

from holder.tables import secrets_
from holder.vault import Vault
from ledger.database import read_transaction, write_transaction

if TYPE_CHECKING:
    from privacy.paillier import PrivateKey

_PLACE: Final = bytes(32)  # of no request: an id is a hash
_NAME: Final = "join-key"


class JoinKey:
    """The key, made when it is needed first.

    One key serves all requests. Each encrypts its numbers afresh, and public-key encryption is made for many messages; the
    only decryptions that follow from it are masked sums, uniform to whoever knows the mask; and the matcher knows from the
    chain with whom it joins, so that the key tells it nothing. A key for each request would cost a second of CPU, and a
    thief of the vault would have it all the same, as each session's state has to outlive a crash.

    The epoch of the store is not raised for it: nothing that was sent depends on which key the next session takes.

    Args:
        engine: of the holder's store.
        vault: seals it.
        rand: the system's randomness.
    """

    def __init__(self, engine: Engine, vault: Vault, rand: Callable[[int], bytes]) -> None:
        self._engine, self._vault, self._rand = engine, vault, rand
        self._turn = threading.Lock()
        self._key: PrivateKey | None = None

    def take(self) -> PrivateKey:
        """Return the key; the first time it is drawn and stored.

        Raises:
            VaultLocked: the stored one does not open under this holder's account key.
        """
        with self._turn:
            if self._key is None:
                self._key = self._stored() or self._made()
            return self._key

    def _stored(self) -> PrivateKey | None:
        from privacy.paillier import decode_private_key

        where = and_(secrets_.c.request_id == _PLACE, secrets_.c.name == _NAME)
        with read_transaction(self._engine) as connection:
            sealed = connection.execute(select(secrets_.c.sealed).where(where)).scalar()
        return None if sealed is None else decode_private_key(self._vault.open(_PLACE, _NAME, sealed))

    def _made(self) -> PrivateKey:
        from privacy.paillier import PrivateKey, encode_private_key

        made = PrivateKey.generate(self._rand)
        row = {"request_id": _PLACE, "name": _NAME}
        row_sealed = {**row, "sealed": self._vault.seal(_PLACE, _NAME, encode_private_key(made))}
        try:
            with write_transaction(self._engine) as connection:
                connection.execute(insert(secrets_), [row_sealed])
        except IntegrityError:
            return self._stored() or made
        return made
