"""No bytes raise or change what VALID means.

That online and offline agree is tested over a whole service: tests/api/licences/test_agreement.py.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.encoding import canonical_json
from ledger.licences.bundle import Bundle
from ledger.licences.errors import Malformed
from ledger.licences.events import Kind
from ledger.licences.reasons import Missing, Reason, State
from ledger.licences.sdjwt import parse
from ledger.licences.verify import Expected, Verdict, verify
from tests.ledger.licences.world import NOW, Licence, TestCity, build_city

# --- any bytes


@dataclass(frozen=True)
class Honest:
    city: TestCity
    licences: tuple[Licence, ...]
    revoked: Licence
    documents: tuple[dict[str, Any], ...]


def honest() -> Honest:
    city = build_city()
    licences = tuple(city.issue() for _ in range(3))
    revoked = city.issue()
    city.event(revoked, Kind.REVOKE)
    city.publish()
    shown = city.present(licences[0], ["entity_name"], nonce="n", audience="a")
    bundles = [city.bundle(licence, anchor=city.attested()) for licence in (*licences, revoked)]
    bundles.append(city.bundle(licences[0], text=shown))
    return Honest(city, licences, revoked, tuple(json.loads(bundle.to_bytes()) for bundle in bundles))


WORLD = honest()
POLICY = WORLD.city.policy()
REAL = [canonical_json(document) for document in WORLD.documents]


def judge(data: bytes) -> Verdict:
    verdict = verify(data, POLICY, now_s=NOW)
    if verdict.state is State.VALID:
        assert verdict.presented is not None
        originals = {licence.claims.event_id: licence for licence in WORLD.licences}
        original = originals[verdict.presented.claims.event_id]
        assert verdict.presented.claims == original.claims
        assert verdict.presented.disclosed.items() <= parse(original.text).disclosed.items()
    assert (verdict.reason is not None) == (verdict.state is State.INVALID)
    assert bool(verdict.missing) == (verdict.state is State.UNKNOWN)
    return verdict


def texts(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in texts(inner, (*path, key))]
    if isinstance(value, list):
        return [leaf for at, inner in enumerate(value) for leaf in texts(inner, (*path, at))]
    return [path] if isinstance(value, str) else []


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    inner = replaced(document[path[0]], path[1:], value)
    if isinstance(document, list):
        return [inner if at == path[0] else other for at, other in enumerate(document)]
    return {**document, path[0]: inner}


def value_at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def edited(text: str, data: st.DataObject) -> str:
    """Change one character, or one byte under the base64url of one part."""
    parts = text.split(".")
    if len(parts) == 3 and data.draw(st.booleans()):
        at = data.draw(st.integers(0, 2))
        try:
            raw = bytearray(base64.urlsafe_b64decode(parts[at] + "=" * (-len(parts[at]) % 4)))
        except ValueError:
            return text + "="
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
        parts[at] = base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("=")
        return ".".join(parts)
    at = data.draw(st.integers(0, len(text)))
    new = data.draw(st.sampled_from(["", "A", "~", ".", "\n", "\\", '"', "１", "é", "\ud800", "{"]))
    return text[:at] + new + text[at + data.draw(st.integers(0, 2)) :]


def test_the_documents_are_valid_but_the_revoked_one() -> None:
    states = [judge(data).state for data in REAL]
    assert states == [State.VALID, State.VALID, State.VALID, State.INVALID, State.VALID]


@given(st.sampled_from(REAL), st.data())
@settings(max_examples=250, deadline=None)
def test_bytes_changed_in_a_bundle_never_raise_and_never_change_what_is_valid(
    real: bytes, data: st.DataObject
) -> None:
    changed = bytearray(real)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    judge(bytes(changed))


@given(st.sampled_from(WORLD.documents), st.data())
@settings(max_examples=250, deadline=None)
def test_texts_changed_in_a_bundle_never_raise_and_never_change_what_is_valid(
    document: dict[str, Any], data: st.DataObject
) -> None:
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(texts(document)))
        document = replaced(document, path, edited(value_at(document, path), data))
    judge(
        json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode(
            "utf-8", "surrogatepass"
        )
    )


@given(st.sampled_from(REAL), st.sampled_from(["credential", "issuer"]), st.data())
@settings(max_examples=150, deadline=None)
def test_packed_texts_changed_in_a_bundle_never_raise_and_never_change_what_is_valid(
    real: bytes, name: str, data: st.DataObject
) -> None:
    bundle = Bundle.parse(real)
    changed: dict[str, Any] = {name: edited(getattr(bundle, name), data)}
    try:
        packed = replace(bundle, **changed).to_bytes()
    except Malformed:
        packed = b""
    verdict = judge(packed)
    if packed:  # what a bundle has parsed already never changes the verdict
        assert verdict == verify(replace(bundle, **changed, opened={}), POLICY, now_s=NOW)


@given(st.lists(st.integers(0, len(WORLD.documents) - 1), min_size=9, max_size=9), st.sets(st.integers(0, 8)))
@settings(max_examples=150, deadline=None)
def test_parts_of_other_bundles_never_make_a_revoked_licence_valid(
    chosen: list[int], dropped: set[int]
) -> None:
    names = sorted(WORLD.documents[0])
    mixed = {name: WORLD.documents[n][name] for name, n in zip(names, chosen, strict=True)}
    for at in dropped:
        if names[at] in ("anchor", "checkpoint", "inclusion", "issuer", "recognition", "status"):
            mixed[names[at]] = None
    verdict = judge(canonical_json(mixed))
    if mixed["credential"] == WORLD.documents[3]["credential"]:
        assert verdict.state is not State.VALID
    if mixed["status"] is None:
        assert verdict.state is not State.VALID


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode()))
@settings(max_examples=200)
def test_any_bytes_are_malformed(data: bytes) -> None:
    verdict = judge(data)
    assert (verdict.state, verdict.reason) == (State.INVALID, Reason.MALFORMED)


@given(st.integers(-(1 << 62), 1 << 62), st.text(max_size=20), st.text(max_size=20))
@settings(max_examples=100, deadline=None)
def test_no_clock_and_no_challenge_raise(now_s: int, nonce: str, audience: str) -> None:
    verdict = verify(REAL[4], POLICY, now_s=now_s, expected=Expected(nonce, audience))
    assert verdict.state is not State.VALID


# --- reading a verdict


def test_verdict_of_unknown_names_everything_that_is_missing_in_the_order_of_the_steps() -> None:
    document = {**WORLD.documents[0], "status": None, "issuer": None, "anchor": None}
    verdict = verify(
        canonical_json(document), WORLD.city.policy(anchor="proved"), now_s=NOW, expected=Expected("n", "a")
    )
    assert verdict.missing == (Missing.ISSUER, Missing.STATUS, Missing.ANCHOR, Missing.BEARER)
    assert verdict.last_known is None and verdict.facts == {"checkpoint": NOW}


@pytest.mark.parametrize("alg", ["EdDSA", "ES256", "SM2"])
def test_issuers_of_each_algorithm_verify(alg: Any) -> None:
    city = build_city("nangang")
    city.issuer(alg=alg)
    licence = city.issue()
    city.publish()
    assert verify(city.bundle(licence).to_bytes(), city.policy(), now_s=NOW).state is State.VALID


def test_a_licence_of_chinese_names_is_valid() -> None:
    city = build_city("xigang")
    licence = city.issue(values={"entity_name": "海港（上海）有限公司", "address": "浦东新区１２３号"})
    city.publish()
    verdict = verify(city.bundle(licence).to_bytes(), city.policy(), now_s=NOW)
    assert verdict.state is State.VALID and verdict.presented is not None
    assert verdict.presented.disclosed == {
        "entity_name": "海港（上海）有限公司",
        "address": "浦东新区１２３号",
    }
