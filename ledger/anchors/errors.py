"""The error tree of anchor evidence. Each class is one reason why evidence does not hold."""

from __future__ import annotations

from ledger.errors import LedgerError


class AnchorError(LedgerError):
    """Evidence of an anchored head does not hold."""


class EvidenceMalformed(AnchorError):
    """Bytes are no canonical RLP, or no header, node, account or evidence of the one known shape."""

    def __init__(self, what: str, expected: str, actual: str) -> None:
        self.what, self.expected, self.actual = what, expected, actual
        super().__init__(f"{what}: expected {expected}, got {actual}")


class SealInvalid(AnchorError):
    """A committed seal is no signature, or a validator sealed twice."""


class SealsTooFew(AnchorError):
    """Fewer than two thirds of the pinned validators sealed the block."""

    def __init__(self, have: int, need: int, pinned: int) -> None:
        self.have, self.need, self.pinned = have, need, pinned
        super().__init__(f"expected the seals of {need} of the {pinned} pinned validators, got {have}")


class TrieProofInvalid(AnchorError):
    """A Merkle–Patricia proof does not lead from its root to a value at its key."""


class AnchoredElsewhere(AnchorError):
    """The evidence is of another chain, another contract or another log than the caller's policy pins."""


class WrongChain(AnchoredElsewhere):
    """The evidence is of another chain."""

    def __init__(self, expected: int, actual: int) -> None:
        self.expected, self.actual = expected, actual
        super().__init__(f"expected an anchor on chain {expected}, got one on chain {actual}")


class WrongContract(AnchoredElsewhere):
    """The evidence is of another contract."""

    def __init__(self, expected: str, actual: str) -> None:
        self.expected, self.actual = expected, actual
        super().__init__(f"expected the anchor at {expected}, got one at {actual}")


class WrongBinding(AnchoredElsewhere):
    """The contract was deployed on another chain, or for another log, than the evidence says."""
