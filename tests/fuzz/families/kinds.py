"""The other kinds of computation: joins of two holders, encrypted deposits with their trustees, and private weights."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ledger.errors import MalformedValue
from privacy import ristretto, voprf
from privacy.deposit.ceremony import Announcement, Complaints, Deal
from privacy.deposit.decrypt import decrypt_partially, verify_partial
from privacy.deposit.elgamal import Ciphertexts, encrypt
from privacy.deposit.keys import DepositKey
from privacy.deposit.logarithms import LogTable
from privacy.deposit.noise import encrypt_noise, read_noise
from privacy.deposit.points import decode_curve_points, decode_points, encode_points
from privacy.deposit.proofs import Proof
from privacy.deposit.shares import KeyShare
from privacy.deposit.stored import (
    LEAVES_FILE,
    MANIFEST_FILE,
    Deposit,
    DepositHeader,
    manifest_bytes,
    tree_root,
)
from privacy.encoding import canonical_json
from privacy.errors import PlanningError, PrivacyError
from privacy.join import KeyValues, MatcherState, ValueState, matcher_round3, value_finish, value_round2
from privacy.join.kind import JoinPlan
from privacy.join.terms import JoinTerms
from privacy.plan import Plan
from privacy.planning import verify_plan
from privacy.policy import Policy
from privacy.score.model import EncryptedModel
from privacy.score.terms import ScorePlan
from privacy.sql import parse_query
from privacy.types import Digest
from tests.fuzz.contract import Decoder
from tests.fuzz.families.plans import SQL_S
from tests.fuzz.families.texts import of_json, of_text
from tests.privacy import score_world
from tests.privacy.deposit import deposit_world
from tests.privacy.join import join_world
from tests.privacy.join_plan_world import JOIN, join_plan, join_policy_of, terms_of

_KEYS = [b"key %d" % number for number in range(6)]
_COUNT = 3


# --- joins -------------------------------------------------------------------------------------------------


@cache
def _joined() -> tuple[JoinTerms, join_world.Joined]:
    terms = join_world.terms()
    rows = [(key, [(0, 5), (2, -7)]) for key in _KEYS[:4]]
    return terms, join_world.run(terms, [_KEYS[:3], _KEYS[2:5]], rows)


def _round1(data: bytes) -> int:
    terms, _ = _joined()
    values = KeyValues.of_rows([(_KEYS[0], [(0, 5)])], most=9)
    return sum(map(len, value_round2(join_world.value_side(terms), values, [0] * terms.groups, [data])))


def _round2(data: bytes) -> list[int]:
    terms, _ = _joined()
    return list(matcher_round3(join_world.matcher(terms), [data]).share)


def _round3(data: bytes) -> list[int]:
    terms, _ = _joined()
    return list(value_finish(join_world.value_side(terms), [data]))


@cache
def _join_plan() -> Plan:
    return join_plan(_join_sql())


def _join_sql() -> str:
    return f"SELECT p.镇, b.信用等级, SUM(p.用电量) AS s, COUNT(*) {JOIN} WHERE b.信用等级 <> 'A' GROUP BY p.镇, b.信用等级"


def _verified_join(data: bytes) -> Plan:
    plan = Plan.from_bytes(data)
    verify_plan(plan, join_policy_of())
    return plan


def _elements() -> Iterator[bytes]:
    terms, joined = _joined()
    body = joined.round1[0][5 + len(terms.head) :]
    yield body[:32]
    yield body[32:64]


def _verified(data: bytes) -> None:
    """public key ‖ blinded ‖ evaluated ‖ proof."""
    proof = voprf.Proof.decode(data[96:])
    voprf.verify_proof(data[:32], [data[32:64]], [data[64:96]], proof)


def _evaluation() -> bytes:
    secret, public = voprf.derive_key(voprf.Mode.VOPRF, bytes(range(32)), b"")
    blinded = next(_elements())
    evaluated = ristretto.multiply(secret, ristretto.decode(blinded))
    return public + blinded + evaluated + ristretto.decode_scalar(secret) * 2


# --- deposits ----------------------------------------------------------------------------------------------


@cache
def _rounds() -> deposit_world.Rounds:
    rounds = deposit_world.Rounds.begin(deposit_world.ceremony())
    rounds.complain()
    return rounds


@cache
def _sums() -> Ciphertexts:
    values = np.arange(_COUNT, dtype=np.int64)
    return encrypt(deposit_world.key().key, values, deposit_world.SEED, deposit_world.CONTEXT)


def _partial(data: bytes) -> list[Any]:
    return verify_partial(deposit_world.key(), _sums(), data, trustee=1, session=deposit_world.SESSION)


def _partials() -> Iterator[bytes]:
    yield decrypt_partially(deposit_world.key(), deposit_world.share(1), _sums(), deposit_world.SESSION)


def _read_noise(data: bytes) -> Ciphertexts:
    return read_noise(deposit_world.key(), data, count=_COUNT, trustee=1, session=deposit_world.SESSION)


def _noise() -> Iterator[bytes]:
    noise, session = np.arange(_COUNT, dtype=np.int64), deposit_world.SESSION
    yield encrypt_noise(deposit_world.key(), noise, deposit_world.SEED, trustee=1, session=session)


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="shuyao-fuzz-deposit-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _leaves() -> bytes:
    return bytes(range(32))


def _manifest() -> bytes:
    header = DepositHeader(Digest(bytes(32)), Digest(bytes(range(32))), {"sides": []}, 7)
    return manifest_bytes(header, tree_root([_leaves()]))


def _deposit(data: bytes) -> bytes:
    (_folder() / MANIFEST_FILE).write_bytes(data)
    (_folder() / LEAVES_FILE).write_bytes(_leaves())
    return Deposit.open(_folder()).manifest


def _checked_table(data: bytes) -> LogTable:
    return LogTable.from_bytes(data + sha256(data).digest())


# --- private weights ---------------------------------------------------------------------------------------


@cache
def _score_plan() -> Plan:
    return score_world.plan_of(score_world.fixed("1", "0.5", "-2", "3"))


def _score_terms() -> ScorePlan:
    terms = _score_plan().terms
    assert isinstance(terms, ScorePlan)
    return terms


def _verified_score(data: bytes) -> Plan:
    plan = Plan.from_bytes(data)
    verify_plan(plan, score_world.policy_of())
    return plan


def _policies() -> Iterator[bytes]:
    yield join_policy_of().to_bytes()
    yield score_world.policy_of().to_bytes()


FAMILIES = {
    "joins": (
        Decoder(
            "JoinTerms.from_bytes",
            JoinTerms.from_bytes,
            (PrivacyError,),
            lambda: [_joined()[0].to_bytes()],
            JoinTerms.to_bytes,
        ),
        Decoder(
            "MatcherState.from_bytes",
            MatcherState.from_bytes,
            (PrivacyError,),
            lambda: [join_world.matcher(_joined()[0]).to_bytes()],
            MatcherState.to_bytes,
        ),
        Decoder(
            "ValueState.from_bytes",
            ValueState.from_bytes,
            (PrivacyError,),
            lambda: [join_world.value_side(_joined()[0]).to_bytes()],
            ValueState.to_bytes,
        ),
        Decoder("the matcher's round", _round1, (PrivacyError,), lambda: _joined()[1].round1),
        Decoder("the value side's round", _round2, (PrivacyError,), lambda: _joined()[1].round2),
        Decoder("the masked sums", _round3, (PrivacyError,), lambda: _joined()[1].matched.parts),
        Decoder("ristretto.decode", ristretto.decode, (PrivacyError,), _elements, bytes),
        Decoder(
            "ristretto.decode_scalar",
            ristretto.decode_scalar,
            (PrivacyError,),
            lambda: [b"\x01" + bytes(31), b"\x07" * 31 + b"\x00"],
            bytes,
        ),
        Decoder("voprf.verify_proof", _verified, (PrivacyError,), list, refused=lambda: [_evaluation()]),
        Decoder(
            "JoinPlan.from_json",
            of_json(JoinPlan.from_json),
            (PlanningError, MalformedValue),
            lambda: [canonical_json(terms_of(_join_plan()).to_json())],
            lambda terms: canonical_json(terms.to_json()),
            False,
        ),
        Decoder(
            "verify_plan of a join",
            _verified_join,
            (PrivacyError,),
            lambda: [_join_plan().to_bytes()],
            Plan.to_bytes,
        ),
        Decoder(
            "parse_query of a join",
            of_text(lambda text: parse_query(text, join_policy_of())),
            (PlanningError,),
            lambda: [_join_sql().encode()],
            seconds_max=SQL_S,
        ),
        Decoder("Policy.from_json", Policy.from_json, (PlanningError,), _policies, Policy.to_bytes),
    ),
    "deposits": (
        Decoder(
            "decode_points",
            lambda data: decode_points(data, count=len(data) // 96),
            (PrivacyError,),
            lambda: [b"", encode_points(_sums().a)],
            encode_points,
            refused=lambda: [deposit_world.ORDER_THREE],
        ),
        Decoder(
            "decode_curve_points",
            decode_curve_points,
            (PrivacyError,),
            lambda: [deposit_world.ORDER_THREE, encode_points(_sums().a)],
            encode_points,
        ),
        Decoder(
            "Ciphertexts.decode",
            lambda data: Ciphertexts.decode(data, count=_COUNT),
            (PrivacyError,),
            lambda: [_sums().encode()],
            Ciphertexts.encode,
        ),
        Decoder(
            "Proof.decode",
            Proof.decode,
            (PrivacyError,),
            lambda: [Proof(1, 2).encode()],
            Proof.encode,
        ),
        Decoder(
            "Announcement.decode",
            lambda data: Announcement.decode(deposit_world.ceremony(), data, 1),
            (PrivacyError,),
            lambda: [_rounds().announcements[1]],
            lambda message: message.encode(deposit_world.ceremony()),
        ),
        Decoder(
            "Deal.decode",
            lambda data: Deal.decode(deposit_world.ceremony(), data, 1),
            (PrivacyError,),
            lambda: [_rounds().deals[1]],
            lambda message: message.encode(deposit_world.ceremony()),
        ),
        Decoder(
            "Complaints.decode",
            lambda data: Complaints.decode(deposit_world.ceremony(), data, 1),
            (PrivacyError,),
            lambda: [_rounds().complaints[1]],
            lambda message: message.encode(deposit_world.ceremony()),
        ),
        Decoder("verify_partial", _partial, (PrivacyError,), _partials),
        Decoder(
            "read_noise",
            _read_noise,
            (PrivacyError,),
            _noise,
        ),
        Decoder(
            "DepositKey.from_json",
            of_json(DepositKey.from_json),
            (PrivacyError, MalformedValue),
            lambda: [deposit_world.key().to_bytes()],
            DepositKey.to_bytes,
            False,
        ),
        Decoder(
            "KeyShare.decode",
            KeyShare.decode,
            (PrivacyError,),
            lambda: [deposit_world.share(2).encode()],
            KeyShare.encode,
        ),
        Decoder(
            "LogTable.from_bytes",
            _checked_table,
            (PrivacyError,),
            lambda: [deposit_world.logarithms().to_bytes()[:-32]],
            lambda table: table.to_bytes()[:-32],
        ),
        Decoder("Deposit.open", _deposit, (PrivacyError,), lambda: [_manifest()], bytes),
    ),
    "scores": (
        Decoder(
            "EncryptedModel.from_json",
            of_json(EncryptedModel.from_json),
            (PrivacyError, MalformedValue),
            lambda: [canonical_json(_score_terms().model.to_json())],
            lambda model: canonical_json(model.to_json()),
            False,
        ),
        Decoder(
            "ScorePlan.from_json",
            of_json(ScorePlan.from_json),
            (PrivacyError, MalformedValue),
            lambda: [canonical_json(_score_terms().to_json())],
            lambda terms: canonical_json(terms.to_json()),
            False,
        ),
        Decoder(
            "verify_plan of a score",
            _verified_score,
            (PrivacyError,),
            lambda: [_score_plan().to_bytes()],
            Plan.to_bytes,
        ),
    ),
}
