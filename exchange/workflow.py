"""Durable workflows: one for each request, journalled by dbos, so that a request goes on where a process died.

dbos drives and nothing more: what a step finds and does depends on our tables and the chain (`exchange.driver`). A
step that was journalled is not repeated; one that was not is, and does no harm.
"""

from __future__ import annotations

from typing import Final

import structlog
from dbos import DBOS, DBOSConfig, SetWorkflowID
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url

from exchange.driver import Driver
from exchange.settings import Settings
from exchange.store import Store
from exchange.types import RequestRecord, Stage
from ledger.types import Digest, digest_from_hex, to_hex

APPLICATION_VERSION: Final = "1"  # raise it whenever the steps below change
APPLICATION_NAME: Final = "shuyao-exchange"
_RUNNING: Final = ("PENDING", "ENQUEUED", "DELAYED")
_log = structlog.get_logger("exchange.workflow")
_drivers: dict[str, Driver] = {}  # dbos calls plain functions: this is the one driver of the process


@DBOS.step(name="leave")
def _leave(request_id: str, stage: str) -> str:
    return _drivers["driver"].leave(digest_from_hex(request_id), Stage(stage)).value


@DBOS.workflow(name="drive_request", max_recovery_attempts=None)
def _drive_request(request_id: str) -> str:
    stage = Stage.SUBMITTED
    while not stage.is_final:
        stage = Stage(_leave(request_id, stage.value))
    return stage.value


class Workflows:
    """The workflows of this process. There is one at a time: dbos allows no more."""

    def __init__(self, settings: Settings, store: Store, driver: Driver) -> None:
        self._settings, self._store, self._driver = settings, store, driver
        self._launched = False
        self._engine: Engine | None = None

    def launch(self) -> None:
        """Start dbos, which takes up what it has pending, and then what it does not know of."""
        _drivers["driver"] = self._driver
        DBOS(config=self._configuration())
        DBOS.launch()
        self._launched = True
        self.sweep()

    def sweep(self) -> None:
        """Start a workflow for every request in flight that has none.

        That is: one taken just before a crash, one whose workflow ended in an error, or one whose workflow belongs
        to an older version of the steps, which nobody would ever take up.
        """
        for record in self._store.live_requests():
            if not self._is_running(record):
                _log.info("workflow_started_anew", request=to_hex(record.request_id), runs=record.runs + 1)
                self._store.count_run(record.request_id)
                self.start(record.request_id)

    def start(self, request_id: Digest) -> None:
        """Start the workflow of a request; again is no second one. Without effect before `launch`."""
        if self._launched:
            with SetWorkflowID(_workflow_id(self._store.request(request_id))):
                DBOS.start_workflow(_drive_request, to_hex(request_id))

    def stop(self) -> None:
        """Stop dbos. The waits of its threads must have been ended: what they left is pending."""
        if self._launched:
            self._launched = False
            DBOS.destroy()
            _drivers.clear()
        if self._engine is not None:
            self._engine.dispose()

    @staticmethod
    def _is_running(record: RequestRecord) -> bool:
        status = DBOS.get_workflow_status(_workflow_id(record))
        return status is not None and status.status in _RUNNING and status.app_version == APPLICATION_VERSION

    def _configuration(self) -> DBOSConfig:
        configuration = DBOSConfig(
            name=APPLICATION_NAME,
            executor_id=self._settings.executor_id,
            application_version=APPLICATION_VERSION,
            log_level="WARNING",
            notification_listener_polling_interval_sec=0.5,  # how long a stop takes; nothing is listened for
            scheduler_polling_interval_sec=3600.0,  # and none is scheduled
            sys_db_pool_size=5,
        )
        url = make_url(self._settings.workflow_database_url)
        if url.get_backend_name() == "sqlite":
            self._engine = _sqlite_engine(self._settings.workflow_database_url)
            configuration["system_database_engine"] = self._engine
        else:
            plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
            configuration["system_database_url"] = plain
        return configuration


def _workflow_id(record: RequestRecord) -> str:
    return f"{to_hex(record.request_id)}.{record.runs}"


def _sqlite_engine(url: str) -> Engine:
    """Open the journal as dbos does, but with a write-ahead log: a lost step is repeated and does no harm."""
    engine = create_engine(url, pool_size=5)

    @event.listens_for(engine, "connect")
    def _configure(connection: object, _record: object) -> None:
        connection.isolation_level = "IMMEDIATE"  # type: ignore[attr-defined]
        for pragma in ("busy_timeout=30000", "foreign_keys=ON", "journal_mode=WAL", "synchronous=NORMAL"):
            connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]

    return engine
