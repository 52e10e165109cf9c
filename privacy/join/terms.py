"""The public sizes of a join: who sends how many bytes follows from them, never from the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from privacy.encoding import keccak, tagged_hash
from privacy.join.errors import StateCorrupt, TermsInvalid
from privacy.join.parts import parts_needed
from privacy.paillier import KEY_BITS, SlotLayout, SumBound
from privacy.paillier.packing import RESERVED_BITS
from privacy.ristretto import ELEMENT_BYTES

SESSION_BYTES: Final = 32
LIST_MAX: Final = 1 << 22
COPIES_MAX: Final = 1 << 16
CELLS_MAX: Final = 1 << 16  # two cells of the sealed sum for each, of which there are 2^17
VALUE_MAX: Final = (1 << 63) - 1
SHARE_BITS: Final = 96
SHARE_MODULUS: Final = 1 << SHARE_BITS
SUM_BITS_MAX: Final = SHARE_BITS - 2  # a sum and the noise on it keep their sign in a share
STATISTICAL_BITS: Final = 40
PUBLIC_KEY_BYTES: Final = 7 + KEY_BITS // 8
CIPHERTEXT_BYTES: Final = KEY_BITS // 4
MAGIC: Final = b"SYJ"
VERSION: Final = 1
HEAD_BYTES: Final = len(MAGIC) + 1 + 32
_NUMBER_BYTES = 8
_NUMBERS = 7
TERMS_BYTES: Final = SESSION_BYTES + _NUMBERS * _NUMBER_BYTES


@dataclass(frozen=True, slots=True)
class JoinTerms:
    """What both sides know before the first message.

    Attributes:
        session: session id, 32 bytes.
        groups: sub-lists of the matcher, one for each of its groups, at least 1.
        matcher_rows: places in each sub-list.
        value_keys: places for different keys of the value side.
        copies: m of the matcher: the most rows it has of one key, over all its sub-lists.
        dummies: places for dummies in each sub-list.
        values: numbers that are summed for each sub-list: the value side's groups times what is summed in each.
        value_max: the largest absolute number that one key adds, over all rows that the value side has of it.
    """

    session: bytes
    groups: int
    matcher_rows: int
    value_keys: int
    copies: int
    dummies: int
    values: int
    value_max: int

    def __post_init__(self) -> None:
        least = (self.groups, self.matcher_rows, self.value_keys, self.copies, self.values, self.value_max)
        if len(self.session) != SESSION_BYTES or min(least) < 1 or self.dummies < 0:
            raise TermsInvalid("expected a session id of 32 bytes, sizes of at least 1, no negative dummies")
        if self.copies > COPIES_MAX or self.value_max > VALUE_MAX or self.groups * self.values > CELLS_MAX:
            raise TermsInvalid(
                f"expected at most {COPIES_MAX} copies, values below 2^63 and {CELLS_MAX} sums, "
                f"got {self.copies} copies and {self.groups}·{self.values} sums"
            )
        if max(self.returned, self.entries) > LIST_MAX:
            raise TermsInvalid(
                f"expected lists of at most {LIST_MAX} places, got {self.returned} and {self.entries}"
            )
        if self.sum_max.bit_length() > SUM_BITS_MAX:
            raise TermsInvalid(
                f"expected sums of at most {SUM_BITS_MAX} bits, got {self.sum_max.bit_length()}"
            )
        for size in (self.round1_bytes, self.round2_bytes, self.round3_bytes):
            parts_needed(size)

    @property
    def returned(self) -> int:
        """Places in the list that the value side sends back: the sub-lists with their dummies."""
        return self.groups * (self.matcher_rows + self.dummies)

    @property
    def entries(self) -> int:
        """Places in the value side's own list: each key once for each copy, and the dummies."""
        return self.value_keys * self.copies + self.groups * self.dummies

    @property
    def sum_max(self) -> int:
        """The largest absolute sum: every row of a sub-list finds a key."""
        return min(self.matcher_rows, self.value_keys * self.copies) * self.value_max

    @property
    def mask_bits(self) -> int:
        """Bits of a mask r: masked sums differ from masks by 2^-40, and r is uniform modulo 2^96."""
        return max(SHARE_BITS, self.sum_max.bit_length() + STATISTICAL_BITS)

    @property
    def layout(self) -> SlotLayout:
        """The slots of a plaintext: one of them holds a masked sum with its sign."""
        bound = SumBound(1, 1, self.sum_max, noise_max=(1 << self.mask_bits) - 1)
        slot_bytes = (bound.largest.bit_length() + 1 + 7) // 8
        layout = SlotLayout(slot_bytes, min(self.values, (KEY_BITS - RESERVED_BITS) // (8 * slot_bytes)))
        layout.require_bound(bound)
        return layout

    @property
    def ciphertexts(self) -> int:
        """Ciphertexts of one entry, and of one sub-list's sums."""
        return self.layout.plaintexts(self.values)

    @property
    def entry_bytes(self) -> int:
        """Length of one entry of the value side's list."""
        return ELEMENT_BYTES + self.ciphertexts * CIPHERTEXT_BYTES

    @property
    def round1_bytes(self) -> int:
        """Length of the first message: the matcher's public key and its sub-lists."""
        return HEAD_BYTES + ELEMENT_BYTES * (1 + self.groups * self.matcher_rows)

    @property
    def round2_bytes(self) -> int:
        """Length of the second message: Paillier key, the sub-lists sent back, and the value side's list."""
        lists = ELEMENT_BYTES * self.returned + self.entry_bytes * self.entries
        return HEAD_BYTES + PUBLIC_KEY_BYTES + lists

    @property
    def round3_bytes(self) -> int:
        """Length of the third message: the masked sums."""
        return HEAD_BYTES + self.groups * self.ciphertexts * CIPHERTEXT_BYTES

    @property
    def head(self) -> bytes:
        """The first bytes of each message: magic, version and the hash of these terms."""
        return MAGIC + bytes((VERSION,)) + tagged_hash("join-terms", keccak(self.to_bytes()))

    def to_bytes(self) -> bytes:
        """Encode: the session id, then the seven numbers as u64."""
        numbers = (
            self.groups,
            self.matcher_rows,
            self.value_keys,
            self.copies,
            self.dummies,
            self.values,
            self.value_max,
        )
        return self.session + b"".join([number.to_bytes(_NUMBER_BYTES, "big") for number in numbers])

    @classmethod
    def from_bytes(cls, data: bytes) -> JoinTerms:
        """Decode.

        Raises:
            StateCorrupt: another length.
            TermsInvalid: sizes out of range.
        """
        if len(data) != TERMS_BYTES:
            raise StateCorrupt(f"expected {TERMS_BYTES} bytes of terms, got {len(data)}")
        numbers = [
            int.from_bytes(data[start : start + _NUMBER_BYTES], "big")
            for start in range(SESSION_BYTES, TERMS_BYTES, _NUMBER_BYTES)
        ]
        return cls(data[:SESSION_BYTES], *numbers)
