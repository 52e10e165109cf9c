"""What a stranger wrote from the documents judges bundles as this package does."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger.encoding import canonical_json
from ledger.licences.bundle import Bundle
from ledger.licences.events import Code, Kind
from ledger.licences.policy import TrustPolicy
from ledger.licences.verify import Expected, State, verify
from tests.ledger.licences import stranger
from tests.ledger.licences.world import DAY, Licence, TestCity, build_city

ASKED = ("n-17", "https://bank.example")
Verdict = tuple[str, str | None]


def both(
    bundle: Bundle | bytes, policy: TrustPolicy, now_s: int, bearer: tuple[str, str] | None = None
) -> tuple[Verdict, Verdict]:
    """Return the stranger's verdict and ours: state, and reason or the first thing that is missing."""
    data = bundle if isinstance(bundle, bytes) else bundle.to_bytes()
    theirs = stranger.judge(data, json.dumps(policy.to_json()).encode(), now_s=now_s, bearer=bearer)
    ours = verify(data, policy, now_s=now_s, expected=None if bearer is None else Expected(*bearer))
    reason = ours.reason or next(iter(ours.missing), None)
    return theirs[:2], (ours.state.value, None if reason is None else reason.value)


def test_the_stranger_has_nothing_of_this_repository() -> None:
    tree = ast.parse(Path(str(stranger.__file__)).read_text(encoding="utf8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported == {
        "__future__",
        "base64",
        "cryptography",
        "hashlib",
        "json",
        "typing",
        "zlib",
    }


def test_it_finds_a_licence_valid_and_reads_what_is_disclosed() -> None:
    city = build_city()
    licence = city.issue(values={"entity_name": "海港茶社", "address": "虎门镇１号𠮷"})
    city.publish()
    shown = city.present(licence, ["address"], nonce=ASKED[0], audience=ASKED[1])
    bundle = city.bundle(licence, text=shown, anchor=city.attested()).to_bytes()
    policy = city.policy(anchor="attested")
    found = stranger.judge(bundle, json.dumps(policy.to_json()).encode(), now_s=city.now_s, bearer=ASKED)
    assert found == ("VALID", None, {"address": "虎门镇１号𠮷"})
    assert verify(bundle, policy, now_s=city.now_s, expected=Expected(*ASKED)).state is State.VALID


def suspended(city: TestCity) -> Licence:
    licence = city.issue()
    city.event(licence, Kind.SUSPEND)
    return licence


def revoked(city: TestCity) -> Licence:
    licence = city.issue()
    city.event(licence, Kind.REVOKE, Code.LAPSED)
    return licence


def transferred(city: TestCity) -> Licence:
    licence = city.issue()
    city.event(licence, Kind.TRANSFER_OUT)
    return licence


def superseding(city: TestCity) -> Licence:
    return city.issue(previous=city.issue().leaf_hash)


def taken_over(city: TestCity) -> Licence:
    return city.issue(previous=city.issue().leaf_hash, transfer_in=True, expires_at=None)


def never_logged(city: TestCity) -> Licence:
    other = city.issue()
    return replace(city.issue(logged=False), index=other.index)


def too_early(city: TestCity) -> Licence:
    return city.issue(not_before=city.now_s + DAY)


def over(city: TestCity) -> Licence:
    return city.issue(not_before=city.now_s - DAY, expires_at=city.now_s)


def of_a_retired_key(city: TestCity) -> Licence:
    code = city.issuer().code
    city.end_key(code, Kind.KEY_RETIRE)
    return city.issue()


def of_a_key_retired_later(city: TestCity) -> Licence:
    licence = city.issue()
    city.end_key(licence.claims.issuer, Kind.KEY_RETIRE)
    return licence


def of_a_compromised_key(city: TestCity) -> Licence:
    code = city.issuer().code
    city.end_key(code, Kind.KEY_COMPROMISE)
    return city.issue()


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (TestCity.issue, ("VALID", None)),
        (superseding, ("VALID", None)),
        (taken_over, ("VALID", None)),
        (of_a_key_retired_later, ("VALID", None)),
        (suspended, ("INVALID", "Suspended")),
        (revoked, ("INVALID", "Revoked")),
        (transferred, ("INVALID", "Revoked")),
        (never_logged, ("INVALID", "NotInLog")),
        (too_early, ("INVALID", "NotYetValid")),
        (over, ("INVALID", "Expired")),
        (of_a_retired_key, ("INVALID", "KeyRetired")),
        (of_a_compromised_key, ("INVALID", "KeyCompromised")),
    ],
)
def test_both_come_to_the_same_verdict(made: Callable[[TestCity], Licence], expected: Verdict) -> None:
    city = build_city()
    for _ in range(5):
        city.issue()
    licence = made(city)
    city.issue()
    city.publish()
    assert both(city.bundle(licence), city.policy(), city.now_s) == (expected, expected)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"checkpoint": None}, "checkpoint"),
        ({"issuer": None}, "issuer"),
        ({"inclusion": None}, "inclusion"),
        ({"status": None}, "status"),
        ({"anchor": None}, "anchor"),
    ],
)
def test_what_is_left_out_is_missing_to_both(changes: dict[str, Any], missing: str) -> None:
    city = build_city()
    licence = city.issue()
    city.publish()
    bundle = city.bundle(licence, **{"anchor": city.attested(), **changes})
    policy = city.policy(anchor="attested")
    theirs, ours = both(bundle, policy, city.now_s)
    assert (theirs, ours[0]) == (("UNKNOWN", missing), "UNKNOWN")
    assert missing in verify(bundle, policy, now_s=city.now_s).missing


