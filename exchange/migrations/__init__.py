"""The history of the market's tables, one alembic revision per change."""
