"""Signed notes, against the Go checksum database's own examples and the C2SP documents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import MalformedValue
from ledger.log.errors import CosignatureReplayed, NoteMalformed, NoteUnverified
from ledger.log.notes import (
    COSIGNATURE,
    NOTE_SIZE_MAX,
    SIGNATURES_MAX,
    NoteKey,
    NoteSignature,
    NoteSigner,
    SignedNote,
    decode_base64,
    encode_base64,
    sign_line,
    sign_note,
    verify_note,
)

# golang.org/x/mod/sumdb/note, note_test.go
PETER = NoteKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
PETER_SEED = decode_base64("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz", "seed")[1:]
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_NOTE = TEXT + (
    "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH = NoteKey.parse("EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop")
# the example of C2SP signed-note; its key is not published
SALVATORE = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)
SIGNER = NoteSigner.from_seed("名字.example/log", b"\x07" * 32)
WITNESS = NoteSigner.from_seed("w.example/1", b"\x08" * 32, algorithm=COSIGNATURE)


def test_a_go_note_verifies_with_its_key() -> None:
    (verified,) = verify_note(PETER_NOTE, [PETER])
    assert (verified.key, verified.time_s) == (PETER, None)


def test_signing_gives_the_same_bytes_as_go() -> None:
    signer = NoteSigner.from_seed("PeterNeumann", PETER_SEED)
    assert signer.key == PETER
    assert sign_note(TEXT, signer).to_text() == PETER_NOTE


@pytest.mark.parametrize(
    "text",
    [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeuman+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+",
        "PeterNeumann+c74f20a3",
        "",
    ],
)
def test_a_malformed_key_is_refused(text: str) -> None:
    with pytest.raises(NoteMalformed):
        NoteKey.parse(text)


def test_keys_round_trip() -> None:
    for key in (PETER, ENOCH, SIGNER.key, WITNESS.key):
        assert NoteKey.parse(key.to_text()) == key


def test_the_c2sp_example_parses_with_its_empty_line_in_the_text() -> None:
    note = SignedNote.parse(SALVATORE.encode())
    assert note.text.endswith("sole:\n\ned è subito sera.\n")
    assert note.signatures[0].name == "quasimodo.example/salvatore"
    assert note.signatures[0].key_id == bytes.fromhex("367ba04b")
    assert note.to_text() == SALVATORE
    with pytest.raises(NoteUnverified):
        verify_note(note, [PETER])


@pytest.mark.parametrize(
    "note",
    [
        TEXT,
        TEXT + "\n",
        PETER_NOTE[:-1],
        PETER_NOTE.replace("— ", "- "),
        PETER_NOTE.replace("— ", "—  "),
        PETER_NOTE.replace("— ", "—\u00a0"),
        PETER_NOTE.replace("Neumann x", "Neumann  x"),
        PETER_NOTE.replace("Neumann x", "+Neumann x"),
        PETER_NOTE.replace("Neumann x", "\u2003Neumann x"),
        PETER_NOTE.replace("JnAM=", "JnAN="),
        PETER_NOTE.replace("JnAM=", "JnAM"),
        PETER_NOTE.replace("then", "th\ten"),
        PETER_NOTE.replace("then", "th\x00en"),
        PETER_NOTE.replace(",\n", ",\r\n"),
        PETER_NOTE + PETER_NOTE.splitlines()[-1] + "\n",
        PETER_NOTE + "\n",
        PETER_NOTE + "trailing\n",
        "— PeterNeumann x08go/ZJ\n",
        TEXT + "\n— PeterNeumann x08goQ==\n"[:-4] + "\n",
    ],
)
def test_a_malformed_note_is_refused(note: str) -> None:
    with pytest.raises(NoteMalformed):
        SignedNote.parse(note)


def test_bytes_that_are_no_utf8_are_refused() -> None:
    with pytest.raises(NoteMalformed):
        SignedNote.parse(PETER_NOTE.encode().replace(b"then", b"th\xffen"))


def test_sizes_are_bounded() -> None:
    with pytest.raises(NoteMalformed):
        SignedNote.parse("x" * NOTE_SIZE_MAX + PETER_NOTE)
    line = PETER_NOTE.splitlines()[-1] + "\n"
    many = [line.replace("PeterNeumann", f"Peter{number}") for number in range(SIGNATURES_MAX + 1)]
    with pytest.raises(NoteMalformed):
        SignedNote.parse(TEXT + "\n" + "".join(many))
    assert len(SignedNote.parse(TEXT + "\n" + "".join(many[1:])).signatures) == SIGNATURES_MAX


@given(st.integers(0, len(TEXT) - 2), st.integers(0, 6))
def test_a_changed_text_does_not_verify(position: int, bit: int) -> None:
    changed = chr(ord(TEXT[position]) ^ (1 << bit))
    note = TEXT[:position] + changed + PETER_NOTE[position + 1 :]
    with pytest.raises((NoteUnverified, NoteMalformed)):
        verify_note(note, [PETER])


def test_signatures_of_unknown_keys_are_ignored() -> None:
    note = SignedNote.parse(PETER_NOTE).with_signatures(
        [sign_line(TEXT, SIGNER), sign_line(TEXT, WITNESS, time_s=9)]
    )
    assert [v.key for v in verify_note(note, [SIGNER.key])] == [SIGNER.key]
    with pytest.raises(NoteUnverified):
        verify_note(note, [ENOCH])


def test_a_key_that_shares_only_its_name_or_its_id_is_unknown() -> None:
    namesake = NoteSigner.from_seed("PeterNeumann", b"\x01" * 32).key
    with pytest.raises(NoteUnverified):
        verify_note(PETER_NOTE, [namesake])
    forged = NoteSignature("EnochRoot", PETER.key_id, SignedNote.parse(PETER_NOTE).signatures[0].signature)
    with pytest.raises(NoteUnverified):
        verify_note(SignedNote(TEXT, (forged,)), [PETER, ENOCH])


def test_one_bad_signature_of_a_known_key_refuses_the_whole_note() -> None:
    bad = NoteSignature(PETER.name, PETER.key_id, b"\x01" * 64)
    note = sign_note(TEXT, SIGNER).with_signatures([bad])
    assert verify_note(note, [SIGNER.key])
    with pytest.raises(NoteUnverified):
        verify_note(note, [SIGNER.key, PETER])


def test_a_signature_of_another_length_does_not_verify() -> None:
    line = SignedNote.parse(PETER_NOTE).signatures[0]
    for signature in (line.signature[:63], line.signature + b"\0"):
        with pytest.raises(NoteUnverified):
            verify_note(SignedNote(TEXT, (NoteSignature(line.name, line.key_id, signature),)), [PETER])


def test_a_look_alike_name_is_another_key() -> None:
    cyrillic = NoteKey("РeterNeumann", PETER.algorithm, PETER.public_key)
    assert cyrillic.key_id != PETER.key_id
    with pytest.raises(NoteUnverified):
        verify_note(PETER_NOTE, [cyrillic])


def test_a_cosignature_covers_its_time() -> None:
    line = sign_line(TEXT, WITNESS, time_s=1_679_315_147)
    (verified,) = verify_note(SignedNote(TEXT, (line,)), [WITNESS.key])
    assert verified.time_s == 1_679_315_147
    later = (1_679_315_148).to_bytes(8, "big") + line.signature[8:]
    with pytest.raises(CosignatureReplayed):
        verify_note(SignedNote(TEXT, (NoteSignature(line.name, line.key_id, later),)), [WITNESS.key])


def test_a_key_signs_only_what_its_algorithm_is_for() -> None:
    with pytest.raises(NoteMalformed):
        sign_line(TEXT, SIGNER, time_s=1)
    with pytest.raises(NoteMalformed):
        sign_line(TEXT, WITNESS)
    with pytest.raises(NoteMalformed):
        sign_line(TEXT, WITNESS, time_s=1 << 63)
    with pytest.raises(NoteMalformed):
        sign_note("no newline", SIGNER)


def test_the_same_seed_under_both_algorithms_has_two_ids() -> None:
    log = NoteSigner.from_seed("x.example", b"\x09" * 32)
    witness = NoteSigner.from_seed("x.example", b"\x09" * 32, algorithm=COSIGNATURE)
    assert log.key.public_key == witness.key.public_key
    assert log.key.key_id != witness.key.key_id


def test_a_signer_does_not_show_its_secret() -> None:
    assert (b"\x07" * 32).hex() not in repr(SIGNER) and "secret" not in repr(SIGNER)
    with pytest.raises(MalformedValue):
        NoteSigner.from_seed("x", b"short")


@given(st.binary(max_size=80))
def test_base64_has_one_form(data: bytes) -> None:
    text = encode_base64(data)
    assert decode_base64(text, "test") == data
    for other in (text + "\n", " " + text, text + "=", text.replace("=", "") if "=" in text else text + "A"):
        with pytest.raises(NoteMalformed):
            decode_base64(other, "test")


def test_a_lone_surrogate_is_no_name_and_no_text() -> None:
    with pytest.raises(NoteMalformed):
        NoteKey.parse("\ud800+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    with pytest.raises(NoteMalformed):
        SignedNote.parse(PETER_NOTE.replace("PeterNeumann", "\udfff"))
    with pytest.raises(NoteMalformed):
        SignedNote.parse("\ud800" + PETER_NOTE)


def test_the_bound_on_a_note_counts_bytes() -> None:
    text = sign_note("字" * (NOTE_SIZE_MAX // 3 - 100) + "\n", SIGNER).to_text()
    assert SignedNote.parse(text) == SignedNote.parse(text.encode())
    with pytest.raises(NoteMalformed):
        SignedNote.parse("字" * 200 + text)
