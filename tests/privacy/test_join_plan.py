"""Policies and plans of private joins: sides and roles, sensitivities, ρ, public sizes, and the values that cells stand for."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.answer import decode_answer
from privacy.columns import Role
from privacy.errors import AnswerInvalid, PlanInvalid, PlanRejected, PolicyInvalid
from privacy.join import add_to_shares, to_limbs
from privacy.join.dummies import draw_dummies
from privacy.join.errors import PartMalformed, RoundWrong
from privacy.join.kind import JoinPlan, match_rho
from privacy.join.layout import value_places
from privacy.join.parts import cut
from privacy.join.transport import read_place, round_size
from privacy.lanes import LaneKind, largest_cell
from privacy.layout import group_key
from privacy.noise import NoiseSource
from privacy.plan import Plan
from privacy.planning import plan_parameters, verify_plan
from privacy.policy import Policy
from privacy.session import Member, Session
from privacy.sides import asset_policy, side_filter
from tests.privacy.join_plan_world import (
    BANK,
    FOLDER,
    HOLDERS,
    JOIN,
    POWER,
    assets_of,
    fields,
    join_plan,
    join_policy_of,
    renamed,
    terms_of,
)
from tests.privacy.plan_world import POLICY, policy_of

SQL = (FOLDER / "query.sql").read_text(encoding="utf8")


# --- policies -----------------------------------------------------------------------------------------------


def test_a_join_policy_has_one_form_and_its_sides_ascend() -> None:
    policy = join_policy_of()
    assert Policy.from_json(policy.to_bytes()) == policy
    key = policy.column("统一社会信用代码")
    assert key is not None and key.role is Role.KEY and "side" not in key.to_json()
    assert policy.to_json()["join"]["sides"][POWER] == {
        "multiplicity": "12",
        "rows_max": "49152",
        "list_max": "8192",
    }


def test_policies_without_a_join_keep_their_hash() -> None:
    policy = policy_of()
    assert all("side" not in column for column in policy.to_json()["columns"])
    assert "join" not in policy.to_json()


def _problems(change: Callable[[dict[str, Any]], None]) -> str:
    given = fields()
    change(given)
    with pytest.raises(PolicyInvalid) as caught:
        Policy.from_mapping(given)
    return "; ".join(caught.value.problems)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p["join"]["sides"].pop(BANK), "2 sides"),
        (lambda p: p["join"].update(normalise="soundex"), "join.normalise"),
        (lambda p: p["join"].update(key="镇"), "role key"),
        (lambda p: p["join"].update(extra=1), "unknown field"),
        (lambda p: p["join"]["sides"][BANK].update(multiplicity=0), "join.sides.银行.multiplicity"),
        (lambda p: p["join"]["sides"][BANK].update(list_max=1 << 21), "join.sides.银行.list_max"),
        (lambda p: p["columns"]["镇"].pop("side"), "columns.镇.side"),
        (lambda p: p["columns"]["镇"].update(side="水务"), "columns.镇.side"),
        (lambda p: p["columns"]["统一社会信用代码"].update(side=BANK), "of no side"),
        (lambda p: p["columns"]["统一社会信用代码"].update(filter=True), "no filter"),
        (lambda p: p["columns"]["客户号"].update(role="key"), "no second key"),
        (lambda p: p["privacy_unit"].update(rows_per_unit=1), "m_A·m_B"),
        (lambda p: p["privacy_unit"].update(proved=True), "not proved"),
        (lambda p: p["privacy_unit"].update(disjoint=False), "disjoint"),
        (lambda p: p.update(rows_max=100), "most rows of the joined table"),
        (lambda p: p.update(row_key=["客户号"]), "rows apart at '供电'"),
        (lambda p: p.update(min_holders=1), "both sides"),
        (lambda p: p["aggregates"].append("histogram"), "some of count"),
        (lambda p: p.update(score={"key_bits": 3072}), "one kind"),
    ],
)
def test_a_join_policy_names_every_problem(change: Callable[[dict[str, Any]], None], said: str) -> None:
    assert said in _problems(change)


def test_sides_and_keys_need_a_join() -> None:
    columns = {**POLICY["columns"], "x": {"type": "text", "side": "a"}, "y": {"type": "text", "role": "key"}}
    with pytest.raises(PolicyInvalid) as caught:
        policy_of(columns=columns)
    assert len(caught.value.problems) == 2


def test_a_side_sees_its_own_columns_ceiling_and_multiplicity() -> None:
    own = asset_policy(join_policy_of(), POWER)
    assert [column.name for column in own.columns] == [
        "统一社会信用代码",
        "电表号",
        "月份",
        "行业",
        "镇",
        "用电量",
    ]
    assert (own.rows_max, own.row_key, own.unit.rows_per_unit) == (49152, ("月份", "电表号"), 12)
    with pytest.raises(PlanInvalid):
        asset_policy(join_policy_of(), "水务")
    assert asset_policy(policy_of(), "anything") == policy_of()


# --- plans --------------------------------------------------------------------------------------------------


def test_a_plan_has_one_form_and_is_verified() -> None:
    policy, plan = join_policy_of(), join_plan(SQL)
    assert Plan.from_bytes(plan.to_bytes()) == plan
    verify_plan(plan, policy)
    assert plan.kind == "join" and plan.cells == 2 * plan.values == 2 * 5 * 2
    terms = terms_of(plan)
    assert (terms.value.name, terms.matcher.name) == (POWER, BANK)
    assert (terms.value.group_by, terms.matcher.group_by) == (("行业",), ())
    assert {terms.value.asset, terms.matcher.asset} == {asset.asset for asset in plan.assets}


def test_a_plan_with_other_terms_is_refused() -> None:
    given = join_plan(SQL).to_json()
    for path, value in [
        (("match_size", "offset"), "1"),
        (("match_size", "rho"), "1"),
        (("value", "list_max"), "16384"),
        (("normalise",), "text"),
    ]:
        changed = {**given, "join": {**given["join"]}}
        place = changed["join"]
        for name in path[:-1]:
            place[name] = {**place[name]}
            place = place[name]
        place[path[-1]] = value
        with pytest.raises(PlanInvalid):
            verify_plan(Plan.from_json(changed), join_policy_of())


@pytest.mark.parametrize("member", ["key", "normalise", "matcher", "value", "match_size"])
def test_a_malformed_plan_is_refused(member: str) -> None:
    given = join_plan(SQL).to_json()
    for wrong in (None, [], "x", {}, {"side": 1}):
        if member == "key" and wrong == "x":
            continue
        with pytest.raises(PlanInvalid):
            Plan.from_json({**given, "join": {**given["join"], member: wrong}})
    with pytest.raises(PlanInvalid):
        Plan.from_json({name: value for name, value in given.items() if name != "join"})


def test_rho_is_split_between_the_number_of_matches_and_the_lanes() -> None:
    plan = join_plan(SQL, rho_micro=100_001)
    assert match_rho(100_001) == 12_500 == terms_of(plan).match.rho_micro
    assert sum(lane.rho_micro for lane in plan.lanes) + 12_500 <= 100_001
    assert len({lane.rho_micro for lane in plan.lanes}) == 1


def test_a_key_counts_with_all_its_joined_rows() -> None:
    plan = join_plan(SQL)
    count, total = plan.lanes
    assert count.kind is LaneKind.COUNT and count.delta_squared == 12**2
    assert total.delta_squared == (12 * total.half_width) ** 2
    # a key is in the matcher's lists once for each of its rows there
    assert terms_of(plan).match.delta_squared == 1
    bank_measured = join_plan(f"SELECT SUM(b.贷款余额) {JOIN}")
    assert terms_of(bank_measured).matcher.name == POWER
    assert terms_of(bank_measured).match.delta_squared == 12**2


def test_without_a_measure_the_side_with_more_groups_has_the_values() -> None:
    assert terms_of(join_plan(f"SELECT b.信用等级, COUNT(*) {JOIN} GROUP BY b.信用等级")).value.name == BANK
    assert terms_of(join_plan(f"SELECT p.镇, COUNT(*) {JOIN} GROUP BY p.镇")).value.name == POWER


def test_a_plan_needs_one_asset_of_each_side() -> None:
    policy = join_policy_of()
    bank, power = assets_of(policy)
    for assets in ([bank], [bank, power, renamed(power, "x")], [bank, renamed(power, BANK)]):
        with pytest.raises(PlanRejected) as caught:
            join_plan(SQL, policy, assets=assets)
        assert "join" in [each.rule for each in caught.value.violations] or len(assets) == 3
    with pytest.raises(PlanRejected):
        join_plan(SQL, policy, asked={"model": 1})


def test_lists_that_are_too_long_are_refused_up_front() -> None:
    given = fields()
    for side in given["join"]["sides"].values():
        side["list_max"] = 1 << 20
    given["rows_max"] = 1 << 30
    with pytest.raises(PlanRejected) as caught:
        join_plan(f"SELECT SUM(b.贷款余额) {JOIN}", Policy.from_mapping(given))
    assert [each.rule for each in caught.value.violations] == ["join-size"]


def test_the_mask_of_a_sum_hides_the_noise_too() -> None:
    plan = join_plan(SQL)
    sizes = terms_of(plan).terms(plan, bytes(32))
    largest = max(largest_cell(lane, plan.setting) for lane in plan.lanes)
    assert sizes.sum_max >= largest and sizes.mask_bits >= largest.bit_length() + 40


# --- layout and values --------------------------------------------------------------------------------------


def test_every_value_has_one_place_whatever_side_its_dimensions_are_of() -> None:
    plan = join_plan(
        f"SELECT p.镇, b.信用等级, p.行业, SUM(p.用电量) {JOIN} GROUP BY p.镇, b.信用等级, p.行业"
    )
    terms = terms_of(plan)
    places = value_places(plan, terms.value.group_by)
    sizes = terms.terms(plan, bytes(32))
    assert places.shape == (sizes.groups, sizes.values) == (4, 25 * 2)
    assert sorted(places.reshape(-1).tolist()) == list(range(plan.values))
    town, grade, industry = 2, 1, 3
    found = places[grade, 1 * 25 + town * 5 + industry]
    assert group_key(plan, int(found) - plan.groups) == ("南镇", "乙", "服务业")


PLAN = join_plan(SQL)
values = st.integers(-(2**62) + 1, 2**62 - 1)


@given(st.lists(st.tuples(values, st.integers(0, 2**96 - 1)), min_size=10, max_size=10))
def test_the_limbs_of_both_shares_add_up_to_the_values(drawn: list[tuple[int, int]]) -> None:
    plan = PLAN
    wanted = [value for value, _ in drawn]
    masks = [mask for _, mask in drawn]
    matcher = to_limbs([-mask % 2**96 for mask in masks])
    other = to_limbs(add_to_shares(masks, wanted))
    cells = [a + b for a, b in zip(matcher, other, strict=True)]
    assert list(terms_of(plan).values(plan, cells)) == wanted


@pytest.mark.parametrize("cell", [-1, 2 << 48, 2**61])
def test_cells_that_are_no_limbs_are_refused(cell: int) -> None:
    plan = join_plan(SQL)
    with pytest.raises(AnswerInvalid):
        terms_of(plan).values(plan, [cell] + [0] * (plan.cells - 1))
    with pytest.raises(AnswerInvalid):  # 2^48·2^47 = −2^95
        terms_of(plan).values(plan, [0] * plan.values + [1 << 47] * plan.values)


def test_an_answer_decodes_from_limbs() -> None:
    plan = join_plan(SQL)
    wanted = [0] * plan.values
    count = plan.lanes[0]
    wanted[1] = 40 << count.grid_bits
    matcher = to_limbs([(-(7**30)) % 2**96] * plan.values)
    other = to_limbs(add_to_shares([7**30] * plan.values, wanted))
    cells = [a + b for a, b in zip(matcher, other, strict=True)]
    table = decode_answer(plan, plan_parameters(plan), 2, cells)
    assert {row[0]: row[1] for row in table.rows}["零售业"] == 40


def test_dummies_are_drawn_once_within_bounds_and_not_from_a_lane() -> None:
    plan = join_plan(f"SELECT b.信用等级, SUM(p.用电量) {JOIN} GROUP BY b.信用等级")
    terms = terms_of(plan)
    source = NoiseSource(b"\x01" * 32, b"\x02" * 32, 0)
    drawn = draw_dummies(plan, terms, source)
    assert drawn == draw_dummies(plan, terms, source)
    assert len(drawn) == 4 and all(0 <= each <= terms.match.dummies_max for each in drawn)
    many = [
        draw_dummies(plan, terms, NoiseSource(hashlib.sha256(b"%d" % n).digest(), b"\x02" * 32, 0))
        for n in range(300)
    ]
    centred = np.array(many).reshape(-1) - terms.match.offset
    sigma = float(terms.match.sigma_squared) ** 0.5
    assert abs(centred.mean()) < 5 * sigma / len(centred) ** 0.5
    assert 0.85 < centred.std() / sigma < 1.15


def test_a_filter_splits_into_its_sides() -> None:
    policy = join_policy_of()
    plan = join_plan(f"SELECT COUNT(*) {JOIN} WHERE 信用等级 = '甲' AND 镇 = '东镇' AND 用电量 > 1")
    power = side_filter(plan.filter, policy, POWER)
    assert power is not None and len(getattr(power, "terms", ())) == 2
    bank = side_filter(plan.filter, policy, BANK)
    assert getattr(bank, "column", None) == "信用等级"
    assert side_filter(None, policy, BANK) is None


# --- parts --------------------------------------------------------------------------------------------------


def _session(plan: Plan) -> Session:
    members = [
        Member(
            holder=asset.holder,
            asset=asset.asset,
            asset_version=asset.version,
            line=bytes(32),
            mask_key=bytes([9]) + bytes(31),
            share_key=bytes([9]) + bytes(31),
            e_x=bytes.fromhex("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"),
            e_parity=2,
            noise_commitment=bytes(32),
        )
        for asset in plan.assets
    ]
    return Session.build(
        chain_id=1,
        ledger=bytes(20),
        request_id=bytes(32),
        plan_hash=plan.hash(),
        members=members,
        colluders=plan.colluders,
        dropouts=plan.dropouts,
        min_holders=2,
    )


def test_a_part_has_one_sender_one_place_and_one_length() -> None:
    plan = join_plan(SQL)
    terms, session = terms_of(plan), _session(plan)
    matcher, other = session.index_of(HOLDERS[BANK]), session.index_of(HOLDERS[POWER])
    for round_, sender in ((1, matcher), (2, other), (3, matcher)):
        size = round_size(plan, terms, session, round_)
        parts = list(cut(round_, size, [bytes(size)]))
        assert [read_place(plan, terms, session, sender, part) for part in parts] == [
            (round_, number) for number in range(len(parts))
        ]
        with pytest.raises(RoundWrong):
            read_place(plan, terms, session, 1 - sender, parts[0])
        with pytest.raises(PartMalformed):
            read_place(plan, terms, session, sender, parts[-1] + b"\0")
    for wrong in (b"", b"\0\0\0\0", b"\0\0\0\0\0"):
        with pytest.raises((PartMalformed, RoundWrong)):
            read_place(plan, terms, session, matcher, wrong)


def test_terms_are_of_the_session() -> None:
    plan = join_plan(SQL)
    terms = terms_of(plan)
    assert isinstance(terms, JoinPlan)
    first, second = terms.terms(plan, b"\x01" * 32), terms.terms(plan, b"\x02" * 32)
    assert first.head != second.head and first.round2_bytes == second.round2_bytes
