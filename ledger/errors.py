"""The error tree of the trust base. No message holds a secret, a signature's key or a passphrase."""

from __future__ import annotations

from collections.abc import Mapping


class LedgerError(Exception):
    """Anything that this package raises."""


class MalformedValue(LedgerError):
    """A value is outside its type: length, range, encoding or key set."""

    def __init__(self, field: str, expected: str, actual: str) -> None:
        self.field, self.expected, self.actual = field, expected, actual
        super().__init__(f"{field}: expected {expected}, got {actual}")


# --- signatures and keys ---------------------------------------------------------------------------------


class BadSignature(LedgerError):
    """A signature is malformed, not in its one accepted form, or made by another account."""


class KeystoreError(LedgerError):
    """A keystore cannot be used."""


class WrongPassphrase(KeystoreError):
    """The passphrase does not open this keystore, or the keystore was altered."""


class KeystoreMissing(KeystoreError):
    """There is no keystore at this path."""


class KeystoreExists(KeystoreError):
    """There is a keystore at this path already; it is never overwritten."""


class KeystoreMalformed(KeystoreError):
    """The file is no keystore of this version."""


class SignInRejected(LedgerError):
    """An EIP-4361 message is malformed or does not fit this server. `rule` names the failed check."""

    def __init__(self, rule: str, message: str) -> None:
        self.rule = rule
        super().__init__(f"sign-in rejected ({rule}): {message}")


class HttpSignatureRejected(LedgerError):
    """A signed HTTP request does not verify. `rule` names the failed check."""

    def __init__(self, rule: str, message: str) -> None:
        self.rule = rule
        super().__init__(f"request signature rejected ({rule}): {message}")


class ReceiptInvalid(LedgerError):
    """Bytes are no canonical receipt of version 1. `field` is the path of the first offence."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(f"receipt: {field}: {message}")


# --- chain -----------------------------------------------------------------------------------------------


class ChainError(LedgerError):
    """The chain, or the node in front of it, does not do what is needed."""


class ChainUnreachable(ChainError):
    """No usable answer from the node: refused, timed out, or not JSON-RPC. Try again later."""


class ChainRefused(ChainError):
    """The node answered with a JSON-RPC error that is no revert."""

    def __init__(self, method: str, code: int, message: str) -> None:
        self.method, self.code, self.reason = method, code, message
        super().__init__(f"{method} refused with code {code}: {message}")


class ChainTooOld(ChainError):
    """The chain lacks the BLS12-381 precompiles of EIP-2537 (Prague hard fork)."""


class ChainMismatch(ChainError):
    """The node serves another chain, or another deployment, than the one expected."""


class CallReverted(ChainError):
    """A call or an estimate reverted; `data` is the revert data, not yet decoded."""

    def __init__(self, data: bytes, message: str = "") -> None:
        self.data = data
        super().__init__(f"call reverted with {len(data)} bytes of data {message}".rstrip())


class ContractReverted(ChainError):
    """A contract reverted with one of its named errors.

    `name` is the Solidity error (`Error` and `Panic` for the built-in two, `Unknown` when nothing was
    decoded), `arguments` its arguments by name. `tx_hash` is set when the revert was mined.
    """

    def __init__(self, name: str, arguments: Mapping[str, object], *, tx_hash: bytes | None = None) -> None:
        self.name, self.arguments, self.tx_hash = name, dict(arguments), tx_hash
        shown = ", ".join(f"{key}={_show(value)}" for key, value in self.arguments.items())
        super().__init__(f"contract reverted: {name}({shown})")


class DeploymentFailed(ChainError):
    """A contract could not be deployed or set up; `step` names it."""

    def __init__(self, step: str, reason: str) -> None:
        self.step, self.reason = step, reason
        super().__init__(f"deployment failed at {step}: {reason}")


class MalformedLog(ChainError):
    """A log of one of our contracts does not decode to a valid event."""


# --- submitting and indexing -----------------------------------------------------------------------------


class SubmitterError(LedgerError):
    """The submitter cannot go on."""


class IntentConflict(SubmitterError):
    """The same key was used before for a call with other content."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"intent {key!r} exists with other content")


class IntentUnknown(SubmitterError):
    """No intent was stored under this key."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"no intent {key!r}")


class IntentAbandoned(SubmitterError):
    """The caller gave this intent up for good."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"intent {key!r} was abandoned")


class IntentInFlight(SubmitterError):
    """The intent cannot be given up: its transaction is signed, or mined, and may take effect at any time."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"intent {key!r} is signed and cannot be given up")


class SubmitTimeout(SubmitterError):
    """The transaction is not final yet. It stays stored and goes on; ask again with the same key."""

    def __init__(self, key: str, timeout_s: float, note: str | None = None) -> None:
        self.key, self.timeout_s, self.note = key, timeout_s, note
        why = f" ({note})" if note else ""
        super().__init__(f"intent {key!r} is not final after {timeout_s} s{why}; it is stored and goes on")


class SubmitterBehindChain(SubmitterError):
    """The chain has used nonces of this account that this database never handed out.

    The database is a restored backup, or the key is used elsewhere. Nothing is sent.
    """

    def __init__(self, account: str, nonce: int, chain_nonce: int) -> None:
        self.account, self.nonce, self.chain_nonce = account, nonce, chain_nonce
        super().__init__(
            f"account {account}: this database is at nonce {nonce}, the chain at {chain_nonce}; "
            "a restored backup, or another writer uses this key"
        )


class ChainLostHistory(SubmitterError):
    """The chain lost transactions of this account that were sent before this database was made.

    Their bytes are not here, so what came after them cannot be sent again.
    """

    def __init__(self, account: str, first_nonce: int, chain_nonce: int) -> None:
        self.account, self.first_nonce, self.chain_nonce = account, first_nonce, chain_nonce
        super().__init__(
            f"account {account}: the chain is back at nonce {chain_nonce}, this database begins at nonce "
            f"{first_nonce}"
        )


# --- database --------------------------------------------------------------------------------------------


class DatabaseError(LedgerError):
    """The database did not do what was asked; nothing of the transaction was kept."""


class DatabaseFull(DatabaseError):
    """No space is left on the device of the database."""


class DatabaseBusy(DatabaseError):
    """Another writer held the database for longer than the busy timeout. Try again."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be opened or reached."""


class DatabaseConflict(DatabaseError):
    """A row breaks a constraint, such as a key that exists already."""


class DatabaseCorrupt(DatabaseError):
    """The file is no database, or is damaged."""


def _show(value: object) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
