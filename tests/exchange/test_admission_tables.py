"""What the exchange keeps of admitted licences, on both databases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from exchange import store as statements
from exchange.store import Store, migrate
from exchange.types import AdmittedLicence
from ledger.encoding import keccak
from ledger.types import Address
from tests.ledger.licences.world import BUSINESS

A, B = Address(bytes([1]) * 20), Address(bytes([2]) * 20)


def licence_of(name: str, **changes: Any) -> AdmittedLicence:
    values: dict[str, Any] = {
        "leaf_hash": keccak(name.encode()),
        "operator": A,
        "origin": "甬.example/licences",
        "type_code": BUSINESS,
        "issuer": "issuer",
        "key_id": keccak(b"key"),
        "log_index": (1 << 53) - 1,
        "list": (1 << 32) - 2,
        "index": (1 << 20) - 1,
        "expires_at": None,
        "as_of": 5,
        "lapses_at": 9,
        "fault": "",
    }
    return AdmittedLicence(**{**values, **changes})


def put(store: Store, account: Address, licence: AdmittedLicence) -> None:
    store.write(lambda connection: statements.put_admission(connection, account, licence, 7))


def test_a_licence_is_kept_for_each_account_that_presented_it(store: Store) -> None:
    licence, other = licence_of("one"), licence_of("two", expires_at=1 << 40)
    put(store, A, licence)
    put(store, B, licence)
    assert (store.licence_of(A), store.licence_of(B)) == (licence, licence)
    put(store, A, other)
    assert (store.licence_of(A), store.licence_of(B)) == (other, licence)
    assert store.licence_of(Address(bytes(20))) is None
    assert store.read(lambda connection: statements.find_licence(connection, licence.leaf_hash)) == licence


def test_a_database_from_before_admission_is_brought_up_and_keeps_what_it_has(engine: sa.Engine) -> None:
    from alembic import command

    from exchange.migrations.run import configuration
    from ledger.database import write_transaction

    config = configuration()
    with write_transaction(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    before = Store(engine)
    before.put_name(A, "浙江某电力公司")
    migrate(engine)
    assert before.names([A]) == {A: "浙江某电力公司"}
    assert before.licence_of(A) is None


def test_older_facts_replace_no_newer_ones(store: Store) -> None:
    licence = licence_of("one")
    put(store, A, licence)
    newer = replace(licence, as_of=6, lapses_at=10, fault="Suspended")
    store.renew_licence(newer)
    store.renew_licence(licence)
    assert store.licence_of(A) == newer
    store.renew_licence(licence_of("never presented"))
    assert store.licence_of(A) == newer
