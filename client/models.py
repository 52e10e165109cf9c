"""A buyer's linear model: an intercept and a weight for each feature, exact decimals, read from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self

from client.errors import ModelInvalid
from privacy.decimals import decimal_text
from privacy.errors import PolicyInvalid
from privacy.fields import Fields
from privacy.query import SCORE_FEATURES_MAX

NAME: Final = "model"


@dataclass(frozen=True, slots=True)
class Model:
    """A model. Its weights are never shown to anybody but its buyer.

    Attributes:
        name: for people.
        intercept: what each row counts with, whatever its values.
        weights: by feature.
    """

    name: str
    intercept: Decimal = field(repr=False)
    weights: Mapping[str, Decimal] = field(repr=False)

    @classmethod
    def from_mapping(cls, value: Any) -> Self:
        """Read a model: `name` and `intercept` may be missing, `weights` has at least one feature.

        Raises:
            ModelInvalid: with every problem; no weight is shown.
        """
        fields = Fields(value, NAME)
        weights = fields.child("weights")
        found = {name: weights.decimal(name) for name in map(str, weights.names())}
        for name in found:
            weights.check_text(name, name)
        if not 1 <= len(found) <= SCORE_FEATURES_MAX:
            fields.problem("weights", f"1 to {SCORE_FEATURES_MAX} features", len(found))
        intercept = fields.decimal("intercept") if fields.has("intercept") else Decimal(0)
        fields.take("intercept")
        model = cls(fields.text("name", NAME), intercept, found)
        fields.refuse_unknown()
        weights.refuse_unknown()
        try:
            fields.require_clean()
        except PolicyInvalid as err:
            raise ModelInvalid(_without_values(err.problems)) from err
        return model

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a model from YAML or JSON.

        Raises:
            ModelInvalid: no such file, or not a model.
        """
        from privacy.policy import load_yaml

        try:
            return cls.from_mapping(load_yaml(path.read_text(encoding="utf8"), what=NAME))
        except (OSError, UnicodeDecodeError) as err:
            raise ModelInvalid([f"{path.name} cannot be read: {type(err).__name__}"]) from err
        except PolicyInvalid as err:
            raise ModelInvalid(_without_values(err.problems)) from err

    def to_json(self) -> dict[str, Any]:
        """Return the model as canonical decimals."""
        return {
            "name": self.name,
            "intercept": decimal_text(self.intercept),
            "weights": {name: decimal_text(weight) for name, weight in self.weights.items()},
        }


def _without_values(problems: Sequence[str]) -> list[str]:
    """Cut off what was found: it may be a weight."""
    return [problem.split(", found ")[0] for problem in problems]
