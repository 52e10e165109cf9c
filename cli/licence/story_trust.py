"""Chapters of the demonstration: verifiers without a network, other cities, dead witnesses, and an operator that cheats."""

from __future__ import annotations

import json
import secrets
from typing import Any

import httpx

from cli import processes
from cli.home import Home
from cli.licence import city as city_folder
from cli.licence import keyring
from cli.licence.cast import Cast, namespace_prefix, wait_for
from cli.licence.client import ServiceRefused
from cli.licence.department import ref_of
from cli.licence.registrar import RECOGNITION_AGE_S
from cli.licence.status import status_json, status_of
from cli.licence.steps import require, require_equal
from cli.licence.verify_command import parse_policy
from cli.licence.world import BUSINESS, DAY_S, FOOD, WITNESSES
from cli.witness import load_settings


def live(cast: Cast) -> None:
    """Play the chapters in order."""
    run = cast.steps.run
    cast.steps.heading("verifying without a network")
    run("the log's head is anchored, and the witnesses attest it", lambda: anchor(cast))
    prefix = namespace_prefix()
    where = (
        "in an empty network namespace"
        if prefix
        else "with sockets forbidden, for want of network namespaces"
    )
    run(f"verified {where}: VALID", lambda: alone(cast, prefix or []))
    run("without its status token: UNKNOWN, never VALID", lambda: stripped(cast))
    run("three days later the same bundle: UNKNOWN, it has gone stale", lambda: stale(cast))
    run("with two cosignatures only: UNKNOWN", lambda: under_quorum(cast))
    run("an anchor on another chain: INVALID", lambda: other_chain(cast))
    run("the status at a past time can be proved", lambda: past(cast))
    cast.steps.heading("two cities")
    run("a verifier that knows 惠州 only accepts 东莞's licences by recognition", lambda: recognise(cast))
    run("... and of the recognised types only", lambda: not_recognised(cast))
    cast.steps.heading("witnesses and operators that fail")
    run("one witness dead: the quorum holds", lambda: one_dead(cast))
    run("two witnesses dead: no new quorum, new licences UNKNOWN, old ones VALID", lambda: two_dead(cast))
    run("the witnesses are back: everything is cosigned", lambda: witnesses_back(cast))
    run("a forked history is refused by every witness", lambda: fork_at_witnesses(cast))
    run("... and by the contract", lambda: fork_at_contract(cast))
    run("the operator cannot revoke without the issuer", lambda: operator_revokes(cast))
    run("the operator cannot admit an issuer", lambda: operator_admits(cast))
    run("a stranger cannot register a key that it saw pending, for anybody", lambda: stranger_registers(cast))


# --- offline ---------------------------------------------------------------------------------------------


def anchor(cast: Cast) -> str:
    """Have the operator anchor the newest head, and wait until the witnesses have attested it."""
    client = cast.client("dg")
    index = cast.licences["new transport"].receipt.index
    operator = cast.world.cities["dg"].operator()

    def attested() -> tuple[bool, Any]:
        newest = next((each for each in client.anchors() if each["state"] == "final"), None)
        done = newest is not None and newest["has_evidence"] and int(newest["size"]) > index
        return done, newest

    client.anchor(operator)
    ok, newest = wait_for(attested)
    require(ok, f"not attested: {newest}")
    return f"size {newest['size']} in block {newest['block']}"


def alone(cast: Cast, prefix: list[str]) -> str:
    """Verify an anchored bundle in a process that has no network at all, started by the words of `prefix`."""
    bundle = cast.bundle("dg", cast.licences[BUSINESS].credential, is_anchored=True)
    require(bundle["anchor"] is not None, "the bundle has no anchor")
    code, verdict = cast.verify_alone(bundle, cast.world.policy("dg", anchor="attested"), prefix)
    require_equal((code, verdict["verdict"]), (0, "VALID"), "exit code and verdict")
    return f"facts: {', '.join(sorted(verdict['facts']))}"


