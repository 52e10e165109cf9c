"""The life of licences by the commands of department, holder, verifier, registrar and operator, over two cities at work."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.licence.verify_command import verdict_json, verdict_of
from ledger.licences.events import leaf_of_credential
from ledger.licences.identifiers import Identifier
from ledger.licences.sdjwt import parse
from tests.cli.cities import BUSINESS, City, Town, make_town, refusal, shuyao, told, until
from tests.ledger.conftest import ANVIL

ROOT = Path(__file__).resolve().parents[2]
STALL = ROOT / "examples" / "licences" / "types" / "market_stall.json"
VALUES = {"名称": "虎门镇（测试）有限公司", "address": "东莞市虎门镇１号", "法定代表人": "𠮷田"}
NAMES = {"entity_name": VALUES["名称"], "address": VALUES["address"], "legal_representative": "𠮷田"}
VERIFIER = "https://bank.example"
pytestmark = pytest.mark.xdist_group("licence-life")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Two cities with a department each."""
    if not ANVIL.exists():
        pytest.skip("anvil is not installed: run ./shuyao once")
    made = make_town(tmp_path_factory.mktemp("town"))
    yield made
    made.stop()


@pytest.fixture
def values(tmp_path: Path) -> Path:
    """The fields of a business licence, by name or title."""
    path = tmp_path / "values.json"
    path.write_text(json.dumps(VALUES, ensure_ascii=False), encoding="utf8")
    return path


@pytest.fixture
def licence(town: Town, values: Path, tmp_path: Path) -> Path:
    """A published licence of the holder's."""
    path = tmp_path / "licence.txt"
    assert shuyao(*issuing(town.dg, town, values), "--out", path).startswith("logged at index ")
    town.dg.publish()
    return path


def issuing(city: City, town: Town, values: Path, kind: object = BUSINESS) -> list[object]:
    of = ["--type", kind, "--values", values, "--holder", town.holder]
    return ["licence", "issue", *city.issuing(), *of]


