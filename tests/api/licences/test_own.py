"""What an issuer gets back of its own licences, and that nobody else does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.licences import own
from cli.errors import CliError
from cli.licence.client import ServiceRefused, Speaker
from cli.licence.department import FoundLicence, ref_of
from cli.licence.holder_commands import use_row
from cli.licence.own_commands import part_path, run_export
from cli.licence.wallet import issuer_hash
from cli.output import Stages
from ledger.licences.events import registrar_urn, service_urn
from ledger.licences.identifiers import issuer_urn
from ledger.licences.leaf import Code
from ledger.licences.sdjwt import parse
from tests.api.clients import problem
from tests.api.licences.conftest import NOW, ORIGIN, OTHER_USCC, USCC, LicenceWorld, key


def identifier(credential: str) -> str:
    return parse(credential).claims.identifier.text


def bearer(world: LicenceWorld, action: str, arguments: dict[str, str], **changes: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {world.request(action, arguments, **changes)}"}


def ask(world: LicenceWorld, lic: str, headers: dict[str, str]) -> httpx.Response:
    found: httpx.Response = world.http.get(f"/licences/{lic}", headers=headers)
    return found


def test_an_issuer_fetches_the_credential_of_what_it_finds(world: LicenceWorld) -> None:
    made, department = world.issue(), world.department()
    (found,) = department.find(identifier(made.credential))
    assert (found.index, found.ref, found.code) == (made.receipt.index, ref_of(made.credential), 0)
    assert department.fetch(found) == made.credential
    department.suspend(found.ref)
    assert department.find(identifier(made.credential))[0].code == 2
    with pytest.raises(CliError, match="identifier"):
        department.find("1.2.156.3005.2.nobody")


def test_a_credential_is_not_kept_on_its_way(world: LicenceWorld) -> None:
    made = world.issue()
    lic, named = ref_of(made.credential).leaf_hash.hex(), identifier(made.credential)
    headers = bearer(world, "find_licence", {"identifier": named})
    answer = world.http.get("/licences", params={"identifier": named}, headers=headers)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    answer = ask(world, lic, bearer(world, "fetch_credential", {"lic": lic}))
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    answer = world.http.get("/licences/export", headers=bearer(world, "export_licences", {"from": "0"}))
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")


def test_the_holder_sees_that_its_issuer_fetched_the_credential(world: LicenceWorld) -> None:
    made, department = world.issue(), world.department()
    department.fetch(department.find(identifier(made.credential))[0])
    (use,) = world.wallet.uses(world.client, made.credential)
    verifier = hashlib.sha256(issuer_urn(USCC).encode()).hexdigest()
    assert (use["verdict"], use["verifier"], use["time"]) == ("UNKNOWN", verifier, NOW)
    assert issuer_hash(made.credential) == verifier
    assert use["batch"] is not None


def test_an_erased_credential_is_gone_for_its_issuer_too(world: LicenceWorld) -> None:
    made, department = world.issue(), world.department()
    (found,) = department.find(identifier(made.credential))
    department.erase(found.ref)
    assert department.find(identifier(made.credential)) == []
    with pytest.raises(ServiceRefused) as refused:
        department.fetch(found)
    assert (refused.value.status, refused.value.kind) == (410, "private-record-erased")
    assert world.wallet.uses(world.client, made.credential) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": "another.example"},
        {"now_s": NOW - 61},
        {"now_s": NOW + 61},
        {"key": key("thief")},
        {"issuer": issuer_urn(OTHER_USCC)},
        {"action": "reserve_slots"},
    ],
    ids=["other log", "too old", "ahead", "stranger's key", "other's name", "other act"],
)
def test_a_request_that_is_not_the_issuers_own_gets_no_credential(
    world: LicenceWorld, changes: dict[str, Any]
) -> None:
    made = world.issue()
    lic, named = ref_of(made.credential).leaf_hash.hex(), identifier(made.credential)
    for action, name, value, target in (
        ("find_licence", "identifier", named, f"/licences?identifier={named}"),
        ("fetch_credential", "lic", lic, f"/licences/{lic}"),
        ("export_licences", "from", "0", "/licences/export?from=0"),
    ):
        given = {**changes}
        headers = bearer(world, str(given.pop("action", action)), {name: value}, **given)
        problem(world.http.get(target, headers=headers), 401, "licence-request-rejected")
        problem(world.http.get(target), 401, "licence-request-rejected")


def test_a_request_counts_once_and_for_its_own_address(world: LicenceWorld) -> None:
    made, other = world.issue(), world.issue()
    lic, another = (ref_of(each.credential).leaf_hash.hex() for each in (made, other))
    headers = bearer(world, "fetch_credential", {"lic": lic})
    problem(ask(world, another, headers), 401, "licence-request-rejected")
    headers = bearer(world, "fetch_credential", {"lic": lic})
    assert ask(world, lic, headers).status_code == 200
    problem(ask(world, lic, headers), 401, "licence-request-rejected")
    headers = bearer(world, "export_licences", {"from": "0"})
    assert world.http.get("/licences/export", headers=headers).status_code == 200
    problem(world.http.get("/licences/export", headers=headers), 401, "licence-request-rejected")
    headers = bearer(world, "export_licences", {"from": "0"})
    problem(world.http.get("/licences/export?from=1", headers=headers), 401, "licence-request-rejected")


def test_another_department_the_registrar_and_the_operator_get_no_credential(world: LicenceWorld) -> None:
    made, other = world.issue(), world.department(OTHER_USCC)
    leaf_hash = ref_of(made.credential).leaf_hash
    speakers = [
        other.speaker,
        Speaker(registrar_urn(ORIGIN), key("registrar")),
        Speaker(service_urn(ORIGIN), key("service")),
    ]
    for speaker in speakers:
        with pytest.raises(ServiceRefused) as refused:
            world.client.fetch(speaker, leaf_hash)
        assert (refused.value.status, refused.value.kind) == (409, "event-refused")
    for speaker in speakers[1:]:
        with pytest.raises(ServiceRefused) as refused:
            list(world.client.export_part(speaker, 0))
        assert refused.value.kind == "malformed"
        with pytest.raises(ServiceRefused) as refused:
            world.client.find(speaker, identifier(made.credential))
        assert refused.value.kind == "malformed"
    (last,) = world.client.export_part(other.speaker, 0)
    assert last == {"next": last["size"], "size": last["size"]}
    assert world.wallet.uses(world.client, made.credential) == []
    with pytest.raises(ServiceRefused) as refused:
        world.client.fetch(world.department().speaker, bytes(32))
    assert refused.value.kind == "licence-unknown"


@pytest.mark.parametrize("how", ["retired", "compromised"])
def test_a_key_that_ended_gets_nothing_and_its_successor_everything(world: LicenceWorld, how: str) -> None:
    made, department = world.issue(), world.department()
    (found,) = department.find(identifier(made.credential))
    end = world.registrar.retire_key if how == "retired" else world.registrar.compromise_key
    end(USCC, department.key.public.key_id)
    for ask_it in (
        lambda: department.find(identifier(made.credential)),
        lambda: department.fetch(found),
        lambda: list(world.client.export_part(department.speaker, 0)),
    ):
        with pytest.raises(ServiceRefused, match="active") as refused:
            ask_it()
        assert refused.value.kind == "licence-request-rejected"
    new = key("successor")
    world.registrar.add_key(USCC, new.public, [world.kind.code])
    speaker = Speaker(issuer_urn(USCC), new)
    assert world.client.fetch(speaker, found.ref.leaf_hash)["credential"] == made.credential
    assert [line["index"] for line in world.client.export_part(speaker, 0) if "index" in line] == [
        str(found.index)
    ]


def test_an_answer_with_a_status_that_is_none_is_refused() -> None:
    item = {"index": "1", "leaf": bytes(32).hex(), "status": {"list": 0, "index": 0, "code": 2}}
    assert FoundLicence.from_json(item).code is Code.SUSPENDED
    for code in (4, 10, 16, -1, "2", None):
        with pytest.raises(ValueError):
            FoundLicence.from_json({**item, "status": {"list": 0, "index": 0, "code": code}})


def test_a_use_in_the_issuers_name_is_a_fetch_only_without_a_verdict() -> None:
    use = {"time": NOW, "verifier": "a" * 64, "verdict": "UNKNOWN"}
    assert use_row(use, "a" * 64) == ("2026-01-01 00:00:00", "fetched", "its issuer")
    assert use_row({**use, "verdict": "VALID"}, "a" * 64)[1:] == ("VALID", "its issuer")
    assert use_row(use, "b" * 64)[1:] == ("UNKNOWN", "a" * 16)


# --- export ------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(world: LicenceWorld) -> LicenceWorld:
    """A log of 300 licences by one issuer and a few by another, one of them erased."""
    department, other = world.department(), world.department(OTHER_USCC)
    slots = world.client.reserve(department.speaker, 300)
    texts = [department.sign(world.order(), slot) for slot in slots]
    for answer in world.service.submit(texts):
        assert not isinstance(answer, Exception)
    for _ in range(3):
        other.issue(world.order())
    department.erase(ref_of(texts[7]))
    world.publish()
    return world


def exported(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def export(world: LicenceWorld, part: Path, uscc: str = USCC) -> dict[str, Any]:
    with Stages(quiet=True).stage("export", "licences") as stage:
        return run_export(world.client, world.department(uscc).speaker, part, stage).to_json()


def test_an_export_has_all_licences_of_one_issuer_and_no_others(filled: LicenceWorld, tmp_path: Path) -> None:
    part = tmp_path / "all"
    size = str(filled.service.book.size)
    assert export(filled, part) == {"licences": 300, "erased": 1, "size": size}
    lines = exported(part)
    assert [int(line["index"]) for line in lines] == sorted({int(line["index"]) for line in lines})
    assert part.stat().st_mode & 0o777 == 0o600
    for line in lines:
        if line["credential"] is not None:
            claims, ref = parse(line["credential"]).claims, ref_of(line["credential"])
            assert claims.issuer == USCC
            assert line["leaf"] == ref.leaf_hash.hex()
            assert line["status"] == {"list": ref.list, "index": ref.index, "code": 0}
    (erased,) = [line for line in lines if line["credential"] is None]
    assert filled.service.book.state.issue_of(bytes.fromhex(erased["leaf"])) is not None
    assert export(filled, tmp_path / "other", OTHER_USCC) == {"licences": 3, "erased": 0, "size": size}


def test_an_export_in_many_parts_is_the_same(filled: LicenceWorld, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    export(filled, whole)
    service = filled.service
    service.own = own.OwnLicences(service.book, service.access, now_s=filled.clock, part_entries=256)
    first = list(filled.client.export_part(filled.department().speaker, 0))
    assert first[-1] == {"next": "256", "size": str(service.book.size)}
    export(filled, parts)
    assert parts.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("torn", [b"", b'{"index":"9'])
def test_an_interrupted_export_goes_on_where_it_was(
    filled: LicenceWorld, tmp_path: Path, torn: bytes
) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    counts = export(filled, whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    part.write_bytes(b"".join(lines[:100]) + torn)
    asked: list[str] = []
    through = filled.http.send

    def noting(request: httpx.Request, **options: Any) -> httpx.Response:
        if request.url.path == "/licences/export":
            asked.append(request.url.params["from"])
        found: httpx.Response = through(request, **options)
        return found

    filled.http.send = noting  # type: ignore[method-assign]  # listens in, and changes nothing
    assert export(filled, part) == counts
    assert part.read_bytes() == whole.read_bytes()
    assert asked == [str(int(json.loads(lines[99])["index"]) + 1)]


def test_an_export_that_breaks_off_is_no_export(filled: LicenceWorld, tmp_path: Path) -> None:
    part, book = tmp_path / "part", filled.service.book
    records = sorted((book.folder.log / "private").rglob("*"))
    damaged = [path for path in records if path.is_file() and "evidence" in str(path)][-1]
    damaged.unlink()
    with pytest.raises(CliError):
        export(filled, part)
    assert 0 < len(exported(part)) < 300


def test_an_index_beyond_the_log_is_refused(world: LicenceWorld) -> None:
    world.issue()
    for first in ("-1", "１", "9" * 20, str(world.service.book.size + 1), ""):
        headers = bearer(world, "export_licences", {"from": first})
        answer = world.http.get("/licences/export", params={"from": first}, headers=headers)
        problem(answer, 422, "line-malformed")


def test_unfinished_exports_of_other_issuers_and_logs_have_other_names(tmp_path: Path) -> None:
    out = tmp_path / "licences.ndjson"
    names = {part_path(out, uscc, origin) for uscc in (USCC, OTHER_USCC) for origin in (ORIGIN, "b.example")}
    assert len(names) == 4
    assert {path.parent for path in names} == {tmp_path}
