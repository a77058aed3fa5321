"""A grid is edited and run again: exactly what is new is trained."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from nnray.cli.main import main

SPACE = """
from nnray import Sweep, grid
sweep = Sweep(
    name="study",
    base={{
        "data": {{"class_path": "user_code.NoiseData", "init_args": {{"size": 16}}}},
        "task": "user_code.OwnTask",
        "trainer": {{"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1}},
    }},
    space={{"task.width": grid({widths}), "seed": grid(range({seeds}))}},
)
"""


def attempts() -> dict[str, int]:
    return {
        path.parent.name: json.loads(path.read_text())["attempts"]
        for path in Path("nnray-store/trials").glob("*/record.json")
    }


def rows() -> pd.DataFrame:
    return pd.read_parquet("nnray-store/tables/study/trials.parquet")


def now_of(output: str) -> int:
    found = re.search(r"of (\d+) trials complete, (\d+) of them now", output)
    assert found is not None, output
    return int(found.group(2))


def test_two_hundred_trials_less_forty_and_sixty_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNRAY_STORE", raising=False)

    def run(widths: str, seeds: int) -> str:
        (tmp_path / "study.py").write_text(SPACE.format(widths=widths, seeds=seeds))
        assert main(["sweep", "study.py", "--in-process"]) == 0
        return capsys.readouterr().out

    assert now_of(run("range(1, 6)", 40)) == 200
    first = attempts()
    assert len(first) == len(rows()) == 200

    output = run("range(2, 6)", 55)  # a width less, and more replicates
    assert "study: 220 trials: 160 complete, 0 to resume, 60 to run" in output
    assert "no longer in the space: 40 trials, gone from the tables; folders stay" in output
    assert now_of(output) == 60
    second = attempts()
    assert len(second) == 260
    assert set(second.values()) == {1}, "none was trained twice"
    assert len(rows()) == 220
    assert set(rows()["status"]) == {"completed"}

    output = run("range(2, 6)", 55)
    assert "study: 220 trials: 220 complete, 0 to resume, 0 to run" in output
    assert now_of(output) == 0
    assert attempts() == second
