"""What parties send each other: trustees of a key through a folder, holders through the exchange, a city and its witnesses."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

from cli.broker import problem
from cli.deposit import write_policy
from cli.errors import CliError
from cli.licence.client import CityClient, Speaker
from client.errors import ClientError
from client.market import Market
from exchange.city import HttpCity
from exchange.errors import ExchangeError
from holder.ceremony_folder import CEREMONY_NAME, CeremonyFolder, judge
from holder.errors import HolderError
from holder.exchange_client import ExchangeClient
from ledger.encoding import to_hex
from ledger.errors import LedgerError
from ledger.licences.keys import SigningKey
from ledger.log.checkpoint import Checkpoint, cosign, sign_checkpoint
from ledger.log.errors import LogError
from ledger.log.notes import SignedNote
from ledger.log.tiles import CachedTiles, encode_bundle, read_entry
from ledger.log.witness import Witness, witness_request
from ledger.log.witness_client import WitnessAddress, WitnessClient
from ledger.signing import Signer
from ledger.types import Digest
from privacy.deposit import Ceremony
from privacy.deposit.ceremony import ANNOUNCEMENT, COMPLAINTS, DEAL
from privacy.encoding import keccak, tagged_hash
from privacy.errors import PrivacyError
from privacy.join.kind import ROUNDS, JoinPlan
from privacy.join.parts import BODY_BYTES_MAX, parts_needed
from privacy.join.transport import read_place, round_sender, round_size
from privacy.messages import Kind, decode_frames, encode_frame, require_frame
from privacy.plan import Plan
from privacy.sealed_sum import open_bundles
from privacy.sealed_sum_broker import require_bundle, require_masked_input, require_unmask
from privacy.session import Session
from privacy.types import Address
from tests.fuzz.contract import Decoder
from tests.fuzz.families.plans import YAML_S
from tests.fuzz.families.texts import dumped
from tests.ledger.conftest import signer_for
from tests.ledger.log.logs import ORIGIN, SIGNER, witness_signer
from tests.privacy.deposit import deposit_world, plan_world
from tests.privacy.join_plan_world import JOIN, join_plan, terms_of
from tests.privacy.sum_world import World, member_of, session_of

T = TypeVar("T")

_BUYER = signer_for("buyer")
_KEY = "key.json"
_NOW_S = 1_800_000_000
_JUDGED = (HolderError, PrivacyError)


@cache
def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="shuyao-fuzz-parties-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


# --- ceremonies --------------------------------------------------------------------------------------------


@cache
def _signers() -> tuple[Signer, ...]:
    made = [signer_for(f"trustee {number}") for number in range(3)]
    return tuple(sorted(made, key=lambda signer: signer.address))


@cache
def _ceremony() -> Ceremony:
    return Ceremony(b"\x05" * 32, tuple(Address(signer.address) for signer in _signers()), 2)


@cache
def _folder() -> Path:
    """Return the folder of a ceremony in which everything was done as it should be."""
    rounds = deposit_world.Rounds.begin(_ceremony())
    rounds.complain()
    folder = CeremonyFolder(_scratch() / "ceremony")
    folder.start(_ceremony())
    sent = {ANNOUNCEMENT: rounds.announcements, DEAL: rounds.deals, COMPLAINTS: rounds.complaints}
    for kind, messages in sent.items():
        for index, message in messages.items():
            folder.put(kind, index, message, _signers()[index])
    assert judge(folder.path).key == rounds.finish().key
    return folder.path


def _read_ceremony(data: bytes) -> Ceremony:
    path = _scratch() / "started"
    path.mkdir(exist_ok=True)
    (path / CEREMONY_NAME).write_bytes(data)
    return CeremonyFolder(path).ceremony()


def _started(ceremony: Ceremony) -> bytes:
    folder = Path(tempfile.mkdtemp(dir=_scratch()))
    CeremonyFolder(folder).start(ceremony)
    data = (folder / CEREMONY_NAME).read_bytes()
    shutil.rmtree(folder)
    return data


def _message(kind: int, index: int = 1) -> Path:
    return _folder() / f"{kind}-{index:02}.message"


def _read_messages(data: bytes) -> dict[int, bytes]:
    """The file of one message, as anybody may have put it there."""
    path = _scratch() / "posted"
    path.mkdir(exist_ok=True)
    (path / _message(ANNOUNCEMENT).name).write_bytes(data)
    return CeremonyFolder(path).messages(_ceremony(), ANNOUNCEMENT)


def _judged(kind: int) -> Callable[[bytes], list[str]]:
    """Judge a ceremony in which one trustee signed any bytes."""

    def read(data: bytes) -> list[str]:
        path, honest = _message(kind), _sent(kind)
        digest = Digest(tagged_hash("deposit-message", keccak(data)))
        try:
            path.write_bytes(data + _signers()[1].sign(digest))
            return [str(fault) for fault in judge(_folder()).faults]
        finally:
            path.write_bytes(honest)

    return read


@cache
def _sent(kind: int) -> bytes:
    return _message(kind).read_bytes()


def _posted(kind: int) -> Callable[[], list[bytes]]:
    return lambda: [_sent(kind)[:-65]]


def _policy_with(data: bytes) -> bytes:
    """Put a joint key that a trustee handed over into a policy."""
    template, key, out = (_scratch() / name for name in ("template.yaml", _KEY, "policy.yaml"))
    if not template.exists():
        template.write_text(yaml.safe_dump(plan_world.policy_mapping(), allow_unicode=True), "utf-8")
    key.write_bytes(data)
    write_policy(template, key, out)
    return out.read_bytes()


# --- what holders send -------------------------------------------------------------------------------------


@cache
def _world() -> World:
    return World(3, cells=20)


def _bundle(data: bytes) -> None:
    """A peer's bundle, as the exchange takes it and as its recipient opens it."""
    world = _world()
    require_bundle(world.session, 1, data)
    open_bundles(world.secrets[0], world.session, 0, {1: data, 2: world.bundles[2]})


