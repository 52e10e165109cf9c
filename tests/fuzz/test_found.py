"""What the fuzzers found, each as small as it is: no decoder does it again."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from api.body import require_json
from cli.broker import problem
from cli.errors import CliError
from cli.licence.client import CityClient, Speaker
from client.errors import ExchangeProblem, ExchangeReplyInvalid, ModelInvalid, StoreError
from client.losses import known_lines
from client.market import Market
from client.models import Model
from client.types import LocalState, StoredRequest
from exchange.errors import SettingsInvalid as ExchangeSettingsInvalid
from exchange.settings import Settings
from holder.epoch import EpochFile
from holder.errors import ExchangeProblem as HolderExchangeProblem
from holder.errors import SettingsInvalid as HolderSettingsInvalid
from holder.errors import StoreError as HolderStoreError
from holder.exchange_client import ExchangeClient
from holder.settings import settings_from_mapping
from holder.trustee import TrusteeKeys
from ledger.abi import decode_revert
from ledger.encoding import parse_json, require_shallow
from ledger.errors import ChainUnreachable, MalformedValue
from ledger.licences.errors import BackfillRefused, Malformed
from ledger.licences.keys import SigningKey
from ledger.licences.mapping import BackfillMapping
from ledger.licences.template import Template
from ledger.log.batch import decode_evidence
from ledger.log.errors import LogDamaged, TileMalformed
from ledger.log.tiles import parse_tile_path
from ledger.rpc import JsonRpc
from ledger.types import Address, Digest
from privacy.encoding import parse_canonical_json
from privacy.errors import NotCanonical, PolicyInvalid
from privacy.policy import Policy
from tests.ledger.conftest import request_for, signer_for
from tests.ledger.licences.test_batch import TEMPLATE

BUYER = signer_for("buyer")
SIZE = 1 << 16


@pytest.mark.parametrize(
    ("read", "refusal"), [(parse_canonical_json, NotCanonical), (parse_json, MalformedValue)]
)
def test_a_text_of_escaped_quotes_without_an_end_takes_no_quadratic_time(
    read: Callable[[bytes], Any], refusal: type[Exception]
) -> None:
    start = time.process_time()
    with pytest.raises(refusal):
        read(b"[" * 257 + b'\\"' * (SIZE // 2))
    assert time.process_time() - start < 1


def test_brackets_in_strings_do_not_count_as_nesting() -> None:
    require_shallow(b'["\\"' + b"[" * 1000 + b'\\\\"' + b',["["]' * 300 + b"]")
    with pytest.raises(MalformedValue):
        require_shallow(b'["\\\\"' + b"[" * 300)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_a_body_in_another_encoding_cannot_hide_how_deep_it_nests(encoding: str) -> None:
    with pytest.raises(MalformedValue):
        require_json(('["\u2200",' + "[" * 1000).encode(encoding))
    with pytest.raises(MalformedValue):
        require_json("{}".encode(encoding))
    require_json('{"名":["数"]}'.encode())


@pytest.mark.parametrize(
    "text",
    [
        "? [a, b]\n: c",
        "? {a: b}\n: c",
        "<<: {version: 1}",
        "a: !!timestamp x",
        "a: !!int ''",
        "a: !!bool x",
        "a: ! x",
        "a: 0x" + "f" * 5000,
        "a: " + "9" * 5000,
        "a: 0001-01-01 00:00:00 +23:59",
        "a: 2001-99-99",
        "a: " + "9:" * 30 + "9.5",
        "a: " + "1:" * 200 + "1.5",
        "- " * 100 + "a",
        "[" * 100,
    ],
)
def test_yaml_that_is_no_policy_is_refused_with_its_reason(text: str) -> None:
    with pytest.raises(PolicyInvalid) as refusal:
        Policy.from_yaml(text)
    assert str(refusal.value).encode()


@pytest.mark.parametrize("unit", ["[", "{", "- ", "{a: ", "[a, "])
def test_yaml_that_nests_deeper_and_deeper_takes_no_quadratic_time(unit: str) -> None:
    text = (unit * SIZE)[:SIZE]
    start = time.process_time()
    with pytest.raises(PolicyInvalid):
        Policy.from_yaml(text)
    with pytest.raises(BackfillRefused):
        BackfillMapping.parse(text.encode())
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    "text", ["9" * 5000, "!!timestamp x", "!!int ''", "{version: !!bool x}", "0001-01-01 0:0:0 +9"]
)
def test_yaml_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(BackfillRefused):
        BackfillMapping.parse(text.encode())


def test_a_policy_with_a_name_that_is_no_unicode_is_refused_with_a_message_that_is() -> None:
    with pytest.raises(PolicyInvalid) as refusal:
        Policy.from_mapping({"\ud800": 1, "columns": {"\udcff": {"type": "text"}}})
    assert "\\ud800" in str(refusal.value)
    assert str(refusal.value).encode()


def test_a_template_whose_fields_are_no_texts_is_refused() -> None:
    given = json.loads(TEMPLATE.encode())
    strange: list[Any] = [[], {}, None, 1]
    for field in strange:
        with pytest.raises(Malformed):
            Template.decode(json.dumps({**given, "fields": [field]}).encode())


def test_evidence_of_more_frames_than_a_bundle_has_is_refused_at_once() -> None:
    start = time.process_time()
    with pytest.raises(LogDamaged):
        decode_evidence(b"\x01" + zlib.compress(bytes(32 << 20), 9))
    assert time.process_time() - start < 1


def test_a_tile_path_that_is_no_unicode_is_refused_with_a_message_that_is() -> None:
    with pytest.raises(TileMalformed) as refusal:
        parse_tile_path("tile/\ud800")
    assert str(refusal.value).encode()


class OneAnswer(JsonRpc):
    """A node that says the same whatever it is asked."""

    def __init__(self, answer: Any) -> None:
        super().__init__("http://127.0.0.1:1")
        self._answer = json.dumps(answer).encode()

    def _exchange(self, content: bytes) -> bytes:
        return self._answer


@pytest.mark.parametrize("id_", [[], {}, None, "1", 1.5])
def test_an_answer_to_a_batch_with_a_strange_id_answers_nothing(id_: Any) -> None:
    with pytest.raises(ChainUnreachable):
        OneAnswer([{"id": id_, "result": "0x"}]).batch([("eth_chainId", [])])


def test_abi_data_with_an_offset_or_a_text_out_of_all_bounds_does_not_decode() -> None:
    error = b"\x08\xc3\x79\xa0"
    far, text = (
        (1 << 255).to_bytes(32, "big"),
        (32).to_bytes(32, "big") + (1).to_bytes(32, "big") + b"\xff" * 32,
    )
    for data in (error + far + bytes(32), error + text):
        assert decode_revert(data).name in ("Unknown", "Error")
        str(decode_revert(data)).encode()


def test_a_transaction_that_is_no_object_makes_the_reply_invalid() -> None:
    strange: list[Any] = ["a", ["a"], [[]], [None], [{"name": "a", "tx_hash": "b", "block": 1e999}]]
    for events in strange:
        body = json.dumps({"request_id": "0x" + "00" * 32, "state": "open", "events": events})
        transport = httpx.MockTransport(lambda _, body=body: httpx.Response(200, content=body))
        with (
            Market("http://a.example", BUYER, transport=transport) as market,
            pytest.raises(ExchangeReplyInvalid),
        ):
            market.request(Digest(bytes(32)))


@pytest.mark.parametrize(
    "quote", ["\udcff", "[]", '{"lines":[]}', '{"lines":{"a":"b"}}', '{"lines":{"0x":1}}']
)
def test_a_stored_quote_without_budget_lines_is_an_error_of_the_store_or_has_none(quote: str) -> None:
    stored = StoredRequest(
        request_id=Digest(bytes(32)),
        request=request_for(BUYER.address, Address(b"\x22" * 20)),
        signature=bytes(65),
        plan_json=b"{}",
        quote_json=quote,
        sql="",
        listing_name="",
        idempotency_key="",
        state=LocalState.PREPARED,
        detail="",
        sealed_key=b"",
        since_block=1,
    )
    if quote == "[]":
        assert known_lines([stored]) == {}
        return
    with pytest.raises(StoreError):
        known_lines([stored])


@pytest.mark.parametrize("value", [None, [], {"deployment": 1}, {"rpc_url": []}])
def test_settings_of_another_type_are_refused(value: Any, tmp_path: Any) -> None:
    with pytest.raises(ExchangeSettingsInvalid):
        Settings.from_json(value)
    with pytest.raises(HolderSettingsInvalid):
        settings_from_mapping(value, tmp_path)


def test_a_deployment_file_whose_name_is_no_unicode_is_refused_with_a_message_that_is(tmp_path: Any) -> None:
    given = {"rpc_url": "http://a", "exchange_url": "http://a", "assets": [], "deployment": "\ud800"}
    with pytest.raises(HolderSettingsInvalid) as refusal:
        settings_from_mapping(given, tmp_path)
    assert str(refusal.value).encode()


_NO_UNICODE = (
    b'{"title":"\\ud800","detail":"\\udfff","type":"a:\\ud800","violations":[{"message":"\\ud800"}]}'
)


def _answering(status: int, content: bytes) -> httpx.MockTransport:
    return httpx.MockTransport(lambda _: httpx.Response(status, content=content))


def test_a_problem_that_is_no_unicode_is_told_in_unicode() -> None:
    transport, request_id = _answering(422, _NO_UNICODE), Digest(bytes(32))
    with (
        Market("http://a.example", BUYER, transport=transport) as market,
        pytest.raises(ExchangeProblem) as to_buyer,
    ):
        market.request(request_id)
    with (
        ExchangeClient("http://a.example", BUYER, transport=transport) as exchange,
        pytest.raises(HolderExchangeProblem) as to_holder,
    ):
        exchange.request(request_id)
    http = httpx.Client(transport=transport, base_url="http://a.example")
    with CityClient("http://a.example", http=http) as city, pytest.raises(CliError) as to_department:
        city.city()
    for told in (to_buyer, to_holder, to_department):
        assert "\\ud800" in str(told.value)
        assert str(told.value).encode()


@pytest.mark.parametrize("content", [b"\xff", b"null", b"[]", b"1", b"[" * 5000])
def test_an_error_whose_body_is_no_problem_is_told_by_its_status(content: bytes) -> None:
    assert problem(httpx.Response(502, content=content)) == "HTTP 502"


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b'{"origin":"\\ud800"}',
        b'{"error":{}}',
        b'{"items":1}',
        b'{"items":[1]}',
        b'{"index":"x","leaf":"00"}',
        b'{"slots":[1]}',
    ],
)
def test_a_city_that_answers_in_another_form_is_a_named_error(content: bytes) -> None:
    http = httpx.Client(transport=_answering(200, content), base_url="http://a.example")
    key = SigningKey.generate("EdDSA", bytes(32))
    asked: list[Callable[[CityClient], Any]] = [
        CityClient.anchors,
        CityClient.nonce,
        lambda city: city.origin,
        lambda city: city.uses("a"),
        lambda city: city.submit("a"),
        lambda city: city.reserve(Speaker("11330200MB15", key), 1),
    ]
    with CityClient("http://a.example", http=http) as city:
        for ask in asked:
            with pytest.raises(CliError):
                ask(city)


@pytest.mark.parametrize("name", ["\ud800", "", "a\n", "x" * 129])
def test_a_model_whose_feature_has_no_name_that_can_be_shown_is_refused(name: str) -> None:
    for more in ({}, {1: "3"}, {"y" * 200: "3"}):
        with pytest.raises(ModelInvalid) as refusal:
            Model.from_mapping({"weights": {"kwh": "0.25", name: "-2", **more}})
        assert "0.25" not in str(refusal.value)
        assert str(refusal.value).encode()


@pytest.mark.parametrize("content", [b"7" * 5000, "²".encode(), b"-1", b"\xff"])
def test_an_epoch_that_is_no_number_is_an_error_of_the_store(content: bytes, tmp_path: Any) -> None:
    path = tmp_path / "epoch"
    path.write_bytes(content)
    with pytest.raises(HolderStoreError):
        EpochFile(path).read()


@pytest.mark.parametrize("content", [b"0", b"xy", b"\xff"])
def test_a_damaged_note_of_what_a_share_serves_is_an_error_of_the_store(
    content: bytes, tmp_path: Any
) -> None:
    (tmp_path / f"{bytes(32).hex()}.deposit").write_bytes(content)
    with pytest.raises(HolderStoreError):
        TrusteeKeys(tmp_path, BUYER).bound(bytes(32))
