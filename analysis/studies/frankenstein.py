"""What Csiszárik et al. 2021 found by stitching networks, asked again of networks of one's own.

Source: "Similarity and Matching of Neural Network Representations", NeurIPS 2021, arXiv:2110.14633. Networks that
differ in their initial values alone are stitched layer by layer. Findings, by the letter of :data:`CLAIMS`:

a. an affine layer trained for the task reaches nearly the accuracy of the network itself, at most layers;
b. a least-squares fit of the activations comes close, but stays below;
c. layers of low rank suffice: accuracy saturates at ranks well below the width;
d. indices of similarity don't tell stitched accuracy: trained layers match activations less well than a fit, and do
   better (section 5 there);
e. it is not the stitching layer that does it: behind layers that never learned, a trained one fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import torch

from analysis.activations import activations
from analysis.jobs.combinations import LEAST_SQUARES, RANDOM, TRAINED
from analysis.jobs.folder import JobFolder
from analysis.networks import Networks
from analysis.pool import Actors
from analysis.similarity import linear_cka
from analysis.stimuli import Data, make_stimuli
from analysis.stitched import Stitched
from analysis.studies.findings import Findings
from nnray.errors import AnalysisError
from nnray.store.files import replacing

NEAR, FAILED = 0.95, 0.5
"""The share of a network's own accuracy that counts as near to it, and below which stitching has failed."""

CLAIMS = {
    "a": "a trained affine layer reaches nearly the network's own accuracy at most layers",
    "b": "least squares comes close to training, but stays below",
    "c": "low ranks suffice: accuracy saturates well below the full width",
    "d": "similarity does not tell stitched accuracy",
    "e": "behind layers that never learned, a trained stitching layer fails",
}


def frankenstein(
    networks: Networks,
    layers: str | Sequence[str] = "*relu*",
    *,
    untrained: str = "lr == 0",
    rank: Sequence[int] = (1, 2, 4, 8, 16),
    ridge: float = 0.0,
    epochs: int = 5,
    lr: float = 0.001,
    batch_size: int = 128,
    weight_decay: float = 0.01,
    data: Data = "test",
    n: int | None = None,
    fit_data: Data = "train",
    fit_n: int | None = None,
    seed: int = 0,
    name: str | None = None,
    actors: Actors | int | None = None,
) -> Findings:
    """Ask whether the findings of Csiszárik et al. 2021 hold for these networks.

    Args:
        networks: Networks that differ in their seeds, and beside them one or more that never learned.
        layers: Names or globs of the layers that are stitched.
        untrained: Which networks never learned: a condition as :meth:`analysis.Networks.where` takes it.
        rank: Of the low-rank layers.
        ridge: Of the least-squares fits: see :func:`analysis.jobs.stitching.stitching`, also for what follows.
        epochs: Of training.
        lr: Of training.
        batch_size: Of training.
        weight_decay: Of training.
        data: What accuracy and similarity are measured on.
        n: How many of those; None for all.
        fit_data: What stitching layers are fit to.
        fit_n: How many of those; None for all.
        seed: Of the choice of images, initial values and training.
        name: What the jobs' folders under ``analysis/`` are called in front; by default ``frankenstein``, and each job
            after what is computed.
        actors: Where to compute: how many Ray actors, or :class:`analysis.Actors`; by default (0) in this process.

    Returns:
        A row per finding: ``finding``, ``claim``, ``measured`` (figures in words) and ``holds``. ``findings.pdf`` and
        ``findings.png`` in its folder are the pictures.

    Raises:
        AnalysisError: If there are not two trained networks, none that never learned, or no layer can be stitched.
    """
    blank = networks.where(untrained)
    learned = networks.where(f"not ({untrained})")
    if len(learned) < 2:
        raise AnalysisError(f"stitching takes at least two trained networks, and there are {len(learned)}")
    if not len(blank):
        raise AnalysisError(f"no network never learned ({untrained}): train one with a learning rate of zero")
    shared: dict[str, Any] = {"data": data, "n": n, "fit_data": fit_data, "fit_n": fit_n, "seed": seed}
    shared |= {"ridge": ridge, "epochs": epochs, "lr": lr, "batch_size": batch_size, "weight_decay": weight_decay}

    def named(job: str) -> str | None:
        return None if name is None else f"{name}-{job}"

    affine = learned.stitching(layers, name=named("affine"), actors=actors, **shared)
    low = learned.stitching(
        layers, kinds="low-rank", rank=rank, stages=TRAINED, name=named("low-rank"), actors=actors, **shared
    )
    behind = learned.stitching(layers, stages=TRAINED, against=blank, name=named("untrained"), actors=actors, **shared)
    for job in (affine, low, behind):
        if job["error"].notna().all():
            raise AnalysisError(f"nothing could be stitched: {job['error'].iloc[0]}")
    matches = _matches(affine, learned, data, n, seed)
    result = Findings(pd.DataFrame(_findings(affine, low, behind, matches)))
    result.affine, result.low, result.behind, result.matches = affine, low, behind, matches
    result.errors = pd.concat([job.errors for job in (affine, low, behind)], ignore_index=True)
    result.networks = networks.frame
    jobs = [job.attrs["folder"].rpartition("/")[2] for job in (affine, low, behind)]
    folder = JobFolder(networks.store, "frankenstein", {"jobs": jobs}, name)
    folder.open(networks)
    for table, frame in (("result", result), ("matches", matches)):
        folder.write_table(table, pa.Table.from_pandas(pd.DataFrame(frame), preserve_index=False))
    result.attrs["folder"] = str(folder.path)
    picture = result.plot()
    for form in ("pdf", "png"):
        with replacing(folder.path / f"findings.{form}") as beside:
            picture.savefig(beside, format=form, dpi=200)
    return result


