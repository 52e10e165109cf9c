"""Progress goes to stderr: stdout is for the answer alone."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from cli.output import Stages, print_json


def shown(*, quiet: bool) -> tuple[str, str, Stages]:
    stages, app = Stages(quiet=quiet), typer.Typer()

    @app.command()
    def work() -> None:
        with stages.stage("rows", "rows hashed") as stage:
            stage.reach(1, 2)
            stage.reach(2, 2)
        with stages.stage("rows", "rows hashed"):
            print_json({"root": "0x12"})

    done = CliRunner().invoke(app, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout, done.stderr, stages


def test_stages_leave_stdout_to_the_answer() -> None:
    out, err, stages = shown(quiet=False)
    assert out == '{"root": "0x12"}\n'
    assert err.count("rows hashed") == 2
    assert list(stages.seconds) == ["rows"]


def test_quiet_stages_are_timed_and_say_nothing() -> None:
    out, err, stages = shown(quiet=True)
    assert (out, err) == ('{"root": "0x12"}\n', "")
    assert stages.seconds["rows"] >= 0


def test_a_stage_that_fails_is_not_said_to_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    stages = Stages(quiet=False)
    with pytest.raises(ValueError, match="no rows"), stages.stage("rows", "rows hashed"):
        raise ValueError("no rows")
    assert "rows hashed" not in capsys.readouterr().err
    assert stages.seconds == {}
