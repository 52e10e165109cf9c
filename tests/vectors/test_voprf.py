"""RFC 9497's vectors for ristretto255-SHA512, modes OPRF and VOPRF; and each value in them changed, refused by name."""

from typing import Any

import pytest

from privacy.ristretto import IDENTITY, ORDER, Scalar, multiply_base
from privacy.voprf import (
    BlindInvalid,
    InputInvalid,
    KeyUnderivable,
    MessageInvalid,
    Mode,
    Proof,
    ProofInvalid,
    VoprfError,
    blind,
    derive_key,
    evaluate,
    evaluate_input,
    finalise,
    prove,
    verify_proof,
)
from tests.vectors.shared_files import shared_json

SUITE = "ristretto255-SHA512"


def suite(mode: Mode) -> dict[str, Any]:
    found = [
        each
        for each in shared_json("vectors", "voprf", "allVectors.json")
        if each["identifier"] == SUITE and each["mode"] == mode
    ]
    assert len(found) == 1
    return dict(found[0])


def listed(vector: dict[str, Any], member: str) -> list[bytes]:
    return [bytes.fromhex(each) for each in vector[member].split(",")]


def secret_key(mode: Mode) -> Scalar:
    return Scalar(bytes.fromhex(suite(mode)["skSm"]))


def batch() -> tuple[bytes, list[bytes], list[bytes], bytes]:
    vector = suite(Mode.VOPRF)["vectors"][2]
    public = bytes.fromhex(suite(Mode.VOPRF)["pkSm"])
    proof = bytes.fromhex(vector["Proof"]["proof"])
    return public, listed(vector, "BlindedElement"), listed(vector, "EvaluationElement"), proof


@pytest.mark.parametrize("mode", list(Mode))
def test_every_key_is_derived_from_its_seed(mode: Mode) -> None:
    found = suite(mode)
    secret, public = derive_key(mode, bytes.fromhex(found["seed"]), bytes.fromhex(found["keyInfo"]))
    assert secret.hex() == found["skSm"]
    if mode is Mode.VOPRF:
        assert public.hex() == found["pkSm"]


@pytest.mark.parametrize("mode", list(Mode))
def test_every_input_is_blinded_evaluated_and_finalised_as_published(mode: Mode) -> None:
    found, secret = suite(mode)["vectors"], secret_key(mode)
    assert len(found) == (2 if mode is Mode.OPRF else 3)
    for vector in found:
        inputs, blinds = listed(vector, "Input"), listed(vector, "Blind")
        assert len(inputs) == vector["Batch"]
        blinded = [blind(mode, each, scalar) for each, scalar in zip(inputs, blinds, strict=True)]
        assert blinded == listed(vector, "BlindedElement")
        evaluated = evaluate(secret, blinded)
        assert evaluated == listed(vector, "EvaluationElement")
        for message, scalar, element, output in zip(
            inputs, blinds, evaluated, listed(vector, "Output"), strict=True
        ):
            assert finalise(message, scalar, element) == output
            assert evaluate_input(mode, secret, message) == output


def test_every_proof_is_as_published_and_verifies() -> None:
    found, secret = suite(Mode.VOPRF), secret_key(Mode.VOPRF)
    for vector in found["vectors"]:
        blinded, evaluated = listed(vector, "BlindedElement"), listed(vector, "EvaluationElement")
        proof = prove(secret, blinded, evaluated, bytes.fromhex(vector["Proof"]["r"]))
        assert proof.encode().hex() == vector["Proof"]["proof"]
        verify_proof(bytes.fromhex(found["pkSm"]), blinded, evaluated, Proof.decode(proof.encode()))


def test_a_proof_is_refused_for_any_other_statement() -> None:
    public, blinded, evaluated, data = batch()
    proof = Proof.decode(data)
    other = multiply_base(secret_key(Mode.OPRF))
    statements: list[tuple[bytes, list[bytes], list[bytes]]] = [
        (other, blinded, evaluated),
        (public, blinded[::-1], evaluated),
        (public, blinded[::-1], evaluated[::-1]),
        (public, blinded, [evaluated[0], evaluated[0]]),
        (public, blinded[:1], evaluated[:1]),
        (public, [blinded[0], other], evaluated),
    ]
    for statement in statements:
        with pytest.raises(ProofInvalid):
            verify_proof(*statement, proof)


