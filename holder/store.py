"""What the node must not forget: requests, secrets, messages, its own budget ledger, assets and decisions.

The write order is the safety proof. Whatever is about to be sent (public keys, hashes, frames) and whatever
it was made from (secrets, cells with noise, blinding) is committed here first, in one transaction that also
moves the request to its next stage and raises the epoch; the epoch file follows; only then does a byte
leave. Nothing that was written once is ever overwritten, so a restart sends the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, Select, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from holder.epoch import EpochFile
from holder.errors import (
    AlreadyAnswered,
    BudgetExhausted,
    BuyerQuotaExhausted,
    OnceOnly,
    RequestUnknown,
    RestoredBackup,
    StoreError,
    StoreVersionUnknown,
)
from holder.tables import (
    MICRO_RHO_MAX,
    STORE_VERSION,
    asset_of,
    asset_row,
    assets,
    dump,
    entrustments,
    line_of,
    lines,
    messages,
    meta,
    metadata,
    request_of,
    requests,
    secrets_,
)
from holder.types import (
    ENDED,
    BudgetLine,
    Decision,
    Entrustment,
    Hold,
    OutMessage,
    Stage,
    StoredAsset,
    StoredRequest,
)
from holder.vault import Vault
from ledger.database import read_transaction, write_transaction
from ledger.types import Address, Digest, Request
from privacy.messages import Kind

_BEHIND: Final = "behind"  # row of `meta`: restored, and the journal of transactions is still the backup's


class HolderStore:
    """The node's tables on SQLite or PostgreSQL.

    Args:
        engine: from `ledger.database.make_engine`.
        vault: seals what is secret.
        epoch_file: the counter outside the database.
        now_s: clock, Unix seconds.
    """

    def __init__(
        self, engine: Engine, vault: Vault, epoch_file: EpochFile, *, now_s: Callable[[], float] = time.time
    ) -> None:
        self.engine = engine
        self._vault = vault
        self._epoch_file = epoch_file
        self._now_s = now_s

    def create_tables(self) -> None:
        """Create what is missing; refuse a store of another version.

        Raises:
            StoreVersionUnknown: the database was written by another version of the node.
        """
        with write_transaction(self.engine) as connection:
            metadata.create_all(connection)
            version = _meta(connection, "version")
            if version is None:
                connection.execute(insert(meta), [{"name": "version", "value": STORE_VERSION}])
                connection.execute(insert(meta), [{"name": "epoch", "value": 0}])
            elif version != STORE_VERSION:
                raise StoreVersionUnknown(f"expected a store of version {STORE_VERSION}, found {version}")

    # --- restored backups ---------------------------------------------------------------------------------

    def refuse_if_restored(self) -> tuple[Digest, ...]:
        """Compare the database's epoch with the file's, and refuse open sessions when the database is older.

        Returns:
            The requests that are now refused; empty when nothing was restored.
        """
        beside = self._epoch_file.read()
        with write_transaction(self.engine) as connection:
            inside = _meta(connection, "epoch") or 0
            if inside >= beside:
                restored: list[Digest] = []
            else:
                restored = [Digest(row.request_id) for row in connection.execute(_open_sessions())]
                detail = f"the store is at epoch {inside}, this holder was at {beside}"
                for request_id in restored:
                    values = {
                        "stage": Stage.REFUSED.value,
                        "reason": RestoredBackup.__name__,
                        "detail": detail,
                    }
                    connection.execute(_update(request_id).values(**values, updated_at_s=int(self._now_s())))
                inside = beside + 1
                connection.execute(update(meta).where(meta.c.name == "epoch").values(value=inside))
                connection.execute(delete(meta).where(meta.c.name == _BEHIND))
                connection.execute(insert(meta), [{"name": _BEHIND, "value": inside}])
        if inside != beside:
            self._epoch_file.advance(inside)
        return tuple(restored)

    def is_behind_chain(self) -> bool:
        """Say whether this is a restored backup whose journal of transactions was not brought up to the chain yet."""
        with read_transaction(self.engine) as connection:
            return _meta(connection, _BEHIND) is not None

    def set_caught_up(self) -> None:
        """Remember that the journal of transactions goes on from the chain's nonce."""
        with self._disk_first() as connection:
            connection.execute(delete(meta).where(meta.c.name == _BEHIND))

    # --- assets and entrustments --------------------------------------------------------------------------

    def put_asset(self, asset: StoredAsset) -> None:
        """Store one version of an asset; the same rows may be found elsewhere, or touched, since.

        Raises:
            OnceOnly: this version exists with other content.
        """
        row = asset_row(asset)
        place = {name: row[name] for name in ("source", "fingerprint")}
        with self._disk_first() as connection:
            where = and_(assets.c.asset_id == asset.asset_id, assets.c.version == asset.version)
            found = connection.execute(select(assets).where(where)).mappings().first()
            if found is None:
                connection.execute(insert(assets), [row])
            elif dict(found) | place != row:
                raise OnceOnly(f"version {asset.version} of asset {asset.name} exists with other content")
            else:
                connection.execute(update(assets).where(where).values(**place))

    def asset(self, asset_id: bytes, version: int) -> StoredAsset | None:
        """Return one version of an asset, None when this holder never registered it."""
        where = and_(assets.c.asset_id == asset_id, assets.c.version == version)
        with read_transaction(self.engine) as connection:
            row = connection.execute(select(assets).where(where)).first()
        return None if row is None else asset_of(row)

    def newest_assets(self) -> tuple[StoredAsset, ...]:
        """Return every asset at its newest version, by name."""
        with read_transaction(self.engine) as connection:
            rows = connection.execute(select(assets).order_by(assets.c.name, assets.c.version)).all()
        return tuple({row.asset_id: asset_of(row) for row in rows}.values())

    def put_entrustment(self, entrustment: Entrustment) -> None:
        """Remember that an asset was given to a listing; repeating it changes nothing."""
        where = and_(
            entrustments.c.asset_id == entrustment.asset_id, entrustments.c.listing == entrustment.listing
        )
        with self._disk_first() as connection:
            if connection.execute(select(entrustments.c.listing).where(where)).first() is None:
                values = {name: getattr(entrustment, name) for name in Entrustment.__dataclass_fields__}
                connection.execute(insert(entrustments), [values])

    def entrustments(self) -> tuple[Entrustment, ...]:
        """Return everything that this holder entrusted."""
        with read_transaction(self.engine) as connection:
            rows = connection.execute(select(entrustments).order_by(entrustments.c.listing_name)).all()
        return tuple(
            Entrustment(Digest(r.asset_id), Digest(r.listing), r.listing_name, Address(r.broker))
            for r in rows
        )

    # --- budget lines -------------------------------------------------------------------------------------

    def put_line(self, line: bytes, key_space: str, total: int) -> None:
        """Open a budget line in the holder's own ledger.

        Raises:
            OnceOnly: the line exists with another total.
        """
        if not 0 < total <= MICRO_RHO_MAX:
            raise StoreError(f"expected a total in [1, 2^63) micro-rho, got {total}")
        with self._disk_first() as connection:
            found = connection.execute(select(lines).where(lines.c.line == line)).first()
            if found is None:
                values = {"line": line, "key_space": key_space, "total": total, "reserved": 0, "spent": 0}
                connection.execute(insert(lines), [values])
            elif (found.key_space, found.total) != (key_space, total):
                raise OnceOnly(f"line {key_space} exists with a total of {found.total} micro-rho")

    def line(self, line: bytes) -> BudgetLine | None:
        """Return one budget line, None when it was never opened here."""
        with read_transaction(self.engine) as connection:
            row = connection.execute(select(lines).where(lines.c.line == line)).first()
        return None if row is None else line_of(row)

    def lines(self) -> tuple[BudgetLine, ...]:
        """Return every budget line, by key space."""
        with read_transaction(self.engine) as connection:
            return tuple(map(line_of, connection.execute(select(lines).order_by(lines.c.key_space))))

    def raise_spent(self, line: bytes, *, at_least: int) -> bool:
        """Raise a line's spending to what the chain shows, when this ledger knows less (a restored backup).

        Args:
            at_least: reserved and spent on the chain, in micro-ρ.
        """
        used = lines.c.reserved + lines.c.spent
        change = update(lines).where(and_(lines.c.line == line, used < at_least))
        with self._disk_first() as connection:
            done = connection.execute(change.values(spent=at_least - lines.c.reserved))
            return done.rowcount == 1

    def settle(self, request_id: bytes, hold: Hold) -> bool:
        """Turn a reservation into a charge, or release it; once. After the unmask message nothing is released.

        Returns:
            False when there was no open reservation.
        """
        with self._disk_first() as connection:
            return _settle(connection, request_id, hold)

    # --- requests -----------------------------------------------------------------------------------------

    def see(self, request_id: bytes, request: Request) -> bool:
        """Remember a request that was opened on the chain.

        Returns:
            False when it was known.
        """
        values = {
            "request_id": request_id,
            "buyer": request.buyer,
            "plan_hash": request.plan_hash,
            "request": dump(request.to_json()),
            "stage": Stage.SEEN.value,
            "rho": request.rho_micro,
            "updated_at_s": int(self._now_s()),
        }
        with write_transaction(self.engine) as connection:
            if connection.execute(_one(request_id)).first() is not None:
                return False
            connection.execute(insert(requests), [values])
            return True

    def request(self, request_id: bytes) -> StoredRequest:
        """Return one request.

        Raises:
            RequestUnknown: it was never seen here.
        """
        with read_transaction(self.engine) as connection:
            row = connection.execute(_one(request_id)).first()
        if row is None:
            raise RequestUnknown("no request with this id was seen here")
        return request_of(row)

    def live_requests(self) -> tuple[Digest, ...]:
        """Return the ids of requests for which something is still to be done or watched."""
        ended = [stage.value for stage in ENDED]
        live = or_(requests.c.stage.not_in(ended), requests.c.hold == Hold.RESERVED.value)
        query = select(requests.c.request_id).where(live).order_by(requests.c.request_id)
        with read_transaction(self.engine) as connection:
            return tuple(Digest(row.request_id) for row in connection.execute(query))

    def list_requests(self, *, stage: Stage | None = None, limit: int = 100) -> tuple[StoredRequest, ...]:
        """Return requests, the most recently changed first."""
        query = select(requests).order_by(requests.c.updated_at_s.desc(), requests.c.request_id).limit(limit)
        if stage is not None:
            query = query.where(requests.c.stage == stage.value)
        with read_transaction(self.engine) as connection:
            return tuple(map(request_of, connection.execute(query).all()))

    def count_stages(self) -> dict[str, int]:
        """Return how many requests stand at each stage."""
        query = select(requests.c.stage, func.count()).group_by(requests.c.stage)
        with read_transaction(self.engine) as connection:
            return {row[0]: int(row[1]) for row in connection.execute(query)}

    def is_answered(self, buyer: bytes, plan_hash: bytes, *, other_than: bytes) -> bool:
        """Say whether another request of this buyer with this plan was sealed."""
        with read_transaction(self.engine) as connection:
            return _is_answered(connection, buyer, plan_hash, other_than)

    def set_plan(
        self, request_id: bytes, plan: Mapping[str, Any], asset_id: bytes, version: int, line: bytes
    ) -> None:
        """Keep the checked plan and which of our assets it uses."""
        values = {"plan": dump(plan), "asset_id": asset_id, "asset_version": version, "line": line}
        with write_transaction(self.engine) as connection:
            connection.execute(_update(request_id).values(**values))

    def wait_for_human(self, request_id: bytes) -> None:
        """Put a request that passed every check before a person."""
        with write_transaction(self.engine) as connection:
            where = and_(requests.c.request_id == request_id, requests.c.stage == Stage.SEEN.value)
            values = {"stage": Stage.PENDING_HUMAN.value, "updated_at_s": int(self._now_s())}
            connection.execute(update(requests).where(where).values(**values))

    def decide(self, request_id: bytes, decision: Decision, note: str) -> Stage:
        """Record a person's decision, unless the request no longer waits.

        Returns:
            The request's stage; the decision was recorded if it is PENDING_HUMAN.
        """
        with write_transaction(self.engine) as connection:
            row = connection.execute(_one(request_id)).first()
            if row is None:
                raise RequestUnknown("no request with this id was seen here")
            if row.stage == Stage.PENDING_HUMAN.value:
                connection.execute(_update(request_id).values(decision=decision.value, detail=note or None))
            return Stage(row.stage)

    def buyer_used(self, line: bytes, buyer: bytes) -> int:
        """Return what of a line counts as one buyer's, in micro-ρ: reserved, spent, and what nobody's requests explain.

        What the chain showed after a restored backup has no buyer here, so it counts against each.
        """
        with read_transaction(self.engine) as connection:
            return _buyer_used(connection, line, buyer)

    def approve(
        self, request_id: bytes, secrets: Mapping[str, bytes], *, buyer_most: int | None = None
    ) -> None:
        """Reserve the budget and store the session's secrets, in one transaction.

        Args:
            request_id: the request.
            secrets: what is stored with it.
            buyer_most: the policy's ρ for one buyer on the line, in micro-ρ; None if it has none.

        Raises:
            AlreadyAnswered: the same plan of the same buyer was sealed in the meantime.
            BudgetExhausted: the own ledger's line does not hold the charge; nothing was stored.
            BuyerQuotaExhausted: the buyer's part of the line does not; nothing was stored.
        """
        with self._disk_first() as connection:
            row = _stage_row(connection, request_id, {Stage.SEEN, Stage.PENDING_HUMAN})
            if _is_answered(connection, row.buyer, row.plan_hash, request_id):
                raise AlreadyAnswered("this plan of this buyer was sealed before")
            _reserve(connection, row.line, row.rho)
            if buyer_most is not None:
                # the line's row is locked by now: what is read here cannot change before the commit
                used = _buyer_used(connection, row.line, row.buyer)
                if used > buyer_most:
                    raise BuyerQuotaExhausted(quota_message(row.rho, used - row.rho, buyer_most))
            self._keep(connection, request_id, secrets)
            self._move(connection, request_id, Stage.APPROVED, hold=Hold.RESERVED.value)

    def advance(
        self,
        request_id: bytes,
        stages: tuple[Stage, Stage],
        *,
        message: OutMessage,
        secrets: Mapping[str, bytes] | None = None,
        erase: tuple[str, ...] = (),
        session: bytes | None = None,
    ) -> None:
        """Store a message with what it was made from, and move the request to its next stage, in one transaction.

        Args:
            request_id: the request.
            stages: from and to.
            message: what will be sent.
            secrets: what must survive with it, by name.
            erase: the names of secrets that must not survive it.
            session: the session id, when it becomes known.

        Raises:
            OnceOnly: the request is in another stage, or something of this was stored before.
        """
        before, after = stages
        with self._disk_first() as connection:
            _stage_row(connection, request_id, {before})
            self._keep(connection, request_id, secrets or {})
            self._keep_message(connection, request_id, message)
            gone = and_(secrets_.c.request_id == request_id, secrets_.c.name.in_(erase))
            connection.execute(delete(secrets_).where(gone))
            extra = {} if session is None else {"session": session}
            self._move(connection, request_id, after, **extra)

    def finish(self, request_id: bytes, stage: Stage, *, block: int, detail: str | None = None) -> None:
        """End a request at its last stage: DONE or CLOSED."""
        with self._disk_first() as connection:
            row = connection.execute(_one(request_id)).one()
            extra = {"ended_block": block, "stage_before": row.stage, "detail": detail}
            self._move(connection, request_id, stage, **extra)

    def mark_sealed(self, request_id: bytes, *, block: int) -> None:
        """Remember that the request was sealed with our contribution, and charge for it."""
        with self._disk_first() as connection:
            _settle(connection, request_id, Hold.SPENT)
            connection.execute(_update(request_id).values(sealed=True, ended_block=block))

    def refuse(self, request_id: bytes, reason: str, detail: str) -> None:
        """End a request with a named reason; an open reservation stays until the chain settles it."""
        with self._disk_first() as connection:
            row = connection.execute(_one(request_id)).one()
            if Stage(row.stage) not in ENDED:
                extra = {"reason": reason, "detail": detail, "stage_before": row.stage}
                self._move(connection, request_id, Stage.REFUSED, **extra)

    def reopen(self, from_block: int) -> tuple[Digest, ...]:
        """Undo endings that the chain lost: requests closed, sealed or done at or after a block that is gone.

        A charge stays a charge until the chain shows otherwise; a release becomes a reservation again.
        """
        lost = requests.c.ended_block >= from_block
        reopened: list[Digest] = []
        with self._disk_first() as connection:
            for row in connection.execute(select(requests).where(lost)).all():
                if row.hold in (Hold.RELEASED.value, Hold.SPENT.value):
                    _unsettle(connection, row)
                stage = row.stage if row.stage_before is None or row.reason else row.stage_before
                values = {"stage": stage, "stage_before": None, "ended_block": None, "sealed": False}
                connection.execute(_update(row.request_id).values(**values))
                reopened.append(Digest(row.request_id))
        return tuple(reopened)

    # --- secrets and messages -----------------------------------------------------------------------------

    def secret(self, request_id: bytes, name: str) -> bytes:
        """Return a stored secret.

        Raises:
            StoreError: there is none of this name.
            VaultLocked: it does not open.
        """
        where = and_(secrets_.c.request_id == request_id, secrets_.c.name == name)
        with read_transaction(self.engine) as connection:
            row = connection.execute(select(secrets_.c.sealed).where(where)).first()
        if row is None:
            raise StoreError(f"no stored {name} for this request")
        return self._vault.open(request_id, name, row.sealed)

    def has_secret(self, request_id: bytes, name: str) -> bool:
        """Say whether a secret of this name is stored."""
        where = and_(secrets_.c.request_id == request_id, secrets_.c.name == name)
        with read_transaction(self.engine) as connection:
            return connection.execute(select(secrets_.c.name).where(where)).first() is not None

    def message(self, request_id: bytes, kind: Kind) -> OutMessage | None:
        """Return a message exactly as it was stored, None when there is none of this kind."""
        where = and_(messages.c.request_id == request_id, messages.c.kind == int(kind))
        with read_transaction(self.engine) as connection:
            row = connection.execute(select(messages).where(where)).first()
        if row is None:
            return None
        frame = self._vault.open(request_id, f"message-{kind}", row.frame)
        return OutMessage(kind, frame, Digest(row.message_hash), row.receipt)

    def put_receipt(self, request_id: bytes, kind: Kind, receipt: bytes) -> None:
        """Keep the broker's receipt for a message; the first one stays."""
        same = and_(messages.c.request_id == request_id, messages.c.kind == int(kind))
        first = update(messages).where(same, messages.c.receipt.is_(None))
        with write_transaction(self.engine) as connection:
            connection.execute(first.values(receipt=receipt))

    def keep(self, request_id: bytes, secrets: Mapping[str, bytes]) -> None:
        """Store secrets of an approved request, each once, before anything that depends on them leaves."""
        with self._disk_first() as connection:
            _stage_row(connection, request_id, {Stage.APPROVED})
            self._keep(connection, request_id, secrets)

    # --- inside one transaction ---------------------------------------------------------------------------

    @contextmanager
    def _disk_first(self) -> Iterator[Connection]:
        with write_transaction(self.engine) as connection:
            yield connection
            raised = update(meta).where(meta.c.name == "epoch").values(value=meta.c.value + 1)
            connection.execute(raised)
            epoch = _meta(connection, "epoch") or 0
        self._epoch_file.advance(epoch)

    def _move(self, connection: Connection, request_id: bytes, stage: Stage, **values: Any) -> None:
        values |= {"stage": stage.value, "updated_at_s": int(self._now_s())}
        connection.execute(_update(request_id).values(**values))

    def _keep(self, connection: Connection, request_id: bytes, values: Mapping[str, bytes]) -> None:
        for name, value in values.items():
            sealed = self._vault.seal(request_id, name, value)
            row = {"request_id": request_id, "name": name, "sealed": sealed}
            try:
                connection.execute(insert(secrets_), [row])
            except IntegrityError as err:
                raise OnceOnly(f"the {name} of this request is stored already") from err

    def _keep_message(self, connection: Connection, request_id: bytes, message: OutMessage) -> None:
        sealed = self._vault.seal(request_id, f"message-{message.kind}", message.frame)
        row = {"kind": int(message.kind), "frame": sealed, "message_hash": message.message_hash}
        try:
            connection.execute(insert(messages), [row | {"request_id": request_id}])
        except IntegrityError as err:
            raise OnceOnly(f"the message of kind {int(message.kind)} is stored already") from err


