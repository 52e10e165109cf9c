"""Every decoder, by family. To add one, add a line to its family's module; to add a module, a line here."""

from __future__ import annotations

import importlib
from typing import Final

from tests.fuzz.contract import Decoder

MODULES: Final[dict[str, tuple[str, ...]]] = {
    "sums": ("messages", "points"),
    "plans": ("policies", "queries", "plans"),
    "paillier": ("paillier",),
    "kinds": ("joins", "deposits", "scores"),
    "logs": ("notes", "tiles"),
    "licences": ("json", "credentials", "events", "status", "bundles", "codes"),
    "chains": ("evidence", "nodes", "receipts"),
    "exchanges": ("bodies", "replies"),
    "stored": ("audits", "settings", "stored"),
    "verdicts": ("openings", "verdicts", "rooms"),
    "parties": ("ceremonies", "relays"),
    "kept": ("kept",),
}
"""Module of `tests.fuzz.families` → its families. Names stand here so that listing them imports nothing."""

NAMES: Final = tuple(name for names in MODULES.values() for name in names)


def family(name: str) -> tuple[Decoder, ...]:
    """Return the decoders of a family, or the one of `FAMILY:NUMBER`, and import what they need."""
    name, _, number = name.partition(":")
    (module,) = (module for module, names in MODULES.items() if name in names)
    families: dict[str, tuple[Decoder, ...]] = importlib.import_module(
        f"tests.fuzz.families.{module}"
    ).FAMILIES
    assert tuple(families) == MODULES[module], f"{module}: the table has other families"
    return (families[name][int(number)],) if number else families[name]


def each(name: str) -> tuple[str, ...]:
    """Return the names of a family's decoders, by which `family` gives one alone."""
    return tuple(f"{name}:{number}" for number in range(len(family(name))))


def decoder_of(name: str, data: bytes) -> Decoder:
    """Return the decoder of a family that the first byte of an input chooses."""
    decoders = family(name)
    return decoders[(data[0] if data else 0) % len(decoders)]
