"""A buyer of scores that has the library `phe` and nothing of ours: `encrypt` a model for `--model`, `open` the scores.

    python phe_buyer.py keys private.json
    python phe_buyer.py encrypt private.json model.json -- -2.5 0.0004 0.0011 -0.035
    shuyao buyer ask LISTING 'SELECT SCORE(kwh, peak_kwh, employees) AS risk FROM …' --model model.json
    python phe_buyer.py open private.json HOME/buyer/scores/0xID.json

The weights are the intercept's, then one for each feature in the order of SCORE. Only `model.json` leaves this machine.
"""

import json
import sys
from fractions import Fraction
from pathlib import Path

import phe

SCALE_BITS = (
    16  # the policy's `score.weight_scale_bits`; a multiple of 4, as the library counts in powers of 16
)


def encrypted(public, weights):
    """Encrypt weights in steps of 2^-SCALE_BITS, and write them as the library's documentation does."""
    numbers = [public.encrypt(weight, precision=2.0**-SCALE_BITS) for weight in weights]
    return {
        "public_key": {"n": public.n},
        "values": [(str(number.ciphertext()), number.exponent) for number in numbers],
    }


def opened(private, answer):
    """Decrypt packed scores: of each group its key and its score, exactly."""
    width, half = 8 * answer["slot_bytes"], 1 << 8 * answer["slot_bytes"] - 1
    scores = []
    for value, exponent in answer["values"]:
        packed = private.decrypt(phe.EncryptedNumber(private.public_key, int(value), exponent))
        packed += sum(half << width * slot for slot in range(answer["slots"]))
        scores += [(packed >> width * slot) % (1 << width) - half for slot in range(answer["slots"])]
    exact = [Fraction(score, 1 << answer["scale_bits"]) for score in scores[: answer["count"]]]
    return list(zip(answer["groups"], exact, strict=True))


def main(command, path, *more):
    """Run one of the three commands."""
    secret = Path(path)
    if command == "keys":
        private = phe.generate_paillier_keypair(n_length=3072)[1]
        secret.touch(mode=0o600, exist_ok=False)
        secret.write_text(json.dumps({"p": private.p, "q": private.q}), encoding="utf8")
        return
    factors = json.loads(secret.read_text(encoding="utf8"))
    public = phe.PaillierPublicKey(factors["p"] * factors["q"])
    if command == "encrypt":
        weights = [float(each) for each in more[1:] if each != "--"]
        Path(more[0]).write_text(json.dumps(encrypted(public, weights)), encoding="utf8")
        return
    private = phe.PaillierPrivateKey(public, factors["p"], factors["q"])
    for group, score in opened(private, json.loads(Path(more[0]).read_text(encoding="utf8"))):
        sys.stdout.write(" ".join(map(str, [*group, float(score)])) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
