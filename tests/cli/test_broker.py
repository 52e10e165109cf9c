"""`shuyao broker`: a listing becomes what was asked for or is refused by name; an exchange that is away is one line."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from api.app import create_app
from cli import accounts
from cli.app import app
from cli.broker import exchange_client, problem, publish_listing, read_items, show_items
from cli.errors import CliError
from cli.home import Home, write_json
from ledger.http_auth import SignedAuth
from ledger.types import Address, Deployment, Digest
from tests.exchange.conftest import migrated_file as migrated_file
from tests.exchange.conftest import sqlite_engine as sqlite_engine
from tests.exchange.conftest import sqlite_url as sqlite_url
from tests.exchange.conftest import world as world
from tests.exchange.world import World

AWAY = "http://127.0.0.1:9"


@pytest.fixture
def engine(sqlite_engine: sa.Engine) -> sa.Engine:
    """An engine on a fresh SQLite file."""
    return sqlite_engine


@pytest.fixture
def http(world: World) -> Iterator[httpx.Client]:
    """The broker's client of an exchange in this process, which is the one that judges."""
    with TestClient(create_app(world.market, now_s=time.time)) as inside:

        def forward(request: httpx.Request) -> httpx.Response:
            target, headers = request.url.raw_path.decode(), dict(request.headers)
            answer = inside.request(request.method, target, content=request.content, headers=headers)
            return httpx.Response(answer.status_code, content=answer.content)

        transport = httpx.MockTransport(forward)
        url = "http://testserver"
        with httpx.Client(base_url=url, auth=SignedAuth(world.broker), transport=transport) as made:
            yield made


def listed(http: httpx.Client, name: str = "power") -> tuple[str, set[str]]:
    found = http.get(f"/listings/{name}").json()
    return found["title"], {each["asset"] for each in found["assets"]}


def assets_of(world: World) -> list[Digest]:
    return [Digest(holder.asset) for holder in world.holders]


def test_a_listing_with_the_same_assets_is_left_alone(http: httpx.Client, world: World) -> None:
    before = listed(http)
    assert not publish_listing(http, "power", None, assets_of(world)[::-1])
    assert not publish_listing(http, "power", before[0], assets_of(world))
    assert listed(http) == before


def test_a_listing_gets_other_assets_and_keeps_its_title(http: httpx.Client, world: World) -> None:
    title, _ = listed(http)
    assert publish_listing(http, "power", None, assets_of(world)[:2])
    assert listed(http) == (title, {"0x" + each.hex() for each in assets_of(world)[:2]})
    assert publish_listing(http, "power", "用电 [/b] 表", assets_of(world)[:2])
    assert listed(http)[0] == "用电 [/b] 表"


def test_setting_up_again_takes_nothing_out_of_a_listing(http: httpx.Client, world: World) -> None:
    before = listed(http)
    assert not publish_listing(http, "power", "another", assets_of(world)[:1], is_minimum=True)
    assert listed(http) == before
    publish_listing(http, "power", None, assets_of(world)[:1])
    assert publish_listing(http, "power", None, assets_of(world), is_minimum=True)
    assert listed(http) == before


def test_the_exchange_s_reason_is_the_message(http: httpx.Client, world: World) -> None:
    with pytest.raises(CliError, match=r"assets.*entrusted"):
        publish_listing(http, "power", None, [Digest(bytes(32))])
    with pytest.raises(CliError, match="refused the listing"):
        publish_listing(http, "a/b?c=d 表", None, assets_of(world))


def test_each_rule_that_a_body_breaks_is_named(http: httpx.Client, world: World) -> None:
    with pytest.raises(CliError) as refused:
        publish_listing(http, "power", "x" * 5000, [])
    answer = http.post("/listings", json={"title": 5}, headers={"Idempotency-Key": "k" * 32})
    rules = answer.json()["violations"]
    assert len(rules) >= 2
    assert "\n" not in str(refused.value)
    assert all(f"{each['rule']}" in problem(answer) and each["message"] in problem(answer) for each in rules)


def test_a_refusal_is_one_line_without_control_characters() -> None:
    body = {
        "title": "Bad\x1b[2J",
        "detail": "a\nb",
        "violations": [{"rule": "r", "column": "c", "message": "[/x]"}, 5],
    }
    shown = problem(httpx.Response(400, json=body))
    assert shown == r"Bad\x1b[2J: a\nb; r (c): [/x]; unknown"
    once = {
        "title": "Invalid",
        "detail": "title: too long",
        "violations": [{"rule": "field", "message": "title: too long"}],
    }
    assert problem(httpx.Response(400, json=once)) == "Invalid: title: too long"
    assert problem(httpx.Response(502, text="<html>")) == "HTTP 502"


def test_lists_are_shown_for_people(
    http: httpx.Client, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = {each["id"] for each in read_items(http, "/assets")}
    assert ids == {"0x" + each.hex() for each in assets_of(world)}
    people = list(read_items(http, "/participants"))
    show_items("participants", ["address", "name", "roles"], people)
    out = capsys.readouterr().out
    assert "['" not in out
    assert "holder" in out
    assert all(each["address"] in out for each in people)
    show_items("participants", ["name", "roles"], [{"name": "", "roles": ["buyer", "holder"]}])
    assert "│ –    │ buyer, holder │" in capsys.readouterr().out


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """An instance whose exchange does not run."""
    home = Home(tmp_path_factory.mktemp("market"))
    home.passphrases.mkdir()
    for who in ("exchange", "buyer"):
        accounts.open_or_create(home, who)
    deployment = Deployment(1, *(Address(bytes([n]) * 20) for n in range(1, 6)), block=0)
    write_json(home.deployment, deployment.to_json())
    write_json(home.exchange / "settings.json", {"public_url": AWAY, "rpc_url": AWAY})
    return home


@pytest.mark.parametrize(
    "words",
    [
        ["broker", "assets"],
        ["broker", "participants", "--json"],
        ["broker", "requests"],
        ["broker", "list", "power", "0x" + "12" * 32],
        ["buyer", "listings"],
    ],
)
def test_an_exchange_that_is_away_is_one_line(away: Home, words: list[str]) -> None:
    with pytest.raises(CliError, match=f"^the exchange at {AWAY} does not answer: ConnectError: [^\n]*$"):
        CliRunner().invoke(app, [*words, "--home", str(away.path)], catch_exceptions=False)


@pytest.mark.parametrize("asset", ["zzz", "0x12", "0x" + "zz" * 32, ""])
def test_what_is_no_asset_id_is_refused_before_anybody_is_asked(away: Home, asset: str) -> None:
    with pytest.raises(CliError, match="expected 0x and 64 hex digits"):
        CliRunner().invoke(
            app, ["broker", "list", "power", asset, "--home", str(away.path)], catch_exceptions=False
        )


def test_an_exchange_s_address_that_is_none_is_one_line(away: Home) -> None:
    signer = accounts.open_existing(away, "exchange").signer
    for url in ("http://[::", "http://\x00", "nonsense"):
        with (
            pytest.raises(CliError, match="does not answer"),
            exchange_client(url, signer) as http,
        ):
            http.get("/assets")
