"""The policy of the example join, its assets, and plans of queries over it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from privacy.encoding import keccak, tagged_hash
from privacy.join.kind import JoinPlan
from privacy.plan import Plan
from privacy.planning import build_plan
from privacy.policy import Policy
from privacy.sql import parse_query
from privacy.types import Address, AssetRef, Digest, ListingRef

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "join"
BANK, POWER = "银行", "供电"
HOLDERS = {BANK: Address(b"\x0b" * 20), POWER: Address(b"\x0a" * 20)}
JOIN = f"FROM {BANK} b JOIN {POWER} p ON b.统一社会信用代码 = p.统一社会信用代码"


def fields() -> dict[str, Any]:
    """The example's policy, as nested mappings that a test may change."""
    loaded = yaml.safe_load((FOLDER / "policy.yaml").read_text(encoding="utf8"))
    assert isinstance(loaded, dict)
    return loaded


def join_policy_of(**changes: Any) -> Policy:
    """The example's policy with some of its fields replaced."""
    return Policy.from_mapping({**fields(), **changes})


def assets_of(policy: Policy) -> list[AssetRef]:
    """The asset of each side."""
    return [
        AssetRef(
            asset=Digest(tagged_hash("asset", holder, keccak(name.encode()))),
            version=1,
            holder=holder,
            policy_hash=policy.hash(),
            snapshot_root=Digest(keccak(name.encode())),
        )
        for name, holder in HOLDERS.items()
    ]


def join_plan(sql: str, policy: Policy | None = None, **options: Any) -> Plan:
    """The plan of a query."""
    given = policy or join_policy_of()
    listing = ListingRef(Digest(b"\x11" * 32), given.listing)
    options = {"purpose": "research", "assets": assets_of(given), **options}
    return build_plan(parse_query(sql, given), given, listing, options.pop("assets"), **options)


def terms_of(plan: Plan) -> JoinPlan:
    """The plan's terms."""
    assert isinstance(plan.terms, JoinPlan)
    return plan.terms


def renamed(asset: AssetRef, name: str) -> AssetRef:
    """The same holder's asset of another name."""
    return replace(asset, asset=Digest(tagged_hash("asset", asset.holder, keccak(name.encode()))))
