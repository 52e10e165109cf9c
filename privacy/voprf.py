"""Oblivious pseudorandom functions over ristretto255 with SHA-512: the modes OPRF and VOPRF.

A client learns F(key, input) without showing the input; in mode VOPRF a proof shows that the server used the key
it is known by, one proof for a whole batch.

Source: RFC 9497 §3.3.1, §3.3.2, §2.2, §4.1; names and order of the arguments are the RFC's.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from privacy.errors import PrivacyError
from privacy.ristretto import (
    IDENTITY,
    SCALAR_BYTES,
    UNIFORM_BYTES,
    Element,
    ElementInvalid,
    GroupError,
    Scalar,
    add,
    decode,
    decode_scalar,
    expand_message,
    hash_to_group,
    invert_scalar,
    is_identity,
    multiply,
    multiply_base,
    multiply_scalars,
    reduce_scalar,
    subtract_scalars,
)

IDENTIFIER: Final = b"ristretto255-SHA512"
INPUT_BYTES_MAX: Final = (1 << 16) - 1
BATCH_MAX: Final = 1 << 12
SEED_BYTES: Final = 32
_DERIVE_TRIES = 256


class VoprfError(PrivacyError):
    """Anything that this module refuses."""


class InputInvalid(VoprfError):
    """An input that is too long or hashes to the identity, or a batch that is empty, uneven or too long."""


class BlindInvalid(VoprfError):
    """A blind that is no scalar above zero and below the group's order."""


class MessageInvalid(VoprfError):
    """A blinded or evaluated element, or a public key, that is no element or is the identity."""


class ProofInvalid(VoprfError):
    """A proof that is malformed, or does not show that the evaluation used the public key's secret."""


class KeyUnderivable(VoprfError):
    """A seed from which no key follows, or a secret key that is no scalar."""


class Mode(IntEnum):
    """Which of the functions."""

    OPRF = 0
    VOPRF = 1

    @property
    def context(self) -> bytes:
        """The context string that separates the modes."""
        return b"OPRFV1-" + bytes((self.value,)) + b"-" + IDENTIFIER


@dataclass(frozen=True, slots=True)
class Proof:
    """That one exponent takes A to B and each C_i to D_i: challenge c and response s.

    Attributes:
        challenge, response: scalars above zero and below ℓ.
    """

    challenge: bytes
    response: bytes

    @classmethod
    def decode(cls, data: bytes) -> Proof:
        """Read c ‖ s.

        Raises:
            ProofInvalid: not 64 bytes, or a number that is not below the group's order.
        """
        if len(data) != 2 * SCALAR_BYTES:
            raise ProofInvalid(f"expected a proof of {2 * SCALAR_BYTES} bytes, got {len(data)}")
        try:
            return cls(decode_scalar(data[:SCALAR_BYTES]), decode_scalar(data[SCALAR_BYTES:]))
        except GroupError as err:
            raise ProofInvalid("expected two scalars below the group's order") from err

    def encode(self) -> bytes:
        """Return c ‖ s."""
        return self.challenge + self.response


def derive_key(mode: Mode, seed: bytes, info: bytes) -> tuple[Scalar, Element]:
    """Derive a key pair.

    Args:
        mode: that the key is for.
        seed: 32 uniform bytes.
        info: public, at most 65535 bytes.

    Raises:
        KeyUnderivable: a seed of another length, or (with negligible probability) one without a key.
        InputInvalid: the info is too long.

    Source: RFC 9497 §3.2.1.
    """
    if len(seed) != SEED_BYTES:
        raise KeyUnderivable(f"expected a seed of {SEED_BYTES} bytes, got {len(seed)}")
    material = seed + _prefixed(info)
    for counter in range(_DERIVE_TRIES):
        secret = _hash_to_scalar(material + bytes((counter,)), b"DeriveKeyPair" + mode.context)
        if any(secret):
            return secret, multiply_base(secret)
    raise KeyUnderivable("expected a key from the seed, got zero each time")


def blind(mode: Mode, message: bytes, blind_scalar: bytes) -> Element:
    """Return the client's blinded element.

    Args:
        mode: of the function.
        message: the input, at most 65535 bytes.
        blind_scalar: a uniform scalar, used once.

    Raises:
        InputInvalid: too long, or it hashes to the identity.
        BlindInvalid: no scalar above zero and below the order.

    Source: RFC 9497 §3.3.1.
    """
    return multiply(_blind(blind_scalar), _hash_input(mode, message))


def evaluate(secret: Scalar, blinded: Sequence[bytes]) -> list[Element]:
    """Return the server's evaluation of each blinded element.

    Raises:
        MessageInvalid: one is no element, or the identity.
        KeyUnderivable: the secret is no scalar.
    """
    key = _key(secret)
    return [multiply(key, element) for element in _elements(blinded)]


def prove(secret: Scalar, blinded: Sequence[bytes], evaluated: Sequence[bytes], proof_scalar: bytes) -> Proof:
    """Prove that each evaluation used the key, for the whole batch at once, in mode VOPRF.

    Args:
        secret: the server's key.
        blinded: C, from the client.
        evaluated: D, as `evaluate` returned them.
        proof_scalar: r, uniform and used once.

    Raises:
        InputInvalid: a batch that is empty, uneven or too long.
        MessageInvalid: no elements.
        BlindInvalid: r is no scalar.
        KeyUnderivable: the secret is no scalar.

    Source: RFC 9497 §2.2.1.
    """
    _require_batch(blinded, evaluated)
    key, nonce = _key(secret), _blind(proof_scalar)
    public = multiply_base(key)
    composite, _ = _composites(public, _elements(blinded), _elements(evaluated))
    total = multiply(key, composite)
    commitments = multiply_base(nonce), multiply(nonce, composite)
    challenge = _challenge(public, composite, total, *commitments)
    return Proof(challenge, subtract_scalars(nonce, multiply_scalars(challenge, key)))


