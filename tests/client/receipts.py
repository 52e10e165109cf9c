"""One receipt of each kind of plan, with the chain that it is of: for whoever verifies, and for who alters them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from client.answering import AnsweredRequest, OpenedAnswer, answered_request, open_answer
from client.chain_checks import ChainSource
from client.curves import ArkworksCurves, ReferenceCurves
from client.deposits import Deposits
from client.facts import RequestFacts
from client.types import LocalState, StoredRequest, Verdict
from client.verify import Subject, run_procedure
from holder.types import Stage
from ledger.encoding import canonical_json, keccak, tagged_hash
from ledger.events import request_to_tuple
from ledger.receipt import dump_receipt, sign_receipt
from ledger.signing import Signer
from ledger.types import Answered, Digest, Opened, to_hex
from privacy.messages import Kind, decode_frame
from privacy.payloads import split_rider
from privacy.policy import Policy
from privacy.sealed_sum import aggregate
from privacy.sealed_sum_answer import answer_root
from tests.client.score_world import SCORE_POLICY, ScoreWorld, model_of
from tests.client.score_world import SQL as SCORE_SQL
from tests.client.world import FakeChain, World, ask, rand_of
from tests.holder.deposit_world import SQL, DepositWorld
from tests.holder.join_world import SHORT, JoinWorld, customer, meter
from tests.holder.model_chain import DEPLOYMENT

CURVES = ArkworksCurves()
KINDS = ("sum", "score", "join", "deposit")
UNWRITTEN = {"at", "request_id", "holder"}
"""Of an event: what is not in its data."""
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Specimen:
    """A receipt, who signed it, and a node of its chain."""

    kind: str
    data: bytes
    buyer: Signer
    node: FakeChain

    @classmethod
    def make(cls, kind: str, home: Path) -> Specimen:
        """Ask and answer a question of that kind."""
        if kind in ("sum", "score"):
            world = World(home) if kind == "sum" else score_world(home)
            return cls(kind, make_receipt(world), world.buyer, world.chain)
        return cls.of_case(kind, Case.of(home) if kind == "deposit" else join_case(home))

    @classmethod
    def of_case(cls, kind: str, case: Case) -> Specimen:
        """The receipt of an answer by real holders."""
        return cls(kind, case.receipt(), case.world.buyer, case.node)

    def verify(self, data: bytes, *, with_chain: bool = True) -> Verdict:
        """Run the procedure with one set of generators for all."""
        return run_procedure(Subject(data, ChainSource(self.node if with_chain else None), CURVES))

    def signed(self, value: dict[str, Any]) -> bytes:
        """What the buyer itself signs, whatever it says."""
        unsigned = {name: member for name, member in value.items() if name != "signature"}
        digest = tagged_hash("buyer-receipt", keccak(canonical_json(unsigned)))
        return canonical_json({**unsigned, "signature": to_hex(self.buyer.sign(digest))})


def make_receipt(world: World) -> bytes:
    """The receipt of one question to a world."""
    is_score = isinstance(world, ScoreWorld)
    with world.make_buyer(**({"rand": rand_of("buyer")} if is_score else {})) as buyer:
        quote = buyer.quote("power", SCORE_SQL, model=model_of()) if is_score else None
        request_id = ask(world, buyer) if quote is None else buyer.submit(quote)
        buyer.wait(request_id)
        return buyer.fetch(request_id).receipt_path.read_bytes()


def score_world(home: Path) -> ScoreWorld:
    """One holder that computes scores."""
    return ScoreWorld(home, policy=Policy.from_mapping(SCORE_POLICY), count=1)


def join_case(home: Path) -> Case:
    """A join of three customers and four meters."""
    bank = [customer(key, n) for n, key in enumerate(("甲公司", "乙公司", "丙公司"))]
    power = [meter(key, n, 10.0 * (n + 1)) for n, key in enumerate(("甲公司", "甲公司", "丙公司", "丁公司"))]
    return Case.asked(JoinWorld(home / "world", bank, power), SHORT, home / "cache")


# --- altering ----------------------------------------------------------------------------------------------


def leaves(value: Any, path: Place = ()) -> Iterator[Place]:
    """The paths of everything in a JSON value that is no object or array."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from leaves(member, (*path, name))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from leaves(member, (*path, index))
    else:
        yield path


def changed(leaf: Any) -> Any:
    """Another value of the same kind, in canonical form where that is possible."""
    if leaf is None:
        return "0"
    if isinstance(leaf, bool):
        return not leaf
    if isinstance(leaf, int | float):
        return leaf * 1.0000001 + 1
    if leaf.startswith("0x"):
        return leaf[:-1] + ("0" if leaf[-1] != "0" else "1")
    if re.fullmatch(r"-?\d+", leaf):
        return str(int(leaf) + 1)
    return leaf + "x"


