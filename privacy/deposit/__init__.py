"""Encrypted deposits: a joint key nobody has, cells of a cube under it, sums over them, and their decryption by t trustees.

Bytes: docs/protocol.md, Encrypted deposit. All of it is functions of state and messages; who carries them is not here.
"""

from privacy.deposit.ceremony import Ceremony
from privacy.deposit.cube import Cube, CubeLane, make_lane
from privacy.deposit.decrypt import Combined, combine, decrypt_partially, partial_size, verify_partial
from privacy.deposit.dkg import Outcome, TrusteeSecret, announce, complain, deal, finish
from privacy.deposit.elgamal import CIPHERTEXT_BYTES, Ciphertexts, encrypt
from privacy.deposit.keys import DepositKey, KeyShare
from privacy.deposit.logarithms import LogTable, table_bits
from privacy.deposit.noise import encrypt_noise, noise_size, read_noise
from privacy.deposit.parallel import Mapper, ProcessMapper, RayMapper
from privacy.deposit.stored import Deposit, DepositHeader
from privacy.deposit.tabulate import CubeRows, bound_units, tabulate
from privacy.deposit.total import Selection, check_points, sum_cells
from privacy.deposit.writer import write_deposit

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
    "tabulate",
    "verify_partial",
    "write_deposit",
]
