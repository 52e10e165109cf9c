"""The buyer's own SQLite file: every request it ever signed, kept before anything is sent, and its models.

Invariant: for one identical plan on one deployment there is at most one request that is still good. So a
buyer that is killed anywhere, or that runs twice, resumes the request it signed and never signs a second one
by accident.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    and_,
    insert,
    select,
    update,
)

from client.errors import RequestUnknown, StoreError
from client.types import LocalState, StoredModel, StoredModelKey, StoredRequest
from ledger.database import read_transaction, write_transaction
from ledger.encoding import parse_canonical_json
from ledger.errors import MalformedValue
from ledger.types import Address, Request, digest_from_hex, to_hex

SCHEMA_VERSION: Final = "1"
_GOOD: Final = (LocalState.PREPARED.value, LocalState.SUBMITTED.value, LocalState.ANSWERED.value)

_metadata = MetaData()
_facts = Table(
    "client_facts",
    _metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)
_requests = Table(
    "client_requests",
    _metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("request_id", String(66), nullable=False, unique=True),
    Column("chain_id", String(80), nullable=False),
    Column("ledger", String(42), nullable=False),
    Column("plan_hash", String(66), nullable=False, index=True),
    Column("request", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("plan", LargeBinary, nullable=False),
    Column("quote", Text, nullable=False),
    Column("sql", Text, nullable=False),
    Column("listing_name", Text, nullable=False),
    Column("idempotency_key", String(64), nullable=False),
    Column("sealed_key", LargeBinary, nullable=False),
    Column("since_block", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    sqlite_autoincrement=True,
)
_nonces = Table(
    "client_nonces",
    _metadata,
    Column("chain_id", String(80), primary_key=True),
    Column("ledger", String(42), primary_key=True),
    Column("next", BigInteger, nullable=False),
)
_model_keys = Table(
    "client_model_keys",
    _metadata,
    Column("key_id", LargeBinary, primary_key=True),
    Column("bits", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)
_models = Table(
    "client_models",
    _metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("key_id", LargeBinary, nullable=False, index=True),
    Column("weight_bits", Integer, nullable=False),
    Column("weight_scale_bits", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)


class Store:
    """The requests of one account on one deployment, and its models.

    Args:
        engine: the buyer's database.
        buyer: the account that owns it.
        chain_id: with `ledger`, the deployment; requests of another one are kept, but not seen.

    Raises:
        StoreError: the database belongs to another account or another version of this program.
    """

    def __init__(self, engine: Engine, *, buyer: Address, chain_id: int, ledger: Address) -> None:
        self._engine = engine
        self._scope = {"chain_id": str(chain_id), "ledger": to_hex(ledger)}
        _metadata.create_all(engine)
        with write_transaction(engine) as connection:
            _require_fact(connection, "version", SCHEMA_VERSION)
            _require_fact(connection, "buyer", to_hex(buyer))

    def prepare(self, fresh: StoredRequest) -> StoredRequest:
        """Keep a request that was just signed, unless there is a good one for the identical plan already.

        Returns:
            The request that stands: `fresh`, or the earlier one, and then `fresh` must never be sent.
        """
        with write_transaction(self._engine) as connection:
            standing = self._good(connection, fresh.request.plan_hash)
            if standing is not None:
                return standing
            connection.execute(insert(_requests).values(**self._scope, **_row(fresh)))
        return fresh

    def good(self, plan_hash: bytes) -> StoredRequest | None:
        """Return the request for this plan that is under way or answered, if there is one."""
        with read_transaction(self._engine) as connection:
            return self._good(connection, plan_hash)

    def get(self, request_id: bytes) -> StoredRequest:
        """Return one request.

        Raises:
            RequestUnknown: it was not made from this store.
        """
        with read_transaction(self._engine) as connection:
            found = connection.execute(self._select().where(_requests.c.request_id == to_hex(request_id)))
            row = found.mappings().one_or_none()
        if row is None:
            raise RequestUnknown(request_id)
        return _read(row)

    def all(self) -> Sequence[StoredRequest]:
        """Return every request on this deployment, oldest first."""
        with read_transaction(self._engine) as connection:
            rows = connection.execute(self._select().order_by(_requests.c.number)).mappings().all()
        return [_read(row) for row in rows]

    def set_state(self, request_id: bytes, state: LocalState, detail: str = "") -> None:
        """Move a request on. What is over stays over: only a request under way changes its state."""
        under_way = (LocalState.PREPARED.value, LocalState.SUBMITTED.value)
        with write_transaction(self._engine) as connection:
            connection.execute(
                update(_requests)
                .where(_requests.c.request_id == to_hex(request_id), _requests.c.state.in_(under_way))
                .values(state=state.value, detail=detail)
            )

    def renew_idempotency_key(self, request_id: bytes, key: str) -> None:
        """Keep another Idempotency-Key, so that the same signed request can be handed in after a refusal."""
        with write_transaction(self._engine) as connection:
            connection.execute(
                update(_requests)
                .where(_requests.c.request_id == to_hex(request_id))
                .values(idempotency_key=key)
            )

    def take_nonce(self, first: int) -> int:
        """Return a nonce that this store never gave out on this deployment, each the one after the last.

        Args:
            first: where a new store begins.
        """
        wanted = and_(*(_nonces.c[name] == value for name, value in self._scope.items()))
        with write_transaction(self._engine) as connection:
            found = connection.execute(select(_nonces.c.next).where(wanted)).scalar_one_or_none()
            nonce = first if found is None else int(found)
            if found is None:
                connection.execute(insert(_nonces).values(**self._scope, next=nonce + 1))
            else:
                connection.execute(update(_nonces).where(wanted).values(next=nonce + 1))
        return nonce

    # --- models: of the account, whatever the deployment

    def model_keys(self) -> Sequence[StoredModelKey]:
        """Return every Paillier key, the smallest first."""
        with read_transaction(self._engine) as connection:
            return _read_keys(connection, 0)

    def keep_model_key(self, fresh: StoredModelKey) -> StoredModelKey:
        """Keep a new key, unless there is one already that is as long; returns the one that stands."""
        with write_transaction(self._engine) as connection:
            standing = next(iter(_read_keys(connection, fresh.bits)), None)
            if standing is None:
                connection.execute(insert(_model_keys).values(**_slots(fresh)))
        return standing or fresh

    def models(self, key_id: bytes) -> Sequence[StoredModel]:
        """Return every model that was encrypted under a key, oldest first."""
        with read_transaction(self._engine) as connection:
            return _read_models(connection, key_id)

    def keep_model(self, fresh: StoredModel, same: Callable[[StoredModel], bool]) -> StoredModel:
        """Keep an encrypted model, unless the same model is there already: one model, one set of ciphertexts.

        Returns:
            The one that stands.
        """
        with write_transaction(self._engine) as connection:
            for each in _read_models(connection, fresh.key_id):
                if same(each):
                    return each
            connection.execute(insert(_models).values(**_slots(fresh)))
        return fresh

    def _select(self) -> Any:
        return select(_requests).where(
            _requests.c.chain_id == self._scope["chain_id"], _requests.c.ledger == self._scope["ledger"]
        )

    def _good(self, connection: Connection, plan_hash: bytes) -> StoredRequest | None:
        query = self._select().where(_requests.c.plan_hash == to_hex(plan_hash), _requests.c.state.in_(_GOOD))
        row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _read(row)


def _read_keys(connection: Connection, bits: int) -> list[StoredModelKey]:
    query = select(_model_keys).where(_model_keys.c.bits >= bits).order_by(_model_keys.c.bits)
    return [StoredModelKey(**row) for row in connection.execute(query).mappings()]


def _read_models(connection: Connection, key_id: bytes) -> list[StoredModel]:
    query = select(_models).where(_models.c.key_id == key_id).order_by(_models.c.number)
    return [
        StoredModel(**{name: row[name] for name in StoredModel.__slots__})
        for row in connection.execute(query).mappings()
    ]


def _slots(value: StoredModelKey | StoredModel) -> dict[str, Any]:
    return {name: getattr(value, name) for name in type(value).__slots__}


def _require_fact(connection: Connection, name: str, expected: str) -> None:
    actual = connection.execute(select(_facts.c.value).where(_facts.c.name == name)).scalar_one_or_none()
    if actual is None:
        connection.execute(insert(_facts).values(name=name, value=expected))
    elif actual != expected:
        raise StoreError(f"the buyer's store has {name} {actual}, expected {expected}")


def _row(request: StoredRequest) -> dict[str, Any]:
    return {
        "request_id": to_hex(request.request_id),
        "plan_hash": to_hex(request.request.plan_hash),
        "request": json.dumps(request.request.to_json()),
        "signature": request.signature,
        "plan": request.plan_json,
        "quote": request.quote_json,
        "sql": request.sql,
        "listing_name": request.listing_name,
        "idempotency_key": request.idempotency_key,
        "sealed_key": request.sealed_key,
        "since_block": request.since_block,
        "state": request.state.value,
        "detail": request.detail,
    }


def _read(row: RowMapping) -> StoredRequest:
    try:
        parse_canonical_json(row["plan"])
        return StoredRequest(
            request_id=digest_from_hex(row["request_id"]),
            request=Request.from_json(json.loads(row["request"])),
            signature=row["signature"],
            plan_json=row["plan"],
            quote_json=row["quote"],
            sql=row["sql"],
            listing_name=row["listing_name"],
            idempotency_key=row["idempotency_key"],
            state=LocalState(row["state"]),
            detail=row["detail"],
            sealed_key=row["sealed_key"],
            since_block=row["since_block"],
        )
    except (MalformedValue, ValueError) as err:
        raise StoreError(f"the buyer's store cannot be read back: {type(err).__name__}") from err
