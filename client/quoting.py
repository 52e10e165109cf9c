"""A quote, derived again by the buyer itself: what is signed is what the buyer's own SQL and the chain say.

The exchange is asked for a price and believed nothing: listing, policy, assets, plan, ρ, price, columns and every
field of the draft are compared with the buyer's own derivation, and the broker's signature is checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from client.errors import ListingMismatch, QueryRejected, QuoteExpired, QuoteMismatch
from client.types import Charge, ColumnError, Listing, Quote, RegisteredAsset
from ledger.contracts import listing_id
from ledger.encoding import U64_MAX, parse_decimal, parse_hex, printable, tagged_hash
from ledger.errors import BadSignature, MalformedValue
from ledger.signing import require_signature
from ledger.types import Address, AssetStatus, Digest, Request, to_hex
from privacy.errors import ParametersInvalid, PlanInvalid, PlanRejected, PolicyInvalid
from privacy.query import OutputKind
from privacy.types import AssetRef, ListingRef, Violation
from privacy.types import Digest as PlanDigest

if TYPE_CHECKING:
    from privacy.plan import Plan
    from privacy.policy import Policy
    from privacy.score.model import EncryptedModel, FixedWeights

DEADLINE_BLOCKS_MAX: Final = 1_000_000  # a buyer's credits are not locked for longer than that
_DEADLINES: Final = ("approve_by", "share_by", "contribute_by", "answer_by")
_UNSIGNED: Final = frozenset({"key_x", "key_parity", "nonce"})  # what only the buyer can fill in


class AskedModel(Protocol):
    """A model that is ready for policies of one precision: the buyer's own, or one that the stock library encrypted."""

    def weights(self, features: Sequence[str]) -> FixedWeights | None:
        """Return the weights, the intercept's first, in the order of some features; None where they are not known here."""

    def encrypted(self, features: Sequence[str]) -> EncryptedModel:
        """Return the ciphertexts in the order of some features.

        Raises:
            QueryRejected: the model is not for these.
        """


@dataclass(frozen=True, slots=True)
class Derivation:
    """What the buyer derives before it looks at the exchange's quote; the weights of its model, if it asks with one and knows them."""

    listing: Listing
    policy: Policy
    plan: Plan
    sql: str
    weights: FixedWeights | None = None

    @property
    def price_minor(self) -> int:
        """Fee + Σ over assets of rate × ρ, rounded up."""
        return self.policy.price.total_minor(self.plan.rho_micro, len(self.plan.assets))


def require_listing(listing: Listing, asked: str, registered: Sequence[RegisteredAsset]) -> Policy:
    """Require that a listing is the one asked for, and that the chain has its assets and policy as it says.

    Args:
        listing: as the exchange shows it.
        asked: the name or id that the buyer gave.
        registered: the listing's assets, in its order, as the buyer's own node has them.

    Returns:
        The policy that all assets carry.

    Raises:
        ListingMismatch: naming what differs.
    """
    from privacy.policy import Policy

    _require(asked in (listing.name, to_hex(listing.listing_id)), f"asked for {asked}, got {listing.name}")
    derived = listing_id(listing.broker, listing.name)
    _require(derived == listing.listing_id, "its id is not that of its broker and name")
    try:
        policy = Policy.from_mapping(listing.policy)
    except PolicyInvalid as err:
        raise ListingMismatch(f"listing {printable(listing.name)}: its policy is invalid: {err}") from err
    _require(bytes(policy.hash()) == listing.policy_hash, "its policy does not have the hash that it names")
    _require(policy.listing == listing.name, f"its policy is for {policy.listing!r}")
    _require(bool(listing.assets), "it has no assets")
    for shown, on_chain in zip(listing.assets, registered, strict=True):
        name, asset = to_hex(shown.asset), on_chain.asset
        _require(asset.status == AssetStatus.REGISTERED, f"asset {name} is not registered on the chain")
        for member in ("holder", "version", "policy_hash", "snapshot_root"):
            same = getattr(shown, member) == getattr(asset, member)
            _require(same, f"asset {name} has another {member} on the chain")
        _require(shown.policy_hash == listing.policy_hash, f"asset {name} has another policy")
        _require(on_chain.entrusted_to == listing.broker, f"asset {name} is not entrusted to its broker")
    return policy


