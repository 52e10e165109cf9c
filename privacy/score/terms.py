"""What a policy and a plan say of private weights: the members `score` (docs/protocol.md, "Private weights")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from privacy.errors import AnswerInvalid, PlanInvalid, PlanRejected
from privacy.fields import Fields
from privacy.layout import lane_cells
from privacy.paillier.encrypt import EncryptedVector
from privacy.paillier.errors import PaillierError
from privacy.paillier.keys import KEY_BITS, KEY_BITS_MAX
from privacy.paillier.packing import SlotLayout
from privacy.query import OutputKind
from privacy.score.model import WEIGHT_BITS_MAX, EncryptedModel
from privacy.score.shape import (
    ScoreShape,
    cell_count,
    from_limbs,
    limbs_of,
    score_output,
    shown_lanes,
)
from privacy.terms import PlanKind
from privacy.types import Violation, from_decimal, require_members

if TYPE_CHECKING:
    from privacy.plan import Plan
    from privacy.policy import Policy
    from privacy.query import Output, Query

WEIGHT_BITS: Final = 32
WEIGHT_SCALE_BITS: Final = 16


@dataclass(frozen=True, slots=True)
class ScorePolicy:
    """The member `score` of a policy.

    Attributes:
        features: the measures that a score may take; None for all.
        weight_bits: |W| ≤ 2^weight_bits, for the weights as integers.
        weight_scale_bits: a weight is W·2^-weight_scale_bits.
        key_bits_min: the least bits of a buyer's key.
    """

    features: tuple[str, ...] | None
    weight_bits: int
    weight_scale_bits: int
    key_bits_min: int

    @classmethod
    def read(cls, fields: Fields) -> ScorePolicy:
        """Read it; problems are recorded."""
        policy = cls(
            features=_read_features(fields),
            weight_bits=fields.integer("weight_bits", 1, WEIGHT_BITS_MAX, WEIGHT_BITS),
            weight_scale_bits=fields.integer("weight_scale_bits", 0, WEIGHT_BITS_MAX, WEIGHT_SCALE_BITS),
            key_bits_min=fields.integer("key_bits_min", KEY_BITS, KEY_BITS_MAX, KEY_BITS),
        )
        fields.refuse_unknown()
        return policy

    @property
    def kind(self) -> PlanKind:
        """See `PolicyTerms`."""
        return PlanKind.SCORE

    def to_json(self) -> dict[str, Any]:
        """See `PolicyTerms`; `features` is `*` for all."""
        return {
            "features": "*" if self.features is None else list(self.features),
            "weight_bits": str(self.weight_bits),
            "weight_scale_bits": str(self.weight_scale_bits),
            "key_bits_min": str(self.key_bits_min),
        }

    def check(self, policy: Policy) -> Sequence[tuple[str, str, Any]]:
        """See `PolicyTerms`."""
        allowed = sorted(each.value for each in policy.aggregates)
        found: list[tuple[str, str, Any]] = []
        if policy.min_holders != 1:
            found.append(("min_holders", "1, as a score is of one holder", policy.min_holders))
        for name, number in (("colluders", policy.colluders), ("dropouts", policy.dropouts)):
            if number not in (None, 0):
                found.append((name, "0, as a score is of one holder", number))
        if "score" not in allowed or not set(allowed) <= {"score", "count"}:
            found.append(("aggregates", "score, perhaps count, and nothing else beside `score`", allowed))
        measures = {column.name for column in policy.columns if column.is_measure}
        if not measures:
            found.append(("score.features", "a measure among the columns", []))
        for name in self.features or ():
            if name not in measures:
                found.append(("score.features", "measures", name))
        return found

    def plan_terms(self, plan: Plan, policy: Policy, asked: Any) -> ScorePlan:
        """See `PolicyTerms`; `asked` is the encrypted model."""
        if asked is None:
            raise _rejected("model-missing", "a score takes an encrypted model")
        try:
            model = EncryptedModel.from_json(asked)
        except PlanInvalid as err:
            raise _rejected("model", str(err)) from err
        wanted = 1 + len(ScoreShape.of(plan).sums)
        if (model.weight_bits, model.weight_scale_bits) != (self.weight_bits, self.weight_scale_bits):
            told = f"weights of {self.weight_bits} bits in units of 2^-{self.weight_scale_bits}"
            raise _rejected("model-weights", f"the policy takes {told}")
        if model.key.n.bit_length() < self.key_bits_min:
            told = f"{self.key_bits_min} bits, this has {model.key.n.bit_length()}"
            raise _rejected("model-key", f"the policy takes keys of at least {told}")
        if len(model.ciphertexts) != wanted:
            told = f"{wanted} ciphertexts, for the intercept and each feature, not {len(model.ciphertexts)}"
            raise _rejected("model-features", f"this score takes {told}")
        try:
            layout = ScoreShape.of(plan).layout(plan, model.key, model.weight_bits)
        except PaillierError as err:
            raise _rejected("score-overflow", f"a score does not fit the key: {err}") from err
        return ScorePlan(model, layout)

    def check_query(self, query: Query, policy: Policy, holders: int) -> list[Violation]:
        """See `PolicyTerms`."""
        found: list[Violation] = []
        scores = [output for output in query.outputs if output.kind is OutputKind.SCORE]
        if holders != 1:
            found.append(Violation("score-holders", f"a score is of one holder's data, not of {holders}"))
        if not scores:
            found.append(Violation("score-missing", "a query under this policy has one SCORE"))
        for output in scores[1:]:
            found.append(_at("score-repeated", "a query has one SCORE", output))
        for output in scores[:1]:
            for name in (output.column, *output.others):
                if self.features is not None and name not in self.features:
                    message = f"{name!r} is none of the features {', '.join(self.features)}"
                    found.append(_at("score-feature", message, output))
        return found


@dataclass(frozen=True, slots=True)
class ScorePlan:
    """The member `score` of a plan: the buyer's encrypted model, and the slots that follow from it and the lanes."""

    model: EncryptedModel
    layout: SlotLayout

    def __post_init__(self) -> None:
        try:
            self.layout.require_key(self.model.key)
        except PaillierError as err:
            raise PlanInvalid(f"score: {err}") from err

    @property
    def kind(self) -> PlanKind:
        """See `PlanTerms`."""
        return PlanKind.SCORE

    @property
    def asked(self) -> Any:
        """See `PlanTerms`."""
        return self.model.to_json()

    def to_json(self) -> dict[str, Any]:
        """See `PlanTerms`."""
        return {
            "model": self.model.to_json(),
            "slot_bytes": str(self.layout.slot_bytes),
            "slots": str(self.layout.slots),
        }

    @classmethod
    def from_json(cls, value: Any) -> ScorePlan:
        """Read what `to_json` wrote.

        Raises:
            PlanInvalid: a member is missing, unknown or malformed.
        """
        members = require_members("score", value, ("model", "slot_bytes", "slots"))
        model = EncryptedModel.from_json(members["model"])
        slot_bytes = from_decimal("score.slot_bytes", members["slot_bytes"])
        slots = from_decimal("score.slots", members["slots"])
        try:
            return cls(model, SlotLayout(slot_bytes, slots))
        except PaillierError as err:
            raise PlanInvalid(f"score: {err}") from err

    def cells(self, plan: Plan) -> int:
        """See `PlanTerms`."""
        return cell_count(plan, self.model.key, self.layout)

    def bundle_rider_size(self, plan: Plan) -> int:
        """See `PlanTerms`."""
        return 0

    def input_rider_size(self, plan: Plan) -> int:
        """See `PlanTerms`."""
        return 0

    def values(self, plan: Plan, cells: Sequence[int]) -> Sequence[int | None]:
        """See `PlanTerms`: the counts; the sums stay hidden, and the ciphertexts are only required to be some."""
        self.ciphertexts(plan, cells)
        score_output(plan)
        values: list[int | None] = [None] * plan.values
        for place, number in enumerate(shown_lanes(plan)):
            start = lane_cells(plan, number).start
            values[start : start + plan.groups] = cells[place * plan.groups : (place + 1) * plan.groups]
        return values

    def ciphertexts(self, plan: Plan, cells: Sequence[int]) -> EncryptedVector:
        """Return the packed scores that some cells hold.

        Raises:
            AnswerInvalid: they hold no ciphertexts under the buyer's key.
        """
        limbs, first = limbs_of(self.model.key), len(shown_lanes(plan)) * plan.groups
        if len(cells) != self.cells(plan):
            raise AnswerInvalid(f"expected {self.cells(plan)} cells, got {len(cells)}")
        numbers = [from_limbs(cells[start : start + limbs]) for start in range(first, len(cells), limbs)]
        try:
            return EncryptedVector(self.model.key, tuple(numbers))
        except PaillierError as err:
            raise AnswerInvalid(f"the answer's scores: {err}") from err


def _read_features(fields: Fields) -> tuple[str, ...] | None:
    value = fields.take("features")
    if value is None or value == "*":
        return None
    items = fields.items("features", items_max=256)
    if not items:
        fields.problem("features", "at least one measure, or * for all", items)
    names = tuple(fields.check_text(f"features[{place}]", each) for place, each in enumerate(items))
    fields.unique("features", names)
    return names


def _at(rule: str, message: str, output: Output) -> Violation:
    line, position = (output.at.line, output.at.position) if output.at else (None, None)
    return Violation(rule, message, output.column, line, position)


def _rejected(rule: str, message: str) -> PlanRejected:
    return PlanRejected([Violation(rule, message)])
