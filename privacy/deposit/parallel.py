"""Where pure functions of a deposit run: here, in processes of this machine, or on a Ray cluster.

A mapper is called like `map` and gives results in the order of the jobs. Functions and jobs can be pickled.
"""

from __future__ import annotations

import importlib
import multiprocessing
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

from privacy.deposit.errors import DepositError, ProcessLost, RayFailed, RayMissing

CONNECT_TIMEOUT_S: Final = 5.0

Job = TypeVar("Job")
Result = TypeVar("Result")


class Mapper(Protocol):
    """Anything that is called like `map`."""

    def __call__(self, function: Callable[[Job], Result], jobs: Iterable[Job], /) -> Iterable[Result]:
        """Return function(job) of each job, in order."""


class ProcessMapper:
    """Processes of this machine, to be used as a context."""

    def __init__(self, workers: int) -> None:
        # spawned: a fork of a process with threads, as pyarrow's, may never wake
        self._pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))

    def __call__(self, function: Callable[[Job], Result], jobs: Iterable[Job], /) -> Iterator[Result]:
        """Return function(job) of each job, in order.

        Raises:
            ProcessLost: a process ended before its work was done, as for want of memory.
        """
        try:
            yield from self._pool.map(function, jobs)
        except BrokenProcessPool as err:
            raise ProcessLost("a process of this machine ended before its work was done") from err

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)


class RayMapper:
    """A Ray cluster, to be used as a context; every node must see the deposit's folder under the same path.

    Nothing secret goes to it in a sum: encrypted cells and selections are public to the trustee's own cluster.
    """

    def __init__(self, *, address: str | None = None, workers: int | None = None) -> None:
        """Connect to a cluster, or start one on this machine.

        Args:
            address: of a running cluster; None starts one.
            workers: of a cluster that is started; the number of cores without it.

        Raises:
            RayMissing: the package `ray` is not installed.
            RayFailed: no cluster there, or none can be started.
        """
        self._ray = _import_ray()
        if address is not None:
            _require_listener(address)
        options: dict[str, Any] = {"address": address, "log_to_driver": False, "configure_logging": False}
        if address is None:
            options |= {"num_cpus": workers, "include_dashboard": False}
        try:
            self._ray.init(**options)
        except (OSError, RuntimeError, ValueError) as err:  # a ConnectionError is an OSError
            raise RayFailed(f"no Ray cluster at {address or 'this machine'}: {type(err).__name__}") from err

    def __call__(self, function: Callable[[Job], Result], jobs: Iterable[Job], /) -> Iterator[Result]:
        """Return function(job) of each job, in order.

        Raises:
            RayFailed: Ray could not run a job. A deposit's own error comes as it is.
        """
        remote = self._ray.remote(function)
        references = [remote.remote(job) for job in jobs]
        for reference in references:
            try:
                yield self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as err:
                if isinstance(err.cause, DepositError):
                    raise err.cause from None
                raise RayFailed(f"a task failed: {type(err.cause).__name__}") from err
            except self._ray.exceptions.RayError as err:
                raise RayFailed(f"Ray: {type(err).__name__}") from err

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ray.shutdown()


def _require_listener(address: str) -> None:
    """Find out in seconds that nobody is there: Ray itself takes minutes to give up, and a request has a deadline."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return  # a name of Ray's own, as `auto`
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as err:
        raise RayFailed(f"no Ray cluster at {address}: {type(err).__name__}") from err


def _import_ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as err:
        raise RayMissing("summing on Ray needs the package `ray`: pip install ray") from err
