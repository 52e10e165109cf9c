"""Making a joint key: joint Feldman, in which every trustee deals and nobody ever has the key.

Three rounds, each message to everybody and signed by its sender where it is carried. Trustee j's share is
s_j = Σ f_i(j + 1) over the qualified dealers, K = Σ f_i(0)·G.

1. `announce`: E_i with a proof of possession.
2. `deal`: commitments to the coefficients of f_i, a proof that the dealer knows f_i(0), sealed shares.
3. `complain`: each bad share is opened by its receiver, with a proof, so that everybody sees who is wrong: the dealer, or the
   one who complains. No answer of the dealer is waited for.

`finish` is then a function of the messages alone: whoever saw the same ones has the same key.

A dealer who speaks last can choose whether it counts, and so bias K's distribution, as in every joint Feldman. That does not help
against decryption: breaking ElGamal under a biased K breaks it under a uniform one.

Source: T. Pedersen, A Threshold Cryptosystem without a Trusted Party (EUROCRYPT 1991); R. Gennaro, S. Jarecki, H. Krawczyk,
T. Rabin, Secure Distributed Key Generation for Discrete-Log Based Cryptosystems (J. Cryptology 2007) §4; C. Komlo, I. Goldberg,
FROST (SAC 2020) Figure 1 for the proof of possession.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from py_arkworks_bls12381 import G1Point

from privacy.deposit.ceremony import Announcement, Ceremony, Complaint, Complaints, Deal, message_set_hash
from privacy.deposit.errors import (
    AnnouncementMissing,
    CeremonyError,
    CeremonyInvalid,
    ComplaintFalse,
    ComplaintMissing,
    DealersTooFew,
    DealMissing,
    DealRefused,
    Equivocation,
    ProofRefused,
    ScalarRefused,
)
from privacy.deposit.keys import DepositKey, evaluate
from privacy.deposit.points import (
    decode_scalar,
    derive_scalar,
    encode_points,
    encode_scalar,
    generator,
    multiply_sum,
    scalar,
)
from privacy.deposit.proofs import is_equality, is_possession, prove_equality, prove_possession
from privacy.deposit.shares import KeyShare
from privacy.encoding import WORD_BYTES, keccak, tagged_hash
from privacy.prg import CURVE_ORDER, derive_key
from privacy.types import Digest

_ZERO_NONCE = bytes(12)

Messages = Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class TrusteeSecret:
    """All that a trustee keeps during a ceremony: everything else follows, so a restart sends the same bytes.

    Attributes:
        index: the trustee's index.
        seed: 32 bytes, drawn for this ceremony and stored before anything is sent; erased once the share is stored.
    """

    ceremony: Ceremony
    index: int
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        self.ceremony.require_trustee(self.index)
        if len(self.seed) != WORD_BYTES:
            raise CeremonyInvalid(f"a seed must be {WORD_BYTES} bytes, not {len(self.seed)}")

    @property
    def receiving(self) -> int:
        """e_i, for the shares dealt to this trustee."""
        return derive_scalar(self.seed, self.ceremony.context, "deposit-receiving")

    def ephemeral(self, announced: bytes) -> int:
        """Return f_i, for the shares that this trustee deals."""
        return derive_scalar(self.seed, announced, "deposit-ephemeral")

    def polynomial(self, announced: bytes) -> list[int]:
        """Return the coefficients of f_i, the constant term first.

        They depend on the announcements seen: shares of one polynomial are never sealed to two sets of keys.
        """
        return [
            derive_scalar(self.seed, announced, "deposit-coefficient", k)
            for k in range(self.ceremony.threshold)
        ]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a ceremony came to, the same for every trustee but its share.

    Attributes:
        key: the joint key.
        share: this trustee's share; None for one who only watches.
        qualified: the dealers whose polynomials count.
        faults: what was wrong, each naming a trustee.
        transcript: H("deposit-transcript"; announcements, deals, complaints), for trustees to compare.
    """

    key: DepositKey
    share: KeyShare | None
    qualified: tuple[int, ...]
    faults: tuple[CeremonyError, ...]
    transcript: Digest


def announce(secret: TrusteeSecret) -> bytes:
    """Return the first message."""
    public = generator() * scalar(secret.receiving)
    statement = _statement(secret.ceremony, "deposit-announcement", secret.index, public)
    proof = prove_possession(secret.receiving, statement)
    return Announcement(secret.index, public, proof).encode(secret.ceremony)


def read_announcements(ceremony: Ceremony, announcements: Messages) -> list[Announcement]:
    """Return everybody's announcement, in order.

    Args:
        ceremony: the ceremony.
        announcements: messages by the trustee who signed them.

    Raises:
        AnnouncementMissing, MessageRefused, ProofRefused: naming the trustee; no key can be made with it.
    """
    read = []
    for index in range(ceremony.size):
        if index not in announcements:
            raise AnnouncementMissing("no announcement", trustee=index)
        message = Announcement.decode(ceremony, announcements[index], index)
        statement = _statement(ceremony, "deposit-announcement", index, message.public)
        if message.public == G1Point.identity() or not is_possession(
            message.public, statement, message.proof
        ):
            raise ProofRefused("the announced key is not proved", trustee=index)
        read.append(message)
    return read


