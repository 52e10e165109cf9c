"""`POST /licences/verify` and an offline bundle never disagree, whatever happened before; and both say what happened.

The histories are a real service's: its book, its witnesses, its published files; some of it stays unpublished, or without a quorum.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cli.licence.department import Department, LicenceRef, ref_of
from cli.licence.registrar import HISTORY_AGE_S
from cli.licence.verify_command import verdict_json
from ledger.licences.bundles import BundleMaker
from ledger.licences.events import Code
from ledger.licences.leaf import FINAL
from ledger.licences.publish import STATUS_LIFETIME_S, STATUS_RENEW_S, STATUS_TTL_S
from ledger.licences.reasons import Reason, State
from ledger.licences.sdjwt import Claims, parse
from ledger.licences.verify import Expected, verify
from ledger.log.errors import CosignatureMissing
from tests.api.clients import Clock
from tests.api.licences.conftest import NOW, USCC, VERIFIER, WITNESSES, LicenceWorld, key, running_world
from tests.ledger.licences.world import TestCity, build_city

DAY = 86_400
ISSUER_AGE_S = 7 * DAY
EXAMPLES = max(8, settings.default.max_examples // 12)  # each is a whole service; `test --full` takes more


def other_city() -> tuple[TestCity, Any]:
    """A city with one licence, of the same type, which only a recognition makes known here."""
    other = build_city("xigang", now_s=NOW)
    licence = other.issue()
    other.publish()
    return other, licence


OTHER, THEIRS = other_city()


Event = Callable[[Department, LicenceRef], object]
OPEN = frozenset({Code.VALID, Code.SUSPENDED})
CHANGES: dict[str, tuple[frozenset[Code], Code, Event]] = {
    "suspend": (frozenset({Code.VALID}), Code.SUSPENDED, Department.suspend),
    "resume": (frozenset({Code.SUSPENDED}), Code.VALID, Department.resume),
    "revoke": (OPEN, Code.WITHDRAWN, lambda office, licence: office.revoke(licence, Code.WITHDRAWN)),
    "transfer out": (frozenset({Code.VALID}), Code.TRANSFERRED, Department.transfer_out),
}


@dataclass
class Known:
    """A licence and what became of it. `position` is its log index; `other` has the slot that it claims too."""

    text: str
    position: int | None
    code: Code = Code.VALID
    other: Known | None = None
    is_erased: bool = False

    @property
    def claims(self) -> Claims:
        return parse(self.text).claims


@dataclass
class Seen:
    """What a quorum has made visible: how many entries, when, and the newest token among them with its codes."""

    size: int
    at_s: int
    token_at: int
    codes: dict[str, Code]


@dataclass
class Story:
    """A service, what happened in it, and what of that is published."""

    world: LicenceWorld
    known: list[Known] = field(default_factory=list)
    token_at: int = -STATUS_RENEW_S
    codes: dict[str, Code] = field(default_factory=dict)
    history_at: int = 0
    history_size: int = 0
    seen: Seen | None = None
    keys: int = 0

    @property
    def now(self) -> int:
        return int(self.world.clock())

    @property
    def department(self) -> Department:
        return self.world.departments[USCC]

    def do(self, step: str, n: int) -> None:
        """Let one thing happen; what the service would refuse does not."""
        one = self.known[n % len(self.known)]
        if step in CHANGES:
            self.change(one, *CHANGES[step])
            return
        match step:
            case "issue" | "take over":
                previous = THEIRS.leaf_hash if step == "take over" else None
                order = self.world.order(valid_from=self.now + 100 * (n % 2), expires_at=self.now + 3 * DAY)
                self.log(order, previous=previous, is_transfer=step == "take over")
            case "unlogged":
                slot = self.world.client.reserve(self.department.speaker, 1)[0]
                self.known.append(Known(self.department.sign(self.world.order(), slot), None))
            case "same slot" if one.position is not None:
                slot = (one.claims.list, one.claims.index)
                text = self.department.sign(self.world.order(), slot)
                self.known.append(Known(text, None, other=one))
            case "supersede" if one.code is Code.VALID and one.position is not None:
                self.supersede(one)
            case "erase" if one.position is not None and not one.is_erased:
                self.department.erase(ref_of(one.text))
                one.is_erased = True
            case "recognise":
                assert OTHER.published is not None
                types = [self.world.kind.code]
                self.world.registrar.recognise(OTHER.trust(anchor=None), OTHER.published.checkpoint, types)
            case "retire" | "compromise":
                self.change_key(step)
            case "publish" | "publish without a quorum":
                self.publish(len(WITNESSES) if step == "publish" else 2)
            case "wait":
                self.world.clock.now_s += 5 * 3600

    def log(self, order: Any, **how: Any) -> None:
        made = self.department.issue(order, **how)
        self.known.append(Known(made.credential, made.receipt.index))

    def change(self, one: Known, before: frozenset[Code], after: Code, event: Event) -> None:
        if one.position is not None and one.code in before:
            event(self.department, ref_of(one.text))
            one.code = after

    def supersede(self, one: Known) -> None:
        identifier = one.claims.identifier
        order = self.world.order(serial=identifier.serial, version=int(identifier.version) + 1)
        self.log(order, previous=ref_of(one.text).leaf_hash)
        one.code = Code.CANCELLED

    def change_key(self, how: str) -> None:
        """End the department's key, and give it another."""
        end = self.world.registrar.retire_key if how == "retire" else self.world.registrar.compromise_key
        end(USCC, self.department.key.public.key_id)
        self.keys += 1
        made = key(f"department {USCC} {self.keys}")
        self.world.registrar.add_key(USCC, made.public, [self.world.kind.code])
        self.world.departments[USCC] = Department(USCC, made, self.world.client, now_s=self.world.clock)
        self.note_history()

    def publish(self, alive: int) -> None:
        """Do what the duties and the registrar's desk do, with so many witnesses."""
        codes = {one.text: one.code for one in self.known if one.position is not None}
        if codes and (codes != self.codes or self.now - self.token_at >= STATUS_RENEW_S):
            self.token_at, self.codes = self.now, codes
        self.world.post.dead = set(WITNESSES[alive:])
        try:
            self.world.service.publish()
        except CosignatureMissing:
            assert alive < 3
        self.world.registrar.attend(0)
        self.note_history()
        size = self.world.service.book.size
        if self.world.service.publisher.is_cosigned() and (self.seen is None or self.seen.size < size):
            self.seen = Seen(size, self.now, self.token_at, self.codes)

    def note_history(self) -> None:
        self.history_at, self.history_size = self.now, self.world.service.book.size

    def expected(self, one: Known, now_s: int) -> tuple[str, str | None]:
        """The verdict by a model that knows what happened, not how it is written down."""
        seen, claims = self.seen, one.claims
        assert seen is not None
        holder = one if one.other is None else one.other
        logged = holder.position is not None and holder.position < seen.size
        if logged and one.other is not None:
            return State.INVALID, Reason.NOT_IN_LOG
        newest = max(seen.at_s, self.history_at, seen.token_at, claims.issued_at)
        lacks = newest > now_s + 60 or now_s >= self.history_at + HISTORY_AGE_S
        lacks = lacks or now_s - self.history_at > ISSUER_AGE_S or not logged
        if logged:
            age_s, code = now_s - seen.token_at, seen.codes[one.text]
            stale = age_s > STATUS_TTL_S or age_s >= STATUS_LIFETIME_S
            lacks = lacks or stale
            if code in FINAL:
                return State.INVALID, Reason.REVOKED
            if code is Code.SUSPENDED and not stale:
                return State.INVALID, Reason.SUSPENDED
        time_s = max(now_s, newest)
        if claims.expires_at is not None and time_s >= claims.expires_at:
            return State.INVALID, Reason.EXPIRED
        if time_s < claims.not_before:
            return State.INVALID, Reason.NOT_YET_VALID
        return (State.UNKNOWN if lacks else State.VALID), None

    def online(self, text: str, now_s: int, expected: Expected | None = None) -> dict[str, Any]:
        """Ask the service at a time."""
        self.world.clock.now_s = now_s
        body = {"presentation": text}
        if expected is not None:
            body |= {"nonce": expected.nonce, "audience": expected.audience}
        found: dict[str, Any] = self.world.http.post("/licences/verify", json=body).json()
        return found

    def bundle(self, text: str, **changes: Any) -> bytes:
        """Return the bundle that the service would make now."""
        book, policy = self.world.service.book, self.world.service.policy
        maker = BundleMaker(book.folder.root, look_every_s=0.0, quorum=policy.cities[0].quorum)
        return maker.bundle_of(text, **changes).to_bytes()

    def offline(self, bundle: bytes, now_s: int, expected: Expected | None = None) -> dict[str, Any]:
        return verdict_json(verify(bundle, self.world.service.policy, now_s=now_s, expected=expected))