def checked(city: City, credential: Path, *words: object, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = told("licence", "check", credential, "--city", city.url, *words, code=code)
    return found


def judged(city: City, credential: Path, folder: Path, *words: object, anchor: str = "none") -> str:
    """Fetch bundle and policy by their commands, and return the verdict offline."""
    number = len(list(folder.iterdir()))
    bundle, policy = folder / f"bundle-{number}.json", folder / f"policy-{number}.json"
    shuyao("licence", "bundle", credential, "--city", city.url, *words, "-o", bundle)
    shuyao("licence", "policy", city.url, "--anchor", anchor, "-o", policy)
    data = bundle.read_bytes(), policy.read_bytes()
    return str(verdict_json(verdict_of(*data, nonce=None, audience=None, now_s=None))["verdict"])


def test_a_licence_is_issued_shown_and_valid_online_and_offline(
    town: Town, values: Path, tmp_path: Path
) -> None:
    path = tmp_path / "licence.txt"
    logged = shuyao(*issuing(town.dg, town, values), "--expires", "2030-01-01", "--out", path)
    shown = told("licence", "show", path)
    assert (shown["issuer"], shown["expires_at"], shown["fields"]) == (town.dg.uscc, 1_893_427_200, NAMES)
    assert Identifier.parse(shown["identifier"]).version == "001"
    text = shuyao("licence", "show", path)
    assert "2029-12-31 16:00:00" in text and "1893427200" not in text
    assert "entity_name" in text and "名称" in text and VALUES["名称"] in text
    assert checked(town.dg, path, code=3)["missing"], "no history of the registrar's reaches over it yet"
    town.dg.publish()
    assert checked(town.dg, path)["verdict"] == "VALID"
    assert judged(town.dg, path, tmp_path) == "VALID"
    words = ["verify", tmp_path / "bundle-2.json", "--policy", tmp_path / "policy-2.json", "--json"]
    argv = [
        sys.executable,
        "-m",
        "cli",
        "licence",
        *map(str, words),
    ]  # a process: it gives up sockets for good
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (0, "VALID"), done.stderr
    index = int(logged.split()[3].rstrip(";"))
    assert town.dg.book.log.entry(index) == leaf_of_credential(path.read_text(encoding="ascii")).encode()
    again = [*issuing(town.dg, town, values), "--serial", "AGAIN", "--out", path]
    assert refusal(*again) == f"{path} exists and is not overwritten; nothing is logged"
    claims = parse(path.read_text(encoding="ascii")).claims
    assert town.dg.book.find(Identifier(claims.type_code, claims.issuer, "AGAIN", "001").text) == []
    assert "Unix seconds" in refusal(*issuing(town.dg, town, values), "--expires", "some day")


def test_a_suspended_licence_is_invalid_until_it_is_resumed(
    town: Town, licence: Path, tmp_path: Path
) -> None:
    about = [licence, *town.dg.issuing()]
    assert int(told("licence", "suspend", *about, "--reason", "年检未过")["index"]) > 0
    town.dg.publish_statuses()
    found = checked(town.dg, licence, code=1)
    assert (found["verdict"], found["reason"]) == ("INVALID", "Suspended")
    assert judged(town.dg, licence, tmp_path) == "INVALID"
    policy = ["--policy", max(tmp_path.glob("policy-*"))]
    status = told("licence", "status", licence, "--city", town.dg.url, *policy)
    assert (status["state"], status["code"], status["status"]) == ("VALID", 2, "suspended")
    assert shuyao("licence", "resume", *about).startswith("logged at index ")
    town.dg.publish_statuses()
    assert checked(town.dg, licence)["verdict"] == "VALID"
    assert "cannot get status" in refusal("licence", "resume", *about)


@pytest.mark.slow
def test_the_next_version_cancels_the_former_and_can_lapse(
    town: Town, licence: Path, values: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second.txt"
    new = ["--values", values, "--holder", town.holder, "--out", second]
    shuyao("licence", "supersede", licence, *town.dg.issuing(), *new)
    town.dg.publish()
    assert checked(town.dg, licence, code=1)["code"] == 0xB
    assert checked(town.dg, second)["verdict"] == "VALID"
    former, newer = (parse(path.read_text(encoding="ascii")).claims for path in (licence, second))
    assert (former.identifier.version, newer.identifier.version) == ("001", "002")
    assert former.identifier.serial == newer.identifier.serial
    assert "no code 'gone'" in refusal("licence", "revoke", second, *town.dg.issuing(), "--code", "gone")
    shuyao("licence", "revoke", second, *town.dg.issuing(), "--code", "lapsed")
    town.dg.publish_statuses()
    assert checked(town.dg, second, code=1)["code"] == 0xC
    assert "INVALID Revoked (lapsed)" in shuyao("licence", "check", second, "--city", town.dg.url, code=1)
    assert "cannot get status" in refusal("licence", "suspend", second, *town.dg.issuing())


def test_only_the_issuer_may_change_a_licence(town: Town, licence: Path) -> None:
    stranger = ["--city", town.dg.url, "--issuer", town.hz.uscc, "--key", town.hz.signing]
    for command in ("suspend", "revoke"):
        assert refusal("licence", command, licence, *stranger)
    town.dg.publish_statuses()
    assert checked(town.dg, licence)["verdict"] == "VALID"


def test_the_holder_shows_what_it_wants_to_whom_it_wants_and_sees_who_looked(
    town: Town, licence: Path, tmp_path: Path
) -> None:
    shown, own = tmp_path / "shown.txt", ["--key", town.holder]
    asked = ["--nonce", "n1", "--audience", VERIFIER]
    shuyao("licence", "disclose", licence, "名称", *own, *asked, "--out", shown)
    assert set(parse(shown.read_text(encoding="ascii")).disclosed) == {"entity_name"}
    assert checked(town.dg, shown, *asked)["verdict"] == "VALID"
    wrong = checked(town.dg, shown, "--nonce", "n2", "--audience", VERIFIER, code=1)
    assert wrong["reason"] == "NonceMismatch"
    uses = told("licence", "uses", licence, "--city", town.dg.url, *own)
    assert sorted(use["verdict"] for use in uses) == ["INVALID", "VALID"]
    year = parse(licence.read_text(encoding="ascii")).claims.issued_at // 31_556_952 + 1970
    listed = shuyao("licence", "uses", licence, "--city", town.dg.url, *own)
    assert f"{year}-" in listed and "VALID" in listed
    assert str(uses[0]["time"]) not in listed.replace(",", "")
    message = refusal("licence", "uses", licence, "--city", town.dg.url, "--key", town.dg.signing)
    assert message.startswith("this key is not the holder's")


@pytest.mark.parametrize("word_of", ["holder", "issuer"])
def test_what_is_erased_is_gone_at_the_service_and_stays_logged(
    town: Town, licence: Path, word_of: str
) -> None:
    by = (
        ["--key", town.holder]
        if word_of == "holder"
        else ["--key", town.dg.signing, "--issuer", town.dg.uscc]
    )
    index = int(told("licence", "erase", licence, "--city", town.dg.url, *by)["index"])
    book = town.dg.book
    identifier = parse(licence.read_text(encoding="ascii")).claims.identifier.text
    assert (book.find(identifier), len(book.log.entry(index))) == ([], 155)
    again = refusal("licence", "erase", licence, "--city", town.dg.url, "--key", town.hz.signing)
    assert again.startswith("this key is not the holder's")


@pytest.mark.slow
def test_keys_of_a_department_are_admitted_retired_and_compromised(
    town: Town, values: Path, tmp_path: Path
) -> None:
    hz, issued = town.hz, []
    of = ["--type", BUSINESS, "--values", values, "--holder", town.holder]
    for end in ("retire", "compromise"):
        key, credential = tmp_path / end / "keys" / "signing.json", tmp_path / f"{end}.txt"
        shuyao("licence", "keys", "new", key, "--unattended")
        admitting = ["licence", "keys", "admit", key, *hz.deciding(), "--type", BUSINESS]
        assert (said := shuyao(*admitting)).startswith("key admitted at log index ")
        assert shuyao(*admitting) == said, "a repeat logs nothing"
        office = ["--city", hz.url, "--issuer", hz.uscc, "--key", key]
        shuyao("licence", "issue", *office, *of, "--out", credential)
        ended = shuyao("licence", "keys", end, key, *hz.deciding())
        assert int(ended.split()[-1]) > int(said.split()[-1])
        assert refusal("licence", "issue", *office, *of).endswith(
            "expected a key that is active for the issuer"
        )
        issued.append(credential)
    hz.publish_statuses()
    for credential in issued:
        assert checked(hz, credential)["verdict"] == "VALID", "it was logged while the key counted"
    keys = hz.client.issuer(hz.uscc)["keys"]
    assert [sum(ended in key for key in keys) for ended in ("retired", "compromised")] == [1, 1]
    assert "has ended since" in refusal(*admitting)


@pytest.mark.slow
def test_a_type_of_ones_own_is_admitted_and_issued_from_its_file(town: Town, tmp_path: Path) -> None:
    key, values, path = tmp_path / "o" / "keys" / "k.json", tmp_path / "v.json", tmp_path / "licence.txt"
    values.write_text('{"经营者": "陈示例", "stall_number": "A-17"}', encoding="utf8")
    assert "no licence type" in refusal(*issuing(town.hz, town, values, "11441900007330990Q001"))
    shuyao("licence", "keys", "new", key, "--unattended")
    shuyao("licence", "keys", "admit", key, *town.hz.deciding(), "--type", STALL)
    office = ["--city", town.hz.url, "--issuer", town.hz.uscc, "--key", key]
    of = ["--values", values, "--holder", town.holder, "--type", STALL]
    shuyao("licence", "issue", *office, *of, "--out", path)
    assert told("licence", "show", path)["fields"] == {"operator_name": "陈示例", "stall_number": "A-17"}
    second = tmp_path / "second.txt"
    shuyao("licence", "supersede", path, *office, *of, "--out", second)
    town.hz.publish()
    assert checked(town.hz, path, code=1)["code"] == 0xB
    assert checked(town.hz, second)["verdict"] == "VALID"
    assert "is the type" in refusal("licence", "supersede", path, *office, *of[:-1], _other_type(tmp_path))


def _other_type(folder: Path) -> Path:
    path = folder / "other.json"
    changed = {**json.loads(STALL.read_text(encoding="utf8")), "code": "11441900007330990Q002"}
    path.write_text(json.dumps(changed), encoding="utf8")
    return path


def test_a_field_that_the_type_has_not_is_refused_with_those_that_it_has(town: Town, tmp_path: Path) -> None:
    values = tmp_path / "v.json"
    for given, expected in (
        ({"公司名": "x"}, "no field '公司名' here; there are: uscc (统一社会信用代码), entity_name (名称)"),
        ({"entity_name": "x", "名称": "y"}, "'entity_name' is there twice"),
    ):
        values.write_text(json.dumps(given, ensure_ascii=False), encoding="utf8")
        assert expected in refusal(*issuing(town.dg, town, values))


def test_a_licence_moves_to_a_city_that_is_recognised(
    town: Town, licence: Path, values: Path, tmp_path: Path
) -> None:
    policy, moved = tmp_path / "hz.json", tmp_path / "moved.txt"
    shuyao("licence", "policy", town.hz.url, "-o", policy)
    by = [
        "--registrar",
        town.dg.registrar,
        "--city",
        town.dg.url,
        "--type",
        BUSINESS,
        "--rpc",
        town.anvil.url,
    ]
    town.hz.publish_statuses()
    said = shuyao("licence", "keys", "recognise", policy, town.hz.url, *by)
    assert said.startswith("recognised at log index ")
    assert town.dg.client.recognition(town.hz.client.origin)["event"]
    assert "does not name the city" in refusal("licence", "keys", "recognise", policy, town.dg.url, *by)
    shuyao("licence", "transfer", licence, *town.dg.issuing(), "--out-of", "--reason", "迁往惠州")
    taking = ["licence", "transfer", licence, *town.hz.issuing(), "--in"]
    assert "--in needs" in refusal(*taking)
    shuyao(*taking, "--values", values, "--holder", town.holder, "--out", moved)
    for city in (town.dg, town.hz):
        city.publish()
    assert checked(town.dg, licence, code=1)["code"] == 0xD
    assert checked(town.hz, moved)["verdict"] == "VALID"
    assert parse(moved.read_text(encoding="ascii")).claims.transfer_in


@pytest.mark.slow
def test_the_operator_anchors_and_sees_how_the_service_fares(
    town: Town, licence: Path, tmp_path: Path
) -> None:
    size = int(told("licence", "anchor", "--city", town.dg.folder)["size"])
    until(lambda: any(int(anchor["size"]) >= size - 1 for anchor in town.dg.client.anchors()))
    until(lambda: _is_valid_with_anchor(town, licence, tmp_path))
    health = told("licence", "health", town.dg.url)
    assert (health["origin"], health["status"]) == ("licences.dg.example", "ok")
    listed = shuyao("licence", "health", town.dg.url)
    done = health["duties"]["publish"]["done_at"]
    assert "publish" in listed and f"{done // 31_556_952 + 1970}-" in listed
    assert str(done)[:6] not in listed.replace(",", "")
    assert "anchor" in refusal("licence", "anchor", "--city", town.hz.folder)


def _is_valid_with_anchor(town: Town, licence: Path, folder: Path) -> bool:
    return judged(town.dg, licence, folder, "--anchored", anchor="attested") == "VALID"
