"""HTTP both ways: bodies that services take, replies that clients read; settings, and what a party stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from api import models
from api.body import require_json
from api.errors import ApiError, LineMalformed
from api.licences import hot, routes_events
from api.licences.signed import make_request, verify_request
from client.errors import ClientError
from client.events import parse_events
from client.market import Market
from exchange.assets import descriptor_hash
from exchange.city import HttpCity
from exchange.errors import ExchangeError
from exchange.store import decode_cursor, encode_cursor
from holder.errors import HolderError
from holder.exchange_client import ExchangeClient
from ledger.encoding import Address, to_hex
from ledger.errors import LedgerError
from ledger.licences.keys import SigningKey
from ledger.types import Digest, Request
from privacy.errors import PrivacyError
from privacy.plan import Plan
from privacy.policy import Policy
from privacy.query import Query
from privacy.sql import parse_query
from tests.fuzz.contract import Decoder
from tests.fuzz.families.plans import QUERIES, SQL_S
from tests.fuzz.families.texts import bytes_of, dumped, of_text
from tests.ledger.conftest import request_for, signer_for
from tests.privacy.plan_world import POLICY, plan_of, policy_of

T = TypeVar("T")

_BUYER = signer_for("buyer")
_ID = Digest(bytes(range(32)))
_NOW = 1_800_000_000


# --- bodies ------------------------------------------------------------------------------------------------


def _body(kind: type[BaseModel], use: Callable[[Any], object] = lambda _: None) -> Callable[[bytes], object]:
    """Read a body as the edge does: the guard, a parser, the model, and the decoders behind it."""

    def read(data: bytes) -> object:
        require_json(data)
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as err:
            raise ExchangeError(
                "no JSON"
            ) from err  # FastAPI answers 400 or 422 to whatever its parser raises
        return use(kind.model_validate(value))

    return read


_REFUSED = (ValidationError, LedgerError, PrivacyError, ExchangeError, ApiError)


@cache
def _request() -> Request:
    return request_for(_BUYER.address, Address(b"\x22" * 20))


def _use_request(body: models.RequestIn) -> tuple[Plan, Request]:
    return Plan.from_json(body.plan), Request.from_json(body.request)


def _use_asset(body: models.AssetIn) -> tuple[Policy, Digest]:
    return Policy.from_mapping(body.policy), descriptor_hash(body.descriptor)


def _use_quote(body: models.QuoteIn) -> Query:
    return parse_query(body.sql, policy_of())


def _bodies() -> dict[str, Any]:
    hex32, signature = to_hex(bytes(32)), to_hex(bytes(65))
    plan = plan_of(QUERIES[1], policy_of())
    return {
        "session": {"message": "m", "signature": signature},
        "asset": {"name": "用电", "title": "t", "policy": POLICY, "descriptor": {"rows": "1"}},
        "listing": {"name": "用电", "title": "t", "assets": [hex32]},
        "quote": {"listing": "用电", "sql": QUERIES[0], "purpose": "audit", "rho_micro": "100"},
        "request": {"plan": plan.to_json(), "request": _request().to_json(), "signature": signature},
        "licence": {"presentation": None, "bundle": {"version": 1}},
    }


def _seed(name: str) -> Callable[[], list[bytes]]:
    return lambda: [dumped(_bodies()[name])]


def _event_line(data: bytes) -> str:
    line = routes_events._line(1, data)  # what the route does with each line
    if isinstance(line.event, Exception):
        raise line.event
    return line.event


@cache
def _department() -> SigningKey:
    return SigningKey.generate("EdDSA", bytes(32))


def _signed(text: str) -> Any:
    return verify_request(
        text,
        action="erase",
        origin="log.example",
        now_s=_NOW,
        keys_of=lambda _issuer, _kid: _department().public,
    )


def _signed_seed() -> bytes:
    made = make_request(
        "erase",
        {"leaf": "7"},
        origin="log.example",
        issuer="urn:shuyao:registrar:log.example",
        key=_department(),
        now_s=_NOW,
        rand=bytes(16),
    )
    return made.encode()


# --- replies -----------------------------------------------------------------------------------------------


def _transport(data: bytes, status: int = 200) -> httpx.MockTransport:
    kind = {"content-type": "text/event-stream"}  # what else asks is not told apart
    return httpx.MockTransport(lambda _: httpx.Response(status, headers=kind, stream=httpx.ByteStream(data)))


def _asked(ask: Callable[[Market], T], status: int = 200) -> Callable[[bytes], T]:
    """Let the buyer ask an exchange that answers with any bytes."""

    def read(data: bytes) -> T:
        with Market("http://exchange.example", _BUYER, transport=_transport(data, status)) as market:
            return ask(market)

    return read


def _held(ask: Callable[[ExchangeClient], T], status: int = 200) -> Callable[[bytes], T]:
    """The same of a holder."""

    def read(data: bytes) -> T:
        transport = _transport(data, status)
        with ExchangeClient(
            "http://exchange.example", _BUYER, transport=transport, pause=lambda _: None
        ) as client:
            return ask(client)

    return read


def _history(data: bytes) -> str | None:
    with httpx.Client(transport=_transport(data)) as http:
        city = HttpCity("http://city.example", http=http)
        city.status_token(1)
        return city.history("11330200MB15")


def _replies() -> dict[str, bytes]:
    hex20, hex32 = to_hex(bytes(20)), to_hex(bytes(32))
    names = ("participants", "assets", "ledger", "settlement", "manager")
    asset = {"asset": hex32, "version": "1", "holder": hex20, "policy_hash": hex32, "snapshot_root": hex32}
    event = {"name": "open", "tx_hash": hex32, "block": "7", "gas_used": None}
    plan = plan_of(QUERIES[0], policy_of())
    return {
        name: dumped(value)
        for name, value in {
            "deployment": {
                "contracts": dict.fromkeys(names, hex20),
                "chain_id": "1",
                "block": "2",
                "broker": hex20,
            },
            "listing": {
                "id": hex32,
                "name": "用电",
                "title": "t",
                "broker": hex20,
                "policy": POLICY,
                "policy_hash": hex32,
                "assets": [asset],
            },
            "state": {"request_id": hex32, "state": "open", "events": [event]},
            "problem": {
                "type": "a",
                "title": "b",
                "detail": "c",
                "violations": [{"rule": "r", "message": "m", "line": 1}],
            },
            "request": {
                "plan": plan.to_json(),
                "request": _request().to_json(),
                "signature": to_hex(bytes(65)),
            },
            "acknowledgement": {"message_hash": hex32, "receipt": to_hex(bytes(65))},
            "history": {"history": "a.b.c"},
        }.items()
    }


def _reply(name: str) -> Callable[[], list[bytes]]:
    return lambda: [_replies()[name]]


def _stream() -> Iterator[bytes]:
    yield b'id: 1\nevent: state\ndata: {"state":"open","at":"x"}\n\n: alive\n\nid: 2\nevent: end\ndata: {}\n\n'


FAMILIES = {
    "bodies": (
        Decoder("SessionIn", _body(models.SessionIn), _REFUSED, _seed("session")),
        Decoder("AssetIn", _body(models.AssetIn, _use_asset), _REFUSED, _seed("asset")),
        Decoder("ListingIn", _body(models.ListingIn), _REFUSED, _seed("listing")),
        Decoder("QuoteIn", _body(models.QuoteIn, _use_quote), _REFUSED, _seed("quote"), seconds_max=SQL_S),
        Decoder("RequestIn", _body(models.RequestIn, _use_request), _REFUSED, _seed("request")),
        Decoder("LicenceIn", _body(models.LicenceIn), _REFUSED, _seed("licence")),
        Decoder("a line of events", _event_line, (LineMalformed,), lambda: [b'{"event":"a.b.c"}']),
        Decoder(
            "a presentation to verify",
            hot._read,  # what the route does with its body
            (LineMalformed,),
            lambda: [b'{"presentation":"a~","nonce":"n","audience":"b"}', b'{"presentation":"a~"}'],
        ),
        Decoder("verify_request", of_text(_signed), _REFUSED, lambda: [_signed_seed()]),
        Decoder(
            "decode_cursor",
            of_text(decode_cursor),
            (ExchangeError,),
            lambda: [b"p1f"],
            lambda after: bytes_of(encode_cursor(after) or ""),
            False,
        ),
    ),
    "replies": (
        Decoder("Market.deployment", _asked(Market.deployment), (ClientError,), _reply("deployment")),
        Decoder(
            "Market.listing", _asked(lambda market: market.listing("用电")), (ClientError,), _reply("listing")
        ),
        Decoder(
            "Market.request", _asked(lambda market: market.request(_ID)), (ClientError,), _reply("state")
        ),
        Decoder("Market.events", _asked(lambda market: list(market.events(_ID))), (ClientError,), _stream),
        Decoder(
            "a problem",
            _asked(lambda m: m.request(_ID), 422),
            (ClientError,),
            list,
            refused=_reply("problem"),
        ),
        Decoder("ExchangeClient.request", _held(lambda c: c.request(_ID)), (HolderError,), _reply("request")),
        Decoder(
            "ExchangeClient.post_message",
            _held(lambda c: c.post_message(_ID, b"x")),
            (HolderError,),
            _reply("acknowledgement"),
        ),
        Decoder(
            "ExchangeClient.listing", _held(lambda c: c.listing("用电")), (HolderError,), _reply("listing")
        ),
        Decoder(
            "a holder's problem",
            _held(lambda c: c.request(_ID), 409),
            (HolderError,),
            list,
            refused=_reply("problem"),
        ),
        Decoder("HttpCity", _history, (ExchangeError,), _reply("history")),
        Decoder("parse_events", of_text(lambda text: list(parse_events(text.split("\n")))), (), _stream),
    ),
}
