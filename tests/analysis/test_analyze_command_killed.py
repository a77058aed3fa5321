"""``nnray analyze`` in a process of its own that is killed or interrupted: the second call computes the rest."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pandas as pd
import pytest
from commands import finish, nnray, start, wait_until

JOBS = {
    "cka": (["cka", "--layers", "*.relu,linear", "--data", "train", "--kernel", "rbf"], "grams", 8),
    "stitch": (["stitch", "--layers", "flatten", "--train-epochs", "20", "--train-batch-size", "16"], "rows", 12),
}


def parts_in(folder: Path) -> dict[str, int]:
    """Return when each part was last changed."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("[!.]*")}


@pytest.mark.parametrize(("what", "sent"), [("cka", signal.SIGKILL), ("stitch", signal.SIGINT)])
def test_a_second_command_computes_what_is_missing(copied, what, sent):
    options, kind, total = JOBS[what]  # of stitching, all ordered pairs of two networks after two epochs each
    words = ["analyze", *options, "--sweep", "small", "--epochs", "all", "--store", str(copied.store)]
    if what == "stitch":
        words += ["--where", "model == 'nnray.models.MLP'"]
    parts = copied.store / "analysis" / "mine" / kind
    process = start(copied.store.parent, *words, "--name", "mine")
    wait_until(lambda: process.poll() is not None or parts_in(parts))
    process.send_signal(sent)
    status, said = finish(process)
    before = parts_in(parts)
    assert 1 <= len(before) < total, said
    if sent == signal.SIGINT:
        assert status == 130
        assert said.splitlines()[-1] == "nnray: interrupted"
    else:
        assert status == -sent
    assert not (copied.store / "analysis/mine/result.parquet").exists()
    for path in parts.glob("[!.]*"):
        os.utime(path, ns=(1, 1))  # a part that is written again has another time
    for name in ("mine", "anew"):
        status, said = nnray(copied.store.parent, *words, "--name", name)
        assert status == 0, said
    after = parts_in(parts)
    assert len(after) == total
    assert sum(time == 1 for time in after.values()) == len(before)
    tables = [pd.read_parquet(copied.store / "analysis" / name / "result.parquet") for name in ("mine", "anew")]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
