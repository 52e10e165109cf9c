"""The registry on the chain against the log: one to one, and every way to fall out of step is named with its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.anchors.names import city_id, issuer_id, type_id
from ledger.anchors.types import (
    IssuerBound,
    IssuerRecognised,
    KeyCompromised,
    KeyRegistered,
    KeyRetired,
    RecognitionWithdrawn,
)
from ledger.encoding import Address, Digest, canonical_json
from ledger.errors import ChainMismatch, ContractReverted
from ledger.licences.leaf import Kind
from ledger.replay.findings import Difference, Rule
from ledger.replay.keys import KeyBook
from ledger.replay.licences import Against, LogReplay, replay_log
from ledger.replay.registry import RegistryFacts, check_registry, collect_registry
from ledger.replay.stages import ReplayOptions
from ledger.types import Event, EventRef
from tests.ledger.anchors.conftest import trust as trust
from tests.ledger.anchors.conftest import trust_chain as trust_chain
from tests.ledger.anchors.world import REGISTRAR, Trust
from tests.ledger.replay.synthetic import (
    CITY,
    CONTRACT,
    ISSUER,
    ORIGIN,
    OTHER_ISSUER,
    TYPE_A,
    TYPE_B,
    SyntheticLog,
    honest_log,
    seed,
    signing_key,
)

OWN = city_id(ORIGIN)
ONE, OTHER = issuer_id(ISSUER), issuer_id(OTHER_ISSUER)
ELSEWHERE = city_id("other.example")
A, B = type_id(TYPE_A), type_id(TYPE_B)
BLOCK = 100  # of the first event; each has a block of its own


def key_id(name: str) -> Digest:
    return Digest(signing_key(name).public.key_id)


def honest_events() -> list[Event]:
    """What an honest registrar writes for `honest_log`."""
    made: list[Callable[[EventRef], Event]] = [
        lambda at: IssuerRecognised(ONE, A, OWN, at=at),
        lambda at: IssuerRecognised(ONE, B, OWN, at=at),
        lambda at: KeyRegistered(ONE, key_id("one"), at=at),
        lambda at: IssuerRecognised(OTHER, A, OWN, at=at),
        lambda at: KeyRegistered(OTHER, key_id("two"), at=at),
        lambda at: RecognitionWithdrawn(OTHER, A, OWN, at=at),
        lambda at: KeyRetired(OTHER, key_id("two"), at=at),
        lambda at: KeyCompromised(OTHER, key_id("two"), at=at),
        lambda at: KeyRegistered(ONE, key_id("three"), at=at),
        lambda at: IssuerRecognised(ELSEWHERE, A, OWN, at=at),
        lambda at: IssuerBound(ONE, Address(bytes(20)), at=at),
    ]
    return [make(place(BLOCK + i)) for i, make in enumerate(made)]


def place(block: int) -> EventRef:
    return EventRef(block, 0, seed(f"block {block}"), seed(f"tx {block}"))


def replayed(folder: Path, log: SyntheticLog, events: list[Event]) -> LogReplay:
    registry = RegistryFacts(CONTRACT, tuple(events))
    options = ReplayOptions(rand=bytes(8), workers=0)
    return replay_log(log.write(folder), options=options, against=Against(city=CITY, registry=registry))


def differences(
    folder: Path, log: SyntheticLog, events: list[Event]
) -> list[tuple[Rule, int | None, int | None]]:
    return [(d.rule, d.index, d.block) for d in replayed(folder, log, events).findings.kept]


def key_events(log: SyntheticLog) -> dict[str, int]:
    """Log indexes of the honest log's key events and its recognition."""
    one, two = 0, 1
    kinds = [entry[1] for entry in log.entries]
    return {
        "one": one,
        "two": two,
        "retired": kinds.index(Kind.KEY_RETIRE),
        "compromised": kinds.index(Kind.KEY_COMPROMISE),
        "three": kinds.index(Kind.KEY_ADD, 2),
        "recognised": kinds.index(Kind.RECOGNISE),
    }


