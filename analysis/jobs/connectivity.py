"""Linear mode connectivity: what becomes of loss and accuracy on the straight line between two networks.

Sources: see :mod:`analysis.weights.path` and :mod:`analysis.weights.matching`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.nn import functional as F

from analysis.jobs.folder import ERRORS, JobFolder
from analysis.jobs.mapping import read_rows
from analysis.jobs.pairing import choice_of, key_of
from analysis.jobs.per_network import FORWARD_BATCH, Failure, device_of, finite_outputs
from analysis.loading import Loader
from analysis.networks import Network, Networks
from analysis.pool import Actors, pool_of
from analysis.progress import with_progress
from analysis.results import Paths, errors_frame
from analysis.stimuli import Data, Stimuli, make_stimuli
from analysis.weights import networks_between, permutable_axes, permuted, weight_matching
from nnray.errors import AnalysisError, did_you_mean
from nnray.graph import GraphModule
from nnray.store.files import replacing

Alignment = Literal["none", "weights"]
_PARTS = "paths"


@dataclass(frozen=True)
class PathOptions:
    """What is done with a pair of networks.

    Attributes:
        align: Each of these: ``none``, or ``weights`` for permuted units of the second network.
        points: Number of networks on the line, its ends included.
        seed: Of the matching.
    """

    align: tuple[Alignment, ...]
    points: int
    seed: int


def connectivity(
    networks: Networks,
    *,
    align: Alignment | Sequence[Alignment] = ("none", "weights"),
    points: int = 11,
    against: Networks | None = None,
    same: str | Sequence[str] = (),
    data: Data = "test",
    n: int | None = None,
    fit_data: Data = "train",
    fit_n: int | None = None,
    seed: int = 0,
    name: str | None = None,
    actors: Actors | int | None = None,
) -> Paths:
    """Return loss and accuracy of networks on the straight lines between networks of one architecture.

    Args:
        networks: The networks; each pair of different ones is taken once.
        align: ``none``, ``weights`` (the units of the second network are permuted to match the first by its weights,
            which leaves its function as it is), or both.
        points: Number of networks on each line, the two ends included.
        against: The networks at the beginnings: see :func:`analysis.jobs.compare.compare`.
        same: ``trial`` or ``epoch``, if both ends have them in common.
        data: What loss and accuracy are measured on: see :func:`analysis.stimuli.make_stimuli`.
        n: How many of those; None for all.
        fit_data: What batch normalisation gets its statistics from, between the ends.
        fit_n: How many of those; None for all.
        seed: Of the choice of images and of the matching.
        name: The folder under ``analysis/`` in the store.
        actors: Where to compute: how many Ray actors, or :class:`analysis.Actors`; by default (0) in this process.

    Returns:
        A row per pair, alignment and point: ``trial_a``, ``epoch_a`` (at ``alpha`` 0), ``trial_b``, ``epoch_b`` (at 1),
        ``align``, ``alpha``, ``loss`` (cross-entropy) and ``accuracy``.

    Raises:
        AnalysisError: If an argument cannot be meant, there are no labels, or every pair fails.
    """
    kinds = (align,) if isinstance(align, str) else tuple(align)
    for kind in kinds:
        if kind not in get_args(Alignment):
            raise AnalysisError(f"align: there is no {kind!r}{did_you_mean(kind, get_args(Alignment))}")
    if points < 2:
        raise AnalysisError(f"points is {points}, and a line has two ends")
    choice = choice_of(networks, against, same)
    together = networks if against is None else against | networks
    shown, fit = make_stimuli(together, data, n, seed), make_stimuli(together, fit_data, fit_n, seed)
    if shown.labels is None:
        raise AnalysisError("loss and accuracy take labels, and the images have none")
    options = PathOptions(kinds, points, seed)
    arguments = {**asdict(options), "align": list(kinds), "shown": shown.fingerprint, "fit": fit.fingerprint}
    names = choice.networks()
    pairs = [(names[one], names[other]) for one, other in choice.pairs(symmetric=True) if one != other]
    if against is not None:  # a line begins where one says
        beginnings = {key_of(network) for network in choice.rows}
        pairs = [(b, a) if key_of(a) not in beginnings else (a, b) for a, b in pairs]
    if not pairs:
        raise AnalysisError("a line is between two networks, and there are no pairs")
    folder = JobFolder(networks.store, "connectivity", arguments, name)
    folder.open(together)
    place = folder.part(_PARTS, "", "")
    missing = [pair for pair in pairs if not _part(place, pair).exists()]
    errors: list[Failure] = []
    shared = (shown, fit, networks.store, place, options, device_of(actors))
    if missing:
        with pool_of(actors) as pool:
            results = pool.work_through(missing, make_path_work, shared)
            for done in with_progress(results, folder.name, len(pairs), len(pairs) - len(missing)):
                if done.error is not None:
                    a, b = done.task
                    errors.append((a.trial, a.epoch, None, f"to {key_of(b)}: {done.error}"))
    frames = [read_rows(_part(place, pair)) for pair in pairs if _part(place, pair).exists()]
    if not frames:
        folder.give_up(f"no pair could be connected: {errors[0][3]}")
    result = Paths(pd.concat(frames, ignore_index=True))
    result.errors, result.networks = errors_frame(errors), together.frame
    result.attrs["folder"] = str(folder.path)
    folder.write_table("result", pa.Table.from_pandas(result, preserve_index=False))
    folder.write_table(ERRORS, pa.Table.from_pandas(result.errors, preserve_index=False))
    return result


def _part(place: Path, pair: tuple[Network, Network]) -> Path:
    return place / f"{key_of(pair[0])}--{key_of(pair[1])}.parquet"


def make_path_work(
    shown: Stimuli, fit: Stimuli, store: Path, folder: Path, options: PathOptions, device: str
) -> Callable[[tuple[Network, Network]], None]:
    """Return the work of a pool: a pair's rows are written to ``folder``."""
    place = torch.device(device)
    loader = Loader(store, place, keep=2)

    def work(pair: tuple[Network, Network]) -> None:
        first, second = (loader.load(network.trial, network.epoch) for network in pair)
        for network, model in zip(pair, (first, second), strict=True):
            bad = sum(int((~torch.isfinite(value)).sum()) for value in model.state_dict().values())
            if bad:
                raise AnalysisError(f"{bad} of the weights of {key_of(network)} are not finite")
        one, other = first.state_dict(), second.state_dict()
        rows: list[dict[str, Any]] = []
        for align in options.align:
            end = other
            if align == "weights" and {k: v.shape for k, v in one.items()} == {k: v.shape for k, v in other.items()}:
                end = _aligned(first, second, next(shown.batches(1, place)), options.seed)
            shares = torch.linspace(0, 1, options.points).tolist()
            for share, model in networks_between(first, one, end, shares, _Minibatches(fit, place)):
                loss, accuracy = _figures(model, shown, place)
                ends = {"trial_a": pair[0].trial, "epoch_a": pair[0].epoch}
                ends |= {"trial_b": pair[1].trial, "epoch_b": pair[1].epoch}
                rows.append({**ends, "align": align, "alpha": share, "loss": loss, "accuracy": accuracy})
        with replacing(_part(folder, pair)) as beside:
            pq.write_table(pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False), beside)

    return work


class _Minibatches:
    """The images of a stimulus set, which can be gone through again and again."""

    def __init__(self, stimuli: Stimuli, device: torch.device) -> None:
        self._stimuli, self._device = stimuli, device

    def __iter__(self) -> Any:
        return self._stimuli.batches(FORWARD_BATCH, self._device)


def _aligned(first: GraphModule, second: GraphModule, image: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
    where = permutable_axes(first, image)
    one, other = ({name: value.detach() for name, value in model.named_parameters()} for model in (first, second))
    return permuted(second.state_dict(), where, weight_matching(one, other, where, seed))


@torch.inference_mode()
def _figures(model: GraphModule, shown: Stimuli, device: torch.device) -> tuple[float, float]:
    outputs = torch.cat([model(images).double().cpu() for images in shown.batches(FORWARD_BATCH, device)])
    labels = torch.tensor(shown.labels).long()
    finite_outputs(outputs)
    return float(F.cross_entropy(outputs, labels)), float((outputs.argmax(dim=1) == labels).double().mean())
