"""Plans over an encrypted deposit, and what its trustees send: for tests, which may change any of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.deposit import Ciphertexts, encrypt, encrypt_noise
from privacy.deposit.opening import Noise, Opening, open_riders, partial_of, sum_noise
from privacy.deposit.riders import seal
from privacy.deposit.sizes import KEY_CELLS
from privacy.deposit.terms import DepositPlan, deposit_terms
from privacy.plan import Plan
from privacy.planning import build_plan
from privacy.policy import Policy
from privacy.sealed_sum import HolderSecrets
from privacy.session import Member, Session
from privacy.sql import parse_query
from privacy.types import Address, AssetRef, Digest, ListingRef, to_hex
from tests.privacy.deposit.deposit_world import CONTEXT, SEED, THRESHOLD, TRUSTEES, ceremony, key, share

ROOT = Digest(b"\x07" * 32)
SQL = "SELECT town, COUNT(*) AS n, AVG(kwh) AS mean FROM power WHERE year = 2 GROUP BY town"


def key_member() -> dict[str, Any]:
    """Return the joint key as it stands in a policy."""
    pairs = zip(ceremony().trustees, key().verification, strict=True)
    return {
        "threshold": THRESHOLD,
        "key": to_hex(key().key),
        "trustees": {to_hex(account): to_hex(point) for account, point in pairs},
    }


def policy_mapping(**changes: Any) -> dict[str, Any]:
    """Return a policy's fields, some of them replaced."""
    return {
        "version": 1,
        "listing": "power",
        "title": "Deposited power",
        "privacy_unit": {"column": None, "rows_per_unit": 1, "proved": True, "disjoint": True},
        "rows_max": 1000,
        "aggregates": ["count", "sum", "avg", "histogram"],
        "purposes": ["research"],
        "rho": {"per_request": "1", "total": "10"},
        "price": {"fee_minor": 1, "rate_minor_per_rho": 1},
        "min_holders": 4,
        "colluders": 2,
        "dropouts": 1,
        "approval": "automatic",
        "deposit": {
            **key_member(),
            "cube": {
                "dimensions": ["town", "year"],
                "measures": ["kwh", "staff"],
                "histograms": {"staff": 4},
            },
        },
        "columns": {
            "town": {"type": "text", "role": "dimension", "domain": ["east", "west"], "filter": True},
            "year": {
                "type": "integer",
                "role": "dimension",
                "domain": [1, 2, 3],
                "filter": True,
                "nullable": False,
            },
            "kwh": {
                "type": "number",
                "role": "measure",
                "low": 0,
                "high": 100,
                "scale_bits": 0,
                "filter": True,
            },
            "staff": {"type": "integer", "role": "measure", "low": 0, "high": 8, "nullable": False},
            "rent": {"type": "integer", "role": "measure", "low": 0, "high": 8, "nullable": False},
        },
    } | changes


@cache
def policy() -> Policy:
    """Return the policy."""
    return Policy.from_mapping(policy_mapping())


def make_plan(
    sql: str = SQL,
    own: Policy | None = None,
    *,
    roots: Sequence[Digest] = (ROOT,) * TRUSTEES,
    trustees: Sequence[Address] | None = None,
    rho_micro: int | None = None,
) -> Plan:
    """Return the plan of a query over all trustees."""
    given = own or policy()
    pairs = zip(trustees or ceremony().trustees, roots, strict=True)
    assets = [
        AssetRef(Digest(bytes([number + 1]) * 32), 1, account, given.hash(), root)
        for number, (account, root) in enumerate(pairs)
    ]
    listing = ListingRef(Digest(bytes(32)), "power")
    query = parse_query(sql, given)
    return build_plan(query, given, listing, assets, purpose="research", rho_micro=rho_micro)


def terms(plan: Plan) -> DepositPlan:
    """Return the plan's member."""
    return deposit_terms(plan)


def _drawn(number: int, count: int) -> bytes:
    return bytes([number + 1]) * count


@cache
def session() -> Session:
    """Return a session of all trustees."""
    members = []
    for number, account in enumerate(ceremony().trustees):
        keys = HolderSecrets.generate(partial(_drawn, number)).public_keys()
        members.append(
            Member(
                account,
                bytes(32),
                1,
                bytes(32),
                keys.mask_key,
                keys.share_key,
                keys.e_x,
                keys.e_parity,
                keys.noise_commitment,
            )
        )
    return Session.build(
        chain_id=1,
        ledger=bytes(20),
        request_id=bytes(32),
        plan_hash=bytes(32),
        members=members,
        colluders=2,
        dropouts=1,
        min_holders=4,
    )


def contents(plan: Plan) -> NDArray[np.int64]:
    """Return what the deposit's sums are of: a different number for each value."""
    return np.arange(plan.values, dtype=np.int64) * 7 - 20


@dataclass
class Trustees:
    """What the trustees of one session send."""

    plan: Plan
    bundles: dict[int, bytes]
    inputs: dict[int, bytes]
    cells: list[int]

    def open(self) -> Opening:
        """Combine what is there."""
        return open_riders(self.plan, session(), self.cells, self.bundles, self.inputs)


def sums_of(plan: Plan, values: NDArray[np.int64] | None = None) -> Ciphertexts:
    """Return the encrypted sums of the deposit."""
    return encrypt(key().key, contents(plan) if values is None else values, SEED, CONTEXT)


def noise_rider(plan: Plan, index: int, noise: int | None = None) -> bytes:
    """Return a trustee's noise: its index plus one in every value."""
    values = np.full(plan.values, index + 1 if noise is None else noise, dtype=np.int64)
    return encrypt_noise(key(), values, bytes([index]) * 32, trustee=index, session=session().id)


def sealing_key(index: int) -> bytes:
    """Return a trustee's sealing key."""
    return bytes([index + 100]) * 32


def input_rider(plan: Plan, index: int, sums: Ciphertexts, noise: Noise) -> bytes:
    """Return a trustee's sealed sums and partial decryption."""
    decrypted = partial_of(plan, session(), share(index), sums, noise)
    return seal(sealing_key(index), session().id, index, sums.encode(), decrypted)


def key_sum(survivors: Sequence[int]) -> list[int]:
    """Return the cells of the sum: every survivor's key in its region."""
    cells = [0] * (KEY_CELLS * TRUSTEES)
    for index in survivors:
        word = int.from_bytes(bytes([index + 100]) * 4, "big")
        cells[KEY_CELLS * index : KEY_CELLS * (index + 1)] = [word] * KEY_CELLS
    return cells


def honest(plan: Plan, survivors: Sequence[int] = range(TRUSTEES)) -> Trustees:
    """Return what honest trustees send; all share, and some survive."""
    bundles = {index: noise_rider(plan, index) for index in range(TRUSTEES)}
    noise, sums = sum_noise(plan, session(), bundles), sums_of(plan)
    inputs = {index: input_rider(plan, index, sums, noise) for index in survivors}
    return Trustees(plan, bundles, inputs, key_sum(survivors))
