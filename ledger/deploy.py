"""Deployment of the five contracts, and the access manager's roles.

The settlement names the ledger and the ledger names the settlement, so the ledger's address is computed
from the deployer's nonce before it exists; the ledger refuses to be deployed anywhere else. All
transactions go out in one batch, so that a deployment takes a block or two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.abi import artifact, interface
from ledger.chain import Chain, TxReceipt, is_known, parse_receipt, receipt_call, send_call
from ledger.encoding import keccak
from ledger.errors import ChainError, ChainRefused, DeploymentFailed
from ledger.signing import Signer
from ledger.transaction import Fees, contract_address, sign_transaction
from ledger.types import Address, Deployment

ANSWER_WINDOW_BLOCKS: Final = 20
PLATFORM_BPS: Final = 200  # of 10,000: the platform's share of a price
BROKER_BPS: Final = 800
CALL_GAS: Final = 300_000  # for a call of the access manager
REGISTRAR_ROLE: Final = 1  # ids of roles in the access manager
_REGULATOR_ROLE: Final = 2
_BANK_ROLE: Final = 3
_RESTRICTED: Final = (
    ("Participants", ("admit", "setRoles", "replaceAccount"), REGISTRAR_ROLE),
    ("Participants", ("suspend", "lift"), _REGULATOR_ROLE),
    ("Settlement", ("mint", "burn"), _BANK_ROLE),
)
_CONTRACTS: Final = ("AccessManager", "Participants", "AssetRegistry", "Settlement", "ComputeLedger")
_TRANSFER_GAS: Final = 21_000
_POLL_S: Final = 0.05

Progress = Callable[[str, int, int], None]  # what was mined, how many are, of how many


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction of the deployment; `to` is None where it creates a contract."""

    name: str
    to: Address | None
    data: bytes
    gas_limit: int
    value: int = 0


def deploy(
    chain: Chain,
    signer: Signer,
    *,
    registrar: Address,
    bank: Address,
    regulator: Address | None = None,
    platform: Address | None = None,
    answer_window_blocks: int = ANSWER_WINDOW_BLOCKS,
    platform_bps: int = PLATFORM_BPS,
    broker_bps: int = BROKER_BPS,
    progress: Progress | None = None,
    timeout_s: float = 120,
) -> Deployment:
    """Deploy a market and give registrar, regulator and bank their roles.

    Args:
        signer: pays, and is the access manager's administrator. Nobody else may use the key meanwhile.
        registrar: admits participants.
        bank: makes credits.
        regulator: suspends participants; the registrar if not given.
        platform: receives the platform's share; the bank if not given.
        answer_window_blocks: the window after an answer, and for each demanded chunk.
        platform_bps, broker_bps: shares of a price, of 10,000.
        progress: told after each transaction.

    Raises:
        ChainTooOld: no BLS12-381 precompiles.
        DeploymentFailed: a step reverted, was refused or was not mined in time.
        ChainUnreachable.
    """
    chain.require_precompiles()
    nonce = chain.transaction_count(signer.address, "pending")
    at = {name: contract_address(signer.address, nonce + i) for i, name in enumerate(_CONTRACTS)}
    manager, participants, assets, settlement, ledger = (at[name] for name in _CONTRACTS)
    shares = (platform or bank, platform_bps, broker_bps)
    arguments = (
        (signer.address,),
        (manager,),
        (participants,),
        (manager, participants, ledger, *shares),
        (participants, assets, settlement, answer_window_blocks),
    )
    creations = [creation(name, given) for name, given in zip(_CONTRACTS, arguments, strict=True)]
    roles = {REGISTRAR_ROLE: registrar, _REGULATOR_ROLE: regulator or registrar, _BANK_ROLE: bank}
    receipts = run_steps(chain, signer, nonce, [*creations, *_grants(at, roles)], progress, timeout_s)
    for name, receipt in zip(_CONTRACTS, receipts, strict=False):
        if receipt.contract_address != at[name]:
            raise DeploymentFailed(name, "created at another address than was computed")
    return Deployment(
        chain_id=chain.chain_id(),
        participants=participants,
        assets=assets,
        ledger=ledger,
        settlement=settlement,
        manager=manager,
        block=min(receipt.block for receipt in receipts),
    )


