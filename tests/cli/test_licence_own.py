"""`licence find | export | status | verify | show` as people see them, over a small served city."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn

from api.serving import QUIET
from cli.errors import CliError
from cli.licence import keyring
from cli.licence.department import Department, IssuedLicence, ref_of
from cli.licence.own_commands import part_path, run_export
from cli.licence.verify_command import licence_json, show_verdict, verdict_json, verdict_of
from ledger.licences.leaf import Code
from ledger.licences.sdjwt import parse
from tests.api.clients import Clock
from tests.api.licences.conftest import ORIGIN, USCC, LicenceWorld, running_world
from tests.cli.cities import refusal, shuyao, told, until
from tests.ledger.conftest import free_port

pytestmark = pytest.mark.xdist_group("licence-own")


class Now(Clock):
    """The wall clock of this machine."""

    def __call__(self) -> float:
        return time.time()


@dataclass
class Served:
    """A city at a port, one department's key in a file, and a verifier's policy."""

    world: LicenceWorld
    url: str
    key: Path
    policy: Path

    @property
    def department(self) -> Department:
        return self.world.department()

    @property
    def speaking(self) -> list[object]:
        """The words by which the department names the city, itself and its key."""
        return ["--city", self.url, "--issuer", USCC, "--key", self.key]

    def bundle(self, licence: IssuedLicence) -> bytes:
        time.sleep(0.3)  # the bundles' files are looked at four times a second
        return self.world.client.bundle(licence.credential)

    def verdict(self, bundle: bytes, policy: bytes | None = None) -> dict[str, Any]:
        """Return what `licence verify --json` says."""
        trusted = policy or self.policy.read_bytes()
        made = verdict_of(bundle, trusted, nonce=None, audience=None, now_s=None)
        known = made.presented if made.authentic else None
        return {**verdict_json(made), "licence": None if known is None else licence_json(known)}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A city with one department, at a port of this process."""
    root = tmp_path_factory.mktemp("served")
    with running_world(root, Now(0)) as world:
        port = free_port()
        server = uvicorn.Server(uvicorn.Config(world.http.app, host="127.0.0.1", port=port, **QUIET))
        thread = threading.Thread(target=server.run)
        thread.start()
        path = root / "office" / "keys" / "signing.json"
        signing = keyring.make_key(path, is_unattended=True)
        world.registrar.add_key(USCC, signing.public, [world.kind.code])
        world.departments[USCC] = Department(USCC, signing, world.client)
        policy = root / "policy.json"
        policy.write_text(json.dumps(world.service.policy.to_json()), encoding="utf8")
        until(lambda: server.started)
        yield Served(world, f"http://127.0.0.1:{port}", path, policy)
        server.should_exit = True
        thread.join(20)


def identifier(made: IssuedLicence) -> str:
    return parse(made.credential).claims.identifier.text


def test_a_department_finds_its_licence_and_goes_on_with_what_it_got(served: Served, tmp_path: Path) -> None:
    made, out = served.world.issue(), tmp_path / "licence.txt"
    shown = shuyao("licence", "find", identifier(made), *served.speaking)
    assert str(made.receipt.index) in shown and "valid" in shown
    assert served.world.wallet.uses(served.world.client, made.credential) == []
    shown = shuyao("licence", "find", identifier(made), *served.speaking, "-o", out)
    assert str(out) in shown
    assert out.read_text(encoding="ascii") == made.credential
    assert out.stat().st_mode & 0o777 == 0o600
    assert "not overwritten" in refusal("licence", "find", identifier(made), *served.speaking, "-o", out)
    shuyao("licence", "revoke", out, *served.speaking)
    (item,) = told("licence", "find", identifier(made), *served.speaking)["items"]
    assert (item["status"]["code"], item["credential"]) == (1, made.credential)
    assert len(served.world.wallet.uses(served.world.client, made.credential)) == 2
    shuyao("licence", "erase", out, *served.speaking)
    assert "erased" in refusal("licence", "find", identifier(made), *served.speaking)
    assert "identifier" in refusal("licence", "find", "１.2.156", *served.speaking)


