"""The table of a stitching job, which knows the layers that it tells of."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pandas as pd
from torch import nn

from analysis.results import Result, pictures_of
from nnray.errors import AnalysisError, did_you_mean
from nnray.graph import GraphModule, stitch

FIGURES = ("relative_accuracy", "accuracy", "penalty")
_LABELS = {"relative_accuracy": "relative accuracy"}


class Stitched(Result):
    """What became of stitched networks: see :func:`analysis.jobs.stitching.stitching`.

    ``attrs["folder"]`` is the job's folder, where the stitching layers lie.
    """

    @property
    def _constructor(self) -> type[Stitched]:
        return Stitched

    def network(self, signature: str) -> GraphModule:
        """Return a stitched network in eval mode, with its stored stitching layer as ``via``.

        Args:
            signature: Of the combination, as the column ``signature`` has it.

        Raises:
            AnalysisError: If there is no such combination here, or its layer is lost or damaged.
            StoreError: If the weights of one of the networks are.
        """
        from analysis.jobs.stitching_layers import resizing, stitching_layer
        from analysis.jobs.stitching_parts import read_layers
        from analysis.loading import load_network

        rows = self[(self["signature"] == signature) & self["path"].notna()]
        if rows.empty:
            raise AnalysisError(
                f"there is no stitched network {signature!r}{did_you_mean(signature, self['signature'])}"
            )
        row = rows.iloc[0]
        folder = self.attrs.get("folder")
        if folder is None:
            raise AnalysisError('this table does not know where it lies: result.attrs["folder"] = ... tells it')
        place = Path(folder)
        layers = read_layers(place / row["path"])
        if signature not in layers:
            raise AnalysisError(f"{place / row['path']} has no stitching layer {signature}")
        (old, new), tensors = layers[signature]
        via = resizing(old, new)
        if row["kind"] != "identity":
            rank = None if pd.isna(row["rank"]) else int(row["rank"])
            via = nn.Sequential(via, stitching_layer(row["kind"], old, new, rank))
        via.load_state_dict(tensors)
        first, second = (
            load_network(place.parents[1], row[f"trial_{side}"], int(row[f"epoch_{side}"])) for side in "ab"
        )
        return stitch(first, row["layer_a"], second, row["layer_b"], via=via).eval()

    def plot(  # type: ignore[override]
        self,
        figure: Literal["relative_accuracy", "accuracy", "penalty"] = "relative_accuracy",
        *,
        over: Literal["layer", "rank"] = "layer",
        interactive: bool = False,
        **options: Any,
    ) -> Any:
        """Return curves of what survives, a curve for each way to stitch: the mean over pairs of networks.

        Args:
            figure: ``relative_accuracy``, ``accuracy`` or ``penalty``.
            over: What runs along the axis. For ``rank`` there is a curve per layer, kind and stage.
            interactive: Whether it is a Plotly figure; else it is Matplotlib's.
            options: Of :func:`analysis.plotting.curves`.

        Raises:
            AnalysisError: If there is no such figure, or no layer with a rank.
        """
        if figure not in FIGURES:
            raise AnalysisError(f"there is no figure {figure!r}{did_you_mean(figure, FIGURES)}")
        frame = pd.DataFrame(self)[self["error"].isna()]
        there = [" → ".join(dict.fromkeys(pair)) for pair in zip(frame["layer_a"], frame["layer_b"], strict=True)]
        frame = frame.assign(layer=there)
        if over == "rank":
            frame = frame[frame["rank"].notna()].astype({"rank": "int64"})
            if frame.empty:
                raise AnalysisError("no layer of these has a rank: kinds low-rank and sparse have")
        told = ["layer", "kind", "stage"] if over == "rank" else ["kind", "rank", "stage"]
        frame = frame.assign(
            stitching=[_label(**dict(zip(told, row, strict=True))) for row in frame[told].itertuples(index=False)]
        )
        shown = frame.rename(columns=_LABELS)
        return pictures_of(interactive).curves(shown, _LABELS.get(figure, figure), over=over, by="stitching", **options)


def _label(kind: str, stage: str, layer: str | None = None, rank: int | None = None) -> str:
    """Return what a way to stitch is called."""
    form = kind if rank is None or pd.isna(rank) else f"{kind} {rank}"
    return " ".join(word for word in (layer, form, stage if stage != kind else None) if word)
