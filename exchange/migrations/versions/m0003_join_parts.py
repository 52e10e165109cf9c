"""Parts of the rounds of private joins, kept until their request ends.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of parts."""
    op.create_table(
        "join_parts",
        sa.Column("request_id", sa.LargeBinary, sa.ForeignKey("requests.request_id"), primary_key=True),
        sa.Column("session", sa.LargeBinary, primary_key=True),
        sa.Column("round", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sender", sa.Integer, nullable=False),
        sa.Column("holder", sa.LargeBinary, nullable=False),
        sa.Column("message_hash", sa.LargeBinary, nullable=False),
        sa.Column("frame", sa.LargeBinary, nullable=False),
        sa.Column("receipt", sa.LargeBinary, nullable=False),
    )
