"""A model that its buyer encrypted with the stock library `phe`: this client has neither its weights nor its private key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from client.errors import ModelInvalid
from client.models import NAME, Model
from client.quoting import rejected
from ledger.encoding import require_shallow
from ledger.errors import MalformedValue
from privacy.errors import PlanInvalid, PolicyInvalid
from privacy.fields import Fields
from privacy.query import SCORE_FEATURES_MAX
from privacy.types import Violation

if TYPE_CHECKING:
    from privacy.score.interchange import StockWeights
    from privacy.score.model import EncryptedModel, FixedWeights

STOCK_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class StockModel:
    """A file of the stock library's ciphertexts, perhaps with the features that they are of.

    Attributes:
        features: in the order of the ciphertexts after the intercept's; None for those of SCORE, in its order.
        numbers: public key and ciphertexts.
    """

    features: tuple[str, ...] | None
    numbers: StockWeights = field(repr=False)

    @classmethod
    def from_mapping(cls, value: Any) -> Self:
        """Read `public_key` and `values`, as the library's documentation writes them, and perhaps `features` and `name`.

        Raises:
            ModelInvalid: with the problem; no number is shown.
        """
        from privacy.paillier.errors import PaillierError
        from privacy.score.interchange import StockWeights

        fields = Fields(value, NAME)
        fields.text("name", NAME)
        features = None
        if fields.has("features"):
            given = fields.items("features", items_max=SCORE_FEATURES_MAX)
            features = tuple(fields.check_text("features", each) for each in given)
            fields.unique("features", features)
        numbers = {name: fields.take(name) for name in ("public_key", "values")}
        fields.refuse_unknown()
        try:
            fields.require_clean()
            found = cls(features, StockWeights.from_json(numbers))
        except PolicyInvalid as err:
            raise ModelInvalid([problem.split(", found ")[0] for problem in err.problems]) from err
        except PaillierError as err:
            raise ModelInvalid([str(err)]) from err
        if features is not None and len(features) + 1 != len(found.numbers.numbers):
            raise ModelInvalid(
                [f"expected {len(features) + 1} values, the intercept's and one for each feature"]
            )
        return found


@dataclass(frozen=True, slots=True)
class PreparedStockModel:
    """Such a model for policies of one precision; see `client.quoting.AskedModel`."""

    model: StockModel
    bits: int
    scale_bits: int

    def weights(self, features: Sequence[str]) -> FixedWeights | None:
        """Return None: only who has the private key knows them."""
        return None

    def encrypted(self, features: Sequence[str]) -> EncryptedModel:
        """Return the ciphertexts at the policy's scale, in the order of some features.

        Raises:
            QueryRejected: they are of others, or in finer steps than the policy's.
        """
        from privacy.paillier.errors import PaillierError
        from privacy.score.interchange import StockWeights

        given = self.model.numbers
        named = self.model.features or tuple(features)
        if set(features) != set(named) or len(features) + 1 != len(given.numbers):
            count = len(given.numbers) - 1
            message = (
                f"the model has {count} weights after the intercept's, SCORE takes {', '.join(features)}"
            )
            raise rejected([Violation("model-features", message)])
        by_name = dict(zip(named, given.numbers[1:], strict=True))
        ordered = (given.numbers[0], *(by_name[name] for name in features))
        try:
            return StockWeights(given.key, ordered).model(bits=self.bits, scale_bits=self.scale_bits)
        except (PaillierError, PlanInvalid) as err:
            raise rejected([Violation("model-weights", str(err))]) from err


def read_model(path: Path) -> Model | StockModel:
    """Read a model's file: weights in YAML or JSON, or the JSON of the stock library's ciphertexts.

    Raises:
        ModelInvalid: no such file, or neither.
    """
    stock = _read_stock(path)
    return Model.from_file(path) if stock is None else StockModel.from_mapping(stock)


def _read_stock(path: Path) -> Any | None:
    """Return the JSON object of a file with the member `values`; None for any other file.

    Not by `parse_json`, which takes an integer beyond 2^53 for a float: the library writes its modulus as one.
    """
    try:
        with path.open("rb") as file:
            data = file.read(STOCK_BYTES_MAX)
        require_shallow(data)
        value = json.loads(data, object_pairs_hook=_unique)
    except (OSError, ValueError, MalformedValue, RecursionError):
        return None
    return value if isinstance(value, dict) and "values" in value else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member name is repeated")
    return members
