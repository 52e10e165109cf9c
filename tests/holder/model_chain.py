"""A model of ComputeLedger that decodes our real calls, and the chain as one holder sees it.

Blocks come when `mine` is called; the model can lose its last ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode

from holder.chain_side import RequestView, is_regulator, view_of
from holder.errors import DeadlineTooNear
from ledger.abi import interface
from ledger.chain import Chain
from ledger.contracts import Contracts
from ledger.eip712 import request_id as request_id_of
from ledger.encoding import keccak, tagged_hash
from ledger.errors import ContractReverted
from ledger.members import commitment_hash, keys_hash
from ledger.signing import require_signature
from ledger.types import (
    Address,
    Answered,
    Approved,
    Asset,
    Call,
    Closed,
    Contributed,
    Deployment,
    Digest,
    Event,
    EventRef,
    Line,
    Opened,
    Participant,
    ParticipantStatus,
    Request,
    Roles,
    Sealed,
    Shared,
    UnmaskPosted,
)
from privacy.curve import decode_point, encode_point
from privacy.messages import receipt_digest

DEPLOYMENT = Deployment(31337, *(Address(bytes([n]) * 20) for n in range(0xC1, 0xC6)), block=0)  # type: ignore[arg-type]
CONTRACTS = Contracts(Chain("http://127.0.0.1:9"), DEPLOYMENT)


def revert(name: str, **arguments: object) -> ContractReverted:
    return ContractReverted("ComputeLedger" + name, arguments)


class ModelChain:
    """ComputeLedger's rules for the holders' calls, over a list of events that can lose its end."""

    def __init__(self) -> None:
        self.block = 10
        self.events: list[Event] = []
        self.participants: dict[Address, Participant] = {}
        self.assets: dict[Digest, Asset] = {}
        self.entrusted: dict[tuple[bytes, bytes], Address] = {}
        self.totals: dict[Digest, int] = {}
        self.mempool: list[tuple[Address, str, Digest, Call]] = []
        self.reverts: dict[tuple[Address, str, Digest], ContractReverted] = {}
        self.sent: dict[tuple[Address, str, Digest], Call] = {}

    # --- blocks

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.block += 1
            waiting, self.mempool = self.mempool, []
            for sender, step, request_id, call in waiting:
                try:
                    self.apply(sender, call)
                except ContractReverted as err:
                    self.reverts[sender, step, request_id] = err

    def lose(self, from_block: int) -> None:
        """The chain loses its blocks from one on; the submitters send their transactions again."""
        lost = [event for event in self.events if event.at.block >= from_block]
        self.events = [event for event in self.events if event.at.block < from_block]
        self.block = from_block - 1
        steps = {Approved: "approve", Shared: "share", Contributed: "contribute", UnmaskPosted: "post-unmask"}
        for event in lost:
            if type(event) in steps:
                key = (event.holder, steps[type(event)], event.request_id)  # type: ignore[attr-defined]
                self.mempool.append((*key, self.sent[key]))

    def emit(self, make: Callable[..., Event], *values: Any) -> None:
        at = EventRef(self.block, len(self.events), keccak(self.block.to_bytes(8, "big")), bytes(32))
        self.events.append(make(*values, at=at))

    def view(self, request_id: Digest) -> RequestView | None:
        mine = [event for event in self.events if getattr(event, "request_id", None) == request_id]
        return view_of(mine, self.block)

    # --- calls

    def apply(self, sender: Address, call: Call) -> None:
        abi = interface("ComputeLedger")
        name = next(n for n, s in abi.functions.items() if s.hash[:4] == call.data[:4])
        values = decode(abi.functions[name].types, call.data[4:])
        fields = [bytes.fromhex(v[2:]) if isinstance(v, str) else v for v in values[0]]
        request_id = self.id_of(Request(*fields))
        view = self.view(request_id)
        assert view is not None
        getattr(self, f"_{name}")(sender, view, *values[1:])

    @staticmethod
    def id_of(request: Request) -> Digest:
        return request_id_of(request, DEPLOYMENT.chain_id, DEPLOYMENT.ledger)

    def line(self, line: Digest) -> Line:
        reserved = spent = 0
        for opened in [event for event in self.events if isinstance(event, Opened)]:
            view = self.view(opened.request_id)
            assert view is not None
            for holder, approval in view.approved.items():
                if approval.line != line:
                    continue
                if view.sealed is None and view.closed is None:
                    reserved += opened.request.rho_micro
                elif view.sealed is not None and holder in view.contributed:
                    spent += opened.request.rho_micro
        return Line(self.totals[line], reserved, spent)

    def _approve(self, sender: Address, view: RequestView, asset: bytes, keys: tuple[Any, ...]) -> None:
        request, registered = view.opened.request, self.assets[Digest(asset)]
        if sender in view.approved:
            raise revert("StageWrong", holder=sender, stage=1)
        if self.block > request.approve_by:
            raise revert("TooLate", deadline=request.approve_by)
        if registered.holder != sender or self.entrusted.get((request.listing, asset)) != request.broker:
            raise revert("NotEntrusted")
        if self.line(registered.line).left < request.rho_micro:
            raise revert("BudgetExceeded", line=registered.line)
        values = (asset, registered.version, registered.line, *keys)
        self.emit(Approved, view.opened.request_id, sender, *values)

    def _share(self, sender: Address, view: RequestView, *hashes: bytes) -> None:
        line, keys, bundle, seed, commitment = hashes
        approval = view.approved[sender]
        if not (
            len(view.approved) == view.opened.request.holders or self.block > view.opened.request.approve_by
        ):
            raise revert("TooEarly")
        if sender in view.shared:
            raise revert("StageWrong", holder=sender, stage=2)
        if self.block > view.opened.request.share_by:
            raise revert("TooLate", deadline=view.opened.request.share_by)
        if (line, keys) != (approval.line, keys_hash(approval.asset, approval.asset_version, approval.keys)):
            raise revert("MemberWrong", holder=sender)
        self.emit(Shared, view.opened.request_id, sender, bundle, seed, commitment)

    def _contribute(
        self, sender: Address, view: RequestView, given: tuple[Any, ...], point: bytes, receipt: bytes
    ) -> None:
        request, shared = view.opened.request, view.shared[sender]
        if len(view.shared) < len(view.approved) and self.block <= request.share_by:
            raise revert("TooEarly")
        if self.block > request.contribute_by:
            raise revert("TooLate", deadline=request.contribute_by)
        if sender in view.contributed:
            raise revert("StageWrong", holder=sender, stage=3)
        if commitment_hash(view.opened.request_id, sender, point) != shared.commitment_hash:
            raise revert("MemberWrong", holder=sender)
        digest = tagged_hash("message", 2, given[4], given[5], given[6])
        require_signature(
            request.broker, Digest(receipt_digest(view.opened.request_id, sender, digest)), receipt
        )
        decode_point(point)
        self.emit(Contributed, view.opened.request_id, sender, point, digest)

    def _postUnmask(self, sender: Address, view: RequestView, _: tuple[Any, ...], payload: bytes) -> None:
        if view.sealed is None or view.answered:
            raise revert("StateWrong")
        self.emit(UnmaskPosted, view.opened.request_id, sender, payload)

    # --- what anybody does

    def seal(self, request_id: Digest) -> None:
        view = self.view(request_id)
        assert view is not None
        total = sum_points([event.commitment for event in view.contributed.values()])
        self.emit(Sealed, request_id, len(view.contributed), total)

    def close(self, request_id: Digest, reason: int = 2) -> None:
        self.emit(Closed, request_id, reason)

    def answer(self, request_id: Digest) -> None:
        self.emit(Answered, request_id, bytes(32))


def sum_points(points: list[bytes]) -> bytes:
    first, *rest = [decode_point(point) for point in points]
    for point in rest:
        first = first + point
    return encode_point(first)


@dataclass
class ChainOf:
    """The chain as one holder sees it."""

    model: ModelChain
    me: Address

    def view(self, request_id: Digest) -> RequestView | None:
        return self.model.view(request_id)

    def head(self) -> int:
        return self.model.block

    def participant(self, account: Address) -> Participant:
        nobody = Participant(account, Address(bytes(20)), Roles(0), ParticipantStatus.NONE, 0, 0, bytes(32))
        return self.model.participants.get(account, nobody)

    def regulators(self) -> tuple[Participant, ...]:
        return tuple(each for _, each in sorted(self.model.participants.items()) if is_regulator(each))

    def asset(self, asset: Digest) -> Asset:
        return self.model.assets[Digest(bytes(asset))]

    def entrusted_to(self, listing: Digest, asset: Digest) -> Address:
        return self.model.entrusted.get((listing, asset), Address(bytes(20)))

    def line(self, line: Digest) -> Line:
        return self.model.line(line)

    def send(self, step: str, request_id: Digest, call: Call, *, is_late: bool) -> None:
        key = (self.me, step, request_id)
        if key in self.model.reverts:
            raise self.model.reverts[key]
        if key not in self.model.sent:
            if is_late:
                raise DeadlineTooNear(step)
            self.model.sent[key] = call
            self.model.mempool.append((*key, call))
        assert self.model.sent[key] == call, "the same step was sent with other content"

    def send_again(self, step: str, request_id: Digest, call: Call) -> None:
        self.model.reverts.pop((self.me, step, request_id), None)
        self.model.mempool.append((self.me, step, request_id, call))