@contextmanager
def told(steps: list[tuple[str, int]]) -> Iterator[Story]:
    """Let a story happen: one licence is published, then the steps."""
    with (
        tempfile.TemporaryDirectory(prefix="shuyao-test-") as folder,
        running_world(Path(folder), Clock(NOW)) as world,
    ):
        story = Story(world)
        world.department()
        story.log(world.order(expires_at=NOW + 3 * DAY))
        story.publish(len(WITNESSES))
        for step, n in steps:
            story.do(step, n)
        yield story


STEPS = [
    "issue",
    "take over",
    "unlogged",
    "same slot",
    "suspend",
    "resume",
    "revoke",
    "transfer out",
    "supersede",
    "erase",
    "recognise",
    "retire",
    "compromise",
    "publish",
    "publish without a quorum",
    "wait",
]
CHALLENGE = Expected("nonce", VERIFIER)


def require_agreement(story: Story, offsets: list[int]) -> None:
    """Judge every licence at many times, online and offline, and by what happened."""
    at_s = story.now
    for one in story.known:
        bundle = story.bundle(one.text)
        for now_s in sorted({at_s + offset for offset in (0, -61, DAY + 1, *offsets)}):
            online = story.online(one.text, now_s)
            assert online == story.offline(bundle, now_s)
            assert (online["verdict"], online["reason"]) == story.expected(one, now_s)
    story.world.clock.now_s = at_s
    shown = story.world.wallet.present(
        story.known[0].text, (), nonce=CHALLENGE.nonce, audience=CHALLENGE.audience
    )
    bundle = story.bundle(shown)
    for now_s in (at_s, at_s + 61):
        for expected in (CHALLENGE, Expected("another", VERIFIER), Expected("nonce", "another")):
            assert story.online(shown, now_s, expected) == story.offline(bundle, now_s, expected)
    require_no_contradiction(story, at_s)


