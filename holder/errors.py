"""The error tree of the holder's node: everything that this package raises on purpose is a `HolderError`.

A `Refusal` ends one request at this holder; its class name is the reason that is stored and shown. No message holds
a secret, a record or a cell.
"""

from __future__ import annotations

from collections.abc import Sequence


class HolderError(Exception):
    """Anything that this package raises."""


class SettingsInvalid(HolderError):
    """The node's configuration cannot be used."""


# --- the holder's data -----------------------------------------------------------------------------------------------


class SourceError(HolderError):
    """A data source that cannot be used as it is."""


class SourceUnreadable(SourceError):
    """The source is not there, or its engine cannot open it."""


class SchemaMismatch(SourceError):
    """The source is not what the policy says. `problems` names each column with what was expected and found."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("the source does not fit its policy: " + "; ".join(self.problems))


class RowsExceedCeiling(SourceError):
    """More rows than the policy's ceiling, for which sums were proved not to wrap."""

    def __init__(self, *, rows_max: int, rows: int) -> None:
        self.rows_max, self.rows = rows_max, rows
        super().__init__(f"expected at most {rows_max} rows, found {rows}")


class KeysExceedList(SourceError):
    """More different keys than the public length of a side's list in a private join."""

    def __init__(self, *, most: int) -> None:
        self.most = most
        super().__init__(f"expected at most {most} different keys, found more")


class EngineFailed(SourceError):
    """The engine refused or failed a query."""


class EngineDisagrees(SourceError):
    """The engine does not compute the numbers that every other engine computes."""


class AssetUnknown(HolderError):
    """No asset of this name or id is configured here."""


class AssetNotRegistered(HolderError):
    """The asset has no snapshot, line or chain registration of this holder yet."""


# --- the store -------------------------------------------------------------------------------------------------------


class StoreError(HolderError):
    """The node's own database does not allow what was asked."""


class StoreVersionUnknown(StoreError):
    """The database was written by another version of the node."""


class StoreInUse(StoreError):
    """Another process runs a node on this store."""


class VaultLocked(StoreError):
    """A stored secret does not open under this holder's key: another key, or altered bytes."""


class OnceOnly(StoreError):
    """Something that is written once exists already with other content."""


class RequestUnknown(StoreError):
    """No request with this id was seen here."""


class NotPending(StoreError):
    """The request does not wait for a person's decision."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        super().__init__(f"expected a request that waits for a decision, got one in stage {stage}")


# --- the exchange ----------------------------------------------------------------------------------------------------


class ExchangeError(HolderError):
    """The exchange does not do what is needed."""


class ExchangeUnreachable(ExchangeError):
    """No usable answer from the exchange; it is asked again later."""


class ExchangeProblem(ExchangeError):
    """The exchange refused with an RFC 9457 problem."""

    def __init__(self, *, status: int, kind: str, title: str, detail: str) -> None:
        self.status, self.kind, self.title, self.detail = status, kind, title, detail
        super().__init__(f"exchange answered {status} {title}: {detail}")


class ExchangeMissing(ExchangeProblem):
    """The exchange does not have this (404), perhaps not yet."""


class ExchangeMalformed(ExchangeError):
    """The exchange's answer is not what the interface fixes."""


class ReceiptRejected(ExchangeError):
    """The broker's receipt for a message is not its signature over that message."""


# --- a trustee of an encrypted deposit -------------------------------------------------------------------------------


class TrusteeError(HolderError):
    """Anything about a joint key of which this holder has a share."""


class CeremonyRefused(TrusteeError):
    """The folder of a ceremony has something that its files may not have; the message names it."""


class CeremonyWaits(TrusteeError):
    """Messages of other trustees are not there yet; the message names them."""


class ShareMissing(TrusteeError):
    """This holder has no share of the joint key in question."""


class KeyUsed(TrusteeError):
    """A share serves another deposit already: one key, one deposit."""


