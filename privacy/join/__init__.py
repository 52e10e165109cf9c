"""Private join: two holders, one key, sums over the rows that match, each side left with a share of them.

Rounds are functions of a state and a message (docs/protocol.md, "Private join"); the transport is the caller's:

1. matcher → value side: `matcher_round1`
2. value side → matcher: `value_round2`
3. matcher → value side: `matcher_round3`; then `value_finish`

Semi-honest: a side that deviates can make the sums wrong; docs/threat-model.md says what it can learn.
"""

from privacy.join.identifiers import Rule, join_key, normalise, normalise_key
from privacy.join.matcher import Matched, matcher_round1, matcher_round3
from privacy.join.parts import PART_BYTES_MAX, parts_needed, require_part
from privacy.join.shares import add_to_shares, from_limbs, to_limbs
from privacy.join.state import MatcherState, ValueState
from privacy.join.terms import SHARE_MODULUS, JoinTerms
from privacy.join.value_side import value_finish, value_round2
from privacy.join.values import KeyValues

__all__ = [
    "PART_BYTES_MAX",
    "SHARE_MODULUS",
    "JoinTerms",
    "KeyValues",
    "Matched",
    "MatcherState",
    "Rule",
    "ValueState",
    "add_to_shares",
    "from_limbs",
    "join_key",
    "matcher_round1",
    "matcher_round3",
    "normalise",
    "normalise_key",
    "parts_needed",
    "require_part",
    "to_limbs",
    "value_finish",
    "value_round2",
]
