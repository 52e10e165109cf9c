"""OpenMined's private set intersection, the size only: CPU seconds of both parties, in its own environment.

Takes and prints one JSON object, as `benchmarks.environment.run_peer` wants it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import TypeVar

import private_set_intersection.python as psi

Result = TypeVar("Result")


def clocked(work: Callable[[], Result]) -> tuple[float, Result]:
    """Run once; returns CPU seconds and the result."""
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result


def main() -> None:
    """Measure set-up, request, response and intersection, and check the size."""
    arguments = json.loads(sys.argv[1])
    count, common = arguments["count"], arguments["common"]
    structure = getattr(psi.DataStructure, arguments["structure"])
    mine = [f"key {number}" for number in range(count)]
    theirs = [f"key {number}" for number in range(count - common, 2 * count - common)]
    client, server = psi.client.CreateWithNewKey(False), psi.server.CreateWithNewKey(False)
    setup_s, setup = clocked(
        lambda: server.CreateSetupMessage(arguments["false_positives"], count, theirs, structure)
    )
    request_s, request = clocked(lambda: client.CreateRequest(mine))
    response_s, response = clocked(lambda: server.ProcessRequest(request))
    size_s, size = clocked(lambda: client.GetIntersectionSize(setup, response))
    if abs(size - common) > arguments["tolerated"]:
        raise AssertionError(f"the peer finds {size} common keys, not {common}")
    figures = {"client": request_s + size_s, "server": setup_s + response_s}
    print(json.dumps(figures | {"version": version("openmined-psi")}))


if __name__ == "__main__":
    main()
