"""Dr. Frankenstein's findings, asked of small networks by one command."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from published_data import Published

import analysis
from analysis.stimuli import make_stimuli
from analysis.studies.frankenstein import _enough
from nnray.cli.main import main
from nnray.data import CIFAR10
from nnray.errors import AnalysisError

SPACE = """
from nnray import Sweep

sweep = Sweep(
    name="made",
    base={
        "data": {"class_path": "nnray.data.Digits", "init_args": {"batch_size": 256}},
        "model": {"class_path": "nnray.models.SimpleCNN", "init_args": {"width": 4}},
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
        "trainer": {"max_epochs": 2},
    },
    trials=[{"seed": 0}, {"seed": 1}, {"seed": 2, "optimizer.lr": 0.0}],
)
"""
QUICK = ["--train-epochs", "1", "--fit-n", "200", "-n", "100", "--rank", "1,2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frankenstein")
    (folder / "made_space.py").write_text(SPACE)
    assert main(["sweep", str(folder / "made_space.py"), "--in-process", "--store", str(folder / "nnray-store")]) == 0
    return folder


def test_one_command_trains_stitches_and_tells(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    words = ["analyze", "frankenstein", "--space", "made_space.py", *QUICK, "--name", "f"]
    assert main([*words, "--dry-run"]) == 0
    assert "3 trials: 3 complete" in capsys.readouterr().out
    assert not (folder / "nnray-store/analysis").exists()
    assert main([*words, "--plot", "f.svg"]) == 0
    assert "behind layers that never learned" in capsys.readouterr().out
    jobs = folder / "nnray-store/analysis"
    assert {path.name for path in jobs.iterdir()} == {"f", "f-affine", "f-low-rank", "f-untrained"}
    table = pd.read_parquet(jobs / "f/result.parquet")
    assert table["finding"].tolist() == list("abcde")
    affine = pd.read_parquet(jobs / "f-affine/result.parquet")
    means = affine[affine["stage"] == "trained"].groupby("layer_b")["relative_accuracy"].mean()
    assert table["measured"][0].startswith(f"relative accuracy block1.relu {means['block1.relu']:.3f}")
    assert table["holds"][0] == ((means >= 0.95).sum() > 1)
    untrained = pd.read_parquet(jobs / "f-untrained/result.parquet")
    assert len(untrained) == 2 * 2  # one network before two, at two layers
    for picture in (jobs / "f/findings.pdf", jobs / "f/findings.png", Path("f.svg")):
        assert picture.stat().st_size > 10_000
    before = {path: path.stat().st_mtime_ns for path in jobs.glob("*/rows/*")}
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in jobs.glob("*/rows/*")} == before


def test_matches_are_those_of_the_layers(folder):
    nets = analysis.open(folder / "nnray-store", "made")
    found = nets.frankenstein(epochs=1, fit_n=200, n=100, rank=[1, 2])
    assert found.matches.groupby("stage")["r2"].mean().idxmax() == "least-squares"  # as a fit it is the best there is
    row = found.matches.iloc[-1]
    pair = found.affine.set_index("signature").loc[row["signature"]]
    images = torch.tensor(make_stimuli(nets, "test", 100).images)
    models = {network.trial: network.load() for network in nets}
    with torch.no_grad():
        values, target = (
            models[pair[f"trial_{side}"]](images, outputs=pair[f"layer_{side}"])[pair[f"layer_{side}"]] for side in "ab"
        )
        values = found.affine.network(row["signature"]).via(values)
    flat = target.flatten(1)
    expected = 1 - (values.flatten(1) - flat).square().sum() / (flat - flat.mean(0)).square().sum()
    assert row["r2"] == pytest.approx(float(expected), rel=1e-4)
    assert row["width"] == target.shape[1]


def test_the_lowest_rank_that_is_enough():
    by_rank = pd.Series({1: 0.2, 2: 0.9, 4: 0.89, 8: 1.0})
    assert _enough(by_rank, 0.88) == 2
    assert _enough(by_rank, 0.95) == 8
    assert _enough(by_rank, 1.1) is None


def test_refuses(folder, monkeypatch, capsys):
    nets = analysis.open(folder / "nnray-store", "made")
    with pytest.raises(AnalysisError, match="no network never learned"):
        nets.frankenstein(untrained="lr == 7")
    with pytest.raises(AnalysisError, match="at least two trained networks, and there are 0"):
        nets.frankenstein(untrained="lr < 7")
    monkeypatch.chdir(folder)
    for words, message in (
        (["--sweep", "made", "--plot", "f.html"], "a picture ends in .pdf, .svg, .png\n"),
        (["--sweep", "made", "--space", "made_space.py"], "by --sweep and by --space: one is enough"),
        (["--space", "made_spac.py"], "made_space.py"),
    ):
        assert main(["analyze", "frankenstein", *words]) == 2
        assert message in capsys.readouterr().err


def test_the_networks_on_cifar10_take_the_same_way(tmp_path, monkeypatch, capsys):
    data = Published(CIFAR10, tmp_path / "published", "http://127.0.0.1", monkeypatch)
    data.place(tmp_path / "data")
    space = Path("search_spaces/frankenstein_cifar10.py").absolute()
    monkeypatch.chdir(tmp_path)
    small = [word for change in ("trainer.max_epochs=1", "model.width=2") for word in ("--set", change)]
    assert main(["sweep", str(space), "--in-process", *small]) == 0
    words = ["analyze", "frankenstein", "--sweep", "frankenstein-cifar10", "--where", "seed in (0, 1, 5)"]
    assert (
        main([*words, "--layers", "relu2", *QUICK[:2], "--fit-n", "30", "-n", "20", "--rank", "1", "--name", "f"]) == 0
    )
    assert "3 networks of 3 trials" in capsys.readouterr().out
    table = pd.read_parquet("nnray-store/analysis/f-affine/result.parquet")
    assert set(table["stage"]) == {"random", "least-squares", "trained"}
    assert table["accuracy"].between(0, 1).all()