def verify_proof(public: bytes, blinded: Sequence[bytes], evaluated: Sequence[bytes], proof: Proof) -> None:
    """Check a batch's proof.

    Raises:
        ProofInvalid: it does not show it.
        InputInvalid: a batch that is empty, uneven or too long.
        MessageInvalid: no elements.

    Source: RFC 9497 §2.2.2.
    """
    _require_batch(blinded, evaluated)
    (key,) = _elements([public])
    composite, total = _composites(key, _elements(blinded), _elements(evaluated))
    challenge, response = Scalar(proof.challenge), Scalar(proof.response)
    try:
        first = add(multiply_base(response), multiply(challenge, key))
        second = add(multiply(response, composite), multiply(challenge, total))
    except GroupError as err:
        raise ProofInvalid("expected a proof of another statement than the identity's") from err
    if not hmac.compare_digest(_challenge(key, composite, total, first, second), challenge):
        raise ProofInvalid("expected an evaluation under the public key's secret, got another one")


def finalise(message: bytes, blind_scalar: bytes, evaluated: bytes) -> bytes:
    """Return the client's output of 64 bytes; in mode VOPRF after `verify_proof`.

    Raises:
        InputInvalid: the message is too long.
        BlindInvalid: no scalar.
        MessageInvalid: no element.
    """
    (element,) = _elements([evaluated])
    return _output(message, multiply(invert_scalar(_blind(blind_scalar)), element))


def evaluate_input(mode: Mode, secret: Scalar, message: bytes) -> bytes:
    """Return the output as the key's owner computes it alone.

    Raises:
        InputInvalid: too long, or it hashes to the identity.
        KeyUnderivable: the secret is no scalar.
    """
    return _output(message, multiply(_key(secret), _hash_input(mode, message)))


def _output(message: bytes, unblinded: Element) -> bytes:
    return hashlib.sha512(_prefixed(message) + _prefixed(unblinded) + b"Finalize").digest()


def _hash_input(mode: Mode, message: bytes) -> Element:
    _prefixed(message)
    element = hash_to_group(message, b"HashToGroup-" + mode.context)
    if is_identity(element):
        raise InputInvalid("expected an input that does not hash to the identity")
    return element


def _hash_to_scalar(message: bytes, dst: bytes) -> Scalar:
    """Hash to a scalar (RFC 9497 §4.1)."""
    return reduce_scalar(expand_message(message, dst, UNIFORM_BYTES))


def _composites(
    public: Element, blinded: Sequence[Element], evaluated: Sequence[Element]
) -> tuple[Element, Element]:
    """Return M = Σ d_i·C_i and Z = Σ d_i·D_i with weights d_i that the whole batch fixes.

    Source: RFC 9497 §2.2.1, ComputeComposites.
    """
    context = Mode.VOPRF.context
    seed = hashlib.sha512(_prefixed(public) + _prefixed(b"Seed-" + context)).digest()
    composite = total = IDENTITY
    for number, (c, d) in enumerate(zip(blinded, evaluated, strict=True)):
        transcript = _prefixed(seed) + number.to_bytes(2, "big") + _prefixed(c) + _prefixed(d) + b"Composite"
        weight = _hash_to_scalar(transcript, b"HashToScalar-" + context)
        composite = add(composite, multiply(weight, c))
        total = add(total, multiply(weight, d))
    return composite, total


def _challenge(*elements: Element) -> Scalar:
    """Hash public key, M, Z and the two commitments to the challenge."""
    transcript = b"".join([_prefixed(element) for element in elements]) + b"Challenge"
    return _hash_to_scalar(transcript, b"HashToScalar-" + Mode.VOPRF.context)


def _prefixed(data: bytes) -> bytes:
    if len(data) > INPUT_BYTES_MAX:
        raise InputInvalid(f"expected at most {INPUT_BYTES_MAX} bytes, got {len(data)}")
    return len(data).to_bytes(2, "big") + data


def _elements(encoded: Sequence[bytes]) -> list[Element]:
    try:
        return [decode(each, position=position) for position, each in enumerate(encoded)]
    except ElementInvalid as err:
        raise MessageInvalid(f"expected elements of the group: {err}") from err


def _blind(scalar: bytes) -> Scalar:
    try:
        return decode_scalar(scalar)
    except GroupError as err:
        raise BlindInvalid("expected a scalar above zero and below the group's order") from err


def _key(secret: bytes) -> Scalar:
    try:
        return decode_scalar(secret)
    except GroupError as err:
        raise KeyUnderivable("expected a secret above zero and below the group's order") from err


def _require_batch(blinded: Sequence[bytes], evaluated: Sequence[bytes]) -> None:
    if not 1 <= len(blinded) <= BATCH_MAX or len(blinded) != len(evaluated):
        raise InputInvalid(
            f"expected two lists of one length up to {BATCH_MAX}, got {len(blinded)} and {len(evaluated)}"
        )
