"""The market's tables and every statement on them. SQLite and PostgreSQL.

Invariant: whatever is checked and then written is one write transaction, and there is one at a time
(`ledger.database`). Nothing here decides; the services do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    RowMapping,
    Select,
    Table,
    Text,
    delete,
    func,
    insert,
    inspect,
    select,
    update,
)

from exchange.errors import CursorInvalid, RequestUnknown, SchemaUnknown
from exchange.tables import (
    admissions,
    answers,
    assets,
    events,
    gas,
    licences,
    listing_assets,
    listings,
    messages,
    names,
    quotes,
    request_holders,
    requests,
)
from exchange.types import (
    FINAL_STAGES,
    AdmittedLicence,
    AssetRecord,
    ListingRecord,
    MaskedAnswer,
    MessageRecord,
    Page,
    ProgressEvent,
    QuoteRecord,
    RequestRecord,
    Stage,
)
from ledger.database import read_transaction, write_transaction
from ledger.types import Address, Digest, Request, to_hex

T = TypeVar("T")
SCHEMA_HEAD: Final = "0003"  # the newest revision in exchange/migrations/versions
VERSION_TABLE: Final = "exchange_version"
PAGE_MAX: Final = 200
KEPT_MAX: Final = 1024  # requests that are kept in memory
_CHANGING: Final = ("stage", "reason", "runs", "acceptance")
_LIVE: Final = tuple(stage.value for stage in Stage if stage not in FINAL_STAGES)
_ENDED: Final = tuple(stage.value for stage in FINAL_STAGES - {Stage.REFUSED})


class Store:
    """The market's tables behind one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: dict[Digest, RequestRecord] = {}

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one write transaction: what it reads stays true until what it writes is kept."""
        with write_transaction(self._engine) as connection:
            return work(connection)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one read transaction."""
        with read_transaction(self._engine) as connection:
            return work(connection)

    def _rows(self, statement: Select[Any]) -> Sequence[RowMapping]:
        with read_transaction(self._engine) as connection:
            return connection.execute(statement).mappings().all()

    def _row(self, statement: Select[Any]) -> RowMapping | None:
        rows = self._rows(statement.limit(1))
        return rows[0] if rows else None

    def _page(
        self, statement: Select[Any], table: Table, after: int, limit: int
    ) -> tuple[list[RowMapping], int | None]:
        limit = max(1, min(limit, PAGE_MAX))
        ordered = statement.where(table.c.number > after).order_by(table.c.number).limit(limit + 1)
        rows = list(self._rows(ordered))
        return rows[:limit], rows[limit - 1]["number"] if len(rows) > limit else None

    # --- participants and assets

    def names(self, accounts: Sequence[Address]) -> dict[Address, str]:
        """Return the display names of those of these accounts that chose one."""
        rows = self._rows(select(names).where(names.c.account.in_(accounts)))
        return {Address(row["account"]): row["name"] for row in rows}

    def put_name(self, account: Address, name: str) -> None:
        """Keep an account's display name."""
        with write_transaction(self._engine) as connection:
            if not _updated(connection, names, names.c.account == account, {"name": name}):
                connection.execute(insert(names).values(account=account, name=name))

    def asset(self, asset_id: Digest) -> AssetRecord | None:
        """Return an asset, or None."""
        row = self._row(select(assets).where(assets.c.asset_id == asset_id))
        return None if row is None else _asset(row)

    def asset_page(self, after: int, limit: int) -> Page[AssetRecord]:
        """Return assets in the order in which they were shown first."""
        rows, following = self._page(select(assets), assets, after, limit)
        return Page(tuple(map(_asset, rows)), following)

    def put_asset(self, record: AssetRecord) -> None:
        """Insert an asset or replace it."""
        values = {name: getattr(record, name) for name in AssetRecord.__dataclass_fields__}
        with write_transaction(self._engine) as connection:
            if not _updated(connection, assets, assets.c.asset_id == record.asset_id, values):
                connection.execute(insert(assets).values(values))

    # --- licences

    def licence_of(self, account: Address) -> AdmittedLicence | None:
        """Return the licence that admitted an account, or None."""
        row = self._row(select(licences).join(admissions).where(admissions.c.account == account))
        return None if row is None else _licence(row)

    def renew_licence(self, licence: AdmittedLicence) -> None:
        """Keep newer facts about a licence that admitted somebody; older ones than those kept change nothing."""
        with write_transaction(self._engine) as connection:
            wanted = (licences.c.leaf_hash == licence.leaf_hash) & (licences.c.as_of <= licence.as_of)
            values = {name: getattr(licence, name) for name in ("as_of", "lapses_at", "fault")}
            _updated(connection, licences, wanted, values)

    # --- listings

    def listing(self, *, listing_id: bytes | None = None, name: str | None = None) -> ListingRecord | None:
        """Return a listing by its id or its name, or None."""
        wanted = listings.c.listing_id == listing_id if name is None else listings.c.name == name
        row = self._row(select(listings).where(wanted))
        return None if row is None else self._listing(row)

    def listing_page(self, after: int, limit: int) -> Page[ListingRecord]:
        """Return listings in the order in which they were made."""
        rows, following = self._page(select(listings), listings, after, limit)
        return Page(tuple(map(self._listing, rows)), following)

    def put_listing(self, record: ListingRecord) -> None:
        """Insert a listing or replace it, with its assets."""
        values = {
            "listing_id": record.listing_id,
            "name": record.name,
            "title": record.title,
            "policy": record.policy,
            "policy_hash": record.policy_hash,
        }
        with write_transaction(self._engine) as connection:
            if not _updated(connection, listings, listings.c.listing_id == record.listing_id, values):
                connection.execute(insert(listings).values(values))
            connection.execute(delete(listing_assets).where(listing_assets.c.listing_id == record.listing_id))
            rows = [{"listing_id": record.listing_id, "asset_id": asset} for asset in record.assets]
            connection.execute(insert(listing_assets), rows)

    def _listing(self, row: RowMapping) -> ListingRecord:
        members = self._rows(
            select(listing_assets.c.asset_id)
            .where(listing_assets.c.listing_id == row["listing_id"])
            .order_by(listing_assets.c.asset_id)
        )
        return ListingRecord(
            listing_id=Digest(row["listing_id"]),
            name=row["name"],
            title=row["title"],
            policy=row["policy"],
            policy_hash=Digest(row["policy_hash"]),
            assets=tuple(Digest(member["asset_id"]) for member in members),
        )

    # --- quotes

    def add_quote(self, quote: QuoteRecord) -> None:
        """Keep the terms of a quote."""
        values = {name: getattr(quote, name) for name in QuoteRecord.__dataclass_fields__}
        with write_transaction(self._engine) as connection:
            connection.execute(insert(quotes).values({**values, "price_minor": str(quote.price_minor)}))

    def quote_for(self, buyer: Address, plan_hash: bytes, now_s: int) -> QuoteRecord | None:
        """Return the buyer's newest quote for this plan that still holds, or None."""
        row = self._row(
            select(quotes)
            .where(quotes.c.buyer == buyer, quotes.c.plan_hash == plan_hash, quotes.c.expires_at > now_s)
            .order_by(quotes.c.number.desc())
        )
        if row is None:
            return None
        values = {name: row[name] for name in QuoteRecord.__dataclass_fields__}
        return QuoteRecord(**{**values, "price_minor": int(row["price_minor"])})

    def drop_quotes(self, before_s: int) -> None:
        """Forget quotes that expired before this time."""
        with write_transaction(self._engine) as connection:
            connection.execute(delete(quotes).where(quotes.c.expires_at < before_s))

    # --- requests

    def request(self, request_id: Digest) -> RequestRecord:
        """Return a request.

        Raises:
            RequestUnknown: there is none with this id.
        """
        wanted = requests.c.request_id == request_id
        kept = self._kept.get(request_id)
        if kept is not None:  # what can change is read again, the rest is large and never does
            changing = self._row(select(*(requests.c[name] for name in _CHANGING)).where(wanted))
            if changing is not None:
                return replace(kept, **{**changing, "stage": Stage(changing["stage"])})
        row = self._row(select(requests).where(wanted))
        if row is None:
            raise RequestUnknown(to_hex(request_id))
        if len(self._kept) >= KEPT_MAX:
            self._kept.pop(next(iter(self._kept)), None)
        self._kept[request_id] = self._requests([row])[0]
        return self._kept[request_id]

    def request_page(self, viewer: Address | None, after: int, limit: int) -> Page[RequestRecord]:
        """Return requests in the order in which they came: all, or those of one buyer or holder."""
        statement = select(requests)
        if viewer is not None:
            held = select(request_holders.c.request_id).where(request_holders.c.holder == viewer)
            statement = statement.where((requests.c.buyer == viewer) | requests.c.request_id.in_(held))
        rows, following = self._page(statement, requests, after, limit)
        return Page(tuple(self._requests(rows)), following)

    def live_requests(self) -> list[RequestRecord]:
        """Return every request to which something may still happen."""
        rows = self._rows(select(requests).where(requests.c.stage.in_(_LIVE)).order_by(requests.c.number))
        return self._requests(rows)

    def ended_requests(self) -> set[Digest]:
        """Return every request that ended on the chain, as far as was seen."""
        rows = self._rows(select(requests.c.request_id).where(requests.c.stage.in_(_ENDED)))
        return {Digest(row["request_id"]) for row in rows}

    def known_requests(self, request_ids: Collection[Digest]) -> set[Digest]:
        """Return those of these requests that the exchange took."""
        if not request_ids:
            return set()
        rows = self._rows(select(requests.c.request_id).where(requests.c.request_id.in_(request_ids)))
        return {Digest(row["request_id"]) for row in rows}

    def stage_counts(self) -> dict[str, int]:
        """Return how many requests stand at each stage."""
        rows = self._rows(select(requests.c.stage, func.count().label("found")).group_by(requests.c.stage))
        return {row["stage"]: row["found"] for row in rows}

    def set_acceptance(self, request_id: Digest, signature: bytes) -> None:
        """Keep the buyer's acceptance; the first one stands."""
        with write_transaction(self._engine) as connection:
            _updated(
                connection,
                requests,
                (requests.c.request_id == request_id) & (requests.c.acceptance == b""),
                {"acceptance": signature},
            )

    def count_run(self, request_id: Digest) -> int:
        """Count one more workflow started for this request, and return how many that makes."""
        with write_transaction(self._engine) as connection:
            wanted = requests.c.request_id == request_id
            _updated(connection, requests, wanted, {"runs": requests.c.runs + 1})
            return int(connection.execute(select(requests.c.runs).where(wanted)).scalar_one())

    def set_stage(self, request_id: Digest, stage: Stage, now_s: int, reason: str = "") -> bool:
        """Move a request to a stage and keep the change as an event, unless it is there already."""
        with write_transaction(self._engine) as connection:
            changed = _updated(
                connection,
                requests,
                (requests.c.request_id == request_id) & (requests.c.stage != stage.value),
                {"stage": stage.value, "reason": reason},
            )
            if changed:
                add_event(connection, request_id, stage, now_s)
            return changed

    def events_after(self, request_id: Digest, event_id: int) -> list[ProgressEvent]:
        """Return a request's events with a greater id, in order."""
        rows = self._rows(
            select(events)
            .where(events.c.request_id == request_id, events.c.number > event_id)
            .order_by(events.c.number)
        )
        return [ProgressEvent(row["number"], Stage(row["stage"]), row["at"]) for row in rows]

    def _requests(self, rows: Iterable[RowMapping]) -> list[RequestRecord]:
        found = list(rows)
        if not found:
            return []
        ids = [row["request_id"] for row in found]
        holders: dict[bytes, list[Address]] = {each: [] for each in ids}
        for row in self._rows(
            select(request_holders)
            .where(request_holders.c.request_id.in_(ids))
            .order_by(request_holders.c.holder)
        ):
            holders[row["request_id"]].append(Address(row["holder"]))
        return [_request(row, tuple(holders[row["request_id"]])) for row in found]

    # --- messages and answers

    def message_list(self, request_id: Digest, session: bytes, kind: int) -> list[MessageRecord]:
        """Return the messages of one kind in one session, ascending by sender."""
        rows = self._rows(
            select(messages)
            .where(
                messages.c.request_id == request_id, messages.c.session == session, messages.c.kind == kind
            )
            .order_by(messages.c.sender)
        )
        return [_message({**row}) for row in rows]

    def receipts(self, request_id: Digest, session: bytes) -> list[MessageRecord]:
        """Return all messages of one session by kind and sender, without their frames."""
        columns = [column for column in messages.c if column.name != "frame"]
        rows = self._rows(
            select(*columns)
            .where(messages.c.request_id == request_id, messages.c.session == session)
            .order_by(messages.c.kind, messages.c.sender)
        )
        return [_message({**row, "frame": b""}) for row in rows]

    def message(self, request_id: Digest, session: bytes, kind: int, sender: int) -> MessageRecord | None:
        """Return the message of one kind that a sender sent in one session, or None."""
        return self.read(lambda connection: _find_message(connection, request_id, session, kind, sender))

    def add_message(self, request_id: Digest, session: bytes, record: MessageRecord) -> MessageRecord:
        """Keep a message unless its sender already sent one of its kind, and return the one that stands."""
        with write_transaction(self._engine) as connection:
            found = _find_message(connection, request_id, session, record.kind, record.sender)
            if found is None:
                values = {name: getattr(record, name) for name in MessageRecord.__dataclass_fields__}
                key = {"request_id": request_id, "session": session}
                connection.execute(insert(messages).values({**key, **values}))
            return found or record

    def answer(self, request_id: Digest) -> MaskedAnswer | None:
        """Return the stored Y of a request, or None."""
        row = self._row(select(answers).where(answers.c.request_id == request_id))
        return None if row is None else MaskedAnswer(row["basis"], row["payload"], row["root"])

    def put_answer(self, request_id: Digest, answer: MaskedAnswer) -> None:
        """Keep Y and its root; a chain that came to other survivors replaces them."""
        with write_transaction(self._engine) as connection:
            values = {"basis": answer.basis, "payload": answer.payload, "root": answer.root}
            if not _updated(connection, answers, answers.c.request_id == request_id, values):
                connection.execute(insert(answers).values({"request_id": request_id, **values}))

    def gas_of(self, tx_hashes: Sequence[bytes]) -> dict[bytes, int]:
        """Return the gas of those of these transactions of which it is known."""
        rows = self._rows(select(gas).where(gas.c.tx_hash.in_(tx_hashes)))
        return {row["tx_hash"]: row["gas_used"] for row in rows}

    def put_gas(self, found: dict[bytes, int]) -> None:
        """Keep the gas of transactions."""
        with write_transaction(self._engine) as connection:
            for tx_hash, gas_used in found.items():
                if not _updated(connection, gas, gas.c.tx_hash == tx_hash, {"gas_used": gas_used}):
                    connection.execute(insert(gas).values(tx_hash=tx_hash, gas_used=gas_used))


