"""How layers get to the disk: arrays that are written minibatch by minibatch, and memory that is used again."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis.jobs.growing_arrays import LAYERS, LEFT_OUT, GrowingArrays, growing_arrays
from analysis.memory import freed_memory_kept
from nnray.errors import AnalysisError


def test_minibatches_are_read_back_as_one_array_of_each_layer(tmp_path: Path) -> None:
    whole = {
        "columns": np.asfortranarray(np.arange(60.0, dtype=np.float32).reshape(10, 6)),
        "half": np.linspace(0, 1, 10).astype(np.float16),
    }
    with growing_arrays(tmp_path / "network", 10) as arrays:
        for rows in (slice(0, 4), slice(4, 8), slice(8, 10)):
            arrays.write({name: values[rows] for name, values in whole.items()}, len(whole["half"][rows]))
    for number, values in enumerate(whole.values()):
        back = np.load(tmp_path / "network" / f"{number}.npy", mmap_mode="r")
        assert back.dtype == values.dtype
        np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize("second", [np.zeros((2, 4)), np.zeros((2, 3), np.float32)], ids=["shape", "dtype"])
def test_rows_unlike_those_before_are_refused_and_nothing_stays(tmp_path: Path, second: np.ndarray) -> None:
    def write() -> None:
        with growing_arrays(tmp_path / "network", 4) as arrays:
            arrays.write({"layer": np.zeros((2, 3))}, 2)
            arrays.write({"layer": second}, 2)

    with pytest.raises(AnalysisError, match=r"\(3,\) values of float64 for an image of one minibatch, and \("):
        write()
    assert not list(tmp_path.iterdir())


def test_a_layer_that_is_left_out_has_no_file_and_the_others_keep_their_names(tmp_path: Path) -> None:
    with growing_arrays(tmp_path / "network", 4) as arrays:
        arrays.write({name: np.full((2, 3), place) for place, name in enumerate("abc")}, 2)
        arrays.left_out["b"] = "it is no good"
        arrays.write({"a": np.full((2, 3), 0), "c": np.full((2, 3), 2)}, 2)
    folder = tmp_path / "network"
    assert sorted(path.name for path in folder.iterdir()) == ["0.npy", "1.npy", LAYERS, LEFT_OUT]
    there = {
        name: np.load(folder / f"{place}.npy") for place, name in enumerate(json.loads((folder / LAYERS).read_text()))
    }
    assert {name: set(values.ravel()) for name, values in there.items()} == {"a": {0}, "c": {2}}
    assert json.loads((folder / LEFT_OUT).read_text()) == {"b": "it is no good"}


def test_what_was_left_out_is_known_when_another_worker_goes_on(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("analysis.jobs.growing_arrays._NOTED_EVERY_S", -1.0)
    arrays = GrowingArrays(tmp_path, 4)
    arrays.left_out["b"] = "it is no good"
    arrays.write({"a": np.zeros((2, 3))}, 2)
    arrays.close()
    again = GrowingArrays(tmp_path, 4)
    assert (again.done, again.left_out) == (2, {"b": "it is no good"})
    again.close()


def test_files_are_let_go_of(tmp_path: Path) -> None:
    arrays = GrowingArrays(tmp_path, 4)
    before = sum(1 for _ in Path("/dev/fd").iterdir())
    arrays.write({"one": np.zeros((2, 3)), "other": np.zeros((2, 3))}, 2)
    arrays.close()
    assert sum(1 for _ in Path("/dev/fd").iterdir()) == before


@pytest.mark.skipif(not Path("/proc").exists(), reason="glibc on Linux")
def test_freed_memory_costs_no_page_faults_again() -> None:
    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            torch.ones(2_000_000)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with freed_memory_kept():
        faults()
        assert faults() < 100  # and not 20 times the 2,000 pages
