"""What a node does before it is ready, so that the first request after a start does not pay for it.

Nothing of it is needed for a right answer: what is not made here is made when it is needed.
"""

from __future__ import annotations

from importlib import import_module
from math import prod
from typing import Final

import structlog

from holder.data import DataRoom
from holder.errors import SourceUnreadable
from holder.settings import DepositSource, FileSource, HolderSettings, SqlSource
from privacy.columns import Role
from privacy.errors import PolicyInvalid
from privacy.generators import GeneratorCache
from privacy.policy import Policy

GENERATORS_MAX: Final = (
    1024  # 0.4 s of CPU where they are not on disk yet; wider plans make theirs when they come
)
_LANES_PER_MEASURE: Final = 3  # its count, sum and sum of squares

log = structlog.get_logger("shuyao.holder")


def import_modules(settings: HolderSettings) -> None:
    """Import what the first request would otherwise import: engine, its dialect, samplers, curves."""
    modules = ["holder.sums", "privacy.noise", "privacy.sealed_sum"]
    if any(isinstance(asset.source, FileSource) for asset in settings.assets):
        modules += ["holder.duckdb_engine", "duckdb"]
    if any(isinstance(asset.source, SqlSource) for asset in settings.assets):
        modules.append("holder.sqlalchemy_engine")
    if any(isinstance(asset.source, DepositSource) for asset in settings.assets):
        modules += ["holder.deposit_workers", "privacy.deposit.subcube", "privacy.deposit.total"]
        modules.append("privacy.deposit.opening")
    for module in modules:
        import_module(module)


def prepare(data: DataRoom, generators: GeneratorCache, settings: HolderSettings) -> None:
    """Open the engine, and load the generators of the widest plan that is likely; make those that are not on disk.

    Args:
        data: the holder's rows.
        generators: of the commitments.
        settings: which assets there are.

    Raises:
        EngineDisagrees: the engine, which may be another than at registration, computes other numbers than every other.
    """
    try:
        data.probe()
    except SourceUnreadable as err:
        log.warning("source unreadable", detail=str(err))  # a request that needs it says so
    generators.take(max((_cells_of(data, asset.name) for asset in settings.assets), default=0))


def widest_plan(policy: Policy) -> int:
    """Return the cells of a plan with every measure by every dimension, at most `GENERATORS_MAX`."""
    dimensions = [column for column in policy.columns if column.role in (Role.DIMENSION, Role.BOTH)]
    measures = [column for column in policy.columns if column.role in (Role.MEASURE, Role.BOTH)]
    groups = prod(len(column.domain or ()) + 1 for column in dimensions)
    return min(groups * (1 + _LANES_PER_MEASURE * len(measures)), GENERATORS_MAX)


def _cells_of(data: DataRoom, name: str) -> int:
    try:
        return widest_plan(data.policy(name))
    except PolicyInvalid:
        return 0  # registration says what is wrong with it
