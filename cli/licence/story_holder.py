"""Chapters of the demonstration: what a holder sees of its licences' uses, and erasure."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from cli.licence import city as city_folder
from cli.licence.cast import AUDIENCE, Cast
from cli.licence.client import ServiceRefused
from cli.licence.department import ref_of
from cli.licence.steps import require, require_equal
from cli.licence.wallet import Wallet, uses_audience
from cli.licence.world import BUSINESS, RESIDENCE
from ledger.licences.keys import SigningKey
from ledger.licences.sdjwt import parse


def live(cast: Cast) -> None:
    """Play the chapters in order."""
    run = cast.steps.run
    cast.steps.heading("the holder's side")
    run("the holder lists every use of a licence, each provable", lambda: list_uses(cast))
    run("nobody else can list them", lambda: strangers_uses(cast))
    run("erased on the holder's word: the credential cannot be produced again", lambda: erase(cast))


def list_uses(cast: Cast) -> str:
    """List the uses and check each record against the licence's leaf and the log."""
    credential = cast.licences[BUSINESS].credential
    uses = cast.wallet.uses(cast.client("dg"), credential)
    leaf_hash, bank = ref_of(credential).leaf_hash, hashlib.sha256(AUDIENCE.encode()).hexdigest()
    require(len(uses) >= 3, f"expected three uses at least, got {len(uses)}")
    for use in uses:
        subject = hmac.digest(bytes.fromhex(use["salt"]), leaf_hash, "sha256")
        require(use["record"][2:66] == subject.hex(), "a record is of another licence")
        require(use["batch"] is not None, "a record is in no batch")
    require(any(use["verifier"] == bank for use in uses), "the bank's use is not among them")
    verdicts = sorted({use["verdict"] for use in uses})
    return f"{len(uses)} uses, verdicts {', '.join(verdicts)}, all in logged batches"


def strangers_uses(cast: Cast) -> str:
    """Ask for the uses with another key, and without a nonce of the service."""
    client, credential = cast.client("dg"), cast.licences[BUSINESS].credential
    audience = uses_audience(client.origin)
    shown = cast.wallet.present(credential, (), nonce=secrets.token_hex(16), audience=audience)
    try:
        client.uses(shown)
    except ServiceRefused as err:
        require_equal(err.kind, "nonce-unknown", "problem")
    else:
        require(False, "a nonce of nobody was taken")
    thief = Wallet(SigningKey.generate("ES256", secrets.token_bytes(32)), now_s=cast.world.now_s)
    stolen = shown.rpartition("~")[0] + "~"
    forged = stolen + _key_binding(thief, stolen, client.nonce(), audience, cast.now())
    try:
        client.uses(forged)
    except ServiceRefused as err:
        return f"{err.kind}"
    require(False, "a thief's key was taken")
    return ""


def _key_binding(thief: Wallet, shown: str, nonce: str, audience: str, now_s: int) -> str:
    from ledger.licences.encoding import b64u
    from ledger.licences.jws import KEY_BINDING_TYP, sign_jws

    digest = b64u(hashlib.sha256(shown.encode()).digest())
    payload = {"aud": audience, "iat": now_s, "nonce": nonce, "sd_hash": digest}
    return sign_jws(KEY_BINDING_TYP, payload, thief.key)


def erase(cast: Cast) -> str:
    """Destroy a residence permit's credential, and see that the log is what it was."""
    made, department = cast.licences[RESIDENCE], cast.department("dg-affairs")
    identifier = parse(made.credential).claims.identifier.text
    require_equal(len(department.client.find(department.speaker, identifier)["items"]), 1, "found before")
    entry = _published_entry(cast, made.receipt.index)
    found = cast.wallet.erase(cast.client("dg"), made.credential)
    require_equal(department.client.find(department.speaker, identifier)["items"], [], "found after")
    require_equal(_published_entry(cast, made.receipt.index), entry, "the entry in the log")
    uses = cast.wallet.uses(cast.client("dg"), made.credential)
    require_equal(uses, [], "uses after")
    require_equal(cast.ask("dg", made.credential)["verdict"], "VALID", "of the holder's own copy")
    return f"{found['uses']} uses' salts destroyed with it; the leaf and the holder's own copy stay"


def _published_entry(cast: Cast, index: int) -> bytes:
    from ledger.log.tiles import TILE_WIDTH, DirectoryTiles, decode_bundle

    folder = city_folder.book_folder(cast.world.cities["dg"].folder)
    n, offset = divmod(index, TILE_WIDTH)
    bundle = DirectoryTiles(folder / "log" / "public").bundle(n, offset + 1)
    return decode_bundle(bundle, offset + 1)[offset]