def test_an_honest_registry_agrees_with_its_log(tmp_path: Path) -> None:
    replay = replayed(tmp_path, honest_log(), honest_events())
    assert replay.findings.kept == []
    assert (replay.registry_events, replay.to_json()["registry_events"]) == (11, 11)
    assert not any("registry" in what for what in replay.unchecked)


def test_without_a_registry_the_result_says_so(tmp_path: Path) -> None:
    options = ReplayOptions(rand=bytes(8), workers=0)
    replay = replay_log(honest_log().write(tmp_path), options=options, against=Against(city=CITY))
    assert any("registry" in what for what in replay.unchecked)


def test_every_event_left_out_is_found_with_leaf_and_block(tmp_path: Path) -> None:
    log, events = honest_log(), honest_events()
    at = key_events(log)
    expected = {
        0: [(Rule.REGISTRY_TYPE, at["one"], None)],
        1: [(Rule.REGISTRY_TYPE, at["one"], None)],
        2: [(Rule.REGISTRY_KEY, at["one"], None)],
        3: [],  # recognised and withdrawn, or never: the same in the end
        4: [(Rule.REGISTRY_KEY, at["two"], None)],
        5: [(Rule.REGISTRY_TYPE, at["compromised"], BLOCK + 3)],
        6: [(Rule.REGISTRY_KEY, at["retired"], BLOCK + 4)],
        7: [(Rule.REGISTRY_KEY, at["compromised"], BLOCK + 4)],
        8: [(Rule.REGISTRY_KEY, at["three"], None)],
        9: [(Rule.REGISTRY_TYPE, at["recognised"], None)],
    }
    for left_out, found in expected.items():
        rest = events[:left_out] + events[left_out + 1 :]
        assert differences(tmp_path / str(left_out), log, rest) == found


@pytest.mark.parametrize(
    ("event", "rule", "leaf"),
    [
        (KeyRegistered(OTHER, key_id("one"), at=place(900)), Rule.REGISTRY_KEY, None),
        (KeyRegistered(ONE, Digest(seed("stray")), at=place(900)), Rule.REGISTRY_KEY, None),
        (KeyRetired(ONE, key_id("one"), at=place(900)), Rule.REGISTRY_KEY, "one"),
        (KeyCompromised(ONE, key_id("three"), at=place(900)), Rule.REGISTRY_KEY, "three"),
        (IssuerRecognised(OTHER, B, OWN, at=place(900)), Rule.REGISTRY_TYPE, None),
        (IssuerRecognised(ONE, A, ELSEWHERE, at=place(900)), Rule.REGISTRY_TYPE, None),
        (IssuerRecognised(OTHER, A, OWN, at=place(900)), Rule.REGISTRY_TYPE, "compromised"),
        (IssuerRecognised(ELSEWHERE, B, OWN, at=place(900)), Rule.REGISTRY_TYPE, "recognised"),
        (RecognitionWithdrawn(ONE, A, OWN, at=place(900)), Rule.REGISTRY_TYPE, "one"),
    ],
)
def test_an_event_that_the_log_does_not_bear_out_is_found(
    tmp_path: Path, event: Event, rule: Rule, leaf: str | None
) -> None:
    log = honest_log()
    index = None if leaf is None else key_events(log)[leaf]
    assert differences(tmp_path, log, [*honest_events(), event]) == [(rule, index, 900)]


def test_a_type_stays_recognised_while_one_key_of_the_issuer_may_sign_it(tmp_path: Path) -> None:
    log = SyntheticLog()
    log.key_add("old", TYPE_A)
    log.key_add("new", TYPE_A)
    log.key_end(Kind.KEY_RETIRE, "old")
    events: list[Event] = [
        IssuerRecognised(ONE, A, OWN, at=place(1)),
        KeyRegistered(ONE, key_id("old"), at=place(2)),
        KeyRegistered(ONE, key_id("new"), at=place(3)),
        KeyRetired(ONE, key_id("old"), at=place(4)),
    ]
    assert differences(tmp_path, log, events) == []


