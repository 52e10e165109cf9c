"""This holder's part of a private join: the rounds with the other side, then its share of each sum with its noise.

All that a side draws at random follows from the seed that it fixed before it approved. So a crash at any place repeats the same
bytes, and an audit makes them again: what was sent is read back, what was not is made again. For that reason blinding values are
not made ahead of the session. The hashes of the rounds ride behind the bundle: both sides fix them on the chain, and
neither goes on if the other fixed others.

Source: docs/protocol.md §10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import structlog

from holder.chain_side import ChainSide, RequestView
from holder.computation import registered_asset
from holder.data import DataRoom
from holder.errors import DataRefused, DeadlineTooNear, JoinMismatch, SessionChanged
from holder.exchange_client import Exchange
from holder.join_key import JoinKey
from holder.join_store import JoinStore, Round
from holder.session_secrets import SessionSecrets
from holder.store import HolderStore
from holder.types import Stage, StoredRequest
from holder.vault import Vault
from ledger.signing import Signer
from ledger.types import Digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from holder.join_data import SideRows
    from holder.join_mail import JoinMail
    from privacy.join import Matched, MatcherState, ValueState
    from privacy.join.kind import JoinPlan
    from privacy.noise import NoiseSource
    from privacy.plan import Plan
    from privacy.session import Session

STATE_NAME: Final = "join"
_ROUNDS_OPEN: Final = frozenset({Stage.SEEN, Stage.PENDING_HUMAN, Stage.APPROVED})
_NOTHING_GIVEN: Final = frozenset({Stage.REFUSED, Stage.CLOSED})

log = structlog.get_logger("shuyao.holder")


class JoinComputation:
    """One side of private joins.

    Args:
        store: the memory.
        data: the rows.
        secrets: of the sessions, the noise seeds among them.
        chain: whose height ends the rounds.
        exchange: what passes them on.
        signer: the holder's account.
        rand: the system's randomness.
    """

    def __init__(
        self,
        *,
        store: HolderStore,
        data: DataRoom,
        secrets: SessionSecrets,
        chain: ChainSide,
        exchange: Exchange,
        signer: Signer,
        rand: Callable[[int], bytes],
    ) -> None:
        self._store, self._data, self._secrets = store, data, secrets
        self._chain, self._exchange, self._signer = chain, exchange, signer
        self._parts = JoinStore(store.engine)
        self._key = JoinKey(store.engine, Vault(signer), rand)
        self._rows: dict[Digest, SideRows] = {}
        self._matched: dict[Digest, Matched] = {}

    def prepare(self, stored: StoredRequest, plan: Plan) -> None:
        """See `Computation`."""
        if stored.request_id in self._rows:
            return
        terms = join_terms(plan)
        rows = self._data.join_side(registered_asset(self._store, stored), plan)
        if rows.values is not None:
            self._key.take()
        self._rows[stored.request_id] = rows
        side = terms.value if rows.values is not None else terms.matcher
        log.info(
            "rows of a join read",
            request=stored.request_id.hex(),
            side=side.name,
            without_key=rows.missing,
            malformed_key=rows.malformed,
        )

    def vector(
        self, stored: StoredRequest, view: RequestView, session: Session, plan: Plan
    ) -> NDArray[np.int64] | None:
        """See `Computation`."""
        from holder.join_mail import JoinMail
        from privacy.join import MatcherState
        from privacy.join.errors import InputRefused, JoinError
        from privacy.noise import draw_noise_share

        self.prepare(stored, plan)
        mail = JoinMail(self._parts, self._exchange, self._signer, view=view, session=session, plan=plan)
        state = self._state(stored, session, plan)
        try:
            if isinstance(state, MatcherState):
                share = self._match(stored, view, mail, state)
            else:
                share = self._answer(stored, view, mail, state, plan=plan, session=session)
        except InputRefused as err:
            raise DataRefused(f"{type(err).__name__}: {err}") from err
        except JoinError as err:
            raise JoinMismatch(f"{type(err).__name__}: {err}") from err
        if share is None:
            return None
        source = self._secrets.noise_source(stored.request_id, session)
        return join_cells(plan, share, draw_noise_share(plan, session.params, source))

    def bundle_rider(self, stored: StoredRequest, session: Session, plan: Plan) -> bytes:
        """See `Computation`: the hashes of all three rounds, as this side had them."""
        from privacy.join.kind import ROUNDS
        from privacy.join.transport import rounds_rider

        rounds = (Round(stored.request_id, Digest(session.id), number) for number in ROUNDS)
        return rounds_rider(session.id, [self._parts.hashes(each) for each in rounds])

    def input_rider(
        self, stored: StoredRequest, session: Session, plan: Plan, riders: Mapping[int, bytes]
    ) -> bytes:
        """See `Computation`: nothing, if the other side had the same rounds."""
        own = self.bundle_rider(stored, session, plan)
        if any(rider != own for rider in riders.values()):
            raise JoinMismatch("the other side fixed other rounds than were exchanged")
        return b""

    def forget(self, request_id: Digest) -> None:
        """See `Computation`; parts go from the disk too.

        Own ones go once the vector is stored: an audit makes them again. Those of the other side, which it cannot make, go when
        the request ends without an answer.
        """
        self._rows.pop(request_id, None)
        self._matched.pop(request_id, None)
        if not self._parts.holds(request_id):
            return
        stage = self._store.request(request_id).stage
        if stage in _NOTHING_GIVEN:
            self._parts.drop(request_id)
        elif stage not in _ROUNDS_OPEN:
            self._parts.drop(request_id, own_only=True)

    # --- the rounds -----------------------------------------------------------------------------------------

    def _match(
        self, stored: StoredRequest, view: RequestView, mail: JoinMail, state: MatcherState
    ) -> Iterable[int] | None:
        """Go on as the matcher; its share, or None while the second round is awaited."""
        from privacy.join import matcher_round1, matcher_round3

        if not mail.is_written(1):
            sublists = self._rows[stored.request_id].sublists or ()
            mail.write(1, self._in_time(matcher_round1(state, sublists), view))
        mail.deliver(1)
        if not mail.fetch(2):
            return None
        matched = self._matched.get(stored.request_id)
        if matched is None:
            matched = matcher_round3(state, self._in_time(mail.read(2), view))
            self._matched[stored.request_id] = matched
        mail.write(3, matched.parts)
        mail.deliver(3)
        return matched.share

    def _answer(
        self,
        stored: StoredRequest,
        view: RequestView,
        mail: JoinMail,
        state: ValueState,
        *,
        plan: Plan,
        session: Session,
    ) -> Iterable[int] | None:
        """Go on as the value side; its share, or None while the first or third round is awaited."""
        from privacy.join import value_finish, value_round2
        from privacy.join.dummies import draw_dummies

        if not mail.fetch(1):
            return None
        if not mail.is_written(2):
            source = self._secrets.noise_source(stored.request_id, session)
            dummies, rows = draw_dummies(plan, join_terms(plan), source), self._rows[stored.request_id].values
            if rows is None:
                raise DataRefused("the rows were read as the matcher's")
            mail.write(2, self._in_time(value_round2(state, rows, dummies, mail.read(1)), view))
        mail.deliver(2)
        return value_finish(state, mail.read(3)) if mail.fetch(3) else None

    def _state(self, stored: StoredRequest, session: Session, plan: Plan) -> MatcherState | ValueState:
        """Return what all randomness of the rounds follows from: on disk before anything leaves.

        Raises:
            SessionChanged: the rounds were begun in another session: a request has those of one only.
        """
        from privacy.join import MatcherState, ValueState

        terms = join_terms(plan)
        sizes = terms.terms(plan, session.id)
        is_value = bytes(stored.asset_id or b"") == terms.value.asset
        if not self._store.has_secret(stored.request_id, STATE_NAME):
            seed = join_seed(self._secrets.noise_source(stored.request_id, session))
            drawn = ValueState(sizes, seed, self._key.take()) if is_value else MatcherState(sizes, seed)
            self._store.keep(stored.request_id, {STATE_NAME: drawn.to_bytes()})
            return drawn
        kind: type[ValueState] | type[MatcherState] = ValueState if is_value else MatcherState
        state = kind.from_bytes(self._store.secret(stored.request_id, STATE_NAME))
        if state.terms != sizes:
            raise SessionChanged("the chain now shows another roster than the one whose rounds were begun")
        return state

    def _in_time(self, parts: Iterable[bytes], view: RequestView) -> Iterator[bytes]:
        """Pass parts on until the share would come too late.

        Raises:
            DeadlineTooNear: now.
        """
        due = view.opened.request.share_by
        for part in parts:
            if self._chain.head() >= due:
                raise DeadlineTooNear(f"rounds of the join: the share is due in block {due}")
            yield part


def join_seed(source: NoiseSource) -> bytes:
    """Return what the randomness of one side's rounds follows from, KDF(noise seed, session, "join-seed", i, 0)."""
    from privacy.prg import derive_key

    return derive_key(source.seed, source.session, "join-seed", source.index, 0)


def join_cells(plan: Plan, share: Iterable[int], noise: NDArray[np.int64]) -> NDArray[np.int64]:
    """Put a share in the plan's order, add the noise share, and split it into limbs.

    Args:
        plan: of the join.
        share: in the order of the rounds.
        noise: one number for each of the plan's values.
    """
    import numpy as np

    from privacy.join import add_to_shares, to_limbs
    from privacy.join.layout import value_places

    ordered = [0] * plan.values
    places = value_places(plan, join_terms(plan).value.group_by).reshape(-1).tolist()
    for place, number in zip(places, share, strict=True):
        ordered[place] = number
    return np.array(to_limbs(add_to_shares(ordered, noise.tolist())), dtype=np.int64)


def join_terms(plan: Plan) -> JoinPlan:
    """Return what a plan says of its join.

    Raises:
        JoinMismatch: it is of none.
    """
    from privacy.join.kind import JoinPlan

    if not isinstance(plan.terms, JoinPlan):
        raise JoinMismatch("the plan is of no join")
    return plan.terms