# --- statements ------------------------------------------------------------------------------------------------------


def _one(request_id: bytes) -> Select[Any]:
    return select(requests).where(requests.c.request_id == request_id)


def _update(request_id: bytes) -> Any:
    return update(requests).where(requests.c.request_id == request_id)


def _open_sessions() -> Select[Any]:
    ended = [stage.value for stage in ENDED]
    return select(requests.c.request_id).where(requests.c.stage.not_in(ended))


def _meta(connection: Connection, name: str) -> int | None:
    value = connection.execute(select(meta.c.value).where(meta.c.name == name)).scalar()
    return None if value is None else int(value)


def _stage_row(connection: Connection, request_id: bytes, stages: set[Stage]) -> Row[Any]:
    row = connection.execute(_one(request_id).with_for_update()).first()
    if row is None:
        raise RequestUnknown("no request with this id was seen here")
    if Stage(row.stage) not in stages:
        raise OnceOnly(f"expected the request in stage {sorted(stages)}, found {row.stage}")
    return row


def _is_answered(connection: Connection, buyer: bytes, plan_hash: bytes, other_than: bytes) -> bool:
    same = and_(requests.c.buyer == buyer, requests.c.plan_hash == plan_hash, requests.c.sealed)
    query = select(requests.c.request_id).where(and_(same, requests.c.request_id != other_than))
    return connection.execute(query.limit(1)).first() is not None