def derive(
    listing: Listing,
    policy: Policy,
    *,
    buyer: Address,
    sql: str,
    purpose: str | None,
    rho_micro: int | None,
    model: AskedModel | None = None,
) -> Derivation:
    """Make the plan of the buyer's own SQL, and of its model.

    Raises:
        QueryRejected: with every violation of grammar and policy.
    """
    from privacy.planning import build_plan
    from privacy.sql import parse_query

    if not policy.admits(buyer):
        raise rejected([Violation("buyer", "the policy does not admit this buyer")])
    if purpose is None and len(policy.purposes) != 1:
        known = ", ".join(policy.purposes)
        raise rejected([Violation("purpose-missing", f"expected a purpose, one of: {known}")])
    try:
        query = parse_query(sql, policy)
        features = next(
            ((str(o.column), *o.others) for o in query.outputs if o.kind is OutputKind.SCORE), None
        )
        plan = build_plan(
            query,
            policy,
            ListingRef(PlanDigest(listing.listing_id), listing.name),
            _assets(listing),
            purpose=policy.purposes[0] if purpose is None else purpose,
            rho_micro=policy.rho_per_request_micro if rho_micro is None else rho_micro,
            asked=None if model is None or features is None else model.encrypted(features).to_json(),
        )
    except PlanRejected as err:
        raise rejected(err.violations) from err
    except PlanInvalid as err:
        raise rejected([Violation("plan", str(err))]) from err
    weights = None if model is None or features is None else model.weights(features)
    return Derivation(listing, policy, plan, sql, weights)


def check_quote(
    derivation: Derivation,
    reply: Mapping[str, Any],
    *,
    buyer: Address,
    head: int,
    now_s: float,
    answered_by: Digest | None,
    charge: Charge,
    group_rows: int | None = None,
) -> Quote:
    """Compare the exchange's quote with the buyer's derivation.

    Args:
        derivation: the buyer's own.
        reply: the exchange's, as it came.
        buyer: the account that will sign.
        head: the newest block.
        now_s: Unix seconds.
        answered_by: the buyer's request that answered the identical plan already.
        charge: what the request would cost the budget lines.
        group_rows: the group size that errors are stated for; 1,000 if not given.

    Raises:
        QuoteMismatch: naming the first field that differs; nothing was signed.
        QuoteExpired: it does not hold any more.
    """
    plan, price = derivation.plan, derivation.price_minor
    _same("plan", plan.to_json(), reply.get("plan"))
    _same("plan_hash", to_hex(plan.hash()), reply.get("plan_hash"))
    _same("rho_micro", str(plan.rho_micro), reply.get("rho_micro"))
    _same("price_minor", str(price), reply.get("price_minor"))
    _same("columns", list(plan.columns), reply.get("columns"))
    expires_at = _expiry(reply.get("expires_at"))
    signature = _signature(derivation, reply, buyer=buyer, price=price, expires_at=expires_at)
    if expires_at <= now_s:
        raise QuoteExpired(f"the quote expired {now_s - expires_at:.0f} s ago")
    draft = _draft(derivation, reply.get("request"), buyer=buyer, price=price, head=head)
    return Quote(
        quote_id=str(reply.get("id", "")),
        sql=derivation.sql,
        listing=derivation.listing,
        plan=plan,
        draft=draft,
        rho_micro=plan.rho_micro,
        price_minor=price,
        expires_at=expires_at,
        signature=signature,
        columns=plan.columns,
        expected_error95=_expected_errors(derivation, group_rows),
        losses=charge.losses,
        asset_lines=charge.asset_lines,
        answered_by=answered_by,
    )


def complete_request(quote: Quote, *, key_x: bytes, key_parity: int, nonce: int) -> Request:
    """Fill in what only the buyer knows."""
    own = {"key_x": to_hex(key_x), "key_parity": str(key_parity), "nonce": str(nonce)}
    return Request.from_json({**quote.draft, **own})


