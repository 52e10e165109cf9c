"""The signed head that a replay goes up to, and whether log and witnesses signed it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ledger.licences.policy import City
from ledger.log.checkpoint import Checkpoint, verify_checkpoint, verify_log_checkpoint
from ledger.log.errors import CosignatureMissing, CosignatureReplayed, LogError
from ledger.log.notes import NOTE_SIZE_MAX, SignedNote
from ledger.replay.errors import LogUnreadable
from ledger.replay.findings import Difference, Rule


@dataclass(frozen=True, slots=True)
class Heads:
    """The newest checkpoint of a log, and the newest that a quorum cosigned, as published; neither is verified yet."""

    newest: SignedNote
    cosigned: SignedNote | None

    @property
    def checkpoint(self) -> Checkpoint:
        """The newest checkpoint's content."""
        return Checkpoint.parse(self.newest.text)

    @property
    def cosigned_checkpoint(self) -> Checkpoint | None:
        """The cosigned checkpoint's content."""
        return None if self.cosigned is None else Checkpoint.parse(self.cosigned.text)


def public_folder(folder: Path) -> Path:
    """Return where the published files are: the folder itself, or `public` in it.

    Raises:
        LogUnreadable: neither has a checkpoint.
    """
    for candidate in (folder / "public", folder):
        if (candidate / "checkpoint").is_file():
            return candidate
    raise LogUnreadable(folder.name or "the folder", "there is no checkpoint in it")


def read_heads(public: Path) -> Heads:
    """Read the published checkpoints.

    Raises:
        LogUnreadable: one cannot be read or parsed.
    """
    newest = _note(public / "checkpoint")
    cosigned = public / "checkpoint.cosigned"
    return Heads(newest, _note(cosigned) if cosigned.is_file() else None)


def check_heads(heads: Heads, city: City) -> Iterator[Difference]:
    """Check the signatures of log and witnesses.

    Args:
        heads: as published.
        city: the log's, from the verifier's policy.
    """
    size = heads.checkpoint.size
    try:
        verify_log_checkpoint(heads.newest, origin=city.origin, log_key=city.log_key)
    except LogError as err:
        yield Difference(Rule.CHECKPOINT_SIGNATURE, str(err), index=size)
    cosigned = heads.cosigned_checkpoint
    if heads.cosigned is None or cosigned is None:
        yield Difference(Rule.CHECKPOINT_QUORUM, "no checkpoint with a quorum of cosignatures", index=size)
        return
    try:
        verify_checkpoint(heads.cosigned, origin=city.origin, log_key=city.log_key, quorum=city.quorum)
    except (CosignatureMissing, CosignatureReplayed) as err:
        yield Difference(Rule.CHECKPOINT_QUORUM, str(err), index=cosigned.size)
    except LogError as err:
        yield Difference(Rule.CHECKPOINT_SIGNATURE, str(err), index=cosigned.size)


def check_rollback(heads: Heads) -> Iterator[Difference]:
    """Compare the newest checkpoint with the cosigned one, which needs no policy."""
    checkpoint, cosigned = heads.checkpoint, heads.cosigned_checkpoint
    if cosigned is not None and cosigned.size > checkpoint.size:
        detail = (
            f"the witnesses cosigned {cosigned.size} entries, the newest checkpoint has {checkpoint.size}"
        )
        yield Difference(Rule.CHECKPOINT_ROLLBACK, detail, index=checkpoint.size)


def _note(path: Path) -> SignedNote:
    try:
        with path.open("rb") as file:
            note = SignedNote.parse(file.read(NOTE_SIZE_MAX + 1))
        Checkpoint.parse(note.text)
    except OSError as err:
        raise LogUnreadable(path.name, err.strerror or "not readable") from err
    except LogError as err:
        raise LogUnreadable(path.name, str(err)) from err
    return note
