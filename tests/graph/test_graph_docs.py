"""Every Python example of docs/graphs.md runs by itself."""

import re
from pathlib import Path

import pytest
import torch

TEXT = (Path(__file__).parents[2] / "docs" / "graphs.md").read_text()
BLOCKS = [
    (TEXT[: match.start()].rpartition("\n#")[2].partition("\n")[0].strip("# "), match[1])
    for match in re.finditer(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
]


@pytest.mark.parametrize("code", [code for _, code in BLOCKS], ids=[heading for heading, _ in BLOCKS])
def test_example(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(compile(code, "docs/graphs.md", "exec"), {"__name__": "__main__"})


def test_there_are_examples():
    assert len(BLOCKS) >= 8