# --- statements for use inside `Store.read` and `Store.write` --------------------------------------------


def find_licence(connection: Connection, leaf_hash: bytes) -> AdmittedLicence | None:
    """Return a licence that admitted somebody, or None."""
    found = connection.execute(select(licences).where(licences.c.leaf_hash == leaf_hash))
    row = found.mappings().one_or_none()
    return None if row is None else _licence(row)


def put_admission(
    connection: Connection, account: Address, licence: AdmittedLicence, admitted_at: int
) -> None:
    """Insert a licence or replace it, and make it the one that admits an account."""
    values = {name: getattr(licence, name) for name in AdmittedLicence.__dataclass_fields__}
    if not _updated(connection, licences, licences.c.leaf_hash == licence.leaf_hash, values):
        connection.execute(insert(licences).values(values))
    admission = {"leaf_hash": licence.leaf_hash, "admitted_at": admitted_at}
    if not _updated(connection, admissions, admissions.c.account == account, admission):
        connection.execute(insert(admissions).values(account=account, **admission))


def waiting_requests(connection: Connection) -> list[tuple[Digest, Address, int]]:
    """Return id, buyer and price of the requests that the exchange took and the chain has not opened yet."""
    rows = connection.execute(
        select(requests.c.request_id, requests.c.buyer, requests.c.price_minor).where(
            requests.c.stage == Stage.SUBMITTED.value
        )
    )
    return [(Digest(request_id), Address(buyer), int(price)) for request_id, buyer, price in rows]