def stripped(cast: Cast) -> str:
    """Take the status token out of a revoked licence's bundle."""
    policy, revoked = cast.world.policy("dg"), cast.licences["revoked"].credential
    bundle = cast.bundle("dg", revoked)
    require_equal(cast.judge(bundle, policy)["reason"], "Revoked", "reason with the token")
    code, verdict = cast.verify_alone({**bundle, "status": None}, policy, [])
    require_equal((code, verdict["verdict"]), (3, "UNKNOWN"), "exit code and verdict")
    return f"missing: {', '.join(verdict['missing'])}"


def stale(cast: Cast) -> str:
    """Look at the same bundle three days later."""
    bundle = cast.bundle("dg", cast.licences[BUSINESS].credential)
    later = cast.now() + 3 * DAY_S
    verdict = cast.judge(bundle, cast.world.policy("dg"), now_s=later)
    require_equal((verdict["verdict"], verdict["missing"]), ("UNKNOWN", ["status"]), "verdict")
    return f"status last known {later - verdict['facts']['status']} s before"


def under_quorum(cast: Cast) -> str:
    """Leave two of the witnesses' cosignatures in a bundle."""
    bundle = cast.bundle("dg", cast.licences[BUSINESS].credential)
    text, _, signatures = bundle["checkpoint"].rpartition("\n\n")
    lines = signatures.splitlines()
    bundle["checkpoint"] = text + "\n\n" + "\n".join(lines[:3]) + "\n"  # the log's own line comes first
    verdict = cast.judge(bundle, cast.world.policy("dg"))
    require_equal((verdict["verdict"], verdict["missing"]), ("UNKNOWN", ["quorum"]), "verdict")
    return "missing: quorum"


def other_chain(cast: Cast) -> str:
    """Pin another contract in the verifier's policy."""
    bundle = cast.bundle("dg", cast.licences[BUSINESS].credential, is_anchored=True)
    policy = cast.world.policy("dg", anchor="attested")
    policy["cities"][0]["anchor"]["contract"] = cast.world.policy("hz")["cities"][0]["anchor"]["contract"]
    verdict = cast.judge(bundle, policy)
    require_equal((verdict["verdict"], verdict["reason"]), ("INVALID", "WrongChain"), "verdict")
    return "WrongChain"


def past(cast: Cast) -> str:
    """Prove the status of a licence when it was suspended, and now, from the log under a verifier's policy."""
    client, credential = cast.client("dg"), cast.licences[FOOD].credential
    policy = parse_policy(json.dumps(cast.world.policy("dg")).encode())
    then = status_json(
        status_of(client, credential, policy, at_s=cast.marks["suspended"], now_s=cast.world.now_s())
    )
    now = status_json(status_of(client, credential, policy, now_s=cast.world.now_s()))
    require_equal((then["state"], now["state"]), ("VALID", "VALID"), "what is proved then and now")
    require_equal((then["code"], now["code"]), (2, 0), "codes then and now")
    return f"then {then['status']} by the token at log index {then['token_index']}, now {now['status']}"


# --- two cities ------------------------------------------------------------------------------------------


def recognise(cast: Cast) -> str:
    """Have 惠州 recognise 东莞's business licences, and verify one with a policy that names 惠州 alone."""
    from ledger.licences.policy import City

    dg = City.from_json(cast.world.policy("dg")["cities"][0])
    types = [cast.world.kinds[BUSINESS].code]
    receipt = cast.world.registrars["hz"].recognise(dg, cast.client("dg").checkpoint(), types)

    def published() -> tuple[bool, Any]:
        try:
            return True, cast.client("hz").recognition(dg.origin)
        except ServiceRefused as err:
            return False, err

    ok, evidence = wait_for(published)
    require(ok, f"not published: {evidence}")
    bundle = cast.bundle("dg", cast.licences[BUSINESS].credential)
    policy = cast.world.policy("hz")
    before = cast.judge(bundle, policy)
    require_equal((before["verdict"], before["missing"][0]), ("UNKNOWN", "city"), "without the recognition")
    verdict = cast.judge({**bundle, "recognition": evidence}, policy)
    require_equal(verdict["verdict"], "VALID", f"verdict ({verdict['missing']}, {verdict['reason']})")
    return f"logged in 惠州 at {receipt.index}, for {RECOGNITION_AGE_S // DAY_S} days"


