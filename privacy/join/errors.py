"""The error tree of the private join. No message holds a key, an identifier, a value or a secret."""

from __future__ import annotations

from privacy.errors import PrivacyError


class JoinError(PrivacyError):
    """Anything that this package raises."""


# --- keys of records -------------------------------------------------------------------------------------


class KeyMalformed(JoinError):
    """An identifier that its rule refuses: such a record matches nothing. The identifier is never shown."""


class KeyEmpty(KeyMalformed):
    """Nothing is left after normalisation."""


class KeyTooLong(KeyMalformed):
    """More characters than any identifier has."""


class KeyLengthWrong(KeyMalformed):
    """Another number of characters than the standard has."""


class KeyCharacterWrong(KeyMalformed):
    """A character that the rule does not allow at its place."""


class KeyRegionUnknown(KeyMalformed):
    """A number of a province that does not exist."""


class KeyDateWrong(KeyMalformed):
    """A date of birth that does not exist."""


class KeyCenturyUnknown(KeyMalformed):
    """A number of 15 digits that the standard keeps for people of a hundred years: its century is not known."""


class KeyCheckWrong(KeyMalformed):
    """A check character that does not follow from the others."""


class RulesMismatch(JoinError):
    """Another number of rules than of parts of a key, or none."""


# --- terms and inputs ------------------------------------------------------------------------------------


class TermsInvalid(JoinError):
    """Public sizes of a join that are out of range, or whose sums do not fit the shares."""


class InputRefused(JoinError):
    """A side's own rows or numbers that do not fit the terms."""


class ListTooLong(InputRefused):
    """More rows or keys than the public length of the list."""

    def __init__(self, what: str, *, most: int, actual: int) -> None:
        self.most, self.actual = most, actual
        super().__init__(f"{what}: expected at most {most}, got {actual}")


class MultiplicityExceeded(InputRefused):
    """A key with more rows than its side may have."""

    def __init__(self, *, most: int) -> None:
        self.most = most
        super().__init__(f"expected at most {most} rows of one key")


class ValueOutOfRange(InputRefused):
    """A value, cell or number of dummies outside its bound."""


# --- messages --------------------------------------------------------------------------------------------


class MessageRefused(JoinError):
    """Parts or contents of a message that are not what the terms fix."""


class TermsMismatch(MessageRefused):
    """A message of another join, version or session."""


class PartMalformed(MessageRefused):
    """A part without its head, or with more or fewer bytes than its place has."""


class RoundWrong(MessageRefused):
    """A part of another round."""


class PartOutOfOrder(MessageRefused):
    """A part that is not the next one, or that counts the parts differently."""


class PartsMissing(MessageRefused):
    """The parts end before the message does."""


class PartsTrailing(MessageRefused):
    """Parts after the message's end."""


class BlindedInvalid(MessageRefused):
    """A blinded key that is no element of the group, or is the identity."""


class PublicKeyRefused(MessageRefused):
    """A Paillier key that is malformed or of another size than a join has."""


class CiphertextRefused(MessageRefused):
    """A number that is no ciphertext, or whose plaintext is not one of masked sums."""


class MatchAmbiguous(MessageRefused):
    """A blinded key that is there twice: no honest party sends one."""


# --- what is stored --------------------------------------------------------------------------------------


class StateCorrupt(JoinError):
    """Stored state that cannot be read back."""