def with_leaf(data: bytes, path: Place) -> dict[str, Any]:
    """A receipt with another value in one place."""
    value: dict[str, Any] = json.loads(data)
    place: Any = value
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = changed(place[path[-1]])
    return value


# --- answers by real holders -------------------------------------------------------------------------------


@dataclass
class Case:
    """One answered request, and what the exchange gives out of it."""

    world: DepositWorld | JoinWorld
    request_id: Digest
    cache: Path
    withheld: set[Kind] = field(default_factory=set)
    tamper: Callable[[bytes], bytes] = bytes

    @classmethod
    def of(cls, home: Path) -> Case:
        """A sum over the world's deposit."""
        return cls.asked(DepositWorld(home / "world"), SQL, home / "cache")

    @classmethod
    def asked(cls, world: DepositWorld | JoinWorld, sql: str, cache: Path) -> Case:
        """The answer to a query."""
        request_id = world.open(sql)
        world.run(request_id, Stage.DONE)
        return cls(world, request_id, cache)

    def messages(self, request_id: Digest, kind: int) -> bytes:
        """What the exchange gives to the buyer."""
        frames = self.world.broker.frames
        wanted = Kind(kind) not in self.withheld
        found = [f for (rid, k, _), f in sorted(frames.items()) if rid == request_id and k == kind]
        return self.tamper(b"".join(found if wanted else found[:-1]))

    @property
    def payload(self) -> bytes:
        """Y."""
        world, session = self.world, self.world.session(self.request_id)
        view, plan = world.chain.view(self.request_id), world.plan_of(self.request_id)
        assert view is not None
        masked = {
            index: split_rider(payload, plan.input_rider_size, sender=index)[0]
            for index, payload in self._payloads(Kind.MASKED_INPUT).items()
        }
        total = aggregate(
            session,
            cells=plan.cells,
            sharers=range(session.n),
            masked=masked,
            unmasks=self._payloads(Kind.UNMASK),
            seed_hashes={session.index_of(h): e.seed_hash for h, e in view.shared.items()},
        )
        return total.payload

    def _payloads(self, kind: Kind) -> dict[int, bytes]:
        session = self.world.session(self.request_id)
        return {
            session.index_of(sender): decode_frame(frame).payload
            for (rid, k, sender), frame in self.world.broker.frames.items()
            if rid == self.request_id and k == kind
        }

    @property
    def facts(self) -> RequestFacts:
        """What the chain says."""
        session = self.world.session(self.request_id)
        root = answer_root(session.id, self.payload)
        events = tuple(
            replace(event, answer_root=root) if isinstance(event, Answered) else event
            for event in self.world.chain.events
        )
        return RequestFacts(events, self.world.chain.block)

    @property
    def node(self) -> FakeChain:
        """A node that serves the same events as logs."""
        node = FakeChain(DEPLOYMENT)
        for event in self.facts.events:
            name = type(event).__name__
            indexed = [event.request_id, *([event.holder] if hasattr(event, "holder") else [])]
            values = {f.name: getattr(event, f.name) for f in fields(event) if f.name not in UNWRITTEN}
            if isinstance(event, Opened):
                values["request"] = request_to_tuple(event.request)
            node.emit(name, *values.values(), indexed=indexed)
        return node

    @property
    def answered(self) -> AnsweredRequest:
        """What the buyer has stored and read of it."""
        published = self.world.broker.published[self.request_id]
        stored = StoredRequest(
            request_id=self.request_id,
            request=published.request,
            signature=published.signature,
            plan_json=self.world.plan_of(self.request_id).to_bytes(),
            quote_json="{}",
            sql=SQL,
            listing_name="power",
            idempotency_key="",
            state=LocalState.SUBMITTED,
            detail="",
            sealed_key=b"",
            since_block=0,
        )
        return answered_request(stored, self.facts, DEPLOYMENT)

    def open(self) -> OpenedAnswer:
        """What the buyer makes of it."""
        deposits = Deposits(self, self.cache)  # type: ignore[arg-type]
        is_deposit = isinstance(self.world, DepositWorld)
        return open_answer(
            self.answered,
            self.payload,
            key=self.world.keys[self.request_id].secret,
            deployment=DEPLOYMENT,
            decrypt=deposits.decrypt if is_deposit else None,
        )

    def receipt(self) -> bytes:
        """What the buyer signs."""
        return dump_receipt(sign_receipt(self.world.buyer, self.open().receipt))

    def verify(self, data: bytes, *, chain: bool = True, second: bool = False) -> Verdict:
        """What a stranger finds."""
        source = ChainSource(None, DEPLOYMENT, 0, self.facts if chain else None)
        return run_procedure(Subject(data, source, ReferenceCurves() if second else CURVES))
