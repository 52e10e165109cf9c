"""Keys, blinding and vectors: what decrypts to what, what is refused, and what a pool gives out."""

import os
import threading

import gmpy2
import pytest
from gmpy2 import mpz
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.paillier import (
    BlindingPool,
    EncryptedVector,
    PrivateKey,
    PublicKey,
    ShortBlinding,
    add,
    add_plain,
    concatenate,
    decrypt,
    encrypt,
    rerandomise,
    weighted_sum,
)
from privacy.paillier.blinding import EXPONENT_BITS
from privacy.paillier.encrypt import VECTOR_MAX
from privacy.paillier.errors import (
    BlindingTooShort,
    CiphertextNotUnit,
    CiphertextOutOfRange,
    ExponentRefused,
    KeyInvalid,
    KeyMismatch,
    KeySizeRefused,
    LengthMismatch,
    PlaintextOutOfRange,
    PoolClosed,
)
from privacy.paillier.fixed_base import FixedBase
from privacy.paillier.raw import raw_embed, raw_scale
from tests.privacy.paillier_world import owner, short, stranger, stream, uniform

FEW = settings(max_examples=6, deadline=None)
HALF = 1 << 1535


def plaintexts() -> st.SearchStrategy[int]:
    largest = owner().public.plaintext_max
    return st.one_of(
        st.integers(-(1 << 64), 1 << 64), st.integers(-largest, largest), st.sampled_from([-largest, largest])
    )


# --- keys ------------------------------------------------------------------------------------------------


def test_a_generated_key_is_an_admissible_modulus_of_3072_bits() -> None:
    key = owner()
    assert key.public.n.bit_length() == 3072 == 8 * key.public.size
    assert key.p * key.q == key.public.n and key.p < key.q
    assert key.p % 4 == key.q % 4 == 3 and gmpy2.gcd(key.p - 1, key.q - 1) == 2
    assert gmpy2.is_prime(key.p, 40) and gmpy2.is_prime(key.q, 40)


def test_nothing_of_the_factors_is_in_the_representation() -> None:
    assert str(owner().p) not in repr(owner()) and str(owner().q) not in repr(owner())


@pytest.mark.parametrize("bits", [1024, 2048, 3056, 6160])
def test_another_size_is_refused(bits: int) -> None:
    with pytest.raises(KeySizeRefused) as caught:
        PrivateKey.generate(stream("size"), bits)
    assert caught.value.actual == bits
    with pytest.raises(KeySizeRefused):
        PublicKey((1 << bits) - 1)


def test_a_size_that_is_no_multiple_of_16_is_refused() -> None:
    with pytest.raises(KeyInvalid):
        PrivateKey.generate(stream("size"), 3080)


def test_a_modulus_that_is_no_product_of_two_large_primes_is_refused() -> None:
    prime = int(gmpy2.next_prime(1 << 3071))
    root = int(gmpy2.next_prime(HALF + (HALF >> 1)))
    for modulus in (
        prime,
        root * root,
        3 * (owner().public.n >> 1 | 1),
        owner().public.n * 2,
        0,
        -owner().public.n,
    ):
        with pytest.raises(KeyInvalid):
            PublicKey(modulus)


def test_factors_that_are_unequal_composite_or_close_are_refused() -> None:
    p, q = owner().p, owner().q
    close = int(gmpy2.next_prime(p))
    for left, right in ((p, q * 4 + 1), (p, close), (p, q - 2), (p, p), (1, p * q), (-p, -q)):
        with pytest.raises(KeyInvalid):
            PrivateKey(left, right)


def test_the_order_of_the_factors_does_not_matter() -> None:
    assert PrivateKey(owner().q, owner().p) == owner()


# --- fixed base ------------------------------------------------------------------------------------------


@given(st.binary(min_size=5, max_size=5))
@settings(max_examples=100)
def test_a_power_by_the_table_is_the_power(exponent: bytes) -> None:
    modulus = mpz(10**30 + 57)
    table = FixedBase(mpz(7), modulus, places=5)
    assert table.power(exponent) == gmpy2.powmod(
        7, int.from_bytes(exponent, "little") + table.offset, modulus
    )


