"""Online verification over HTTP: requests a second on two cores, load generator included, each with a durable record of its use."""

from __future__ import annotations

import json
import os
import secrets
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import registry
from benchmarks.environment import machine
from benchmarks.licences import ORIGIN, THRESHOLD, WITNESSES, admit, backfill, bench_folder, publish
from benchmarks.load import Load, post, send_all
from benchmarks.processes import Watched, two_cores, watched
from benchmarks.report import Target, report
from cli import processes, witness
from cli.home import Home
from cli.licence import city as city_folder
from cli.licence import keyring
from ledger.licences import sdjwt
from ledger.licences.access import AccessFiles
from ledger.licences.book import LicenceBook
from ledger.licences.keys import SigningKey
from ledger.licences.layout import BookFolder
from ledger.licences.publish import Publisher
from ledger.log.notes import NoteSigner

LICENCES = 10_000
WORKERS = 2  # verifying processes; the load generator is a third on the same two cores
CONNECTIONS = 64
PASSES = 5
HOST, PATH = "127.0.0.1", "/licences/verify"
SERVICE = "service"
SHOWN = ("entity_name", "uscc")
AUDIENCE = "urn:shuyao:verifier:bench"
READY_TIMEOUT_S = 60.0
_VALID = b'"verdict":"VALID"'


def run() -> dict[str, Any]:
    """Set a city up, then send every licence in several passes."""
    env = machine(("uvicorn", "uvloop", "httptools", "pynacl"))
    cores = two_cores()
    with bench_folder() as folder:
        bench = prepared(folder)
        with running(bench, cores):
            before = _recorded(bench)
            plain = [_request_body(sdjwt.present(text, SHOWN)) for text in bench.credentials]
            first = _sent(bench, plain, cores)
            shown, cpu_s = _measured(bench, plain, cores)
            whole = [
                _sent(bench, [_request_body(text) for text in bench.credentials], cores) for _ in range(2)
            ]
            bearer = [_sent(bench, _bearer_bodies(bench), cores) for _ in range(2)]
        sent = LICENCES * (1 + len(shown) + len(whole) + len(bearer))
        recorded = _recorded(bench) - before
    latencies = sorted(latency for load in shown for latency in load.latencies_ms)
    together = Load(sum(load.seconds for load in shown), latencies)
    figures = {
        "requests_a_second": together.rate,
        "cpu_us_a_request": cpu_s / len(latencies) * 1e6,
        "p50_ms": together.percentile_ms(50),
        "p99_ms": together.percentile_ms(99),
        "slowest_pass_a_second": min(load.rate for load in shown),
        "first_pass_a_second": first.rate,
        "all_12_fields_a_second": statistics.mean(load.rate for load in whole),
        "with_bearer_a_second": statistics.mean(load.rate for load in bearer),
        "with_bearer_p99_ms": max(load.percentile_ms(99) for load in bearer),
        "records_lost": sent - recorded,
    }
    targets = {
        "requests_a_second": Target(at_least=3_000),
        "p99_ms": Target(at_most=50),
        "records_lost": Target(at_most=0),
    }
    return report("verify", figures, targets, env | _method())


def _method() -> dict[str, str]:
    return {
        "service": f"`shuyao licence serve` with {WORKERS} verifying processes; it, they and the load generator share 2 cores; "
        f"{WITNESSES} witnesses run on any core, as machines of their own",
        "requests": f"{LICENCES:,} licences, each once a pass, {PASSES} passes after a first one",
        "connections": f"{CONNECTIONS} with keep-alive, one request in flight on each",
        "a request": f"SD-JWT with {len(SHOWN)} of 12 fields: parsed, issuer's signature, inclusion, status; its record synced "
        "before the answer; all answers VALID",
        "with_bearer": "the same with nonce, audience and the holder's signature",
        "cpu_us_a_request": "service, verifying processes and load generator; two cores have 2,000,000 a second",
        "records_lost": "answers without a record on the disk after the service has stopped",
    }


@dataclass(slots=True)
class Bench:
    """A city with licences, and where its parts are."""

    home: Home
    city: Path
    url: str
    verify_port: int
    credentials: list[str]
    holder: SigningKey


def prepared(folder: Path) -> Bench:
    """Make witnesses, a city and its licences; nothing runs yet but the witnesses."""
    home = Home(folder / "home")
    for path in (home.path, home.logs, home.passphrases, home.cache):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    registrar, issuer, holder = (SigningKey.generate("EdDSA", secrets.token_bytes(32)) for _ in range(3))
    addresses = {}
    for number in range(WITNESSES):
        port = processes.free_port()
        given = {"name": f"witness-{number}.example", "rpc_url": None, "host": HOST, "port": port}
        made = witness.create(folder / f"witness-{number}", given, key_options={"is_unattended": True})
        addresses[made.vkey] = f"http://{HOST}:{port}"
    port, verify_port, city = processes.free_port(), processes.free_port(), folder / "city"
    founding = city_folder.Founding(
        origin=ORIGIN,
        name="bench",
        registrar=registrar.public,
        witnesses=addresses,
        threshold=THRESHOLD,
        host=HOST,
        port=port,
        pace={"cosign_s": 0.5, "seal_s": 5.0},
    )
    settings = replace(city_folder.create(city, founding), verify_port=verify_port, verify_workers=WORKERS)
    city_folder.save(city, settings)
    for number in range(WITNESSES):
        log = {"vkey": settings.log_key, "origin": ORIGIN, "chain_id": None, "contract": None}
        witness.add_log(folder / f"witness-{number}", log)
    credentials = _issued(city, registrar, issuer, holder, folder / "rows.parquet")
    return Bench(home, city, f"http://{HOST}:{port}", verify_port, credentials, holder)


