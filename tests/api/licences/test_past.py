"""The status at a past time: proved from the log under the verifier's policy, whatever the service answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import httpx
import pytest

from cli.licence.client import CityClient
from cli.licence.department import ref_of
from cli.licence.status import show_status, status_json, status_of
from ledger.licences.bundles import BundleMaker
from ledger.licences.leaf import Code
from ledger.licences.past import PastStatus, opened_token, status_at
from ledger.licences.policy import TrustPolicy
from ledger.licences.reasons import Missing, Reason, State
from ledger.licences.status import StatusBits, StatusClaims, parse_status_token, status_token
from ledger.log.checkpoint import Quorum
from ledger.log.notes import COSIGNATURE, NoteKey, NoteSigner
from ledger.log.tiles import ExpandedTile, TileReader
from tests.api.licences.conftest import NOW, LicenceWorld, key, seed

DAY = 86_400
UNKNOWN_STATUS = (State.UNKNOWN, (Missing.STATUS,))


@dataclass
class Story:
    """A licence that was issued at NOW, suspended at NOW + 100, resumed at NOW + 200 and withdrawn at NOW + 300."""

    world: LicenceWorld
    credential: str
    bundles: dict[int, bytes]  # as they were given at these times

    @property
    def policy(self) -> TrustPolicy:
        return self.world.service.policy

    def at(
        self,
        at_s: int | None,
        *,
        bundle: bytes | None = None,
        policy: TrustPolicy | None = None,
        now_s: int = NOW + 300,
        reader: TileReader | None = None,
        token_of: Callable[[bytes], str | None] | None = None,
        credential: str | None = None,
    ) -> PastStatus:
        return status_at(
            credential or self.credential,
            self.bundles[NOW + 300] if bundle is None else bundle,
            policy or self.policy,
            at_s=at_s,
            now_s=now_s,
            reader=reader or self.world.client.tiles(),
            token_of=token_of or self.world.client.published_token,
        )


@pytest.fixture
def story(world: LicenceWorld) -> Story:
    service = world.service
    service.bundles = BundleMaker(
        service.book.folder.root, quorum=service.policy.cities[0].quorum, look_every_s=0
    )
    made, department = world.issue(), world.department()
    ref, bundles = ref_of(made.credential), {NOW: world.client.bundle(made.credential)}
    changes = [
        lambda: department.suspend(ref),
        lambda: department.resume(ref),
        lambda: department.revoke(ref, Code.WITHDRAWN),
    ]
    for number, change in enumerate(changes, 1):
        world.clock.now_s = NOW + 100 * number
        change()
        world.publish()
        bundles[NOW + 100 * number] = world.client.bundle(made.credential)
    return Story(world, made.credential, bundles)


@pytest.mark.parametrize(
    ("after_s", "code"),
    [(0, 0), (99, 0), (100, 2), (199, 2), (200, 0), (299, 0), (300, 0xE)],
)
def test_the_status_at_each_past_second_is_proved(story: Story, after_s: int, code: int) -> None:
    found = story.at(NOW + after_s)
    assert (found.state, found.code, found.missing) == (State.VALID, code, ())
    assert found.token is not None
    assert found.token.claims.issued_at <= NOW + after_s
    assert found.token.claims.issued_at == NOW + after_s // 100 * 100


def test_now_is_the_time_of_the_newest_checkpoint(story: Story) -> None:
    found = status_json(story.at(None))
    assert (found["state"], found["at"], found["code"], found["status"]) == (
        "VALID",
        NOW + 300,
        0xE,
        "withdrawn",
    )
    stale = story.at(None, bundle=story.bundles[NOW + 200], now_s=NOW + 200 + DAY + 1)
    assert (stale.state, stale.missing, stale.code) == (State.UNKNOWN, (Missing.STATUS,), Code.VALID)
    final = story.at(None, now_s=NOW + 300 + DAY + 1)
    assert (final.state, final.code) == (State.VALID, Code.WITHDRAWN)


def test_a_token_that_was_published_after_the_asked_time_says_nothing_about_it(story: Story) -> None:
    before = story.at(NOW - 1)
    assert (before.state, before.code, before.token) == (State.VALID, Code.NOT_ISSUED, None)
    story.world.clock.now_s = NOW + 400
    made = story.world.department().issue(story.world.order())
    story.world.clock.now_s = NOW + 500
    story.world.publish()
    bundle = story.world.client.bundle(made.credential)
    found = story.at(NOW + 450, credential=made.credential, bundle=bundle, now_s=NOW + 500)
    assert (found.state, found.missing, found.code) == (*UNKNOWN_STATUS, None)
    found = story.at(NOW + 500, credential=made.credential, bundle=bundle, now_s=NOW + 500)
    assert (found.state, found.code) == (State.VALID, Code.VALID)


def test_a_time_after_the_checkpoint_is_not_known_yet(story: Story) -> None:
    found = story.at(NOW + 301)
    assert (found.state, found.missing, found.code) == (State.UNKNOWN, (Missing.CHECKPOINT,), None)
    old = story.at(NOW + 300, bundle=story.bundles[NOW])
    assert (old.state, old.missing, old.code) == (State.UNKNOWN, (Missing.CHECKPOINT,), None)
    behind = story.at(NOW + 300, now_s=NOW + 200)
    assert (behind.state, behind.missing) == (State.UNKNOWN, (Missing.CLOCK,))


# --- services that lie -------------------------------------------------------------------------------------


def first_token(story: Story) -> str:
    return story.world.client.status_list(0, at_s=NOW)


def test_a_service_that_gives_its_first_token_for_every_one_is_not_believed(story: Story) -> None:
    first = first_token(story)
    for at_s in (NOW + 150, NOW + 300, None):
        found = story.at(at_s, token_of=lambda _digest: first)
        assert (found.state, found.missing, found.code) == (*UNKNOWN_STATUS, None)


def test_a_service_that_withholds_a_token_proves_nothing_with_an_older_one(story: Story) -> None:
    honest = story.world.client.published_token

    def withholding(digest: bytes) -> str | None:
        text = honest(digest)
        return None if text == story.world.client.status_list(0, at_s=NOW + 100) else text

    found = story.at(NOW + 150, token_of=withholding)
    assert (found.state, found.missing) == UNKNOWN_STATUS
    assert story.at(NOW + 250, token_of=withholding).code == Code.VALID


@dataclass
class LyingTiles:
    """The log's tiles, with other entries in the place of some, and hashes that fit them."""

    honest: TileReader
    change: Callable[[bytes], bytes]

    def hashes(self, level: int, n: int, width: int) -> bytes:
        return self.honest.hashes(level, n, width)

    def tile(self, level: int, n: int, width: int) -> ExpandedTile:
        return self.honest.tile(level, n, width)

    def bundle(self, n: int, width: int) -> bytes:
        return self.change(self.honest.bundle(n, width))


