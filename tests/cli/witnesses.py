"""Four witnesses behind one port of this process, with real states and signatures."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ledger.licences.anchoring import attest_head
from ledger.licences.attest import AnchorStatement
from ledger.log.notes import COSIGNATURE, NoteKey, NoteSigner
from ledger.log.witness import Witness
from tests.ledger.conftest import Anvil
from tests.ledger.licences.world import seed_of


@dataclass
class Witnesses:
    """Four witnesses; the numbers in `dead` do not answer."""

    folder: Path
    anvil: Anvil
    dead: set[int] = field(default_factory=set)
    served: ThreadingHTTPServer | None = None
    witnesses: list[Witness] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.seeds = [(f"witness-{n}.example", seed_of("backfill", "witness", n)) for n in range(4)]
        self.signers = [NoteSigner.from_seed(*seed, algorithm=COSIGNATURE) for seed in self.seeds]

    def serve(self) -> dict[str, str]:
        """Begin to listen; return the addresses by vkey."""
        everybody = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                _, number, what = self.path.split("/")
                body = self.rfile.read(int(self.headers["content-length"]))
                status, answer = everybody.answer(int(number), what, body)
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.served.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{self.served.server_port}"
        return {signer.key.to_text(): f"{url}/{n}" for n, signer in enumerate(self.signers)}

    def stop(self) -> None:
        """Listen no more."""
        assert self.served is not None
        self.served.shutdown()
        self.served.server_close()

    def watch(self, *logs: NoteKey) -> None:
        """Witness logs, each by its key, whose name is its origin."""
        known = {log.name: log for log in logs}
        self.witnesses = [Witness(s, known, self.folder / f"w{n}") for n, s in enumerate(self.signers)]

    def answer(self, number: int, what: str, body: bytes) -> tuple[int, bytes]:
        """Answer as witness `number` does: cosign a checkpoint, or attest what it read on the chain."""
        if number in self.dead:
            return 503, b""
        if what == "add-checkpoint":
            answer = self.witnesses[number].add_checkpoint(body, int(time.time()))
            return answer.status, answer.body
        statement = AnchorStatement.parse(body.decode())
        line = attest_head(self.anvil.chain, statement, NoteSigner.from_seed(*self.seeds[number]))
        return 200, line.to_line().encode()
