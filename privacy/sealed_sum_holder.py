"""The holder's side of the sealed sum: deal shares, contribute, unmask (docs/protocol.md §4 and §5).

Pure functions of the session's secrets: called again after a crash they return the same bytes. That each is
acted upon once per request is kept by the holder's own store.
"""

from collections.abc import Collection, Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from privacy.agreement import secp256k1_shared
from privacy.curve import SignedCells, require_cells
from privacy.encoding import keccak, tagged_hash
from privacy.errors import BadShare, PayloadMalformed, UnmaskRefused
from privacy.payloads import SHARE_BYTES, ShareType, Unmask, UnmaskShare, decode_bundle, encode_bundle
from privacy.prg import CELLS_MAX, MaskedVector, derive_key
from privacy.sealed_sum_secrets import HolderSecrets, ReceivedShares, ShareRow
from privacy.session import Session
from privacy.shamir import FIELD_PRIME, evaluate, split

_NONCE = bytes(12)  # each key seals one message


def make_bundle(secrets: HolderSecrets, session: Session, me: int) -> bytes:
    """Deal b_i and the mask key to all peers; the payload of kind 1.

    Raises:
        SenderUnknown: the roster's keys at `me` are not these.
    """
    secrets.require_member(session, me)
    seeds = split(secrets.self_seed, secrets.coefficients(session, "deal-self", me), session.n)
    masks = split(secrets.mask_integer, secrets.coefficients(session, "deal-mask", me), session.n)
    sealed = {}
    for peer, member in enumerate(session.members):
        if peer != me:
            shared = secrets.share_shared(member.share_key, sender=peer)
            plaintext = seeds[peer].to_bytes(SHARE_BYTES, "big") + masks[peer].to_bytes(SHARE_BYTES, "big")
            sealed[peer] = _box(shared, session, me, peer).encrypt(
                _NONCE, plaintext, _associated(session, me, peer)
            )
    return encode_bundle(sealed)


def open_bundles(
    secrets: HolderSecrets, session: Session, me: int, bundles: Mapping[int, bytes]
) -> ReceivedShares:
    """Open this holder's share from each peer that shared, and add its own.

    Args:
        secrets: this holder's.
        session: the session.
        me: this holder's index.
        bundles: payloads of kind 1 by sender, each already verified against its signature and the chain; this
            holder's own is ignored.

    Raises:
        BadShare: a sealed share does not open or is no field element; `sender` dealt it.
        PayloadMalformed: a bundle of another form.
        BelowThreshold: too few shared for the sum ever to be sealed.
    """
    secrets.require_member(session, me)
    session.require_sharers({*bundles, me})
    rows = {me: _own_row(secrets, session, me)}
    for sender, payload in bundles.items():
        if sender != me:
            sealed = decode_bundle(payload, sender=sender, holders=session.n)[me]
            shared = secrets.share_shared(session.members[sender].share_key, sender=sender)
            rows[sender] = _open_row(sealed, _box(shared, session, sender, me), session, sender, me)
    return ReceivedShares(session.id, tuple(sorted(rows.items(), key=lambda item: item[0])))


def commitment_hash(request_id: bytes, holder: bytes, commitment: bytes) -> bytes:
    """Return H("commitment"; requestId, holder, keccak(C_i)), which fixes C_i before any other is seen."""
    return tagged_hash("commitment", request_id, holder, keccak(commitment))


def mask_input(
    secrets: HolderSecrets,
    session: Session,
    me: int,
    *,
    sharers: Collection[int],
    buyer_key: bytes,
    cells: SignedCells,
) -> bytes:
    """Mask the cells and the blinding r_i; the payload of kind 2.

    Args:
        secrets: this holder's.
        session: the session.
        me: this holder's index.
        sharers: who shared by the deadline, as the chain shows; `me` is one of them.
        buyer_key: B_req, 33 bytes.
        cells: x_i, int64, noise included, |x| < 2^62.

    Raises:
        UnmaskRefused: `me` did not share.
        BelowThreshold: too few shared.
        CellOutOfRange, PayloadMalformed: the cells are out of range, or none, or more than 2^17.
        WeakKey: the buyer's key is no point.
    """
    secrets.require_member(session, me)
    peers = session.require_sharers(sharers)
    if me not in peers:
        raise UnmaskRefused("only a holder that shared may contribute", sender=me)
    if not 1 <= len(cells) <= CELLS_MAX:
        raise PayloadMalformed(f"cells: expected 1 to {CELLS_MAX}, got {len(cells)}")
    require_cells(cells)
    # all keys first: a pass over the vector drives what key agreement needs out of the processor's caches
    pairs = [(peer, _pair_key(secrets, session, me, peer)) for peer in peers if peer != me]
    pad = holder_pad(session.id, me, secrets.e_private, buyer_key)
    vector = MaskedVector.of_signed(cells, secrets.blinding)
    vector.add_mask(self_mask_key(session, me, secrets.self_seed))
    for peer, key in pairs:
        (vector.add_mask if me < peer else vector.subtract_mask)(key)
    vector.add_pad(pad)
    return vector.payload()


