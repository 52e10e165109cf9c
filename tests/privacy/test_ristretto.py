"""ristretto255: the vectors of RFC 9496 and RFC 9380, what is refused, and lists against single elements."""

import hashlib
import secrets

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.ristretto import (
    GENERATOR,
    IDENTITY,
    ORDER,
    PRIME,
    Element,
    ElementIdentity,
    ElementInvalid,
    HashInvalid,
    Scalar,
    ScalarInvalid,
    add,
    clamped,
    decode,
    decode_scalar,
    expand_message,
    hash_all,
    hash_to_group,
    invert_scalar,
    map_all,
    map_to_group,
    multiply,
    multiply_all,
    multiply_base,
    multiply_scalars,
    reduce_scalar,
    subtract_scalars,
    tags,
)

# RFC 9496, A.1: the multiples 0 … 15 of the generator
MULTIPLES = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76",
    "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919",
    "94741f5d5d52755ece4f23f044ee27d5d1ea1e2bd196b462166b16152a9d0259",
    "da80862773358b466ffadfe0b3293ab3d9fd53c5ea6c955358f568322daf6a57",
    "e882b131016b52c1d3337080187cf768423efccbb517bb495ab812c4160ff44e",
    "f64746d3c92b13050ed8d80236a7f0007c3b3f962f5ba793d19a601ebb1df403",
    "44f53520926ec81fbd5a387845beb7df85a96a24ece18738bdcfa6a7822a176d",
    "903293d8f2287ebe10e2374dc1a53e0bc887e592699f02d077d5263cdd55601c",
    "02622ace8f7303a31cafc63f8fc48fdc16e1c8c8d234b2f0d6685282a9076031",
    "20706fd788b2720a1ed2a5dad4952b01f413bcf0e7564de8cdc816689e2db95f",
    "bce83f8ba5dd2fa572864c24ba1810f9522bc6004afe95877ac73241cafdab42",
    "e4549ee16b9aa03099ca208c67adafcafa4c3f3e4e5303de6026e3ca8ff84460",
    "aa52e000df2e16f55fb1032fc33bc42742dad6bd5a8fc0be0167436c5948501f",
    "46376b80f409b29dc2b5f6f0c52591990896e5716f41477cd30085ab7f10301e",
    "e0c418f7c8d9c4cdd7395b93ea124f3ad99021bb681dfc3302a9d99a2e53e64e",
]

# RFC 9496, A.2: not canonical, negative, without a square root, negative x·y, s = −1
REFUSED = [
    "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ed57ffd8c914fb201471d1c3d245ce3c746fcbe63a3679d51b6a516ebebe0e20",
    "c34c4e1826e5d403b78e246e88aa051c36ccf0aafebffe137d148a2bf9104562",
    "c940e5a4404157cfb1628b108db051a8d439e1a421394ec4ebccb9ec92a8ac78",
    "47cfc5497c53dc8e61c91d17fd626ffb1c49e2bca94eed052281b510b1117a24",
    "f1c6165d33367351b0da8f6e4511010c68174a03b6581212c71c0e1d026c3c72",
    "87260f7a2f12495118360f02c26a470f450dadf34a413d21042b43b9d93e1309",
    "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
    "4eac077a713c57b4f4397629a4145982c661f48044dd3f96427d40b147d9742f",
    "de6a7b00deadc788eb6b6c8d20c0ae96c2f2019078fa604fee5b87d6e989ad7b",
    "bcab477be20861e01e4a0e295284146a510150d9817763caf1a6f4b422d67042",
    "2a292df7e32cababbd9de088d1d1abec9fc0440f637ed2fba145094dc14bea08",
    "f4a9e534fc0d216c44b218fa0c42d99635a0127ee2e53c712f70609649fdff22",
    "8268436f8c4126196cf64b3c7ddbda90746a378625f9813dd9b8457077256731",
    "2810e5cbc2cc4d4eece54f61c6f69758e289aa7ab440b3cbeaa21995c2f4232b",
    "3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e",
    "a45fdc55c76448c049a1ab33f17023edfb2be3581e9c7aade8a6125215e04220",
    "d483fe813c6ba647ebbfd3ec41adca1c6130c2beeee9d9bf065c8d151c5f396e",
    "8a2e1d30050198c65a54483123960ccc38aef6848e1ec8f5f780e8523769ba32",
    "32888462f8b486c68ad7dd9610be5192bbeaf3b443951ac1a8118419d9fa097b",
    "227142501b9d4355ccba290404bde41575b037693cef1f438c47f8fbf35d1165",
    "5c37cc491da847cfeb9281d407efc41e15144c876e0170b499a96a22ed31e01e",
    "445425117cb8c90edcbc7c1cc0e74f747f2c1efa5630a967c64f287792a48a4b",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]

