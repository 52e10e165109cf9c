"""A holder's store with what a test puts into it: one line and requests that charge it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holder.epoch import EpochFile
from holder.store import HolderStore
from holder.vault import Vault
from ledger.database import make_engine
from ledger.encoding import keccak
from ledger.signing import Signer
from ledger.types import Digest, Request

LINE = bytes([1]) * 32
SIGNER = Signer(keccak(b"store test"))


def make_store(home: Path, url: str | None = None, *, signer: Signer = SIGNER) -> HolderStore:
    engine = make_engine(url or f"sqlite:///{home / 'holder.db'}")
    store = HolderStore(engine, Vault(signer), EpochFile(home / "epoch"), now_s=lambda: 1000.0)
    store.create_tables()
    return store


def request_for(number: int, *, rho: int = 50_000, buyer: int = 1, plan: int | None = None) -> Request:
    digest = keccak(b"plan" + (number if plan is None else plan).to_bytes(8, "big"))
    values: dict[str, Any] = {"listing": bytes(32), "key_x": bytes(32), "key_parity": 2, "price_minor": 1}
    values |= {"holders": 3, "min_holders": 2, "colluders": 0, "dropouts": 1, "nonce": number}
    values |= {"approve_by": 10, "share_by": 20, "contribute_by": 30, "answer_by": 40}
    return Request(
        buyer=bytes([buyer]) * 20,  # type: ignore[arg-type]
        broker=bytes([9]) * 20,  # type: ignore[arg-type]
        plan_hash=digest,
        rho_micro=rho,
        **values,
    )


def seen(store: HolderStore, number: int, *, line: bytes = LINE, **changes: int) -> Digest:
    request_id = Digest(keccak(b"request" + number.to_bytes(8, "big")))
    store.see(request_id, request_for(number, **changes))
    store.set_plan(request_id, {"version": "1"}, bytes(32), 1, line)
    return request_id
