"""The node's tables, and how their rows become values."""

from __future__ import annotations

import json
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    String,
    Table,
    Text,
)

from holder.types import BudgetLine, Decision, Hold, Stage, StoredAsset, StoredRequest
from ledger.types import Digest, Request

STORE_VERSION: Final = 1
MICRO_RHO_MAX: Final = (1 << 63) - 1

metadata = MetaData()

meta = Table(
    "holder_meta",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
assets = Table(
    "holder_assets",
    metadata,
    Column("asset_id", LargeBinary(32), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("line", LargeBinary(32), nullable=False),
    Column("policy", Text, nullable=False),
    Column("policy_hash", LargeBinary(32), nullable=False),
    Column("snapshot_root", LargeBinary(32), nullable=False),
    Column("descriptor_hash", LargeBinary(32), nullable=False),
    Column("source", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
)
entrustments = Table(
    "holder_entrustments",
    metadata,
    Column("asset_id", LargeBinary(32), primary_key=True),
    Column("listing", LargeBinary(32), primary_key=True),
    Column("listing_name", Text, nullable=False),
    Column("broker", LargeBinary(20), nullable=False),
)
lines = Table(
    "holder_lines",
    metadata,
    Column("line", LargeBinary(32), primary_key=True),
    Column("key_space", Text, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False, default=0),
    Column("spent", BigInteger, nullable=False, default=0),
)
requests = Table(
    "holder_requests",
    metadata,
    Column("request_id", LargeBinary(32), primary_key=True),
    Column("buyer", LargeBinary(20), nullable=False),
    Column("plan_hash", LargeBinary(32), nullable=False),
    Column("request", Text, nullable=False),
    Column("stage", String(16), nullable=False),
    Column("reason", String(64)),
    Column("detail", Text),
    Column("plan", Text),
    Column("asset_id", LargeBinary(32)),
    Column("asset_version", BigInteger),
    Column("line", LargeBinary(32)),
    Column("rho", BigInteger, nullable=False, default=0),
    Column("session", LargeBinary(32)),
    Column("hold", String(16), nullable=False, default=Hold.NONE.value),
    Column("sealed", Boolean, nullable=False, default=False),
    Column("ended_block", BigInteger),
    Column("stage_before", String(16)),
    Column("decision", String(16)),
    Column("updated_at_s", BigInteger, nullable=False),
    Index("holder_requests_same_plan", "buyer", "plan_hash"),
    Index("holder_requests_stage", "stage", "hold"),
)
secrets_ = Table(
    "holder_secrets",
    metadata,
    Column("request_id", LargeBinary(32), primary_key=True),
    Column("name", String(32), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)
messages = Table(
    "holder_messages",
    metadata,
    Column("request_id", LargeBinary(32), primary_key=True),
    Column("kind", Integer, primary_key=True, autoincrement=False),
    Column("frame", LargeBinary, nullable=False),
    Column("message_hash", LargeBinary(32), nullable=False),
    Column("receipt", LargeBinary),
)
join_parts = Table(
    "holder_join_parts",
    metadata,
    Column("request_id", LargeBinary(32), primary_key=True),
    Column("session", LargeBinary(32), primary_key=True),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("frame", LargeBinary, nullable=False),
    Column("message_hash", LargeBinary(32), nullable=False),
    Column("receipt", LargeBinary),
)


def dump(value: Any) -> str:
    """Write a JSON value in one form, so that equal values are equal text."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def asset_row(asset: StoredAsset) -> dict[str, Any]:
    """Return an asset as a row."""
    names = ("policy", "source", "fingerprint")
    plain = {name: getattr(asset, name) for name in StoredAsset.__dataclass_fields__ if name not in names}
    return plain | {name: dump(getattr(asset, name)) for name in names}


def asset_of(row: Row[Any]) -> StoredAsset:
    """Return a row as an asset."""
    return StoredAsset(
        asset_id=Digest(row.asset_id),
        version=row.version,
        name=row.name,
        line=Digest(row.line),
        policy=json.loads(row.policy),
        policy_hash=Digest(row.policy_hash),
        snapshot_root=Digest(row.snapshot_root),
        descriptor_hash=Digest(row.descriptor_hash),
        source=json.loads(row.source),
        fingerprint=json.loads(row.fingerprint),
        rows=row.rows,
    )


def line_of(row: Row[Any]) -> BudgetLine:
    """Return a row as a budget line."""
    return BudgetLine(Digest(row.line), row.key_space, row.total, row.reserved, row.spent)


def request_of(row: Row[Any]) -> StoredRequest:
    """Return a row as a request."""
    return StoredRequest(
        request_id=Digest(row.request_id),
        request=Request.from_json(json.loads(row.request)),
        stage=Stage(row.stage),
        reason=row.reason,
        detail=row.detail,
        plan=None if row.plan is None else json.loads(row.plan),
        asset_id=None if row.asset_id is None else Digest(row.asset_id),
        asset_version=row.asset_version,
        line=None if row.line is None else Digest(row.line),
        session=None if row.session is None else Digest(row.session),
        hold=Hold(row.hold),
        sealed=row.sealed,
        decision=None if row.decision is None else Decision(row.decision),
        updated_at_s=row.updated_at_s,
    )
