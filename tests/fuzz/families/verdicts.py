"""Answers over an encrypted deposit, and what judges something whole: receipts, quotes, and contributions that are audited."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from structlog.testing import capture_logs

from client.chain_checks import ChainSource
from client.curves import ArkworksCurves
from client.errors import ClientError
from client.market import Market
from client.types import Quote, Verdict
from client.verify import Subject, run_procedure
from holder.audit import AuditVerdict
from holder.audit_bundle import AuditBundle, open_sealed
from holder.audit_messages import decode_entries, seal_entries
from holder.errors import HolderError
from holder.types import Stage
from ledger.errors import LedgerError, MalformedValue
from ledger.receipt import dump_receipt, parse_receipt
from privacy.deposit.opening import open_riders, sum_noise
from privacy.deposit.riders import seal, unseal
from privacy.deposit.terms import DepositPlan
from privacy.encoding import canonical_json
from privacy.errors import PlanningError, PrivacyError
from privacy.join.replay import ValueReplay, opening_of, value_reopen
from privacy.join.terms import JoinTerms
from privacy.payloads import split_rider
from privacy.plan import Plan
from privacy.planning import verify_plan
from privacy.policy import Policy
from privacy.sql import parse_query
from tests.client import receipts
from tests.client import world as client_world
from tests.fuzz.contract import Decoder
from tests.fuzz.families.plans import SQL_S
from tests.fuzz.families.texts import dumped, of_json, of_text
from tests.holder import test_audit, test_audit_kinds
from tests.holder.deposit_world import SQL, DepositWorld
from tests.privacy import score_world
from tests.privacy.deposit import plan_world
from tests.privacy.join import join_world

_RIDER = 40
_ROOM_S = 10.0  # an audit makes all that a side of a join does again
_CURVES = ArkworksCurves()


@cache
def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="shuyao-fuzz-verdicts-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


# --- deposits ----------------------------------------------------------------------------------------------


@cache
def _plan() -> Plan:
    return plan_world.make_plan()


@cache
def _trustees() -> plan_world.Trustees:
    return plan_world.honest(_plan(), (0, 1, 2))


def _verified(data: bytes) -> Plan:
    plan = Plan.from_bytes(data)
    verify_plan(plan, plan_world.policy())
    return plan


def _noise(data: bytes) -> list[str]:
    """One trustee's noise, whatever it is, is counted or its sender named."""
    return [str(fault) for fault in sum_noise(_plan(), plan_world.session(), {1: data}).faults]


def _sealed(data: bytes) -> list[str]:
    """What a trustee seals, sums ‖ partial decryption, beside those of two honest ones."""
    given = _trustees()
    sums = data[: 192 * _plan().values]
    sealed = seal(plan_world.sealing_key(1), plan_world.session().id, 1, sums, data[len(sums) :])
    inputs = {**given.inputs, 1: sealed}
    return [
        str(each)
        for each in open_riders(_plan(), plan_world.session(), given.cells, given.bundles, inputs).faults
    ]


def _unsealed() -> Iterator[bytes]:
    sums, partial = unseal(
        plan_world.sealing_key(1),
        plan_world.session().id,
        1,
        _trustees().inputs[1],
        count=_plan().values,
    )
    yield sums + partial


def _asked(value: Any) -> Plan:
    """What a buyer asks besides its query goes into the plan that the exchange makes."""
    return score_world.build(asked=value)


def _models() -> Iterator[bytes]:
    yield canonical_json(score_world.encrypted(score_world.fixed("1", "0.5", "-2", "3")).to_json())


# --- receipts ----------------------------------------------------------------------------------------------


@cache
def _deposit_case() -> receipts.Case:
    with capture_logs():
        return receipts.Case.of(_scratch() / "deposit")


@cache
def _deposit_receipt() -> bytes:
    with capture_logs():
        return _deposit_case().receipt()


class _Calls(dict[tuple[str, str], bytes]):
    """What a chain returns that knows a few assets: zeros for any other."""

    def __missing__(self, _call: tuple[str, str]) -> bytes:
        return bytes(32 * 16)


@cache
def _market() -> client_world.World:
    market = client_world.World(_scratch() / "market")
    market.chain.calls = _Calls(market.chain.calls)
    return market


@cache
def _receipt() -> bytes:
    with capture_logs():
        return receipts.make_receipt(_market())


def _judge_receipt(data: bytes) -> Verdict:
    return run_procedure(Subject(data, ChainSource(_market().chain), _CURVES))


def _judge_deposit(data: bytes) -> Verdict:
    return _deposit_case().verify(data)


# --- what a buyer is told before it signs ------------------------------------------------------------------


class _Telling:
    """An exchange that answers one path with any bytes, and the others honestly."""

    def __init__(self) -> None:
        self.path, self.data = "", b""
        transport = httpx.MockTransport(self._handle)
        market = Market("http://exchange.test", _market().buyer, transport=transport)
        self.buyer = _market().make_buyer(market=market)
        atexit.register(self.buyer.close)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        if self.path and request.url.path.startswith(self.path):
            return httpx.Response(200, content=self.data)
        return _market().handle(request)


@cache
def _telling() -> _Telling:
    return _Telling()


def _quoted(path: str) -> Callable[[bytes], Quote]:
    """Let a buyer ask for a quote; nothing is signed."""

    def read(data: bytes) -> Quote:
        told = _telling()
        told.path, told.data = path, data
        return told.buyer.quote("power", client_world.SQL)

    return read


