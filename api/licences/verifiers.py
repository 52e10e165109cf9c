"""Processes that only verify: they read the book's files, keep records of uses in files of their own, and share one listening socket.

The book's own process answers `POST /licences/verify` as well; these are for a load that one core does not carry.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import MutableSequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.licences.duties import Duties, Duty
from api.licences.guard import layers
from api.licences.hot import HotVerify
from api.licences.metrics import Metrics
from api.licences.serving import serve
from api.licences.settings import CitySettings
from api.licences.shared_listener import NOT_TAKING, SharedListener
from api.serving import configure_logs
from ledger.errors import LedgerError
from ledger.licences.access import AccessWriter
from ledger.licences.layout import BookFolder
from ledger.licences.online import OnlineFacts
from ledger.licences.policy import City, TrustPolicy

LOOK_S: Final = 0.25  # between two looks at the published files
WATCH_S: Final = 1.0  # between two looks at the processes
_STOP_S: Final = 10.0
_log = structlog.get_logger("api.licences")


def create_verifier_app(
    online: OnlineFacts, policy: TrustPolicy, access: AccessWriter, duties: Duties
) -> Starlette:
    """Build the application of one verifying process: the hot route, health and metrics."""
    metrics = Metrics(lambda: {"duties_failing": sum(1 for state in duties.states() if state.fault)})

    async def health(_request: Request) -> Response:
        faults = [state.name for state in duties.states() if state.fault]
        return JSONResponse({"status": "degraded" if faults else "ok"})

    async def read_metrics(_request: Request) -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    hot = HotVerify(online, policy, access, note=metrics.note_verdict)
    return Starlette(
        routes=[Route("/healthz", health), Route("/metrics", read_metrics)],
        middleware=layers(hot, metrics.note),
    )


def run_verifier(
    folder: Path,
    settings_json: dict[str, Any],
    number: int,
    shared: tuple[socket.socket, MutableSequence[int]],
    parent: int,
) -> None:
    """Run one verifying process until SIGTERM, or until the process that started it is gone.

    Args:
        folder: of the book.
        settings_json: of the city.
        number: of this process, from 1.
        shared: what all of them share: the listening socket, and how many connections each has.
        parent: the starter's process id.
    """
    configure_logs()
    city = City.from_json(CitySettings.from_json(settings_json).city())
    online = OnlineFacts(folder, city)
    access = AccessWriter(BookFolder(folder).access, f"verifier-{number}")

    def watch() -> None:
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    duties = Duties([Duty("look", LOOK_S, online.refresh), Duty("parent", WATCH_S, watch)])
    with suppress(LedgerError):  # the duty tries again, and says why; until then verdicts would be UNKNOWN
        online.refresh()
    duties.start()
    try:
        app = create_verifier_app(online, TrustPolicy((city,)), access, duties)
        # what is there now stays: a full collection that goes through it holds all requests up, measured 70 ms
        connections = SharedListener(*shared, own=number - 1)
        serve(app, host="", port=0, connections=connections, on_ready=lambda _port: gc.freeze())
    finally:
        duties.stop()
        access.close()
        online.close()


class Verifiers:
    """The verifying processes of one service; one that ends is started again. `start` and `stop` once each.

    Args:
        folder: of the book.
        settings: of the city; its `verify_workers` says how many.
    """

    def __init__(self, folder: Path, settings: CitySettings) -> None:
        self._folder, self._settings = folder, settings
        self._context = multiprocessing.get_context("spawn")
        self._processes: dict[int, BaseProcess] = {}
        self._listening: socket.socket | None = None
        self._counts = self._context.RawArray("l", [NOT_TAKING] * settings.verify_workers)
        self._ending = threading.Event()
        self._watch = threading.Thread(target=self._keep, name="verifiers", daemon=True)

    def start(self) -> None:
        """Listen, and start the processes."""
        self._listening = socket.create_server(
            (self._settings.host, self._settings.verify_port), backlog=4096
        )
        for number in range(1, self._settings.verify_workers + 1):
            self._spawn(number)
        self._watch.start()

    def stop(self) -> None:
        """End the processes after the requests that they are in."""
        self._ending.set()
        if self._watch.is_alive():
            self._watch.join(_STOP_S)
        for process in self._processes.values():
            process.terminate()
        end = time.monotonic() + _STOP_S
        for process in self._processes.values():
            process.join(max(0.0, end - time.monotonic()))
            if process.is_alive():
                process.kill()
        if self._listening is not None:
            self._listening.close()

    def _spawn(self, number: int) -> None:
        self._counts[number - 1] = NOT_TAKING
        shared = (self._listening, self._counts)
        arguments = (self._folder, self._settings.to_json(), number, shared, os.getpid())
        process = self._context.Process(target=run_verifier, args=arguments, name=f"verifier-{number}")
        process.start()
        self._processes[number] = process

    def _keep(self) -> None:
        while not self._ending.wait(WATCH_S):
            for number, process in list(self._processes.items()):
                if not process.is_alive():
                    _log.warning("verifier_ended", number=number, code=process.exitcode)
                    self._spawn(number)