def test_an_exponent_of_another_length_is_refused() -> None:
    table = FixedBase(mpz(7), mpz(101), places=2)
    for exponent in (b"", b"\0", bytes(3)):
        with pytest.raises(LengthMismatch):
            table.power(exponent)
    with pytest.raises(LengthMismatch):
        FixedBase(mpz(7), mpz(101), places=0)


# --- blinding --------------------------------------------------------------------------------------------


def test_short_exponents_are_at_least_twice_the_security_level() -> None:
    assert EXPONENT_BITS >= 2 * 128


@pytest.mark.parametrize("kind", ["short", "uniform"])
def test_every_blinding_value_encrypts_zero_and_none_comes_twice(kind: str) -> None:
    source = short() if kind == "short" else uniform()
    drawn = [source.draw() for _ in range(4)]
    assert len(set(drawn)) == 4
    assert [owner().decrypt(value) for value in drawn] == [0] * 4


def test_two_sources_draw_different_bases() -> None:
    exponents = stream("same exponents")
    fixed = exponents(64)
    tables = [ShortBlinding(owner().public, stream(seed))._table for seed in ("first", "second")]
    assert tables[0].power(fixed) != tables[1].power(fixed)


def test_a_pool_fills_in_the_background_and_never_gives_a_value_twice() -> None:
    with BlindingPool(short(), size=3) as pool:
        assert pool.wait_until_full(60) and len(pool) == 3
        drawn = [pool.draw() for _ in range(12)]
    assert len(set(drawn)) == 12
    assert all(owner().decrypt(value) == 0 for value in drawn[:2])


