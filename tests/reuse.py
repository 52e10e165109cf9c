"""What every test of a holder or buyer would compute anew, kept for the whole process: generators, and Paillier keys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import cache
from typing import Final

import pytest

from privacy import generators
from privacy.paillier import PrivateKey
from privacy.paillier.keys import KEY_BITS, TokenBytes

_block: Final = cache(generators.make_block)
_generate: Final[Callable[..., PrivateKey]] = PrivateKey.generate
_keys: Final[defaultdict[int, list[PrivateKey]]] = defaultdict(list)


def reuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each block of generators once, and let the n-th key that a test draws be the n-th of every test."""
    drawn: defaultdict[int, int] = defaultdict(int)

    def generate(token_bytes: TokenBytes, bits: int = KEY_BITS) -> PrivateKey:
        number, kept = drawn[bits], _keys[bits]
        drawn[bits] += 1
        if number == len(kept):
            kept.append(_generate(token_bytes, bits))
        return kept[number]

    monkeypatch.setattr(generators, "make_block", _block)
    monkeypatch.setattr(PrivateKey, "generate", generate)