# --- audits ----------------------------------------------------------------------------------------------------------


class AuditError(HolderError):
    """An audit that cannot be held."""


class AuditMalformed(AuditError):
    """The audit folder's file is not what the interface fixes."""


class AuditImpossible(AuditError):
    """There is nothing to audit, or nobody to whom the seed could be opened."""


class AuditContradicted(AuditError):
    """The contribution, or what was brought to its audit, is not what it must be."""


class AuditFactMissing(AuditError):
    """A step of an audit cannot be taken: a fact is lacking."""


class AuditBoxClosed(AuditError):
    """A sealed box does not open: another key, session, holder or use, or altered bytes."""


# --- refusals of one request -----------------------------------------------------------------------------------------


class Refusal(HolderError):
    """This holder refuses a request, or to go on with it. The class name is the stored reason."""

    @property
    def reason(self) -> str:
        """The stable name of the reason."""
        return type(self).__name__


class RequestForged(Refusal):
    """The request's id or buyer's signature is not what its content gives."""


class RequestTampered(Refusal):
    """The exchange's copy of the request is not the one on the chain."""


class PlanTampered(Refusal):
    """The plan's hash is not the one that the buyer signed."""


class PlanRefused(Refusal):
    """The plan does not follow from this holder's policy, or is malformed."""


class RequestPlanMismatch(Refusal):
    """Request and plan disagree about holders, floors, colluders, dropouts, listing or ρ."""


class AssetRefused(Refusal):
    """The plan's asset, version, policy hash or snapshot root is not what the chain and this holder have."""


class NotEntrusted(Refusal):
    """The asset is not entrusted to the request's broker under its listing."""


class PurposeRefused(Refusal):
    """The policy does not allow the purpose."""


class BuyerRefused(Refusal):
    """The policy does not allow the buyer, or the buyer is not admitted."""


class BrokerRefused(Refusal):
    """The broker is not admitted as one."""


class RhoRefused(Refusal):
    """The request asks for more privacy loss than the policy allows one request."""


class BudgetExhausted(Refusal):
    """This holder's own ledger, or the chain's line, does not hold the charge."""


class BuyerQuotaExhausted(Refusal):
    """The buyer has used up what the policy grants one buyer of this holder's budget line."""


class AlreadyAnswered(Refusal):
    """The same buyer's same plan was sealed before: its stored answer is to be fetched, nothing is recomputed."""


class DeadlineTooNear(Refusal):
    """A deadline passed before this holder could act."""


class TransactionReverted(Refusal):
    """The contract refused this holder's transaction. The message names its error."""


class DeniedByHolder(Refusal):
    """A person at the holder denied the request."""


class SnapshotChanged(Refusal):
    """The data are no longer those that were registered; register a new version."""


class DataRefused(Refusal):
    """The query cannot be run as the plan promises (too many rows, engine failure that repeats)."""


class RosterRefused(Refusal):
    """A member is no registered holder of the plan's asset, or the roster is not the plan's."""


class OperatorConflict(Refusal):
    """Two members, or a member and the buyer or broker, have one operator."""


class ParametersRefused(Refusal):
    """No sum is possible with the holders that approved."""


class BundleMismatch(Refusal):
    """A peer's bundle of shares is not the one whose hash is on the chain, or it never came."""


class ShareRefused(Refusal):
    """A peer's share does not open."""


class JoinMismatch(Refusal):
    """The other side of a private join signed a message that is not what the plan fixes."""


class SessionChanged(Refusal):
    """The chain now shows another session than the one this holder shared in."""


class CommitmentChanged(Refusal):
    """The chain shows a commitment or message hash of this holder's that it did not send."""


class SealRefused(Refusal):
    """The seal is below the floor, leaves this holder's contribution out, or is not the contributions' sum."""


class RestoredBackup(Refusal):
    """This store is older than what was already sent: it refuses open sessions, so that nothing is drawn twice."""
