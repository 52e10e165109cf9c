"""The demonstration of an encrypted deposit: one depositor, who is no holder, and five trustees of whom three decrypt together."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cli import accounts
from cli.demo import tables
from cli.demo.kinds import DemoTables, ExampleDemo
from cli.demo.plaintext import plaintext_rows
from cli.deposit import write_policy
from cli.errors import named
from cli.home import Home
from privacy.policy import Policy, load_yaml
from privacy.sql import parse_query

if TYPE_CHECKING:
    from cli.market import Market
    from client.types import Answer
    from ledger.keystore import Keys

TRUSTEES: Final = 5
THRESHOLD: Final = 3
_TABLE: Final = "electricity.parquet"


@dataclass(frozen=True, slots=True)
class DepositDemo(ExampleDemo):
    """See `cli.demo.kinds.Demo`."""

    EXAMPLE = "deposit"

    def policy(self) -> Policy:
        """See `cli.demo.kinds.ExampleDemo`: as if it were over tables, as long as the trustees have no key."""
        given = load_yaml(self.example("policy.template.yaml").read_text("utf8"))
        return Policy.from_mapping({name: value for name, value in given.items() if name != "deposit"})

    def tables(self, home: Home) -> DemoTables:
        """See `cli.demo.kinds.Demo`: the trustees make a key, the depositor encrypts, each trustee gets a copy."""
        policy_file = home.path / "policy.yaml"
        depositor = home.path / "depositor"
        depositor.mkdir(exist_ok=True, mode=0o700)
        numbers = range(1, TRUSTEES + 1)
        with named():
            make_key(home.path / "ceremony", home, numbers, THRESHOLD)
        write_policy(self.example("policy.template.yaml"), home.path / "ceremony" / "key.json", policy_file)
        policy = Policy.from_yaml(policy_file.read_text("utf8"))
        tables.write_electricity(depositor / _TABLE, policy, 1, self.options.rows)
        with named():
            copies = deposit_copies(policy, depositor, home, numbers)
        return DemoTables(policy_file, copies)

    def plaintext(self, market: Market, tables: DemoTables, answer: Answer) -> list[list[Any]]:
        """See `cli.demo.kinds.Demo`; only the depositor's own table has it in the clear."""
        table = market.home.path / "depositor" / _TABLE
        query = parse_query(self.sql, market.policy)
        return plaintext_rows(query, market.policy, self.sql, (table,), like=answer.rows)


def make_key(folder: Path, home: Home, numbers: Sequence[int], threshold: int) -> None:
    """Let holders of an instance make a joint key through a folder, each with its own account.

    Raises:
        HolderError, PrivacyError: the ceremony failed; the message names who is at fault.
    """
    from holder.ceremony_folder import CeremonyFolder, CeremonyPart
    from holder.settings import TRUSTEE_FOLDER
    from holder.trustee import TrusteeKeys
    from privacy.deposit import Ceremony
    from privacy.types import Address

    place = CeremonyFolder(folder)
    keys: dict[int, Keys] = {n: accounts.open_or_create(home, f"holders/{n}") for n in numbers}
    if not (folder / "ceremony.json").exists():
        trustees = tuple(sorted(Address(each.signer.address) for each in keys.values()))
        place.start(Ceremony(secrets.token_bytes(32), trustees, threshold))
    parts = [
        CeremonyPart(place, TrusteeKeys(home.holder(n) / TRUSTEE_FOLDER, own.signer), own.signer)
        for n, own in keys.items()
    ]
    for step in (CeremonyPart.announce, CeremonyPart.deal, CeremonyPart.receive, CeremonyPart.finish):
        for part in parts:
            step(part)


def deposit_copies(policy: Policy, depositor: Path, home: Home, numbers: Sequence[int]) -> tuple[Path, ...]:
    """Encrypt the depositor's table, once, and give each trustee a copy.

    Raises:
        HolderError, PrivacyError: the table cannot be deposited.
    """
    from holder.depositor import Table, make_deposit
    from holder.settings import EngineSettings, FileSource

    table = Table(FileSource("parquet", depositor / _TABLE), EngineSettings(depositor / "tmp"))
    made = make_deposit(policy, table, depositor / "deposit")
    copies = []
    for number in numbers:
        copy = home.holder(number) / "data" / "deposit"
        if not copy.exists():
            shutil.copytree(made.folder, copy)
        copies.append(copy)
    return tuple(copies)