def live_count(connection: Connection) -> int:
    """Return how many requests are on their way to an answer."""
    wanted = requests.c.stage.in_(_LIVE) & (requests.c.stage != Stage.ANSWERED.value)
    return int(connection.execute(select(func.count()).select_from(requests).where(wanted)).scalar_one())


def is_nonce_used(connection: Connection, buyer: Address, nonce: int) -> bool:
    """Say whether the buyer used this request nonce before."""
    wanted = (requests.c.buyer == buyer) & (requests.c.nonce == str(nonce))
    return connection.execute(select(requests.c.number).where(wanted)).first() is not None


def requests_of_plan(connection: Connection, buyer: Address, plan_hash: bytes) -> list[tuple[Digest, Stage]]:
    """Return the buyer's requests with this plan, the newest first."""
    rows = connection.execute(
        select(requests.c.request_id, requests.c.stage)
        .where(requests.c.buyer == buyer, requests.c.plan_hash == plan_hash)
        .order_by(requests.c.number.desc())
    )
    return [(Digest(request_id), Stage(stage)) for request_id, stage in rows]


def add_request(connection: Connection, record: RequestRecord) -> None:
    """Insert a request with its holders and its first event."""
    connection.execute(
        insert(requests).values(
            request_id=record.request_id,
            buyer=record.request.buyer,
            nonce=str(record.request.nonce),
            plan_hash=record.request.plan_hash,
            price_minor=str(record.request.price_minor),
            request=json.dumps(record.request.to_json()),
            signature=record.signature,
            plan=record.plan,
            stage=record.stage.value,
            reason=record.reason,
            runs=record.runs,
            acceptance=record.acceptance,
            created_at=record.created_at,
        )
    )
    rows = [{"request_id": record.request_id, "holder": holder} for holder in record.holders]
    connection.execute(insert(request_holders), rows)
    add_event(connection, record.request_id, record.stage, record.created_at)