def fund(
    chain: Chain, signer: Signer, accounts: Sequence[Address], wei: int, *, timeout_s: float = 60
) -> None:
    """Send each account the same sum for gas, from the signer's account.

    Raises:
        DeploymentFailed: a transfer was refused or not mined in time.
        ChainUnreachable.
    """
    nonce = chain.transaction_count(signer.address, "pending")
    steps = [Step("funding", account, b"", _TRANSFER_GAS, wei) for account in accounts]
    run_steps(chain, signer, nonce, steps, None, timeout_s)


def creation(name: str, arguments: Sequence[object]) -> Step:
    """Return the step that creates a contract from its artifact.

    Raises:
        ArtifactMissing: it is not in `contracts/artifacts`.
        MalformedValue: an argument does not fit its type.
    """
    code = bytes.fromhex(artifact(name)["bytecode"].removeprefix("0x"))
    data = code + interface(name).encode_constructor(*arguments)
    return Step(name, None, data, 1_500_000 + 300 * len(data))


def _grants(at: dict[str, Address], roles: dict[int, Address]) -> list[Step]:
    manager, steps = interface("AccessManager"), []
    for contract, functions, role in _RESTRICTED:
        selectors = [interface(contract).functions[name].hash[:4] for name in functions]
        data = manager.encode("setTargetFunctionRole", at[contract], selectors, role)
        steps.append(Step(f"roles of {contract}", at["AccessManager"], data, CALL_GAS))
    for role, account in roles.items():
        data = manager.encode("grantRole", role, account, 0)
        steps.append(Step(f"grant of role {role}", at["AccessManager"], data, CALL_GAS))
    return steps


def run_steps(
    chain: Chain,
    signer: Signer,
    nonce: int,
    steps: Sequence[Step],
    progress: Progress | None,
    timeout_s: float,
) -> list[TxReceipt]:
    """Send all steps in the order of their nonces, from `nonce` on, and wait until they are mined.

    Returns:
        Their receipts, in the same order.

    Raises:
        DeploymentFailed: a step reverted, was refused or was not mined in time.
        ChainUnreachable.
    """
    chain_id, fees = chain.chain_id(), Fees(*chain.fees())
    raws = [
        sign_transaction(
            signer,
            chain_id=chain_id,
            nonce=nonce + i,
            gas_limit=step.gas_limit,
            fees=fees,
            to=step.to,
            data=step.data,
            value=step.value,
        )
        for i, step in enumerate(steps)
    ]
    for step, answer in zip(steps, chain.batch([send_call(raw) for raw in raws]), strict=True):
        if isinstance(answer, ChainError) and not (isinstance(answer, ChainRefused) and is_known(answer)):
            raise DeploymentFailed(step.name, str(answer)) from answer
    return _wait(chain, steps, [keccak(raw) for raw in raws], progress, timeout_s)


def _wait(
    chain: Chain,
    steps: Sequence[Step],
    hashes: Sequence[bytes],
    progress: Progress | None,
    timeout_s: float,
) -> list[TxReceipt]:
    receipts: list[TxReceipt] = []
    deadline = time.monotonic() + timeout_s
    while len(receipts) < len(steps):
        for answer in chain.batch([receipt_call(tx_hash) for tx_hash in hashes[len(receipts) :]]):
            receipt = None if isinstance(answer, ChainError) else parse_receipt(answer)
            if receipt is None:
                break
            step = steps[len(receipts)]
            if receipt.status != 1:
                raise DeploymentFailed(step.name, f"its transaction reverted after {receipt.gas_used} gas")
            receipts.append(receipt)
            if progress is not None:
                progress(step.name, len(receipts), len(steps))
        if len(receipts) < len(steps):
            if time.monotonic() > deadline:
                raise DeploymentFailed(steps[len(receipts)].name, f"not mined within {timeout_s} s")
            time.sleep(_POLL_S)
    return receipts
