"""How many dummy matches the value side puts in each of the matcher's sub-lists, so that their number shows nothing."""

from __future__ import annotations

from privacy.gaussian import draw_discrete_gaussian
from privacy.join.kind import JoinPlan
from privacy.join.layout import side_groups
from privacy.noise import NoiseSource
from privacy.plan import Plan


def draw_dummies(plan: Plan, terms: JoinPlan, source: NoiseSource) -> tuple[int, ...]:
    """Return a number for each sub-list: the offset plus a discrete Gaussian, at least 0 and at most `dummies_max`.

    The lane after the plan's last one is theirs, so that no draw is used twice. The bounds are met but with probability
    2^-183 a sub-list.

    Args:
        plan: verified.
        terms: its terms.
        source: of the value side, which alone draws: the noise is whole, not shared.
    """
    match = terms.match
    noise = draw_discrete_gaussian(
        source.key(len(plan.lanes)), match.sigma_squared, side_groups(plan, terms.matcher.group_by)[1]
    )
    return tuple(min(max(match.offset + int(each), 0), match.dummies_max) for each in noise)
