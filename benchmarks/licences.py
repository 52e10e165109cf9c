"""A city of its own for a benchmark of the trust service: keys, a book, witnesses in this process, and what is published."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cli.home import state_root
from ledger.encoding import Address
from ledger.errors import LedgerError
from ledger.licences.attest import AnchorStatement, attest, attested_evidence
from ledger.licences.backfill import Backfill, Progress
from ledger.licences.book import LicenceBook
from ledger.licences.checks import Parties
from ledger.licences.events import Code, KeyEvent, Kind, LicenceEvent, make_event
from ledger.licences.identifiers import uscc_check
from ledger.licences.keys import SigningKey
from ledger.licences.leaf import Leaf
from ledger.licences.mapping import BackfillMapping
from ledger.licences.policy import AnchorPin, City, TrustPolicy
from ledger.licences.publish import Publisher
from ledger.licences.schema import LicenceType, demonstration_types
from ledger.licences.template import Template
from ledger.log.checkpoint import Checkpoint, Quorum
from ledger.log.notes import COSIGNATURE, NoteSigner
from ledger.log.witness import Witness
from ledger.log.witness_client import WitnessAddress, WitnessClient

ORIGIN = "bench.example/licences"
BUSINESS = "11100000MB0143028R001"
ISSUER = "11330200MB1500000" + uscc_check("11330200MB1500000")
WITNESSES, THRESHOLD = 4, 3
VERSION = "001"
SERIAL_SIZE = 12
PIN = AnchorPin(31_337, Address(bytes(range(1, 21))))
_SUBMITTED_AT_ONCE = 4_096


def business_licence() -> LicenceType:
    """Return the type that is issued: 营业执照, 12 salted fields."""
    return demonstration_types()[BUSINESS]


def new_template() -> tuple[SigningKey, Template]:
    """Return a department's key and the template of its licences."""
    keys = CityKeys.generate()
    template = Template.of(
        business_licence(),
        issuer=ISSUER,
        origin=ORIGIN,
        holder=keys.custodian.public,
        signer=keys.issuer.public,
    )
    return keys.issuer, template


@contextmanager
def bench_folder() -> Iterator[Path]:
    """Make a folder below SHUYAO_HOME for the block, on the disk that a service would use."""
    state_root().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=state_root()) as folder:
        yield Path(folder)


@dataclass(frozen=True, slots=True)
class CityKeys:
    """Everybody's keys: log, witnesses, registrar, service, a department, and the custodian of its licences."""

    log: NoteSigner
    witness_seeds: tuple[tuple[str, bytes], ...]
    registrar: SigningKey
    service: SigningKey
    issuer: SigningKey
    custodian: SigningKey

    @classmethod
    def generate(cls) -> Self:
        """Draw new ones, all Ed25519."""
        log = NoteSigner.from_seed(ORIGIN, secrets.token_bytes(32))
        seeds = tuple((f"witness-{i}.example", secrets.token_bytes(32)) for i in range(WITNESSES))
        return cls(log, seeds, *(SigningKey.generate("EdDSA", secrets.token_bytes(32)) for _ in range(4)))

    @property
    def witnesses(self) -> list[NoteSigner]:
        """The witnesses as cosigners."""
        return [NoteSigner.from_seed(name, seed, algorithm=COSIGNATURE) for name, seed in self.witness_seeds]

    def trust(self) -> City:
        """Return the city as its verifiers have it in their policies."""
        quorum = Quorum(tuple(signer.key for signer in self.witnesses), THRESHOLD)
        return City(
            ORIGIN, self.log.key, quorum, self.registrar.public, self.service.public, None, "bench", PIN
        )

    def policy(self) -> TrustPolicy:
        """Return the policy of a verifier that insists on an attested anchor."""
        return TrustPolicy((self.trust(),), anchor="attested")