def test_of_several_with_one_identifier_one_is_chosen(served: Served, tmp_path: Path) -> None:
    first, second = (served.department.issue(served.world.order(serial="TWICE")) for _ in range(2))
    words = ["licence", "find", identifier(first), *served.speaking]
    assert len(told(*words)["items"]) == 2
    out = tmp_path / "one.txt"
    assert "--index" in refusal(*words, "-o", out)
    assert not out.exists()
    shuyao(*words, "--index", second.receipt.index, "-o", out)
    assert out.read_text(encoding="ascii") == second.credential
    assert "no licence" in refusal(*words, "--index", 0)


def test_an_export_becomes_a_file_when_it_is_whole(served: Served, tmp_path: Path) -> None:
    made, out = served.world.issue(), tmp_path / "all.ndjson"
    part = part_path(out, USCC, ORIGIN)
    part.write_bytes(b"{}\n")
    words = ["licence", "export", *served.speaking, "-o", out]
    assert "delete it" in refusal(*words)
    part.unlink()
    found = told(*words)
    lines = [json.loads(line) for line in out.read_text(encoding="utf8").splitlines()]
    assert (found["licences"], found["file"]) == (len(lines), str(out))
    assert made.credential in [line["credential"] for line in lines]
    assert not part.exists()
    assert out.stat().st_mode & 0o777 == 0o600
    assert "not overwritten" in refusal(*words)
    assert f"{len(lines)} licences" in shuyao(*words[:-1], tmp_path / "again.ndjson")


@pytest.mark.parametrize("changed", ["leaf", "index of the status", "credential"])
def test_an_export_takes_no_credential_of_another_licence(
    served: Served, tmp_path: Path, changed: str
) -> None:
    first, second = (ref_of(served.world.issue().credential) for _ in range(2))

    class Lying:
        url = served.url

        def export_part(self, speaker: object, begin: int) -> Iterator[dict[str, Any]]:
            lines = list(served.world.client.export_part(served.department.speaker, begin))
            ours = {line["leaf"]: line for line in lines if "leaf" in line}
            mine, other = ours[first.leaf_hash.hex()], ours[second.leaf_hash.hex()]
            if changed == "leaf":
                mine["leaf"] = other["leaf"]
            elif changed == "credential":
                mine["credential"] = other["credential"]
            else:
                mine["status"] = other["status"]
            return iter(lines)

    part = tmp_path / "licences.part"
    with pytest.raises(CliError, match="another credential than that of leaf"):
        run_export(cast("Any", Lying()), served.department.speaker, part, cast("Any", SimpleNamespace()))
    assert all(first.leaf_hash.hex() not in line for line in part.read_text(encoding="utf8").splitlines())


def test_the_status_is_proved_under_a_policy_or_unknown(served: Served, tmp_path: Path) -> None:
    made, path = served.world.issue(), tmp_path / "licence.txt"
    path.write_text(made.credential, encoding="ascii")
    before = int(time.time())
    time.sleep(1.1)  # the next token has another second
    served.department.suspend(ref_of(made.credential))
    served.world.publish()
    time.sleep(0.3)
    words = ["licence", "status", path, "--city", served.url]
    now = told(*words, "--policy", served.policy)
    assert (now["state"], now["status"]) == ("VALID", "suspended")
    then = told(*words, "--policy", served.policy, "--at", before)
    assert (then["status"], then["at"]) == ("valid", before)
    assert then["published_at"] <= before
    shown = shuyao(*words, "--policy", served.policy, "--at", "2020-01-31")
    assert "not issued at 2020-01-30 16:00:00 UTC" in shown
    late = shuyao(*words, "--policy", served.policy, "--at", "2090-01-01", code=3)
    assert "UNKNOWN" in late and "checkpoint" in late
    value = json.loads(served.policy.read_bytes())
    value["cities"][0]["origin"] = "elsewhere.example"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(value), encoding="utf8")
    assert told(*words, "--policy", other, code=3)["missing"][0] == "city"
    assert "cannot be read" in refusal(*words, "--policy", tmp_path / "absent.json")


