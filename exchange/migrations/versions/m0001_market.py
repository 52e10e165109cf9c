"""Names of participants, assets, listings, quotes, requests with their events, messages and answers.

Revision ID: 0001
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of the first version."""
    _market()
    _requests()
    _results()


def _market() -> None:
    op.create_table("names", sa.Column("account", sa.LargeBinary, primary_key=True), _text("name"))
    _numbered(
        "assets",
        _bytes("asset_id", unique=True),
        _bytes("holder", index=True),
        _text("name"),
        _text("title"),
        _bytes("policy"),
        _bytes("policy_hash"),
        _bytes("descriptor"),
    )
    _numbered(
        "listings",
        _bytes("listing_id", unique=True),
        _text("name", unique=True),
        _text("title"),
        _bytes("policy"),
        _bytes("policy_hash"),
    )
    op.create_table(
        "listing_assets",
        sa.Column("listing_id", sa.LargeBinary, sa.ForeignKey("listings.listing_id"), primary_key=True),
        sa.Column("asset_id", sa.LargeBinary, sa.ForeignKey("assets.asset_id"), primary_key=True),
    )
    _numbered(
        "quotes",
        _text("quote_id", unique=True),
        _bytes("listing_id"),
        _bytes("buyer"),
        _bytes("plan_hash"),
        sa.Column("rho_micro", sa.BigInteger, nullable=False),
        _text("price_minor"),
        sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
    )
    op.create_index("quotes_by_plan", "quotes", ["buyer", "plan_hash"])


def _requests() -> None:
    _numbered(
        "requests",
        _bytes("request_id", unique=True),
        _bytes("buyer"),
        _text("nonce"),
        _bytes("plan_hash"),
        _text("price_minor"),
        _text("request"),
        _bytes("signature"),
        _bytes("plan"),
        _text("stage", index=True),
        _text("reason"),
        sa.Column("runs", sa.Integer, nullable=False),
        _bytes("acceptance"),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("buyer", "nonce"),
    )
    op.create_index("requests_by_plan", "requests", ["buyer", "plan_hash"])
    op.create_table(
        "request_holders",
        _request_key(),
        sa.Column("holder", sa.LargeBinary, primary_key=True, index=True),
    )
    _numbered(
        "events",
        _bytes("request_id", index=True),
        _text("stage"),
        sa.Column("at", sa.BigInteger, nullable=False),
    )


def _results() -> None:
    op.create_table(
        "messages",
        _request_key(),
        sa.Column("session", sa.LargeBinary, primary_key=True),
        sa.Column("kind", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sender", sa.Integer, primary_key=True, autoincrement=False),
        _bytes("holder"),
        _bytes("message_hash"),
        _bytes("frame"),
        _bytes("receipt"),
    )
    op.create_table("answers", _request_key(), _bytes("basis"), _bytes("payload"), _bytes("root"))
    op.create_table(
        "gas",
        sa.Column("tx_hash", sa.LargeBinary, primary_key=True),
        sa.Column("gas_used", sa.BigInteger, nullable=False),
    )


def _numbered(name: str, *columns: Any) -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    key = sa.Column("number", number, primary_key=True, autoincrement=True)
    op.create_table(name, key, *columns, sqlite_autoincrement=True)


def _request_key() -> Any:
    return sa.Column("request_id", sa.LargeBinary, sa.ForeignKey("requests.request_id"), primary_key=True)


def _bytes(name: str, **options: Any) -> Any:
    return sa.Column(name, sa.LargeBinary, nullable=False, **options)


def _text(name: str, **options: Any) -> Any:
    return sa.Column(name, sa.Text, nullable=False, **options)