class BenchCity:
    """A book with the keys to run it. The caller closes `book`.

    Args:
        folder: for the book and the witnesses' states; made if missing.
        keys: everybody's.
    """

    def __init__(self, folder: Path, keys: CityKeys) -> None:
        self.folder, self.keys, self.root = folder, keys, folder / "book"
        if not (self.root / "book.json").exists():
            parties = Parties(ORIGIN, keys.registrar.public, keys.service.public)
            LicenceBook.create(self.root, parties, keys.log, rand=secrets.token_bytes(64)).close()
        self.book = LicenceBook.open(self.root, keys.log)
        self.publisher = Publisher(self.book, keys.service, rand=secrets.token_bytes)

    def admit(self) -> None:
        """Have the registrar admit the department's key."""
        admit(self.book, self.keys.registrar, self.keys.issuer)

    def backfill(
        self, source: Path, *, workers: int, progress: Callable[[Progress], None] | None = None
    ) -> Progress:
        """Issue and log the rows of a file that `benchmarks.registry` wrote."""
        return backfill(self.book, source, self.keys.issuer, self.keys.custodian, workers, progress)

    def change(self, kind: Kind, code: Code, indexes: Sequence[int]) -> None:
        """Have the department change the licences that stand at these log indexes."""
        for first in range(0, len(indexes), _SUBMITTED_AT_ONCE):
            texts = [self._event(kind, code, index) for index in indexes[first : first + _SUBMITTED_AT_ONCE]]
            for answer in self.book.submit_all(texts, now_s=int(time.time())):
                if isinstance(answer, LedgerError):
                    raise answer

    def _event(self, kind: Kind, code: Code, index: int) -> str:
        entry = self.book.log.entry(index)
        leaf = Leaf.decode(entry)
        event = LicenceEvent(
            kind=kind,
            event_id=secrets.token_bytes(16),
            issued_at=int(time.time()),
            issuer=ISSUER,
            licence=leaf.hash,
            origin=ORIGIN,
            list=leaf.list,
            index=leaf.index,
            code=code,
            reason="",
        )
        return make_event(event, self.keys.issuer)

    def publish(self) -> Checkpoint:
        """Publish what is due and have the newest checkpoint cosigned by all witnesses."""
        now_s = publish(self.publisher, self.keys.registrar)
        return self.publisher.cosign(self._witness_client(now_s), self.keys.trust().quorum)

    def _witness_client(self, now_s: int) -> WitnessClient:
        logs = {ORIGIN: self.keys.log.key}
        signers = self.keys.witnesses
        witnesses = {
            signer.key.name: Witness(signer, logs, self.folder / signer.key.name) for signer in signers
        }

        def post(name: str, body: bytes) -> tuple[int, bytes]:
            answer = witnesses[name].add_checkpoint(body, now_s)
            return answer.status, answer.body

        addresses = [WitnessAddress(signer.key, signer.key.name) for signer in signers]
        return WitnessClient(self.book.log.reader, addresses, post=post)

    def anchor_evidence(self, checkpoint: Checkpoint) -> dict[str, object]:
        """Return what all witnesses would sign after seeing the checkpoint on a chain; there is no chain here."""
        statement = AnchorStatement(
            chain_id=PIN.chain_id,
            contract=PIN.contract,
            block=1,
            block_hash=secrets.token_bytes(32),
            size=checkpoint.size,
            root=checkpoint.root,
            status_root=self.publisher.status_root(checkpoint.size),
            time_s=int(time.time()),
        )
        signers = [NoteSigner.from_seed(name, seed) for name, seed in self.keys.witness_seeds]
        return attested_evidence(statement, [attest(statement, signer) for signer in signers])


def admit(book: LicenceBook, registrar: SigningKey, issuer: SigningKey) -> None:
    """Log the department's key."""
    event = KeyEvent(
        kind=Kind.KEY_ADD,
        event_id=secrets.token_bytes(16),
        issued_at=int(time.time()),
        origin=book.parties.origin,
        issuer=ISSUER,
        public=issuer.public,
        types=(BUSINESS,),
    )
    book.submit(make_event(event, registrar), now_s=int(time.time()))


def publish(publisher: Publisher, registrar: SigningKey) -> int:
    """Publish the statuses and the histories of keys that are due; returns the time they say, Unix seconds."""
    now_s = int(time.time())
    publisher.publish_statuses(now_s)
    publisher.publish_histories(registrar, now_s)
    return now_s


def backfill(
    book: LicenceBook,
    source: Path,
    issuer: SigningKey,
    custodian: SigningKey,
    workers: int,
    progress: Callable[[Progress], None] | None = None,
) -> Progress:
    """Issue and log the rows of a file that `benchmarks.registry` wrote."""
    kind = business_licence()
    mapping = BackfillMapping(
        type_code=kind.code,
        type_version=kind.version,
        issuer=ISSUER,
        serial="serial",
        licence_version=VERSION,
        first_day="first_day",
        last_day="last_day",
        fields=tuple((name, name) for name in sorted(kind.names)),
        holder=custodian.public,
    )
    job = Backfill(book, source, mapping=mapping, kind=kind, key=issuer)
    return job.run(now_s=int(time.time()), workers=workers, progress=progress)