def _reserve(connection: Connection, line: bytes, rho: int) -> None:
    fits = lines.c.reserved + lines.c.spent + rho <= lines.c.total
    change = update(lines).where(and_(lines.c.line == line, fits)).values(reserved=lines.c.reserved + rho)
    if connection.execute(change).rowcount != 1:
        row = connection.execute(select(lines).where(lines.c.line == line)).first()
        left = 0 if row is None else line_of(row).left
        raise BudgetExhausted(f"asked for {rho} micro-rho, this holder's own ledger has {left} left")


def _buyer_used(connection: Connection, line: bytes, buyer: bytes) -> int:
    held = requests.c.hold.in_([Hold.RESERVED.value, Hold.SPENT.value])
    total = select(func.coalesce(func.sum(requests.c.rho), 0)).where(and_(requests.c.line == line, held))
    row = connection.execute(select(lines).where(lines.c.line == line)).first()
    of_line = 0 if row is None else row.reserved + row.spent
    of_all = int(connection.execute(total).scalar_one())
    of_others = int(connection.execute(total.where(requests.c.buyer != buyer)).scalar_one())
    return max(int(of_line), of_all) - of_others


def quota_message(asked: int, used: int, most: int) -> str:
    """Say that a buyer's quota does not hold a charge; all in micro-ρ."""
    return f"asked for {asked} micro-rho, the buyer has used {used} of its {most} on this line"


