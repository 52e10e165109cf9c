"""The record of a joint key and its shares: what is read, what is refused."""

import json
import pickle
from dataclasses import replace

import pytest

from privacy import deposit_reference
from privacy.deposit import DepositKey, KeyShare
from privacy.deposit.errors import EncodingRefused, KeyInvalid, ShareMismatch
from privacy.deposit.points import encode_points, generator, scalar
from privacy.prg import CURVE_ORDER
from tests.privacy.deposit.deposit_world import ORDER_THREE, Rounds, ceremony, key, share


def points_of(*factors: int) -> tuple[bytes, ...]:
    return tuple(encode_points([generator() * scalar(factor)]) for factor in factors)


def require_key(threshold: int, joint: bytes, others: tuple[bytes, ...]) -> None:
    """Check it by both libraries, which agree."""
    record = DepositKey(threshold, joint, others)
    found = []
    for check in (record.require_valid, lambda: deposit_reference.require_key(record)):
        try:
            check()
        except KeyInvalid as err:
            found.append(err)
    assert len(found) in (0, 2)
    if found:
        raise found[0]


def test_a_key_comes_back_from_json_and_from_another_process() -> None:
    again = DepositKey.from_json(json.loads(key().to_bytes()))
    assert again == key()
    assert again.id == key().id
    assert pickle.loads(pickle.dumps(key())).point == key().point


def test_a_line_through_the_key_is_accepted_and_no_other_points() -> None:
    # f(x) = 7 + 5x: f(0) = 7, f(1) = 12, f(2) = 17, f(3) = 22
    require_key(2, points_of(7)[0], points_of(12, 17, 22))
    for joint, others in ((7, (12, 17, 23)), (8, (12, 17, 22))):
        with pytest.raises(KeyInvalid, match="no polynomial"):
            require_key(2, points_of(joint)[0], points_of(*others))


def test_a_parabola_needs_three() -> None:
    # f(x) = 1 + x + x²
    values = points_of(3, 7, 13, 21)
    require_key(3, points_of(1)[0], values)
    with pytest.raises(KeyInvalid, match="no polynomial"):
        require_key(2, points_of(1)[0], values)


@pytest.mark.parametrize("threshold", [0, 6])
def test_a_threshold_outside_its_range_is_refused(threshold: int) -> None:
    with pytest.raises(KeyInvalid):
        replace(key(), threshold=threshold)


@pytest.mark.parametrize("point", [bytes(96), ORDER_THREE, b"\xff" * 96, bytes(95)])
def test_a_key_that_is_no_point_is_refused(point: bytes) -> None:
    with pytest.raises(KeyInvalid):
        replace(key(), key=point).require_valid()
    with pytest.raises(KeyInvalid):
        replace(key(), verification=(*key().verification[:-1], point)).require_valid()


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 3},
        {"threshold": "03"},
        {"key": "0x12"},
        {"verification": "0x"},
        {"verification": ["0x00"]},
        {"more": "1"},
        {"verification": ["0x" + "00" * 96] * 65},
    ],
)
def test_a_malformed_record_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(KeyInvalid):
        DepositKey.from_json(key().to_json() | change)


BAD_POINTS = [ORDER_THREE, b"\xff" * 96, points_of(4711)[0]]


@pytest.mark.parametrize("point", BAD_POINTS, ids=["subgroup", "curve", "polynomial"])
@pytest.mark.parametrize("place", ["key", "verification"])
def test_no_point_of_a_bad_key_is_ever_given_out(place: str, point: bytes) -> None:
    """The record itself is only bytes: whoever takes a point, whichever, has all of them checked."""
    value = key().to_json()
    value[place] = "0x" + point.hex() if place == "key" else [*value[place][:-1], "0x" + point.hex()]
    record = DepositKey.raw_from_json(value)
    uses = [
        record.require_valid,
        lambda: record.point,
        lambda: record.share_point(0),
        lambda: KeyShare.of(record, 0, share(0).secret),
        lambda: pickle.loads(pickle.dumps(record)).point,
        lambda: deposit_reference.require_key(record),
        lambda: DepositKey.from_json(value),
    ]
    for use in uses:
        for _ in range(2):
            with pytest.raises(KeyInvalid):
                use()


def test_there_is_no_trustee_beyond_the_last() -> None:
    for trustee in (-1, 5):
        with pytest.raises(KeyInvalid):
            key().share_point(trustee)


def test_a_share_comes_back_from_its_bytes() -> None:
    again = KeyShare.decode(share(2).encode())
    assert again == share(2)
    again.require_of(key())


def test_other_bytes_are_no_share() -> None:
    data = share(2).encode()
    beyond = data[:-32] + CURVE_ORDER.to_bytes(32, "big")
    for each in (data[:-1], data + b"\x00", b"SYD\x01\x11" + data[5:], beyond, b""):
        with pytest.raises(EncodingRefused):
            KeyShare.decode(each)


def test_a_share_of_another_trustee_or_key_is_refused() -> None:
    with pytest.raises(ShareMismatch):
        KeyShare.of(key(), 1, share(2).secret)
    other = Rounds.begin(ceremony(label=b"\x07" * 32))
    other.complain()
    with pytest.raises(ShareMismatch):
        share(2).require_of(other.finish().key)


def test_a_share_is_not_in_its_representation() -> None:
    assert str(share(1).secret) not in repr(share(1))
    assert share(1).secret.to_bytes(32, "big").hex() not in repr(share(1))
