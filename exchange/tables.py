"""The market's tables. Their statements are in `exchange.store`, their history in `exchange.migrations`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()
_number = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows only in INTEGER columns


def _numbered(name: str, *columns: Any) -> Table:
    return Table(
        name,
        metadata,
        Column("number", _number, primary_key=True, autoincrement=True),
        *columns,
        sqlite_autoincrement=True,  # a number is never given out twice: cursors and event ids depend on it
    )


def _messages(name: str, *place: Column[Any]) -> Table:
    """What holders sent in one session of a request: one message in each place."""
    return Table(
        name,
        metadata,
        Column("request_id", LargeBinary, ForeignKey("requests.request_id"), primary_key=True),
        Column("session", LargeBinary, primary_key=True),
        *place,
        Column("holder", LargeBinary, nullable=False),
        Column("message_hash", LargeBinary, nullable=False),
        Column("frame", LargeBinary, nullable=False),
        Column("receipt", LargeBinary, nullable=False),
    )


names = Table(
    "names",
    metadata,
    Column("account", LargeBinary, primary_key=True),
    Column("name", Text, nullable=False),
)
assets = _numbered(
    "assets",
    Column("asset_id", LargeBinary, nullable=False, unique=True),
    Column("holder", LargeBinary, nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("policy", LargeBinary, nullable=False),
    Column("policy_hash", LargeBinary, nullable=False),
    Column("descriptor", LargeBinary, nullable=False),
)
listings = _numbered(
    "listings",
    Column("listing_id", LargeBinary, nullable=False, unique=True),
    Column("name", Text, nullable=False, unique=True),
    Column("title", Text, nullable=False),
    Column("policy", LargeBinary, nullable=False),
    Column("policy_hash", LargeBinary, nullable=False),
)
listing_assets = Table(
    "listing_assets",
    metadata,
    Column("listing_id", LargeBinary, ForeignKey("listings.listing_id"), primary_key=True),
    Column("asset_id", LargeBinary, ForeignKey("assets.asset_id"), primary_key=True),
)
quotes = _numbered(
    "quotes",
    Column("quote_id", Text, nullable=False, unique=True),
    Column("listing_id", LargeBinary, nullable=False),
    Column("buyer", LargeBinary, nullable=False),
    Column("plan_hash", LargeBinary, nullable=False),
    Column("rho_micro", BigInteger, nullable=False),
    Column("price_minor", Text, nullable=False),  # up to 128 bits
    Column("expires_at", BigInteger, nullable=False, index=True),
    Index("quotes_by_plan", "buyer", "plan_hash"),
)
requests = _numbered(
    "requests",
    Column("request_id", LargeBinary, nullable=False, unique=True),
    Column("buyer", LargeBinary, nullable=False),
    Column("nonce", Text, nullable=False),  # 256 bits
    Column("plan_hash", LargeBinary, nullable=False),
    Column("price_minor", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("plan", LargeBinary, nullable=False),
    Column("stage", Text, nullable=False, index=True),
    Column("reason", Text, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("acceptance", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("buyer", "nonce"),
    Index("requests_by_plan", "buyer", "plan_hash"),
)
request_holders = Table(
    "request_holders",
    metadata,
    Column("request_id", LargeBinary, ForeignKey("requests.request_id"), primary_key=True),
    Column("holder", LargeBinary, primary_key=True, index=True),
)
events = _numbered(
    "events",
    Column("request_id", LargeBinary, nullable=False, index=True),
    Column("stage", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)
messages = _messages(
    "messages",
    Column("kind", Integer, primary_key=True, autoincrement=False),
    Column("sender", Integer, primary_key=True, autoincrement=False),
)
join_parts = _messages(
    "join_parts",
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("sender", Integer, nullable=False),
)
answers = Table(
    "answers",
    metadata,
    Column("request_id", LargeBinary, ForeignKey("requests.request_id"), primary_key=True),
    Column("basis", LargeBinary, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("root", LargeBinary, nullable=False),
)
gas = Table(
    "gas",
    metadata,
    Column("tx_hash", LargeBinary, primary_key=True),
    Column("gas_used", BigInteger, nullable=False),
)
licences = Table(
    "licences",
    metadata,
    Column("leaf_hash", LargeBinary, primary_key=True),
    Column("operator", LargeBinary, nullable=False),
    Column("origin", Text, nullable=False),
    Column("type_code", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("key_id", LargeBinary, nullable=False),
    Column("log_index", BigInteger, nullable=False),
    Column("list", BigInteger, nullable=False),
    Column("index", Integer, nullable=False),
    Column("expires_at", BigInteger, nullable=True),
    Column("as_of", BigInteger, nullable=False),
    Column("lapses_at", BigInteger, nullable=False),
    Column("fault", Text, nullable=False),
)
admissions = Table(
    "admissions",
    metadata,
    Column("account", LargeBinary, primary_key=True),
    Column("leaf_hash", LargeBinary, ForeignKey("licences.leaf_hash"), nullable=False),
    Column("admitted_at", BigInteger, nullable=False),
)