@pytest.mark.parametrize("byte", range(0, 64, 7))
def test_a_proof_with_one_bit_changed_is_refused(byte: int) -> None:
    public, blinded, evaluated, data = batch()
    changed = bytearray(data)
    changed[byte] ^= 4
    with pytest.raises(ProofInvalid):
        verify_proof(public, blinded, evaluated, Proof.decode(bytes(changed)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(63),
        bytes(65),
        b"\xff" * 64,
        ORDER.to_bytes(32, "little") * 2,
        bytes(31) + b"\x01" + ORDER.to_bytes(32, "little"),
    ],
)
def test_bytes_that_are_no_proof_are_refused(data: bytes) -> None:
    with pytest.raises(ProofInvalid):
        Proof.decode(data)


@pytest.mark.parametrize("element", [IDENTITY, b"", bytes(31), b"\xff" * 32, b"\x01" + bytes(31)])
def test_a_message_that_is_no_element_is_refused(element: bytes) -> None:
    public, blinded, evaluated, data = batch()
    proof, key, scalar = Proof.decode(data), secret_key(Mode.VOPRF), b"\x01" + bytes(31)
    with pytest.raises(MessageInvalid):
        evaluate(key, [blinded[0], element])
    with pytest.raises(MessageInvalid):
        finalise(b"input", scalar, element)
    with pytest.raises(MessageInvalid):
        prove(key, [element], [evaluated[0]], scalar)
    for statement in (
        (element, blinded, evaluated),
        (public, [element, blinded[1]], evaluated),
        (public, blinded, [element, evaluated[1]]),
    ):
        with pytest.raises(MessageInvalid):
            verify_proof(*statement, proof)


@pytest.mark.parametrize("scalar", [b"", bytes(32), ORDER.to_bytes(32, "little"), b"\xff" * 32, bytes(33)])
def test_a_scalar_that_is_zero_or_not_reduced_is_refused(scalar: bytes) -> None:
    _, blinded, evaluated, _ = batch()
    with pytest.raises(BlindInvalid):
        blind(Mode.OPRF, b"input", scalar)
    with pytest.raises(BlindInvalid):
        finalise(b"input", scalar, blinded[0])
    with pytest.raises(BlindInvalid):
        prove(secret_key(Mode.VOPRF), blinded, evaluated, scalar)
    with pytest.raises(KeyUnderivable):
        evaluate(Scalar(scalar), blinded)


@pytest.mark.parametrize("sizes", [(0, 0), (1, 2), (2, 1), (1 << 13, 1 << 13)])
def test_a_batch_that_is_empty_uneven_or_too_long_is_refused(sizes: tuple[int, int]) -> None:
    public, blinded, evaluated, data = batch()
    left, right = blinded[:1] * sizes[0], evaluated[:1] * sizes[1]
    with pytest.raises(InputInvalid):
        verify_proof(public, left, right, Proof.decode(data))
    with pytest.raises(InputInvalid):
        prove(secret_key(Mode.VOPRF), left, right, b"\x01" + bytes(31))


def test_an_input_that_is_too_long_is_refused() -> None:
    with pytest.raises(InputInvalid):
        blind(Mode.OPRF, bytes(1 << 16), b"\x01" + bytes(31))
    with pytest.raises(InputInvalid):
        derive_key(Mode.OPRF, bytes(32), bytes(1 << 16))


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(KeyUnderivable):
        derive_key(Mode.VOPRF, bytes(31), b"")


def test_the_two_modes_give_different_functions() -> None:
    key = secret_key(Mode.OPRF)
    assert evaluate_input(Mode.OPRF, key, b"input") != evaluate_input(Mode.VOPRF, key, b"input")


def test_every_refusal_is_one_of_this_module() -> None:
    for error in (BlindInvalid, InputInvalid, KeyUnderivable, MessageInvalid, ProofInvalid):
        assert issubclass(error, VoprfError)