@pytest.mark.parametrize("how", ["another kind", "another list", "a later day", "cut off"])
def test_entries_that_are_not_those_under_the_checkpoint_hide_no_token(story: Story, how: str) -> None:
    from ledger.log.tiles import decode_bundle, encode_bundle

    size = story.world.service.book.size

    def change(data: bytes) -> bytes:
        entries = [bytearray(entry) for entry in decode_bundle(data, size)]
        for entry in entries:
            if entry[1] != 11:
                continue
            if how == "another kind":
                entry[1] = 13
            elif how == "another list":
                entry[82:86] = (5).to_bytes(4, "big")
            elif how == "a later day":
                entry[91:95] = (40_000).to_bytes(4, "big")
        kept = entries[:-1] if how == "cut off" else entries
        return encode_bundle([bytes(entry) for entry in kept])

    found = story.at(NOW + 150, reader=LyingTiles(story.world.client.tiles(), change))
    assert (found.state, found.missing, found.code) == (*UNKNOWN_STATUS, None)
    honest = story.at(NOW + 150, reader=LyingTiles(story.world.client.tiles(), bytes))
    assert (honest.state, honest.code) == (State.VALID, Code.SUSPENDED)


def test_a_token_of_another_service_or_city_counts_for_nothing(story: Story) -> None:
    (city,) = story.policy.cities
    other = replace(city, service=key("thief").public)
    found = story.at(NOW + 150, policy=TrustPolicy((other,)))
    assert (found.state, found.missing) == UNKNOWN_STATUS
    stranger = TrustPolicy((replace(city, origin="elsewhere.example"),))
    assert story.at(NOW + 150, policy=stranger).missing[0] == Missing.CITY
    witnesses = (*city.quorum.keys[:2], *(_witness(name) for name in ("a.example", "b.example")))
    under = replace(city, quorum=Quorum(witnesses, 3))
    found = story.at(NOW + 150, policy=TrustPolicy((under,)))
    assert (found.state, found.missing) == (State.UNKNOWN, (Missing.QUORUM,))


