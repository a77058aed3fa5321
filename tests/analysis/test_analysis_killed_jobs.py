"""Jobs on actors that are interrupted or killed: what is there is valid, and the second call computes the rest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import analysis

ROOT = Path(__file__).parents[2]

JOBS = {
    "cka": ("analysis.jobs.cka", "make_gram_work", "grams", {"layers": "linear", "n": 32}),
    "extract": ("analysis.jobs.extraction", "make_extraction_work", "values", {"layers": "linear", "n": 32}),
    "stitching": (
        "analysis.jobs.stitching",
        "make_stitching_work",
        "rows",
        {"layers": "flatten", "stages": "least-squares", "n": 32, "fit_n": 64},
    ),
}

SCRIPT = """
import importlib, sys, time
from pathlib import Path

import analysis

store, name, module, make, parts, options, address = sys.argv[1:]
module, options, parts = importlib.import_module(module), eval(options), Path(store, "analysis", "mine", parts)
original = getattr(module, make)


def make_slow(*shared):
    work = original(*shared)

    def slow(task):
        while sum(1 for _ in parts.glob("[!.]*")) >= 2:  # the rest is for the second call
            time.sleep(0.05)
        return work(task)

    return slow


setattr(module, make, make_slow)
networks = analysis.open(store, "small", epochs="all")
getattr(networks, name)(**options, name="mine", actors=analysis.Actors(2, address=address))
"""


def parts_in(folder: Path) -> dict[str, int]:
    """Return when each part was last changed."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("[!.]*")}


def _heed_interrupts() -> None:
    """A test run in the background ignores Ctrl-C, and so would every process that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("name", "kill"),
    [("cka", signal.SIGINT), ("extract", signal.SIGKILL), ("extract", signal.SIGINT), ("stitching", signal.SIGKILL)],
    ids=["cka, Ctrl-C", "extract, killed", "extract, Ctrl-C", "stitching, killed"],
)
def test_a_second_call_computes_what_is_missing(copied, ray_session, name, kill):
    module, make, kind, options = JOBS[name]
    parts = copied.store / "analysis" / "mine" / kind
    words = [str(copied.store), name, module, make, kind, repr(options), ray_session]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *words],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_interrupts,
    ) as process:
        while process.poll() is None and len(parts_in(parts)) < 2:
            time.sleep(0.02)
        process.send_signal(kill)
        _, said = process.communicate(timeout=120)
    before = parts_in(parts)
    assert 2 <= len(before) <= 4, said  # each actor may have had one in hand
    networks = analysis.open(copied.store, "small", epochs="all")
    result = getattr(networks, name)(**options, name="mine")
    after = parts_in(parts)
    assert {part: after[part] for part in before} == before
    assert len(after) > len(before)
    anew = getattr(networks, name)(**options, name="anew")
    if name == "extract":
        assert result.errors.empty
        for row in anew.index.itertuples():
            there = result[row.trial, row.epoch, row.layer]
            assert (there == anew[row.trial, row.epoch, row.layer]).all()
    else:
        pd.testing.assert_frame_equal(pd.DataFrame(result), pd.DataFrame(anew), check_exact=True)