# RFC 9496, A.3: SHA-512 of the phrase is the input
MAPPED = {
    "Ristretto is traditionally a short shot of espresso coffee": "3066f82a1a747d45120d1740f14358531a8f04bbffe6a819f86dfe50f44a0a46",
    "made with the normal amount of ground coffee but extracted with": "f26e5b6f7d362d2d2a94c5d0e7602cb4773c95a2e5c31a64f133189fa76ed61b",
    "about half the amount of water in the same amount of time": "006ccd2a9e6867e6a2c5cea83d3302cc9de128dd2a9a57dd8ee7b9d7ffe02826",
    "by using a finer grind.": "f8f0c87cf237953c5890aec3998169005dae3eca1fbb04548c635953c817f92a",
    "This produces a concentrated shot of coffee per volume.": "ae81e7dedf20a497e10c304a765c1767a42d6e06029758d2d7e8ef7cc4c41179",
    "Just pulling a normal shot short will produce a weaker shot": "e2705652ff9f5e44d3e841bf1c251cf7dddb77d140870d1ab2ed64f1a9ce8628",
    "and is not a Ristretto as some believe.": "80bd07262511cdde4863f8a7434cef696750681cb9510eea557088f76d9e5065",
}
# RFC 9496, A.3: inputs that only reduction modulo p and the ignored upper bit make equal
SAME = [
    "ed" + "ff" * 63,
    "ed" + "ff" * 30 + "7f" + "ff" * 32,
    "00" * 31 + "80" + "ff" * 31 + "7f",
    "00" * 32 + "ff" * 31 + "7f",
]
SAME_ELEMENT = "304282791023b73128d277bdcb5c7746ef2eac08dde9f2983379cb8e5ef0517f"

scalars = st.integers(1, ORDER - 1).map(lambda value: Scalar(value.to_bytes(32, "little")))
messages = st.lists(st.binary(max_size=40), min_size=1, max_size=6)
DST = b"a tag"


def small(value: int) -> Scalar:
    return Scalar(value.to_bytes(32, "little"))


def test_the_multiples_of_the_generator_are_the_published_ones() -> None:
    total = IDENTITY
    for number, expected in enumerate(MULTIPLES):
        assert total.hex() == expected
        if number:
            assert multiply_base(small(number)).hex() == expected
            assert decode(bytes.fromhex(expected)).hex() == expected
        total = add(total, GENERATOR)


@pytest.mark.parametrize("encoded", REFUSED)
def test_every_published_bad_encoding_is_refused_everywhere(encoded: str) -> None:
    data = bytes.fromhex(encoded)
    with pytest.raises(ElementInvalid):
        decode(data)
    with pytest.raises(ElementInvalid):
        add(GENERATOR, Element(data))
    rows = np.frombuffer(GENERATOR + data, dtype=np.uint8).reshape(2, 32)
    secret = clamped(bytes(range(32)))
    for work in (multiply_all, tags):
        with pytest.raises(ElementInvalid) as caught:
            work(secret, rows)
        assert caught.value.position == 1


@pytest.mark.parametrize(("phrase", "expected"), MAPPED.items())
def test_uniform_bytes_map_to_the_published_elements(phrase: str, expected: str) -> None:
    uniform = hashlib.sha512(phrase.encode()).digest()
    assert map_to_group(uniform).hex() == expected
    assert map_all(uniform * 2).tobytes().hex() == expected * 2


@pytest.mark.parametrize("uniform", SAME)
def test_uniform_bytes_are_reduced_as_published(uniform: str) -> None:
    assert map_to_group(bytes.fromhex(uniform)).hex() == SAME_ELEMENT


def test_the_identity_is_refused_where_it_hides_nothing() -> None:
    rows = np.zeros((1, 32), dtype=np.uint8)
    secret = clamped(bytes(32))
    for refused in (
        lambda: decode(IDENTITY),
        lambda: multiply(secret, IDENTITY),
        lambda: multiply_base(small(0)),
        lambda: multiply(small(0), GENERATOR),
        lambda: multiply(small(ORDER), GENERATOR),
        lambda: multiply_all(secret, rows),
        lambda: tags(secret, rows),
    ):
        with pytest.raises(ElementIdentity):
            refused()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_elements_and_scalars_of_another_length_are_refused(size: int) -> None:
    with pytest.raises(ElementInvalid):
        decode(b"\x02" * size)
    with pytest.raises(ScalarInvalid):
        decode_scalar(b"\x02" * size)
    with pytest.raises(ScalarInvalid):
        clamped(bytes(size))
    with pytest.raises(ScalarInvalid):
        multiply(Scalar(bytes(size)), GENERATOR)


@pytest.mark.parametrize("value", [0, ORDER, ORDER + 1, (1 << 256) - 1])
def test_scalars_that_are_zero_or_not_reduced_are_refused(value: int) -> None:
    with pytest.raises(ScalarInvalid):
        decode_scalar(value.to_bytes(32, "little"))


def test_what_libsodium_would_cut_off_is_refused() -> None:
    with pytest.raises(ScalarInvalid):
        multiply(Scalar(b"\x01" + bytes(30) + b"\x80"), GENERATOR)
    with pytest.raises(ScalarInvalid):
        invert_scalar(small(0))