def not_recognised(cast: Cast) -> str:
    """Try the recognition with a licence of another type."""
    bundle = cast.bundle("dg", cast.licences[FOOD].credential)
    evidence = cast.client("hz").recognition(cast.world.cities["dg"].origin)
    verdict = cast.judge({**bundle, "recognition": evidence}, cast.world.policy("hz"))
    seen = (verdict["verdict"], verdict["reason"], verdict["missing"])
    require_equal(seen, ("UNKNOWN", None, ["city"]), "verdict")
    return "missing: city"


# --- witnesses -------------------------------------------------------------------------------------------


def _stop(home: Home, name: str) -> None:
    process = processes.find(home, name)
    handle = None if process is None else process.handle()
    if handle is not None:
        handle.kill()
        handle.wait(10)


def one_dead(cast: Cast) -> str:
    """Kill a witness, and have something new verified."""
    _stop(cast.world.home, f"witness-{WITNESSES[3]}")
    made = cast.department("dg-market").issue(cast.world.order(BUSINESS, cast.holder))
    cast.await_verdict("dg", made.credential, "VALID")
    return f"{WITNESSES[3]} is dead; log index {made.receipt.index} is VALID"


def two_dead(cast: Cast) -> str:
    """Kill another one: nothing new gets a quorum, what has one keeps it."""
    _stop(cast.world.home, f"witness-{WITNESSES[2]}")
    made = cast.department("dg-market").issue(cast.world.order(BUSINESS, cast.holder))
    cast.licences["unwitnessed"] = made

    def noticed() -> tuple[bool, Any]:
        health = cast.client("dg").health()
        return health["duties"]["publish"]["fault"] == "CosignatureMissing", health["duties"]

    ok, duties = wait_for(noticed)
    require(ok, f"nobody noticed: {duties}")
    found = cast.ask("dg", made.credential)
    require_equal(found["verdict"], "UNKNOWN", "verdict of the new licence")
    require_equal(cast.ask("dg", cast.licences[BUSINESS].credential)["verdict"], "VALID", "of an old one")
    return f"missing: {', '.join(found['missing'])}"


def witnesses_back(cast: Cast) -> str:
    """Start the witnesses again."""
    for name in WITNESSES[2:]:
        cast.world.spawn_witness(name)
    for name in WITNESSES[2:]:
        cast.world.await_process(f"witness-{name}")
    cast.await_verdict("dg", cast.licences["unwitnessed"].credential, "VALID")
    return "VALID"


# --- an operator that cheats -----------------------------------------------------------------------------