def release(
    received: ReceivedShares,
    session: Session,
    me: int,
    *,
    sharers: Collection[int],
    survivors: Collection[int],
) -> Unmask:
    """Choose the one share of each owner that may leave: of b_j if j survived, of j's mask key if not.

    The result replaces `received` in the holder's store, in one transaction, before it is sent: what is not
    in it can then never be released, whoever asks and whatever the chain shows later.

    Args:
        received: the shares of everybody that shared.
        session: the session.
        me: this holder's index.
        sharers: who shared, as the chain shows.
        survivors: whose contributions the chain sealed.

    Raises:
        UnmaskRefused: the shares are of another session or another set of sharers, or `me` did not survive.
        SenderUnknown: a survivor that did not share.
        BelowThreshold: fewer survivors than the floor: the contract would not have sealed that.
    """
    if received.session != session.id:
        raise UnmaskRefused("the stored shares are of another session")
    shared = session.require_sharers(sharers)
    if shared != received.sharers:
        raise UnmaskRefused(f"expected those that shared to be {list(received.sharers)}, got {list(shared)}")
    alive = set(session.require_survivors(survivors, shared))
    if me not in alive:
        raise UnmaskRefused("only a survivor unmasks", sender=me)
    return Unmask(
        tuple(
            UnmaskShare(owner, ShareType.SELF_SEED, row.self_seed)
            if owner in alive
            else UnmaskShare(owner, ShareType.MASK_KEY, row.mask_key)
            for owner, row in received.rows
        )
    )


def unmask_payload(
    received: ReceivedShares,
    session: Session,
    me: int,
    *,
    sharers: Collection[int],
    survivors: Collection[int],
) -> bytes:
    """Return the payload of kind 3; arguments and errors as `release`."""
    return release(received, session, me, sharers=sharers, survivors=survivors).payload()


def holder_pad(session: bytes, index: int, secret: bytes, other: bytes) -> bytes:
    """Return k_iB = H("pad-chacha20"; session, i, S.x, S.y) with S = secret·other on secp256k1.

    Args:
        session: session id.
        index: the holder's, also when the buyer asks.
        secret: e_i or b_req.
        other: B_req or E_i, 33 bytes.

    Raises:
        WeakKey: `other` is no point.
    """
    x, y = secp256k1_shared(secret, other)
    return tagged_hash("pad-chacha20", session, index, x, y)


def self_mask_key(session: Session, index: int, self_seed: int) -> bytes:
    """Return the key of a holder's self mask."""
    return derive_key(self_seed.to_bytes(SHARE_BYTES, "big"), session.id, "self", index, index)


def pair_mask_key(session: Session, shared: bytes, owner: int, peer: int) -> bytes:
    """Return the key of the mask between two holders, from the X25519 secret of their mask keys."""
    return derive_key(shared, session.id, "mask", min(owner, peer), max(owner, peer))


def _pair_key(secrets: HolderSecrets, session: Session, me: int, peer: int) -> bytes:
    shared = secrets.mask_shared(session.members[peer].mask_key, sender=peer)
    return pair_mask_key(session, shared, me, peer)


def _own_row(secrets: HolderSecrets, session: Session, me: int) -> ShareRow:
    seeds = [secrets.self_seed, *secrets.coefficients(session, "deal-self", me)]
    masks = [secrets.mask_integer, *secrets.coefficients(session, "deal-mask", me)]
    return ShareRow(self_seed=evaluate(seeds, me), mask_key=evaluate(masks, me))


def _open_row(sealed: bytes, box: ChaCha20Poly1305, session: Session, sender: int, me: int) -> ShareRow:
    try:
        plaintext = box.decrypt(_NONCE, sealed, _associated(session, sender, me))
    except InvalidTag as err:
        raise BadShare("the sealed share does not open", sender=sender) from err
    seed = int.from_bytes(plaintext[:SHARE_BYTES], "big")
    mask = int.from_bytes(plaintext[SHARE_BYTES:], "big")
    if max(seed, mask) >= FIELD_PRIME:
        raise BadShare("a share must be below 2^255 − 19", sender=sender)
    return ShareRow(self_seed=seed, mask_key=mask)


def _box(shared: bytes, session: Session, dealer: int, recipient: int) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(derive_key(shared, session.id, "share", dealer, recipient))


def _associated(session: Session, dealer: int, recipient: int) -> bytes:
    return session.id + dealer.to_bytes(2, "big") + recipient.to_bytes(2, "big")
