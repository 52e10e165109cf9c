"""Encrypted deposits: a joint key nobody has, cells of a cube under it, sums over them, and their decryption by t trustees.

Bytes: docs/protocol.md, Encrypted deposit. All of it is functions of state and messages; who carries them is not here.

Names are loaded when they are asked for: whoever reads a plan's terms alone loads no library of curves.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from privacy.deposit.ceremony import Ceremony
    from privacy.deposit.cube import Cube, CubeLane, make_lane
    from privacy.deposit.decrypt import Combined, combine, decrypt_partially, verify_partial
    from privacy.deposit.dkg import Outcome, TrusteeSecret, announce, complain, deal, finish
    from privacy.deposit.elgamal import Ciphertexts, encrypt
    from privacy.deposit.keys import DepositKey
    from privacy.deposit.logarithms import LogTable, table_bits
    from privacy.deposit.noise import encrypt_noise, read_noise
    from privacy.deposit.parallel import Mapper, ProcessMapper, RayMapper
    from privacy.deposit.selection import Selection
    from privacy.deposit.shares import KeyShare
    from privacy.deposit.sizes import CIPHERTEXT_BYTES, noise_size, partial_size
    from privacy.deposit.stored import Deposit, DepositHeader
    from privacy.deposit.tabulate import CubeRows, bound_units
    from privacy.deposit.total import check_points, sum_cells
    from privacy.deposit.writer import write_deposit

_MODULES = {
    "ceremony": ("Ceremony",),
    "cube": ("Cube", "CubeLane", "make_lane"),
    "decrypt": ("Combined", "combine", "decrypt_partially", "verify_partial"),
    "dkg": ("Outcome", "TrusteeSecret", "announce", "complain", "deal", "finish"),
    "elgamal": ("Ciphertexts", "encrypt"),
    "keys": ("DepositKey",),
    "logarithms": ("LogTable", "table_bits"),
    "noise": ("encrypt_noise", "read_noise"),
    "parallel": ("Mapper", "ProcessMapper", "RayMapper"),
    "selection": ("Selection",),
    "shares": ("KeyShare",),
    "sizes": ("CIPHERTEXT_BYTES", "noise_size", "partial_size"),
    "stored": ("Deposit", "DepositHeader"),
    "tabulate": ("CubeRows", "bound_units"),
    "total": ("check_points", "sum_cells"),
    "writer": ("write_deposit",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "CIPHERTEXT_BYTES",
    "Ceremony",
    "Ciphertexts",
    "Combined",
    "Cube",
    "CubeLane",
    "CubeRows",
    "Deposit",
    "DepositHeader",
    "DepositKey",
    "KeyShare",
    "LogTable",
    "Mapper",
    "Outcome",
    "ProcessMapper",
    "RayMapper",
    "Selection",
    "TrusteeSecret",
    "announce",
    "bound_units",
    "check_points",
    "combine",
    "complain",
    "deal",
    "decrypt_partially",
    "encrypt",
    "encrypt_noise",
    "finish",
    "make_lane",
    "noise_size",
    "partial_size",
    "read_noise",
    "sum_cells",
    "table_bits",
    "verify_partial",
    "write_deposit",
]


def __getattr__(name: str) -> Any:
    """Load the module that has a name.

    Raises:
        AttributeError: there is none.
    """
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)
