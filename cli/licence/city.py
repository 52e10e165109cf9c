"""The folder of a city's licence service: `city.json`, keys of log and service, the book, and the operator's account on the chain.

The registrar's key is not in it: who runs the service can neither admit an issuer nor speak for one.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.errors import CliError
from cli.home import read_json, write_json
from cli.licence import keyring
from ledger.errors import LedgerError

if TYPE_CHECKING:
    from api.licences.settings import CitySettings
    from ledger.licences.keys import PublicKey
    from ledger.signing import Signer

LOG_KEY = "log"
SERVICE_KEY = "service"


@dataclass(frozen=True, slots=True)
class Founding:
    """What a new city is made with.

    Args:
        origin: the log's name for ever.
        name: the city's, for people.
        registrar: its public key.
        witnesses: addresses by vkey.
        threshold: how many of them are a quorum.
        anchor: (address of the chain's node, chain id, contract), or None.
        host, port: where the service listens.
        verify_port, verify_workers: where processes of their own verify as well, and how many.
        is_unattended: make passphrases and keep them in the folder.
        passphrase_file: holds the passphrase of both keys, where it is not unattended.
        pace: how often the duties run, in seconds by name; defaults for those not named.
    """

    origin: str
    name: str
    registrar: PublicKey
    witnesses: Mapping[str, str] = field(default_factory=dict)
    threshold: int = 3
    anchor: tuple[str, int, str] | None = None
    host: str = "127.0.0.1"
    port: int = 8800
    verify_port: int = 0
    verify_workers: int = 0
    is_unattended: bool = True
    passphrase_file: Path | None = None
    pace: Mapping[str, float] = field(default_factory=dict)


def settings_path(folder: Path) -> Path:
    """Return where a city's settings are."""
    return folder / "city.json"


def book_folder(folder: Path) -> Path:
    """Return where a city's book is."""
    return folder / "book"


def checkpoint_path(folder: Path) -> Path:
    """Return where a city's newest checkpoint is."""
    from ledger.licences.layout import BookFolder
    from ledger.log.layout import Layout

    return Layout(BookFolder(book_folder(folder)).log).checkpoint


def create(folder: Path, founding: Founding) -> CitySettings:
    """Make a city: keys, an empty book with its log, settings.

    Raises:
        CliError: there is one already, or something given is outside its type.
    """
    from api.licences.settings import AnchorAddress, CitySettings, Pace, WitnessAddress
    from ledger.licences.book import LicenceBook
    from ledger.licences.checks import Parties
    from ledger.log.notes import NoteSigner

    if settings_path(folder).exists():
        raise CliError(f"there is a city in {folder} already")

    paths = [keyring.key_path(folder, name) for name in (LOG_KEY, SERVICE_KEY)]
    opening = [
        keyring.new_passphrase(path, founding.passphrase_file, is_unattended=founding.is_unattended)
        for path in paths
    ]  # one after the other: a terminal is asked one question at a time
    with ThreadPoolExecutor(2) as pool:  # each takes a third of a second of scrypt
        log, service = pool.map(keyring.make_key_under, paths, opening)
    try:
        signer = NoteSigner.from_seed(founding.origin, log.secret)
        parties = Parties(founding.origin, founding.registrar, service.public)
        LicenceBook.create(book_folder(folder), parties, signer, rand=secrets.token_bytes(64)).close()
        settings = CitySettings(
            origin=founding.origin,
            name=founding.name,
            log_key=signer.key.to_text(),
            registrar=founding.registrar.jwk(),
            service=service.public.jwk(),
            witnesses=tuple(WitnessAddress(key, url) for key, url in founding.witnesses.items()),
            threshold=founding.threshold,
            anchor=None if founding.anchor is None else AnchorAddress(*founding.anchor),
            host=founding.host,
            port=founding.port,
            verify_port=founding.verify_port,
            verify_workers=founding.verify_workers,
            pace=Pace(**founding.pace),
        )
    except LedgerError as err:
        raise CliError(f"city in {folder}: {err}") from err
    write_json(settings_path(folder), settings.to_json())
    return settings


def load(folder: Path) -> CitySettings:
    """Read a city's settings.

    Raises:
        CliError: none there, or not of this version.
    """
    from api.licences.settings import CitySettings

    try:
        return CitySettings.from_json(read_json(settings_path(folder)))
    except LedgerError as err:
        raise CliError(f"{settings_path(folder)}: {err}") from err


def save(folder: Path, settings: CitySettings) -> None:
    """Write a city's settings."""
    write_json(settings_path(folder), settings.to_json())


def policy_json(cities: list[Any], **ages: Any) -> dict[str, Any]:
    """Return a verifier's policy over cities, with the defaults of docs/licence.md §9."""
    defaults = {"skew_s": 60, "status_age_s": 86_400, "issuer_age_s": 604_800, "kb_age_s": 60}
    return {"version": 1, "cities": cities, **defaults, "anchor": "none", **ages}


def operator(folder: Path, settings: CitySettings) -> Signer | None:
    """Return the operator's account on the chain, None where the log is on no chain.

    Raises:
        CliError: there is no keystore, or its passphrase does not open it.
    """
    from cli import accounts
    from cli.home import Home

    return None if settings.anchor is None else accounts.open_existing(Home(folder), "operator").signer
