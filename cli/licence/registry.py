"""The registrar's other hand: what it logs of issuers, keys and cities, it also writes to the IssuerRegistry of the log's chain.

The log is first and decides. Writing means bringing the registry to what the registrar's record says: what is there already is not
sent, so a repeat does nothing, and after a failure the same command again does the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cli.errors import CliError, named
from cli.home import Home, read_json
from ledger.errors import ContractReverted, LedgerError

if TYPE_CHECKING:
    from ledger.anchors.types import TrustDeployment
    from ledger.chain import Chain
    from ledger.licences.issuers import KeySpan
    from ledger.signing import Signer
    from ledger.types import Address, Call, Digest

ACCOUNT: Final = "account"  # the registrar's, in its folder
TRUST_FILE: Final = "trust.json"
_CALL_GAS: Final = 150_000
_TIMEOUT_S: Final = 120.0


class RegistryDesk:
    """Writes to one registry from the registrar's account.

    Args:
        chain: a node of its chain.
        contract: IssuerRegistry's address.
        signer: the account; nobody else may use it meanwhile.

    Raises:
        CliError: from each method, when the chain is away or refuses, by the name of the contract's error.
    """

    def __init__(self, chain: Chain, contract: Address, signer: Signer) -> None:
        from ledger.anchors.contract import IssuerRegistryContract

        self._chain, self._signer = chain, signer
        self._registry = IssuerRegistryContract(chain, contract)

    def require_registrar(self) -> None:
        """Require, before anything is logged, that the contract takes this account for the registrar's.

        Raises:
            CliError: it does not, or there is no such contract.
        """
        zero = bytes(32)
        try:
            self._chain.require_code(self._registry.address, "IssuerRegistry")
            self._try(self._registry.recognise(zero, zero, zero))
        except ContractReverted as err:
            # the error behind the check of the role: nobody but the registrar gets to see it
            if err.name != "IssuerRegistryIdZero":
                raise CliError(f"the registry does not take this account for the registrar's: {err}") from err
        except LedgerError as err:
            raise CliError(f"registry: {err}") from err

    def settle(self, origin: str, issuer: str, spans: Sequence[KeySpan]) -> int:
        """Bring an issuer's keys and types to what the record says.

        Args:
            origin: of the city's log.
            issuer: unified social credit code.
            spans: all keys that the registrar ever admitted for the issuer.

        Returns:
            How many transactions that took.
        """
        from ledger.anchors.names import city_id, issuer_id, type_id

        try:
            who, city = issuer_id(issuer), city_id(origin)
            signs = {kind for span in spans if not _has_ended(span) for kind in span.types}
            ever = sorted({kind for span in spans for kind in span.types})
            calls = self._recognitions(who, city, {type_id(kind): kind in signs for kind in ever})
            for span in spans:
                calls += self._key_calls(who, span)
            return self._send(calls)
        except LedgerError as err:
            raise CliError(
                f"logged, but not all of it is in the registry; repeat the command: {err}"
            ) from err

    def settle_city(self, origin: str, other: str, types: Sequence[str], former: Sequence[str]) -> int:
        """Bring the recognition of another city to what the record says.

        Args:
            origin: of the city's own log.
            other: origin of the other city's.
            types: that are recognised now.
            former: that were recognised before.

        Returns:
            How many transactions that took.
        """
        from ledger.anchors.names import city_id, type_id

        try:
            wanted = {type_id(kind): kind in types for kind in sorted({*types, *former})}
            return self._send(self._recognitions(city_id(other), city_id(origin), wanted))
        except LedgerError as err:
            raise CliError(
                f"logged, but not all of it is in the registry; repeat the command: {err}"
            ) from err

    def _recognitions(self, issuer: bytes, city: bytes, wanted: Mapping[Digest, bool]) -> list[Call]:
        calls = []
        for kind, is_wanted in wanted.items():
            if self._registry.is_recognised(issuer, kind, city) != is_wanted:
                make = self._registry.recognise if is_wanted else self._registry.withdraw
                calls.append(make(issuer, kind, city))
        return calls

    def _key_calls(self, issuer: bytes, span: KeySpan) -> list[Call]:
        """Return what takes one key from its status in the registry to the one on record.

        Raises:
            CliError: the registry is ahead, because the issuer's own account ended the key.
        """
        from ledger.anchors.types import KeyStatus

        key_id, registry = span.public.key_id, self._registry
        status, calls = registry.key(issuer, key_id).status, []
        if status > _status_of(span):
            raise CliError(
                f"the registry has key {key_id.hex()} {status.name.lower()}: say so in the log too, "
                f"with `licence keys {'retire' if status is KeyStatus.RETIRED else 'compromise'}`"
            )
        if status is KeyStatus.NONE:
            calls.append(registry.register_key_for(issuer, key_id))
        if span.retired is not None and status < KeyStatus.RETIRED:
            calls.append(registry.retire_key_for(issuer, key_id))
        if span.compromised is not None and status < KeyStatus.COMPROMISED:
            calls.append(registry.revoke_key(issuer, key_id))
        return calls

    def _send(self, calls: Sequence[Call]) -> int:
        """Send calls in order, and wait until all are mined."""
        from ledger.deploy import Step, run_steps

        if not calls:
            return 0
        account = self._signer.address
        nonce = self._chain.transaction_count(account, "pending")
        if nonce != self._chain.transaction_count(account):
            raise CliError(
                "an earlier transaction of the registrar's account is not mined yet; repeat the command"
            )
        self._try(calls[0])  # names the contract's error, which a mined transaction does not
        steps = [Step("IssuerRegistry", call.to, call.data, _CALL_GAS) for call in calls]
        run_steps(self._chain, self._signer, nonce, steps, None, _TIMEOUT_S)
        return len(calls)

    def _try(self, call: Call) -> None:
        from ledger.abi import decode_revert
        from ledger.errors import CallReverted

        try:
            self._chain.call(call.to, call.data, sender=self._signer.address)
        except CallReverted as err:
            raise decode_revert(err.data) from err


def read_trust(folder: Path) -> TrustDeployment | None:
    """Return the contracts that a folder's `trust.json` names, None if there is none.

    Raises:
        CliError: the file is no such thing.
    """
    from ledger.anchors.types import TrustDeployment

    path = folder / TRUST_FILE
    if not path.exists():
        return None
    try:
        return TrustDeployment.from_json(read_json(path))
    except LedgerError as err:
        raise CliError(f"{path}: {err}") from err


@contextmanager
def open_desk(
    folder: Path, *, rpc: str | None, contract: str | None, account: Path | None
) -> Iterator[RegistryDesk | None]:
    """Open the registry of the registrar's city; None where the log is on no chain.

    Args:
        folder: the registrar's; a `trust.json` in it, copied from the city's, says that the city has a chain.
        rpc: a node of it.
        contract: IssuerRegistry's address, where there is no `trust.json`.
        account: folder of the registrar's account; the one in its folder if not given.

    Raises:
        CliError: something is missing, or the contract does not take the account for the registrar's.
    """
    from cli import accounts
    from ledger.chain import Chain
    from ledger.encoding import address_from_hex

    trust = read_trust(folder)
    if rpc is None:
        if trust is not None or contract is not None:
            raise CliError(
                "the city has a chain: name a node of it with --rpc, or its registry falls behind the log"
            )
        yield None
        return
    if trust is None and contract is None:
        raise CliError(f"--rpc needs --contract, or the city's {TRUST_FILE} in {folder}")
    where = (account or folder / ACCOUNT).absolute()
    signer = accounts.open_existing(Home(where.parent), where.name).signer
    with named():
        chain = Chain(rpc)
    with chain:
        with named():
            if trust is not None:
                chain.require_chain(trust.chain_id)
            given = trust.issuers if trust is not None and contract is None else None
            desk = RegistryDesk(chain, given or address_from_hex((contract or "").lower()), signer)
            desk.require_registrar()
        yield desk


def _has_ended(span: KeySpan) -> bool:
    return span.retired is not None or span.compromised is not None


def _status_of(span: KeySpan) -> int:
    from ledger.anchors.types import KeyStatus

    if span.compromised is not None:
        return KeyStatus.COMPROMISED
    return KeyStatus.ACTIVE if span.retired is None else KeyStatus.RETIRED