def _quotes() -> Iterator[bytes]:
    yield dumped(_market().quote_json({"sql": client_world.SQL, "rho_micro": "500000"}))


# --- audits ------------------------------------------------------------------------------------------------


@cache
def _audit_case() -> test_audit.Case:
    with capture_logs():
        return test_audit.Case(_scratch() / "audit")


@cache
def _package() -> bytes:
    with capture_logs():
        return _audit_case().bundle().to_bytes()


def _audit(data: bytes) -> AuditVerdict:
    """What a regulator is told of the package that a holder gave it."""
    return _audit_case().audit(AuditBundle.from_bytes(data))


@cache
def _value_side() -> test_audit_kinds.KindCase:
    with capture_logs():
        case = test_audit_kinds.join_case(_scratch() / "join", until=Stage.DONE)
    case.member = case.world.members[1]
    return case


@cache
def _trustee() -> test_audit_kinds.KindCase:
    with capture_logs():
        world = DepositWorld(_scratch() / "trustee")
        return test_audit_kinds.KindCase(world, SQL, until=Stage.DONE)


def _brought(case: Callable[[], test_audit_kinds.KindCase]) -> Callable[[], list[bytes]]:
    """What a holder brings beside the JSON text: `u32 length ‖ entry`, one after another."""

    def made() -> list[bytes]:
        with capture_logs():
            entries = [entry.to_bytes() for entry in case().brought()]
        return [b"".join(len(each).to_bytes(4, "big") + each for each in entries)]

    return made


def _room(case: Callable[[], test_audit_kinds.KindCase]) -> Callable[[bytes], AuditVerdict]:
    """Audit a holder that brings any messages."""
    bundles: list[AuditBundle] = []

    def read(data: bytes) -> AuditVerdict:
        entries = decode_entries(data)
        if not bundles:
            with capture_logs():
                bundles.append(case().bundle())
        (bundle,) = bundles
        key = open_sealed(bundle, case().key).messages_key
        case().messages.write_bytes(b"".join(seal_entries(entries, key, bundle.context)))
        return case().audit(bundle)

    return read


@cache
def _joined() -> tuple[JoinTerms, join_world.Joined, bytes]:
    terms = join_world.terms()
    joined = join_world.run(terms, [[b"a", b"b"], [b"b"]], [(b"a", [(0, 5)]), (b"b", [(2, -7)])])
    return terms, joined, opening_of(join_world.value_side(terms), joined.matched.parts)


def _replayed(opening: bytes) -> ValueReplay:
    return ValueReplay.of(_joined()[0], join_world.value_side(_joined()[0]).seed, opening)


@cache
def _replay() -> ValueReplay:
    return _replayed(_joined()[2])


def _reopened(part: bytes) -> list[int]:
    return value_reopen(_replay(), [part])


FAMILIES = {
    "openings": (
        Decoder(
            "DepositPlan.from_json",
            of_json(DepositPlan.from_json),
            (PlanningError, MalformedValue),
            lambda: [canonical_json(plan_world.terms(_plan()).to_json())],
            lambda terms: canonical_json(terms.to_json()),
            False,
        ),
        Decoder(
            "verify_plan of a deposit",
            _verified,
            (PrivacyError,),
            lambda: [_plan().to_bytes()],
            Plan.to_bytes,
        ),
        Decoder(
            "Policy.from_json of a deposit",
            Policy.from_json,
            (PlanningError,),
            lambda: [plan_world.policy().to_bytes()],
            Policy.to_bytes,
        ),
        Decoder(
            "parse_query of a deposit",
            of_text(lambda text: parse_query(text, plan_world.policy())),
            (PlanningError,),
            lambda: [plan_world.SQL.encode()],
            seconds_max=SQL_S,
        ),
        Decoder(
            "split_rider",
            lambda data: split_rider(data, _RIDER, sender=1),
            (PrivacyError,),
            lambda: [bytes(_RIDER), bytes(range(100))],
            b"".join,
        ),
        Decoder("a trustee's noise", _noise, (PrivacyError,), lambda: [_trustees().bundles[1]]),
        Decoder("a trustee's sealed sums", _sealed, (PrivacyError,), _unsealed),
        Decoder("what a buyer asks", of_json(_asked), (PrivacyError, MalformedValue), _models),
    ),
    "verdicts": (
        Decoder(
            "parse_receipt of a deposit",
            parse_receipt,
            (LedgerError,),
            lambda: [_deposit_receipt()],
            dump_receipt,
        ),
        Decoder("verify_receipt", _judge_receipt, (), lambda: [_receipt()]),
        Decoder("verify_receipt of a deposit", _judge_deposit, (), lambda: [_deposit_receipt()]),
        Decoder("a quote", _quoted("/quotes"), (ClientError,), _quotes),
        Decoder(
            "a listing", _quoted("/listings"), (ClientError,), lambda: [dumped(_market().listing_json())]
        ),
        Decoder("audit_contribution", _audit, (HolderError,), lambda: [_package()]),
    ),
    "rooms": (
        Decoder("a trustee's messages", _room(_trustee), (HolderError, PrivacyError), _brought(_trustee)),
        Decoder(
            "a value side's messages",
            _room(_value_side),
            (HolderError, PrivacyError),
            _brought(_value_side),
            seconds_max=_ROOM_S,
        ),
        Decoder("ValueReplay.of", _replayed, (PrivacyError,), lambda: [_joined()[2]]),
        Decoder("value_reopen", _reopened, (PrivacyError,), lambda: list(_joined()[1].matched.parts)),
    ),
}
