"""Chapters of the demonstration: the life of licences, from issue to revocation."""

from __future__ import annotations

from pathlib import Path

from cli.licence.cast import AUDIENCE, Cast, short_hash, wait_for
from cli.licence.client import ServiceRefused
from cli.licence.department import ref_of
from cli.licence.steps import require, require_equal
from cli.licence.wallet import fields_of
from cli.licence.world import BUSINESS, DAY_S, ESTATE, FOOD, KIND_NAMES, RESIDENCE, TRANSPORT

YEAR_S = 365 * DAY_S
OWNERS = {
    BUSINESS: "dg-market",
    FOOD: "dg-market",
    ESTATE: "dg-affairs",
    RESIDENCE: "dg-affairs",
    TRANSPORT: "dg-affairs",
}


def live(cast: Cast) -> None:
    """Play the chapters in order."""
    run = cast.steps.run
    cast.steps.heading("issuing and showing")
    run("departments issue licences of five kinds", lambda: issue(cast))
    run("the holder presents one, verified online: VALID", lambda: present_online(cast))
    run("only two fields are disclosed", lambda: disclose_two(cast))
    run("a presentation for one verifier is useless to another", lambda: replay_presentation(cast))
    run("written as a QR code and scanned back", lambda: through_qr(cast))
    run("an identifier with a look-alike character is refused with its position", lambda: look_alike(cast))
    cast.steps.heading("what happens to licences")
    run("suspended: INVALID", lambda: suspend(cast))
    run("resumed: VALID", lambda: resume(cast))
    run("superseded: the former INVALID, the new one VALID", lambda: supersede(cast))
    run("transferred to the other city: INVALID here, VALID there", lambda: transfer(cast))
    run("revoked with a reason: INVALID, for good", lambda: revoke(cast))
    run("expired by its date alone: INVALID", lambda: expire(cast))
    run("a department cannot sign for another one's types", lambda: foreign_type(cast))
    run("the same event twice is one entry; the same id with other bytes is refused", lambda: repeat(cast))


def issue(cast: Cast) -> str:
    """Issue one licence of each kind."""
    for kind, office in OWNERS.items():
        department = cast.department(office)
        order = cast.world.order(kind, cast.holder, expires_at=cast.now() + 5 * YEAR_S)
        cast.licences[kind] = department.issue(order)
    indexes = [f"{KIND_NAMES[kind]} {cast.licences[kind].receipt.index}" for kind in OWNERS]
    return "log indexes: " + ", ".join(indexes)


def present_online(cast: Cast) -> str:
    """Present every licence to the city's service."""
    for kind in OWNERS:
        found = cast.await_verdict("dg", cast.licences[kind].credential, "VALID")
    return "facts: " + ", ".join(sorted(found["facts"]))


def disclose_two(cast: Cast) -> str:
    """Show two fields of a licence and nothing else."""
    credential, names = cast.licences[BUSINESS].credential, ["entity_name", "legal_representative"]
    client = cast.client("dg")
    nonce = client.nonce()
    shown = cast.wallet.present(credential, names, nonce=nonce, audience=AUDIENCE)
    found = client.verify(shown, nonce=nonce, audience=AUDIENCE)
    require_equal(found["verdict"], "VALID", "verdict")
    require_equal(sorted(fields_of(shown)), sorted(names), "disclosed fields")
    hidden = set(fields_of(credential)) - set(names)
    return f"{len(names)} shown, {len(hidden)} withheld"


def replay_presentation(cast: Cast) -> str:
    """Hand a presentation that one verifier got to another one."""
    client = cast.client("dg")
    nonce = client.nonce()
    shown = cast.wallet.present(cast.licences[BUSINESS].credential, (), nonce=nonce, audience=AUDIENCE)
    seen = []
    for given, audience in ((nonce, "https://shop.example"), (client.nonce(), AUDIENCE)):
        found = client.verify(shown, nonce=given, audience=audience)
        require_equal(found["verdict"], "INVALID", "verdict")
        seen.append(found["reason"])
    require_equal(seen, ["AudienceMismatch", "NonceMismatch"], "reasons")
    return ", ".join(seen)


def through_qr(cast: Cast) -> str:
    """Write a presentation as a picture and read it again."""
    from ledger.licences import qr

    client = cast.client("dg")
    nonce = client.nonce()
    shown = cast.wallet.present(
        cast.licences[BUSINESS].credential, ["entity_name"], nonce=nonce, audience=AUDIENCE
    )
    picture: Path = cast.world.home.path / "presentation.png"
    picture.write_bytes(qr.png(shown))
    scanned = qr.read(picture)
    require(scanned == shown, "the scanned presentation is another one")
    require_equal(client.verify(scanned, nonce=nonce, audience=AUDIENCE)["verdict"], "VALID", "verdict")
    return f"{len(shown)} characters, {picture.stat().st_size} bytes of PNG"