def add_event(connection: Connection, request_id: Digest, stage: Stage, now_s: int) -> None:
    """Append one event of a request."""
    connection.execute(insert(events).values(request_id=request_id, stage=stage.value, at=now_s))


# --- schema ----------------------------------------------------------------------------------------------


def migrate(engine: Engine) -> None:
    """Bring the database to the newest revision; nothing is imported or run when it is there.

    Raises:
        SchemaUnknown: the database belongs to a newer version.
    """
    current = _revision(engine)
    if current == SCHEMA_HEAD:
        return
    if current is not None and current > SCHEMA_HEAD:
        raise SchemaUnknown(expected=SCHEMA_HEAD, actual=current)
    from exchange.migrations.run import upgrade

    upgrade(engine)


def _revision(engine: Engine) -> str | None:
    with read_transaction(engine) as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        version = Table(VERSION_TABLE, MetaData(), Column("version_num", Text))
        found = connection.execute(select(version.c.version_num)).scalar_one_or_none()
        return None if found is None else str(found)


# --- cursors and rows ------------------------------------------------------------------------------------


def encode_cursor(after: int | None) -> str | None:
    """Write the number after which the next page starts, opaquely."""
    return None if after is None else f"p{after:x}"


def decode_cursor(cursor: str | None) -> int:
    """Read a cursor; none is the start.

    Raises:
        CursorInvalid: this exchange never gave it out.
    """
    if cursor is None:
        return 0
    digits = cursor[1:]
    if not cursor.startswith("p") or not 0 < len(digits) <= 15 or set(digits) - set("0123456789abcdef"):
        raise CursorInvalid
    return int(digits, 16)