_MATCHED = 1000
"""Images that indices of similarity are computed of, as their cost grows with the square."""


@torch.no_grad()
def _matches(affine: Stitched, networks: Networks, data: Data, n: int | None, seed: int) -> pd.DataFrame:
    """Return how alike the activations that stitching layers give are to those that they stand in for.

    A row per fit and trained combination: ``signature``, ``layer``, ``stage``, ``relative_accuracy``, ``width``
    (channels or features of the layer), ``r2`` and ``cka`` of the stitching layer's values with the second network's,
    and ``cka_before`` of the two networks' layers as they are.
    """
    stimuli = make_stimuli(networks, data, n, seed)
    images = torch.from_numpy(stimuli.images[:_MATCHED].copy())
    targets: dict[tuple[str, int], dict[str, torch.Tensor]] = {}
    layers = tuple(affine["layer_b"].unique())
    for network in networks:
        targets[network.trial, network.epoch] = activations(network.load(), images, layers)
    rows = []
    chosen = affine[affine["error"].isna() & affine["stage"].isin((LEAST_SQUARES, TRAINED))]
    for row in pd.DataFrame(chosen).to_dict("records"):
        via = affine.network(row["signature"])(images, outputs=["via"])["via"].flatten(1)
        target = targets[row["trial_b"], row["epoch_b"]][row["layer_b"]]
        before = targets[row["trial_a"], row["epoch_a"]][row["layer_a"]]
        flat = target.flatten(1).double()
        rest = (via.double() - flat).square().sum() / (flat - flat.mean(dim=0)).square().sum()
        rows.append(
            {
                "signature": row["signature"],
                "layer": row["layer_b"],
                "stage": row["stage"],
                "relative_accuracy": row["relative_accuracy"],
                "width": target.shape[1],
                "r2": float(1 - rest),
                "cka": linear_cka(via, target),
                "cka_before": linear_cka(before, target),
            }
        )
    return pd.DataFrame(rows)


def _findings(affine: Stitched, low: Stitched, behind: Stitched, matches: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row per claim with what was measured."""
    stages = _by_layer(affine, "stage")
    trained, fit = stages[TRAINED], stages[LEAST_SQUARES]
    near = int((trained >= NEAR).sum())
    ranks = _by_layer(low, "rank")
    widths = matches.groupby("layer")["width"].first()
    enough = {layer: _enough(ranks.loc[layer], NEAR * trained[layer]) for layer in trained.index}
    few = sum(rank is not None and rank <= widths[layer] / 2 for layer, rank in enough.items())
    by_stage = matches.groupby("stage")[["r2", "cka", "relative_accuracy"]].mean()
    of_fit, of_trained = by_stage.loc[LEAST_SQUARES], by_stage.loc[TRAINED]
    rows = matches[matches["stage"] == TRAINED]
    correlation = rows["cka_before"].corr(rows["relative_accuracy"], method="spearman")
    blank = _by_layer(behind, "stage")[TRAINED]
    failed, half = int((blank < FAILED).sum()), len(trained) / 2
    measured = {
        "a": (f"relative accuracy {_listed(trained)}; {NEAR} at {near} of {len(trained)} layers", near > half),
        "b": (
            f"relative accuracy {fit.mean():.3f} of least squares, {trained.mean():.3f} trained "
            f"({stages[RANDOM].mean():.3f} random); by layer {_listed(fit)}",
            trained.mean() - 0.1 < fit.mean() < trained.mean(),
        ),
        "c": (
            "rank for 0.95 of full rank: "
            + ", ".join(f"{layer} {rank or 'none'} of {widths[layer]}" for layer, rank in enough.items()),
            few > half,
        ),
        "d": (
            f"R2 {of_fit['r2']:.3f} of least squares, {of_trained['r2']:.3f} trained; CKA {of_fit['cka']:.3f}, "
            f"{of_trained['cka']:.3f}; rank correlation of CKA before with accuracy {correlation:.2f}",
            of_fit["r2"] > of_trained["r2"] and of_fit["relative_accuracy"] < of_trained["relative_accuracy"],
        ),
        "e": (
            f"relative accuracy {_listed(blank)}; below {FAILED} at {failed} of {len(blank)} layers",
            failed > half,
        ),
    }
    return [
        {"finding": letter, "claim": claim, "measured": measured[letter][0], "holds": bool(measured[letter][1])}
        for letter, claim in CLAIMS.items()
    ]


def _by_layer(stitched: Stitched, column: str) -> pd.DataFrame:
    """Return relative accuracy averaged over pairs of networks: a row per layer, in order, a column per value."""
    rows = pd.DataFrame(stitched)[stitched["error"].isna()]
    means = rows.groupby(["layer_b", column])["relative_accuracy"].mean().unstack(column)
    return means.reindex(rows["layer_b"].drop_duplicates())


def _enough(by_rank: pd.Series, wanted: float) -> int | None:
    """Return the lowest rank that reaches an accuracy; None if none does."""
    good = by_rank[by_rank >= wanted].index
    return int(min(good)) if len(good) else None


def _listed(values: pd.Series) -> str:
    return ", ".join(f"{layer} {value:.3f}" for layer, value in values.items())
