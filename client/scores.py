"""Private weights on the buyer's side: its Paillier key, its models as they were encrypted once, and their scores.

A model is encrypted once under a key and kept: so the same question with the same model is the same plan, which is
answered from what is stored and charged to nobody again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from client.answering import receipt_parameters
from client.errors import AnswerMismatch, ModelUnknown, StoreError
from client.models import Model
from client.quoting import rejected
from client.stock_models import PreparedStockModel, StockModel
from client.store import Store
from client.types import StoredModel, StoredModelKey
from client.vault import Vault
from ledger.encoding import canonical_json, parse_canonical_json
from ledger.errors import MalformedValue
from ledger.receipt import Receipt
from privacy.errors import AnswerInvalid, PlanInvalid
from privacy.terms import PlanKind
from privacy.types import Violation

if TYPE_CHECKING:
    from privacy.answer import AnswerTable
    from privacy.paillier.keys import PrivateKey
    from privacy.policy import Policy
    from privacy.score.model import EncryptedModel, FixedWeights

_KEY: Final = b"model key "
_MODEL: Final = b"model "


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A model with its ciphertexts under one key, for policies of one precision.

    Attributes:
        model: the weights.
        key: the buyer's.
        bits, scale_bits: the policy's weight bits and their scale.
        intercept: the intercept's ciphertext.
        ciphertexts: by feature.
    """

    model: Model
    key: PrivateKey = field(repr=False)
    bits: int
    scale_bits: int
    intercept: int = field(repr=False)
    ciphertexts: Mapping[str, int] = field(repr=False)

    def weights(self, features: Sequence[str]) -> FixedWeights:
        """Return the weights as integers, the intercept's first, in the order of some features."""
        return _fixed(self.model, features, self.bits, self.scale_bits)

    def encrypted(self, features: Sequence[str]) -> EncryptedModel:
        """Return the ciphertexts in the order of some features, which are the model's.

        Raises:
            QueryRejected: they are others.
        """
        from gmpy2 import mpz

        from privacy.score.model import EncryptedModel

        if set(features) != set(self.model.weights):
            named, taken = ", ".join(self.model.weights), ", ".join(features)
            message = f"the model has weights for {named}, SCORE for {taken}"
            raise rejected([Violation("model-features", message)])
        numbers = (self.intercept, *(self.ciphertexts[name] for name in features))
        return EncryptedModel(self.key.public, self.bits, self.scale_bits, tuple(map(mpz, numbers)))


