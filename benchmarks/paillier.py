"""Paillier at 3072 bits beside the stock library and SecretFlow's HEU: CPU for each ciphertext and packed value."""

from __future__ import annotations

import hashlib
import secrets
import statistics
from collections.abc import Callable
from typing import Any, TypeVar

import phe.util
from gmpy2 import mpz, powmod

from benchmarks.environment import machine, run_peer
from benchmarks.report import Target, report
from benchmarks.timing import cpu_ms_of
from privacy.paillier import (
    KEY_BITS,
    PrivateKey,
    ShortBlinding,
    SlotLayout,
    SumBound,
    add,
    decrypt,
    encrypt,
    pack,
    unpack,
)
from privacy.paillier.blinding import EXPONENT_BITS
from privacy.paillier.fixed_base import FixedBase
from privacy.paillier.interchange import to_phe_private_key

CELL_MAX = (1 << 62) - 1  # of the sealed sum: 64-bit slots, 47 to a plaintext
ROUNDS = 5
CIPHERTEXTS = 60
STOCK_ENCRYPTIONS = 6
DECRYPTIONS = 20
PEER_CIPHERTEXTS = 120

Result = TypeVar("Result")
Figures = dict[str, float]


def cells_of(count: int) -> list[int]:
    """Return signed cells of up to 62 bits, the same on every machine."""
    stream = hashlib.shake_256(b"shuyao/benchmark/paillier").digest(8 * count)
    return [int.from_bytes(stream[i : i + 8], "big", signed=True) >> 2 for i in range(0, len(stream), 8)]


def run() -> dict[str, Any]:
    """Measure all three in turn, in rounds, so that what else runs on the machine meets all of them."""
    if not phe.util.HAVE_GMP:
        raise AssertionError("the stock library runs without gmpy2")
    env = machine(("gmpy2", "phe"))
    key = PrivateKey.generate(secrets.token_bytes)
    layout = SlotLayout.for_bound(key.public, SumBound(1, 1, CELL_MAX))
    table_ms, blinding = cpu_ms_of(lambda: ShortBlinding(key.public, secrets.token_bytes))
    wide = _table_of_half_the_bits(key)
    rounds = []
    for _ in range(ROUNDS):
        ours = _ours(key, blinding, layout) | {"wide": _wide(wide)}
        peer = _peer()
        env["sf-heu"] = peer.pop("version")
        rounds.append(_ratios(ours, _stock(key), peer, layout))
    figures = {label: statistics.median(each[label] for each in rounds) for label in rounds[0]}
    figures["table_ms"] = table_ms
    return report("paillier", figures, _targets(), env | _method(layout))


def _each_us(work: Callable[[], list[Result]]) -> tuple[float, list[Result]]:
    spent, results = cpu_ms_of(work)
    return spent * 1e3 / len(results), results


def _ours(key: PrivateKey, blinding: ShortBlinding, layout: SlotLayout) -> Figures:
    """Return CPU microseconds; the packed ones are for each value."""
    cells = cells_of(CIPHERTEXTS * layout.slots)
    us: Figures = {}
    spent, vector = cpu_ms_of(lambda: encrypt(blinding, cells[:CIPHERTEXTS]))
    us["encrypt"] = spent * 1e3 / CIPHERTEXTS
    spent, packed = cpu_ms_of(lambda: encrypt(blinding, pack(cells, layout)))
    us["packed encrypt"] = spent * 1e3 / len(cells)
    spent, total = cpu_ms_of(lambda: add(packed, packed))
    us["packed add"] = spent * 1e3 / len(cells)
    few = type(total)(key.public, total.values[:DECRYPTIONS])
    count = DECRYPTIONS * layout.slots
    us["packed decrypt"], sums = _each_us(lambda: unpack(decrypt(key, few), layout, count=count))
    if sums != [2 * cell for cell in cells[:count]] or decrypt(key, vector)[:3] != cells[:3]:
        raise AssertionError("the packed sums are wrong")
    return us


