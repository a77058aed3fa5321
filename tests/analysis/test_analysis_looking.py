"""Means over seeds, embeddings and pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from scipy.spatial.distance import pdist, squareform
from scipy.stats import t

import analysis
from analysis.embedding import classical_scaling, distances_of
from nnray.errors import AnalysisError


@pytest.fixture(scope="module")
def pairs(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> analysis.Pairs:
    import shutil

    store = tmp_path_factory.mktemp("looking") / "store"
    shutil.copytree(trained, store, ignore=shutil.ignore_patterns("analysis"))
    return analysis.open(store, "small").cka(["linear", "flatten"], n=64)


@pytest.fixture(scope="module")
def figures(pairs: analysis.Pairs) -> analysis.LayerFigures:
    store = Path(pairs.attrs["folder"]).parents[1]
    nets = analysis.open(store, "small", epochs="all")
    return nets.figures(["linear", "flatten"], which=["participation_ratio", "sparsity"], n=64)


def test_means_over_seeds_of_figures_are_students(figures):
    result = figures.over("seed")
    assert set(result["group"]) == {"SimpleCNN width=4", "MLP width=8"}
    row = result.iloc[0]
    assert row["participation_ratio/count"] == 2
    networks = figures.networks
    trials = networks[networks["config/model.class_path"].str.endswith("SimpleCNN")]["trial"].unique()
    chosen = figures[figures["trial"].isin(trials) & (figures["epoch"] == row["epoch"])]
    values = chosen[chosen["layer"] == row["layer"]]["participation_ratio"]
    assert row["participation_ratio"] == pytest.approx(values.mean())
    low, high = t.interval(0.95, 1, values.mean(), values.std() / 2**0.5)
    assert (row["participation_ratio/low"], row["participation_ratio/high"]) == pytest.approx((low, high))


def test_figures_have_intervals_over_images(figures):
    from analysis.geometry import participation_ratio
    from analysis.stimuli import make_stimuli
    from analysis.uncertainty import bootstrap

    nets = analysis.open(Path(figures.attrs["folder"]).parents[1], "small")
    options = {"which": ["participation_ratio", "two_nn"], "n": 40, "interval": "bootstrap", "resamples": 9}
    result = nets.figures("linear", **options)
    images = torch.tensor(make_stimuli(nets, "test", 40).images)
    with torch.no_grad():
        values = nets[0].load()(images, outputs="linear")["linear"]
    expected = bootstrap(participation_ratio, values, resamples=9)
    row = result.iloc[0]
    found = [row[f"participation_ratio{end}"] for end in ("", "/low", "/high")]
    assert found == pytest.approx(list(expected), rel=1e-5)
    assert result.figures == ["participation_ratio", "two_nn"]
    with pytest.raises(AnalysisError, match="probe: copies of an image would be both fit and left out"):
        nets.figures("linear", which="probe", interval="bootstrap")


def test_means_over_seeds_of_pairs(pairs):
    within, between = pairs.over("seed", same=True), pairs.over("seed")
    assert isinstance(between, analysis.Pairs)
    key = ("SimpleCNN width=4", 1, "linear")
    own = within[(within["trial_a"] == key[0]) & (within["layer_a"] == "linear") & (within["layer_b"] == "linear")]
    assert own["value"].tolist() == pytest.approx([1.0])
    assert own["count"].tolist() == [2]
    networks = pairs.networks.set_index("trial")["config/model.class_path"]
    cnn = [trial for trial in networks.index if networks[trial].endswith("SimpleCNN")]
    square = pairs.matrix()
    expected = square.loc[(cnn[0], 1, "linear"), (cnn[1], 1, "linear")]
    assert between.matrix().loc[key, key] == pytest.approx(expected)
    across = between.matrix().loc[key, ("MLP width=8", 1, "flatten")]
    mlp = [trial for trial in networks.index if trial not in cnn]
    assert across == pytest.approx(np.mean([square.loc[(a, 1, "linear"), (b, 1, "flatten")] for a in cnn for b in mlp]))


def test_the_interval_of_pairs_counts_networks_and_not_pairs():
    """Three networks with a number each; a pair's value is the sum, whose mean is twice that of the numbers."""
    from analysis.replicates import mean_of_pairs

    numbers = {"a": 1.0, "b": 2.5, "c": 2.0}
    rows = [
        {"trial_a": one, "epoch_a": 0, "layer_a": "x", "trial_b": other, "epoch_b": 0, "layer_b": "x", "value": x + y}
        for one, x in numbers.items()
        for other, y in numbers.items()
    ]
    (row,) = mean_of_pairs(pd.DataFrame(rows), dict.fromkeys(numbers, "all"), same=False).itertuples()
    values = np.array(list(numbers.values()))
    assert row.value == pytest.approx(2 * values.mean())
    half = t.ppf(0.975, 2) * 2 * values.std(ddof=1) / 3**0.5
    assert (row.high - row.low) / 2 == pytest.approx(half)


def test_classical_scaling_finds_points_again():
    points = np.random.default_rng(0).normal(size=(9, 2)) * [3, 1]
    names = pd.MultiIndex.from_product([range(9), [0]])
    distances = pd.DataFrame(squareform(pdist(points)), index=names, columns=names)
    found = classical_scaling(distances)
    np.testing.assert_allclose(squareform(pdist(found)), distances, atol=1e-9)
    assert found["x"].std() > found["y"].std()
    assert (classical_scaling(distances, 3)["z"].abs() < 1e-6).all()