def _issued(
    city: Path, registrar: SigningKey, issuer: SigningKey, holder: SigningKey, rows: Path
) -> list[str]:
    """Backfill the licences, publish the issuer's history, and return the credentials."""
    log = keyring.open_key(keyring.key_path(city, city_folder.LOG_KEY))
    service = keyring.open_key(keyring.key_path(city, city_folder.SERVICE_KEY))
    print(f"benchmark: issuing {LICENCES:,} licences …", file=sys.stderr)
    registry.write(rows, LICENCES)
    with LicenceBook.open(city_folder.book_folder(city), NoteSigner.from_seed(ORIGIN, log.secret)) as book:
        admit(book, registrar, issuer)
        backfill(book, rows, issuer, holder, workers=2)
        publish(Publisher(book, service, rand=secrets.token_bytes), registrar)
        return [book.credential(1 + number) for number in range(LICENCES)]


@contextmanager
def running(bench: Bench, cores: set[int]) -> Iterator[None]:
    """Run witnesses and service for the block, the service on these cores."""
    allowed = os.sched_getaffinity(0)
    try:
        for number in range(WITNESSES):
            folder = bench.city.parent / f"witness-{number}"
            processes.spawn(bench.home, folder.name, processes.python_argv("witness", "run", str(folder)))
        os.sched_setaffinity(0, cores)  # a process starts with its starter's cores
        argv = processes.python_argv("licence", "serve", "--city", str(bench.city))
        service = processes.spawn(bench.home, SERVICE, argv, url=bench.url)
        os.sched_setaffinity(0, allowed)
        processes.wait_ready(bench.home, service, lambda: _answers(bench), timeout_s=READY_TIMEOUT_S)
        yield
    finally:
        os.sched_setaffinity(0, allowed)
        processes.stop_all(bench.home)


def _answers(bench: Bench) -> bool:
    """Say whether the verifying processes have what they need for a verdict; each gets some of the connections."""
    probes = post(HOST, bench.verify_port, PATH, [_request_body(bench.credentials[0])] * CONNECTIONS)
    try:
        send_all(HOST, bench.verify_port, probes, CONNECTIONS, _VALID)
    except (AssertionError, OSError):
        return False
    return True


def _request_body(text: str, nonce: str | None = None) -> bytes:
    challenge = {} if nonce is None else {"nonce": nonce, "audience": AUDIENCE}
    return json.dumps({"presentation": text, **challenge}).encode("ascii")


def _bearer_bodies(bench: Bench) -> list[bytes]:
    """Sign every licence's presentation for a challenge of its own; they must be used within a minute."""
    now_s, bodies = int(time.time()), []
    for text in bench.credentials:
        nonce = secrets.token_urlsafe(16)
        shown = sdjwt.present(text, SHOWN)
        bound = sdjwt.bind(shown, bench.holder, nonce=nonce, audience=AUDIENCE, now_s=now_s)
        bodies.append(_request_body(bound, nonce))
    return bodies


def _measured(bench: Bench, bodies: list[bytes], cores: set[int]) -> tuple[list[Load], float]:
    """Make the passes that count; returns them, and the CPU seconds of service and load generator."""
    before = processes.cpu_seconds(bench.home)[SERVICE]
    passes = [_pass(bench, bodies, cores) for _ in range(PASSES)]
    spent_s = processes.cpu_seconds(bench.home)[SERVICE] - before
    return [each.result for each in passes], spent_s + sum(each.cpu_s for each in passes)


def _sent(bench: Bench, bodies: list[bytes], cores: set[int]) -> Load:
    """Make one pass and return what it saw."""
    load: Load = _pass(bench, bodies, cores).result
    return load


def _pass(bench: Bench, bodies: list[bytes], cores: set[int]) -> Watched:
    """Send the bodies once each, from a process on the service's cores."""
    requests = post(HOST, bench.verify_port, PATH, bodies)
    return watched(send_all, (HOST, bench.verify_port, requests, CONNECTIONS, _VALID), cores=cores)


def _recorded(bench: Bench) -> int:
    """Return how many records of uses are on the disk."""
    files = AccessFiles(BookFolder(city_folder.book_folder(bench.city)).access)
    return sum(files.durable_count(name) for name in files.writers())