def _table_of_half_the_bits(key: PrivateKey) -> FixedBase:
    """Return a table for exponents of half the modulus, as the peer has them."""
    n, n_square = key.public.n, key.public.n_square
    y = mpz(secrets.randbelow(n))
    return FixedBase(powmod(-y * y % n, n, n_square), n_square, places=KEY_BITS // 16)


def _wide(table: FixedBase) -> float:
    exponents = [secrets.token_bytes(table.places) for _ in range(CIPHERTEXTS)]
    return _each_us(lambda: [table.power(exponent) for exponent in exponents])[0]


def _stock(key: PrivateKey) -> Figures:
    """Return the stock library's CPU microseconds for each ciphertext."""
    private = to_phe_private_key(key)
    cells = cells_of(STOCK_ENCRYPTIONS)
    us: Figures = {}
    us["encrypt"], numbers = _each_us(lambda: [private.public_key.encrypt(cell) for cell in cells])
    us["add"], sums = _each_us(lambda: [number + number for number in numbers * 10])
    us["decrypt"], plain = _each_us(lambda: [private.decrypt(number) for number in sums[:DECRYPTIONS]])
    if plain[: len(cells)] != [2 * cell for cell in cells]:
        raise AssertionError("the stock library decrypts to something else")
    return us


def _peer() -> dict[str, Any]:
    messages = [str(cell) for cell in cells_of(PEER_CIPHERTEXTS)]
    arguments = {"bits": KEY_BITS, "messages": messages, "decryptions": DECRYPTIONS}
    return run_peer("heu", "heu_paillier.py", arguments)


def _ratios(ours: Figures, stock: Figures, peer: Figures, layout: SlotLayout) -> Figures:
    """Return how many times faster ours was in one round, and the times themselves."""
    return {
        "encrypt_times_faster_than_phe": stock["encrypt"] / ours["encrypt"],
        "packed_encrypt_times_faster_than_phe": stock["encrypt"] / ours["packed encrypt"],
        "packed_add_times_faster_than_phe": stock["add"] / ours["packed add"],
        "packed_decrypt_times_faster_than_phe": stock["decrypt"] / ours["packed decrypt"],
        "encrypt_times_faster_than_heu": peer["encrypt"] / ours["encrypt"],
        "packed_encrypt_times_faster_than_heu": peer["encrypt"] / ours["packed encrypt"],
        "same_exponent_encrypt_times_faster_than_heu": peer["encrypt"] / ours["wide"],
        "encrypt_us": ours["encrypt"],
        "packed_encrypt_us": ours["packed encrypt"],
        "add_us": ours["packed add"] * layout.slots,
        "decrypt_us": ours["packed decrypt"] * layout.slots,
        **{f"phe_{step}_us": spent for step, spent in stock.items()},
        **{f"heu_{step}_us": spent for step, spent in peer.items()},
    }


def _targets() -> dict[str, Target]:
    return {
        "encrypt_times_faster_than_phe": Target(at_least=40),
        "packed_encrypt_times_faster_than_phe": Target(at_least=1000),
        "packed_add_times_faster_than_phe": Target(at_least=30),
        "packed_decrypt_times_faster_than_phe": Target(at_least=30),
        "encrypt_times_faster_than_heu": Target(at_least=2),
        "packed_encrypt_times_faster_than_heu": Target(at_least=40),
    }


def _method(layout: SlotLayout) -> dict[str, str]:
    return {
        "key": f"{KEY_BITS} bits for all three; the same key for ours and phe",
        "values": f"signed cells of 62 bits, {layout.slots} to a plaintext in slots of "
        f"{8 * layout.slot_bytes} bits; packing and unpacking are counted",
        "peers' values": "one to a ciphertext; packed by hand in the same layout they would gain the number of "
        "slots too, and the ratio of packed values would be that of ciphertexts",
        "blinding": "drawn as each ciphertext is made, none ahead of time; the table is made before",
        "security level, all": "128 bits by the modulus (NIST SP 800-57)",
        "security level, ours": f"short exponents of {EXPONENT_BITS} bits: 2^{EXPONENT_BITS // 2} steps by "
        "Pollard's kangaroo; the short-exponent assumption",
        "security level, phe": "uniform r: no assumption besides decisional composite residuosity",
        "security level, sf-heu": f"ZPaillier, exponents of {KEY_BITS // 2} bits, as Damgård, Jurik, Nielsen; "
        "same_exponent_… is our table at that width",
        "decryption": "ours by GMP's constant-time exponentiation, which takes 1.4 times the ordinary one, phe's",
        "time": f"CPU of the process, median of {ROUNDS} rounds, all three in each",
    }