def look_alike(cast: Cast) -> str:
    """Ask for a licence by an identifier with a full-width digit."""
    from ledger.licences.errors import IdentifierInvalid
    from ledger.licences.identifiers import Identifier
    from ledger.licences.sdjwt import parse

    text = parse(cast.licences[BUSINESS].credential).claims.identifier.text
    at = next(i for i, character in enumerate(text) if i > 16 and character.isdigit())
    try:
        Identifier.parse(text[:at] + chr(ord(text[at]) + 0xFEE0) + text[at + 1 :])
    except IdentifierInvalid as err:
        require_equal(err.position, at, "position")
        return str(err)
    require(False, "it was accepted")
    return ""


def suspend(cast: Cast) -> str:
    """Suspend a licence; remember when, for a later chapter."""
    credential = cast.licences[FOOD].credential
    cast.department("dg-market").suspend(ref_of(credential), "复查不合格")
    cast.await_verdict("dg", credential, "INVALID", reason="Suspended")
    cast.marks["suspended"] = cast.now()
    return "code 2"


def resume(cast: Cast) -> str:
    """Make it valid again, at a later second than its suspension was published."""
    wait_for(lambda: (cast.now() > cast.marks["suspended"], None))
    credential = cast.licences[FOOD].credential
    cast.department("dg-market").resume(ref_of(credential), "整改完成")
    cast.await_verdict("dg", credential, "VALID")
    return "code 0"


def supersede(cast: Cast) -> str:
    """Issue the next version of a licence."""
    from ledger.licences.sdjwt import parse

    former = cast.licences[TRANSPORT].credential
    claims = parse(former).claims
    order = cast.world.order(
        TRANSPORT,
        cast.holder,
        serial=claims.identifier.serial,
        version=int(claims.identifier.version) + 1,
    )
    made = cast.department("dg-affairs").issue(order, previous=ref_of(former).leaf_hash)
    cast.await_verdict("dg", former, "INVALID", reason="Revoked")
    cast.await_verdict("dg", made.credential, "VALID")
    cast.licences["new transport"] = made
    return f"version {parse(made.credential).claims.identifier.version}"


def transfer(cast: Cast) -> str:
    """Let a licence go from 东莞 to 惠州."""
    former = cast.department("dg-market").issue(cast.world.order(BUSINESS, cast.holder))
    cast.department("dg-market").transfer_out(ref_of(former.credential), "迁往惠州")
    made = cast.department("hz-market").issue(
        cast.world.order(BUSINESS, cast.holder),
        previous=ref_of(former.credential).leaf_hash,
        is_transfer=True,
    )
    found = cast.await_verdict("dg", former.credential, "INVALID", reason="Revoked")
    require_equal(found["code"], 0xD, "code")
    cast.await_verdict("hz", made.credential, "VALID")
    cast.licences["hz"] = made
    return f"东莞 code 0xD, 惠州 log index {made.receipt.index}"


def revoke(cast: Cast) -> str:
    """Revoke a licence; nothing brings it back."""
    from ledger.licences.events import Code

    department = cast.department("dg-market")
    made = department.issue(cast.world.order(FOOD, cast.holder))
    department.revoke(ref_of(made.credential), Code.REVOKED, "食品安全违法")
    cast.await_verdict("dg", made.credential, "INVALID", reason="Revoked")
    try:
        department.resume(ref_of(made.credential))
    except ServiceRefused as err:
        cast.licences["revoked"] = made
        return f"then a resume is refused: {err.kind}"
    require(False, "a revoked licence was resumed")
    return ""


def expire(cast: Cast) -> str:
    """Let a licence's date pass; nobody writes anything."""
    made = cast.department("dg-market").issue(cast.world.order(FOOD, cast.holder, expires_at=cast.now() + 6))
    size = cast.client("dg").health()["size"]
    cast.await_verdict("dg", made.credential, "INVALID", reason="Expired")
    return f"the log had {size} entries before; expiry is computed, never written"


def foreign_type(cast: Cast) -> str:
    """Have a department sign a licence type that its key may not."""
    try:
        cast.department("dg-market").issue(cast.world.order(ESTATE, cast.holder))
    except ServiceRefused as err:
        return f"{err.kind}: {err}"
    require(False, "it was logged")
    return ""


def repeat(cast: Cast) -> str:
    """Hand the same event in twice, and another one under its id."""
    first = cast.licences[BUSINESS]
    client = cast.client("dg")
    again = client.submit(first.credential)
    require_equal(again, first.receipt, "receipt")
    from ledger.licences.sdjwt import parse

    other = _with_other_bytes(cast, parse(first.credential).claims.event_id)
    try:
        client.submit(other)
    except ServiceRefused as err:
        require_equal(err.kind, "event-conflict", "problem")
        return f"index {again.index}, leaf {short_hash(again.leaf_hash.hex())}; then {err.kind}"
    require(False, "two events have one id")
    return ""


def _with_other_bytes(cast: Cast, event_id: bytes) -> str:
    """Return a credential of the same department under an event id that is taken."""
    from dataclasses import replace

    from ledger.licences.sdjwt import issue, parse

    department = cast.department("dg-market")
    order = cast.world.order(BUSINESS, cast.holder)
    slot = department.client.reserve(department.speaker, 1)[0]
    claims = replace(parse(department.sign(order, slot)).claims, event_id=event_id)
    return issue(claims, order.kind, order.values, department.key, rand=bytes(32)).text
