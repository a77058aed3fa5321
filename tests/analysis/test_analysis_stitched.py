"""What a stitching job keeps: combinations with signatures, which other jobs find, and their layers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

import analysis
from analysis.jobs import stitching_work
from analysis.stimuli import make_stimuli
from nnray.errors import AnalysisError

QUICK = {"n": 60, "fit_n": 90, "epochs": 1}


@pytest.fixture
def mlps(copied: analysis.Networks) -> analysis.Networks:
    return copied.where("model == 'nnray.models.MLP'")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[str, ...]]]:
    """The kinds and stages that are computed."""
    computed, original = [], stitching_work._stages

    def noted(first, second, layers, form, *rest):
        computed.append((form.kind, form.stages))
        return original(first, second, layers, form, *rest)

    monkeypatch.setattr(stitching_work, "_stages", noted)
    return computed


def test_a_larger_job_finds_what_another_has_made(mlps, made):
    small = mlps.stitching("flatten", kinds="affine", stages=["random", "trained"], name="small", **QUICK)
    made.clear()
    large = mlps.stitching("flatten", kinds=["affine", "low-rank"], rank=[2, 4], name="large", **QUICK)
    assert sorted(made) == sorted(
        2 * [("affine", ("least-squares",)), *2 * [("low-rank", ("random", "least-squares", "trained"))]]
    )
    both = large.merge(small, on="signature", suffixes=("", "_small"))
    assert len(both) == len(small) == 4
    for column in small.columns.drop(["signature", "path"]):
        assert both[column].equals(both[f"{column}_small"].rename(column))
    made.clear()
    anew = mlps.stitching("flatten", kinds=["affine", "low-rank"], rank=[2, 4], name="large", **QUICK)
    assert made == []
    pd.testing.assert_frame_equal(pd.DataFrame(anew), pd.DataFrame(large))
    shutil.rmtree(mlps.store / "analysis" / "small")  # what was taken is kept
    assert large.network(small["signature"][0]).via is not None


def test_what_was_taken_is_what_would_have_been_made(mlps, tmp_path):
    shutil.copytree(mlps.store, tmp_path / "other")
    other = analysis.open(tmp_path / "other", "small").where("model == 'nnray.models.MLP'")
    mlps.stitching("flatten", stages="least-squares", **QUICK)
    frames = [nets.stitching("flatten", **QUICK) for nets in (mlps, other)]
    pd.testing.assert_frame_equal(*map(pd.DataFrame, frames), check_exact=True)


def test_some_networks_give_the_first_layers(mlps):
    result = mlps.stitching("flatten", against=mlps.epochs([0])[:1], stages="random", **QUICK)
    assert result[["trial_a", "epoch_a", "trial_b", "epoch_b"]].values.tolist() == [
        [mlps[0].trial, 0, network.trial, 1] for network in mlps
    ]
    with pytest.raises(AnalysisError, match="two networks or more"):
        mlps[:1].stitching("flatten", against=mlps[:1], **QUICK)


@pytest.mark.parametrize("damaged", ["rows", "layers"])
def test_a_damaged_job_is_no_source(mlps, made, damaged):
    first = mlps.stitching("flatten", stages="random", name="first", **QUICK)
    folder = Path(first.attrs["folder"])
    for path in folder.glob(f"{damaged}/*"):
        path.write_bytes(b"nothing")
    made.clear()
    second = mlps.stitching("flatten", stages="random", name="second", **QUICK)
    assert len(made) == 2
    assert second["error"].isna().all()
    assert second["signature"].tolist() == first["signature"].tolist()


def test_signatures_tell_apart_what_differs_and_nothing_else(mlps):
    def signatures(**options):
        rows = mlps.stitching("flatten", **{**QUICK, **options})
        first = rows[rows["trial_a"] == mlps[0].trial]
        return dict(zip(first["stage"], first["signature"], strict=True))

    usual = signatures()
    assert len(set(usual.values())) == 3
    assert all(len(signature) == 16 for signature in usual.values())
    for options, differing in (
        ({"lr": 0.1}, {"trained"}),
        ({"weight_decay": 0.1}, {"trained"}),
        ({"ridge": 0.1}, {"least-squares", "trained"}),
        ({"fit_n": 80}, {"least-squares", "trained"}),
        ({"rank": 3}, set()),  # an affine layer has none
        ({"kinds": "orthogonal"}, set(usual)),
        ({"n": 50}, set(usual)),
        ({"seed": 1}, set(usual)),
    ):
        other = signatures(**options)
        assert {stage for stage in usual if other[stage] != usual[stage]} == differing, options


@torch.no_grad()
def test_a_row_names_its_stored_network(copied):
    result = copied.where("model == 'nnray.models.SimpleCNN'").stitching(
        ["block1.relu", "flatten"],
        kinds=["affine", "orthogonal", "low-rank", "sparse"],
        stages=["identity", "random", "least-squares", "trained"],
        rank=3,
        **QUICK,
    )
    assert result["signature"].is_unique
    assert result["rank"].notna().tolist() == result["kind"].isin(["low-rank", "sparse"]).tolist()
    shown = make_stimuli(copied, "test", QUICK["n"])
    for row in result.itertuples():
        network = result.network(row.signature)
        right = network(torch.tensor(shown.images)).argmax(dim=1).numpy() == shown.labels
        assert right.mean() == row.accuracy
    with pytest.raises(AnalysisError, match="there is no stitched network 'ffff'"):
        result.network("ffff")


def test_weight_decay_and_epochs_reach_training(mlps):
    still = mlps.stitching("flatten", **{**QUICK, "epochs": 0})
    stages = still.pivot(index=["trial_a", "trial_b"], columns="stage", values="accuracy")
    assert (stages["trained"] == stages["least-squares"]).all()
    heavy = mlps.stitching("flatten", stages="trained", weight_decay=100.0, lr=0.01, **QUICK)
    weights = [heavy.network(signature).via[1].weight.norm() for signature in heavy["signature"]]
    light = mlps.stitching("flatten", stages="trained", weight_decay=0.0, lr=0.01, **QUICK)
    assert all(
        heavier < light.network(signature).via[1].weight.norm()
        for heavier, signature in zip(weights, light["signature"], strict=True)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank is 0, where positive numbers are expected"),
        ({"rank": []}, "rank is , where positive"),
        ({"lr": -1.0}, "lr is -1.0, where 0 or more is expected"),
        ({"batch_size": 0}, "batch_size is 0, where 1 or more is expected"),
        ({"ridge": -1.0}, "ridge is -1.0"),
        ({"stages": "traind"}, "did you mean 'trained'"),
        ({"kinds": []}, "kinds: at least one of affine, orthogonal"),
    ],
)
def test_refuses(mlps, options, message):
    with pytest.raises(AnalysisError, match=message):
        mlps.stitching("flatten", **options)


@pytest.mark.parametrize("options", [{}, {"figure": "penalty"}, {"over": "rank"}])
def test_pictures(mlps, options, tmp_path):
    result = mlps.stitching(
        ["linear", "flatten"], every_pair=True, kinds=["affine", "low-rank"], rank=[1, 2], stages="random", **QUICK
    )
    result.save(tmp_path / "stitched.pdf", **options)
    assert (tmp_path / "stitched.pdf").read_bytes().startswith(b"%PDF")
    assert result.plot(interactive=True, **options).data
    with pytest.raises(AnalysisError, match="did you mean 'penalty'"):
        result.plot("penalti")
    with pytest.raises(AnalysisError, match="no layer of these has a rank"):
        result[result["kind"] == "affine"].plot(over="rank")
