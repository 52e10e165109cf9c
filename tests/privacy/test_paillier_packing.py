"""Packed sums: every sum stays in its slot, and what could leave it is refused before work starts."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.paillier import (
    EncryptedVector,
    SlotLayout,
    SumBound,
    add,
    decrypt,
    encrypt,
    pack,
    rerandomise,
    unpack,
)
from privacy.paillier.errors import LengthMismatch, PackingInvalid, SlotOverflow
from tests.privacy.paillier_world import owner, scored, short, uniform

LAYOUTS = st.builds(SlotLayout, st.integers(1, 12), st.integers(1, 40))


def values_of(layout: SlotLayout) -> st.SearchStrategy[int]:
    most = layout.value_max
    return st.one_of(st.integers(-most, most), st.sampled_from([-most, most, -1, 0, 1]))


@given(st.data())
def test_what_is_packed_is_unpacked(data: st.DataObject) -> None:
    layout = data.draw(LAYOUTS)
    values = data.draw(st.lists(values_of(layout), min_size=1, max_size=100))
    plain = pack(values, layout)
    assert len(plain) == layout.plaintexts(len(values))
    assert unpack(plain, layout, count=len(values)) == values


@given(st.data())
def test_slot_i_is_the_coefficient_of_its_power(data: st.DataObject) -> None:
    layout = data.draw(LAYOUTS)
    values = data.draw(st.lists(values_of(layout), min_size=1, max_size=layout.slots))
    assert pack(values, layout) == [sum(v << 8 * layout.slot_bytes * i for i, v in enumerate(values))]


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_sum_of_products_within_its_bound_carries_into_a_neighbour(data: st.DataObject) -> None:
    terms, slots = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 30))
    weight_max, value_max, noise_max = (data.draw(st.integers(least, 1 << 40)) for least in (1, 0, 0))
    bound = SumBound(terms, weight_max, value_max, noise_max)
    layout = SlotLayout.for_bound(owner().public, bound)
    layout.require_bound(bound)

    def up_to(most: int, size: int) -> list[int]:
        ends = st.sampled_from([-most, most])
        return data.draw(st.lists(st.integers(-most, most) | ends, min_size=size, max_size=size))

    weights, noise = up_to(weight_max, terms), up_to(noise_max, slots)
    rows = [up_to(value_max, slots) for _ in range(terms)]
    packed = [pack(row, layout) for row in rows]
    total = [
        sum(w * part[i] for w, part in zip(weights, packed, strict=True)) + n
        for i, n in enumerate(pack(noise, layout))
    ]
    expected = [
        sum(w * row[i] for w, row in zip(weights, rows, strict=True)) + noise[i] for i in range(slots)
    ]
    assert unpack(total, layout, count=slots) == expected


@given(st.data())
def test_the_narrowest_slot_is_chosen(data: st.DataObject) -> None:
    bound = SumBound(1, 1, data.draw(st.integers(0, 1 << 200)))
    layout = SlotLayout.for_bound(owner().public, bound)
    layout.require_bound(bound)
    layout.require_key(owner().public)
    if layout.slot_bytes > 1:
        with pytest.raises(SlotOverflow):
            SlotLayout(layout.slot_bytes - 1, 1).require_bound(bound)


def test_a_bound_of_exactly_half_a_slot_is_refused() -> None:
    layout = SlotLayout(8, 47)
    layout.require_bound(SumBound(1, 1, (1 << 63) - 2, 1))
    with pytest.raises(SlotOverflow):
        layout.require_bound(SumBound(1, 1, (1 << 63) - 1, 1))


def test_cells_of_64_bits_are_47_to_a_plaintext() -> None:
    assert SlotLayout.for_bound(owner().public, SumBound(1, 1, (1 << 62) - 1)) == SlotLayout(8, 47)


def test_encrypted_packed_sums_of_secret_weights_decrypt_to_the_plain_scores() -> None:
    weights = [3, -7, 1 << 20]
    rows = [[(g * 37 + k * 101) % 2001 - 1000 for g in range(60)] for k in range(3)]
    noise = [(g * 13) % 41 - 20 for g in range(60)]
    bound = SumBound(terms=3, weight_max=1 << 20, value_max=1000, noise_max=20)
    layout = SlotLayout.for_bound(owner().public, bound)
    encrypted = encrypt(short(), weights)
    packed = [pack(row, layout) for row in rows]
    answers = []
    for i, part in enumerate(pack(noise, layout)):
        score = scored(encrypted, [row[i] for row in packed])
        answers += decrypt(owner(), rerandomise(add(score, encrypt(short(), [part])), uniform()))
    expected = [sum(w * row[g] for w, row in zip(weights, rows, strict=True)) + noise[g] for g in range(60)]
    assert unpack(answers, layout, count=60) == expected


def test_the_extremes_of_every_slot_survive_encryption() -> None:
    layout = SlotLayout(8, 47)
    for values in ([layout.value_max] * 47, [-layout.value_max] * 47):
        assert unpack(decrypt(owner(), encrypt(short(), pack(values, layout))), layout, count=47) == values


@pytest.mark.parametrize("value", [128, -128, 1 << 70])
def test_a_value_that_does_not_fit_is_refused(value: int) -> None:
    with pytest.raises(SlotOverflow):
        pack([0, value], SlotLayout(1, 4))


@pytest.mark.parametrize("plaintext", [1 << 31, -(1 << 31), 1 << 3000, -128, 1 << 24])
def test_a_plaintext_that_is_not_of_the_layout_is_refused(plaintext: int) -> None:
    # −128 is in no range of one byte; 1 << 24 is a value in the slot after the last of three
    with pytest.raises(SlotOverflow):
        unpack([plaintext], SlotLayout(1, 4), count=3)


def test_counts_that_do_not_belong_to_the_plaintexts_are_refused() -> None:
    layout = SlotLayout(1, 4)
    for plaintexts, count in (([0], 5), ([0, 0], 4), ([], 1)):
        with pytest.raises(LengthMismatch):
            unpack(plaintexts, layout, count=count)
    for count in (0, -1, (1 << 17) + 1):
        with pytest.raises(LengthMismatch):
            unpack([0], layout, count=count)
    with pytest.raises(LengthMismatch):
        pack([], layout)


@pytest.mark.parametrize(("slot_bytes", "slots"), [(0, 1), (1, 0), (769, 1), (8, 97), (-1, -1)])
def test_an_impossible_layout_is_refused(slot_bytes: int, slots: int) -> None:
    with pytest.raises(PackingInvalid):
        SlotLayout(slot_bytes, slots)


def test_a_layout_that_the_key_does_not_hold_is_refused() -> None:
    SlotLayout(1, 383).require_key(owner().public)
    with pytest.raises(PackingInvalid):
        SlotLayout(1, 384).require_key(owner().public)


def test_a_bound_that_no_plaintext_holds_is_refused() -> None:
    with pytest.raises(SlotOverflow):
        SlotLayout.for_bound(owner().public, SumBound(1, 1 << 2000, 1 << 2000))
    for bound in ((0, 1, 1, 0), (1, 0, 1, 0), (1, -1, 1, 0), (1, 1, -1, 0), (1, 1, 1, -1)):
        with pytest.raises(PackingInvalid):
            SumBound(*bound)


def test_the_ciphertext_type_of_a_packed_sum_is_the_ordinary_one() -> None:
    vector = encrypt(short(), pack([1, 2], SlotLayout(8, 2)))
    assert isinstance(vector, EncryptedVector) and Fraction(vector.exponent) == 0