def test_a_newer_recognition_of_a_city_replaces_its_types(tmp_path: Path) -> None:
    log = SyntheticLog()
    log.recognise("other.example", TYPE_A)
    newest = log.recognise("other.example", TYPE_B)
    events: list[Event] = [
        IssuerRecognised(ELSEWHERE, A, OWN, at=place(1)),
        IssuerRecognised(ELSEWHERE, B, OWN, at=place(2)),
    ]
    assert differences(tmp_path / "1", log, events) == [(Rule.REGISTRY_TYPE, newest, 1)]
    events.append(RecognitionWithdrawn(ELSEWHERE, A, OWN, at=place(3)))
    assert differences(tmp_path / "2", log, events) == []


def test_a_recognition_without_city_or_types_is_a_difference(tmp_path: Path) -> None:
    log = SyntheticLog()
    for extra in (b"{}", b'{"origin":"other.example"}', b'{"origin":1,"types":[]}', b"["):
        log.add(log.leaf(Kind.RECOGNISE, CITY.registrar, extra=extra))
    rules = [(d.rule, d.index) for d in replayed(tmp_path, log, []).findings.kept]
    assert rules == [(Rule.LEAF_MALFORMED, index) for index in range(4)]


def test_an_issuer_or_city_that_can_have_no_id_is_a_difference(tmp_path: Path) -> None:
    log = SyntheticLog()
    log.key_add("one", TYPE_A, issuer="91350100M000100Y44")
    log.recognise("no origin", TYPE_A)
    kept: list[Difference] = replayed(tmp_path, log, []).findings.kept
    assert [(d.rule, d.index) for d in kept] == [(Rule.REGISTRY_KEY, 0), (Rule.REGISTRY_TYPE, 1)]


def test_recognitions_without_end_are_refused_before_they_fill_the_memory() -> None:
    keys, many = KeyBook(None, None), [f"{n:021}" for n in range(2_500)]
    taken = (1 << 20) // (len(many) + 1)
    for i in range(taken):
        extra = canonical_json({"origin": f"{i}.example", "types": many})
        assert keys.recognise(extra, i) is None
    assert "more than 1048576" in str(
        keys.recognise(canonical_json({"origin": ORIGIN, "types": many}), taken)
    )


def test_issuers_and_types_without_end_are_one_difference() -> None:
    keys = KeyBook(None, None)
    jwk = signing_key("one").public.jwk()
    extra = canonical_json({"issuer": ISSUER, "jwk": jwk, "types": [TYPE_A, TYPE_B]})
    assert keys.apply(Kind.KEY_ADD, extra, 5) is None
    facts = RegistryFacts(CONTRACT, ())
    found = list(check_registry(facts, origin=ORIGIN, keys=keys, recognitions_max=1))
    assert [(d.rule, d.index) for d in found] == [(Rule.REGISTRY_TYPE, 5)]


# --- from a chain ----------------------------------------------------------------------------------------


def test_a_registry_is_read_from_a_chain_and_compared(trust: Trust, tmp_path: Path) -> None:
    log, registry = SyntheticLog(), trust.issuers
    log.key_add("one", TYPE_A)
    for call in (registry.recognise(ONE, A, OWN), registry.register_key_for(ONE, key_id("one"))):
        trust.send(REGISTRAR, call)
    facts = collect_registry(trust.chain, registry.address, from_block=trust.deployment.block)
    assert [type(event) for event in facts.events] == [IssuerRecognised, KeyRegistered]
    assert differences(tmp_path / "1", log, list(facts.events)) == []
    block = trust.send(REGISTRAR, registry.revoke_key(ONE, key_id("one"))).block
    facts = collect_registry(trust.chain, registry.address)
    assert differences(tmp_path / "2", log, list(facts.events)) == [(Rule.REGISTRY_KEY, 0, block)]


def test_an_address_without_a_registry_is_refused(trust_chain: Trust) -> None:
    with pytest.raises(ChainMismatch):
        collect_registry(trust_chain.chain, Address(b"\x77" * 20))
    with pytest.raises(ContractReverted):
        collect_registry(trust_chain.chain, trust_chain.deployment.anchor)