def require_no_contradiction(story: Story, now_s: int) -> None:
    """A licence of a recognised city has more facts offline, in its bundle; with the same facts the verdict is the same."""
    online = story.online(THEIRS.text, now_s)
    assert online == story.offline(OTHER.bundle(THEIRS).to_bytes(), now_s)
    assert online["verdict"] == State.UNKNOWN and "city" in online["missing"]
    found = story.world.service.bundles.recognition_of(OTHER.origin)
    if found is not None:
        whole = story.offline(OTHER.bundle(THEIRS, recognition=found).to_bytes(), now_s)
        assert whole["verdict"] in (State.VALID, State.UNKNOWN)


@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9)), max_size=12),
    st.lists(st.integers(-2 * DAY, 9 * DAY), min_size=1, max_size=3),
)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[
        Phase.explicit,
        Phase.reuse,
        Phase.generate,
    ],  # a dozen steps say enough, and to shrink them takes minutes
)
def test_online_and_offline_agree_for_every_history_and_now_and_with_what_happened(
    steps: list[tuple[str, int]], offsets: list[int]
) -> None:
    with told(steps) as story:
        require_agreement(story, offsets)


LONG = [
    [("issue", 1), ("supersede", 0), ("publish", 0), ("erase", 0), ("revoke", 1), ("wait", 0)],
    [("recognise", 0), ("take over", 0), ("publish", 0), ("transfer out", 1), ("publish", 0)],
    [("suspend", 0), ("publish without a quorum", 0), ("issue", 0), ("unlogged", 0), ("same slot", 0)],
    [("compromise", 0), ("issue", 0), ("publish", 0), ("retire", 0), ("same slot", 1), ("suspend", 1)],
    [("wait", 0), ("wait", 0), ("publish without a quorum", 0), ("wait", 0), ("resume", 0), ("publish", 0)],
]


@pytest.mark.parametrize("steps", LONG, ids=lambda steps: steps[0][0])
def test_online_and_offline_agree_after_each_kind_of_event(steps: list[tuple[str, int]]) -> None:
    with told(steps) as story:
        require_agreement(story, [60, DAY, 3 * DAY])
