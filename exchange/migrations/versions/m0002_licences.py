"""Licences that admitted participants, and which account presented which.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of admission by licence."""
    op.create_table(
        "licences",
        sa.Column("leaf_hash", sa.LargeBinary, primary_key=True),
        sa.Column("operator", sa.LargeBinary, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("type_code", sa.Text, nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("key_id", sa.LargeBinary, nullable=False),
        sa.Column("log_index", sa.BigInteger, nullable=False),
        sa.Column("list", sa.BigInteger, nullable=False),
        sa.Column("index", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=True),
        sa.Column("as_of", sa.BigInteger, nullable=False),
        sa.Column("lapses_at", sa.BigInteger, nullable=False),
        sa.Column("fault", sa.Text, nullable=False),
    )
    op.create_table(
        "admissions",
        sa.Column("account", sa.LargeBinary, primary_key=True),
        sa.Column("leaf_hash", sa.LargeBinary, sa.ForeignKey("licences.leaf_hash"), nullable=False),
        sa.Column("admitted_at", sa.BigInteger, nullable=False),
    )
