"""The development chain of an instance: starting it through its keeper, and giving accounts something to pay gas with."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import httpx

from cli import processes
from cli.errors import CliError
from cli.home import Home, repository_root
from ledger.chain import Chain
from ledger.errors import LedgerError
from ledger.types import Address, to_hex

GAS_MONEY_WEI = 10**24


def anvil_path() -> Path:
    """Return the development chain's executable.

    Raises:
        CliError: the npm packages are not installed.
    """
    on_path = shutil.which("anvil")
    packages = repository_root() / "contracts" / "node_modules" / "@foundry-rs"
    # the program itself, not npm's wrapper: a killed wrapper leaves it running
    found = sorted(packages.glob("anvil-*/bin/anvil*"))
    if found:
        return found[0]
    if on_path:
        return Path(on_path)
    raise CliError(
        f"no anvil in {packages} nor on PATH: run `npm --prefix contracts ci`, or `./shuyao`, which does"
    )


def start(home: Home, *, block_time_s: float, port: int | None = None) -> str:
    """Start the instance's chain, from its saved state if there is one; returns its JSON-RPC address."""
    chosen = port or processes.free_port()
    url = f"http://127.0.0.1:{chosen}"
    words = ["--folder", str(home.chain), "--port", str(chosen), "--block-time", str(block_time_s)]
    argv = processes.python_argv("keeper", "--anvil", str(anvil_path()), *words)
    keeper = processes.spawn(home, "chain", argv, url=url)
    processes.wait_ready(home, keeper, lambda: answers(url), timeout_s=30)
    return url


def answers(url: str) -> bool:
    """Say whether a node answers at this address."""
    try:
        Chain(url, timeout_s=1).block_number()
    except LedgerError:
        return False
    return True


def await_node(url: str, *, timeout_s: float = 120) -> None:
    """Wait until a node that somebody else starts answers.

    Raises:
        CliError: it does not in time.
    """
    end = time.monotonic() + timeout_s
    while not answers(url):
        if time.monotonic() > end:
            raise CliError(f"no node of a chain answers at {url} after {timeout_s:.0f} s")
        time.sleep(1)


def fund(url: str, accounts: list[Address]) -> None:
    """Give accounts of a development chain something to pay gas with.

    Raises:
        CliError: the node is no development chain, or does not answer.
    """
    batch = [
        {"jsonrpc": "2.0", "id": n, "method": "anvil_setBalance", "params": [to_hex(a), hex(GAS_MONEY_WEI)]}
        for n, a in enumerate(accounts)
    ]
    try:
        answers = httpx.post(url, json=batch, timeout=10).json()
    except (httpx.HTTPError, ValueError) as err:
        raise CliError(f"the chain at {url} gives no gas money: {type(err).__name__}: {err}") from err
    failed = [answer["error"]["message"] for answer in answers if "error" in answer]
    if failed:
        raise CliError(f"the chain at {url} gives no gas money: {failed[0]}")


def require_gas_money(chain: Chain, account: Address) -> None:
    """Refuse to begin what an account cannot pay for.

    Raises:
        CliError: gas costs something on this chain, and the account has nothing.
    """
    if chain.balance(account) == 0 and any(chain.fees()):
        raise CliError(f"the account {to_hex(account)} has nothing to pay gas with")
