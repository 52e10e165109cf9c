"""Chapters of the demonstration: a backfill, and a stranger that derives everything again from files and chain."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from cli import processes
from cli.home import repository_root, write_json
from cli.licence import city as city_folder
from cli.licence import keyring
from cli.licence.cast import Cast, wait_for
from cli.licence.steps import require, require_equal
from cli.licence.world import RESIDENCE
from ledger.types import to_hex

ROWS: Final = 3_000


def live(cast: Cast) -> None:
    """Play the chapters in order."""
    run = cast.steps.run
    cast.steps.heading("backfill and audit")
    run(f"{ROWS:,} residence permits are brought in from a Parquet file", lambda: backfill(cast))
    run(
        "one of them, found by its identifier: VALID; revoked by what was found: INVALID",
        lambda: use_one(cast),
    )
    run("its department fetches all that it ever issued", lambda: export(cast))
    for short, city in cast.world.cities.items():
        run(
            f"replay of {city.name}'s log from files, chain and registry: nothing differs",
            _replayed(cast, short),
        )
    run("one byte of a copy changed: replay finds it", lambda: tampered(cast))


def _command(cast: Cast, *words: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        processes.python_argv(*words),
        cwd=cast.world.home.path,
        env={**os.environ, "PYTHONPATH": str(repository_root())},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        return done.returncode, {"stderr": done.stderr.strip()[-600:]}


def backfill(cast: Cast) -> str:
    """Stop 东莞's service, bring the file in, and start the service again."""
    source, mapping = _source(cast)
    process = processes.find(cast.world.home, "licences-dg")
    handle = None if process is None else process.handle()
    if handle is not None:
        handle.terminate()
        handle.wait(20)
    city = cast.world.cities["dg"]
    words = [
        "--mapping",
        str(mapping),
        "--city",
        str(city.folder),
        "--key",
        str(_signing_key(cast)),
        "--json",
    ]
    code, found = _command(cast, "licence", "backfill", str(source), *words)
    cast.world.spawn_service("dg")
    cast.world.await_process("licences-dg")
    require_equal((code, found.get("done")), (0, ROWS), f"exit code and rows ({found})")

    def cosigned() -> tuple[bool, Any]:
        health = city.client.health()
        return bool(health["is_cosigned"]) and int(health["size"]) > ROWS, health

    ok, health = wait_for(cosigned)
    require(ok, f"not cosigned: {health}")
    return f"{found['rate']:,.0f} a second with worker processes; the log has {int(health['size']):,} entries"


def use_one(cast: Cast) -> str:
    """Do with a licence that was brought in what can be done with any other, by the commands that people have."""
    from ledger.licences.identifiers import Identifier

    department, folder = cast.department("dg-affairs"), cast.world.home.path / "backfill"
    identifier = Identifier(cast.world.kinds[RESIDENCE].code, department.uscc, f"BF{ROWS // 2:08d}", "001")
    licence, service = folder / "licence.txt", ["--city", cast.client("dg").url]
    write_json(folder / "policy.json", cast.world.policy("dg"))
    speaks = [*service, "--key", str(_signing_key(cast)), "--issuer", department.uscc, "--json"]
    code, found = _command(cast, "licence", "find", identifier.text, *speaks, "-o", str(licence))
    require_equal((code, len(found.get("items", ()))), (0, 1), f"exit code and licences found ({found})")

    def judged(name: str) -> tuple[int, dict[str, Any]]:
        bundle = folder / name
        bundle.unlink(missing_ok=True)
        _command(cast, "licence", "bundle", str(licence), *service, "-o", str(bundle))
        policy = ["--policy", str(folder / "policy.json"), "--json"]
        return _command(cast, "licence", "verify", str(bundle), *policy)

    def held(name: str, wanted: tuple[int, str | None]) -> dict[str, Any]:
        def look() -> tuple[bool, Any]:
            code, verdict = judged(name)
            return (code, verdict.get("reason")) == wanted, verdict

        ok, verdict = wait_for(look)
        require(ok, f"expected exit code and reason {wanted}, got {verdict}")
        seen: dict[str, Any] = verdict
        return seen

    verdict = held("before.json", (0, None))
    require_equal(verdict["licence"]["identifier"], identifier.text, "the licence that the verdict names")
    code, found = _command(cast, "licence", "revoke", str(licence), *speaks, "--code", "withdrawn")
    require_equal(code, 0, f"exit code of revoke ({found})")
    verdict = held("after.json", (1, "Revoked"))
    require_equal(verdict["code"], 0xE, "code")
    return f"log index {found['index']} revokes it; code 0xE"


