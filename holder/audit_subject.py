"""What an audit knows of the contribution that it makes again: filled step by step, by the steps of `holder.audit`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from holder.audit_messages import AuditMessages
from holder.errors import AuditBoxClosed, AuditContradicted, AuditFactMissing, EngineFailed
from ledger.types import Address, Digest
from privacy.errors import StateCorrupt
from privacy.messages import Kind, message_hash
from privacy.noise import NoiseSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from holder.audit_bundle import AuditBundle
    from holder.audit_seal import AuditSecrets
    from holder.chain_side import RequestView
    from holder.deposit_data import HeldDeposit
    from holder.engine import Engine
    from holder.settings import HolderSettings
    from privacy.generators import GeneratorCache
    from privacy.plan import Plan
    from privacy.policy import Policy
    from privacy.session import Session


class AuditChain(Protocol):
    """What an audit asks of the chain; the regulator trusts the node behind it."""

    def view(self, request_id: Digest) -> RequestView | None:
        """Return a request as the final chain shows it, None if it does not."""
        ...

    def registered(self, asset: Digest, version: int) -> tuple[bytes, bytes] | None:
        """Return policy hash and snapshot root of one version of an asset, None if the chain does not show it."""
        ...


@dataclass(slots=True)
class Rows:
    """A table in the room whose root is the registered one."""

    engine: Engine
    fingerprint: Mapping[str, Any]
    trim: bool


@dataclass(slots=True)
class Subject:
    """What is audited, and what the steps so far have derived."""

    bundle: AuditBundle
    messages_file: Path | None
    key: X25519PrivateKey = field(repr=False)
    chain: AuditChain
    room: HolderSettings
    generators: GeneratorCache
    stack: ExitStack
    view: RequestView = field(init=False)
    plan: Plan = field(init=False)
    policy: Policy = field(init=False)
    session: Session = field(init=False)
    secrets: AuditSecrets = field(init=False, repr=False)
    salt: bytes = field(init=False, repr=False)
    messages_key: bytes = field(init=False, repr=False)
    data: Rows | HeldDeposit = field(init=False)
    share: list[int] = field(init=False, repr=False)  # of a join, in the order of its rounds
    _messages: AuditMessages | None = field(init=False, repr=False, default=None)

    @property
    def source(self) -> NoiseSource:
        """What the holder's noise follows from, and all other randomness of its part."""
        return NoiseSource(self.secrets.noise_seed, self.session.id, self.bundle.index)

    @property
    def has_contributed(self) -> bool:
        """Whether the chain has the holder's contribution."""
        return self.bundle.holder in self.view.contributed

    def rows(self) -> Rows:
        """Return the table in the room.

        Raises:
            AuditFactMissing: the room has an encrypted deposit.
        """
        if not isinstance(self.data, Rows):
            raise AuditFactMissing("an encrypted deposit has no rows")
        return self.data

    def require_same_rows(self) -> None:
        """Require that the rows are still those whose root was taken.

        Raises:
            AuditContradicted: they are not.
            AuditFactMissing: they cannot be read any more.
        """
        rows = self.rows()
        try:
            found = dict(rows.engine.fingerprint())
        except EngineFailed as err:
            raise AuditFactMissing(f"the rows cannot be read in this room: {err}") from err
        if found != dict(rows.fingerprint):
            raise AuditContradicted("the rows changed while they were audited")

    def brought(self, kind: int, sender: int) -> Iterator[bytes]:
        """Yield what was brought of one kind and sender, in order.

        Raises:
            AuditContradicted: the file was changed, or is of another folder.
            AuditFactMissing: it cannot be read.
        """
        try:
            if self._messages is None:
                opened = AuditMessages(self.messages_file, self.messages_key, self.bundle.context)
                self._messages = self.stack.enter_context(opened)
            yield from self._messages.of(kind, sender)
        except (AuditBoxClosed, StateCorrupt) as err:
            raise AuditContradicted(f"what the holder sealed cannot be used: {err}") from err
        except OSError as err:
            raise AuditFactMissing(f"the messages cannot be read: {err.strerror}") from err

    def fixed(self, kind: Kind, index: int) -> bytes:
        """Return the bundle or masked input of a holder, which is the one whose hash the chain has.

        Raises:
            AuditContradicted: another one was brought.
            AuditFactMissing: none was brought, or the chain has no hash of it.
        """
        what = f"the {kind.name.lower().replace('_', ' ')} of holder {index}"
        fixed = self._hash_on_chain(kind, Address(self.session.members[index].holder))
        if fixed is None:
            raise AuditFactMissing(f"the chain does not show {what}")
        payload = next(self.brought(kind, index), None)
        if payload is None:
            raise AuditFactMissing(f"{what} was not brought")
        if message_hash(kind, self.session.id, index, payload) != fixed:
            raise AuditContradicted(f"{what} is not the one that the chain has")
        return payload

    def _hash_on_chain(self, kind: Kind, holder: Address) -> bytes | None:
        if kind is Kind.BUNDLE:
            shared = self.view.shared.get(holder)
            return None if shared is None else shared.bundle_hash
        contributed = self.view.contributed.get(holder)
        return None if contributed is None else contributed.input_hash
