"""Verification of receipts: nothing altered is ever valid, nothing absent is ever called invalid."""

import copy
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.answering import answered_request, open_answer
from client.chain_checks import ChainSource
from client.curves import Backend
from client.errors import AnswerMismatch
from client.roots import answer_root_of
from client.types import Status, Verdict
from client.verify import PROCEDURE, Subject, run_procedure, verify_receipt
from ledger.eip712 import request_id as request_id_of
from ledger.eip712 import sign_request
from ledger.encoding import canonical_json, keccak, tagged_hash
from ledger.receipt import dump_receipt, parse_receipt, receipt_digest, sign_receipt
from ledger.types import Address, Request, to_hex
from privacy.session import Member, Session
from tests.client.receipts import CURVES, KINDS, Place, Specimen, leaves, make_receipt, with_leaf
from tests.client.world import CHAIN_ID, FakeChain, World, ask, signer_for

CELLS = ("answer", "cells")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def receipt(world: World) -> bytes:
    return make_receipt(world)


@pytest.fixture
def chain(world: World, receipt: bytes) -> FakeChain:
    """A copy of the chain that a test may change."""
    copied = FakeChain(world.deployment)
    copied.head, copied.logs_kept = world.chain.head, copy.deepcopy(world.chain.logs_kept)
    return copied


def verify(data: bytes, chain: FakeChain | None, **source: Any) -> Verdict:
    """Verify with one set of generators for all tests."""
    return run_procedure(Subject(data, ChainSource(chain, **source), CURVES))


@pytest.fixture(scope="module", params=KINDS)
def specimen(request: pytest.FixtureRequest, specimens: Callable[[str], Specimen]) -> Specimen:
    """A receipt of each kind of plan."""
    return specimens(request.param)


