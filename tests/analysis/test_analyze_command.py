"""``nnray analyze`` and ``nnray import`` from a shell's point of view."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

import pandas as pd
import pytest
import torch

import analysis
import nnray
from nnray.cli.main import main
from nnray.models import MLP

JOBS = """
import analysis


@analysis.job("linear", n=20)
def size(network, activations):
    return activations["linear"].numel()


@analysis.job()
def epochs(network, activations):
    if network.epoch == 0:
        raise ValueError("too early")
    return {"after": network.epoch + 1}
"""


@pytest.fixture
def store(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of the test's own, in the current folder."""
    shutil.copytree(trained, tmp_path / "nnray-store", ignore=shutil.ignore_patterns("analysis"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "nnray-store"


def test_cka_of_a_sweep(store, capsys):
    words = ["analyze", "cka", "--sweep", "small", "--layers", "*.relu,linear", "-n", "64", "--name", "c"]
    assert main([*words, "--plot", "c.svg"]) == 0
    assert "nnray-store/analysis/c/result.parquet" in capsys.readouterr().out
    table = pd.read_parquet(store / "analysis/c/result.parquet")
    assert table["value"].between(-1, 1.000001).all()
    assert "<svg" in Path("c.svg").read_text()[:500]
    assert main(words) == 0


def test_pairs_by_a_measure(store, capsys):
    words = ["analyze", "compare", "--sweep", "small", "--measure", "svcca", "--option", "variance=0.9"]
    words += ["--layers", "linear", "-n", "99", "--same", "layer", "--interval", "bootstrap", "--resamples", "9"]
    assert main([*words, "--against", analysis.open()[0].trial, "--name", "s", "--plot", "s.pdf"]) == 0
    table = pd.read_parquet(store / "analysis/s/result.parquet")
    assert len(table) == 4
    assert table["value"][0] == pytest.approx(1)
    assert (table["low"] <= table["high"]).all()
    assert Path("s.pdf").stat().st_size
    assert (
        main(["analyze", "compare", "--measure", "procrustes", "--option", "kind=squared", "--layers", "linear"]) == 0
    )
    assert "analysis/procrustes-" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["weights", "--which", "cosine"], ["connectivity", "-n", "40"], ["ntk", "-n", "8"]])
def test_networks_as_wholes(store, words):
    cnns = ["--sweep", "small", "--where", "model == 'nnray.models.SimpleCNN'"]
    assert main(["analyze", *words, *cnns, "--name", "w", "--plot", "w.html"]) == 0
    assert len(pd.read_parquet(store / "analysis/w/result.parquet")) >= 4
    assert "Plotly.newPlot" in Path("w.html").read_text()


def test_probes_by_epoch(store):
    assert main(["analyze", "probe", "--sweep", "small", "--layers", "linear", "--epochs", "all", "--name", "p"]) == 0
    table = pd.read_parquet(store / "analysis/p/result.parquet")
    assert sorted(table["epoch"].unique()) == [0, 1]
    assert table.groupby("epoch")["probe"].mean().is_monotonic_increasing


def test_stitching(store):
    words = ["analyze", "stitch", "--sweep", "small", "--where", "model == 'nnray.models.MLP'", "--layers", "flatten"]
    assert main([*words, "--kinds", "affine,orthogonal", "--stages", "least-squares", "--name", "s"]) == 0
    table = pd.read_parquet(store / "analysis/s/result.parquet")
    assert sorted(table["kind"]) == ["affine", "affine", "orthogonal", "orthogonal"]
    assert table["relative_accuracy"].between(0, 1.5).all()