def test_tags_need_a_clamped_scalar() -> None:
    with pytest.raises(ScalarInvalid):
        tags(small(9), np.frombuffer(GENERATOR, dtype=np.uint8).reshape(1, 32))


# RFC 9380, K.3: expand_message_xmd with SHA-512
@pytest.mark.parametrize(
    ("message", "size", "expected"),
    [
        (b"", 32, "6b9a7312411d92f921c6f68ca0b6380730a1a4d982c507211a90964c394179ba"),
        (b"abc", 32, "0da749f12fbe5483eb066a5f595055679b976e93abe9be6f0f6318bce7aca8dc"),
    ],
)
def test_messages_expand_as_published(message: bytes, size: int, expected: str) -> None:
    assert expand_message(message, b"QUUX-V01-CS02-with-expander-SHA512-256", size).hex() == expected


def test_a_hash_without_a_tag_or_of_a_wrong_size_is_refused() -> None:
    for refused in (
        lambda: expand_message(b"", b"", 64),
        lambda: expand_message(b"", bytes(256), 64),
        lambda: expand_message(b"", DST, 0),
        lambda: expand_message(b"", DST, 255 * 64 + 1),
        lambda: hash_all([b""], b""),
        lambda: map_to_group(bytes(63)),
        lambda: map_all(bytes(65)),
        lambda: reduce_scalar(bytes(63)),
    ):
        with pytest.raises(HashInvalid):
            refused()


@given(messages)
def test_lists_are_hashed_as_single_messages(found: list[bytes]) -> None:
    assert hash_all(found, DST).tobytes() == b"".join(hash_to_group(each, DST) for each in found)


@given(messages, st.binary(min_size=32, max_size=32))
def test_lists_are_multiplied_as_single_elements(found: list[bytes], seed: bytes) -> None:
    elements, secret = hash_all(found, DST), clamped(seed)
    expected = b"".join(multiply(secret, hash_to_group(each, DST)) for each in found)
    assert multiply_all(secret, elements).tobytes() == expected


@given(messages, st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_tags_agree_exactly_where_the_products_agree(found: list[bytes], left: bytes, right: bytes) -> None:
    elements, a, b = hash_all(found, DST), clamped(left), clamped(right)
    one, other = tags(b, multiply_all(a, elements)), tags(a, multiply_all(b, elements))
    assert np.array_equal(one, other)
    assert len({row.tobytes() for row in one}) == len(set(found))


def test_a_tag_is_the_x_coordinate_of_the_product() -> None:
    # 8·k·G on Curve25519, computed on Edwards25519 with the equations of RFC 8032 §5.1.4
    d = -121665 * pow(121666, -1, PRIME) % PRIME
    y = 4 * pow(5, -1, PRIME) % PRIME
    x = 15112221349535400772501151409588531511454012693041857206046113283949847762202
    secret = clamped(secrets.token_bytes(32))

    def plus(p: tuple[int, int], q: tuple[int, int]) -> tuple[int, int]:
        product = d * p[0] * q[0] * p[1] * q[1]
        return (
            (p[0] * q[1] + q[0] * p[1]) * pow(1 + product, -1, PRIME) % PRIME,
            (p[1] * q[1] + p[0] * q[0]) * pow(1 - product, -1, PRIME) % PRIME,
        )

    total, power = (0, 1), (x, y)
    for bit in range(255):
        if int.from_bytes(secret, "little") >> bit & 1:
            total = plus(total, power)
        power = plus(power, power)
    u = (1 + total[1]) * pow(1 - total[1], -1, PRIME) % PRIME
    rows = np.frombuffer(GENERATOR, dtype=np.uint8).reshape(1, 32)
    assert int.from_bytes(tags(secret, rows)[0].tobytes(), "little") == u


@given(scalars, scalars)
def test_scalars_are_a_field(left: Scalar, right: Scalar) -> None:
    a, b = int.from_bytes(left, "little"), int.from_bytes(right, "little")
    assert int.from_bytes(multiply_scalars(left, right), "little") == a * b % ORDER
    assert int.from_bytes(subtract_scalars(left, right), "little") == (a - b) % ORDER
    assert multiply_scalars(left, invert_scalar(left)) == small(1)


@given(scalars, scalars)
def test_products_do_not_depend_on_their_order(left: Scalar, right: Scalar) -> None:
    assert multiply(left, multiply_base(right)) == multiply(right, multiply_base(left))
    assert multiply(left, multiply_base(right)) == multiply_base(multiply_scalars(left, right))


@given(st.binary(min_size=64, max_size=64))
def test_uniform_bytes_are_reduced_modulo_the_order(uniform: bytes) -> None:
    assert int.from_bytes(reduce_scalar(uniform), "little") == int.from_bytes(uniform, "little") % ORDER


def test_the_empty_list_stays_empty() -> None:
    assert hash_all([], DST).shape == map_all(b"").shape == (0, 32)
    assert tags(clamped(bytes(32)), multiply_all(clamped(bytes(32)), hash_all([], DST))).shape == (0, 32)
