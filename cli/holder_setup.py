"""The `config.json` of a holder that sets itself up alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli.connection import Connection
from cli.errors import CliError
from cli.home import write_json


def write_config(
    folder: Path, market: Connection, *, policy: Path, data: Path, name: str | None = None
) -> Path:
    """Write `config.json` for one table, or one deposit, after reading it as the node will.

    Args:
        folder: the holder's.
        market: where exchange and chain are, and which contracts count.
        policy: the policy of the data; it is not copied.
        data: a CSV or Parquet file, or the folder of an encrypted deposit; it is not copied.
        name: of the asset; that of the policy's listing if None.

    Returns:
        The file.

    Raises:
        CliError: the file is there already, or policy or data cannot be read.
        PolicyInvalid, SettingsInvalid: what comes out is no policy, or no configuration.
    """
    from holder.settings import CONFIG_NAME, settings_from_mapping
    from privacy.policy import Policy

    path = folder / CONFIG_NAME
    if path.exists():
        raise CliError(f"{path} exists and is not overwritten: change it by hand")
    try:
        read = Policy.from_yaml(policy.read_text(encoding="utf8"))
    except (OSError, UnicodeDecodeError) as err:
        raise CliError(f"{policy} cannot be read: {err}") from err
    asset = {
        "name": name or read.listing,
        "title": read.title,
        "source": {"kind": _kind(data), "path": str(data.absolute())},
        "policy": str(policy.absolute()),
        "key_space": read.listing,
    }
    made: dict[str, Any] = {**market.to_json(), "assets": [asset]}
    settings_from_mapping(made, folder)
    write_json(path, made)
    return path


def _kind(data: Path) -> str:
    if data.is_dir():
        return "deposit"
    if not data.is_file():
        raise CliError(f"{data} does not exist")
    kinds = {".csv": "csv", ".parquet": "parquet"}
    if data.suffix not in kinds:
        raise CliError(f"{data}: expected a .csv or .parquet file, or the folder of a deposit")
    return kinds[data.suffix]
