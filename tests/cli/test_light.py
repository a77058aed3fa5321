"""What must stay light does: nothing heavy is imported for help, and spaces are read without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ENVIRONMENT

_HEAVY = ("torch", "ray", "lightning", "mlflow", "pandas", "pyarrow", "sklearn", "numpy")
_REPORT = f"import sys, json; print(json.dumps([name for name in {_HEAVY} if name in sys.modules]))"


def _printed(program: str, *words: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program, *words], env=ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        *(
            [command, "--help"]
            for command in ("sweep", "train", "results", "status", "logs", "info", "report", "graph")
        ),
        [],
    ],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    program = f"import sys\nfrom nnray.cli.main import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n{_REPORT}"
    output = _printed(program, *words)
    *text, heavy = output.splitlines()
    assert json.loads(heavy) == []
    assert "usage:" in "\n".join(text)


def test_import_nnray_is_light() -> None:
    output = _printed(f"import nnray; nnray.Sweep; nnray.grid\n{_REPORT}")
    assert json.loads(output) == []


def test_every_command_is_in_the_help_and_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    from nnray.cli.main import COMMANDS, main

    assert main([]) == 0
    top = capsys.readouterr().out
    for command in COMMANDS:
        assert command in top
        with pytest.raises(SystemExit) as left:
            main([command, "--help"])
        assert left.value.code == 0
        assert ("--store" in capsys.readouterr().out) == (command != "graph")


def test_the_default_study_is_read_without_pytorch() -> None:
    spaces = Path(__file__).parents[2] / "search_spaces"
    program = (
        f"from nnray.space import load_sweep\nprint(len(list(load_sweep('{spaces}/digits.py').overrides())))\n{_REPORT}"
    )
    output = _printed(program)
    count, heavy = output.splitlines()
    assert int(count) >= 24
    assert json.loads(heavy) == []
