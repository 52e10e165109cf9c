"""Keys, blinding and vectors: what decrypts to what, what is refused, and what a pool gives out."""

import threading

import gmpy2
import pytest
from gmpy2 import mpz
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.paillier import (
    EncryptedVector,
    PrivateKey,
    PublicKey,
    ShortBlinding,
    UniformBlinding,
    add,
    add_plain,
    decrypt,
    draw_ahead,
    encrypt,
    rerandomise,
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
)
from privacy.paillier.fixed_base import FixedBase
from tests.privacy.paillier_world import owner, scored, short, stranger, stream, uniform

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


def test_values_drawn_ahead_are_those_of_the_source_in_its_order() -> None:
    names = set()

    def named(size: int) -> bytes:
        names.add(threading.current_thread().name)
        return token_bytes(size)

    key, token_bytes = owner().public, stream("ahead")
    with draw_ahead(UniformBlinding(key, named), 3) as drawn:
        ahead = list(drawn)
    again = UniformBlinding(key, stream("ahead"))
    assert ahead == [again.draw() for _ in range(3)]
    assert len(names) == 1 and names != {threading.current_thread().name}
    assert all(owner().decrypt(value) == 0 for value in ahead)


def test_a_draw_that_fails_in_the_background_is_shown_to_who_takes_it() -> None:
    def empty(size: int) -> bytes:
        raise PlaintextOutOfRange(f"no {size} bytes")

    with draw_ahead(UniformBlinding(owner().public, empty), 2) as drawn, pytest.raises(PlaintextOutOfRange):
        next(drawn)


def test_leaving_makes_no_more_values() -> None:
    calls: list[int] = []
    token_bytes = stream("left")

    def counted(size: int) -> bytes:
        calls.append(size)
        return token_bytes(size)

    with draw_ahead(UniformBlinding(owner().public, counted), 1000) as drawn:
        next(drawn)
    assert 1 <= len(calls) < 1000


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
    assert decrypt(owner(), scored(both, plain)) == [
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


def test_a_product_is_blind_to_the_size_of_its_factor() -> None:
    # c^0 and c^1 are no trivial numbers: the exponent is always between n and 2n
    vector = encrypt(short(), [7, 0])
    for factor in (0, 1):
        product = scored(vector, [factor, 0])
        assert product.values[0] not in (1, *vector.values)
        assert decrypt(owner(), product) == [7 * factor]


@pytest.mark.parametrize("value", [0, -1, "n²", "n² + 1"])
def test_a_number_out_of_range_is_no_ciphertext(value: int | str) -> None:
    n_square = int(owner().public.n_square)
    number = {"n²": n_square, "n² + 1": n_square + 1}[value] if isinstance(value, str) else value
    with pytest.raises(CiphertextOutOfRange) as caught:
        EncryptedVector(owner().public, (mpz(2), mpz(number)))
    assert caught.value.position == 1


def test_a_number_that_shares_a_factor_is_no_ciphertext() -> None:
    good = mpz(2)
    for number in (owner().p, owner().q * 12, owner().public.n, owner().public.n * 5):
        with pytest.raises(CiphertextNotUnit) as caught:
            EncryptedVector(owner().public, (good, good, mpz(number)))
        assert caught.value.position == 2


def test_lengths_exponents_and_keys_must_agree() -> None:
    one, two = encrypt(short(), [1]), encrypt(short(), [1, 2])
    fine = encrypt(short(), [1], exponent=-3)
    other = EncryptedVector(stranger().public, (mpz(2),))
    with pytest.raises(ExponentRefused):
        add(one, fine)
    with pytest.raises(KeyMismatch):
        add(one, other)
    with pytest.raises(LengthMismatch):
        add(one, two)
    with pytest.raises(LengthMismatch):
        add_plain(one, [1, 2])
    with pytest.raises(KeyMismatch):
        decrypt(owner(), other)
    with pytest.raises(KeyMismatch):
        rerandomise(other, uniform())


def test_empty_and_endless_vectors_and_strange_exponents_are_refused() -> None:
    with pytest.raises(LengthMismatch):
        encrypt(short(), [])
    with pytest.raises(LengthMismatch):
        encrypt(short(), [0] * (VECTOR_MAX + 1))
    for exponent in (1, -65):
        with pytest.raises(ExponentRefused):
            encrypt(short(), [1], exponent=exponent)
