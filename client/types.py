"""The values of the buyer's side: what the exchange offers, quotes, progress, answers and verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ledger.types import Address, Asset, Deployment, Digest, Request, to_hex

if TYPE_CHECKING:
    import pandas as pd

    from privacy.accounting import PrivacyLoss
    from privacy.plan import Plan

Cell = str | int | float | None  # one value of an answer's table


# --- what the exchange says ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MarketDeployment:
    """The contracts and the broker that an exchange claims to use: to be compared, never adopted."""

    deployment: Deployment
    broker: Address


@dataclass(frozen=True, slots=True)
class ListedAsset:
    """One asset of a listing, as the exchange lists it."""

    asset: Digest
    version: int
    holder: Address
    policy_hash: bytes
    snapshot_root: bytes


@dataclass(frozen=True, slots=True)
class Listing:
    """A listing with the policy that all of its assets carry."""

    listing_id: Digest
    name: str
    title: str
    broker: Address
    policy: Mapping[str, Any]
    policy_hash: bytes
    assets: tuple[ListedAsset, ...]


@dataclass(frozen=True, slots=True)
class RequestEvent:
    """One step of a request that the exchange reports; `at` is its time, as the exchange writes it."""

    id: str
    state: str
    at: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction of a request that the exchange names, for display."""

    name: str
    tx_hash: str
    block: int | None
    gas_used: int | None


@dataclass(frozen=True, slots=True)
class RequestView:
    """A request as the exchange shows it."""

    request_id: Digest
    state: str
    transactions: tuple[Transaction, ...]


# --- the buyer's own -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RegisteredAsset:
    """An asset as the chain has it, and the broker that may list it under the listing in question."""

    asset: Asset
    entrusted_to: Address


@dataclass(frozen=True, slots=True)
class ColumnError:
    """The 95 % error to expect in one column, for groups of `rows` rows where that matters.

    `assumption` is `any` for a bound over all values within the declared bounds, `spread` for values that are evenly
    spread over them (`privacy.expected.MEANING`); None where a column has no error, or it cannot be known. `bunched95` is the
    error of values that bunch at the lower end, beside one of values that are evenly spread.
    """

    column: str
    error95: float | None
    rows: int | None
    assumption: str | None
    bunched95: float | None = None


@dataclass(frozen=True, slots=True)
class LineLoss:
    """All that one buyer's requests cost one budget line, composed."""

    line: Digest
    loss: PrivacyLoss


