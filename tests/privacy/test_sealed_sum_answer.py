"""The masked answer: root, chunks, paths, pads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.encoding import keccak, tagged_hash
from privacy.errors import AnswerMalformed, CellOutOfRange, StateCorrupt
from privacy.prg import CURVE_ORDER
from privacy.sealed_sum import (
    BuyerKey,
    answer_chunk,
    answer_root,
    apply_pads,
    buyer_pad,
    cell_count,
    chunk_count,
    chunk_path,
    compressed_key,
    holder_pad,
    remove_pads,
    verify_chunk,
)
from privacy.tree import root_of_path, tree_path, tree_root
from tests.privacy.sum_world import World, digest_of, rand_of

SESSION = digest_of("session")


def payload_of(cells: int) -> bytes:
    return rand_of(f"payload{cells}")(8 * cells) + (5).to_bytes(32, "big")


def leaf(k: int, chunk: bytes) -> bytes:
    return tagged_hash("answer-leaf", SESSION, k, keccak(chunk))


def test_a_short_answer_has_one_chunk_with_the_lane() -> None:
    payload = payload_of(3)
    assert chunk_count(cell_count(payload)) == 1
    assert answer_chunk(payload, 0) == payload
    assert answer_root(SESSION, payload) == tagged_hash("answer", SESSION, 3, leaf(0, payload))


def test_three_chunks_make_an_unbalanced_tree() -> None:
    payload = payload_of(600)
    chunks = [payload[:2048], payload[2048:4096], payload[4096:]]
    assert [answer_chunk(payload, k) for k in range(3)] == chunks
    leaves = [leaf(k, chunk) for k, chunk in enumerate(chunks)]
    left = tagged_hash("answer-node", leaves[0], leaves[1])
    top = tagged_hash("answer-node", left, leaves[2])
    assert answer_root(SESSION, payload) == tagged_hash("answer", SESSION, 600, top)
    assert chunk_path(SESSION, payload, 0) == [leaves[1], leaves[2]]
    assert chunk_path(SESSION, payload, 2) == [left]


@pytest.mark.parametrize("cells", [1, 255, 256, 257, 512, 1281, 2560])
def test_every_chunk_verifies_in_its_place_only(cells: int) -> None:
    payload = payload_of(cells)
    root = answer_root(SESSION, payload)
    count = chunk_count(cells)
    for k in range(count):
        chunk, path = answer_chunk(payload, k), chunk_path(SESSION, payload, k)
        verify_chunk(root, SESSION, cells, k, chunk, path)
        changed = bytes([chunk[0] ^ 1]) + chunk[1:]
        wrong = [
            (SESSION, cells, k, changed, path),
            (SESSION, cells, k, chunk[:-1], path),
            (SESSION, cells, k, chunk, [*path, bytes(32)]),
            (SESSION, cells, k, chunk, path[:-1] if path else [bytes(32)]),
            (digest_of("other"), cells, k, chunk, path),
            (SESSION, cells + 1, k, chunk, path),
            (SESSION, cells, k + 1, chunk, path),
            (SESSION, cells, -1, chunk, path),
        ]
        for session, d, place, data, siblings in wrong:
            with pytest.raises(AnswerMalformed):
                verify_chunk(root, session, d, place, data, siblings)


@settings(deadline=None)
@given(st.integers(1, 70), st.data())
def test_paths_lead_to_the_root(size: int, data: st.DataObject) -> None:
    leaves = [digest_of(str(k)) for k in range(size)]
    index = data.draw(st.integers(0, size - 1))
    path = tree_path("n", leaves, index)
    assert len(path) <= (size - 1).bit_length()
    assert root_of_path("n", leaves[index], index, size, path) == tree_root("n", leaves)
    assert root_of_path("n", leaves[index], index, size, [*path, bytes(32)]) is None


@pytest.mark.parametrize("length", [0, 32, 39, 41, 8 * (1 << 17) + 40])
def test_bytes_that_are_no_answer_are_refused(length: int) -> None:
    for use in (cell_count, lambda data: answer_root(SESSION, data), lambda data: remove_pads(data, [])):
        with pytest.raises(AnswerMalformed):
            use(bytes(length))
    with pytest.raises(AnswerMalformed):
        answer_chunk(payload_of(3), 1)


def test_buyer_and_holder_derive_the_same_pad() -> None:
    world = World(2)
    for i in world.everybody:
        bought = buyer_pad(world.session.id, i, world.buyer.secret, world.session.members[i].e_compressed)
        held = holder_pad(world.session.id, i, world.secrets[i].e_private, world.buyer.compressed)
        assert bought == held
    assert (
        len(
            {
                holder_pad(world.session.id, i, world.secrets[0].e_private, world.buyer.compressed)
                for i in (0, 1)
            }
        )
        == 2
    )


@settings(deadline=None)
@given(
    st.lists(st.integers(-(1 << 62) + 1, (1 << 62) - 1), min_size=1, max_size=9),
    st.integers(0, CURVE_ORDER - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=3),
)
def test_pads_come_off_as_they_went_on(cells: list[int], blinding: int, pads: list[bytes]) -> None:
    payload = apply_pads(np.array(cells, dtype=np.int64), blinding, pads)
    sums, read = remove_pads(payload, pads)
    assert sums.tolist() == cells
    assert read == blinding


def test_a_wrong_pad_gives_cells_out_of_range() -> None:
    payload = apply_pads(np.zeros(50, dtype=np.int64), 0, [bytes(32)])
    with pytest.raises(CellOutOfRange):
        remove_pads(payload, [b"\x01" * 32])


def test_an_impossible_answer_cannot_be_sealed() -> None:
    zero = np.zeros(1, dtype=np.int64)
    for cells, blinding in ((zero[:0], 0), (zero, CURVE_ORDER), (zero, -1)):
        with pytest.raises(AnswerMalformed):
            apply_pads(cells, blinding, [])
    with pytest.raises(CellOutOfRange):
        apply_pads(zero + (1 << 62), 0, [])


def test_a_request_key_is_a_secp256k1_pair() -> None:
    key = BuyerKey.generate(rand_of("buyer"))
    assert key.parity in (2, 3)
    assert compressed_key(key.x, key.parity) == key.compressed
    one = BuyerKey(bytes(31) + b"\x01")
    assert one.x.hex() == "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    for secret in (bytes(32), b"\xff" * 32, b"", bytes(33)):
        with pytest.raises(StateCorrupt):
            BuyerKey(secret)
