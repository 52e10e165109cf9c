"""The market's tables on SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from exchange import store as statements
from exchange.errors import CursorInvalid, RequestUnknown, SchemaUnknown
from exchange.store import SCHEMA_HEAD, VERSION_TABLE, Store, decode_cursor, encode_cursor, migrate
from exchange.tables import metadata
from exchange.types import (
    AssetRecord,
    ListingRecord,
    MaskedAnswer,
    MessageRecord,
    QuoteRecord,
    RequestRecord,
    Stage,
)
from ledger.database import read_transaction, write_transaction
from ledger.encoding import keccak
from ledger.errors import DatabaseConflict
from ledger.types import Address, Digest, Request

A, B, C = (Address(bytes([n]) * 20) for n in (1, 2, 3))


def digest(text: str) -> Digest:
    return keccak(text.encode())


def request_of(name: str, **changes: Any) -> RequestRecord:
    request = Request(
        buyer=A,
        broker=B,
        listing=digest("listing"),
        plan_hash=digest("plan"),
        key_x=digest("key"),
        key_parity=2,
        rho_micro=5,
        price_minor=(1 << 128) - 1,
        holders=2,
        min_holders=1,
        colluders=0,
        dropouts=1,
        approve_by=1,
        share_by=2,
        contribute_by=3,
        answer_by=4,
        nonce=int.from_bytes(digest(name), "big"),
    )
    record = RequestRecord(
        request_id=digest(name),
        request=request,
        signature=bytes(65),
        plan=b"{}",
        holders=(B, C),
        stage=Stage.SUBMITTED,
        reason="",
        runs=0,
        acceptance=b"",
        created_at=7,
    )
    return replace(record, **changes)


def add(store: Store, record: RequestRecord) -> None:
    store.write(lambda connection: statements.add_request(connection, record))


def asset_of(name: str, holder: Address = A) -> AssetRecord:
    return AssetRecord(digest(name), holder, name, "Title 标题", b"{}", digest("policy"), b'{"a":1}')


def test_migrations_make_exactly_the_tables_that_the_statements_use(engine: sa.Engine) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    migrate(engine)
    with read_transaction(engine) as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


def test_the_newest_revision_is_the_one_that_the_store_expects(engine: sa.Engine) -> None:
    from alembic.script import ScriptDirectory

    from exchange.migrations.run import configuration

    assert ScriptDirectory.from_config(configuration()).get_current_head() == SCHEMA_HEAD
    migrate(engine)
    migrate(engine)  # again is nothing


def test_a_database_of_a_newer_version_is_refused(engine: sa.Engine) -> None:
    migrate(engine)
    with write_transaction(engine) as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(SchemaUnknown):
        migrate(engine)


def test_a_name_is_replaced(store: Store) -> None:
    store.put_name(A, "数据局")
    store.put_name(A, "Bureau")
    store.put_name(B, "Utility")
    assert store.names([A, B, C]) == {A: "Bureau", B: "Utility"}


def test_assets_are_replaced_and_paged_in_order(store: Store) -> None:
    for name in ("one", "two", "three"):
        store.put_asset(asset_of(name))
    store.put_asset(replace(asset_of("one"), title="Another"))
    first = store.asset_page(0, 2)
    assert [asset.name for asset in first.items] == ["one", "two"]
    assert first.items[0].title == "Another"
    assert first.after is not None
    last = store.asset_page(first.after, 2)
    assert [asset.name for asset in last.items] == ["three"]
    assert last.after is None


def test_a_listing_keeps_its_assets_and_is_found_by_name_and_id(store: Store) -> None:
    for name in ("one", "two"):
        store.put_asset(asset_of(name))
    listing = ListingRecord(
        digest("l"), "power", "Power", b"{}", digest("p"), tuple(sorted(map(digest, ("one", "two"))))
    )
    store.put_listing(listing)
    assert store.listing(name="power") == listing
    smaller = replace(listing, assets=(digest("one"),))
    store.put_listing(smaller)
    assert store.listing(listing_id=digest("l")) == smaller
    assert store.listing(name="other") is None


def test_a_listing_of_an_asset_that_nobody_showed_is_refused(store: Store) -> None:
    with pytest.raises(DatabaseConflict):
        store.put_listing(ListingRecord(digest("l"), "power", "Power", b"{}", digest("p"), (digest("no"),)))
    assert store.listing(name="power") is None


def test_only_a_quote_that_still_holds_is_found(store: Store) -> None:
    quote = QuoteRecord("q1", digest("l"), A, digest("plan"), 5, (1 << 128) - 1, expires_at=100)
    store.add_quote(quote)
    assert store.quote_for(A, digest("plan"), 99) == quote
    assert store.quote_for(A, digest("plan"), 100) is None
    assert store.quote_for(B, digest("plan"), 99) is None
    store.drop_quotes(101)
    assert store.quote_for(A, digest("plan"), 1) is None


def test_a_request_comes_back_as_it_was(store: Store) -> None:
    record = request_of("one")
    add(store, record)
    assert store.request(digest("one")) == record
    with pytest.raises(RequestUnknown):
        store.request(digest("two"))


def test_a_buyers_nonce_is_kept_once(store: Store) -> None:
    record = request_of("one")
    add(store, record)
    assert store.read(lambda c: statements.is_nonce_used(c, A, record.request.nonce))
    with pytest.raises(DatabaseConflict):
        add(store, replace(record, request_id=digest("two")))
    assert [each.request_id for each in store.live_requests()] == [digest("one")]


def test_stages_are_events_with_growing_ids_and_none_twice(store: Store) -> None:
    add(store, request_of("one"))
    add(store, request_of("two"))
    assert store.set_stage(digest("one"), Stage.OPEN, 8)
    assert not store.set_stage(digest("one"), Stage.OPEN, 9)
    assert store.set_stage(digest("one"), Stage.CLOSED, 10, "too few")
    found = store.events_after(digest("one"), 0)
    assert [(event.stage, event.at) for event in found] == [
        (Stage.SUBMITTED, 7),
        (Stage.OPEN, 8),
        (Stage.CLOSED, 10),
    ]
    assert store.events_after(digest("one"), found[1].event_id) == found[2:]
    assert store.request(digest("one")).reason == "too few"
    assert [each.request_id for each in store.live_requests()] == [digest("two")]
    assert store.stage_counts() == {"closed": 1, "submitted": 1}


def test_requests_are_listed_for_their_buyer_and_their_holders_only(store: Store) -> None:
    add(store, request_of("one"))
    add(store, request_of("two", holders=(C,)))
    assert [len(store.request_page(viewer, 0, 10).items) for viewer in (A, B, C, None)] == [2, 1, 2, 2]
    assert store.request_page(Address(bytes(20)), 0, 10).items == ()


def test_what_waits_for_the_chain_is_counted_until_it_is_open(store: Store) -> None:
    record = request_of("one")
    add(store, record)
    assert store.read(statements.waiting_requests) == [(digest("one"), A, record.request.price_minor)]
    assert store.read(statements.live_count) == 1
    store.set_stage(digest("one"), Stage.OPEN, 8)
    assert store.read(statements.waiting_requests) == []
    store.set_stage(digest("one"), Stage.ANSWERED, 9)
    assert store.read(statements.live_count) == 0


def test_the_first_acceptance_stands(store: Store) -> None:
    add(store, request_of("one"))
    store.set_acceptance(digest("one"), b"first")
    store.set_acceptance(digest("one"), b"second")
    assert store.request(digest("one")).acceptance == b"first"


def test_the_first_message_of_a_kind_stands_and_others_are_apart(store: Store) -> None:
    add(store, request_of("one"))
    first = MessageRecord(1, 0, B, digest("m1"), b"frame", bytes(65))
    assert store.add_message(digest("one"), bytes(32), first) == first
    assert store.add_message(digest("one"), bytes(32), replace(first, frame=b"other")) == first
    other_kind = replace(first, kind=2, frame=b"masked")
    assert store.add_message(digest("one"), bytes(32), other_kind) == other_kind
    other_session = replace(first, frame=b"elsewhere")
    assert store.add_message(digest("one"), digest("session"), other_session) == other_session
    assert store.message_list(digest("one"), bytes(32), 1) == [first]
    assert store.message(digest("one"), bytes(32), 2, 0) == other_kind
    assert store.message(digest("one"), bytes(32), 2, 1) is None
    receipts = store.receipts(digest("one"), bytes(32))
    assert [(each.kind, each.frame) for each in receipts] == [(1, b""), (2, b"")]


def test_an_answer_is_replaced_by_one_with_another_basis(store: Store) -> None:
    add(store, request_of("one"))
    assert store.answer(digest("one")) is None
    store.put_answer(digest("one"), MaskedAnswer(b"basis", b"payload", b"root"))
    store.put_answer(digest("one"), MaskedAnswer(b"other", b"payload 2", b"root 2"))
    assert store.answer(digest("one")) == MaskedAnswer(b"other", b"payload 2", b"root 2")


def test_gas_is_kept(store: Store) -> None:
    store.put_gas({b"a": 1, b"b": 2})
    store.put_gas({b"a": 3})
    assert store.gas_of([b"a", b"b", b"c"]) == {b"a": 3, b"b": 2}


def test_runs_are_counted(store: Store) -> None:
    add(store, request_of("one"))
    assert [store.count_run(digest("one")), store.count_run(digest("one"))] == [1, 2]


@pytest.mark.parametrize("after", [1, 255, 10**12])
def test_a_cursor_is_read_back(after: int) -> None:
    assert decode_cursor(encode_cursor(after)) == after


@pytest.mark.parametrize("cursor", ["", "p", "5", "p-1", "pg", "p" + "f" * 16, "p1 ", "P1", "p１"])
def test_a_cursor_that_was_never_given_out_is_refused(cursor: str) -> None:
    with pytest.raises(CursorInvalid):
        decode_cursor(cursor)