def test_many_threads_never_get_the_same_value() -> None:
    drawn: list[mpz] = []
    with BlindingPool(short(), size=8) as pool:
        threads = [
            threading.Thread(target=lambda: drawn.extend(pool.draw() for _ in range(10))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(drawn) == len(set(drawn)) == 40


def test_a_closed_pool_holds_no_value_and_gives_none() -> None:
    pool = BlindingPool(short(), size=2)
    assert pool.wait_until_full(60)
    held = list(pool._ready)
    pool.close()
    pool.close()
    assert len(pool) == 0 and not any(any(value) for value in held)
    with pytest.raises(PoolClosed):
        pool.draw()


def test_a_value_that_was_taken_is_overwritten_in_the_pool() -> None:
    with BlindingPool(short(), size=1) as pool:
        assert pool.wait_until_full(60)
        first = pool._ready[0]
        assert any(first)
        pool.draw()
        assert not any(first)


def test_a_pool_is_not_used_after_a_fork() -> None:
    with BlindingPool(short(), size=1) as pool:
        assert pool.wait_until_full(60)
        child = os.fork()
        if not child:
            try:
                pool.draw()
            except PoolClosed:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("size", [0, -1, 1 << 17])
def test_a_pool_without_bound_is_refused(size: int) -> None:
    with pytest.raises(LengthMismatch):
        BlindingPool(short(), size=size)


# --- vectors ---------------------------------------------------------------------------------------------


@FEW
@given(st.data())
def test_sums_and_products_decrypt_to_those_of_the_integers(data: st.DataObject) -> None:
    bits = st.integers(-(1 << 1000), 1 << 1000)
    left, right, plain = (data.draw(st.lists(bits, min_size=3, max_size=3)) for _ in range(3))
    both = add(encrypt(short(), left), encrypt(short(), right))
    assert decrypt(owner(), both) == [a + b for a, b in zip(left, right, strict=True)]
    assert decrypt(owner(), add_plain(both, plain)) == [
        a + b + c for a, b, c in zip(left, right, plain, strict=True)
    ]
    assert decrypt(owner(), weighted_sum(both, plain)) == [
        sum((a + b) * c for a, b, c in zip(left, right, plain, strict=True))
    ]


@FEW
@given(st.data())
def test_any_plaintext_of_the_range_comes_back(data: st.DataObject) -> None:
    message = data.draw(plaintexts())
    assert decrypt(owner(), encrypt(short(), [message])) == [message]


def test_a_plaintext_out_of_range_is_refused_before_encryption() -> None:
    largest = owner().public.plaintext_max
    for message in (largest + 1, -largest - 1, owner().public.n):
        with pytest.raises(PlaintextOutOfRange):
            encrypt(short(), [0, message])
    vector = encrypt(short(), [1])
    with pytest.raises(PlaintextOutOfRange):
        add_plain(vector, [largest + 1])
    with pytest.raises(PlaintextOutOfRange):
        weighted_sum(vector, [-largest - 1])


def test_an_overflow_is_refused_and_never_decrypted_to_garbage() -> None:
    largest = encrypt(short(), [owner().public.plaintext_max])
    with pytest.raises(PlaintextOutOfRange):
        decrypt(owner(), add(largest, largest))


def test_rerandomising_changes_the_ciphertext_and_not_the_plaintext() -> None:
    vector = encrypt(short(), [5, -5])
    fresh = rerandomise(vector, uniform())
    assert decrypt(owner(), fresh) == [5, -5]
    assert not set(fresh.values) & set(vector.values)


def test_short_exponents_do_not_rerandomise_what_the_owner_sees() -> None:
    with pytest.raises(BlindingTooShort):
        rerandomise(encrypt(short(), [5]), short())
    with BlindingPool(short(), size=1) as pool, pytest.raises(BlindingTooShort):
        rerandomise(encrypt(short(), [5]), pool)


def test_a_product_is_blind_to_the_size_of_its_factor() -> None:
    # c^0 and c^1 are no trivial numbers: the exponent is always between n and 2n
    vector = encrypt(short(), [7])
    assert raw_scale(owner().public.n, vector.values[0], 0) != 1
    assert raw_scale(owner().public.n, vector.values[0], 1) != vector.values[0]
    assert decrypt(owner(), weighted_sum(vector, [0])) == [0]
    assert decrypt(owner(), weighted_sum(vector, [1])) == [7]


def test_concatenated_vectors_decrypt_in_order() -> None:
    joined = concatenate([encrypt(short(), [1, 2]), encrypt(short(), [3])])
    assert decrypt(owner(), joined) == [1, 2, 3]


@pytest.mark.parametrize("value", [0, -1, "n²", "n² + 1"])
def test_a_number_out_of_range_is_no_ciphertext(value: int | str) -> None:
    n_square = int(owner().public.n_square)
    number = {"n²": n_square, "n² + 1": n_square + 1}[value] if isinstance(value, str) else value
    with pytest.raises(CiphertextOutOfRange) as caught:
        EncryptedVector(owner().public, (raw_embed(owner().public.n, 1), number))
    assert caught.value.position == 1


def test_a_number_that_shares_a_factor_is_no_ciphertext() -> None:
    good = raw_embed(owner().public.n, 1)
    for number in (owner().p, owner().q * 12, owner().public.n, owner().public.n * 5):
        with pytest.raises(CiphertextNotUnit) as caught:
            EncryptedVector(owner().public, (good, good, mpz(number)))
        assert caught.value.position == 2


def test_lengths_exponents_and_keys_must_agree() -> None:
    one, two = encrypt(short(), [1]), encrypt(short(), [1, 2])
    fine = encrypt(short(), [1], exponent=-3)
    other = EncryptedVector(stranger().public, (raw_embed(stranger().public.n, 1),))
    for combine in (add, lambda a, b: concatenate([a, b])):
        with pytest.raises(ExponentRefused):
            combine(one, fine)
        with pytest.raises(KeyMismatch):
            combine(one, other)
    with pytest.raises(LengthMismatch):
        add(one, two)
    with pytest.raises(LengthMismatch):
        add_plain(one, [1, 2])
    with pytest.raises(LengthMismatch):
        weighted_sum(two, [1])
    with pytest.raises(KeyMismatch):
        decrypt(owner(), other)
    with pytest.raises(KeyMismatch):
        rerandomise(other, uniform())


def test_empty_and_endless_vectors_and_strange_exponents_are_refused() -> None:
    with pytest.raises(LengthMismatch):
        encrypt(short(), [])
    with pytest.raises(LengthMismatch):
        encrypt(short(), [0] * (VECTOR_MAX + 1))
    with pytest.raises(LengthMismatch):
        concatenate([])
    for exponent in (1, -65):
        with pytest.raises(ExponentRefused):
            encrypt(short(), [1], exponent=exponent)
    with pytest.raises(ExponentRefused):
        weighted_sum(encrypt(short(), [1], exponent=-40), [1], factor_exponent=-25)


def test_a_weighted_sum_adds_the_exponents() -> None:
    assert weighted_sum(encrypt(short(), [1], exponent=-4), [1], factor_exponent=-2).exponent == -6
