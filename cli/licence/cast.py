"""Who plays in the demonstration, and what its chapters share: presenting, asking, verifying offline."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cli.home import repository_root
from cli.licence.client import CityClient
from cli.licence.department import Department, IssuedLicence
from cli.licence.steps import Steps, require
from cli.licence.verify_command import verdict_json, verdict_of
from cli.licence.wallet import Wallet
from cli.licence.world import World
from ledger.licences.keys import SigningKey

AUDIENCE: Final = "https://bank.example"
PATIENCE_S: Final = 20.0
POLL_S: Final = 0.15


@dataclass(slots=True)
class Cast:
    """The parties of one demonstration, and the licences that its chapters hand on by name."""

    world: World
    steps: Steps
    holder: SigningKey
    licences: dict[str, IssuedLicence] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)  # times that later chapters come back to

    @property
    def wallet(self) -> Wallet:
        """The holder's wallet."""
        return Wallet(self.holder, now_s=self.world.now_s)

    def department(self, name: str) -> Department:
        """Return a department."""
        return self.world.departments[name]

    def client(self, short: str) -> CityClient:
        """Return the client of a city's service."""
        return self.world.cities[short].client

    def now(self) -> int:
        """Return the time in whole Unix seconds."""
        return int(self.world.now_s())

    # --- asking ----------------------------------------------------------------------------------------------

    def ask(self, short: str, credential: str, names: Iterable[str] | None = ()) -> dict[str, Any]:
        """Present a credential to a city's service over a fresh nonce, and return its verdict."""
        client = self.client(short)
        nonce = client.nonce()
        shown = self.wallet.present(credential, names, nonce=nonce, audience=AUDIENCE)
        return client.verify(shown, nonce=nonce, audience=AUDIENCE)

    def await_verdict(
        self, short: str, credential: str, wanted: str, *, reason: str | None = None
    ) -> dict[str, Any]:
        """Ask until the verdict is the wanted one: what was logged is published and cosigned a moment later.

        Raises:
            StepFailed: it is another one for too long.
        """

        def held() -> tuple[bool, dict[str, Any]]:
            found = self.ask(short, credential)
            return (found["verdict"], found["reason"]) == (wanted, reason), found

        found: dict[str, Any]
        ok, found = wait_for(held)
        actual = (found["verdict"], found["reason"])
        require(ok, f"verdict: expected {(wanted, reason)}, got {actual}, missing {found['missing']}")
        return found

    # --- offline ---------------------------------------------------------------------------------------------

    def bundle(self, short: str, credential: str, *, is_anchored: bool = False) -> dict[str, Any]:
        """Fetch a credential's bundle."""
        data = self.client(short).bundle(credential, is_anchored=is_anchored)
        value: dict[str, Any] = json.loads(data)
        return value

    def judge(
        self, bundle: dict[str, Any], policy: dict[str, Any], *, now_s: int | None = None
    ) -> dict[str, Any]:
        """Verify a bundle in this process, without asking anybody."""
        at = self.now() if now_s is None else now_s
        data = json.dumps(bundle, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        return verdict_json(
            verdict_of(data, json.dumps(policy).encode(), nonce=None, audience=None, now_s=at)
        )

    def verify_alone(
        self, bundle: dict[str, Any], policy: dict[str, Any], prefix: Sequence[str], *words: str
    ) -> tuple[int, dict[str, Any]]:
        """Run `shuyao licence verify` as a process of its own; returns its exit code and verdict.

        Args:
            bundle, policy: written to files first.
            prefix: command that runs it, such as one that takes the network away.
            words: more options.
        """
        folder = self.world.home.path / "verifier"
        folder.mkdir(exist_ok=True)
        files = {"bundle.json": bundle, "policy.json": policy}
        for name, value in files.items():
            text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
            (folder / name).write_text(text, encoding="utf8")
        command = [*prefix, sys.executable, "-m", "cli", "licence", "verify", "bundle.json"]
        done = subprocess.run(
            [*command, "--policy", "policy.json", "--json", *words],
            cwd=folder,
            env={"PYTHONPATH": str(repository_root()), "PATH": ""},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        verdict = json.loads(done.stdout) if done.stdout else {"verdict": done.stderr.strip()[-300:]}
        return done.returncode, verdict


def wait_for(held: Callable[[], tuple[bool, Any]], *, patience_s: float = PATIENCE_S) -> tuple[bool, Any]:
    """Look again and again until something holds or the time is up; returns whether it does, and what was seen last."""
    end = time.monotonic() + patience_s
    while True:
        ok, seen = held()
        if ok or time.monotonic() > end:
            return ok, seen
        time.sleep(POLL_S)


def namespace_prefix() -> list[str] | None:
    """Return the command that runs another in a network namespace with nothing in it, None where this machine cannot."""
    for words in (["unshare", "-rn"], ["unshare", "-n"]):
        try:
            done = subprocess.run([*words, "true"], capture_output=True, timeout=10, check=False)
        except OSError:
            return None
        if done.returncode == 0:
            path = _which(words[0])
            return [path, *words[1:]]
    return None


def _which(name: str) -> str:
    import shutil

    return shutil.which(name) or name


def short_hash(text: str) -> str:
    """Return the beginning of a long hex text."""
    return f"{text[:12]}…"
