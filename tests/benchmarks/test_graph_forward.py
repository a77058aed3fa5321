"""The benchmark of graphs runs for real on little; what it times is not looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
OVERWRITTEN = {  # the feature extractor returns what `ReLU(inplace=True)` has made of these
    "one early layer": [],
    "a block": ["layer2.0.bn1"],
    "every layer": ["bn1", *(f"layer{stage}.{block}.bn1" for stage in (1, 2, 3, 4) for block in (0, 1))],
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("benchmark") / "report.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "graph_forward.py"), "--json", str(path)]
    little = ["--networks", "ResNet-20", "--seconds", "0", "--rounds", "2", "--backend", "eager", "--pixels", "64"]
    done = subprocess.run(
        [*command, *little], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ResNet-20" in done.stdout
    return json.loads(path.read_text())


@pytest.fixture
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


def test_names_machine_versions_and_load(report: dict[str, Any]) -> None:
    assert report["machine"].keys() == {"processor", "cores", "system", "gpu"}
    assert report["versions"].keys() == {"python", "torch", "torchvision"}
    assert report["load_average"]["highest"] >= report["load_average"]["before"]


def test_compares_forward_and_backward_and_compiled_passes_with_equal_outputs(report: dict[str, Any]) -> None:
    rows = [row for row in report["comparisons"] if row["device"] == "cpu"]
    assert [(row["pass"], row["batch"], row["compiled"]) for row in rows] == [
        ("forward", 1, None),
        ("forward", 32, None),
        ("forward_backward", 32, None),
        ("forward", 1, "eager"),
        ("forward", 32, "eager"),
    ]
    for row in rows:
        assert row["largest_difference"] == 0
        assert row["rounds"] == 2
        assert row["ratio_quartiles"][0] <= row["ratio"] <= row["ratio_quartiles"][1]


@pytest.mark.parametrize("request_", OVERWRITTEN)
def test_ways_to_extract_give_the_values_of_cloning_hooks(report: dict[str, Any], request_: str) -> None:
    rows = {row["way"]: row for row in report["extraction"] if row["request"] == request_ and row["device"] == "cpu"}
    assert {"bare pass", "graph", "hooks that clone", "feature extractor"} <= rows.keys()
    assert rows.pop("feature extractor")["wrong_values"] == OVERWRITTEN[request_]
    for way, row in rows.items():
        assert not row["wrong_values"], way
        assert row["ms"] > 0 < row["ratio"]
        assert row["peak_bytes_with_grad"] >= row["peak_bytes"]


def test_peak_memory_of_an_early_layer_is_that_of_running_just_to_there(report: dict[str, Any]) -> None:
    early = {row["way"]: row for row in report["extraction"] if row["request"] == "one early layer"}
    everything = {row["way"]: row for row in report["extraction"] if row["request"] == "every layer"}
    for peak in ("peak_bytes", "peak_bytes_with_grad"):
        assert early["graph"][peak] == early["cut by hand"][peak]
        assert early["graph"][peak] < everything["graph"][peak] / 2


@pytest.mark.usefixtures("_benchmarks")
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize(("name", "pixels"), [("ResNet-20", 32), ("ResNet-18", 64), ("ViT-tiny", 32)])
def test_the_networks_by_hand_are_those_of_the_graphs(name: str, pixels: int, training: bool) -> None:
    from forward.against_hand import twins

    graph, hand = (model.train(training) for model in twins(name))
    x = torch.randn(2, 3, pixels, pixels)
    torch.testing.assert_close(graph(x), hand(x), rtol=0, atol=0)


@pytest.mark.usefixtures("_benchmarks")
def test_peak_memory_counts_what_was_freed_within_the_call_and_what_it_returns() -> None:
    from forward.memory import peak_bytes

    def call() -> torch.Tensor:
        freed = torch.empty(1 << 20)
        total = freed + 1
        del freed
        return total + 1

    assert peak_bytes(call, "cpu") == pytest.approx(2 * 4 << 20, abs=1024)  # the scalar 1 takes a few bytes