def _forged(cast: Cast, size: int) -> tuple[str, list[bytes], bytes]:
    """Return another history, signed with the log's own key: its checkpoint over size + 1, the proof from size, and its root."""
    from ledger.log.checkpoint import Checkpoint, sign_checkpoint
    from ledger.log.notes import NoteSigner
    from ledger.log.tiles import TILE_WIDTH, DirectoryTiles, tile_width
    from ledger.log.tree import consistency_path, root_of

    city = cast.world.cities["dg"]
    reader = DirectoryTiles(city_folder.book_folder(city.folder) / "log" / "public")
    leaves: list[bytes] = []
    for n in range(-(-size // TILE_WIDTH)):
        width = tile_width(0, n, size)
        hashes = reader.hashes(0, n, width)
        leaves += [hashes[32 * i : 32 * i + 32] for i in range(width)]
    leaves[-1] = secrets.token_bytes(32)  # what is logged already, rewritten
    leaves.append(secrets.token_bytes(32))
    root = root_of(leaves)
    key = keyring.open_key(keyring.key_path(city.folder, city_folder.LOG_KEY))
    note = sign_checkpoint(
        Checkpoint(city.origin, size + 1, root), NoteSigner.from_seed(city.origin, key.secret)
    )
    return note, consistency_path(leaves, size), root


def fork_at_witnesses(cast: Cast) -> str:
    """Show every witness another history with a proof that is right for that history."""
    from ledger.log.checkpoint import Checkpoint
    from ledger.log.notes import SignedNote
    from ledger.log.witness import witness_request

    size = Checkpoint.parse(SignedNote.parse(cast.client("dg").checkpoint()).text).size
    note, proof, _ = _forged(cast, size)
    answers = {}
    for name in WITNESSES:
        url = f"http://127.0.0.1:{load_settings(cast.world.witness_folder(name)).port}/add-checkpoint"
        answers[name] = httpx.post(url, content=witness_request(size, proof, note), timeout=10).status_code
    require(all(status in (409, 422) for status in answers.values()), f"answers: {answers}")
    return ", ".join(f"{name} {status}" for name, status in answers.items())


def fork_at_contract(cast: Cast) -> str:
    """Send the contract another history from the operator's own account."""
    from cli import accounts
    from ledger.abi import decode_revert
    from ledger.anchors.contract import LogAnchorContract
    from ledger.chain import Chain
    from ledger.errors import CallReverted

    city = cast.world.cities["dg"]
    operator = accounts.open_existing(Home(city.folder), "operator").signer.address
    with Chain(cast.world.rpc_url) as chain:
        contract = LogAnchorContract(chain, city.trust.anchor)
        head = contract.head()
        _, proof, root = _forged(cast, head.size)
        call = contract.anchor_call(root, head.size + 1, head.status_root, proof)
        try:
            chain.call(call.to, call.data, sender=operator)
        except CallReverted as err:
            return str(decode_revert(err.data))
    require(False, "the contract took it")
    return ""


def operator_revokes(cast: Cast) -> str:
    """Sign a revocation with the service's key instead of the issuer's."""
    from ledger.licences.events import Code, Kind, LicenceEvent, make_event

    issuer, ref = cast.department("dg-market"), ref_of(cast.licences[BUSINESS].credential)
    event = LicenceEvent(
        kind=Kind.REVOKE,
        event_id=secrets.token_bytes(16),
        issued_at=cast.now(),
        issuer=issuer.uscc,
        licence=ref.leaf_hash,
        origin=issuer.origin,
        list=ref.list,
        index=ref.index,
        code=Code.REVOKED,
    )
    return _refused(cast, make_event(event, cast.world.cities["dg"].operator().key))


def operator_admits(cast: Cast) -> str:
    """Sign a key event with the service's key instead of the registrar's."""
    from ledger.licences.events import KeyEvent, Kind, make_event

    operator = cast.world.cities["dg"].operator().key
    event = KeyEvent(
        kind=Kind.KEY_ADD,
        event_id=secrets.token_bytes(16),
        issued_at=cast.now(),
        origin=cast.world.cities["dg"].origin,
        issuer=cast.department("dg-market").uscc,
        public=operator.public,
        types=(cast.world.kinds[BUSINESS].code,),
    )
    return _refused(cast, make_event(event, operator))


def stranger_registers(cast: Cast) -> str:
    """Send the registry another issuer's registration first, from a funded account that is not the registrar's."""
    from cli import accounts
    from ledger.abi import decode_revert
    from ledger.anchors.contract import IssuerRegistryContract
    from ledger.anchors.names import issuer_id
    from ledger.anchors.types import KeyStatus
    from ledger.chain import Chain
    from ledger.errors import CallReverted

    city, department = cast.world.cities["dg"], cast.department("dg-market")
    stranger = accounts.open_existing(Home(cast.world.city_folder("hz")), "operator").signer.address
    issuer, key_id, errors = issuer_id(department.uscc), secrets.token_bytes(32), []
    with Chain(cast.world.rpc_url) as chain:
        registry = IssuerRegistryContract(chain, city.trust.issuers)
        for call in (registry.register_key(issuer, key_id), registry.register_key_for(issuer, key_id)):
            try:
                chain.call(call.to, call.data, sender=stranger)
            except CallReverted as err:
                errors.append(decode_revert(err.data).name)
        admitted = registry.key(issuer, department.key.public.key_id)
    require_equal(errors, ["IssuerRegistryNotIssuer", "AccessManagedUnauthorized"], "errors")
    require_equal(admitted.status, KeyStatus.ACTIVE, "the department's own key")
    return ", ".join(errors)


def _refused(cast: Cast, event: str) -> str:
    try:
        cast.client("dg").submit(event)
    except ServiceRefused as err:
        return f"{err.kind}: {err}"
    require(False, "it was logged")
    return ""
