"""The document suffices: a verifier written from it alone agrees with ours, and its tables are the contracts'."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client.verify import PROCEDURE
from ledger.abi import interface
from tests.client import stranger, stranger_kinds
from tests.client.receipts import Specimen
from tests.client.world import World, ask
from tests.privacy.test_answer_reference import Table

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"


@pytest.fixture(scope="module", params=[(), (1,)], ids=["all", "one dropped"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, World]:
    world = World(tmp_path_factory.mktemp("world"), dropped=request.param)
    buyer = world.make_buyer()
    return buyer.fetch(ask(world, buyer)).receipt_path.read_bytes(), world


def test_a_verifier_written_from_the_document_agrees(case: tuple[bytes, World]) -> None:
    data, world = case
    stranger.verify(data, world.chain.logs_kept)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["answer"]["cells"].__setitem__(0, "1"),
        lambda r: r["survivors"][0].update(pad="0x" + "00" * 32),
        lambda r: r["roster"][0].update(line="0x" + "00" * 32),
        lambda r: r["request"].update(nonce="1"),
        lambda r: r["plan"].update(purpose="other"),
        lambda r: r["table"]["rows"][0].__setitem__(1, "1"),
    ],
)
def test_and_refuses_what_is_altered(case: tuple[bytes, World], change: object) -> None:
    data, world = case
    receipt = json.loads(data)
    change(receipt)  # type: ignore[operator]
    with pytest.raises(AssertionError):
        stranger.verify(stranger.jcs(receipt), world.chain.logs_kept)


# --- the other kinds -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["score", "join", "deposit"])
def other(request: pytest.FixtureRequest, specimens: Callable[[str], Specimen]) -> Specimen:
    """A receipt of a kind that is no sum."""
    return specimens(request.param)


def require_table(receipt: dict[str, Any], values: list[int], contributors: int) -> None:
    """The tenth step: what §6 makes of the values, by the derivation that uses nothing of `privacy`; scores are null."""
    plan, table = receipt["plan"], receipt["table"]
    hidden = {n for n, output in enumerate(plan["outputs"]) if output["kind"] == "score"}
    kept = {**plan, "outputs": [output for n, output in enumerate(plan["outputs"]) if n not in hidden]}
    again = Table(stranger.jcs(kept), len(receipt["roster"]), contributors, values)
    for shown, derived in ((table["rows"], again.rows), (table["error95"], again.errors)):
        assert {row[n] for row in shown for n in hidden} <= {None}
        rows = [[value for n, value in enumerate(row) if n not in hidden] for row in shown]
        assert rows == [[str(value) if isinstance(value, int) else value for value in row] for row in derived]


def test_a_verifier_written_from_the_document_agrees_on_every_kind(other: Specimen) -> None:
    receipt, logs = json.loads(other.data), other.node.logs_kept
    stranger.verify(other.data, logs)
    require_table(receipt, *stranger_kinds.values_of(receipt, logs))


def flipped(text: str, place: int) -> str:
    return text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]


OF_KINDS: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("score", lambda r: r["answer"]["cells"].__setitem__(-1, str(1 << 32))),
    ("score", lambda r: r["answer"]["cells"].pop()),
    ("score", lambda r: r["table"]["rows"][0].__setitem__(2, 1.5)),
    ("join", lambda r: r["answer"]["cells"].__setitem__(0, str(2 << 48))),
    ("join", lambda r: r["answer"]["cells"].__setitem__(-1, str(1 << 20))),
    ("join", lambda r: r["table"]["rows"][0].__setitem__(1, 1e9)),
    ("deposit", lambda r: r["deposit"]["bundles"].pop()),
    ("deposit", lambda r: r["deposit"]["bundles"][1].update(payload=flipped(r["deposit"]["bundles"][1]["payload"], -9))),
    ("deposit", lambda r: r["deposit"]["inputs"][1].update(payload=flipped(r["deposit"]["inputs"][1]["payload"], 90))),
    ("deposit", lambda r: r.pop("deposit")),
]  # fmt: skip


def test_and_refuses_what_is_altered_in_them(other: Specimen) -> None:
    for kind, change in OF_KINDS:
        if kind == other.kind:
            receipt = json.loads(other.data)
            change(receipt)
            with pytest.raises(AssertionError):
                require_table(receipt, *stranger_kinds.values_of(receipt, other.node.logs_kept))


@pytest.mark.slow
def test_and_refuses_other_decrypted_values_than_the_trustees(other: Specimen) -> None:
    if other.kind == "deposit":
        receipt = json.loads(other.data)
        row = receipt["table"]["rows"][0]
        row[1] = "0" if row[1] != "0" else "1"  # the noisy count of a small group is 0 at times
        with pytest.raises(AssertionError):
            require_table(receipt, *stranger_kinds.values_of(receipt, other.node.logs_kept))
        for place in (0, -1):
            receipt = json.loads(other.data)
            values = receipt["deposit"]["values"]
            values[place] = str(int(values[place]) + 1)
            with pytest.raises(AssertionError):
                stranger_kinds.values_of(receipt, other.node.logs_kept)


# --- the document itself -------------------------------------------------------------------------------------


def test_the_events_in_the_document_are_the_contracts() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert "## 7. Receipt" in text
    declared = {
        f"{s.name}({','.join(s.types)})": h.hex() for h, s in interface("ComputeLedger").events.items()
    }
    documented = re.findall(r"^\| `(\w+\(.*?\))` \| `0x([0-9a-f]{64})`", text, flags=re.MULTILINE)
    assert len(documented) == 6
    assert all(declared[signature] == topic for signature, topic in documented)


def test_the_steps_in_the_document_are_the_codes() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert "## 7. Receipt" in text
    section = text[text.index("## 7. Receipt") : text.index("## 8. ")]
    steps = re.findall(r"^(\d+)\. \*\*(.+?)\.\*\*", section, flags=re.MULTILINE)
    assert [(int(number), name.lower()) for number, name in steps] == [
        (number, name.lower()) for number, name, _ in PROCEDURE
    ]