def some(specimen: Specimen, *, one_in: int) -> list[Place]:
    """Some leaves of a receipt, always the same; of a long vector of cells at most forty. All of them are a slow test's."""
    paths = list(leaves(json.loads(specimen.data)))
    step = max(1, len([path for path in paths if path[:2] == CELLS]) // 40)
    few = [path for path in paths if path[:2] != CELLS or int(path[2]) % step == 0]
    return [path for path in few if hashlib.sha256(repr(path).encode()).digest()[0] % one_in == 0]


# --- what is right -----------------------------------------------------------------------------------------


def test_an_honest_receipt_is_valid_in_eleven_steps(receipt: bytes, chain: FakeChain) -> None:
    verdict = verify(receipt, chain)
    assert (verdict.status, verdict.exit_code, verdict.first_failing) == (Status.VALID, 0, None)
    assert [step.number for step in verdict.steps] == list(range(1, 12))
    assert all(step.ok and step.detail for step in verdict.steps)


def test_the_second_implementation_agrees(specimen: Specimen) -> None:
    generators: list[tuple[int, int]] = []
    verdict = verify_receipt(
        specimen.data,
        specimen.node,
        backend="reference",
        progress=lambda done, of: generators.append((done, of)),
    )
    assert verdict.status is Status.VALID, verdict.first_failing
    cells = len(json.loads(specimen.data)["answer"]["cells"])
    assert generators == [(k + 1, cells) for k in range(cells)]


@pytest.mark.slow
@pytest.mark.parametrize("member", ["answer", "table", "survivors", "roster"])
def test_the_second_implementation_finds_the_same_step(specimen: Specimen, member: str) -> None:
    of_member = [path for path in leaves(json.loads(specimen.data)) if path[0] == member]
    for path in (of_member[0], of_member[len(of_member) // 2], of_member[-1]):
        data = specimen.signed(with_leaf(specimen.data, path))
        first, second = specimen.verify(data), verify_receipt(data, specimen.node, backend="reference")
        assert [step.ok for step in second.steps] == [step.ok for step in first.steps], path
        assert second.status is Status.INVALID


def test_a_receipt_after_a_dropout_is_valid(tmp_path: Path) -> None:
    world = World(tmp_path, dropped=(1,))
    data = make_receipt(world)
    assert [survivor.index for survivor in parse_receipt(data).survivors] == [0, 2]
    assert verify(data, world.chain).status is Status.VALID
    assert verify_receipt(data, world.chain, backend=Backend.REFERENCE).status is Status.VALID


def test_a_receipt_is_valid_against_the_deployment_it_is_of(
    world: World, receipt: bytes, chain: FakeChain
) -> None:
    assert verify(receipt, chain, deployment=world.deployment).status is Status.VALID


def test_each_step_is_told_as_it_ends(receipt: bytes, chain: FakeChain) -> None:
    told: list[int] = []
    verify_receipt(receipt, chain, on_step=lambda step: told.append(step.number))
    assert told == [number for number, _, _ in PROCEDURE]


def test_an_unknown_backend_is_refused(receipt: bytes) -> None:
    with pytest.raises(ValueError, match="abacus"):
        verify_receipt(receipt, None, backend="abacus")


def test_the_second_implementation_imports_no_arkworks(receipt: bytes, tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    path.write_bytes(receipt)
    program = (
        "import sys; from pathlib import Path; from client.verify import verify_receipt\n"
        "verdict = verify_receipt(Path(sys.argv[1]).read_bytes(), None, backend='reference')\n"
        "assert [step.ok for step in verdict.steps] == [True] * 5 + [None] + [True] * 5, verdict\n"
        "assert 'py_ecc' in sys.modules\n"
        "assert not [name for name in sys.modules if 'arkworks' in name]"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


# --- one altered field or byte -----------------------------------------------------------------------------


def require_no_leaf(specimen: Specimen, paths: list[Place], *, with_chain: bool = True) -> None:
    """Whichever leaf is another: INVALID, not even UNKNOWN."""
    for path in paths:
        data = canonical_json(with_leaf(specimen.data, path))
        assert data != specimen.data
        assert specimen.verify(data, with_chain=with_chain).status is Status.INVALID, path


def require_no_signed_leaf(specimen: Specimen, paths: list[Place]) -> None:
    for path in paths:
        verdict = specimen.verify(specimen.signed(with_leaf(specimen.data, path)))
        assert verdict.status is (Status.VALID if path == ("signature",) else Status.INVALID), path


def test_no_altered_leaf_is_valid(specimen: Specimen) -> None:
    assert specimen.verify(specimen.data).status is Status.VALID
    paths = some(specimen, one_in=1 if specimen.kind == "sum" else 4)
    assert len(paths) > 30
    require_no_leaf(specimen, paths)


def test_no_altered_leaf_is_valid_even_if_the_buyer_signs_it(specimen: Specimen) -> None:
    """Every field but the signature is re-derived: not even the buyer can claim another answer."""
    require_no_signed_leaf(specimen, some(specimen, one_in=1 if specimen.kind == "sum" else 8))


def test_no_altered_leaf_is_valid_or_even_unknown_without_a_chain(specimen: Specimen) -> None:
    require_no_leaf(specimen, some(specimen, one_in=1 if specimen.kind == "sum" else 16), with_chain=False)


@pytest.mark.slow
def test_none_of_all_leaves_of_all_kinds_is_valid_when_it_is_altered(specimen: Specimen) -> None:
    paths = list(leaves(json.loads(specimen.data)))
    require_no_leaf(specimen, paths)
    require_no_leaf(specimen, paths, with_chain=False)
    require_no_signed_leaf(specimen, paths)


def test_none_of_200_flipped_bytes_is_valid(specimen: Specimen) -> None:
    """Half of them are digits that become other digits, where that byte is one: such a receipt is read on."""
    digits, read_on = b"0123456789abcdef", 0
    for sample in range(200):
        draw = hashlib.sha256(f"byte {sample}".encode()).digest()
        data = bytearray(specimen.data)
        at, mask = int.from_bytes(draw[:8], "big") % len(data), 1 + draw[8] % 255
        other = digits[draw[9] % (10 if data[at] < 58 else 16)]
        data[at] = other if sample % 2 and data[at] in digits and other != data[at] else data[at] ^ mask
        verdict = specimen.verify(bytes(data))
        assert verdict.status is Status.INVALID, (at, data[at])
        assert verdict.first_failing is not None
        read_on += verdict.first_failing.number > 2
    assert read_on > 30


def test_every_single_bit_of_the_signatures_counts(receipt: bytes, chain: FakeChain) -> None:
    for name in ("signature", "request_signature"):
        value = json.loads(receipt)
        signature = bytes.fromhex(value[name][2:])
        for bit in range(0, 520, 7):
            flipped = (int.from_bytes(signature, "big") ^ 1 << bit).to_bytes(65, "big")
            assert verify(canonical_json({**value, name: to_hex(flipped)}), chain).exit_code == 1, bit


@pytest.mark.parametrize(
    "garbage",
    [b"", b"null", b"[]", b"{}", b"\xff", b"1" * 5000, b"[" * 100_000, b'{"version":"1","version":"1"}'],
)
def test_what_is_no_receipt_is_invalid(garbage: bytes, chain: FakeChain) -> None:
    verdict = verify(garbage, chain)
    assert verdict.status is Status.INVALID
    assert verdict.steps[-1].number <= 2


@pytest.mark.parametrize(
    "spelling",
    [
        lambda data: data + b"\n",
        lambda data: b" " + data,
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data[:-1],
        lambda data: json.dumps(json.loads(data)).encode(),
        lambda data: data.replace("杭州".encode(), b"\\u676d\\u5dde"),
        lambda data: data.replace(b'"version":"1"', b'"version":"1","version":"1"', 1),
    ],
)
def test_another_spelling_of_the_same_receipt_fails_in_step_1(
    receipt: bytes, chain: FakeChain, spelling: Callable[[bytes], bytes]
) -> None:
    verdict = verify(spelling(receipt), chain)
    assert verdict.status is Status.INVALID
    assert [step.number for step in verdict.steps] == [1]


@pytest.mark.parametrize(
    ("path", "step"),
    [
        (("version",), 2),
        (("answer", "cells", 0), 7),
        (("answer", "blinding"), 7),
        (("answer", "root"), 6),
        (("chain_id",), 3),
        (("ledger",), 3),
        (("request", "price"), 3),
        (("request", "nonce"), 3),
        (("request_signature",), 3),
        (("plan", "rho"), 4),
        (("plan", "purpose"), 4),
        (("roster", 0, "asset_version"), 5),
        (("roster", 1, "line"), 6),
        (("survivors", 0, "input_hash"), 6),
        (("survivors", 2, "pad"), 7),
        (("table", "rows", 0, 1), 10),
        (("table", "error95", 1, 2), 10),
        (("signature",), 11),
    ],
)
def test_the_first_step_that_fails_is_named(receipt: bytes, chain: FakeChain, path: Place, step: int) -> None:
    failing = verify(canonical_json(with_leaf(receipt, path)), chain).first_failing
    assert failing is not None
    assert (failing.number, failing.ok) == (step, False), failing
    assert failing.detail


def test_a_member_too_many_or_too_few_is_invalid(receipt: bytes, chain: FakeChain) -> None:
    value = json.loads(receipt)
    for name in value:
        fewer = {key: member for key, member in value.items() if key != name}
        assert verify(canonical_json(fewer), chain).steps[-1].number == 2, name
    assert verify(canonical_json({**value, "note": "x"}), chain).steps[-1].number == 2


def test_swapped_roster_or_survivors_are_invalid(receipt: bytes, chain: FakeChain) -> None:
    for name in ("roster", "survivors"):
        value = json.loads(receipt)
        value[name][0], value[name][1] = value[name][1], value[name][0]
        assert verify(canonical_json(value), chain).status is Status.INVALID


def test_another_buyer_cannot_sign_the_receipt_as_its_own(receipt: bytes, chain: FakeChain) -> None:
    parsed = parse_receipt(receipt)
    forged = replace(parsed, signature=signer_for("other").sign(receipt_digest(parsed)))
    failing = verify(dump_receipt(forged), chain).first_failing
    assert failing is not None and failing.number == 11


# --- a wrong answer with a right root ------------------------------------------------------------------------


@pytest.mark.parametrize("backend", list(Backend))
def test_an_answer_that_opens_no_commitments_fails_in_step_9(tmp_path: Path, backend: Backend) -> None:
    """The broker fixes the root of a wrong Y; a buyer that signed such a receipt convinces nobody."""
    world = World(tmp_path, tamper=lambda payload: payload[:7] + bytes([payload[7] ^ 1]) + payload[8:])
    buyer = world.make_buyer()
    request_id = ask(world, buyer)
    with pytest.raises(AnswerMismatch, match="step 9"):
        buyer.fetch(request_id)
    stored = buyer._store.get(request_id)
    answered = answered_request(stored, buyer._view.facts(stored), world.deployment)
    key = buyer._vault.open(stored.sealed_key, request_id)
    payload = world.answers[request_id]
    opened = open_answer(answered, payload, key=key, deployment=world.deployment)
    data = dump_receipt(sign_receipt(world.buyer, opened.receipt))
    failing = verify_receipt(data, world.chain, backend=backend).first_failing
    assert failing is not None
    assert (failing.number, failing.ok) == (9, False)


def of_another_plan(world: World, data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A receipt of a plan that a buyer made up and signed: all hashes and signatures are right."""
    value: dict[str, Any] = json.loads(data)
    change(value["plan"])
    plan_hash = tagged_hash("plan", keccak(canonical_json(value["plan"])))
    value["request"]["plan_hash"] = to_hex(plan_hash)
    asked, scope = Request.from_json(value["request"]), (CHAIN_ID, world.deployment.ledger)
    value["request_signature"] = to_hex(sign_request(world.buyer, asked, *scope))
    parsed = parse_receipt(canonical_json(value))
    members = [
        Member(**{name: getattr(member, name) for name in Member.__slots__}) for member in parsed.roster
    ]
    session = Session.build(
        chain_id=CHAIN_ID,
        ledger=world.deployment.ledger,
        request_id=request_id_of(asked, *scope),
        plan_hash=plan_hash,
        members=members,
        colluders=asked.colluders,
        dropouts=asked.dropouts,
        min_holders=asked.min_holders,
    )
    pads = [survivor.pad for survivor in parsed.survivors]
    root = answer_root_of(session.id, parsed.answer.cells, parsed.answer.blinding, pads)
    answer = replace(parsed.answer, root=root)
    return dump_receipt(sign_receipt(world.buyer, replace(parsed, answer=answer)))


MADE_UP: list[Callable[[dict[str, Any]], object]] = [
    lambda plan: plan["outputs"][2].update(column="nothing"),  # a sum without its lane
    lambda plan: plan["outputs"][0].update(column="nothing"),  # a group that is none
    lambda plan: plan["outputs"][2].update(kind="stddev_pop"),
    lambda plan: plan["outputs"][1].update(kind="histogram", column="kwh", bins="3"),
    lambda plan: plan["outputs"].extend(plan["outputs"] * 3),
    lambda plan: plan.update(group_by=[], lanes=plan["lanes"] * 4),
]


@pytest.mark.parametrize("change", MADE_UP)
def test_a_plan_that_cannot_be_decoded_is_invalid_and_no_crash(
    world: World, receipt: bytes, change: Callable[[dict[str, Any]], object]
) -> None:
    failing = verify(of_another_plan(world, receipt, change), None).first_failing
    assert failing is not None
    assert (failing.number, failing.ok) == (10, False)


# --- what the chain does not show ----------------------------------------------------------------------------


def unknown_at_step_6(verdict: Verdict) -> bool:
    failing = verdict.first_failing
    return (
        verdict.status is Status.UNKNOWN
        and verdict.exit_code == 3
        and len(verdict.steps) == 11
        and failing is not None
        and (failing.number, failing.ok) == (6, None)
    )


def test_without_a_chain_the_receipt_is_unknown(receipt: bytes) -> None:
    assert unknown_at_step_6(verify(receipt, None))


def test_a_chain_that_cannot_be_reached_leaves_it_unknown(receipt: bytes, chain: FakeChain) -> None:
    chain.is_away = True
    assert unknown_at_step_6(verify(receipt, chain))


def test_another_chain_leaves_it_unknown(receipt: bytes, chain: FakeChain) -> None:
    chain.served_chain_id = 1
    assert unknown_at_step_6(verify(receipt, chain))


def test_a_chain_without_the_contract_leaves_it_unknown(receipt: bytes, chain: FakeChain) -> None:
    chain.codes = {}
    assert unknown_at_step_6(verify(receipt, chain))


def test_a_node_that_is_behind_leaves_it_unknown_at_every_block(receipt: bytes, chain: FakeChain) -> None:
    first, last = int(chain.logs_kept[0]["blockNumber"], 16), chain.head
    for head in range(first - 1, last):
        chain.head = head
        assert unknown_at_step_6(verify(receipt, chain)), head


def test_an_answer_that_is_not_final_leaves_it_unknown(receipt: bytes, chain: FakeChain) -> None:
    assert unknown_at_step_6(verify(receipt, chain, confirmations=1))
    chain.head += 1
    assert verify(receipt, chain, confirmations=1).status is Status.VALID


def test_a_log_that_does_not_decode_leaves_it_unknown(receipt: bytes, chain: FakeChain) -> None:
    chain.logs_kept[-1]["data"] = "0x12"
    assert unknown_at_step_6(verify(receipt, chain))


def test_a_contradiction_counts_more_than_what_is_absent(receipt: bytes, chain: FakeChain) -> None:
    chain.is_away = True
    data = canonical_json(with_leaf(receipt, ("table", "rows", 0, 1)))
    assert verify(data, chain).status is Status.INVALID


# --- what the chain contradicts ------------------------------------------------------------------------------


def invalid_at_step_6(verdict: Verdict, words: str) -> bool:
    failing = verdict.first_failing
    found = failing is not None and (failing.number, failing.ok) == (6, False) and words in failing.detail
    return verdict.status is Status.INVALID and found


def test_a_foreign_contract_at_the_ledgers_address_is_a_contradiction(
    world: World, receipt: bytes, chain: FakeChain
) -> None:
    code = bytearray(chain.codes[world.deployment.ledger])
    code[100] ^= 1
    chain.codes[world.deployment.ledger] = bytes(code)
    assert invalid_at_step_6(verify(receipt, chain), "not the compute ledger's")
    chain.codes[world.deployment.ledger] = bytes(code[:-1])
    assert invalid_at_step_6(verify(receipt, chain), "not the compute ledger's")


def test_a_receipt_of_another_deployment_is_a_contradiction(
    world: World, receipt: bytes, chain: FakeChain
) -> None:
    other = replace(world.deployment, ledger=Address(b"\x09" * 20))
    assert invalid_at_step_6(verify(receipt, chain, deployment=other), "the market's is")
    assert verify(receipt, None, deployment=other).status is Status.INVALID


def test_each_event_that_is_missing_before_the_answer_is_a_contradiction(
    receipt: bytes, chain: FakeChain
) -> None:
    logs = chain.logs_kept
    for missing in range(len(logs) - 1):
        chain.logs_kept = logs[:missing] + logs[missing + 1 :]
        assert verify(receipt, chain).status is Status.INVALID, missing


def test_each_event_with_another_word_is_a_contradiction(receipt: bytes, chain: FakeChain) -> None:
    """One bit in any word of any event's data; the seeds' and bundles' hashes are not in a receipt."""
    unrelated = {("Shared", 0), ("Shared", 1)}
    names = chain.names()
    for number, log in enumerate(chain.logs_kept):
        data = bytes.fromhex(log["data"][2:])
        for word in range(0, len(data), 32):
            flipped = bytearray(data)
            flipped[word + 31] ^= 1
            log["data"] = to_hex(bytes(flipped))
            status = verify(receipt, chain).status
            if (names[number], word // 32) in unrelated:
                assert status is Status.VALID
            else:
                assert status is not Status.VALID, (names[number], word // 32)
        log["data"] = to_hex(data)
    assert verify(receipt, chain).status is Status.VALID


def test_another_holder_in_the_chains_roster_is_a_contradiction(receipt: bytes, chain: FakeChain) -> None:
    parsed = parse_receipt(receipt)
    identity = bytes.fromhex(chain.logs_kept[0]["topics"][1][2:])
    member = parsed.roster[0]
    keys = member.mask_key, member.share_key, member.e_x, member.e_parity, member.noise_commitment
    values = (member.asset, 2, member.line, *keys)
    chain.emit("Approved", *values, indexed=[identity, b"\x07" * 20])
    assert invalid_at_step_6(verify(receipt, chain), "the receipt's has not")


def test_another_contribution_than_the_survivors_is_a_contradiction(tmp_path: Path) -> None:
    world = World(tmp_path, dropped=(1,))
    data = make_receipt(world)
    identity = bytes.fromhex(world.chain.logs_kept[0]["topics"][1][2:])
    holder = parse_receipt(data).roster[1].holder
    world.chain.emit("Contributed", bytes(128), bytes(32), indexed=[identity, holder])
    assert invalid_at_step_6(verify(data, world.chain), "not among the survivors")


def test_events_of_another_contract_do_not_count(receipt: bytes, chain: FakeChain) -> None:
    for log in chain.logs_kept:
        log["address"] = "0x" + "77" * 20
    assert unknown_at_step_6(verify(receipt, chain))


def test_a_later_withheld_is_told(receipt: bytes, chain: FakeChain) -> None:
    identity = bytes.fromhex(chain.logs_kept[0]["topics"][1][2:])
    chain.emit("Withheld", indexed=[identity])
    verdict = verify(receipt, chain)
    assert verdict.status is Status.VALID
    assert "withheld" in verdict.steps[5].detail
