"""The benchmark of the checksums of rows runs, on a few rows, and compares with the same rows without them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "metric_rows.py"


def test_it_measures_all_sides(tmp_path: Path) -> None:
    words = ["--rows", "20", "--rounds", "2", "--disk", str(tmp_path), "--json", "figures.json"]
    done = subprocess.run([sys.executable, str(SCRIPT), *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "figures.json").read_text())
    assert report["bytes_over_plain"] > 1
    for side in ("append", "replace", "read"):
        assert report[side]["ratio"] > 0
    assert set(report) > {"machine", "versions", "load_average", "rows"}
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
