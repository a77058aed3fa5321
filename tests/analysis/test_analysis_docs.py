"""The Python examples of docs/analysis.md run one after the other."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "analysis.md").read_text()


def test_examples(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(trained, tmp_path / "nnray-store", ignore=shutil.ignore_patterns("analysis"))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) > 5
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block.replace('"digits"', '"small"'), "docs/analysis.md", "exec"), names)
    for picture in re.findall(r'\("(\w+\.(?:pdf|svg|html))"', TEXT):
        assert picture.startswith("x.") or Path(picture).stat().st_size
