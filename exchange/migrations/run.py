"""Bring a database to the newest revision. It imports alembic, which costs time."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from ledger.database import write_transaction


def configuration() -> Config:
    """Return alembic's configuration for this folder, without a file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def upgrade(engine: Engine) -> None:
    """Run every revision that the database lacks, in one write transaction."""
    config = configuration()
    with write_transaction(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
