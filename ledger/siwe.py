"""Sign-in with Ethereum: a strict EIP-4361 message parser and its checks.

Every line is matched against the grammar; nothing is trimmed, reordered or repaired, so a message has
one parse and `build_message(parse_message(text))` gives back the text.

Source: EIP-4361 (ABNF), RFC 3986 (authority, URI), RFC 3339 (date-time), EIP-55, EIP-191.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from ledger.encoding import U256_MAX, keccak
from ledger.errors import BadSignature, SignInRejected
from ledger.signing import Signer, recover
from ledger.types import Address, to_hex

MESSAGE_MAX: Final = 4096
_PCT = r"%[0-9A-Fa-f]{2}"
_UNRESERVED = r"[A-Za-z0-9\-._~]"
_SUB = r"[!$&'()*+,;=]"
_PCHAR = rf"(?:{_UNRESERVED}|{_PCT}|{_SUB}|[:@])"
_HOST = rf"(?:\[[0-9A-Fa-f:.]+\]|(?:{_UNRESERVED}|{_PCT}|{_SUB})+)"
_USER = rf"(?:(?:{_UNRESERVED}|{_PCT}|{_SUB}|:)*@)?"
_AUTHORITY = rf"{_USER}{_HOST}(?::[0-9]*)?"
_ROOTLESS = rf"{_PCHAR}+(?:/{_PCHAR}*)*"
_HIERARCHY = rf"(?://{_USER}(?:{_HOST})?(?::[0-9]*)?(?:/{_PCHAR}*)*|/(?:{_ROOTLESS})?|{_ROOTLESS}|)"
_URI = (
    rf"[A-Za-z][A-Za-z0-9+\-.]*:{_HIERARCHY}"
    rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
)
_STATEMENT = rf"(?:{_UNRESERVED}|[:/?#\[\]@]|{_SUB}| )+"
_DATE_TIME = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})"
_HEADLINE = " wants you to sign in with your Ethereum account:"


@dataclass(frozen=True, slots=True)
class SignInMessage:
    """The fields of one EIP-4361 message. Times are kept as their text, so that the text can be rebuilt."""

    domain: str
    address: Address
    uri: str
    chain_id: int
    nonce: str
    issued_at: str
    scheme: str | None = None
    statement: str | None = None
    expiration_time: str | None = None
    not_before: str | None = None
    request_id: str | None = None
    resources: tuple[str, ...] | None = None


def checksum_address(address: Address) -> str:
    """Return the mixed-case form of EIP-55, which EIP-4361 messages carry."""
    plain = address.hex()
    digest = keccak(plain.encode()).hex()
    return "0x" + "".join(c.upper() if int(d, 16) >= 8 else c for c, d in zip(plain, digest, strict=False))


def build_message(message: SignInMessage) -> str:
    """Return the text that a wallet signs.

    Raises:
        SignInRejected: a field does not fit the grammar.
    """
    prefix = "" if message.scheme is None else f"{message.scheme}://"
    lines = [f"{prefix}{message.domain}{_HEADLINE}", checksum_address(message.address), ""]
    lines += [] if message.statement is None else [message.statement]
    lines += ["", f"URI: {message.uri}", "Version: 1", f"Chain ID: {message.chain_id}"]
    lines += [f"Nonce: {message.nonce}", f"Issued At: {message.issued_at}"]
    optional = (
        ("Expiration Time", message.expiration_time),
        ("Not Before", message.not_before),
        ("Request ID", message.request_id),
    )
    lines += [f"{name}: {value}" for name, value in optional if value is not None]
    if message.resources is not None:
        lines += ["Resources:", *(f"- {resource}" for resource in message.resources)]
    text = "\n".join(lines)
    if parse_message(text) != message:
        raise SignInRejected("grammar", "a field does not survive being written and read again")
    return text


def parse_message(text: str) -> SignInMessage:
    """Parse an EIP-4361 message, line by line.

    Raises:
        SignInRejected: the first line that does not fit the grammar, by name.
    """
    if len(text) > MESSAGE_MAX:
        raise SignInRejected("length", f"expected at most {MESSAGE_MAX} characters, got {len(text)}")
    lines = _Lines(text)
    head = lines.require("domain", rf"(?:([A-Za-z][A-Za-z0-9+\-.]*)://)?({_AUTHORITY}){re.escape(_HEADLINE)}")
    address = _checksummed(lines.require("address", r"(0x[0-9A-Fa-f]{40})")[1])
    lines.require("blank line", "")
    statement = lines.optional(rf"({_STATEMENT})")
    lines.require("blank line", "")
    uri = lines.require("URI", rf"URI: ({_URI})")[1]
    lines.require("version", "Version: 1")
    chain_id = int(lines.require("chain id", r"Chain ID: (0|[1-9][0-9]{0,77})")[1])
    nonce = lines.require("nonce", r"Nonce: ([A-Za-z0-9]{8,128})")[1]
    issued_at = lines.require("issued at", rf"Issued At: ({_DATE_TIME})")[1]
    message = SignInMessage(
        domain=head[2],
        address=address,
        uri=uri,
        chain_id=chain_id,
        nonce=nonce,
        issued_at=issued_at,
        scheme=head[1],
        statement=statement,
        expiration_time=lines.optional(rf"Expiration Time: ({_DATE_TIME})"),
        not_before=lines.optional(rf"Not Before: ({_DATE_TIME})"),
        request_id=lines.optional(rf"Request ID: ({_PCHAR}*)"),
        resources=_resources(lines),
    )
    lines.require_end()
    for name, value in (("issued at", issued_at), ("expiration", message.expiration_time)):
        _parse_time(name, value)
    _parse_time("not before", message.not_before)
    if chain_id > U256_MAX:
        raise SignInRejected("chain id", "expected at most 256 bits")
    return message


def eip191_digest(text: str) -> bytes:
    """Return the digest that `personal_sign` signs for this text (EIP-191, version 0x45)."""
    data = text.encode()
    return keccak(b"\x19Ethereum Signed Message:\n" + str(len(data)).encode() + data)


def sign_message(signer: Signer, text: str) -> bytes:
    """Sign an EIP-4361 text as a wallet does.

    Raises:
        SignInRejected: the text is no EIP-4361 message, or names another account.
    """
    if parse_message(text).address != signer.address:
        raise SignInRejected("address", f"expected a message of {to_hex(signer.address)}")
    return signer.sign(eip191_digest(text))


def require_sign_in(
    text: str,
    signature: bytes,
    *,
    domain: str,
    uri: str,
    chain_id: int,
    nonce: str,
    now: datetime,
    max_age: timedelta = timedelta(minutes=10),
    max_skew: timedelta = timedelta(seconds=30),
) -> SignInMessage:
    """Require that a signed EIP-4361 message signs its account in here, now, once.

    The caller has taken `nonce` out of its store before, so that it serves once.

    Args:
        domain: the authority that the user sees, such as `127.0.0.1:8700`; exact.
        uri: the origin that the message must name; exact.
        chain_id: of the deployment.
        nonce: the one given out.
        now: UTC, aware.

    Returns:
        The parsed message; its address is signed in.

    Raises:
        SignInRejected: naming the first check that fails.
    """
    message = parse_message(text)
    expected = {"domain": domain, "uri": uri, "chain_id": chain_id, "nonce": nonce}
    for name, value in expected.items():
        if getattr(message, name) != value:
            raise SignInRejected(name, f"expected {value}, got {getattr(message, name)}")
    _require_times(message, now, max_age, max_skew)
    try:
        actual = recover(eip191_digest(text), signature)
    except BadSignature as err:
        raise SignInRejected("signature", str(err)) from err
    if actual != message.address:
        raise SignInRejected("signature", f"expected {to_hex(message.address)}, recovered {to_hex(actual)}")
    return message


def _require_times(message: SignInMessage, now: datetime, max_age: timedelta, max_skew: timedelta) -> None:
    issued_at = _parse_time("issued at", message.issued_at)
    expires_at = _parse_time("expiration", message.expiration_time)
    not_before = _parse_time("not before", message.not_before)
    if issued_at is None or not now - max_age <= issued_at <= now + max_skew:
        raise SignInRejected("issued_at", f"expected within {max_age} before now, got {message.issued_at}")
    if expires_at is not None and expires_at <= now:
        raise SignInRejected("expiration_time", f"expired at {message.expiration_time}")
    if not_before is not None and not_before > now + max_skew:
        raise SignInRejected("not_before", f"not valid before {message.not_before}")


class _Lines:
    """The lines of a message, taken one at a time."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._next = 0

    def require(self, rule: str, pattern: str) -> re.Match[str]:
        line = self._lines[self._next] if self._next < len(self._lines) else None
        match = None if line is None else re.fullmatch(pattern, line, re.ASCII)
        if match is None:
            raise SignInRejected(rule, f"line {self._next + 1} does not fit the grammar")
        self._next += 1
        return match

    def optional(self, pattern: str) -> str | None:
        line = self._lines[self._next] if self._next < len(self._lines) else ""
        match = re.fullmatch(pattern, line, re.ASCII) if self._next < len(self._lines) else None
        if match is None:
            return None
        self._next += 1
        return match[1]

    def require_end(self) -> None:
        if self._next != len(self._lines):
            raise SignInRejected("grammar", f"line {self._next + 1} is unknown, repeated or out of order")


def _resources(lines: _Lines) -> tuple[str, ...] | None:
    if lines.optional("(Resources:)") is None:
        return None
    found = []
    while (resource := lines.optional(rf"- ({_URI})")) is not None:
        found.append(resource)
    return tuple(found)


def _checksummed(text: str) -> Address:
    address = Address(bytes.fromhex(text[2:]))
    if checksum_address(address) != text:
        raise SignInRejected("address", "expected the mixed-case checksum of EIP-55")
    return address


def _parse_time(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        shortened = re.sub(r"(\.\d{1,6})\d*", r"\1", text)  # RFC 3339 allows more digits than datetime has
        return datetime.fromisoformat(shortened).astimezone(UTC)
    except (ValueError, OverflowError) as err:
        raise SignInRejected(name, f"expected an RFC 3339 time, got {text}") from err