def deal(secret: TrusteeSecret, announcements: Messages) -> bytes:
    """Return the second message.

    Raises:
        AnnouncementMissing, MessageRefused, ProofRefused: as `read_announcements`.
    """
    ceremony, index = secret.ceremony, secret.index
    receivers = read_announcements(ceremony, announcements)
    announced = message_set_hash("deposit-announcements", ceremony, announcements.items())
    ephemeral, polynomial = secret.ephemeral(announced), secret.polynomial(announced)
    commitments = tuple(generator() * scalar(coefficient) for coefficient in polynomial)
    proof = prove_possession(polynomial[0], _deal_statement(ceremony, index, announced, commitments))
    sealed = tuple(
        _seal(ceremony, index, to.sender, to.public * scalar(ephemeral), evaluate(polynomial, to.sender + 1))
        for to in receivers
    )
    public = generator() * scalar(ephemeral)
    return Deal(index, announced, public, commitments, proof, sealed).encode(ceremony)


def complain(secret: TrusteeSecret, announcements: Messages, deals: Messages) -> bytes:
    """Return the third message: the bad shares among those dealt to this trustee, opened.

    A deal that everybody can see is bad needs no complaint.

    Raises:
        AnnouncementMissing, MessageRefused, ProofRefused: of an announcement, as `read_announcements`.
    """
    ceremony = secret.ceremony
    good, _ = _read_deals(ceremony, announcements, deals)
    complaints = []
    for dealer, message in good.items():
        shared = message.ephemeral * scalar(secret.receiving)
        if _open(ceremony, message, secret.index, shared) is None:
            statement = _complaint_statement(ceremony, secret.index, message, shared)
            proof = prove_equality(secret.receiving, message.ephemeral, statement)
            complaints.append(Complaint(dealer, shared, proof))
    dealt = message_set_hash("deposit-deals", ceremony, deals.items())
    return Complaints(secret.index, dealt, tuple(complaints)).encode(ceremony)


def finish(
    ceremony: Ceremony,
    announcements: Messages,
    deals: Messages,
    complaints: Messages,
    *,
    secret: TrusteeSecret | None = None,
) -> Outcome:
    """Judge all messages and return the key, and one trustee's share of it.

    Args:
        ceremony: the ceremony.
        announcements, deals, complaints: messages by the trustee who signed them; those that came too late are not there.
        secret: of the trustee whose share is wanted.

    Raises:
        AnnouncementMissing, MessageRefused, ProofRefused: of an announcement, as `read_announcements`.
        Equivocation: a trustee saw other announcements or deals than these; naming it.
        DealersTooFew: fewer good dealers than the threshold.
        ComplaintMissing: a share dealt to this trustee is bad and its complaint is not among the messages.
    """
    receivers = read_announcements(ceremony, announcements)
    good, faults = _read_deals(ceremony, announcements, deals)
    dealt = message_set_hash("deposit-deals", ceremony, deals.items())
    for sender, data in sorted(complaints.items()):
        try:
            message = Complaints.decode(ceremony, data, sender)
        except CeremonyError as err:
            faults.append(err)
            continue
        if message.dealt != dealt:
            raise Equivocation("it saw other deals than are here", trustee=sender)
        for each in message.complaints:
            fault = _judge(ceremony, receivers[sender], each, good)
            faults += [fault] if fault is not None else []
    accused = {fault.trustee for fault in faults if isinstance(fault, DealRefused)}
    qualified = {dealer: message for dealer, message in good.items() if dealer not in accused}
    if len(qualified) < ceremony.threshold:
        raise DealersTooFew(expected=ceremony.threshold, actual=len(qualified))
    key = _joint_key(ceremony, qualified)
    said = message_set_hash("deposit-complaints", ceremony, complaints.items())
    announced = message_set_hash("deposit-announcements", ceremony, announcements.items())
    return Outcome(
        key=key,
        share=None if secret is None else _share(secret, key, qualified),
        qualified=tuple(qualified),
        faults=tuple(faults),
        transcript=Digest(tagged_hash("deposit-transcript", announced, dealt, said)),
    )


def _read_deals(
    ceremony: Ceremony, announcements: Messages, deals: Messages
) -> tuple[dict[int, Deal], list[CeremonyError]]:
    """Return the deals in which nothing public is wrong, and what is wrong with the others."""
    announced = message_set_hash("deposit-announcements", ceremony, announcements.items())
    good: dict[int, Deal] = {}
    faults: list[CeremonyError] = []
    for index in range(ceremony.size):
        try:
            good[index] = _read_deal(ceremony, index, deals, announced)
        except CeremonyError as err:
            faults.append(err)
    return good, faults