def _masked(data: bytes) -> None:
    require_masked_input(_world().session, 1, data, cells=20)


def _unmask(data: bytes) -> bytes:
    everybody = _world().everybody
    return require_unmask(_world().session, 1, data, sharers=everybody, survivors=everybody).payload()


def _framed(data: bytes) -> list[bytes]:
    frames = decode_frames(data)
    return [require_frame(frame, _world().session, kind=Kind.BUNDLE, sender=1) for frame in frames]


def _frames() -> Iterator[bytes]:
    yield encode_frame(Kind.BUNDLE, _world().session.id, 1, _world().bundles[1], bytes(65))


@cache
def _joining() -> tuple[Plan, JoinPlan, Session]:
    plan = join_plan(f"SELECT COUNT(*) {JOIN}")
    assets = sorted(plan.assets, key=lambda asset: asset.holder)
    members = [
        replace(member_of(_world().secrets[number], str(number)), holder=asset.holder, asset=asset.asset)
        for number, asset in enumerate(assets)
    ]
    return plan, terms_of(plan), session_of(members, request="join")


def _place(data: bytes) -> tuple[int, int]:
    return read_place(*_joining(), 0, data)


def _parts() -> Iterator[bytes]:
    """The first part of the round that the first side sends."""
    plan, terms, session = _joining()
    round_ = next(each for each in ROUNDS if round_sender(plan, terms, session, each) == 0)
    size = round_size(plan, terms, session, round_)
    head = bytes([round_]) + bytes(2) + parts_needed(size).to_bytes(2, "big")
    yield head + bytes(min(size, BODY_BYTES_MAX))


# --- what services answer ----------------------------------------------------------------------------------


def _transport(data: bytes, status: int = 200) -> httpx.MockTransport:
    return httpx.MockTransport(lambda _: httpx.Response(status, stream=httpx.ByteStream(data)))


def _submitted(data: bytes) -> Digest:
    with Market("http://exchange.example", _BUYER, transport=_transport(data, 201)) as market:
        return market.submit(plan_json=b"{}", request={}, signature=bytes(65), idempotency_key="k")


def _registered(data: bytes) -> dict[str, Any]:
    with ExchangeClient(
        "http://exchange.example", _BUYER, transport=_transport(data), pause=lambda _: None
    ) as client:
        return dict(client.post_asset({}))


def _city_tile(data: bytes) -> list[bytes]:
    """What a city answers that is asked for the tiles of an entry."""
    with httpx.Client(transport=_transport(data)) as http:
        city = HttpCity("http://city.example", http=http)
        city.checkpoint()
        return [read_entry(city.tiles(), 2, 3)]


def _entry_bundle() -> Iterator[bytes]:
    yield encode_bundle([b"entry 0", b"entry 1", b"entry 2"])


_SPEAKER = Speaker("11330200MB15", SigningKey.generate("EdDSA", bytes(32)))


def _of_city(ask: Callable[[CityClient], T], status: int = 200) -> Callable[[bytes], T]:
    """Let a department ask its city's service, which answers with any bytes."""

    def read(data: bytes) -> T:
        http = httpx.Client(transport=_transport(data, status), base_url="http://city.example")
        with CityClient("http://city.example", http=http, now_s=lambda: _NOW_S) as city:
            return ask(city)

    return read


def _origin(city: CityClient) -> str:
    return city.origin


def _told(data: bytes) -> str:
    return problem(httpx.Response(422, content=data))