@dataclass(frozen=True, slots=True)
class Losses:
    """What a request costs in privacy, by itself and with the buyer's other requests on each line.

    Attributes:
        request: the request's own loss.
        lines: the composed loss on each line that it charges, this request included, ascending by line. It is of
            the requests that this buyer's store knows, those under way included.
    """

    request: PrivacyLoss
    lines: tuple[LineLoss, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what is shown: ρ in micro-ρ, ε, δ."""
        lines = [{"line": to_hex(each.line), **each.loss.to_json()} for each in self.lines]
        return {"request": self.request.to_json(), "lines": lines}


@dataclass(frozen=True, slots=True)
class Charge:
    """What a request charges: the line of each of its assets, and what that means as a loss."""

    asset_lines: Mapping[Digest, Digest]
    losses: Losses


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote of which the buyer has derived every field itself.

    Attributes:
        plan: the plan that was built here, from the buyer's own SQL.
        draft: the request as it will be signed, but for the key and the nonce.
        expires_at: Unix seconds.
        signature: the broker's over the quote.
        columns: the names of the answer's columns.
        answered_by: the request that already answered the identical plan, None if there is none.
        losses: what the request would cost, with this buyer's others.
        asset_lines: the budget line of each asset, as the chain has it.
    """

    quote_id: str
    sql: str
    listing: Listing
    plan: Plan
    draft: Mapping[str, str]
    rho_micro: int
    price_minor: int
    expires_at: int
    signature: bytes
    columns: tuple[str, ...]
    expected_error95: tuple[ColumnError, ...]
    losses: Losses
    asset_lines: Mapping[Digest, Digest]
    answered_by: Digest | None = None

    @property
    def plan_hash(self) -> bytes:
        """What is quoted, signed, approved, charged and recorded."""
        return self.plan.hash()

    @property
    def is_semi_honest(self) -> bool:
        """Whether the holders' privacy from each other, and the sums' truth, rest on each following the protocol."""
        from privacy.terms import is_semi_honest

        return is_semi_honest(self.plan.kind)

    def to_json(self) -> str:
        """Return the quote's terms for the buyer's own store; the plan is kept beside them.

        δ and the lines are there so that losses can be composed later without a node.
        """
        return json.dumps(
            {
                "id": self.quote_id,
                "draft": dict(self.draft),
                "expires_at": str(self.expires_at),
                "delta": str(self.losses.request.to_json()["delta"]),
                "lines": {to_hex(asset): to_hex(line) for asset, line in self.asset_lines.items()},
                "signature": to_hex(self.signature),
            }
        )


@dataclass(frozen=True, slots=True)
class StoredModelKey:
    """A Paillier key in the buyer's store; its private half stays encrypted until it is needed."""

    key_id: bytes
    bits: int
    sealed: bytes


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model in the buyer's store, its weights and their ciphertexts in one sealed text."""

    key_id: bytes
    weight_bits: int
    weight_scale_bits: int
    sealed: bytes


class LocalState(Enum):
    """Where a request stands in the buyer's own store."""

    PREPARED = "prepared"  # signed and stored; the exchange may or may not have it
    SUBMITTED = "submitted"  # the exchange has taken it
    ANSWERED = "answered"  # a verified receipt is on disk
    CLOSED = "closed"  # ended without an answer, refunded
    EXPIRED = "expired"  # never opened before its deadline


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """One request in the buyer's store. Its private key stays encrypted until it is needed."""

    request_id: Digest
    request: Request
    signature: bytes
    plan_json: bytes
    quote_json: str
    sql: str
    listing_name: str
    idempotency_key: str
    state: LocalState
    detail: str
    sealed_key: bytes
    since_block: int  # nothing of the request is on the chain before this block


@dataclass(frozen=True, slots=True)
class Progress:
    """What `wait` tells its callback: the state, and how long it took to get there."""

    request_id: Digest
    state: str
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A verified answer. `error95` has a row for each row of the table, null where a column is no number.

    `losses` is what the answer cost, composed with this buyer's other requests. `faults` says of an encrypted deposit's
    trustees what was wrong with what they sent, and which of them sent nothing more; the answer stands without them.
    `scores_path` is the file of the scores of a model that the stock library encrypted, for that library to decrypt.
    """

    request_id: Digest
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    error95: tuple[tuple[Cell, ...], ...]
    receipt_path: Path
    survivors: int
    verdict: Verdict
    losses: Losses
    faults: tuple[str, ...] = ()
    scores_path: Path | None = None

    def to_pandas(self) -> pd.DataFrame:
        """Return the answer as a frame, one row a group."""
        import pandas as pd

        return pd.DataFrame([list(row) for row in self.rows], columns=list(self.columns))

    def errors_to_pandas(self) -> pd.DataFrame:
        """Return the 95 % errors as a frame of the same shape."""
        import pandas as pd

        return pd.DataFrame([list(row) for row in self.error95], columns=list(self.columns))


# --- verification --------------------------------------------------------------------------------------


class Status(Enum):
    """What a verifier may say. Only a contradiction is invalid; what is absent is unknown."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"


EXIT_CODES: Final = {Status.VALID: 0, Status.INVALID: 1, Status.UNKNOWN: 3}


class Step(NamedTuple):
    """One step of the verification: `ok` is None when a fact that it needs is absent."""

    number: int
    name: str
    ok: bool | None
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome and every step that was run. An invalid receipt stops at its first failing step."""

    status: Status
    steps: tuple[Step, ...]

    @property
    def first_failing(self) -> Step | None:
        """The first step that did not pass: the contradiction, else the first that lacks a fact."""
        failed = [step for step in self.steps if step.ok is False]
        return next(iter(failed or [step for step in self.steps if step.ok is None]), None)

    @property
    def exit_code(self) -> int:
        """0 valid, 1 invalid, 3 unknown."""
        return EXIT_CODES[self.status]
