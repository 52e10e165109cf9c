"""Request keys at rest."""

import pytest

from client.errors import StoreError
from client.vault import Vault
from ledger.signing import Signer

OWNER = Signer(bytes(31) + b"\x07")
REQUEST = bytes(range(32))
KEY = bytes(range(32, 64))


def test_a_sealed_key_opens_for_its_owner_and_request() -> None:
    assert Vault(OWNER).open(Vault(OWNER).seal(KEY, REQUEST), REQUEST) == KEY


def test_a_sealed_key_does_not_show_the_key_and_never_repeats() -> None:
    sealed = Vault(OWNER).seal(KEY, REQUEST)
    assert KEY not in sealed
    assert sealed != Vault(OWNER).seal(KEY, REQUEST)


def test_another_account_cannot_open_it() -> None:
    sealed = Vault(OWNER).seal(KEY, REQUEST)
    with pytest.raises(StoreError, match="does not open"):
        Vault(Signer(bytes(31) + b"\x08")).open(sealed, REQUEST)


def test_it_does_not_open_for_another_request() -> None:
    sealed = Vault(OWNER).seal(KEY, REQUEST)
    with pytest.raises(StoreError, match="does not open"):
        Vault(OWNER).open(sealed, bytes(32))


@pytest.mark.parametrize("at", [0, 1, 12, 13, 30, 60])
def test_an_altered_byte_is_refused(at: int) -> None:
    sealed = bytearray(Vault(OWNER).seal(KEY, REQUEST))
    sealed[at] ^= 1
    with pytest.raises(StoreError):
        Vault(OWNER).open(bytes(sealed), REQUEST)


@pytest.mark.parametrize("length", [0, 1, 13, 60])
def test_a_truncated_key_is_refused(length: int) -> None:
    with pytest.raises(StoreError, match="unknown form"):
        Vault(OWNER).open(Vault(OWNER).seal(KEY, REQUEST)[:length], REQUEST)
