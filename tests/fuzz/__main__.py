"""Fuzz decoders: `python -m tests.fuzz FAMILY… --seconds N`, `all` for every family, `--list` for their names.

With `--each` every decoder has the seconds for itself; started again after a stop, it goes on with those that have not had them.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz import guided, table
from tests.fuzz.contract import examine


def main() -> int:
    """Run what the command line asks for; 1 if there are findings."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("families", nargs="*", type=_family, metavar="FAMILY[:NUMBER]")
    parser.add_argument("--seconds", type=int, default=60, help="for each family")
    parser.add_argument("--each", action="store_true", help="the seconds are for each decoder")
    parser.add_argument("--jobs", type=int, default=1, help="so many at the same time")
    parser.add_argument("--list", action="store_true", help="name the families and their decoders")
    parser.add_argument("--replay", type=Path, help="give one input to the decoder that its first byte names")
    parser.add_argument(
        "--stretch", type=Path, help="give decoders long inputs made from the corpus in a folder"
    )
    given = parser.parse_args()
    if given.stretch:
        sys.stdout.write(str(guided.stretch(given.families[0], given.stretch, given.seconds)))
        return 0
    if given.replay:
        return _replay(given.families[0], given.replay)
    names = table.NAMES if "all" in given.families or not given.families else tuple(given.families)
    if given.list:
        for name in names:
            sys.stdout.write(f"{name}: {', '.join(decoder.name for decoder in table.family(name))}\n")
        return 0
    if given.each:
        names = tuple(part for name in names for part in table.each(name))
        whole, names = len(names), tuple(name for name in names if not guided.has_had(name, given.seconds))
        sys.stdout.write(f"{whole} decoders, of which {len(names)} have not had {given.seconds} s\n")
    with ThreadPoolExecutor(given.jobs) as pool:
        reports = list(pool.map(lambda name: _told(guided.fuzz(name, given.seconds)), names))
    return int(any(report.findings for report in reports))


def _family(text: str) -> str:
    if text == "all" or text.partition(":")[0] in table.NAMES:
        return text
    raise argparse.ArgumentTypeError(f"expected one of {', '.join(table.NAMES)}, or all; got {text!r}")


def _told(report: guided.Report) -> guided.Report:
    sys.stdout.write(
        f"{report.family:12} {report.engine}: {report.decoders} decoders, {report.executions:,} executions in {report.seconds} s, "
        f"{report.covered:,} branches, {len(report.findings)} findings\n"
    )
    for finding in report.findings:
        sys.stdout.write(f"  {finding}\n")
    sys.stdout.flush()
    return report


def _replay(family: str, path: Path) -> int:
    data = path.read_bytes()
    decoder = table.decoder_of(family, data)
    for seed in decoder.seeds():  # what is made once is not the input's fault
        examine(decoder, seed)
    finding = examine(decoder, data[1:]).finding
    if finding is None:
        return 0
    sys.stdout.write(json.dumps({"kind": finding.kind, "where": finding.where, "detail": finding.detail}))
    return 1


if __name__ == "__main__":
    sys.exit(main())
