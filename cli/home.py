"""Where the state of one market lives on this machine: `SHUYAO_HOME` and the instances in it.

An instance (a demo, or the market of `shuyao up`) is one folder with its own chain, keys and databases. `current` is a link to the
one that was started last; commands use it unless `--home` names another.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cli.errors import CliError
from ledger import files

_RESERVED: Final = ("cache", "current")  # what else is in `SHUYAO_HOME`
_NAME_BYTES_MAX: Final = 100
OWN_NAME: Final = "market"  # the instance of `shuyao up`, and of whoever makes keys where there is none


def repository_root() -> Path:
    """Return the folder that holds the packages, the contracts and the examples."""
    return Path(os.environ.get("SHUYAO_ROOT") or Path(__file__).resolve().parent.parent)


def state_root() -> Path:
    """Return the folder of all instances: `SHUYAO_HOME`, else `.shuyao` beside the packages."""
    return Path(os.environ.get("SHUYAO_HOME") or repository_root() / ".shuyao").expanduser().absolute()


@dataclass(frozen=True, slots=True)
class Home:
    """The folders and files of one instance."""

    path: Path

    @classmethod
    def create(cls, name: str, *, is_current: bool = True) -> Home:
        """Make the folder of a new or existing instance, readable by its owner only.

        Args:
            name: of the instance, and of its folder.
            is_current: point `current` at it.

        Raises:
            CliError: a name of a folder elsewhere, or of something else in `SHUYAO_HOME`.
        """
        home = cls(state_root() / _require_name(name))
        for folder in (home.path, home.logs, home.passphrases, home.cache):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if is_current:
            home.make_current()
        return home

    @classmethod
    def find(cls, given: Path | None = None) -> Home:
        """Return the instance that a command is about: `given`, else the current one.

        Raises:
            CliError: nothing was ever started here.
        """
        path = given.absolute() if given else state_root() / "current"
        if not path.is_dir():
            raise CliError(f"no market in {path}: start one with `shuyao up` or `shuyao demo --keep`")
        return cls(path.resolve())

    @classmethod
    def make(cls, given: Path | None = None) -> Home:
        """Return the instance that a party sets itself up in: `given`, else the current one; made if it is not there.

        What exists already is left as it is, and `current` points where it did.
        """
        if given is None:
            return cls.find() if (state_root() / "current").is_dir() else cls.create(OWN_NAME)
        home = cls(given.absolute())
        for folder in (home.path, home.logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return cls(home.path.resolve())

    def make_current(self) -> None:
        """Point the link `current` at this instance."""
        link = state_root() / "current"
        scratch = link.with_name(f"current.{secrets.token_hex(4)}")
        scratch.symlink_to(self.path.name)
        scratch.replace(link)

    @property
    def logs(self) -> Path:
        """Folder of the processes' logs."""
        return self.path / "logs"

    @property
    def passphrases(self) -> Path:
        """Folder of passphrases that an unattended start made by itself."""
        return self.path / "passphrases"

    @property
    def cache(self) -> Path:
        """Folder of what can be computed again (commitment generators), shared by all instances."""
        return self.path.parent / "cache"

    @property
    def chain(self) -> Path:
        """Folder of the development chain's state and its rotating copies."""
        return self.path / "chain"

    @property
    def exchange(self) -> Path:
        """Folder of the exchange."""
        return self.path / "exchange"

    @property
    def buyer(self) -> Path:
        """Folder of the buyer: keystore, requests, receipts."""
        return self.path / "buyer"

    @property
    def deployment(self) -> Path:
        """File with the contracts' addresses."""
        return self.path / "deployment.json"

    @property
    def processes(self) -> Path:
        """File with the running processes."""
        return self.path / "processes.json"

    def holder(self, number: int) -> Path:
        """Folder of holder `number`, from 1."""
        return self.path / "holders" / str(number)

    def holders(self) -> list[Path]:
        """Return the folders of all holders, in order."""
        folder = self.path / "holders"
        return (
            sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: int(p.name))
            if folder.is_dir()
            else []
        )


def _require_name(name: str) -> str:
    is_plain = name.isprintable() and name == name.strip() and not set(name) & set("/\\")
    if not is_plain or not 0 < len(name.encode()) <= _NAME_BYTES_MAX:
        raise CliError(
            f"name of an instance {name!r}: expected 1 to {_NAME_BYTES_MAX} bytes without slashes and blanks at the ends"
        )
    if name.startswith(".") or name in _RESERVED:
        raise CliError(f"name of an instance {name!r}: not .…, {' or '.join(_RESERVED)}")
    return name


def instances() -> list[Home]:
    """Return every instance below `SHUYAO_HOME`."""
    root = state_root()
    if not root.is_dir():
        return []
    return [
        Home(p) for p in sorted(root.iterdir()) if p.is_dir() and not p.is_symlink() and (p / "logs").is_dir()
    ]


def write_json(path: Path, value: Any, *, mode: int = 0o600) -> None:
    """Write `value` as JSON so that a reader, or a crash, sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, json.dumps(value, ensure_ascii=False, indent=2).encode(), mode=mode)


def read_json(path: Path) -> Any:
    """Read a JSON file of ours.

    Raises:
        CliError: absent or not JSON, with the path.
    """
    try:
        return json.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError as err:
        raise CliError(f"{path} does not exist") from err
    except ValueError as err:
        raise CliError(f"{path} is not JSON: {err}") from err
