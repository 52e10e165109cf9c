"""Deployment of LogAnchor and IssuerRegistry under an access manager of their own.

The manager's administrator, who pays for the deployment, keeps what no role is given: changing the log's
operator, and the roles themselves.
"""

from __future__ import annotations

from typing import Final

from ledger.abi import interface
from ledger.anchors.types import TrustDeployment
from ledger.chain import Chain
from ledger.deploy import CALL_GAS, REGISTRAR_ROLE, Progress, Step, creation, run_steps
from ledger.encoding import require_length
from ledger.errors import DeploymentFailed
from ledger.signing import Signer
from ledger.transaction import contract_address
from ledger.types import Address

_CONTRACTS: Final = ("AccessManager", "LogAnchor", "IssuerRegistry")
_REGISTRARS: Final = ("recognise", "withdraw", "bindIssuer", "registerKeyFor", "retireKeyFor", "revokeKey")


def deploy_trust(
    chain: Chain,
    signer: Signer,
    *,
    operator: Address,
    registrar: Address,
    origin_hash: bytes,
    progress: Progress | None = None,
    timeout_s: float = 120,
) -> TrustDeployment:
    """Deploy the trust contracts and give the registrar its role.

    Args:
        signer: pays, and is the access manager's administrator. Nobody else may use the key meanwhile.
        operator: anchors the log's heads.
        registrar: recognises issuers, registers and ends their keys, and binds their accounts.
        origin_hash: SHA-256 of the log's origin, 32 bytes.
        progress: told after each transaction.

    Raises:
        MalformedValue: the hash is not 32 bytes.
        DeploymentFailed: a step reverted, was refused or was not mined in time.
        ChainUnreachable.
    """
    require_length("origin_hash", origin_hash, 32)
    nonce = chain.transaction_count(signer.address, "pending")
    manager, anchor, issuers = (contract_address(signer.address, nonce + i) for i in range(len(_CONTRACTS)))
    steps = [
        creation("AccessManager", (signer.address,)),
        creation("LogAnchor", (manager, operator, origin_hash)),
        creation("IssuerRegistry", (manager,)),
        *_registrar_steps(manager, issuers, registrar),
    ]
    receipts = run_steps(chain, signer, nonce, steps, progress, timeout_s)
    for name, address, receipt in zip(_CONTRACTS, (manager, anchor, issuers), receipts, strict=False):
        if receipt.contract_address != address:
            raise DeploymentFailed(name, "created at another address than was computed")
    return TrustDeployment(
        chain.chain_id(), manager, anchor, issuers, block=min(receipt.block for receipt in receipts)
    )


def _registrar_steps(manager: Address, issuers: Address, registrar: Address) -> list[Step]:
    functions = interface("IssuerRegistry").functions
    selectors = [functions[name].hash[:4] for name in _REGISTRARS]
    abi = interface("AccessManager")
    restrict = abi.encode("setTargetFunctionRole", issuers, selectors, REGISTRAR_ROLE)
    grant = abi.encode("grantRole", REGISTRAR_ROLE, registrar, 0)
    return [
        Step("roles of IssuerRegistry", manager, restrict, CALL_GAS),
        Step("grant of the registrar's role", manager, grant, CALL_GAS),
    ]