class Scores:
    """The models of one buyer.

    Args:
        store: where keys and models are kept.
        vault: seals them.
        rand: returns that many bytes of the system's randomness.
    """

    def __init__(self, store: Store, vault: Vault, rand: Callable[[int], bytes]) -> None:
        self._store, self._vault, self._rand = store, vault, rand
        self._keys: dict[bytes, PrivateKey] = {}

    def prepare(self, model: Model | StockModel, policy: Policy) -> PreparedModel | PreparedStockModel:
        """Return a model as it was encrypted under this buyer's key, now if it never was; or as the stock library did it.

        Raises:
            QueryRejected: the policy takes no model, or none with such weights.
            StoreError: the store cannot be read back.
        """
        from privacy.score.terms import ScorePolicy

        terms = policy.terms
        if not isinstance(terms, ScorePolicy):
            raise rejected([Violation("model", "this listing takes no model")])
        bits, scale_bits = terms.weight_bits, terms.weight_scale_bits
        if isinstance(model, StockModel):
            if self._is_own(model.numbers.key.id):
                raise rejected(
                    [Violation("model-key", "this is the key of this buyer's store: give the weights")]
                )
            return PreparedStockModel(model, bits, scale_bits)
        key = self._key(terms.key_bits_min)

        def same(stored: StoredModel) -> bool:
            shape = (stored.weight_bits, stored.weight_scale_bits)
            other = self._open(stored).model
            weights = (other.intercept, other.weights) == (model.intercept, model.weights)
            return weights and shape == (bits, scale_bits)

        for stored in self._store.models(key.public.id):
            if same(stored):
                return self._open(stored)
        return self._open(self._store.keep_model(self._encrypt(model, key, bits, scale_bits), same))

    def shown(self, receipt: Receipt, table: AnswerTable) -> AnswerTable:
        """Return an answer's table as its buyer sees it: with its scores, if it has any.

        Raises:
            ModelUnknown: it was asked with a model that is not in this store.
            AnswerMismatch: what was sealed is no score under the model's weights.
        """
        from privacy.plan import Plan

        plan = Plan.from_json(receipt.plan)
        if plan.kind is not PlanKind.SCORE:
            return table
        from privacy.score.opening import open_scores

        prepared, features = self._asked_with(plan)
        params, cells = receipt_parameters(receipt), receipt.answer.cells
        try:
            return open_scores(
                plan,
                params,
                len(receipt.survivors),
                cells,
                key=prepared.key,
                weights=prepared.weights(features),
            )
        except AnswerInvalid as err:
            raise AnswerMismatch(f"the answer's scores do not open: {err}") from err

    def sealed(self, receipt: Receipt) -> dict[str, Any] | None:
        """Return an answer's scores as the stock library decrypts them, if that library encrypted the model; else None.

        Raises:
            AnswerMismatch: what was sealed is no ciphertext under the model's key.
        """
        from privacy.plan import Plan

        if PlanKind.SCORE.value != receipt.plan.get("kind"):
            return None
        from privacy.score.combine import score_terms
        from privacy.score.interchange import sealed_scores

        plan = Plan.from_json(receipt.plan)
        if self._is_own(score_terms(plan).model.key.id):
            return None
        try:
            return sealed_scores(plan, receipt.answer.cells)
        except AnswerInvalid as err:
            raise AnswerMismatch(f"the answer has no scores: {err}") from err

    def _is_own(self, key_id: bytes) -> bool:
        return any(each.key_id == key_id for each in self._store.model_keys())

    def _asked_with(self, plan: Any) -> tuple[PreparedModel, tuple[str, ...]]:
        from privacy.score.combine import score_terms
        from privacy.score.shape import score_output

        asked, output = score_terms(plan).model, score_output(plan)
        features = (str(output.column), *output.others)
        for stored in self._store.models(asked.key.id):
            prepared = self._open(stored)
            if set(features) == set(prepared.model.weights) and prepared.encrypted(features) == asked:
                return prepared, features
        raise ModelUnknown("the model of this request is not in this buyer's store")

    # --- keys and ciphertexts

    def _key(self, bits_min: int) -> PrivateKey:
        """Return this buyer's key of at least so many bits, made now if there is none."""
        from privacy.paillier import PrivateKey, encode_private_key

        for stored in self._store.model_keys():
            if stored.bits >= bits_min:
                return self._private(stored)
        key = PrivateKey.generate(self._rand, -(-bits_min // 16) * 16)
        sealed = self._vault.seal(encode_private_key(key), _KEY + key.public.id)
        bits = key.public.n.bit_length()
        return self._private(self._store.keep_model_key(StoredModelKey(key.public.id, bits, sealed)))

    def _private(self, stored: StoredModelKey) -> PrivateKey:
        from privacy.paillier import decode_private_key
        from privacy.paillier.errors import PaillierError

        key = self._keys.get(stored.key_id)
        if key is None:
            data = self._vault.open_secret(stored.sealed, _KEY + stored.key_id, "model key")
            try:
                key = self._keys[stored.key_id] = decode_private_key(data)
            except PaillierError as err:
                raise StoreError(f"a stored model key cannot be read back: {type(err).__name__}") from err
        return key

    def _encrypt(self, model: Model, key: PrivateKey, bits: int, scale_bits: int) -> StoredModel:
        from privacy.paillier import ShortBlinding
        from privacy.score.model import EncryptedModel

        features = tuple(model.weights)
        weights = _fixed(model, features, bits, scale_bits)
        encrypted = EncryptedModel.encrypt(weights, ShortBlinding(key.public, self._rand))
        intercept, *others = (f"{int(each):x}" for each in encrypted.ciphertexts)
        content = {
            "model": model.to_json(),
            "intercept": intercept,
            "ciphertexts": dict(zip(features, others, strict=True)),
        }
        sealed = self._vault.seal(canonical_json(content), _MODEL + key.public.id)
        return StoredModel(key.public.id, bits, scale_bits, sealed)

    def _open(self, stored: StoredModel) -> PreparedModel:
        data = self._vault.open_secret(stored.sealed, _MODEL + stored.key_id, "model")
        keys = {each.key_id: each for each in self._store.model_keys()}
        if stored.key_id not in keys:
            raise StoreError("a stored model has no key")
        try:
            content = parse_canonical_json(data)
            return PreparedModel(
                model=Model.from_mapping(content["model"]),
                key=self._private(keys[stored.key_id]),
                bits=stored.weight_bits,
                scale_bits=stored.weight_scale_bits,
                intercept=int(content["intercept"], 16),
                ciphertexts={name: int(each, 16) for name, each in content["ciphertexts"].items()},
            )
        except (MalformedValue, ValueError, KeyError) as err:
            raise StoreError(f"a stored model cannot be read back: {type(err).__name__}") from err


def _fixed(model: Model, features: Sequence[str], bits: int, scale_bits: int) -> FixedWeights:
    from privacy.score.model import FixedWeights

    exact = (model.intercept, *(model.weights[name] for name in features))
    try:
        return FixedWeights.round(exact, bits=bits, scale_bits=scale_bits)
    except PlanInvalid as err:
        raise rejected([Violation("model-weights", str(err))]) from err