def _draft(derivation: Derivation, given: Any, *, buyer: Address, price: int, head: int) -> Mapping[str, str]:
    """Check each field of the draft, and return it without what the buyer fills in."""
    plan, listing = derivation.plan, derivation.listing
    expected = {
        "buyer": to_hex(buyer),
        "broker": to_hex(listing.broker),
        "listing": to_hex(listing.listing_id),
        "plan_hash": to_hex(plan.hash()),
        "rho": str(plan.rho_micro),
        "price": str(price),
        "holders": str(plan.holders),
        "min_holders": str(plan.min_holders),
        "colluders": str(plan.colluders),
        "dropouts": str(plan.dropouts),
    }
    if not isinstance(given, Mapping):
        raise QuoteMismatch("request", expected="an object", actual=type(given).__name__)
    draft = {name: value for name, value in given.items() if name not in _UNSIGNED}
    _same("request's fields", sorted({*expected, *_DEADLINES}), sorted(draft))
    for name, value in expected.items():
        _same(f"request.{name}", value, draft[name])
    earlier = head
    for name in _DEADLINES:
        latest = head + DEADLINE_BLOCKS_MAX
        try:
            block = parse_decimal(draft[name], name, 0, U64_MAX)
        except MalformedValue as err:
            raise QuoteMismatch(
                f"request.{name}", expected="a block number", actual=_short(draft[name])
            ) from err
        if name == "approve_by" and block <= head:
            raise QuoteExpired(f"the quote's first deadline, block {block}, has passed: the head is {head}")
        if not earlier < block <= latest:
            raise QuoteMismatch(f"request.{name}", expected=f"in ({earlier}, {latest}]", actual=block)
        earlier = block
    return draft


def _signature(
    derivation: Derivation, reply: Mapping[str, Any], *, buyer: Address, price: int, expires_at: int
) -> bytes:
    """Require the broker's signature over H("quote"; planHash, buyer, ρ, price, expiresAt)."""
    plan, broker = derivation.plan, derivation.listing.broker
    digest = tagged_hash("quote", plan.hash(), buyer, plan.rho_micro, price, expires_at)
    try:
        signature = parse_hex(reply.get("signature"), "signature", 65)
        require_signature(broker, digest, signature)
    except (MalformedValue, BadSignature) as err:
        raise QuoteMismatch("signature", expected=f"one by {to_hex(broker)}", actual=str(err)) from err
    return signature


def _expiry(value: Any) -> int:
    try:
        return parse_decimal(str(value) if type(value) is int else value, "expires_at", 0, U64_MAX)
    except MalformedValue as err:
        raise QuoteMismatch("expires_at", expected="Unix seconds", actual=repr(value)[:40]) from err


def _expected_errors(derivation: Derivation, group_rows: int | None) -> tuple[ColumnError, ...]:
    from privacy.expected import ROWS_EXPECTED, expected_error95
    from privacy.planning import plan_parameters

    plan, weights = derivation.plan, derivation.weights
    rows = ROWS_EXPECTED if group_rows is None else group_rows
    try:
        params = plan_parameters(plan)
    except ParametersInvalid as err:
        raise rejected([Violation("plan", f"no sum is possible: {err}")]) from err
    expected = expected_error95(plan, params, rows=rows)
    if weights is not None:
        from privacy.score.opening import expected_score_error95

        expected = expected_score_error95(plan, params, weights, rows=rows)
    return tuple(
        ColumnError(
            each.column,
            each.error95,
            each.rows,
            None if each.assumption is None else each.assumption.value,
            each.bunched95,
        )
        for each in expected
    )


def _assets(listing: Listing) -> list[AssetRef]:
    shown = sorted(listing.assets, key=lambda asset: asset.holder)
    return [
        AssetRef.from_json(
            {
                "asset": to_hex(asset.asset),
                "version": str(asset.version),
                "holder": to_hex(asset.holder),
                "policy_hash": to_hex(asset.policy_hash),
                "snapshot_root": to_hex(asset.snapshot_root),
            }
        )
        for asset in shown
    ]


def rejected(violations: Sequence[Violation]) -> QueryRejected:
    """Return the refusal of a question by the buyer's own check."""
    return QueryRejected(
        status=422,
        type_="about:blank",
        title="The query is refused by the buyer's own check",
        detail="",
        violations=tuple(violations),
    )


def _same(field: str, expected: object, actual: object) -> None:
    if expected != actual:
        raise QuoteMismatch(field, expected=_short(expected), actual=_short(actual))


def _short(value: object) -> str:
    text = printable(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise ListingMismatch(f"the listing is not what it should be: {printable(problem)}")
