"""A market that asks for business licences, and the city whose licences count: a real log in a folder, a real book, and a clock.

Only the HTTP client between the two is played: `FolderCity` answers out of the book's own files, unless a test has it lie.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exchange.city import CityService
from exchange.errors import CityAway, LicenceRefused
from exchange.market import Market
from exchange.settings import AdmissionTerms
from exchange.types import AdmittedLicence
from ledger.licences import sdjwt
from ledger.licences.bundle import Bundle
from ledger.licences.encoding import b64u
from ledger.licences.jws import KEY_BINDING_TYP, sign_jws
from ledger.licences.keys import SigningKey
from ledger.licences.policy import TrustPolicy
from ledger.log.tiles import TileReader
from ledger.signing import Signer
from ledger.types import Address, to_hex
from tests.exchange.world import NOW, Signed, World
from tests.ledger.licences.books import Books, Held, make_books
from tests.ledger.licences.world import BUSINESS

ORIGIN = "http://market.example:8700"
MAX_AGE_S = 3600


class FolderCity:
    """A city's service over the folder of its book. `lies` replaces answers by the name of the question."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.is_away = False
        self.lies: dict[str, Callable[..., Any]] = {}
        self.asked: list[str] = []

    def _answer(self, name: str, honest: Callable[..., Any], *arguments: Any) -> Any:
        self.asked.append(name)
        if self.is_away:
            raise CityAway("ConnectError")
        return self.lies.get(name, honest)(*arguments)

    def checkpoint(self) -> str:
        return str(self._answer("checkpoint", lambda: self.books.book.log.cosigned()))

    def status_token(self, number: int, at_s: int | None = None) -> str:
        def honest(number: int, at_s: int | None) -> str:
            return self.books.publisher.token_at(number, self.books.now_s if at_s is None else at_s).jws.text

        return str(self._answer("status_token", honest, number, at_s))

    def history(self, issuer: str) -> str | None:
        def honest(issuer: str) -> str | None:
            row = self.books.book.store.history(issuer)
            return None if row is None else row.jws

        found: str | None = self._answer("history", honest, issuer)
        return found

    def bundle(self, credential: str, *, is_anchored: bool) -> bytes:
        def honest(credential: str, is_anchored: bool) -> bytes:
            return self.books.maker().bundle_of(credential, anchored=is_anchored).to_bytes()

        found: bytes = self._answer("bundle", honest, credential, is_anchored)
        return found

    def tiles(self) -> TileReader:
        found: TileReader = self._answer("tiles", lambda: self.books.book.log.reader)
        return found

    def close(self) -> None:
        self.asked.append("close")


class Licensed:
    """A market over a world's database and chain that admits by licences of one city; its clock is the city's."""

    def __init__(self, world: World, books: Books, folder: Path, **terms: Any) -> None:
        self.world, self.books, self._folder = world, books, folder
        self.service = FolderCity(books)
        self.nonces: set[str] = set()
        self.policy: TrustPolicy = terms.pop("policy", books.city.policy())
        self.city: CityService | None = terms.pop("city", self.service)
        self.terms = terms
        self.market = self.restart()

    def restart(self) -> Market:
        """Make the market anew over the same database, as after a restart."""
        file = self._folder / "policy.json"
        file.write_text(json.dumps(self.policy.to_json()), encoding="utf8")
        terms = AdmissionTerms(**{"policy": file, "types": (BUSINESS,), "roles": ("buyer",), **self.terms})
        self.market = self.world.market = Market(
            replace(self.world.settings, admission=terms, public_url=ORIGIN),
            engine=self.world.engine,
            chain=self.world.chain,
            signer=self.world.broker,
            now_s=lambda: self.books.now_s,
            city=self.city,
        )
        self.market.mirror.rebuild(self.world.chain.market_events())  # as `start` does, without its threads
        self.world.follow()
        return self.market

    def nonce(self) -> str:
        """Give out a nonce of the exchange."""
        nonce = f"nonce-{len(self.nonces)}-{self.books.counter}"
        self.nonces.add(nonce)
        return nonce

    def use(self, nonce: str) -> bool:
        """Use a nonce up."""
        known = nonce in self.nonces
        self.nonces.discard(nonce)
        return known

    def presentation(
        self, licence: Held, account: Address, *, key: SigningKey | None = None, **changes: Any
    ) -> str:
        """Return what a holder presents for an account: no field disclosed. A key of another holder forges the proof."""
        audience = f"{ORIGIN}/participants/{to_hex(account)}"
        given = {"nonce": self.nonce(), "audience": audience, "now_s": self.books.now_s, **changes}
        shown = sdjwt.present(licence.text, ())
        if key is None:
            return sdjwt.bind(shown, licence.holder, **given)
        digest = hashlib.sha256(shown.encode()).digest()
        payload = {
            "aud": given["audience"],
            "iat": given["now_s"],
            "nonce": given["nonce"],
            "sd_hash": b64u(digest),
        }
        return shown + sign_jws(KEY_BINDING_TYP, payload, key)

    def bundle(self, presentation: str, books: Books | None = None, **changes: Any) -> Bundle:
        """Return a presentation with the newest facts about its licence."""
        return (books or self.books).maker().bundle_of(presentation, **changes)

    def present(self, signer: Signer, shown: Bundle | str) -> AdmittedLicence:
        """Present a licence for an account."""
        admission = self.market.admission
        assert admission is not None
        return admission.present(signer.address, shown, use_nonce=self.use)

    def admit(self, signer: Signer, licence: Held) -> AdmittedLicence:
        """Present a licence with its facts in a bundle."""
        return self.present(signer, self.bundle(self.presentation(licence, signer.address)))

    def ask(self, buyer: Signer, k: int) -> Signed:
        """Open a request for the k-th question of a buyer."""
        return self.world.submit(buyer, f"SELECT COUNT(*) AS n{k} FROM power", nonce=k)

    def publish(self, after_s: int = 10) -> None:
        """Let time go on, and the city publish all that it has anew."""
        self.books.now_s += after_s
        self.books.publisher.publish_statuses(self.books.now_s, everything=True)
        self.books.publish()


def books_of(folder: Path, name: str = "haigang") -> Books:
    """Return a city's book whose department has a key, at the market's time."""
    books = make_books(folder, name, admitted=False)
    books.now_s = NOW
    books.admit()
    return books


def refused(work: Callable[[], Any], reason: str) -> None:
    """Require that admission refuses, for this reason."""
    with pytest.raises(LicenceRefused) as caught:
        work()
    assert caught.value.reason == reason
