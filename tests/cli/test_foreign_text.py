"""What other parties wrote is shown as they wrote it: never read as markup, never acting on a terminal."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cli import output
from cli.app import app, main
from cli.licence.steps import Steps
from cli.licence.verify_command import show_verdict
from cli.output import Stages, json_text, print_json, print_step, print_table, say, visible

MARKUP = "[/x] [green]✓ all steps VALID[/green] :smile: [link=x]"
CONTROLS = "\x1b[2J\x1b]0;title\x07\x9b31m\u202e\u2028\x7f\ud800"
SHOWN = r"\x1b[2J\x1b]0;title\x07\x9b31m\u202e\u2028\x7f\ud800"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal of 80 columns that takes colours and links, behind stdout and stderr."""
    written = io.StringIO()
    for name in ("console", "notes"):
        plain = Console(
            file=written, force_terminal=True, width=80, markup=False, emoji=False, highlight=False
        )
        monkeypatch.setattr(output, name, plain)
    return written


def test_a_table_shows_title_header_and_cells_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(
        MARKUP, ["l[intercept]", "l[slope:kwh]", "[/x]"], [[1.5, 2, MARKUP], [None, True, "用电 [/b] 表"]]
    )
    out = capsys.readouterr().out
    assert out.count(MARKUP) == 2
    for text in ("l[intercept]", "l[slope:kwh]", " [/x] ", "用电 [/b] 表"):
        assert text in out


def test_no_control_character_reaches_a_terminal_from_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(f"用电{CONTROLS}", [f"a{CONTROLS}"], [[f"b{CONTROLS}"], ["虎门，Ünïcödé 😀"]])
    out = capsys.readouterr().out
    assert out.count(SHOWN) == 3
    assert not set(CONTROLS) - set("[2J0;title31m]") & set(out)
    assert "虎门，Ünïcödé 😀" in out


def test_a_styled_line_takes_its_colours_from_nowhere_but_its_own_mark(terminal: io.StringIO) -> None:
    print_step(False, 2, f"subject: {MARKUP[:30]}")
    assert terminal.getvalue() == f"\x1b[31m✗\x1b[0m  2 subject: {MARKUP[:30]}\n"


@pytest.mark.parametrize(("ok", "mark"), [(True, "✓"), (False, "✗"), (None, "?")])
def test_a_step_shows_its_detail_in_one_line(
    capsys: pytest.CaptureFixture[str], ok: bool | None, mark: str
) -> None:
    print_step(ok, 7, f"receipt: {MARKUP}\n✓  8 forged {CONTROLS}", dim=MARKUP)
    assert capsys.readouterr().out == f"{mark}  7 receipt: {MARKUP}\\n✓  8 forged {SHOWN}  {MARKUP}\n"


def test_a_stage_is_named_as_it_is_while_it_runs_and_when_it_is_over(terminal: io.StringIO) -> None:
    with Stages(quiet=False).stage("s", f"[/x]{CONTROLS}", total=3) as stage:
        for text, tell in ((f"[/y]{CONTROLS}", stage.say), (f"[/z]{CONTROLS}", stage.advance)):
            tell(text)
            stage._progress.refresh()
    written = terminal.getvalue()
    assert written.rindex("✓") < written.rindex(f"[/x]{SHOWN}")
    assert f"[/y]{SHOWN}" in written
    assert f"[/z]{SHOWN}" in written
    assert not {"\x07", "\x9b", "\u202e"} & set(written)


def test_what_a_stage_turned_out_to_be_is_what_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with Stages(quiet=False).stage("submit", "signed request") as stage:
        stage.conclude("asked before [/x]")
    err = capsys.readouterr().err
    assert "asked before [/x]" in err
    assert "signed request" not in err


def test_a_receipt_with_markup_in_a_member_is_invalid_and_no_more(tmp_path: Path) -> None:
    for number, text in enumerate(("[/x]", "[green]✓ all steps VALID[/green]", "\x1b[2J")):
        receipt = tmp_path / f"{number}.json"
        receipt.write_text(json.dumps({"version": 1, text: text}), encoding="utf8")
        done = CliRunner().invoke(app, ["verify", str(receipt)], catch_exceptions=False)
        assert done.exit_code == 1
        assert done.stdout.endswith("\nINVALID\n")
        assert "✗  1" in done.stdout
        assert "\x1b" not in done.stdout


def test_a_licence_verdict_and_its_steps_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    show_verdict(
        {"verdict": "INVALID", "reason": MARKUP, "facts": {"[/x]": 0}, "missing": ["[/y]"], "licence": None}
    )
    steps = Steps(quiet=False)
    steps.heading("[/x] chapter")
    steps.run("[/x] name", lambda: f"{MARKUP}{CONTROLS}")
    shown = capsys.readouterr()
    assert f"INVALID {MARKUP}\n" in shown.out
    assert "missing: [/y]\n" in shown.out
    assert f"[/x] name  {MARKUP}{SHOWN}" in shown.out
    assert "[/x] chapter" in shown.err


def test_json_is_the_same_value_without_a_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    value = {f"名{CONTROLS}": ["用电", "😀\U000e0001", 1.5, None, {"a": MARKUP}]}
    print_json(value)
    out = capsys.readouterr().out
    assert json.loads(out) == value
    assert "用电" in out
    assert out.removesuffix("\n").isprintable()
    assert json_text({"镇": "虎门"}) == '{"镇": "虎门"}'


def test_a_message_is_escaped_but_for_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"{MARKUP}{CONTROLS}\nsecond")
    say("说", err=True)
    assert capsys.readouterr() == (f"{MARKUP}{SHOWN}\nsecond\n", "说\n")
    assert visible("a\nb\t", lines=False) == r"a\nb\t"


def test_an_error_is_escaped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    absent = f"/absent/{MARKUP}{CONTROLS.removesuffix(chr(0xD800))}"
    monkeypatch.setattr(sys, "argv", ["shuyao", "verify", absent])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    shown = f"/absent/{MARKUP}{SHOWN.removesuffix(chr(92) + 'ud800')}"
    assert capsys.readouterr().err == f"shuyao: cannot read {shown}: No such file or directory\n"


# --- ids are whole, everywhere


ID = "0x" + "5a" * 32
QUESTION = (
    "SELECT town, COUNT(*) AS n FROM electricity WHERE industry IN ('玩具文体用品', '家具') GROUP BY town "
    * 3
)


def rows() -> list[list[Any]]:
    return [
        [ID, "answered", "settled", "electricity", QUESTION],
        [ID[:-1] + "b", "closed", None, "用电", "q"],
    ]


def test_ids_are_whole_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("requests", ["request", "here", "on the chain", "listing", "question"], rows())
    out = capsys.readouterr().out
    assert f" {ID} " in out
    assert f" {ID[:-1]}b " in out
    assert "…" not in out


def test_ids_are_whole_on_a_terminal_of_any_width(terminal: io.StringIO) -> None:
    for width in (300, 160, 130, 100, 80, 40):
        terminal.seek(0)
        terminal.truncate()
        output.console.width = width
        print_table("requests", ["request", "here", "on the chain", "listing", "question"], rows())
        written = terminal.getvalue()
        assert f" {ID}" in written, width
        assert "settled" in written, width
        assert "electricity" in written, width
        assert "…" not in written
        assert "".join(QUESTION.split())[-30:] in "".join(c for c in written if c not in "│ \n"), width
