"""Encrypted noise: it adds up, and nobody can send another's, or another's negative."""

import numpy as np
import pytest

from privacy.deposit import Ciphertexts, encrypt_noise, noise_size, read_noise
from privacy.deposit.errors import NoiseRefused
from privacy.deposit.points import encode_points
from tests.privacy.deposit.deposit_world import ORDER_THREE, SEED, SESSION, decrypted, key, values_of

COUNT = 6
NOISE = values_of("noise", COUNT, 12)
MADE = encrypt_noise(key(), NOISE, SEED, trustee=1, session=SESSION)


def read(data: bytes, *, trustee: int = 1, session: bytes = SESSION, count: int = COUNT) -> Ciphertexts:
    return read_noise(key(), data, count=count, trustee=trustee, session=session)


def test_noise_is_read_by_everybody_and_decrypts_to_what_was_drawn() -> None:
    assert len(MADE) == noise_size(COUNT)
    assert decrypted(read(MADE)) == NOISE.tolist()


def test_the_same_noise_is_encrypted_to_the_same_bytes_and_other_noise_or_session_unlike() -> None:
    assert encrypt_noise(key(), NOISE, SEED, trustee=1, session=SESSION) == MADE
    other = encrypt_noise(key(), NOISE + np.array([1, 0, 0, 0, 0, 0]), SEED, trustee=1, session=SESSION)
    elsewhere = encrypt_noise(key(), NOISE, SEED, trustee=1, session=SEED)
    for each in (other, elsewhere):
        assert all(each[k : k + 96] != MADE[k : k + 96] for k in range(0, 192 * COUNT, 192))


def test_the_negative_of_anothers_noise_is_refused() -> None:
    honest = read(MADE)
    negated = Ciphertexts([-a for a in honest.a], [-b for b in honest.b]).encode()
    with pytest.raises(NoiseRefused, match="trustee 2"):
        read(negated + MADE[-64:], trustee=2)
    # its own proof for all but one copied cell does not help it
    own = encrypt_noise(key(), NOISE, bytes(32), trustee=2, session=SESSION)
    with pytest.raises(NoiseRefused):
        read(negated[:192] + own[192:], trustee=2)


@pytest.mark.parametrize(
    "changed", ["trustee", "session", "b", "proof", "short", "long", "subgroup", "curve"]
)
def test_noise_of_another_origin_or_form_is_refused(changed: str) -> None:
    data, trustee, session = MADE, 1, SESSION
    if changed == "trustee":
        trustee = 0
    elif changed == "session":
        session = SEED
    elif changed == "b":
        data = MADE[:96] + encode_points([read(MADE).b[1]]) + MADE[192:]
    else:
        data = {
            "proof": MADE[:-1] + bytes([MADE[-1] ^ 1]),
            "short": MADE[:-1],
            "long": MADE + b"\x00",
            "subgroup": ORDER_THREE + MADE[96:],
            "curve": b"\xff" * 96 + MADE[96:],
        }[changed]
    with pytest.raises(NoiseRefused) as refused:
        read(data, trustee=trustee, session=session)
    assert refused.value.trustee == trustee
