"""TenSEAL's BFV, batched: CPU milliseconds and bytes of one holder's vector of 64-bit cells, in its own environment.

Takes and prints one JSON object, as `benchmarks.environment.run_peer` wants it. A plaintext modulus has at most 60 bits,
so a cell is its residues modulo several batching primes (CRT), each in ciphertexts of its own.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import tenseal as ts

SECURITY_BITS = 128


def batching_primes(degree: int, bits: int, count: int) -> list[int]:
    """Return the largest primes below 2^bits that are 1 modulo 2·degree."""
    found: list[int] = []
    candidate = (1 << bits) // (2 * degree) * (2 * degree) + 1
    while len(found) < count:
        candidate -= 2 * degree
        if is_prime(candidate):
            found.append(candidate)
    return found


def is_prime(number: int) -> bool:
    """Miller–Rabin with bases that decide every number below 2^64."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        power = pow(base, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


def cells_of(index: int, count: int, bits: int) -> np.ndarray:
    """Return one holder's signed cells of so many bits, the same on every machine."""
    stream = hashlib.shake_256(b"shuyao/benchmark/sum" + index.to_bytes(2, "big")).digest(8 * count)
    return np.frombuffer(stream, dtype="<i8") >> 64 - bits


def clocked(work: Callable[[], Any]) -> tuple[float, Any]:
    """Run once; returns CPU milliseconds and the result."""
    begin = time.process_time()
    result = work()
    return (time.process_time() - begin) * 1e3, result


class Scheme:
    """One plaintext modulus: the key owner's context, and the public one that holders have."""

    def __init__(self, degree: int, modulus: int) -> None:
        """Make keys; SEAL's own coefficient moduli for 128 bits."""
        self.modulus, self.degree = modulus, degree
        self.owner = ts.context(ts.SCHEME_TYPE.BFV, degree, modulus, n_threads=1)
        self.holder = ts.context_from(self.owner.serialize(save_secret_key=False, save_galois_keys=False))

    def encrypt(self, cells: np.ndarray) -> list[bytes]:
        """Return the serialised ciphertexts of a vector's residues."""
        residues = np.mod(cells, self.modulus)
        parts = [residues[k : k + self.degree].tolist() for k in range(0, len(residues), self.degree)]
        return [ts.bfv_vector(self.holder, part).serialize() for part in parts]

    def sum_and_decrypt(self, vectors: list[list[bytes]]) -> np.ndarray:
        """Add the holders' vectors and decrypt them."""
        total = [ts.bfv_vector_from(self.owner, part) for part in vectors[0]]
        for vector in vectors[1:]:
            for position, part in enumerate(vector):
                total[position] += ts.bfv_vector_from(self.owner, part)
        return np.concatenate([np.array(part.decrypt(), dtype=object) for part in total]) % self.modulus


def main() -> None:
    """Encrypt every holder's vector, add them, decrypt, and check the sum."""
    given = json.loads(sys.argv[1])
    holders, cells, degree = given["holders"], given["cells"], given["degree"]
    schemes = [
        Scheme(degree, prime) for prime in batching_primes(degree, given["prime_bits"], given["primes"])
    ]
    modulus = int(np.prod([scheme.modulus for scheme in schemes], dtype=object))
    if modulus.bit_length() <= given["width_bits"]:
        raise AssertionError("the primes are too few for the width")
    vectors = [cells_of(index, cells, given["cell_bits"]) for index in range(holders)]
    schemes[0].encrypt(vectors[0][:degree])
    each_ms, encrypted = [], []
    for vector in vectors:
        spent, parts = clocked(lambda vector=vector: [scheme.encrypt(vector) for scheme in schemes])
        each_ms.append(spent)
        encrypted.append(parts)
    server_ms, residues = clocked(
        lambda: [
            scheme.sum_and_decrypt([parts[k] for parts in encrypted]) for k, scheme in enumerate(schemes)
        ]
    )
    total = np.zeros(cells, dtype=object)
    for scheme, part in zip(schemes, residues, strict=True):
        rest = modulus // scheme.modulus
        total = (total + part * (rest * pow(rest, -1, scheme.modulus))) % modulus
    total = np.where(total > modulus // 2, total - modulus, total)
    if not np.array_equal(total, np.sum([vector.astype(object) for vector in vectors], axis=0)):
        raise AssertionError("the peer decrypts to something else")
    figures = {
        "holder_ms": sorted(each_ms)[len(each_ms) // 2],
        "sum_and_decrypt_ms": server_ms,
        "bytes": sum(len(part) for parts in encrypted[0] for part in parts),
        "modulus_bits": modulus.bit_length(),
        "security_bits": SECURITY_BITS,
        "version": version("tenseal"),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
