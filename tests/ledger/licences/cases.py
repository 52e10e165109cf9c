"""A city with a few licences, and what a verdict on one of them is: what the tests of attacks on verdicts share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ledger.licences.bundle import Bundle
from ledger.licences.jws import parse_jws
from ledger.licences.policy import TrustPolicy
from ledger.licences.verify import Expected, Missing, Reason, State, Verdict, verify
from tests.ledger.licences.world import Licence, TestCity, build_city


class Case:
    """A city with a few licences, published once."""

    def __init__(self) -> None:
        self.city = build_city()
        for _ in range(3):
            self.city.issue()
        self.licence = self.city.issue()
        self.city.issue()
        self.city.publish()

    def bundle(self, **changes: Any) -> Bundle:
        return self.city.bundle(self.licence, **changes)

    def verify(
        self,
        bundle: Bundle | bytes | None = None,
        policy: TrustPolicy | None = None,
        *,
        now_s: int | None = None,
        expected: Expected | None = None,
    ) -> Verdict:
        now_s = self.city.now_s if now_s is None else now_s
        return verify(bundle or self.bundle(), policy or self.city.policy(), now_s=now_s, expected=expected)

    def after(self, act: Callable[[TestCity, Licence], object]) -> Bundle:
        """Let something happen, publish again, and return the new bundle."""
        act(self.city, self.licence)
        self.city.publish()
        return self.bundle()


def refused(verdict: Verdict, reason: Reason) -> None:
    assert (verdict.state, verdict.reason, verdict.missing) == (State.INVALID, reason, ())


def lacking(verdict: Verdict, *missing: Missing) -> None:
    assert (verdict.state, verdict.reason, verdict.missing) == (State.UNKNOWN, None, missing)


def payload_of(licence: Licence) -> dict[str, Any]:
    return parse_jws(licence.credential.jwt, "dc+sd-jwt").payload
