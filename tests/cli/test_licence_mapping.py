"""The example of a mapping and that of a type: they load, and the command makes licences of them with each party's own passphrase."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from cli.errors import CliError
from cli.licence import city as city_folder
from cli.licence import keyring
from cli.licence.options import find_kind
from ledger.licences.book import LicenceBook
from ledger.licences.events import KeyEvent, Kind, make_event
from ledger.licences.identifiers import Identifier
from ledger.licences.keys import SigningKey
from ledger.licences.mapping import BackfillMapping
from ledger.licences.sdjwt import parse
from ledger.log.notes import NoteSigner
from tests.cli.cities import refusal, shuyao, told
from tests.ledger.licences.world import seed_of

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "licences"
MAPPING, STALL = EXAMPLES / "mapping.yaml", EXAMPLES / "types" / "market_stall.json"
REGISTRAR = SigningKey.generate("EdDSA", seed_of("mapping", "registrar"))
ORIGIN = "licences.mapping.example"
DAY = datetime.date(2026, 3, 1)


def test_the_example_of_a_mapping_is_one_for_business_licences() -> None:
    mapping = BackfillMapping.load(MAPPING)
    kind = find_kind(mapping.type_code)
    mapping.require_kind(kind)
    titles = {field.name: field.title for field in kind.salted}
    assert all(titles[name] == column for name, column in mapping.fields)


def test_operations_md_names_each_member_of_a_mapping_and_of_a_type() -> None:
    text = (EXAMPLES.parents[1] / "docs" / "operations.md").read_text(encoding="utf8")
    for name in (*yaml.safe_load(MAPPING.read_text(encoding="utf8")), *json.loads(STALL.read_bytes())):
        assert f"`{name}`" in text, name


@pytest.fixture
def city(tmp_path: Path) -> Path:
    """A city without witnesses, whose keys and whose department's key have different passphrases, in files of that name."""
    for name, text in (
        ("city-passphrase", "correct horse 数钥"),
        ("office-passphrase", "correct house 数钥"),
    ):
        (tmp_path / name).write_text(text + "\n", encoding="utf8")
    shuyao(
        *("licence", "keys", "new", tmp_path / "office" / "keys" / "signing.json"),
        *("--passphrase-file", tmp_path / "office-passphrase"),
    )
    (tmp_path / "registrar.jwk").write_text(json.dumps(REGISTRAR.public.jwk()), encoding="ascii")
    shuyao(
        *("licence", "init", "--city", tmp_path / "dg", "--origin", ORIGIN, "--name", "东莞"),
        *("--registrar", tmp_path / "registrar.jwk", "--passphrase-file", tmp_path / "city-passphrase"),
    )
    return tmp_path / "dg"


def book_of(city: Path) -> LicenceBook:
    log = keyring.open_key(keyring.key_path(city, city_folder.LOG_KEY), city.parent / "city-passphrase")
    return LicenceBook.open(city_folder.book_folder(city), NoteSigner.from_seed(ORIGIN, log.secret))


def admit(city: Path, *types: str) -> None:
    """Have the registrar admit the department's key, in the log itself: no service is needed to fill it."""
    now_s = int(time.time())
    event = KeyEvent(
        kind=Kind.KEY_ADD,
        event_id=seed_of("mapping", "admit")[:16],
        issued_at=now_s,
        origin=ORIGIN,
        issuer=BackfillMapping.load(MAPPING).issuer,
        public=keyring.public_of(city.parent / "office" / "keys" / "signing.json"),
        types=types,
    )
    with book_of(city) as book:
        book.submit(make_event(event, REGISTRAR), now_s=now_s)


def backfilling(city: Path, mapping: Path) -> list[object]:
    key = city.parent / "office" / "keys" / "signing.json"
    source = ["licence", "backfill", city.parent / "rows.parquet", "--mapping", mapping, "--workers", 1]
    return [*source, "--city", city, "--key", key, "--passphrase-file", city.parent / "city-passphrase"]


def test_a_file_with_the_examples_columns_is_filled_in_under_two_parties_passphrases(city: Path) -> None:
    mapping = BackfillMapping.load(MAPPING)
    admit(city, mapping.type_code)
    columns = {column: [f"{column}一", None] for _, column in mapping.fields}
    days = {"发证日期": [DAY, DAY], "有效期至": [DAY, None]}
    pq.write_table(pa.table({"编号": ["SN1", "SN2"], **days, **columns}), city.parent / "rows.parquet")
    words = backfilling(city, MAPPING)
    assert "--key-passphrase-file" in refusal(*words)
    assert "does not open" in refusal(*words, "--key-passphrase-file", city.parent / "city-passphrase")
    found = told(*words, "--key-passphrase-file", city.parent / "office-passphrase")
    assert (found["done"], found["issued"]) == (2, 2)
    with book_of(city) as book:
        for serial, shown in (("SN1", dict.fromkeys(dict(mapping.fields))), ("SN2", {})):
            (index,) = book.find(Identifier(mapping.type_code, mapping.issuer, serial, "001").text)
            assert parse(book.credential(index)).disclosed.keys() == shown.keys()


def test_licences_of_a_type_of_ones_own_are_filled_in_with_its_file(city: Path) -> None:
    kind = find_kind(str(STALL))
    admit(city, kind.code)
    mapping = city.parent / "mapping.json"
    value = yaml.safe_load(MAPPING.read_text(encoding="utf8"))
    own = {"type": kind.code, "last_day": None, "fields": {"operator_name": "经营者"}}
    mapping.write_text(json.dumps({**value, **own}, ensure_ascii=False), encoding="utf8")
    pq.write_table(
        pa.table({"编号": ["A17"], "发证日期": [DAY], "经营者": ["陈示例"]}), city.parent / "rows.parquet"
    )
    words = [*backfilling(city, mapping), "--key-passphrase-file", city.parent / "office-passphrase"]
    assert f"no licence type '{kind.code}'" in refusal(*words)
    assert told(*words, "--type", STALL)["issued"] == 1
    with book_of(city) as book:
        (index,) = book.find(Identifier(kind.code, str(value["issuer"]), "A17", "001").text)
        assert parse(book.credential(index)).disclosed == {"operator_name": "陈示例"}


def test_a_mapping_that_is_not_there_is_said_to_be_so_with_where_one_is(city: Path) -> None:
    with pytest.raises(CliError, match=r"there is no mapping .*examples/licences/mapping\.yaml"):
        shuyao(*backfilling(city, city / "no.yaml"))
