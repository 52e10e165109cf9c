"""Both ways with the stock library: it decrypts what we encrypt, we decrypt what it does, and its files are read."""

import json
from fractions import Fraction
from functools import cache
from pathlib import Path

import phe
import phe.command_line
import pytest
from gmpy2 import mpz, powmod
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.paillier import (
    PrivateKey,
    PublicKey,
    SlotLayout,
    add,
    decrypt,
    encrypt,
    pack,
    unpack,
)
from privacy.paillier.errors import (
    CiphertextNotUnit,
    CiphertextOutOfRange,
    ExponentRefused,
    InterchangeRefused,
    KeyMismatch,
    KeySizeRefused,
    LengthMismatch,
    PlaintextOutOfRange,
)
from privacy.paillier.interchange import (
    dump_numbers,
    dump_private_key,
    dump_public_key,
    from_fixed,
    from_phe_numbers,
    from_phe_private_key,
    from_phe_public_key,
    load_numbers,
    load_private_key,
    load_public_key,
    to_fixed,
    to_phe_numbers,
    to_phe_private_key,
    to_phe_public_key,
)
from privacy.paillier.raw import raw_add_plain
from tests.privacy.paillier_world import owner, scored, short, stranger

NAME = "买方的密钥"


@cache
def stock() -> phe.PaillierPrivateKey:
    """Return our key as the stock library has it."""
    return to_phe_private_key(owner())


def test_keys_go_both_ways() -> None:
    assert from_phe_public_key(stock().public_key) == owner().public
    assert from_phe_private_key(stock()) == owner()


def test_a_key_that_the_stock_library_made_works_here() -> None:
    public, private = phe.generate_paillier_keypair(n_length=3072)
    key = from_phe_private_key(private)
    assert key.public == from_phe_public_key(public)
    assert [key.decrypt(v) for v in from_phe_numbers(key.public, [public.encrypt(-3)]).values] == [-3]


def test_a_small_stock_key_is_refused() -> None:
    public, private = phe.generate_paillier_keypair(n_length=1024)
    with pytest.raises(KeySizeRefused):
        from_phe_public_key(public)
    with pytest.raises(KeySizeRefused):
        from_phe_private_key(private)


def test_a_key_with_another_generator_is_refused() -> None:
    public = to_phe_public_key(owner().public)
    public.g += 1
    with pytest.raises(InterchangeRefused):
        from_phe_public_key(public)


@given(st.lists(st.integers(-(1 << 2000), 1 << 2000), min_size=1, max_size=2))
@settings(max_examples=5, deadline=None)
def test_the_stock_library_decrypts_what_we_encrypt(messages: list[int]) -> None:
    assert [stock().decrypt(number) for number in to_phe_numbers(encrypt(short(), messages))] == messages


@given(st.lists(st.integers(-(1 << 2000), 1 << 2000), min_size=1, max_size=2))
@settings(max_examples=5, deadline=None)
def test_we_decrypt_what_the_stock_library_encrypts(messages: list[int]) -> None:
    numbers = [stock().public_key.encrypt(message) for message in messages]
    assert decrypt(owner(), from_phe_numbers(owner().public, numbers)) == messages


def test_the_same_unit_gives_the_same_ciphertext() -> None:
    n = mpz(owner().public.n)
    for message in (0, 17, -17):
        expected = stock().public_key.encrypt(message, r_value=12345).ciphertext(be_secure=False)
        assert raw_add_plain(n, n * n, powmod(12345, n, n * n), message) == expected


def test_a_buyer_with_the_stock_library_only_gets_its_scores() -> None:
    # the buyer's side
    weights = [0.5, -1.25, 3.0]
    sent = [stock().public_key.encrypt(weight) for weight in weights]
    # the holder's side: three features of four groups in thousandths of 16^-2, packed
    rows = [[1, 2, 3, 4], [10, -20, 30, -40], [5, 5, 5, 5]]
    encrypted = from_phe_numbers(owner().public, sent)
    layout = SlotLayout(16, 4)
    answer = to_phe_numbers(scored(encrypted, [pack(row, layout)[0] for row in rows]))
    # the buyer's side again
    plain = stock().decrypt_encoded(answer[0])
    signed = (
        plain.encoding if plain.encoding <= plain.public_key.max_int else plain.encoding - plain.public_key.n
    )
    read = [float(from_fixed(v, exponent=plain.exponent)) for v in unpack([signed], layout, count=4)]
    assert read == [sum(w * row[g] for w, row in zip(weights, rows, strict=True)) for g in range(4)]


def test_numbers_of_both_sides_add_up() -> None:
    ours = encrypt(short(), [to_fixed(2.5, exponent=-3, value_max=1 << 40)], exponent=-3)
    theirs = [number + stock().public_key.encrypt(0.25) for number in to_phe_numbers(ours)]
    assert stock().decrypt(theirs[0]) == 2.75
    back = from_phe_numbers(owner().public, theirs)
    assert from_fixed(decrypt(owner(), back)[0], exponent=back.exponent) == Fraction(11, 4)
    assert decrypt(owner(), add(ours, ours)) == [5 * 16**3]


def test_different_exponents_are_brought_to_the_least() -> None:
    numbers = [stock().public_key.encrypt(value) for value in (3, 0.5, -0.001)]
    vector = from_phe_numbers(owner().public, numbers)
    assert vector.exponent == min(number.exponent for number in numbers)
    read = [float(from_fixed(v, exponent=vector.exponent)) for v in decrypt(owner(), vector)]
    assert read == [3, 0.5, -0.001]