# --- verdicts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "name"), [(None, "transferred"), (Code.LAPSED, "lapsed"), (Code.REVOKED, "revoked")]
)
def test_people_see_why_a_licence_is_over_and_which_it_is(
    served: Served, capsys: pytest.CaptureFixture[str], code: Code | None, name: str
) -> None:
    made = served.world.issue()
    ref = ref_of(made.credential)
    if code is None:
        served.department.transfer_out(ref)
    else:
        served.department.revoke(ref, code)
    served.world.publish()
    found = served.verdict(served.bundle(made))
    show_verdict(found)
    shown = capsys.readouterr().out
    assert f"INVALID Revoked ({name})" in shown
    assert identifier(made) in shown and "营业执照" in shown
    assert "法定代表人" in shown and "陈示例" in shown
    assert found["licence"]["identifier"] == identifier(made)
    assert found["licence"]["fields"]["legal_representative"] == "陈示例"


def test_a_superseded_licence_says_cancelled(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    made = served.world.issue()
    served.department.issue(served.world.order(), previous=ref_of(made.credential).leaf_hash)
    served.world.publish()
    show_verdict(served.verdict(served.bundle(made)))
    assert "INVALID Revoked (cancelled)" in capsys.readouterr().out


def test_what_is_not_proved_of_a_licence_is_not_shown(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    made = served.world.issue()
    served.department.suspend(ref_of(made.credential))
    served.world.publish()
    value = json.loads(served.bundle(made))

    def shown(**changes: Any) -> tuple[dict[str, Any], str]:
        data = json.dumps({**value, **changes}, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        found = served.verdict(data.encode())
        show_verdict(found)
        return found, capsys.readouterr().out

    found, text = shown()
    assert (found["reason"], found["authentic"]) == ("Suspended", True)
    assert identifier(made) in text
    head, _, signatures = value["checkpoint"].rpartition("\n\n")
    under = head + "\n\n" + "\n".join(signatures.splitlines()[:3]) + "\n"
    for changes in (
        {"checkpoint": under},
        {"issuer": None},
        {"inclusion": None},
        {"inclusion": {**value["inclusion"], "index": "0"}},
        {"origin": "elsewhere.example"},
    ):
        found, text = shown(**changes)
        assert (found["authentic"], found["licence"]) == (False, None), changes
        assert identifier(made) not in text and "陈示例" not in text
        assert "not proved" in text
    found, text = shown(status=None)
    assert (found["verdict"], found["missing"], found["authentic"]) == ("UNKNOWN", ["status"], True)
    assert identifier(made) in text


def test_check_names_the_licence_and_the_disclosed_fields(served: Served, tmp_path: Path) -> None:
    made, path, shown = served.world.issue(), tmp_path / "licence.txt", tmp_path / "shown.txt"
    path.write_text(made.credential, encoding="ascii")
    shuyao("licence", "disclose", path, "名称", "-o", shown)
    found = told("licence", "check", shown, "--city", served.url)
    assert found["licence"]["fields"] == {"entity_name": "东莞市示例有限公司"}
    text = shuyao("licence", "check", shown, "--city", served.url)
    assert identifier(made) in text and "东莞市示例有限公司" in text and "陈示例" not in text
    forged = served.department.sign(
        served.world.order(), (ref_of(made.credential).list, ref_of(made.credential).index)
    )
    path.write_text(forged, encoding="ascii")
    found = told("licence", "check", path, "--city", served.url, code=1)
    assert (found["reason"], found["licence"]) == ("NotInLog", None)


def test_show_takes_a_bundle(served: Served, tmp_path: Path) -> None:
    made, path = served.world.issue(), tmp_path / "bundle.json"
    path.write_bytes(served.bundle(made))
    found = told("licence", "show", path)
    assert (found["identifier"], found["leaf"]) == (identifier(made), ref_of(made.credential).leaf_hash.hex())
    assert found["fields"]["legal_representative"] == "陈示例"
    path.write_text("{}", encoding="ascii")
    assert "Malformed" in refusal("licence", "show", path)
