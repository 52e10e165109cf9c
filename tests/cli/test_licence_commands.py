"""The licence and witness commands over files: keys, folders, credentials, QR codes."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.app import app
from cli.errors import CliError
from cli.licence import city as city_folder
from cli.licence import keyring
from cli.licence.department import ref_of
from cli.licence.wallet import Wallet
from ledger.encoding import Digest
from ledger.licences.identifiers import Identifier
from ledger.licences.keys import SigningKey
from ledger.licences.schema import demonstration_types
from ledger.licences.sdjwt import Claims, issue, parse
from ledger.log.notes import NoteKey

ROOT = Path(__file__).resolve().parents[2]
USCC = "1144190056666777AT"
NOW = 1_767_225_600


def shuyao(*words: str, code: int = 0) -> str:
    """Run a command in this process and return what it printed."""
    done = CliRunner().invoke(app, list(words))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout


@pytest.fixture
def credential(tmp_path: Path) -> Path:
    """A business licence in a file."""
    kind = next(kind for kind in demonstration_types().values() if kind.name == "营业执照")
    values = json.loads((ROOT / "examples" / "licences" / "business_licence.json").read_text(encoding="utf8"))
    holder = SigningKey.generate("ES256", b"\x01" * 32)
    claims = Claims(
        issuer=USCC,
        type_code=kind.code,
        identifier=Identifier(kind.code, USCC, "A1", "001"),
        version=kind.version,
        event_id=bytes(16),
        issued_at=NOW,
        not_before=NOW,
        expires_at=None,
        list=0,
        index=7,
        origin="licences.dg.example",
        holder=holder.public,
    )
    path = tmp_path / "licence.sdjwt"
    issuer = SigningKey.generate("EdDSA", b"\x02" * 32)
    path.write_text(issue(claims, kind, values, issuer, rand=bytes(32)).text, encoding="ascii")
    return path


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "SM2"])
def test_a_new_key_is_private_shown_by_its_public_half_and_never_overwritten(
    tmp_path: Path, algorithm: str
) -> None:
    path = tmp_path / "office" / "keys" / "signing.json"
    kid = shuyao("licence", "keys", "new", str(path), "--alg", algorithm, "--unattended").strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "office" / "passphrases" / "signing").stat().st_mode) == 0o600
    opened = keyring.open_key(path)
    assert opened.public.kid == kid
    jwk = json.loads(shuyao("licence", "keys", "show", str(path), "--json"))
    assert jwk == opened.public.jwk()
    with pytest.raises(CliError):
        shuyao("licence", "keys", "new", str(path), "--unattended")
    with pytest.raises(CliError, match="no algorithm"):
        shuyao("licence", "keys", "new", str(tmp_path / "k.json"), "--alg", "none", "--unattended")


def test_a_key_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("correct horse battery\n", encoding="utf8")
    bad.write_text("wrong horse battery\n", encoding="utf8")
    path = tmp_path / "keys" / "holder.json"
    shuyao("licence", "keys", "new", str(path), "--passphrase-file", str(good))
    assert keyring.open_key(path, good).public == keyring.public_of(path)
    with pytest.raises(CliError, match="holder"):
        keyring.open_key(path, bad)


def test_a_witness_is_made_watches_and_shows_itself(tmp_path: Path) -> None:
    folder, log = tmp_path / "witness", "licences.dg.example"
    vkey = shuyao("witness", "init", str(folder), "--name", "regulator.example", "--unattended").strip()
    assert NoteKey.parse(vkey).name == "regulator.example"
    city = _city(tmp_path)
    shuyao("witness", "watch", str(folder), city, "--chain-id", "31337", "--contract", "0x" + "11" * 20)
    shown = json.loads(shuyao("witness", "show", str(folder), "--json"))
    assert (shown["vkey"], shown["logs"][0]["origin"]) == (vkey, log)
    assert log in shuyao("witness", "show", str(folder))
    with pytest.raises(CliError, match="log"):
        shuyao("witness", "watch", str(folder), "no key")


def _city(tmp_path: Path) -> str:
    registrar = tmp_path / "registrar" / "keys" / "registrar.json"
    shuyao("licence", "keys", "new", str(registrar), "--unattended")
    words = ["--city", str(tmp_path / "dg"), "--origin", "licences.dg.example", "--name", "东莞"]
    return shuyao("licence", "init", *words, "--registrar", str(registrar), "--unattended").strip()


def test_a_city_is_made_without_the_registrars_secret(tmp_path: Path) -> None:
    vkey = _city(tmp_path)
    settings = city_folder.load(tmp_path / "dg")
    assert (settings.log_key, settings.name) == (vkey, "东莞")
    registrar = keyring.open_key(tmp_path / "registrar" / "keys" / "registrar.json")
    assert settings.registrar == registrar.public.jwk()
    secrets_of_city = [path.stem for path in (tmp_path / "dg" / "keys").iterdir()]
    assert sorted(secrets_of_city) == ["log", "service"]
    with pytest.raises(CliError, match="already"):
        _again(tmp_path)
    serve = [sys.executable, "-m", "cli", "licence", "serve", "--city", str(tmp_path / "dg")]
    done = subprocess.run(serve, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr  # without witnesses nothing can be VALID
    assert "quorum" in done.stderr


def _again(tmp_path: Path) -> None:
    registrar = tmp_path / "registrar" / "keys" / "registrar.json"
    words = ["--city", str(tmp_path / "dg"), "--origin", "licences.dg.example", "--name", "东莞"]
    shuyao("licence", "init", *words, "--registrar", str(registrar), "--unattended")


def test_show_tells_what_a_credential_says(credential: Path) -> None:
    found = json.loads(shuyao("licence", "show", str(credential), "--json"))
    assert found["issuer"] == USCC
    assert (found["status_list"], found["status_index"], found["log"]) == (0, 7, "licences.dg.example")
    assert found["leaf"] == ref_of(credential.read_text(encoding="ascii")).leaf_hash.hex()
    assert found["fields"]["entity_name"] == "东莞市数钥示例科技有限公司"
    text = shuyao("licence", "show", str(credential))
    row = next(line for line in text.splitlines() if "legal_representative" in line)
    assert "法定代表人" in row and "陈示例" in row
    assert "2026-01-01 00:00:00" in text and "no end" in text and str(NOW) not in text


def test_disclose_shows_the_chosen_fields_and_no_others(credential: Path, tmp_path: Path) -> None:
    out = tmp_path / "shown"
    shuyao("licence", "disclose", str(credential), "entity_name", "--out", str(out))
    assert set(parse(out.read_text(encoding="ascii")).disclosed) == {"entity_name"}
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with pytest.raises(CliError, match="not overwritten"):
        shuyao("licence", "disclose", str(credential), "--out", str(out))
    with pytest.raises(
        CliError, match=r"no field 'no_such_field' .*: uscc \(统一社会信用代码\), entity_name \(名称\)"
    ):
        shuyao("licence", "disclose", str(credential), "no_such_field")
    with pytest.raises(CliError, match="go together"):
        shuyao("licence", "disclose", str(credential), "--key", "k.json")


def test_fields_are_disclosed_by_their_chinese_titles_too(credential: Path) -> None:
    given = shuyao("licence", "disclose", str(credential), "名称", "address").strip()
    assert set(parse(given).disclosed) == {"entity_name", "address"}
    with pytest.raises(CliError, match="no field '注册号'"):  # of the type, but this licence lacks it
        shuyao("licence", "disclose", str(credential), "注册号")


def test_who_is_not_the_holder_is_told_so_and_a_presentation_is_not_bound_twice(
    credential: Path, tmp_path: Path
) -> None:
    text = credential.read_text(encoding="ascii")
    holder, other = (SigningKey.generate("ES256", bytes([n]) * 32) for n in (1, 3))
    asked = {"nonce": "n", "audience": "https://bank.example"}
    with pytest.raises(CliError) as refused:
        Wallet(other).present(text, ["名称"], **asked)
    expected = f"the licence names the key {holder.public.kid}, this one is {other.public.kid}"
    assert str(refused.value) == f"this key is not the holder's: {expected}"
    shown = Wallet(holder).present(text, ["名称"], **asked)
    with pytest.raises(CliError, match="this is a presentation made for one verifier"):
        Wallet(holder).present(shown, None, **asked)


def test_qr_and_scan_give_the_same_text(credential: Path, tmp_path: Path) -> None:
    shown, picture, scanned = tmp_path / "shown", tmp_path / "code.png", tmp_path / "scanned"
    holder = Wallet(SigningKey.generate("ES256", b"\x01" * 32))
    text = credential.read_text(encoding="ascii")
    shown.write_text(holder.present(text, ["entity_name"], nonce="n", audience="https://bank.example"))
    shuyao("licence", "qr", str(shown), "--out", str(picture))
    shuyao("licence", "scan", str(picture), "--out", str(scanned))
    assert scanned.read_bytes() == shown.read_bytes()
    shuyao("licence", "qr", str(shown), "--out", str(tmp_path / "code.svg"))
    assert "<svg" in (tmp_path / "code.svg").read_text(encoding="utf8")
    assert "█" in shuyao("licence", "qr", str(shown)) or "▄" in shuyao("licence", "qr", str(shown))
    with pytest.raises(CliError, match="QrUnreadable"):
        shuyao("licence", "scan", str(credential))


def test_what_proves_no_bearer_becomes_no_qr_code(credential: Path, tmp_path: Path) -> None:
    shown, picture = tmp_path / "shown", tmp_path / "code.png"
    shuyao("licence", "disclose", str(credential), "entity_name", "--out", str(shown))
    for endless in (shown, credential):
        with pytest.raises(CliError, match="bearer"):
            shuyao("licence", "qr", str(endless), "--out", str(picture))
    (tmp_path / "text").write_text("https://shop.example", encoding="ascii")
    with pytest.raises(CliError, match="Malformed"):
        shuyao("licence", "qr", str(tmp_path / "text"), "--out", str(picture))
    assert not picture.exists()


@pytest.mark.parametrize(
    "example", sorted((ROOT / "examples" / "licences").glob("*.json")), ids=lambda p: p.stem
)
def test_every_example_fits_its_licence_type(example: Path) -> None:
    from cli.licence.world import KIND_NAMES

    kind = next(k for k in demonstration_types().values() if k.name == KIND_NAMES[example.stem])
    values = json.loads(example.read_text(encoding="utf8"))
    assert set(values) <= set(kind.names)
    assert len(set(kind.names) - set(values)) <= 2  # what is lacking gets a decoy


def test_names_of_types_and_times_are_checked(credential: Path, tmp_path: Path) -> None:
    from cli.licence.options import find_kind
    from cli.licence.times import read_time, utc

    assert find_kind("营业执照") == find_kind("11100000MB0143028R001")
    with pytest.raises(CliError, match="no licence type"):
        find_kind("驾驶证")
    assert read_time("1970-01-01T08:00:00") == 0
    assert read_time("1970-01-01T00:00:00+00:00") == 0
    assert read_time("2030-01-01") == read_time("20300101") == read_time("1893427200") == 1_893_427_200
    for text in ("tomorrow", "9" * 12, "9" * 30, "-1", "", "１８９３４２７２００"):
        with pytest.raises(CliError, match=r"expected a (date or )?time"):
            read_time(text)
    assert (utc(0), utc(None)) == ("1970-01-01 00:00:00", None)
    assert isinstance(ref_of(credential.read_text(encoding="ascii")).leaf_hash, bytes)
    assert Digest(bytes(32)) == bytes(32)