def _read_deal(ceremony: Ceremony, index: int, deals: Messages, announced: bytes) -> Deal:
    if index not in deals:
        raise DealMissing("no deal", trustee=index)
    message = Deal.decode(ceremony, deals[index], index)
    if message.announced != announced:
        raise Equivocation("it saw other announcements than are here", trustee=index)
    statement = _deal_statement(ceremony, index, announced, message.commitments)
    if not is_possession(message.commitments[0], statement, message.proof):
        raise ProofRefused("the constant term is not proved", trustee=index)
    return message


def _judge(
    ceremony: Ceremony, receiver: Announcement, complaint: Complaint, good: Mapping[int, Deal]
) -> CeremonyError | None:
    """Return who is wrong: the dealer of a bad share, or the receiver who says so of a good one."""
    message = good.get(complaint.dealer)
    if message is None:
        return None  # the deal is out already
    statement = _complaint_statement(ceremony, receiver.sender, message, complaint.shared)
    if not is_equality(receiver.public, message.ephemeral, complaint.shared, statement, complaint.proof):
        return ComplaintFalse(
            f"its complaint about trustee {complaint.dealer} is not proved", trustee=receiver.sender
        )
    if _open(ceremony, message, receiver.sender, complaint.shared) is None:
        return DealRefused(f"the share dealt to trustee {receiver.sender} is bad", trustee=complaint.dealer)
    return ComplaintFalse(f"the share that trustee {complaint.dealer} dealt is good", trustee=receiver.sender)


def _joint_key(ceremony: Ceremony, qualified: Mapping[int, Deal]) -> DepositKey:
    columns = zip(*(message.commitments for message in qualified.values()), strict=True)
    joint = [sum(column, G1Point.identity()) for column in columns]
    verification = (encode_points([_in_exponent(joint, index)]) for index in range(ceremony.size))
    key = DepositKey(ceremony.threshold, encode_points(joint[:1]), tuple(verification))
    key.require_valid()
    return key


def _share(secret: TrusteeSecret, key: DepositKey, qualified: Mapping[int, Deal]) -> KeyShare:
    total = 0
    for dealer, message in qualified.items():
        share = _open(secret.ceremony, message, secret.index, message.ephemeral * scalar(secret.receiving))
        if share is None:
            raise ComplaintMissing("its share is bad, and no complaint says so", trustee=dealer)
        total = (total + share) % CURVE_ORDER
    return KeyShare.of(key, secret.index, total)


def _seal(ceremony: Ceremony, dealer: int, receiver: int, shared: G1Point, share: int) -> bytes:
    aead = ChaCha20Poly1305(_sealing_key(ceremony, dealer, receiver, shared))
    return aead.encrypt(_ZERO_NONCE, encode_scalar(share), _bound(ceremony, dealer, receiver))


def _open(ceremony: Ceremony, message: Deal, receiver: int, shared: G1Point) -> int | None:
    """Return the share, or None if it does not open or is not the one that the dealer committed to."""
    aead = ChaCha20Poly1305(_sealing_key(ceremony, message.sender, receiver, shared))
    bound = _bound(ceremony, message.sender, receiver)
    try:
        share = decode_scalar(aead.decrypt(_ZERO_NONCE, message.sealed[receiver], bound))
    except (InvalidTag, ScalarRefused):
        return None
    return share if generator() * scalar(share) == _in_exponent(message.commitments, receiver) else None


def _sealing_key(ceremony: Ceremony, dealer: int, receiver: int, shared: G1Point) -> bytes:
    """Derive the key of one sealed share; it seals nothing else, so its nonce is zero."""
    return derive_key(encode_points([shared]), ceremony.context, "deposit-sealed", dealer, receiver)


def _bound(ceremony: Ceremony, dealer: int, receiver: int) -> bytes:
    return ceremony.context + dealer.to_bytes(2, "big") + receiver.to_bytes(2, "big")


def _in_exponent(commitments: tuple[G1Point, ...] | list[G1Point], index: int) -> G1Point:
    """Return f(index + 1)·G from commitments to f's coefficients."""
    powers = [pow(index + 1, k, CURVE_ORDER) for k in range(len(commitments))]
    return multiply_sum(commitments, powers)


def _statement(ceremony: Ceremony, name: str, index: int, public: G1Point) -> bytes:
    return tagged_hash(name, ceremony.context, index, keccak(encode_points([public])))


def _deal_statement(
    ceremony: Ceremony, index: int, announced: bytes, commitments: tuple[G1Point, ...]
) -> bytes:
    return tagged_hash("deposit-deal", ceremony.context, index, announced, keccak(encode_points(commitments)))


def _complaint_statement(ceremony: Ceremony, receiver: int, message: Deal, shared: G1Point) -> bytes:
    points = keccak(encode_points([message.ephemeral, shared]))
    return tagged_hash("deposit-complaint", ceremony.context, receiver, message.sender, points)
