"""The process that fuzzes: `python -m tests.fuzz.worker FAMILY FOUND LIBFUZZER-OPTION…`, started by `tests.fuzz.guided`.

The first byte of an input chooses the decoder, the rest is what it reads.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import atheris

from tests.fuzz import table
from tests.fuzz.contract import examine
from tests.fuzz.draw import Draw
from tests.fuzz.mutation import mutate

PACKAGES = ["privacy", "ledger", "holder", "client", "exchange", "api", "cli"]
_OURS = 2


def main() -> None:
    """Instrument our packages as they are imported, write the seeds, and fuzz."""
    family, found, options = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    with atheris.instrument_imports(include=PACKAGES):
        decoders = table.family(family)
    inputs = [[*decoder.seeds(), *decoder.refused()] for decoder in decoders]
    seeds = Path(options[-1])
    seeds.mkdir(parents=True, exist_ok=True)
    for number, several in enumerate(inputs):
        for seed in several:
            data = bytes([number]) + seed
            (seeds / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    met: set[str] = set()

    def test_one_input(data: bytes) -> None:
        finding = examine(table.decoder_of(family, data), data[1:]).finding
        if finding is not None and finding.key not in met:
            met.add(finding.key)
            (found / hashlib.sha256(finding.key.encode()).hexdigest()[:16]).write_bytes(data)

    def change(data: bytes, size_max: int, seed: int) -> bytes:
        """Change an input: half of the time as libFuzzer does, half of the time as `mutation` does."""
        draw = Draw(str(seed))
        if draw.below(_OURS):
            return bytes(atheris.Mutate(data, size_max))
        alike = inputs[data[0] % len(inputs)] if data else inputs[0]
        return data[:1] + mutate(data[1:], draw, alike, size_max=size_max - 1)

    atheris.Setup([sys.argv[0], *options], test_one_input, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
