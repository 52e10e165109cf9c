"""The document suffices: a verifier written from it alone agrees with ours, and its tables are the contracts'."""

import json
import re
from pathlib import Path

import pytest

from client.verify import PROCEDURE
from ledger.abi import interface
from tests.client import stranger
from tests.client.world import World, ask

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


def test_the_events_in_the_document_are_the_contracts() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    if "## 7. Receipt" not in text:
        pytest.skip("docs/protocol.md has no section 7 yet")
    declared = {
        f"{s.name}({','.join(s.types)})": h.hex() for h, s in interface("ComputeLedger").events.items()
    }
    documented = re.findall(r"^\| `(\w+\(.*?\))` \| `0x([0-9a-f]{64})`", text, flags=re.MULTILINE)
    assert len(documented) == 6
    assert all(declared[signature] == topic for signature, topic in documented)


def test_the_steps_in_the_document_are_the_codes() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    if "## 7. Receipt" not in text:
        pytest.skip("docs/protocol.md has no section 7 yet")
    section = text[text.index("## 7. Receipt") : text.index("## 8. ")]
    steps = re.findall(r"^(\d+)\. \*\*(.+?)\.\*\*", section, flags=re.MULTILINE)
    assert [(int(number), name.lower()) for number, name in steps] == [
        (number, name.lower()) for number, name, _ in PROCEDURE
    ]
