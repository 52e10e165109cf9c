"""Presenting a licence over HTTP, and the exchange beside a real licence service in the same process."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.licences.app import create_app as create_licence_app
from api.licences.service import LicenceService, ServiceKeys
from api.licences.settings import CitySettings, WitnessAddress
from cli.errors import CliError
from cli.licence.wallet import Wallet
from cli.market_licence import present_licence
from exchange.city import HttpCity
from exchange.errors import CityAway, LicenceRefused
from ledger.http_auth import SignedAuth
from ledger.licences.events import Kind
from ledger.log.errors import EntryMissing
from ledger.log.witness import Witness
from ledger.types import Address, to_hex
from tests.api.clients import Clock, Machine, fresh_key, problem
from tests.exchange.licence_world import ORIGIN, Licensed, books_of
from tests.exchange.world import World
from tests.ledger.licences.books import Books, Held
from tests.ledger.licences.world import BUSINESS

URL = "http://city.example"


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """The city's book."""
    return books_of(tmp_path)


@pytest.fixture
def licensed(world: World, books: Books, tmp_path: Path, clock: Clock) -> Licensed:
    """A market that asks its buyers for a business licence."""
    return Licensed(world, books, tmp_path)


@pytest.fixture
def client(licensed: Licensed) -> Iterator[TestClient]:
    """A client of that market."""
    app = create_app(licensed.market, now_s=lambda: licensed.books.now_s)
    with TestClient(app, base_url=ORIGIN, raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def buyer(world: World, licensed: Licensed, client: TestClient) -> Machine:
    """A buyer's machine, whose clock is the city's."""

    class Now(Clock):
        def __call__(self) -> float:
            return licensed.books.now_s

    return Machine(client, world.buyer(), Now(0))


def nonce_of(client: TestClient) -> str:
    found = client.post("/nonces", headers={"idempotency-key": fresh_key()}).json()
    return str(found["nonce"])


def path_of(address: Address) -> str:
    return f"/participants/{to_hex(address)}/licence"


def shown(licensed: Licensed, client: TestClient, licence: Held, address: Address) -> str:
    return licensed.presentation(licence, address, nonce=nonce_of(client))


def request_body(licensed: Licensed, buyer: Machine, k: int) -> dict[str, Any]:
    world = licensed.world
    signed = world.sign(
        buyer.signer, world.quote(buyer.signer, f"SELECT COUNT(*) AS n{k} FROM power"), nonce=k
    )
    signature = "0x" + signed.signature.hex()
    return {"plan": signed.plan_json, "request": signed.request.to_json(), "signature": signature}


def test_what_an_exchange_asks_for_is_shown_to_everybody(client: TestClient) -> None:
    found = client.get("/admission").json()
    assert found == {
        "types": [BUSINESS],
        "roles": ["buyer"],
        "max_age_s": 86_400,
        "audience": f"{ORIGIN}/participants/",
    }


def test_a_licence_in_a_bundle_or_alone_is_taken_from_its_account(
    licensed: Licensed, client: TestClient, buyer: Machine
) -> None:
    licence, address = licensed.books.issue(), buyer.signer.address
    licensed.publish()
    problem(buyer.post("/requests", request_body(licensed, buyer, 1)), 403, "licence-required")
    alone = {"presentation": shown(licensed, client, licence, address)}
    first = buyer.post(path_of(address), alone, key="one")
    assert (first.status_code, first.json()["type"]) == (201, BUSINESS), first.text
    assert buyer.post(path_of(address), alone, key="one").json() == first.json()
    problem(buyer.post(path_of(address), alone, key="another"), 401, "nonce-invalid")
    bundle = licensed.bundle(shown(licensed, client, licence, address)).to_bytes()
    answer = buyer.post_bytes(path_of(address), b'{"bundle":' + bundle + b"}", kind="application/json")
    assert answer.status_code == 201, answer.text
    assert set(answer.json()) == {"address", "origin", "type", "as_of", "expires_at"}
    assert buyer.post("/requests", request_body(licensed, buyer, 1)).status_code == 202


def test_a_licence_for_another_account_is_refused(
    licensed: Licensed, client: TestClient, buyer: Machine
) -> None:
    licence, thief = licensed.books.issue(), Machine(client, licensed.world.buyer("thief"), buyer.clock)
    licensed.publish()
    captured = {"presentation": shown(licensed, client, licence, buyer.signer.address)}
    problem(thief.post(path_of(buyer.signer.address), captured), 403, "not-yours")
    problem(thief.post(path_of(thief.signer.address), captured), 403, "licence-refused")
    assert buyer.post(path_of(buyer.signer.address), captured).status_code == 201  # its nonce was not used up


@pytest.mark.parametrize(
    "body", [{}, {"presentation": "~", "bundle": {}}, {"bundle": {"version": 1}}, {"bundle": 5}]
)
def test_a_body_that_presents_nothing_is_refused(buyer: Machine, body: dict[str, Any]) -> None:
    answer = buyer.post(path_of(buyer.signer.address), body)
    assert answer.status_code == 422, answer.text


def test_a_revoked_licence_stops_the_next_request_over_http(
    licensed: Licensed, client: TestClient, buyer: Machine
) -> None:
    licence, address = licensed.books.issue(), buyer.signer.address
    licensed.publish()
    buyer.post(path_of(address), {"presentation": shown(licensed, client, licence, address)})
    assert buyer.post("/requests", request_body(licensed, buyer, 1)).status_code == 202
    licensed.books.submit(licensed.books.change(licence, Kind.REVOKE))
    licensed.publish()
    found = problem(buyer.post("/requests", request_body(licensed, buyer, 2)), 403, "licence-refused")
    assert found["detail"].endswith("Revoked")


def test_facts_that_are_too_old_are_a_problem_that_may_be_tried_again(
    licensed: Licensed, client: TestClient, buyer: Machine
) -> None:
    licence, address = licensed.books.issue(), buyer.signer.address
    licensed.publish()
    buyer.post(path_of(address), {"presentation": shown(licensed, client, licence, address)})
    licensed.service.is_away = True
    licensed.books.now_s += 86_401
    answer = buyer.post("/requests", request_body(licensed, buyer, 1))
    problem(answer, 503, "licence-unconfirmed")
    assert answer.headers["retry-after"]


def test_an_exchange_that_asks_for_no_licence_says_so(world: World, clock: Clock) -> None:
    with TestClient(create_app(world.market, now_s=clock), base_url=ORIGIN) as client:
        assert client.get("/admission").json()["types"] == []
        buyer = Machine(client, world.buyer(), clock)
        answer = buyer.post(path_of(buyer.signer.address), {"presentation": "~"})
        problem(answer, 409, "licence-not-asked")


# --- beside a real service -----------------------------------------------------------------------------------


def service_of(books: Books) -> LicenceService:
    """Return a licence service over a book's folder, with the city's witnesses in this process."""
    city = books.city
    witnesses = {
        f"http://{signer.key.name}": Witness(
            signer, {city.origin: city.log_signer.key}, books.root.parent / f"w{i}"
        )
        for i, signer in enumerate(city.witnesses)
    }

    class Post:
        def __call__(self, url: str, body: bytes) -> tuple[int, bytes]:
            answer = witnesses[url.removesuffix("/add-checkpoint")].add_checkpoint(body, books.now_s)
            return answer.status, answer.body

        def close(self) -> None:
            pass

    settings = CitySettings(
        origin=city.origin,
        name="海港",
        log_key=city.log_signer.key.to_text(),
        registrar=city.registrar.public.jwk(),
        service=city.service.public.jwk(),
        witnesses=tuple(
            WitnessAddress(signer.key.to_text(), f"http://{signer.key.name}") for signer in city.witnesses
        ),
        threshold=city.threshold,
    )
    keys = ServiceKeys(city.log_signer, city.service)
    return LicenceService(books.root, settings, keys, post=Post(), now_s=lambda: books.now_s)  # type: ignore[arg-type]  # the same calls


def test_admission_over_the_citys_own_interface(world: World, books: Books, tmp_path: Path) -> None:
    licence = books.issue()
    other = books.issue()
    books.now_s += 10
    books.book.close()
    service = service_of(books)
    books.book = service.book
    with TestClient(create_licence_app(service), base_url=URL) as http:
        try:
            city = HttpCity(URL, http=http)
            licensed = Licensed(world, books, tmp_path, city=city)
            buyer = world.buyer()

            def publish() -> None:
                books.now_s += 10
                service.publish()
                service.publisher.publish_histories(books.city.registrar, books.now_s)

            publish()
            licensed.present(buyer, licensed.presentation(licence, buyer.address))
            assert licensed.ask(buyer, 1)
            service.submit([books.change(other, Kind.REVOKE)])
            publish()
            assert licensed.ask(buyer, 2)  # another's licence was revoked
            kept = licensed.market.store.licence_of(buyer.address)
            assert kept is not None
            assert kept.as_of == books.now_s
            service.submit([books.change(licence, Kind.REVOKE)])
            publish()
            with pytest.raises(LicenceRefused, match="Revoked"):
                licensed.ask(buyer, 3)
            with pytest.raises(EntryMissing):
                city.ask("GET", "/status-lists/77", 1000)
        finally:
            service.access.close()
            service.book.close()


def test_the_command_line_presents_a_licence_for_the_exchange_that_its_user_named(
    licensed: Licensed, client: TestClient, world: World
) -> None:
    licence, signer = licensed.books.issue(), world.buyer()
    licensed.publish()
    wallet = Wallet(licence.holder, now_s=lambda: licensed.books.now_s)
    client.auth = SignedAuth(signer, now_s=lambda: licensed.books.now_s)
    shown = present_licence(client, ORIGIN, signer.address, wallet, licence.text)
    assert shown["address"] == to_hex(signer.address)

    def bundle_of(presentation: str) -> bytes:
        return licensed.books.maker().bundle_of(presentation).to_bytes()

    assert present_licence(client, ORIGIN + "/", signer.address, wallet, licence.text, bundle_of=bundle_of)
    with pytest.raises(CliError, match="calls itself"):
        present_licence(client, "http://another.example", signer.address, wallet, licence.text)
    other = Wallet(licensed.books.city.registrar, now_s=lambda: licensed.books.now_s)
    with pytest.raises(CliError, match="not the holder's"):
        present_licence(client, ORIGIN, signer.address, other, licence.text)
    licensed.books.submit(licensed.books.change(licence, Kind.REVOKE))
    licensed.publish()
    with pytest.raises(CliError, match="Revoked"):
        present_licence(client, ORIGIN, signer.address, wallet, licence.text)


# --- the client of a city ------------------------------------------------------------------------------------


def city_that(answer: httpx.Response | Exception) -> HttpCity:
    """Return a client of a city that answers everything with the same."""

    def handle(_request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return HttpCity(URL, http=httpx.Client(transport=httpx.MockTransport(handle)))


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("no"),
        httpx.ReadTimeout("slow"),
        httpx.Response(500),
        httpx.Response(302, headers={"location": "http://elsewhere.example/"}),
        httpx.Response(200, stream=httpx.ByteStream(b"\xff\xfe")),
        httpx.Response(200, stream=httpx.ByteStream(bytes(1 << 21))),
    ],
)
def test_whatever_a_city_does_wrong_is_one_named_error(answer: httpx.Response | Exception) -> None:
    with pytest.raises(CityAway):
        city_that(answer).checkpoint()


@pytest.mark.parametrize("content", [b"[", b"[]", b'{"history":5}', b"\xff"])
def test_a_history_that_is_none_is_named_or_absent(content: bytes) -> None:
    city = city_that(httpx.Response(200, stream=httpx.ByteStream(content)))
    if content == b"[]":
        assert city.history("issuer") is None
    else:
        with pytest.raises(CityAway):
            city.history("issuer")


def test_an_answer_that_drips_is_cut_off_at_its_deadline() -> None:
    seconds = iter(range(0, 1000, 6))
    answer = httpx.Response(200, content=iter([b"a"] * 100))
    http = httpx.Client(transport=httpx.MockTransport(lambda _: answer))
    with pytest.raises(CityAway, match="within"):
        HttpCity(URL, http=http, clock_s=lambda: next(seconds)).checkpoint()


def test_an_answer_that_comes_packed_is_not_unpacked() -> None:
    packed = gzip.compress(b'{"history":null}')
    answer = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(packed))
    with pytest.raises(CityAway):
        city_that(answer).history("issuer")


def test_a_missing_resource_is_not_an_absent_city() -> None:
    with pytest.raises(EntryMissing):
        city_that(httpx.Response(404)).tiles().hashes(0, 0, 1)
