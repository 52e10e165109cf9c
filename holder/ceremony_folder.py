"""A ceremony through files: a folder that all trustees read and write, each message signed by its sender's account.

The folder may be a shared disk, a repository, or files that are passed around by hand. Nothing in it is secret, and nothing in it
is believed but signatures; what somebody takes away or holds back delays the ceremony, and names itself.

    ceremony.json        label, threshold and trustees, as all agreed
    1-00.message …       announcements, deals (2-…) and complaints (3-…): the message, then the signature, 65 bytes
    key.json             the joint key beside its trustees' accounts, as it stands in a policy
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from holder.errors import CeremonyRefused, CeremonyWaits
from holder.files import read_limited, write_once
from holder.trustee import TrusteeKeys
from ledger.encoding import canonical_json, parse_canonical_json
from ledger.errors import BadSignature, MalformedValue
from ledger.signing import Signer, require_signature
from ledger.types import Address, Digest
from privacy.deposit import Ceremony, Outcome, announce, complain, deal, finish
from privacy.deposit.ceremony import ANNOUNCEMENT, COMPLAINTS, DEAL
from privacy.deposit.errors import DepositError
from privacy.deposit.terms import key_json
from privacy.encoding import ADDRESS_BYTES, WORD_BYTES, keccak, tagged_hash
from privacy.errors import PlanInvalid
from privacy.types import Address as Account
from privacy.types import from_decimal, from_hex, require_members, to_hex

CEREMONY_NAME: Final = "ceremony.json"
KEY_NAME: Final = "key.json"
SIGNATURE_BYTES: Final = 65
_SIZE_MAX: Final = 1 << 20
_ROUNDS: Final = {ANNOUNCEMENT: "announcement", DEAL: "deal", COMPLAINTS: "complaints"}


@dataclass(frozen=True, slots=True)
class Standing:
    """Which messages of a ceremony are there.

    Attributes:
        announced, dealt, answered: the indices of the trustees whose messages of that round are in the folder.
        is_done: whether the joint key is.
    """

    announced: tuple[int, ...]
    dealt: tuple[int, ...]
    answered: tuple[int, ...]
    is_done: bool


class CeremonyFolder:
    """The public side of one ceremony.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, ceremony: Ceremony) -> None:
        """Write what all agreed on; the same again does nothing.

        Raises:
            CeremonyRefused: the folder is of another ceremony.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        data = canonical_json(
            {
                "label": to_hex(ceremony.label),
                "threshold": str(ceremony.threshold),
                "trustees": [to_hex(account) for account in ceremony.trustees],
            }
        )
        if write_once(self.path / CEREMONY_NAME, data, _SIZE_MAX) != data:
            raise CeremonyRefused(f"{self.path.name}: another ceremony is in this folder")

    def ceremony(self) -> Ceremony:
        """Return what all agreed on.

        Raises:
            CeremonyRefused: there is none, or it is malformed.
        """
        try:
            data = parse_canonical_json(self._read(CEREMONY_NAME), size_max=_SIZE_MAX)
            given = require_members("ceremony", data, ("label", "threshold", "trustees"))
            listed = given["trustees"]
            if not isinstance(listed, list):
                raise CeremonyRefused(f"{CEREMONY_NAME}: trustees must be a list")
            return Ceremony(
                label=from_hex("label", given["label"], WORD_BYTES),
                trustees=tuple(Account(from_hex("trustee", each, ADDRESS_BYTES)) for each in listed),
                threshold=from_decimal("threshold", given["threshold"]),
            )
        except (MalformedValue, PlanInvalid, DepositError) as err:
            raise CeremonyRefused(f"{CEREMONY_NAME}: {err}") from err

    def messages(self, ceremony: Ceremony, kind: int) -> dict[int, bytes]:
        """Return the messages of one round that are there, by sender.

        Raises:
            CeremonyRefused: a file that its sender's account did not sign.
        """
        found = {}
        for index, account in enumerate(ceremony.trustees):
            path = self._message(kind, index)
            if not path.exists():
                continue
            data = read_limited(path, _SIZE_MAX)
            message, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
            try:
                require_signature(Address(account), _digest(message), signature)
            except BadSignature as err:
                raise CeremonyRefused(f"{path.name}: not signed by {to_hex(account)}: {err}") from err
            found[index] = message
        return found

    def put(self, kind: int, index: int, message: bytes, signer: Signer) -> None:
        """Write a signed message, once.

        Raises:
            CeremonyRefused: another message of this trustee is there already.
        """
        path = self._message(kind, index)
        written = write_once(path, message + signer.sign(_digest(message)), _SIZE_MAX)
        if written[:-SIGNATURE_BYTES] != message:
            raise CeremonyRefused(f"{path.name}: another message of this trustee is there already")

    def put_key(self, record: Mapping[str, Any]) -> None:
        """Write the joint key, once.

        Raises:
            CeremonyRefused: another key is there: trustees saw different messages.
        """
        data = canonical_json(dict(record))
        if write_once(self.path / KEY_NAME, data, _SIZE_MAX) != data:
            raise CeremonyRefused(f"{KEY_NAME}: another trustee came to another key")

    def standing(self, ceremony: Ceremony) -> Standing:
        """Return which messages are there."""
        announced, dealt, answered = (
            tuple(index for index in range(ceremony.size) if self._message(kind, index).exists())
            for kind in _ROUNDS
        )
        return Standing(announced, dealt, answered, (self.path / KEY_NAME).exists())

    def _message(self, kind: int, index: int) -> Path:
        return self.path / f"{kind}-{index:02}.message"

    def _read(self, name: str) -> bytes:
        path = self.path / name
        if not path.exists():
            raise CeremonyRefused(f"{self.path.name}: there is no {name}")
        return read_limited(path, _SIZE_MAX)


class CeremonyPart:
    """One trustee's part of a ceremony; every step may be repeated, and gives the same bytes again.

    Args:
        folder: the public side.
        keys: where this trustee's secrets are.
        signer: its account.
    """

    def __init__(self, folder: CeremonyFolder, keys: TrusteeKeys, signer: Signer) -> None:
        self._folder, self._keys, self._signer = folder, keys, signer
        self.ceremony = folder.ceremony()
        self.index = keys.index_in(self.ceremony)

    def announce(self) -> None:
        """Do the first round."""
        if not self._is_sent(ANNOUNCEMENT):
            message = announce(self._keys.begin(self.ceremony))
            self._folder.put(ANNOUNCEMENT, self.index, message, self._signer)

    def deal(self) -> None:
        """Do the second round.

        Raises:
            CeremonyWaits: not all have announced.
        """
        if not self._is_sent(DEAL):
            message = deal(self._keys.secret(self.ceremony), self._all(ANNOUNCEMENT))
            self._folder.put(DEAL, self.index, message, self._signer)

    def receive(self, *, now: bool = False) -> None:
        """Do the third round: check the shares that were dealt to this trustee, and say which are bad.

        Args:
            now: do not wait for deals that are missing; all trustees must then have the same ones.

        Raises:
            CeremonyWaits: not all have dealt.
        """
        if not self._is_sent(COMPLAINTS):
            announcements, deals = self._all(ANNOUNCEMENT), self._all(DEAL, now=now)
            message = complain(self._keys.secret(self.ceremony), announcements, deals)
            self._folder.put(COMPLAINTS, self.index, message, self._signer)

    def finish(self, *, now: bool = False) -> Outcome:
        """Judge all messages, store this trustee's share, and forget the seed.

        Args:
            now: do not wait for deals or complaints that are missing.

        Raises:
            CeremonyWaits: not all have answered.
            CeremonyRefused: another trustee came to another key.
            DepositError: no key can be made of these messages; it names who is at fault.
        """
        announcements, deals = self._all(ANNOUNCEMENT), self._all(DEAL, now=now)
        complaints = self._all(COMPLAINTS, now=now)
        outcome = finish(self.ceremony, announcements, deals, complaints)
        if not self._keys.has(outcome.key):
            secret = self._keys.secret(self.ceremony)
            made = finish(self.ceremony, announcements, deals, complaints, secret=secret)
            if made.share is not None:
                self._keys.put(self.ceremony, made.key, made.share)
        self._folder.put_key(key_json(outcome.key, self.ceremony.trustees))
        return outcome

    def _is_sent(self, kind: int) -> bool:
        return self.index in self._folder.messages(self.ceremony, kind)

    def _all(self, kind: int, *, now: bool = False) -> dict[int, bytes]:
        found = self._folder.messages(self.ceremony, kind)
        missing = [index for index in range(self.ceremony.size) if index not in found]
        if missing and not now:
            named = ", ".join(to_hex(self.ceremony.trustees[index]) for index in missing)
            raise CeremonyWaits(f"no {_ROUNDS[kind]} yet of {named}")
        return found


def judge(path: Path) -> Outcome:
    """Judge the messages in a ceremony's folder, as a stranger would.

    Raises:
        CeremonyRefused: a file in it has something that it may not have.
        DepositError: no key can be made of these messages.
    """
    folder = CeremonyFolder(path)
    ceremony = folder.ceremony()
    announcements, deals, complaints = (folder.messages(ceremony, kind) for kind in _ROUNDS)
    return finish(ceremony, announcements, deals, complaints)


def _digest(message: bytes) -> Digest:
    """Return what a trustee signs, H("deposit-message"; keccak(message))."""
    return Digest(tagged_hash("deposit-message", keccak(message)))