def _updated(connection: Connection, table: Table, where: Any, values: dict[str, Any]) -> bool:
    return connection.execute(update(table).where(where).values(values)).rowcount > 0


def _find_message(
    connection: Connection, request_id: Digest, session: bytes, kind: int, sender: int
) -> MessageRecord | None:
    found = connection.execute(
        select(messages).where(
            messages.c.request_id == request_id,
            messages.c.session == session,
            messages.c.kind == kind,
            messages.c.sender == sender,
        )
    )
    row = found.mappings().one_or_none()
    return None if row is None else _message({**row})


def _licence(row: RowMapping) -> AdmittedLicence:
    return AdmittedLicence(**{name: row[name] for name in AdmittedLicence.__dataclass_fields__})


def _asset(row: RowMapping) -> AssetRecord:
    return AssetRecord(**{name: row[name] for name in AssetRecord.__dataclass_fields__})


def _message(row: Mapping[str, Any]) -> MessageRecord:
    return MessageRecord(**{name: row[name] for name in MessageRecord.__dataclass_fields__})


def _request(row: RowMapping, holders: tuple[Address, ...]) -> RequestRecord:
    return RequestRecord(
        request_id=Digest(row["request_id"]),
        request=Request.from_json(json.loads(row["request"])),
        signature=row["signature"],
        plan=row["plan"],
        holders=holders,
        stage=Stage(row["stage"]),
        reason=row["reason"],
        runs=row["runs"],
        acceptance=row["acceptance"],
        created_at=row["created_at"],
    )