def test_a_stitching_of_which_nothing_comes_is_told(store, capsys):
    words = ["analyze", "stitch", "--sweep", "small", "--where", "model == 'nnray.models.MLP'", "--layers", "linear"]
    assert main([*words, "--every-pair", "--stages", "random", "--name", "s"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no combination could be made: " in line
    assert "'linear'" in line
    assert pd.read_parquet(store / "analysis/s/result.parquet")["error"].notna().all()


def test_every_argument_of_stitching_has_an_option(store, capsys):
    words = ["analyze", "stitch", "--sweep", "small", "--where", "model == 'nnray.models.MLP'", "--layers", "flatten"]
    words += ["--kinds", "affine,low-rank", "--rank", "2,4", "--stages", "identity,trained", "--every-pair", "-n", "50"]
    words += ["--train-epochs", "1", "--train-lr", "0.01", "--train-batch-size", "32", "--weight-decay", "0.1"]
    words += ["--ridge", "0.5", "--fit-n", "90", "--fit-data", "val", "--seed", "3", "--name", "s"]
    assert main([*words, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "2 ordered pairs of networks" in shown
    assert "low-rank of rank 4: trained" in shown
    assert not (store / "analysis").exists()
    assert main([*words, "--plot", "s.svg"]) == 0
    table = pd.read_parquet(store / "analysis/s/result.parquet")
    expected = (
        analysis.open(store, "small")
        .where("model == 'nnray.models.MLP'")
        .stitching(
            "flatten",
            kinds=["affine", "low-rank"],
            rank=[2, 4],
            stages=["identity", "trained"],
            every_pair=True,
            n=50,
            epochs=1,
            lr=0.01,
            batch_size=32,
            weight_decay=0.1,
            ridge=0.5,
            fit_n=90,
            fit_data="val",
            seed=3,
        )
    )
    assert table["signature"].tolist() == expected["signature"].tolist()
    assert table["accuracy"].tolist() == expected["accuracy"].tolist()
    against = analysis.open(store, "small").where("model == 'nnray.models.MLP'")[0].trial
    assert main([*words[:-2], "--against", against, "--name", "one"]) == 0
    assert pd.read_parquet(store / "analysis/one/result.parquet")["trial_a"].unique().tolist() == [against]


def test_any_argument_can_be_set(store, capsys):
    words = ["analyze", "cka", "--sweep", "small", "--layers", "linear", "-n", "40", "--name", "c"]
    assert main([*words, "--set", "kernel=rbf", "--set", "bandwidth=0.5", "--interval", "split-half"]) == 0
    expected = analysis.open(store, "small").cka("linear", n=40, kernel="rbf", bandwidth=0.5, interval="split-half")
    pd.testing.assert_frame_equal(
        pd.read_parquet(store / "analysis/c/result.parquet"), pd.DataFrame(expected), check_categorical=False
    )
    Path("scaled_jobs.py").write_text(
        "import analysis\n\n\n@analysis.job()\ndef scaled(network, activations, by: float = 1.0):\n    return by\n"
    )
    assert main(["analyze", "scaled_jobs.py", "--sweep", "small", "--set", "by=2", "--name", "j"]) == 0
    assert pd.read_parquet(store / "analysis/j/result.parquet")["value"].tolist() == [2.0] * 4
    assert main(["analyze", "scaled_jobs.py", "--sweep", "small", "--set", "bye=2"]) == 2
    assert "--set: no job takes 'bye'; did you mean 'by'?" in capsys.readouterr().err


def test_extracted_layers_can_be_opened(store):
    assert main(["analyze", "extract", "--layers", "linear", "-n", "9", "--dtype", "float16", "--name", "e"]) == 0
    acts = analysis.Extracted(store / "analysis/e")
    assert len(acts) == 4
    assert acts[analysis.open()[0].trial, "linear"].shape == (9, 10)


def test_ones_own_jobs(store, capsys):
    Path("my_jobs.py").write_text(textwrap.dedent(JOBS))
    assert main(["analyze", "my_jobs.py", "--sweep", "small"]) == 0
    results = [pd.read_parquet(path) for path in sorted(store.glob("analysis/*/result.parquet"))]
    assert [list(result.columns) for result in results] == [["trial", "epoch", "after"], ["trial", "epoch", "value"]]
    assert set(results[1]["value"]) == {200}
    assert main(["analyze", "my_jobs.py", "--sweep", "small", "--epochs", "all"]) == 1
    assert "ValueError: too early" in capsys.readouterr().out


def test_several_jobs_of_a_file_share_a_name(store):
    Path("named_jobs.py").write_text(textwrap.dedent(JOBS))
    assert main(["analyze", "named_jobs.py", "--sweep", "small", "--name", "mine"]) == 0
    assert sorted(path.name for path in (store / "analysis").iterdir()) == ["mine-epochs", "mine-size"]


def test_a_file_called_like_a_module_is_refused(store, capsys):
    Path("torch.py").write_text(textwrap.dedent(JOBS))
    assert main(["analyze", "torch.py", "--sweep", "small"]) == 2
    assert "a module of Python is called 'torch' already" in capsys.readouterr().err


def test_a_dry_run_names_layers_and_writes_nothing(store, capsys):
    assert main(["analyze", "cka", "--sweep", "small", "--layers", "linear", "--dry-run"]) == 0
    assert "nnray.models.MLP (2 networks): linear" in capsys.readouterr().out
    assert not (store / "analysis").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cak"], "did you mean 'cka'"),
        (["missing.py"], "there is no file missing.py"),
        (["missing.py", "-n", "9"], "-n: a job says itself what it is shown"),
        (["missing.py", "--batch-size", "9"], "--batch-size is not for missing.py, but for cka"),
        (["cka", "--sweep", "smal"], "did you mean 'small'"),
        (["cka", "--epochs", "first"], "--epochs: 'first' is none of"),
        (["figures", "--which", "probes"], "did you mean 'probe'"),
        (["cka", "--layers", "linera"], "no network could be used"),
        (["cka", "--plot", "cka.pfd"], "a picture ends in .pdf, .svg, .png, .html"),
        (["cka", "--plot", "nowhere/cka.pdf"], "there is no folder nowhere"),
        (["extract", "--plot", "cka.pdf"], "extract has no picture"),
        (["compare"], "--measure: compare by which measure? linear_cka, rbf_cka"),
        (["compare", "--measure", "svca"], "did you mean 'svcca'"),
        (["compare", "--measure", "svcca", "--option", "variance"], "--option: 'variance' is no NAME=VALUE"),
        (["compare", "--measure", "svcca", "--option", "kind=1"], "svcca has no option 'kind'"),
        (["compare", "--measure", "rsa", "--same", "name"], "same: there is no 'name'"),
        (["compare", "--measure", "rsa", "--against", "ffff"], "there is no sweep or trial 'ffff'"),
        (["cka", "--actors", "-1"], "-1 is no number of actors"),
        (["cka", "--set", "bandwith=1"], "cka has no argument 'bandwith'; did you mean 'bandwidth'"),
        (["cka", "--set", "bandwidth=x"], "--set: bandwidth: expected float, got 'x'"),
        (["cka", "--kernel", "rbf", "--set", "kernel=rbf"], "kernel is given by an option and by --set"),
        (["cka", "--set", "layers=linear"], "--set: layers has an option of its own: --layers"),
        (["cka", "--set", "bandwidth"], "--set: 'bandwidth' is no NAME=VALUE"),
        (
            ["cka", "--against", "small"],
            "--against is not for cka, but for compare, weights, connectivity, ntk, stitch",
        ),
        (["figures", "--train-lr", "0.1"], "--train-lr is not for figures, but for stitch, frankenstein"),
        (["cka", "--ridge", "0"], "--ridge is not for cka, but for stitch, frankenstein"),
        (["stitch", "--rank", "1;2"], "--rank: '1;2' is no list of whole numbers such as 2,4,8"),
        (["stitch", "--kinds", "afine"], "did you mean 'affine'"),
        (["stitch", "--train-lr", "-1", "--dry-run"], "lr is -1.0, where 0 or more is expected"),
    ],
)
def test_mistakes_are_one_line(store, capsys, words, message):
    assert main(["analyze", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


OPTIONS = ["--model", "MLP", "--model.width", "8", "--data", "Digits"]


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(5)
    return MLP(width=8, in_channels=1, image_size=8, num_classes=10).eval()


@pytest.mark.parametrize("form", ["plain", "lightning", "data-parallel", "safetensors"])
def test_a_state_dict_becomes_a_trial(store, capsys, network, form):
    from safetensors.torch import save_file

    state = network.state_dict()
    content = {
        "plain": state,
        "lightning": {"state_dict": {f"model.{name}": value for name, value in state.items()}, "epoch": 3},
        "data-parallel": {f"module.{name}": value for name, value in state.items()},
        "safetensors": None,
    }[form]
    path = "net.safetensors" if content is None else "net.pt"
    save_file(state, path) if content is None else torch.save(content, path)
    words = ["import", path, "--sweep", "foreign", *OPTIONS, "--source", f"a paper, {form}"]
    assert main(words) == 0
    signature = capsys.readouterr().out.splitlines()[0]
    trials = nnray.open(store).trials("foreign")
    assert trials["trial"].tolist() == [signature]
    assert trials["status"].tolist() == ["completed"]
    assert trials["name"].tolist() == [f"a paper, {form}"]
    images = torch.randn(3, 1, 8, 8)
    assert torch.equal(analysis.open(store, "foreign")[0].load()(images), network(images))
    assert main(words) == 0  # the same again changes nothing


def test_half_precision_weights_become_those_of_the_model(store, network):
    torch.save({name: value.half() for name, value in network.state_dict().items()}, "half.pt")
    assert main(["import", "half.pt", "--sweep", "foreign", *OPTIONS]) == 0
    images = torch.randn(3, 1, 8, 8)
    assert torch.allclose(analysis.open(store, "foreign")[0].load()(images), network(images), atol=0.01)


def test_checkpoints_of_one_architecture_stand_side_by_side(store, capsys, network):
    torch.save(network.state_dict(), "one.pt")
    torch.save({name: value + 1 for name, value in network.state_dict().items()}, "other.pt")
    assert main(["import", "one.pt", "--sweep", "foreign", *OPTIONS]) == 0
    assert main(["import", "other.pt", "--sweep", "foreign", *OPTIONS]) == 2
    assert "exists with other weights: tell them apart with --source" in capsys.readouterr().err
    assert main(["import", "other.pt", "--sweep", "foreign", *OPTIONS, "--source", "other"]) == 0
    assert len(analysis.open(store, "foreign")) == 2


class Evil:
    def __reduce__(self):
        return print, ("code was run",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weights": Evil()}, "cannot be read without running code in it"),
        ({"epoch": 3}, "holds no state dict"),
        ({"layers.0.weight": torch.zeros(2, 2)}, "the weights don't fit MLP"),
        (None, "there is no checkpoint net.pt"),
        (b"nothing", "is not a checkpoint|cannot be read"),
    ],
)
def test_what_is_no_checkpoint_is_refused_and_nothing_is_written(store, capsys, content, message):
    before = sorted(store.rglob("*"))
    if isinstance(content, bytes):
        Path("net.pt").write_bytes(content)
    elif content is not None:
        torch.save(content, "net.pt")
    assert main(["import", "net.pt", "--sweep", "foreign", *OPTIONS]) == 2
    output = capsys.readouterr()
    (line,) = output.err.splitlines()
    import re

    assert re.search(message, line)
    assert "code was run" not in output.out
    assert sorted(store.rglob("*")) == before