def test_numbers_that_are_no_ciphertexts_of_the_key_are_refused() -> None:
    key, public = owner().public, stock().public_key
    for value, error in (
        (0, CiphertextOutOfRange),
        (int(key.n_square), CiphertextOutOfRange),
        (key.n, CiphertextNotUnit),
    ):
        with pytest.raises(error):
            from_phe_numbers(key, [phe.EncryptedNumber(public, value, 0)])
    with pytest.raises(KeyMismatch):
        from_phe_numbers(stranger().public, [phe.EncryptedNumber(public, 1, 0)])
    for exponent in (1, -65):
        with pytest.raises(ExponentRefused):
            from_phe_numbers(key, [phe.EncryptedNumber(public, 1, exponent)])
    with pytest.raises(LengthMismatch):
        from_phe_numbers(key, [])


# --- fixed point -----------------------------------------------------------------------------------------


@given(st.floats(-1e9, 1e9), st.integers(-20, 0))
def test_fixed_point_is_off_by_at_most_half_a_step(value: float, exponent: int) -> None:
    fixed = to_fixed(value, exponent=exponent, value_max=1 << 200)
    assert abs(from_fixed(fixed, exponent=exponent) - Fraction(value)) <= Fraction(16) ** exponent / 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 17.0, -17.0])
def test_a_number_that_is_not_finite_or_too_large_is_refused(value: float) -> None:
    with pytest.raises(PlaintextOutOfRange):
        to_fixed(value, exponent=0, value_max=16)


def test_a_strange_exponent_is_refused() -> None:
    for exponent in (1, -65):
        with pytest.raises(ExponentRefused):
            to_fixed(1.0, exponent=exponent, value_max=1)
    for exponent in (1, -129):
        with pytest.raises(ExponentRefused):
            from_fixed(1, exponent=exponent)


# --- files of pheutil ------------------------------------------------------------------------------------


def pheutil(*arguments: str) -> None:
    phe.command_line.cli(list(arguments), standalone_mode=False)


def test_the_stock_command_reads_our_files_and_we_read_its(tmp_path: Path) -> None:
    files = {name: str(tmp_path / name) for name in ("private", "public", "ours", "theirs", "sum", "plain")}
    Path(files["private"]).write_text(dump_private_key(owner(), name=NAME), encoding="utf-8")
    pheutil("extract", files["private"], files["public"])
    assert load_public_key(Path(files["public"]).read_text(encoding="utf-8")) == owner().public
    Path(files["ours"]).write_text(dump_numbers(encrypt(short(), [1]))[0], encoding="utf-8")
    pheutil("encrypt", "--output", files["theirs"], files["public"], "2.5")
    pheutil("addenc", "--output", files["sum"], files["public"], files["ours"], files["theirs"])
    pheutil("decrypt", "--output", files["plain"], files["private"], files["sum"])
    assert float(Path(files["plain"]).read_text(encoding="utf-8")) == 3.5
    total = load_numbers(owner().public, [Path(files["sum"]).read_text(encoding="utf-8")])
    assert from_fixed(decrypt(owner(), total)[0], exponent=total.exponent) == Fraction(7, 2)


def test_files_go_both_ways() -> None:
    assert load_public_key(dump_public_key(owner().public, name=NAME)) == owner().public
    assert load_private_key(dump_private_key(owner(), name=NAME)) == owner()
    texts = dump_numbers(encrypt(short(), [4, -4], exponent=-1))
    assert decrypt(owner(), load_numbers(owner().public, texts)) == [4, -4]


def changed(text: str, **members: object) -> str:
    return json.dumps({k: v for k, v in (json.loads(text) | members).items() if v is not None})


PUBLIC_CHANGES: list[dict[str, object]] = [
    {"kty": "RSA"},
    {"alg": "PAI-2"},
    {"key_ops": ["decrypt"]},
    {"key_ops": None},
    {"kid": 5},
    {"more": 1},
    {"n": 5},
    {"n": ""},
    {"n": "AAAB"},
    {"n": "!!!!"},
    {"n": "A"},
    {"n": "密钥"},
]


@pytest.mark.parametrize("members", PUBLIC_CHANGES)
def test_a_public_key_file_in_another_form_is_refused(members: dict[str, object]) -> None:
    with pytest.raises(InterchangeRefused):
        load_public_key(changed(dump_public_key(owner().public, name=NAME), **members))


def test_a_private_key_file_with_another_public_half_is_refused() -> None:
    other = json.loads(dump_public_key(stranger().public, name=NAME))
    for members in ({"pub": other}, {"pub": 5}, {"pub": None}, {"kty": "RSA"}):
        with pytest.raises(InterchangeRefused):
            load_private_key(changed(dump_private_key(owner(), name=NAME), **members))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "5",
        '{"v": "1"}',
        '{"v": 1, "e": 0}',
        '{"v": "01", "e": 0}',
        '{"v": "", "e": 0}',
        '{"v": "-1", "e": 0}',
        '{"v": "１", "e": 0}',
        '{"v": "1", "e": 0.0}',
        '{"v": "1", "e": true}',
        '{"v": "1", "v": "2", "e": 0}',
        "[" * 100_000,
        "[" * 1000 + "]" * 1000,
        '{"v": "' + "1" * 20_000 + '", "e": 0}',
    ],
)
def test_a_number_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(InterchangeRefused):
        load_numbers(owner().public, [text])


def test_types_of_both_sides_stay_apart() -> None:
    assert isinstance(from_phe_private_key(stock()), PrivateKey)
    assert isinstance(from_phe_public_key(stock().public_key), PublicKey)