def _settle(connection: Connection, request_id: bytes, hold: Hold) -> bool:
    row = connection.execute(_one(request_id).with_for_update()).one()
    if row.hold != Hold.RESERVED.value or hold not in (Hold.SPENT, Hold.RELEASED):
        return False
    if hold is Hold.RELEASED and _has_message(connection, request_id, Kind.UNMASK):
        hold = Hold.SPENT  # the answer can be made, whatever the chain says now
    spent = row.rho if hold is Hold.SPENT else 0
    values = {"reserved": lines.c.reserved - row.rho, "spent": lines.c.spent + spent}
    connection.execute(update(lines).where(lines.c.line == row.line).values(**values))
    connection.execute(_update(request_id).values(hold=hold.value))
    return True


def _has_message(connection: Connection, request_id: bytes, kind: Kind) -> bool:
    where = and_(messages.c.request_id == request_id, messages.c.kind == int(kind))
    return connection.execute(select(messages.c.kind).where(where)).first() is not None


def _unsettle(connection: Connection, row: Row[Any]) -> None:
    spent = row.rho if row.hold == Hold.SPENT.value else 0
    values = {"reserved": lines.c.reserved + row.rho, "spent": lines.c.spent - spent}
    connection.execute(update(lines).where(lines.c.line == row.line).values(**values))
    connection.execute(_update(row.request_id).values(hold=Hold.RESERVED.value))