# --- a log and its witnesses -------------------------------------------------------------------------------


@cache
def _note() -> str:
    return sign_checkpoint(Checkpoint(ORIGIN, 3, bytes(range(32))), SIGNER)


def _gathered(data: bytes) -> str:
    """status, 0 for 200 and others for 409 ‖ what a witness answers."""
    address = WitnessAddress(witness_signer(1).key, "http://witness.example")
    status = 409 if data[:1] > b"\0" else 200
    client = WitnessClient(CachedTiles(), [address], post=lambda _url, _body: (status, data[1:]))
    gathered = client.gather(_note())
    for _, failure in gathered.failures:
        raise failure
    return gathered.note


def _cosigned() -> Iterator[bytes]:
    line = cosign(SignedNote.parse(_note()).text, witness_signer(1), _NOW_S)
    yield b"\0" + line.to_line().encode() + b"\n"


def _sizes() -> Iterator[bytes]:
    yield b"\x01" + b"7\n"


@cache
def _witness() -> Witness:
    folder = _scratch() / "witness"
    folder.mkdir()
    return Witness(witness_signer(1), {ORIGIN: SIGNER.key}, folder)


def _asked(data: bytes) -> int:
    """What a witness is asked is answered, whatever it is."""
    return _witness().add_checkpoint(data, _NOW_S).status


def _requests() -> Iterator[bytes]:
    yield witness_request(0, [], _note())
    yield witness_request(3, [], _note())


FAMILIES = {
    "ceremonies": (
        Decoder(
            "CeremonyFolder.ceremony",
            _read_ceremony,
            (HolderError,),
            lambda: [_started(_ceremony())],
            _started,
        ),
        Decoder(
            "CeremonyFolder.messages",
            _read_messages,
            (HolderError,),
            lambda: [_sent(ANNOUNCEMENT)],
        ),
        Decoder("judge, an announcement", _judged(ANNOUNCEMENT), _JUDGED, _posted(ANNOUNCEMENT)),
        Decoder("judge, a deal", _judged(DEAL), _JUDGED, _posted(DEAL)),
        Decoder("judge, complaints", _judged(COMPLAINTS), _JUDGED, _posted(COMPLAINTS)),
        Decoder(
            "a joint key for a policy",
            _policy_with,
            (CliError,),
            lambda: [dumped(plan_world.key_member())],
            seconds_max=YAML_S,
        ),
    ),
    "relays": (
        Decoder("frames of a peer", _framed, (PrivacyError,), _frames),
        Decoder("open_bundles", _bundle, (PrivacyError,), lambda: [_world().bundles[1]]),
        Decoder(
            "require_masked_input",
            _masked,
            (PrivacyError,),
            lambda: [_world().masked(1, _world().everybody)],
        ),
        Decoder(
            "require_unmask",
            _unmask,
            (PrivacyError,),
            lambda: [_world().unmask(1, _world().everybody, _world().everybody)],
            bytes,
        ),
        Decoder("read_place of a join", _place, (PrivacyError,), _parts),
        Decoder(
            "Market.submit", _submitted, (ClientError,), lambda: [dumped({"request_id": to_hex(bytes(32))})]
        ),
        Decoder("ExchangeClient.post_asset", _registered, (HolderError,), lambda: [b"{}"]),
        Decoder("HttpCity.tiles", _city_tile, (ExchangeError, LedgerError), _entry_bundle),
        Decoder("CityClient.origin", _of_city(_origin), (CliError,), lambda: [b'{"origin":"a.example"}']),
        Decoder(
            "CityClient.anchors",
            _of_city(CityClient.anchors),
            (CliError,),
            lambda: [b'{"items":[{"size":"1"}]}'],
        ),
        Decoder(
            "CityClient.submit",
            _of_city(lambda city: city.submit("a.b.c")),
            (CliError,),
            lambda: [b'{"index":"7","leaf":"00ff"}'],
            refused=lambda: [b'{"error":{"type":"urn:a:b","detail":"c"}}'],
        ),
        Decoder(
            "CityClient.reserve",
            _of_city(lambda city: city.reserve(_SPEAKER, 1)),
            (CliError,),
            lambda: [b'{"origin":"a.example","slots":[[1,2]]}'],
        ),
        Decoder(
            "a problem of a city",
            _of_city(CityClient.anchors, 422),
            (CliError,),
            list,
            refused=lambda: [dumped({"type": "urn:a:b", "title": "数", "detail": "d"})],
        ),
        Decoder("a problem told", _told, (), lambda: [dumped({"title": "数", "detail": "d"})]),
        Decoder("a witness's answer", _gathered, (LogError,), _cosigned, refused=_sizes),
        Decoder("a witness asked", _asked, (), _requests),
    ),
}
