"""Typed wrappers of LogAnchor and IssuerRegistry: calls to send, answers to read, events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ledger.anchors import types as t
from ledger.contract import Contract
from ledger.types import Address, Call, Digest, Event, EventRef

ISSUER_EVENTS: Final[Mapping[str, type[Event]]] = {
    kind.__name__: kind
    for kind in (
        t.IssuerBound,
        t.IssuerRecognised,
        t.KeyCompromised,
        t.KeyRegistered,
        t.KeyRetired,
        t.RecognitionWithdrawn,
    )
}


class LogAnchorContract(Contract):
    """The newest head of one log on the chain."""

    name = "LogAnchor"

    def anchor_call(self, root: bytes, size: int, status_root: bytes, proof: Sequence[bytes] = ()) -> Call:
        """Anchor a head (operator); the contract verifies the proof.

        Args:
            root, status_root: 32 bytes each.
            size: entries under `root`.
            proof: RFC 6962 consistency proof from the anchored size to `size`; empty from size 0 and for the
                head that is anchored already, whose time is renewed.
        """
        return self._call("anchor", root, size, status_root, list(proof))

    def set_operator(self, operator: Address) -> Call:
        """Make another account the operator (access manager's administrator)."""
        return self._call("setOperator", operator)

    def head(self, block: int | None = None) -> t.AnchorHead:
        """Read the head, of the newest block or of another one."""
        root, status_root, size, time_s = self._read("head", block=block)
        return t.AnchorHead(root=root, size=size, status_root=status_root, time_s=time_s)

    def operator(self) -> Address:
        """Read the account that anchors."""
        return Address(self._read("operator"))

    def origin_hash(self) -> Digest:
        """Read the SHA-256 of the log's origin."""
        return Digest(self._read("originHash"))

    def binding(self) -> Digest:
        """Read H("anchor"; chain id, SHA-256 of the origin), fixed at deployment."""
        return Digest(self._read("binding"))

    def events(self, from_block: int, to_block: int) -> list[t.Anchored]:
        """Read the heads anchored in some blocks, both ends included, in order.

        Raises:
            MalformedLog: a log does not decode.
            ChainUnreachable: no answer.
        """
        return [
            t.Anchored(
                size=values["size"],
                root=values["root"],
                status_root=values["statusRoot"],
                time_s=values["time"],
                block=log.block,
                block_hash=log.block_hash,
                tx_hash=log.tx_hash,
            )
            for _, values, log in self._events(["Anchored"], from_block, to_block)
        ]


class IssuerRegistryContract(Contract):
    """Who may issue which licence types in which cities, and with which keys."""

    name = "IssuerRegistry"

    def recognise(self, issuer: bytes, licence_type: bytes, city: bytes) -> Call:
        """Recognise an issuer for a licence type in a city (registrar)."""
        return self._call("recognise", issuer, licence_type, city)

    def withdraw(self, issuer: bytes, licence_type: bytes, city: bytes) -> Call:
        """End a recognition (registrar)."""
        return self._call("withdraw", issuer, licence_type, city)

    def bind_issuer(self, issuer: bytes, account: Address) -> Call:
        """Let an account act for an issuer, instead of its former one (registrar)."""
        return self._call("bindIssuer", issuer, account)

    def register_key(self, issuer: bytes, key_id: bytes) -> Call:
        """Register a key (the issuer's account)."""
        return self._call("registerKey", issuer, key_id)

    def register_key_for(self, issuer: bytes, key_id: bytes) -> Call:
        """Register a key (registrar)."""
        return self._call("registerKeyFor", issuer, key_id)

    def retire_key(self, issuer: bytes, key_id: bytes) -> Call:
        """End an active key's use (the issuer's account)."""
        return self._call("retireKey", issuer, key_id)

    def retire_key_for(self, issuer: bytes, key_id: bytes) -> Call:
        """End an active key's use (registrar)."""
        return self._call("retireKeyFor", issuer, key_id)

    def compromise_key(self, issuer: bytes, key_id: bytes) -> Call:
        """Say that a key is in other hands (the issuer's account)."""
        return self._call("compromiseKey", issuer, key_id)

    def revoke_key(self, issuer: bytes, key_id: bytes) -> Call:
        """Say that a key is in other hands (registrar)."""
        return self._call("revokeKey", issuer, key_id)

    def is_recognised(
        self, issuer: bytes, licence_type: bytes, city: bytes, *, block: int | None = None
    ) -> bool:
        """Say whether an issuer is recognised for a licence type in a city."""
        return bool(self._read("isRecognised", issuer, licence_type, city, block=block))

    def account_of(self, issuer: bytes) -> Address:
        """Read the account that acts for an issuer, zero if none does."""
        return Address(self._read("accountOf", issuer))

    def issuer_of(self, account: Address) -> Digest:
        """Read the issuer that an account acts for, zero if none."""
        return Digest(self._read("issuerOf", account))

    def key(self, issuer: bytes, key_id: bytes, *, block: int | None = None) -> t.IssuerKey:
        """Read an issuer's key; its status is NONE when the issuer never registered it."""
        status, since_s, until_s = self._read("key", issuer, key_id, block=block)
        return t.IssuerKey(t.KeyStatus(status), since_s, until_s)

    def events(self, from_block: int, to_block: int) -> list[Event]:
        """Read what happened to issuers and keys in some blocks, both ends included, in order.

        Raises:
            MalformedLog: a log does not decode.
            ChainUnreachable: no answer.
        """
        return [
            ISSUER_EVENTS[name](
                *values.values(), at=EventRef(log.block, log.log_index, log.block_hash, log.tx_hash)
            )
            for name, values, log in self._events(list(ISSUER_EVENTS), from_block, to_block)
        ]
