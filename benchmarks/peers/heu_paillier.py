"""SecretFlow's HEU, scheme ZPaillier: CPU microseconds for each ciphertext, in its own environment.

Takes and prints one JSON object, as `benchmarks.environment.run_peer` wants it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from heu import phe


def clocked(work: Callable[[], list[Any]]) -> tuple[float, list[Any]]:
    """Run once; returns CPU microseconds for each result, and the results."""
    begin = time.process_time()
    results = work()
    return (time.process_time() - begin) * 1e6 / len(results), results


def main() -> None:
    """Measure encryption, addition and decryption of integers, and check every plaintext."""
    arguments = json.loads(sys.argv[1])
    kit = phe.setup(phe.SchemaType.ZPaillier, arguments["bits"])
    encryptor, decryptor, evaluator = kit.encryptor(), kit.decryptor(), kit.evaluator()
    messages = [int(text) for text in arguments["messages"]]
    plain = [phe.Plaintext(kit.get_schema(), message) for message in messages]
    encryptor.encrypt(plain[0])
    encrypt_us, encrypted = clocked(lambda: [encryptor.encrypt(each) for each in plain])
    add_us, added = clocked(lambda: [evaluator.add(each, each) for each in encrypted])
    few = added[: arguments["decryptions"]]
    decrypt_us, decrypted = clocked(lambda: [decryptor.decrypt(each) for each in few])
    if [int(each) for each in decrypted] != [2 * message for message in messages[: len(few)]]:
        raise AssertionError("the peer decrypts to something else")
    figures = {"encrypt": encrypt_us, "add": add_us, "decrypt": decrypt_us, "version": version("sf-heu")}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
