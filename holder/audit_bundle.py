"""What goes into the audit room: one JSON text, without a record, in which every secret is sealed to the regulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from holder.audit_kinds import bring
from holder.audit_messages import KEY_BYTES, seal_entries
from holder.audit_seal import (
    MESSAGES_USE,
    ROWS_USE,
    SEED_USE,
    STORED_NAME,
    AuditContext,
    AuditSecrets,
    open_box,
    seal,
    seal_for_regulators,
    stored_boxes,
)
from holder.chain_side import ChainSide
from holder.checks import build_session, members_of
from holder.errors import AuditImpossible, AuditMalformed
from holder.session_secrets import SessionSecrets
from holder.snapshot import snapshot_salt_key
from holder.store import HolderStore
from holder.types import StoredAsset, StoredRequest
from ledger.encoding import (
    U256_MAX,
    Address,
    Digest,
    canonical_json,
    decimal,
    parse_canonical_json,
    parse_decimal,
    parse_hex,
    require_keys,
    to_hex,
)
from ledger.errors import MalformedValue
from ledger.request import MAX_HOLDERS
from ledger.signing import Signer
from ledger.types import Deployment
from privacy.errors import SenderUnknown, StateCorrupt

FILE_NAME: Final = "audit.json"
SIZE_MAX: Final = 1 << 24
_BOX_BYTES_MAX: Final = 512
_RECIPIENTS_MAX: Final = 64
_BOXES: Final = ("seed", "rows", "messages")
_MEMBERS: Final = frozenset(
    {"version", "chain_id", "ledger", "request_id", "holder", "index", "session", "plan", "asset", "sealed"}
)


@dataclass(frozen=True, slots=True)
class SealedFor:
    """The boxes for one recipient.

    Attributes:
        recipient: its X25519 key, 32 bytes.
        seed: the box with seed and blinding.
        rows: the box with the salt key of the asset's rows.
        messages: the box with the key of the folder's messages.
    """

    recipient: bytes
    seed: bytes
    rows: bytes
    messages: bytes


@dataclass(frozen=True, slots=True)
class AuditedAsset:
    """The version of an asset that took part."""

    asset_id: Digest
    version: int
    name: str
    policy: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AuditBundle:
    """One holder's part in one request, as it is to be audited.

    Attributes:
        chain_id, ledger: where the request is.
        request_id: the request.
        holder, index: who took part, and its place in the roster.
        session: session id.
        plan: the plan's JSON.
        asset: the asset's version.
        sealed: the boxes, one entry for each regulator.
    """

    chain_id: int
    ledger: Address
    request_id: Digest
    holder: Address
    index: int
    session: bytes
    plan: Mapping[str, Any]
    asset: AuditedAsset
    sealed: tuple[SealedFor, ...]

    @property
    def context(self) -> AuditContext:
        """Where its boxes belong."""
        return AuditContext(self.session, self.index, self.request_id)

    def to_bytes(self) -> bytes:
        """Return the canonical JSON text."""
        asset = self.asset
        return canonical_json(
            {
                "version": "1",
                "chain_id": decimal(self.chain_id),
                "ledger": to_hex(self.ledger),
                "request_id": to_hex(self.request_id),
                "holder": to_hex(self.holder),
                "index": decimal(self.index),
                "session": to_hex(self.session),
                "plan": dict(self.plan),
                "asset": {
                    "asset": to_hex(asset.asset_id),
                    "version": decimal(asset.version),
                    "name": asset.name,
                    "policy": dict(asset.policy),
                },
                "sealed": [
                    {name: to_hex(getattr(each, name)) for name in ("recipient", *_BOXES)}
                    for each in self.sealed
                ],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> AuditBundle:
        """Read what `to_bytes` wrote.

        Raises:
            AuditMalformed: naming the first member that is not as it must be.
        """
        try:
            given = require_keys("audit", parse_canonical_json(data, size_max=SIZE_MAX), _MEMBERS)
            if given["version"] != "1" or not isinstance(given["plan"], dict):
                raise MalformedValue("audit", "version 1 with a plan", "another")
            return cls(
                chain_id=parse_decimal(given["chain_id"], "chain_id", 1, U256_MAX),
                ledger=Address(parse_hex(given["ledger"], "ledger", 20)),
                request_id=Digest(parse_hex(given["request_id"], "request_id", 32)),
                holder=Address(parse_hex(given["holder"], "holder", 20)),
                index=parse_decimal(given["index"], "index", 0, MAX_HOLDERS - 1),
                session=parse_hex(given["session"], "session", 32),
                plan=given["plan"],
                asset=_asset(given["asset"]),
                sealed=_sealed(given["sealed"]),
            )
        except MalformedValue as err:
            raise AuditMalformed(str(err)) from err


@dataclass(frozen=True, slots=True)
class AuditFolder:
    """What goes into the audit room.

    Attributes:
        bundle: the JSON text.
        messages: the records of the second file, sealed, made as they are asked for and once; none for a plain sum.
    """

    bundle: AuditBundle
    messages: Iterator[bytes] = field(repr=False)


def make_audit(
    store: HolderStore,
    chain: ChainSide,
    signer: Signer,
    deployment: Deployment,
    request_id: Digest,
    *,
    rand: Callable[[int], bytes],
) -> AuditFolder:
    """Put together what the audit of one request needs, at the holder.

    The seed's boxes are those that were stored when the noise was drawn; a regulator whose key came later gets a new one.

    Args:
        store: the memory.
        chain: this holder's.
        signer: its account, from which the salts of the rows follow.
        deployment: the contracts.
        request_id: the request.
        rand: the system's randomness.

    Raises:
        AuditImpossible: this holder never shared in the request, or no regulator's key is known.
        StoreError: the store does not have what it must have.
    """
    stored = store.request(request_id)
    view, asset = chain.view(request_id), _stored_asset(store, stored)
    if view is None or stored.session is None or asset is None or stored.plan is None:
        raise AuditImpossible("this holder fixed no contribution in this request: there is nothing to audit")
    session, secrets = build_session(members_of(view), view, deployment), SessionSecrets(store)
    try:
        index = secrets.of(request_id).index_in(session)
    except SenderUnknown as err:
        raise AuditImpossible("the chain shows a roster without this holder's keys") from err
    is_kept = store.has_secret(request_id, STORED_NAME)
    kept = stored_boxes(store.secret(request_id, STORED_NAME)) if is_kept else {}
    made = seal_for_regulators(secrets.of(request_id), session, index, chain.regulators(), rand)
    seeds = stored_boxes(made.get(STORED_NAME, b"")) | kept
    if not seeds:
        raise AuditImpossible("the chain shows no regulator whose key the seed could be sealed to")
    context, messages_key = AuditContext.of(session, index), rand(KEY_BYTES)
    others = {ROWS_USE: snapshot_salt_key(signer, asset.asset_id), MESSAGES_USE: messages_key}
    bundle = AuditBundle(
        chain_id=deployment.chain_id,
        ledger=deployment.ledger,
        request_id=request_id,
        holder=signer.address,
        index=index,
        session=session.id,
        plan=stored.plan,
        asset=AuditedAsset(asset.asset_id, asset.version, asset.name, asset.policy),
        sealed=_boxes(seeds, others, context, rand),
    )
    return AuditFolder(bundle, seal_entries(bring(store, stored, session, index), messages_key, context))


def _boxes(
    seeds: Mapping[bytes, bytes],
    others: Mapping[str, bytes],
    context: AuditContext,
    rand: Callable[[int], bytes],
) -> tuple[SealedFor, ...]:
    """Put the other secrets, by their use, into boxes beside those of the seed, which are given by recipient."""

    def boxed(recipient: bytes, use: str) -> bytes:
        return seal(others[use], recipient, context, use=use, ephemeral=rand(KEY_BYTES))

    return tuple(
        SealedFor(recipient, seed, boxed(recipient, ROWS_USE), boxed(recipient, MESSAGES_USE))
        for recipient, seed in sorted(seeds.items())
    )


@dataclass(frozen=True, slots=True)
class Opened:
    """What the boxes for one key hold: seed and blinding, the salt key of the rows, the key of the messages."""

    secrets: AuditSecrets = field(repr=False)
    salt: bytes = field(repr=False)
    messages_key: bytes = field(repr=False)


def open_sealed(bundle: AuditBundle, key: X25519PrivateKey) -> Opened:
    """Open the boxes for one key.

    Raises:
        AuditBoxClosed: they do not open, in this session.
        AuditImpossible: nothing is sealed to this key.
        StateCorrupt: what opens is no seed and blinding, or no key.
    """
    public = key.public_key().public_bytes_raw()
    for entry in bundle.sealed:
        if entry.recipient == public:
            seed = AuditSecrets.from_bytes(open_box(entry.seed, key, bundle.context, use=SEED_USE))
            salt = open_box(entry.rows, key, bundle.context, use=ROWS_USE)
            messages_key = open_box(entry.messages, key, bundle.context, use=MESSAGES_USE)
            if len(messages_key) != KEY_BYTES:
                raise StateCorrupt(f"expected a key of {KEY_BYTES} bytes for the messages")
            return Opened(seed, salt, messages_key)
    raise AuditImpossible("nothing in this folder is sealed to this key")


def _stored_asset(store: HolderStore, stored: StoredRequest) -> StoredAsset | None:
    if stored.asset_id is None or stored.asset_version is None:
        return None
    return store.asset(stored.asset_id, stored.asset_version)


def _asset(value: object) -> AuditedAsset:
    given = require_keys("asset", value, frozenset({"asset", "version", "name", "policy"}))
    if not isinstance(given["name"], str) or not isinstance(given["policy"], dict):
        raise MalformedValue("asset", "a name and a policy", "another")
    return AuditedAsset(
        asset_id=Digest(parse_hex(given["asset"], "asset.asset", 32)),
        version=parse_decimal(given["version"], "asset.version", 1, (1 << 32) - 1),
        name=given["name"],
        policy=given["policy"],
    )


def _sealed(value: object) -> tuple[SealedFor, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= _RECIPIENTS_MAX:
        raise MalformedValue("sealed", f"a list of 1 to {_RECIPIENTS_MAX}", "another")
    found = []
    for number, entry in enumerate(value):
        path = f"sealed[{number}]"
        given = require_keys(path, entry, frozenset({"recipient", *_BOXES}))
        recipient = parse_hex(given["recipient"], f"{path}.recipient", 32)
        found.append(SealedFor(recipient, *(_box(given[name], f"{path}.{name}") for name in _BOXES)))
    return tuple(found)


def _box(value: object, path: str) -> bytes:
    box = parse_hex(value, path, None)
    if len(box) > _BOX_BYTES_MAX:
        raise MalformedValue(path, f"at most {_BOX_BYTES_MAX} bytes", f"{len(box)}")
    return box
