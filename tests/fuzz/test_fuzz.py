"""Every decoder on valid values, on what is known to hurt and on mutations of both; whole, under coverage, in `--full`.

`./shuyao test --full --fuzz-seconds N` fuzzes each family for N seconds (SHUYAO_FUZZ_SECONDS; 600 unless it is said). Figures of such
runs are in docs/threat-model.md.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from ledger.encoding import canonical_json
from tests.fuzz import guided, small, table
from tests.fuzz.contract import Decoder, examine, peak_bytes
from tests.fuzz.draw import Draw
from tests.fuzz.mutation import hostile, mutate

SECONDS = int(os.environ.get("SHUYAO_FUZZ_SECONDS", "600"))
EXECUTIONS = 30
SLOW = {
    "keystore.load": 12,
    "keyfile.load": 12,
    "the matcher's round": 15,
    "the value side's round": 15,
    "a value side's messages": 15,
}
"""Decoders that take many milliseconds: fewer mutations."""

ALIKE = {"parse_query of a join", "parse_query of a deposit"}
"""Decoders that another one shows to be quick: without long inputs."""


@pytest.mark.parametrize("family", table.NAMES)
def test_decoders_keep_their_promises(family: str) -> None:
    for decoder in table.family(family):
        with_hostile = decoder.name not in ALIKE
        executions = SLOW.get(decoder.name, EXECUTIONS) + len(hostile()) * with_hostile
        done, findings = small.run(
            decoder, seed=f"{family}/{decoder.name}", executions=executions, with_hostile=with_hostile
        )
        assert done == executions
        assert not findings, findings


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 1800)
@pytest.mark.parametrize("family", table.NAMES)
def test_decoders_survive_a_guided_fuzzer(
    family: str, record_property: Callable[[str, object], None]
) -> None:
    report = guided.fuzz(family, SECONDS)
    record_property("figure", f"{report.executions:,} in {report.seconds} s ({report.engine})")
    assert not report.findings, report.findings


def test_the_table_names_each_family_and_decoder_once() -> None:
    assert len(set(table.NAMES)) == len(table.NAMES)
    for name in table.NAMES:
        decoders = [decoder.name for decoder in table.family(name)]
        assert len(set(decoders)) == len(decoders) <= 256


def test_each_decoder_of_a_family_can_be_fuzzed_alone() -> None:
    whole = table.family("points")
    assert [table.family(name) for name in table.each("points")] == [(decoder,) for decoder in whole]
    assert table.decoder_of("points:1", b"\0") is table.decoder_of("points:1", b"\1") is whole[1]


def test_a_decoder_has_had_its_seconds_once_a_run_took_them_and_found_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHUYAO_HOME", str(tmp_path))
    report = guided.cache_folder() / "points:1.json"
    assert not guided.has_had("points:1", 60)
    report.parent.mkdir(parents=True)
    for seconds, findings, had in ((59, [], False), (60, [], True), (60, ["one"], False)):
        report.write_text(json.dumps({"seconds": seconds, "findings": findings}), encoding="utf-8")
        assert guided.has_had("points:1", 60) is had


# --- that a broken promise is seen -------------------------------------------------------------------------


class Refused(Exception):
    """The named error of the decoders below."""


def broken(read: Callable[[bytes], Any], **more: Any) -> Decoder:
    return Decoder("broken", read, (Refused,), lambda: [b"seed"], **more)


def _kind(decoder: Decoder, data: bytes = b"data") -> str | None:
    finding = examine(decoder, data).finding
    return None if finding is None else finding.kind


def _refuse(message: str) -> Callable[[bytes], Any]:
    def read(_: bytes) -> Any:
        raise Refused(message)

    return read


def _burn(_: bytes) -> None:
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass


def test_a_value_and_a_named_error_are_well() -> None:
    assert examine(broken(len), b"data").taken
    assert _kind(broken(len)) is None
    assert not examine(broken(_refuse("no")), b"data").taken
    assert _kind(broken(_refuse("no"))) is None
    assert _kind(broken(bytes, write=bytes)) is None


def test_another_exception_is_found_and_named_by_its_line() -> None:
    assert _kind(broken(lambda data: data[9])) == "exception"
    finding = examine(broken(lambda _: canonical_json(1j)), b"data").finding
    assert finding is not None and finding.where.startswith("ledger/encoding.py:")


def test_too_slow_and_too_large_are_found() -> None:
    assert _kind(broken(_burn, seconds_max=0.01)) == "slow"
    more = peak_bytes() - psutil.Process().memory_info().rss + (32 << 20)
    assert _kind(broken(lambda _: len(b"x" * more), growth_max=1 << 20)) == "memory"


def test_a_form_that_is_not_written_again_is_found() -> None:
    assert _kind(broken(lambda data: data.strip(), write=bytes), b" data") == "roundtrip"
    assert _kind(broken(lambda data: data.strip(), write=bytes, is_canonical=False), b" data") is None
    assert _kind(broken(lambda data: data[:2], write=lambda value: value + b"!", is_canonical=False)) is None
    assert _kind(broken(len, write=lambda size: bytes(size + 1), is_canonical=False)) == "roundtrip"


def test_a_message_that_cannot_be_shown_is_found() -> None:
    assert _kind(broken(_refuse("\ud800"))) == "message"


def test_a_refused_seed_is_an_error() -> None:
    with pytest.raises(Refused):
        small.seeds_of(broken(_refuse("no")))


def test_a_fault_behind_one_byte_of_a_form_is_found_by_mutation() -> None:
    def read(data: bytes) -> bytes:
        if not data.startswith(b"seed"):
            raise Refused("another start")
        if len(data) > 4:
            return bytes([1 // (data[4] % 16)])
        return data

    _, findings = small.run(broken(read), seed="x", executions=2000)
    assert [(each.kind, each.detail[:17]) for each in findings] == [("exception", "ZeroDivisionError")]


def test_the_same_seed_gives_the_same_inputs() -> None:
    def inputs(seed: str) -> list[bytes]:
        draw = Draw(seed)
        return [mutate(b'{"a":[1,"0x00","eyJhIjoxfQ"]}', draw, [b"other"]) for _ in range(200)]

    assert inputs("one") == inputs("one")
    assert len(set(inputs("one")) - set(inputs("two"))) > 100
