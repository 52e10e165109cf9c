"""Options that commands of several groups share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="The instance; the current one if not given.")
]
NewHomeOption = Annotated[
    Path | None, typer.Option("--home", help="The instance, made if it is not there; else the current one.")
]
NumberOption = Annotated[int, typer.Option("--number", help="Which holder of the instance.", min=1)]
PassphraseOption = Annotated[Path | None, typer.Option("--passphrase-file", help="File with the passphrase.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
