"""The status of a licence at a past time, proved from the log: the newest token of its list that was signed by then.

A service that gives the token of another time cannot be told from an honest one by the token alone. So nothing is asked of it but the
log's entries, which are checked against a cosigned checkpoint of that time or later, and the tokens behind them, each by its hash. All
status tokens from the end of the log back to the one that counts are seen, so that no newer one is left out.

Source: docs/licence.md §6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from ledger.licences.bundle import Bundle
from ledger.licences.encoding import day_of
from ledger.licences.errors import LicenceError
from ledger.licences.facts import CheckpointFact, Facts, open_bundle
from ledger.licences.leaf import FINAL, Code, Kind, Leaf
from ledger.licences.policy import City, TrustPolicy
from ledger.licences.reasons import Missing, Reason, State
from ledger.licences.sdjwt import Presented, parse
from ledger.licences.status import StatusToken, parse_status_token
from ledger.licences.verify import verify_logged
from ledger.log.errors import LogError
from ledger.log.tiles import TILE_WIDTH, TileReader, decode_bundle, inclusion_proof, tile_width
from ledger.log.tree import hash_leaves, root_of, verify_inclusion

Progress = Callable[[int, int], None]  # bundles of entries that were looked through, of how many at most
TokenOf = Callable[[bytes], str | None]
_STATUS_LIST: Final = bytes((1, Kind.STATUS_LIST))  # how the leaf of a status token begins


@dataclass(frozen=True, slots=True)
class PastStatus:
    """What is proved about a licence's status.

    Attributes:
        state: VALID where the status is proved, whatever it is; UNKNOWN where something is missing; INVALID where the credential is not
            its issuer's or not in the log.
        reason: exactly when INVALID.
        missing: not empty exactly when UNKNOWN.
        at_s: the time that is spoken of, Unix seconds; None where not even that is known.
        code: the status then; when UNKNOWN the last one known, or None.
        token: the token that says so; None where the licence itself says that it was issued later.
        token_index: its log index.
        checkpoint: under which it was looked for.
    """

    state: State
    reason: Reason | None = None
    missing: tuple[Missing, ...] = ()
    at_s: int | None = None
    code: Code | None = None
    token: StatusToken | None = None
    token_index: int | None = None
    checkpoint: CheckpointFact | None = None


def status_at(
    credential: str,
    bundle: bytes,
    policy: TrustPolicy,
    *,
    at_s: int | None,
    now_s: int,
    reader: TileReader,
    token_of: TokenOf,
    progress: Progress | None = None,
) -> PastStatus:
    """Prove the status of a licence at a time.

    Args:
        credential: or a presentation of it.
        bundle: of the licence, as its service gives it; its status token is not looked at.
        policy: whom the verifier trusts.
        at_s: Unix seconds; None for the time of the bundle's checkpoint, and then the token must be fresh now as well.
        now_s: Unix time by the verifier's clock.
        reader: the log's tiles and entries; nothing in them is believed.
        token_of: returns the published token with a SHA-256, None where there is none to be had.
        progress: told after each bundle of entries.

    Returns:
        What is proved. Nothing is raised, whatever the answers, but what `reader` and `token_of` raise of their own.
    """
    try:
        presented = parse(credential)
    except LicenceError:
        return PastStatus(State.INVALID, Reason.MALFORMED)
    try:
        facts = open_bundle(Bundle.parse(bundle), presented, policy)
    except LicenceError:
        return _unknown(Missing.CHECKPOINT, at_s)
    logged = verify_logged(facts, policy, now_s=now_s)
    if logged.state is not State.VALID:
        return PastStatus(logged.state, logged.reason, logged.missing, at_s)
    checkpoint, city = facts.checkpoint, facts.city
    if not isinstance(checkpoint, CheckpointFact) or checkpoint.quorum_at is None or city is None:
        return _unknown(Missing.CHECKPOINT, at_s)
    wanted_s = checkpoint.quorum_at if at_s is None else at_s
    if checkpoint.quorum_at > now_s + policy.skew_s:
        return _unknown(Missing.CLOCK, wanted_s)
    if wanted_s > checkpoint.quorum_at:  # what was logged until then is not all in it
        return _unknown(Missing.CHECKPOINT, wanted_s)
    if presented.claims.issued_at > wanted_s:
        return PastStatus(State.VALID, at_s=wanted_s, code=Code.NOT_ISSUED, checkpoint=checkpoint)
    search = _Search(facts, checkpoint, city, reader, token_of, progress)
    found = search.run(presented, wanted_s)
    return _judged(found, policy, judged_at=now_s if at_s is None else wanted_s)


def _judged(found: PastStatus, policy: TrustPolicy, *, judged_at: int) -> PastStatus:
    """Take a token that was stale at the time for a missing one, but for what is final: step 6 of docs/licence.md §11."""
    if found.token is None or found.code in FINAL:
        return found
    claims = found.token.claims
    age_s = judged_at - claims.issued_at
    if judged_at < claims.expires_at and age_s <= min(claims.ttl_s, policy.status_age_s):
        return found
    return replace(found, state=State.UNKNOWN, missing=(Missing.STATUS,))


@dataclass(slots=True)
class _Search:
    """One look through the log, from its end to the licence's own entry."""

    facts: Facts
    checkpoint: CheckpointFact
    city: City
    reader: TileReader
    token_of: TokenOf
    progress: Progress | None

    def run(self, presented: Presented, at_s: int) -> PastStatus:
        place = self.facts.inclusion
        if place is None:
            return _unknown(Missing.INCLUSION, at_s)
        unknown = replace(_unknown(Missing.STATUS, at_s), checkpoint=self.checkpoint)
        try:
            for index, leaf in self._leaves(presented.claims.list, place.index):
                if leaf.event_day > day_of(at_s):
                    continue
                token = opened_token(self.token_of(leaf.evidence), leaf, self.city)
                if token is None:
                    return unknown
                if token.claims.issued_at <= at_s:
                    code = Code(token.code(presented.claims.index))
                    return PastStatus(
                        State.VALID,
                        at_s=at_s,
                        code=code,
                        token=token,
                        token_index=index,
                        checkpoint=self.checkpoint,
                    )
        except (LogError, LicenceError, ValueError):
            return unknown
        return unknown  # a token from before the licence was logged says nothing about it

    def _leaves(self, number: int, after: int) -> Iterator[tuple[int, Leaf]]:
        """Return the leaves of a list's tokens above a log index, the last one first.

        Raises:
            LogError: entries are not there, or not those under the checkpoint.
            Malformed: an entry is no leaf.
        """
        size = self.checkpoint.checkpoint.size
        last, first = (size - 1) // TILE_WIDTH, after // TILE_WIDTH
        for n in range(last, first - 1, -1):
            entries = self._entries(n, size)
            for offset in range(len(entries) - 1, -1, -1):
                index = n * TILE_WIDTH + offset
                if index > after and entries[offset].startswith(_STATUS_LIST):
                    leaf = Leaf.decode(entries[offset])
                    if leaf.list == number:
                        yield index, leaf
            if self.progress is not None:
                self.progress(last - n + 1, last - first + 1)

    def _entries(self, n: int, size: int) -> list[bytes]:
        width = tile_width(0, n, size)
        entries = decode_bundle(self.reader.bundle(n, width), width)
        # a tree over `size` leaves is a tree over its tiles' roots: the way up from a tile is that of its first leaf without what is inside
        path = inclusion_proof(self.reader, n * TILE_WIDTH, size)[(width - 1).bit_length() :]
        root = root_of(hash_leaves(entries))
        verify_inclusion(root, n, -(-size // TILE_WIDTH), path, self.checkpoint.checkpoint.root)
        return entries


def opened_token(text: str | None, leaf: Leaf, city: City) -> StatusToken | None:
    """Return a token that is what its leaf says, of a list of this city and signed by its service, else None.

    Raises:
        LicenceError: it is no token, or not signed by the service.
    """
    if text is None:
        return None
    token = parse_status_token(text)
    token.verify(city.service)
    return token if token.leaf() == leaf and token.claims.origin == city.origin else None


def _unknown(what: Missing, at_s: int | None) -> PastStatus:
    return PastStatus(State.UNKNOWN, missing=(what,), at_s=at_s)
