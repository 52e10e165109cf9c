"""Checkpoints and quorums, against the Go checksum database's and the C2SP documents' examples."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import MalformedValue
from ledger.log.checkpoint import (
    Checkpoint,
    CosignedCheckpoint,
    Quorum,
    cosign,
    sign_checkpoint,
    verify_checkpoint,
    verify_cosignature,
    verify_log_checkpoint,
    with_bare_quorum,
)
from ledger.log.errors import (
    CheckpointMalformed,
    CosignatureMissing,
    CosignatureReplayed,
    NoteMalformed,
    NoteUnverified,
    WrongOrigin,
)
from ledger.log.notes import NoteKey, NoteSignature, NoteSigner, SignedNote
from ledger.log.tree import EMPTY_ROOT
from tests.ledger.log.logs import ORIGIN, SIGNER, witness_signer

# a real checkpoint of the Go checksum database, which the C2SP documents' example was made from
GO_KEY = NoteKey.parse("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8")
GO_TEXT = "go.sum database tree\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
GO_NOTE = GO_TEXT + (
    "\n— sum.golang.org Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
# C2SP tlog-cosignature's example; the keys are not published
C2SP_NOTE = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""
WITNESSES = [witness_signer(number) for number in range(4)]
QUORUM = Quorum(tuple(witness.key for witness in WITNESSES), 3)
CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(range(32)))


def cosigned(checkpoint: Checkpoint, signers: list[NoteSigner], first_s: int = 1000) -> SignedNote:
    note = SignedNote.parse(sign_checkpoint(checkpoint, SIGNER))
    return note.with_signatures(cosign(note.text, signer, first_s + at) for at, signer in enumerate(signers))


def times_of(found: CosignedCheckpoint) -> tuple[int, ...]:
    return tuple(sorted((each.time_s for each in found.cosignatures), reverse=True))


def verify(note: SignedNote | str, quorum: Quorum = QUORUM) -> tuple[int, ...]:
    found = verify_checkpoint(note, origin=ORIGIN, log_key=SIGNER.key, quorum=quorum)
    return times_of(found)


def test_a_real_checkpoint_of_the_go_checksum_database_verifies() -> None:
    checkpoint = verify_log_checkpoint(GO_NOTE, origin="go.sum database tree", log_key=GO_KEY)
    assert checkpoint.size == 20_852_163
    assert checkpoint.root.hex() == "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62"
    assert checkpoint.to_text() == GO_TEXT


def test_the_c2sp_example_parses_to_its_time_and_key_ids() -> None:
    note = SignedNote.parse(C2SP_NOTE)
    assert Checkpoint.parse(note.text).origin == "example.com/behind-the-sofa"
    log, witness = note.signatures
    assert (log.key_id.hex(), witness.key_id.hex()) == ("033de0ae", "8d66cf3f")
    # the document signs with "time 1679315147"
    assert int.from_bytes(witness.signature[:8], "big") == 1_679_315_147
    assert len(witness.signature) == 72
    # the example took another log's signature: under this origin it does not verify
    key = NoteKey("example.com/behind-the-sofa", 1, GO_KEY.public_key)
    with pytest.raises(NoteUnverified):
        verify_log_checkpoint(C2SP_NOTE, origin="example.com/behind-the-sofa", log_key=key)


@pytest.mark.parametrize(
    "text",
    [
        "a\n1\n",
        "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
        "\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "a\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "a\n-1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "a\n+1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "a\n1_0\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "a\n１\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "a\n9223372036854775808\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=\n",
        "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2\n",
        "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxqw==\n",
        "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\nlate\n",
        "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nex\x00t\n",
    ],
)
def test_a_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(CheckpointMalformed):
        Checkpoint.parse(text)


def test_extension_lines_are_kept() -> None:
    checkpoint = Checkpoint("a", 0, EMPTY_ROOT, ("扩展", "two"))
    assert Checkpoint.parse(checkpoint.to_text()) == checkpoint


def test_a_checkpoint_of_the_same_tree_has_the_same_bytes() -> None:
    assert sign_checkpoint(CHECKPOINT, SIGNER) == sign_checkpoint(CHECKPOINT, SIGNER)


def test_a_quorum_of_witnesses_is_enough() -> None:
    found = verify_checkpoint(
        cosigned(CHECKPOINT, WITNESSES), origin=ORIGIN, log_key=SIGNER.key, quorum=QUORUM
    )
    assert found.checkpoint == CHECKPOINT
    assert times_of(found) == (1003, 1002, 1001, 1000)
    assert verify(cosigned(CHECKPOINT, WITNESSES[1:])) == (1002, 1001, 1000)


def test_one_below_the_quorum_is_missing() -> None:
    with pytest.raises(CosignatureMissing) as caught:
        verify(cosigned(CHECKPOINT, WITNESSES[:2]))
    assert (caught.value.have, caught.value.need) == (2, 3)


def test_a_stranger_does_not_count() -> None:
    strangers = [witness_signer(number) for number in range(10, 14)]
    with pytest.raises(CosignatureMissing) as caught:
        verify(cosigned(CHECKPOINT, [*strangers, *WITNESSES[:2]]))
    assert caught.value.have == 2


def test_a_witness_that_signs_twice_counts_once() -> None:
    line = cosign(CHECKPOINT.to_text(), WITNESSES[0], 5)
    again = cosign(CHECKPOINT.to_text(), WITNESSES[0], 6)
    note = SignedNote.parse(sign_checkpoint(CHECKPOINT, SIGNER))
    with pytest.raises(NoteMalformed):
        SignedNote(note.text, (*note.signatures, line, again, cosign(note.text, WITNESSES[1], 5)))
    merged = note.with_signatures([line, again])
    with pytest.raises(CosignatureMissing) as caught:
        verify(merged)
    assert caught.value.have == 1


def test_a_cosignature_replayed_from_another_checkpoint_is_refused() -> None:
    older = cosigned(Checkpoint(ORIGIN, 6, CHECKPOINT.root), WITNESSES)
    note = SignedNote.parse(sign_checkpoint(CHECKPOINT, SIGNER)).with_signatures(older.signatures[1:])
    with pytest.raises(CosignatureReplayed):
        verify(note)


def test_another_log_s_checkpoint_is_refused() -> None:
    other = NoteSigner.from_seed("log.example/北京市", b"\x55" * 32)
    checkpoint = Checkpoint(other.key.name, 7, CHECKPOINT.root)
    note = SignedNote.parse(sign_checkpoint(checkpoint, other))
    with pytest.raises(WrongOrigin):
        verify(note)
    with pytest.raises(WrongOrigin):
        # the key of this log under the other's origin
        verify(SignedNote.parse(sign_checkpoint(checkpoint, SIGNER)))


def test_the_log_s_own_signature_is_needed_as_well() -> None:
    full = cosigned(CHECKPOINT, WITNESSES)
    with pytest.raises(NoteUnverified):
        verify(SignedNote(full.text, full.signatures[1:]))
    with pytest.raises(NoteUnverified):
        verify_log_checkpoint(full, origin=ORIGIN, log_key=WITNESSES[0].key)


def test_a_cosignature_is_not_a_log_s_signature() -> None:
    line = cosign(CHECKPOINT.to_text(), WITNESSES[0], 5)
    as_log = NoteKey(WITNESSES[0].key.name, 1, WITNESSES[0].key.public_key)
    with pytest.raises(NoteUnverified):
        verify_cosignature(CHECKPOINT.to_text(), line, as_log)
    with pytest.raises(NoteUnverified):
        verify_cosignature(CHECKPOINT.to_text(), line, WITNESSES[1].key)
    renamed = NoteSignature(WITNESSES[1].key.name, WITNESSES[1].key.key_id, line.signature)
    with pytest.raises(CosignatureReplayed):
        verify_cosignature(CHECKPOINT.to_text(), renamed, WITNESSES[1].key)
    assert verify_cosignature(CHECKPOINT.to_text(), line, WITNESSES[0].key) == 5


def test_a_witness_signs_only_checkpoints() -> None:
    with pytest.raises(CheckpointMalformed):
        cosign("not a checkpoint\n", WITNESSES[0], 5)


def test_a_quorum_needs_distinct_cosigners_and_a_threshold_that_it_can_reach() -> None:
    twin = NoteKey("other.example", WITNESSES[0].key.algorithm, WITNESSES[0].key.public_key)
    for keys, threshold in (
        ((WITNESSES[0].key, twin), 1),
        ((WITNESSES[0].key, WITNESSES[0].key), 1),
        ((SIGNER.key,), 1),
        ((WITNESSES[0].key,), 2),
        ((WITNESSES[0].key,), 0),
        ((), 0),
    ):
        with pytest.raises(MalformedValue):
            Quorum(keys, threshold)


def cosigned_at(times: dict[int, int]) -> SignedNote:
    """Return a checkpoint that witnesses cosigned, each at its time."""
    note = SignedNote.parse(sign_checkpoint(CHECKPOINT, SIGNER))
    return note.with_signatures(cosign(note.text, witness_signer(who), time) for who, time in times.items())


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 3), st.integers(0, 5), max_size=4), st.integers(1, 4))
def test_a_bare_quorum_has_the_quorum_s_time_and_no_line_more(times: dict[int, int], threshold: int) -> None:
    quorum = Quorum(QUORUM.keys, threshold)
    full = cosigned_at(times)
    bare = with_bare_quorum(full, quorum)
    assert len(bare.signatures) == 1 + min(threshold, len(times))
    assert set(bare.signatures) <= set(full.signatures)
    if len(times) < threshold:
        assert bare == full
        return
    newest = sorted(times.values(), reverse=True)[:threshold]
    assert list(verify(bare, quorum)) == newest == list(verify(full, quorum)[:threshold])


def test_a_bare_quorum_keeps_the_lines_of_others() -> None:
    full = cosigned_at({0: 1, 1: 2, 2: 3, 3: 4, 10: 0, 11: 9})
    bare = with_bare_quorum(full, QUORUM)
    others = {witness_signer(10).key.name, witness_signer(11).key.name, SIGNER.key.name}
    assert {line.name for line in full.signatures} - {line.name for line in bare.signatures} == {
        WITNESSES[0].key.name
    }
    assert others <= {line.name for line in bare.signatures}


def test_no_bare_quorum_is_made_of_a_replayed_cosignature() -> None:
    older = cosigned(Checkpoint(ORIGIN, 6, CHECKPOINT.root), WITNESSES)
    note = SignedNote.parse(sign_checkpoint(CHECKPOINT, SIGNER)).with_signatures(older.signatures[1:])
    with pytest.raises(CosignatureReplayed):
        with_bare_quorum(note, QUORUM)
