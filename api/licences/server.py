"""The composition root of a city's licence service: book, duties and HTTP server in one process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from api.licences.app import create_app
from api.licences.service import LicenceService, ServiceKeys
from api.licences.serving import serve
from api.licences.settings import CitySettings
from api.licences.verifiers import Verifiers
from api.serving import configure_logs


def run(
    folder: Path,
    settings: CitySettings,
    keys: ServiceKeys,
    *,
    on_ready: Callable[[int], None] | None = None,
) -> None:
    """Run a city's service until SIGTERM or SIGINT.

    Args:
        folder: of the book.
        settings: of the city.
        keys: of log, service and operator, out of their encrypted files.
        on_ready: called with the port once requests are answered.

    Raises:
        LedgerError: the book cannot be opened, or the settings contradict it.
    """
    configure_logs()
    service = LicenceService(folder, settings, keys)
    verifiers = Verifiers(folder, settings) if settings.verify_workers else None
    try:
        service.start()
        if verifiers is not None:
            verifiers.start()
        serve(create_app(service), host=settings.host, port=settings.port, on_ready=on_ready)
    finally:
        if verifiers is not None:
            verifiers.stop()
        service.stop()