def test_similarities_become_angles(pairs):
    distances = distances_of(pairs.matrix())
    assert distances.iloc[0, 1] == pytest.approx(np.arccos(pairs.matrix().iloc[0, 1]))
    assert (np.diag(distances) == 0).all()
    assert len(pairs.embedding()) == 4
    assert len(pairs.embedding("layers")) == len(pairs.matrix())
    with pytest.raises(AnalysisError, match="takes all pairs"):
        pairs[pairs["layer_a"].astype(str) == pairs["layer_b"].astype(str)].embedding("layers")
    with pytest.raises(AnalysisError, match="0 or 1 between a layer and itself"):
        distances_of(pairs.matrix() + 0.3)


PICTURES = {
    "heatmap": lambda pairs, figures, **options: pairs.plot(title="CKA", **options),
    "means over seeds": lambda pairs, figures, **options: pairs.over("seed").plot(**options),
    "networks": lambda pairs, figures, **options: pairs.plot("networks", by="width", **options),
    "layers": lambda pairs, figures, **options: pairs.plot("layers", by="layer", **options),
    "by layer": lambda pairs, figures, **options: figures.plot("sparsity", **options),
    "by epoch": lambda pairs, figures, **options: figures.plot(over="epoch", by="layer", **options),
    "by width": lambda pairs, figures, **options: figures.plot(over="width", by=["layer", "seed"], **options),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_of_papers_and_of_browsers(pairs, figures, name, tmp_path):
    picture = PICTURES[name](pairs, figures)
    assert isinstance(picture, Figure)
    picture.savefig(tmp_path / "picture.pdf")
    assert (tmp_path / "picture.pdf").read_bytes().startswith(b"%PDF")
    interactive = json.loads(PICTURES[name](pairs, figures, interactive=True).to_json())
    assert interactive["data"]


def test_heatmaps_name_layers_networks_and_values(pairs):
    heatmap, bar = pairs.plot().axes[:2]
    heatmap.figure.canvas.draw()
    assert [label.get_text() for label in heatmap.get_yticklabels()] == ["linear", "flatten"] * 4
    assert bar.get_ylabel() == "CKA"
    known = pairs.networks["name"].tolist()
    shown = [
        [label.get_text() for label in side.get_xticklabels() + side.get_yticklabels()] for side in heatmap.child_axes
    ]
    assert all(set(known) <= set(labels) for labels in shown)
    assert len(shown) == 2
    means = pairs.over("seed").plot().axes[0]
    labels = [label.get_text() for side in means.child_axes for label in side.get_yticklabels()]
    assert "MLP width=8" in labels
    hovered = json.loads(pairs.plot(interactive=True).to_json())["data"][0]["x"]
    assert hovered[0] == f"{known[0]} linear"


def test_many_curves_can_be_told_apart(figures):
    axes = figures.plot("sparsity", over="epoch", by=["layer", "seed", "model.class_path"]).axes[0]
    assert all(float(tick).is_integer() for tick in axes.get_xticks())
    lines = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(lines) == len(axes.lines) == 8
    assert axes.get_legend().get_bbox_to_anchor().x0 > axes.bbox.x1  # beside the curves, not over them


def test_curves_show_the_mean_over_networks(figures):
    axes = figures.plot("sparsity", over="epoch", by="layer").axes[0]
    (line,) = (line for line in axes.lines if line.get_label() == "flatten")
    expected = figures[figures["layer"] == "flatten"].groupby("epoch")["sparsity"].mean()
    assert line.get_xdata().tolist() == [0, 1]
    assert line.get_ydata().tolist() == pytest.approx(expected.tolist())
    curve = json.loads(figures.plot("sparsity", over="epoch", by="layer", interactive=True).to_json())["data"]
    assert sorted(line["name"] for line in curve) == ["flatten", "linear"]


def test_a_saved_page_needs_nothing_else(pairs, tmp_path):
    pairs.save(tmp_path / "picture.html")
    page = (tmp_path / "picture.html").read_text()
    assert "Plotly.newPlot" in page
    assert not re.search(r'<script[^>]+src="http', page)
    pairs.save(tmp_path / "picture.svg", "networks", by="width")
    assert "<svg" in (tmp_path / "picture.svg").read_text()[:500]


def test_a_table_read_again_is_told_its_networks(pairs):
    again = analysis.Pairs(pd.read_parquet(Path(pairs.attrs["folder"]) / "result.parquet"))
    with pytest.raises(AnalysisError, match=r"does not know its networks: result\.networks = nets\.frame"):
        again.over("seed")
    again.networks, again.errors = pairs.networks, pairs.errors
    pd.testing.assert_frame_equal(again.over("seed"), pairs.over("seed"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda pairs, figures: pairs.plot("heatmp"), "there is no picture 'heatmp'; did you mean 'heatmap'"),
        (lambda pairs, figures: figures.plot("sparsty"), "there is no figure 'sparsty'; did you mean 'sparsity'"),
        (lambda pairs, figures: figures.plot(over="widht"), "did you mean 'width'"),
        (lambda pairs, figures: figures.over("sed"), "did you mean 'seed'"),
    ],
)
def test_refuses(pairs, figures, call, message):
    from nnray.errors import NnrayError

    with pytest.raises(NnrayError, match=message):
        call(pairs, figures)