def test_a_token_of_another_citys_list_counts_for_nothing_though_the_service_signed_and_logged_it(
    story: Story,
) -> None:
    (city,) = story.policy.cities
    for origin, is_taken in ((city.origin, True), ("elsewhere.example", False)):
        claims = StatusClaims(
            origin=origin, list=0, event_id=bytes(16), issued_at=NOW, expires_at=NOW + DAY, ttl_s=DAY
        )
        text = status_token(StatusBits(), claims, key("service"))
        opened = opened_token(text, parse_status_token(text).leaf(), city)
        assert (opened is not None) is is_taken


def _witness(name: str) -> NoteKey:
    return NoteSigner.from_seed(name, seed(name), algorithm=COSIGNATURE).key


def test_a_credential_that_is_not_in_the_log_has_no_status(story: Story) -> None:
    department = story.world.department()
    forged = department.sign(
        story.world.order(), (ref_of(story.credential).list, ref_of(story.credential).index)
    )
    found = story.at(NOW + 150, credential=forged)
    assert (found.state, found.reason) == (State.INVALID, Reason.NOT_IN_LOG)
    assert story.at(NOW, credential="nothing").reason is Reason.MALFORMED
    assert story.at(NOW, bundle=b"{}").missing == (Missing.CHECKPOINT,)


def test_a_status_that_nobody_renewed_was_stale_at_the_time(story: Story) -> None:
    world = story.world
    made = world.department().issue(world.order())
    world.publish()
    world.clock.now_s = NOW + 300 + 3 * DAY
    world.publish()
    bundle = world.client.bundle(made.credential)

    def at(at_s: int) -> tuple[State, Code | None]:
        found = story.at(at_s, credential=made.credential, bundle=bundle, now_s=NOW + 300 + 3 * DAY)
        return found.state, found.code

    assert at(NOW + 300 + DAY) == (State.VALID, Code.VALID)
    assert at(NOW + 300 + DAY + 1) == (State.UNKNOWN, Code.VALID)
    assert at(NOW + 300 + 3 * DAY) == (State.VALID, Code.VALID)


def test_a_token_is_found_under_many_bundles_of_entries(story: Story) -> None:
    world = story.world
    department = world.department()
    slots = world.client.reserve(department.speaker, 600)
    world.service.submit([department.sign(world.order(), slot) for slot in slots])
    world.clock.now_s = NOW + 400
    world.publish()
    bundle, steps = world.client.bundle(story.credential), list[tuple[int, int]]()
    found = status_at(
        story.credential,
        bundle,
        story.policy,
        at_s=NOW + 150,
        now_s=NOW + 400,
        reader=world.client.tiles(),
        token_of=world.client.published_token,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert (found.state, found.code) == (State.VALID, Code.SUSPENDED)
    assert steps[:2] == [(1, 3), (2, 3)]


# --- over HTTP ---------------------------------------------------------------------------------------------


class Replaying(httpx.BaseTransport):
    """A service that answers each question for a status token with its first one, and all others honestly."""

    def __init__(self, world: LicenceWorld, first: str) -> None:
        self._world, self._first = world, first

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/status-"):
            return httpx.Response(200, stream=httpx.ByteStream(self._first.encode()))
        headers = {name: value for name, value in request.headers.items() if name != "host"}
        answer = self._world.http.request(
            request.method, str(request.url), content=request.read(), headers=headers
        )
        return httpx.Response(answer.status_code, stream=httpx.ByteStream(answer.content))


def test_the_client_proves_over_http_and_believes_no_replaying_service(
    story: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = status_of(story.world.client, story.credential, story.policy, now_s=NOW + 300)
    assert (honest.state, honest.code) == (State.VALID, Code.WITHDRAWN)
    transport = Replaying(story.world, first_token(story))
    with CityClient(
        "http://city.example", http=httpx.Client(transport=transport, base_url="http://city.example")
    ) as liar:
        for at_s in (None, NOW + 150):
            lied = status_of(liar, story.credential, story.policy, at_s=at_s, now_s=NOW + 300)
            assert (lied.state, lied.missing, lied.code) == (*UNKNOWN_STATUS, None)
            show_status(status_json(lied))
    shown = capsys.readouterr().out
    assert shown.count("UNKNOWN") == 2
    assert "valid" not in shown.replace("... and valid until", "")
    show_status(status_json(honest))
    assert "withdrawn at 2026-01-01 00:05:00 UTC" in capsys.readouterr().out
