"""Trustees of an encrypted deposit, each a holder of the usual world with its own machine, store and copy of the deposit."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holder.settings import AssetSettings, DepositSource
from holder.trustee import TrusteeKeys
from holder.types import StoredAsset
from ledger.contracts import asset_id, line_id
from ledger.types import Digest
from privacy.deposit import (
    Ceremony,
    Cube,
    Deposit,
    DepositKey,
    KeyShare,
    LogTable,
    TrusteeSecret,
    announce,
    complain,
    deal,
    finish,
    write_deposit,
)
from privacy.deposit.opening import Opening, find_values, open_riders
from privacy.deposit.subcube import plan_selection
from privacy.deposit.terms import deposit_policy, key_json
from privacy.layout import cells_from_sums
from privacy.messages import Kind, decode_frame
from privacy.noise import draw_noise_share
from privacy.payloads import split_rider
from privacy.plan import Plan
from privacy.types import Address
from tests.holder.world import LISTING, Member, World, signer_for
from tests.privacy.deposit.plan_world import policy_mapping

TRUSTEES, THRESHOLD = 5, 3
WORLD_CELLS = 12 * 8  # three towns by four years; a count, one of kwh, two sums, a histogram of four bins
SQL = f"SELECT town, COUNT(*) AS n, SUM(kwh) AS s FROM {LISTING} WHERE year = 2 GROUP BY town"


@cache
def ceremony() -> tuple[Ceremony, DepositKey, tuple[KeyShare, ...]]:
    """Return a key of the world's holders, and their shares, by index."""
    accounts = sorted(Address(signer_for(f"holder{number}").address) for number in range(TRUSTEES))
    own = Ceremony(bytes(32), tuple(accounts), THRESHOLD)
    secrets = [
        TrusteeSecret(own, index, hashlib.sha256(bytes([index])).digest()) for index in range(TRUSTEES)
    ]
    announcements = {secret.index: announce(secret) for secret in secrets}
    deals = {secret.index: deal(secret, announcements) for secret in secrets}
    complaints = {secret.index: complain(secret, announcements, deals) for secret in secrets}
    outcomes = [finish(own, announcements, deals, complaints, secret=secret) for secret in secrets]
    shares = [outcome.share for outcome in outcomes]
    assert all(share is not None for share in shares)
    return own, outcomes[0].key, tuple(share for share in shares if share is not None)


def world_policy() -> dict[str, Any]:
    """Return the policy of the world's deposit."""
    own, key, _ = ceremony()
    given = policy_mapping()
    member = {**key_json(key, own.trustees), "cube": given["deposit"]["cube"]}
    return {**given, "listing": LISTING, "deposit": member, "row_key": [], "null_values": []}


def contents() -> NDArray[np.int64]:
    """Return the cells of the world's deposit."""
    return np.arange(WORLD_CELLS, dtype=np.int64) % 50


class DepositWorld(World):
    """Five trustees of one deposit, of whom three decrypt together."""

    def __init__(self, home: Path) -> None:
        self.deposit_folder = home / "deposit"
        home.mkdir(parents=True)
        super().__init__(home, holders=TRUSTEES, policy=world_policy())

    @property
    def cube(self) -> Cube:
        return deposit_policy(self.policy).cube(self.policy)

    def deposit(self) -> Deposit:
        """The deposit, made when it is asked for first; the trustees read one copy."""
        if (self.deposit_folder / "manifest.json").exists():
            return Deposit.open(self.deposit_folder)
        header = deposit_policy(self.policy).header(self.policy)
        return write_deposit(self.deposit_folder, header, ceremony()[1], contents(), seed=bytes(range(32)))

    def _holder(self, number: int, url: str | None) -> Member:
        name = f"holder{number}"
        signer, home = signer_for(name), self.home / name
        home.mkdir()
        own, key, shares = ceremony()
        deposit, source = self.deposit(), DepositSource(self.deposit_folder, home / "trustee")
        keys = TrusteeKeys(source.share, signer)
        keys.put(own, key, shares[keys.index_in(own)])
        keys.bind(key, deposit.root)
        asset = AssetSettings(LISTING, LISTING, source, home / "policy.yaml", "people")
        stored = StoredAsset(
            asset_id=asset_id(signer.address, LISTING),
            version=1,
            name=LISTING,
            line=line_id(signer.address, "people"),
            policy=self.policy.to_json(),
            policy_hash=Digest(self.policy.hash()),
            snapshot_root=Digest(deposit.root),
            descriptor_hash=Digest(bytes(32)),
            source=source.to_json(),
            fingerprint={"root": deposit.root.hex()},
            rows=0,
        )
        return self._enrolled(Member(name, home, signer, stored, [], self._settings(home, asset)))

    # --- the buyer's side

    def plan_of(self, request_id: Digest) -> Plan:
        return Plan.from_json(self.broker.published[request_id].plan)

    def payloads(self, request_id: Digest, kind: Kind) -> dict[int, bytes]:
        """The payloads of one kind, by roster index."""
        session = self.session(request_id)
        return {
            session.index_of(sender): decode_frame(frame).payload
            for (rid, k, sender), frame in self.broker.frames.items()
            if rid == request_id and k == kind
        }

    def opening(self, request_id: Digest, cells: list[int]) -> Opening:
        """Open what the trustees sent, as the buyer does."""
        plan, view = self.plan_of(request_id), self.chain.view(request_id)
        assert view is not None
        session = self.session(request_id)
        shared = {session.index_of(holder) for holder in view.shared}
        survived = {session.index_of(holder) for holder in view.contributed}
        bundles, inputs = (
            {
                i: split_rider(p, size, sender=i)[1]
                for i, p in self.payloads(request_id, kind).items()
                if i in who
            }
            for kind, size, who in (
                (Kind.BUNDLE, plan.bundle_rider_size, shared),
                (Kind.MASKED_INPUT, plan.input_rider_size, survived),
            )
        )
        return open_riders(plan, session, cells, bundles, inputs)

    def values(self, request_id: Digest, cells: list[int]) -> list[int]:
        """The decrypted values."""
        return find_values(self.plan_of(request_id), self.opening(request_id, cells), LogTable.make(12))

    def noise(self, member: Member, request_id: Digest) -> NDArray[np.int64]:
        """One trustee's noise, from its own secrets."""
        session, plan = self.session(request_id), self.plan_of(request_id)
        source = member.machine._secrets.noise_source(request_id, session)
        return draw_noise_share(plan, session.params, source)

    def plain(self, request_id: Digest) -> NDArray[np.int64]:
        """The sums without noise, on their lanes' grids."""
        plan = self.plan_of(request_id)
        selection = plan_selection(plan, self.policy, self.cube)
        sums = np.zeros(plan.values, dtype=np.int64)
        np.add.at(sums, selection.results, contents()[selection.cells])
        return cells_from_sums(plan, sums.tolist())
