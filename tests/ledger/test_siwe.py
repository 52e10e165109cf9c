"""EIP-4361: the grammar, and the checks of a sign-in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.encoding import keccak
from ledger.errors import SignInRejected
from ledger.signing import Signer
from ledger.siwe import (
    SignInMessage,
    build_message,
    checksum_address,
    parse_message,
    require_sign_in,
    sign_message,
)
from ledger.types import Address

SIGNER = Signer(keccak(b"wallet"))
NOW = datetime(2026, 11, 22, 5, 0, tzinfo=UTC)
HERE: dict[str, Any] = {
    "domain": "127.0.0.1:8700",
    "uri": "http://127.0.0.1:8700",
    "chain_id": 31337,
    "nonce": "32891756abcdef",
    "now": NOW,
}
MESSAGE = SignInMessage(
    domain=HERE["domain"],
    address=SIGNER.address,
    uri=HERE["uri"],
    chain_id=31337,
    nonce=HERE["nonce"],
    issued_at="2026-11-22T04:59:30Z",
    statement="Sign in to Shuyao.",
    expiration_time="2026-11-22T05:10:00Z",
)
# The first example of EIP-4361, whose address is 0xC02a...6Cc2.
EXAMPLE = """example.com wants you to sign in with your Ethereum account:
0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2

I accept the ExampleOrg Terms of Service: https://example.com/tos

URI: https://example.com/login
Version: 1
Chain ID: 1
Nonce: 32891756
Issued At: 2021-09-30T16:25:24Z
Resources:
- ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/
- https://example.com/my-web2-claim.json"""


def sign_in(message: SignInMessage = MESSAGE, **changes: Any) -> SignInMessage:
    text = build_message(message)
    return require_sign_in(text, sign_message(SIGNER, text), **{**HERE, **changes})


def test_example_of_the_standard_parses_and_rebuilds() -> None:
    message = parse_message(EXAMPLE)
    assert (message.domain, message.chain_id, message.nonce) == ("example.com", 1, "32891756")
    assert message.statement == "I accept the ExampleOrg Terms of Service: https://example.com/tos"
    assert message.resources is not None and len(message.resources) == 2
    assert build_message(message) == EXAMPLE


@pytest.mark.parametrize(
    "line, changed",
    [("example.com wants", "example.com:3388 wants"), ("example.com wants", "https://example.com wants"),
     ("\nI accept the ExampleOrg Terms of Service: https://example.com/tos\n", "\n"),
     (EXAMPLE[EXAMPLE.index("- ipfs") - 1 :], ""),
     ("24Z\n", "24.123456789+08:00\nExpiration Time: 2021-09-30T16:25:24Z\n"),
     ("24Z\n", "24Z\nNot Before: 2021-09-30T16:25:24Z\nRequest ID: \n")],
)  # fmt: skip
def test_other_valid_messages_parse_and_rebuild(line: str, changed: str) -> None:
    text = EXAMPLE.replace(line, changed)
    assert text != EXAMPLE
    assert build_message(parse_message(text)) == text


@pytest.mark.parametrize(
    "line, changed",
    [("account:", "account: "), ("account:", "Account:"), ("\n\nI", "\nI"), ("tos\n\n", "tos\n"), ("URI: ", "URI:"),
     ("0xC02a", "0xc02a"), ("0xC02aaA39", "0xC02aaA3"), ("Version: 1", "Version: 2"), ("Chain ID: 1", "Chain ID: 01"),
     ("Chain ID: 1", "Chain ID: -1"), ("Chain ID: 1\n", ""), ("32891756", "3289175"), ("32891756", "3289 1756"),
     ("32891756", "３２８９１７５６"), ("2021-09-30T", "2021-09-31T"), ("16:25:24Z", "16:25:24"), ("16:25", "25:25"),
     ("Resources:\n", "Resources:\n\n"), ("- ipfs", "-ipfs"), ("- ipfs", "* ipfs"), ("\n", "\r\n"), ("tos", "tos\t"),
     ("tos", "tos 你好"), ("claim.json", "claim.json\n"), ("claim.json", "claim.json\nNonce: 32891756"),
     ("Issued At", "issued at"), ("https://example.com/login", "not a uri"), ("example.com wants", " wants"),
     ("24Z\n", "24Z\nNot Before: 2021-09-30T16:25:24Z\nExpiration Time: 2021-09-30T16:25:24Z\n"),
     ("24Z\n", "24Z\nExpiration Time: never\n"), ("24Z\n", "24Z\nRequest ID: a b\n")],
)  # fmt: skip
def test_message_off_the_grammar_is_rejected(line: str, changed: str) -> None:
    text = EXAMPLE.replace(line, changed)
    assert text != EXAMPLE
    with pytest.raises(SignInRejected):
        parse_message(text)