def test_too_few_witnesses_and_what_is_stale_are_missing_to_both() -> None:
    city = build_city()
    licence = city.issue()
    city.publish()
    few = city.bundle(licence, checkpoint=city.checkpoint(by=range(2)))
    assert both(few, city.policy(), city.now_s) == (("UNKNOWN", "quorum"),) * 2
    bundle, policy = city.bundle(licence), city.policy()
    for now_s, missing in ((city.now_s + DAY + 1, "status"), (city.now_s - 61, "clock")):
        assert both(bundle, policy, now_s) == (("UNKNOWN", missing),) * 2


@pytest.mark.parametrize(
    ("nonce", "audience", "late_s", "expected"),
    [
        (*ASKED, 0, ("VALID", None)),
        ("other", ASKED[1], 0, ("INVALID", "NonceMismatch")),
        (ASKED[0], "https://other.example", 0, ("INVALID", "AudienceMismatch")),
        (*ASKED, 61, ("UNKNOWN", "bearer")),
    ],
)
def test_both_ask_the_bearer(nonce: str, audience: str, late_s: int, expected: Verdict) -> None:
    city = build_city()
    licence = city.issue()
    city.publish()
    shown = city.present(licence, ["entity_name"], nonce=nonce, audience=audience)
    bundle = city.bundle(licence, text=shown)
    assert both(bundle, city.policy(), city.now_s + late_s, ASKED) == (expected, expected)
    assert both(city.bundle(licence), city.policy(), city.now_s, ASKED) == (("UNKNOWN", "bearer"),) * 2


def test_neither_calls_a_bundle_valid_in_which_anything_was_altered() -> None:
    city = build_city()
    for _ in range(4):
        city.issue()
    licence = city.issue(values={"entity_name": "海港茶社", "address": "虎门镇１号"})
    city.publish()
    shown = city.present(licence, ["entity_name", "address"], nonce=ASKED[0], audience=ASKED[1])
    value = json.loads(city.bundle(licence, text=shown, anchor=city.attested()).to_bytes())
    policy = city.policy(anchor="attested")
    assert both(canonical_json(value), policy, city.now_s, ASKED) == (("VALID", None),) * 2
    count = 0
    for path, altered in alterations(value):
        theirs, ours = both(canonical_json(altered), policy, city.now_s, ASKED)
        assert "VALID" not in (theirs[0], ours[0]), path
        count += 1
    assert count > 80


def alterations(value: Any) -> Iterator[tuple[list[Any], Any]]:
    """Yield the bundle with one value in it altered each time: an end of a text, a number, a kind of value."""
    for path in paths(value):
        at = value
        for step in path:
            at = at[step]
        for other in others(at):
            yield path, replaced(value, path, other)


def paths(value: Any) -> Iterator[list[Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, part in inner:
        if isinstance(part, dict | list):
            yield from ([step, *rest] for rest in paths(part))
        elif part is not None:
            yield [step]


def others(value: Any) -> list[Any]:
    if isinstance(value, str):
        first = "B" if value[:1] != "B" else "C"
        return [first + value[1:], value[:-1] + ("w" if value[-1:] != "w" else "A"), value + "A"]
    return [value + 1]


def replaced(value: Any, path: list[Any], other: Any) -> Any:
    if not path:
        return other
    step, *rest = path
    if isinstance(value, dict):
        return {**value, step: replaced(value[step], rest, other)}
    return [*value[:step], replaced(value[step], rest, other), *value[step + 1 :]]