def export(cast: Cast) -> str:
    """Fetch a department's licences with their credentials."""
    out = cast.world.home.path / "backfill" / "all.ndjson"
    issuer = cast.department("dg-affairs").uscc
    words = ["--city", cast.client("dg").url, "--key", str(_signing_key(cast)), "--issuer", issuer, "--json"]
    code, found = _command(cast, "licence", "export", *words, "-o", str(out))
    require_equal(code, 0, f"exit code ({found})")
    require(found["licences"] > ROWS and found["erased"] >= 1, f"expected more licences: {found}")
    return f"{found['licences']:,} licences in {out.stat().st_size:,} bytes, {found['erased']} of them erased"


def _signing_key(cast: Cast) -> Path:
    return keyring.key_path(cast.world.home.path / "departments" / "dg-affairs", "signing")


def _source(cast: Cast) -> tuple[Path, Path]:
    """Write the Parquet file and the mapping of its columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = cast.world.home.path / "backfill"
    folder.mkdir()
    kind, first = cast.world.kinds[RESIDENCE], date(2025, 1, 1)
    rows = range(ROWS)
    table = pa.table(
        {
            "编号": [f"BF{n:08d}" for n in rows],
            "发证日期": [first] * ROWS,
            "有效期至": [first + timedelta(days=3650)] * ROWS,
            "姓名": [f"示例{n}" for n in rows],
            "居住地址": [f"广东省东莞市示例街{n}号" for n in rows],
        }
    )
    pq.write_table(table, folder / "permits.parquet")
    write_json(
        folder / "mapping.json",
        {
            "version": 1,
            "type": kind.code,
            "type_version": kind.version,
            "issuer": cast.department("dg-affairs").uscc,
            "serial": {"column": "编号"},
            "licence_version": "001",
            "first_day": {"column": "发证日期"},
            "last_day": {"column": "有效期至"},
            "fields": {"name": "姓名", "present_address": "居住地址"},
            "holder": cast.holder.public.jwk(),
        },
    )
    return folder / "permits.parquet", folder / "mapping.json"


def _replay(cast: Cast, short: str, log: Path, *words: str) -> tuple[int, dict[str, Any]]:
    policy = cast.world.home.path / "auditor.json"
    write_json(policy, cast.world.policy("dg", "hz"))
    chain = ["--rpc", cast.world.rpc_url, "--issuers", to_hex(cast.world.cities[short].trust.issuers)]
    given = ["--policy", str(policy), *chain, "--signatures", "all", "--json"]
    return _command(cast, "replay", str(log), *given, *words)


def _replayed(cast: Cast, short: str) -> Any:
    def step() -> str:
        book = city_folder.book_folder(cast.world.cities[short].folder)
        code, found = _replay(cast, short, book / "log", "--book", str(book))
        require_equal(code, 0, f"exit code ({json.dumps(found, ensure_ascii=False)[:600]})")
        require_equal(found["unchecked"], [], "what could not be checked")
        return _summary(found)

    return step


def _summary(found: dict[str, Any]) -> str:
    named = [
        f"{name} {found[name]}"
        for name in ("size", "anchors", "registry_events", "status_lists")
        if name in found
    ]
    return ", ".join(named) or "exit code 0"


def tampered(cast: Cast) -> str:
    """Copy the published files and the book, change one byte of an entry, and replay the copy."""
    book = city_folder.book_folder(cast.world.cities["hz"].folder)
    copy = cast.world.home.path / "tampered"
    shutil.copytree(book / "log" / "public", copy)
    bundle = max(
        (copy / "tile" / "entries").rglob("*"), key=lambda path: path.is_file() and path.stat().st_size
    )
    data = bytearray(bundle.read_bytes())
    data[40] ^= 1
    bundle.write_bytes(bytes(data))
    code, found = _replay(cast, "hz", copy)
    require_equal(code, 1, f"exit code ({json.dumps(found, ensure_ascii=False)[:600]})")
    rules = found["differences"]["rules"]
    require("leaf-hash" in rules, f"expected a leaf that does not hash to its tile, got {rules}")
    return f"byte 40 of {bundle.relative_to(copy)}: {', '.join(rules)}"