@settings(max_examples=200)
@given(st.integers(0, len(EXAMPLE)), st.text(max_size=2), st.integers(0, 2))
def test_any_edit_is_rejected_or_has_one_reading(position: int, added: str, removed: int) -> None:
    text = EXAMPLE[:position] + added + EXAMPLE[position + removed :]
    try:
        message = parse_message(text)
    except SignInRejected:
        return
    assert build_message(message) == text


pchars = st.text(st.sampled_from("abcXYZ019-._~!$&'()*+,;=:@"), min_size=1, max_size=12)
uris = st.builds("https://{}/{}?{}#{}".format, st.just("example.org:8443"), pchars, pchars, pchars)
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda t: t.isoformat() + "Z")


@given(
    st.builds(
        SignInMessage,
        domain=st.sampled_from(["example.com", "a.b:80", "[::1]:8080", "user@host"]),
        address=st.binary(min_size=20, max_size=20).map(Address),
        uri=uris,
        chain_id=st.integers(0, 2**256 - 1),
        nonce=st.text(st.sampled_from("abcXYZ0123456789"), min_size=8, max_size=40),
        issued_at=times,
        scheme=st.none() | st.just("https"),
        statement=st.none()
        | st.text(st.sampled_from("abc XYZ.,:/?#[]@!$&'()*+;=-_~"), min_size=1, max_size=60),
        expiration_time=st.none() | times,
        not_before=st.none() | times,
        request_id=st.none() | pchars | st.just(""),
        resources=st.none() | st.lists(uris, max_size=3).map(tuple),
    )
)
def test_every_message_of_the_grammar_round_trips(message: SignInMessage) -> None:
    assert parse_message(build_message(message)) == message


def test_message_with_another_line_in_a_field_cannot_be_built() -> None:
    for change in ({"statement": "a\nb"}, {"statement": ""}, {"nonce": "short"}, {"uri": "x\nVersion: 1"}):
        with pytest.raises(SignInRejected):
            build_message(replace(MESSAGE, **change))  # type: ignore[arg-type]


def test_signature_is_personal_sign_of_other_wallets() -> None:
    text = build_message(MESSAGE)
    theirs = Account.sign_message(encode_defunct(text=text), SIGNER.raw_private_key())
    assert sign_message(SIGNER, text) == bytes(theirs.signature)


def test_address_is_written_with_its_checksum() -> None:
    assert checksum_address(SIGNER.address) == Account.from_key(SIGNER.raw_private_key()).address


def test_sign_in_accepts_a_fresh_message_for_here() -> None:
    assert sign_in().address == SIGNER.address


@pytest.mark.parametrize(
    "rule, changes",
    [("domain", {"domain": "127.0.0.1:8701"}), ("domain", {"domain": "127.0.0.1"}), ("nonce", {"nonce": "32891757"}),
     ("uri", {"uri": "https://127.0.0.1:8700"}), ("chain_id", {"chain_id": 1}),
     ("issued_at", {"now": NOW + timedelta(minutes=20)}), ("issued_at", {"now": NOW - timedelta(minutes=2)}),
     ("expiration_time", {"now": NOW + timedelta(minutes=10), "max_age": timedelta(hours=1)})],
)  # fmt: skip
def test_sign_in_is_rejected_by_rule(rule: str, changes: dict[str, Any]) -> None:
    with pytest.raises(SignInRejected) as caught:
        sign_in(**changes)
    assert caught.value.rule == rule


def test_sign_in_is_rejected_before_its_time() -> None:
    with pytest.raises(SignInRejected, match="not_before"):
        sign_in(replace(MESSAGE, not_before="2026-11-22T05:01:00Z"))


def test_sign_in_is_rejected_with_anothers_signature() -> None:
    text = build_message(MESSAGE)
    other = build_message(replace(MESSAGE, nonce="00000000"))
    for signature in (sign_message(SIGNER, other), bytes(65), b""):
        with pytest.raises(SignInRejected, match="signature"):
            require_sign_in(text, signature, **HERE)


def test_wallet_does_not_sign_for_another_account() -> None:
    with pytest.raises(SignInRejected, match="address"):
        sign_message(Signer(keccak(b"other")), build_message(MESSAGE))


def test_long_message_is_rejected_before_it_is_parsed() -> None:
    with pytest.raises(SignInRejected, match="length"):
        parse_message("a" * 5000)
