"""Distances of the weights of networks, layer by layer: how far training has gone, and how far apart seeds end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from analysis.jobs.folder import JobFolder
from analysis.jobs.pairing import choice_of, key_of, pair_up
from analysis.jobs.per_network import make_missing
from analysis.jobs.summaries import KIND, SUFFIX, write_summaries
from analysis.loading import Loader
from analysis.networks import Network, Networks
from analysis.pool import Actors, pool_of
from analysis.results import Pairs
from analysis.similarity.measure import Tensors
from analysis.weights.distances import WeightDistance, WeightKind, weights_by_layer
from nnray.errors import AnalysisError

MEMORY_BYTES = 1_000_000_000


def weight_distances(
    networks: Networks,
    kind: WeightKind = "l2",
    *,
    against: Networks | None = None,
    same: str | Sequence[str] = (),
    name: str | None = None,
    actors: Actors | int | None = None,
    memory: int = MEMORY_BYTES,
) -> Pairs:
    """Return how far apart the weights of networks are, for layers of equal names and (``*``) for all weights.

    ``nets.epochs("all").weight_distances(against=nets.epochs([0]), same="trial")`` tells how far each network has moved
    since the first epoch.

    Args:
        networks: Networks of one architecture; where weights differ in number, there is a row of errors.
        kind: ``l2``, ``relative`` or ``cosine``: see :class:`analysis.weights.distances.WeightDistance`.
        against: The networks of the sides ``a``: see :func:`analysis.jobs.compare.compare`.
        same: ``trial`` or ``epoch``, if both sides have them in common.
        name: The folder under ``analysis/`` in the store.
        actors: Where to compute: how many Ray actors, or :class:`analysis.Actors`; by default (0) in this process.
        memory: Bytes that a worker may take for weights.

    Raises:
        AnalysisError: If there are no networks, or no such kind.
    """
    try:
        measure = WeightDistance(kind)
    except ValueError as error:
        raise AnalysisError(str(error)) from error
    choice = choice_of(networks, against, (*((same,) if isinstance(same, str) else same), "layer"))
    together = networks if against is None else against | networks
    folder = JobFolder(networks.store, measure.name, {"kind": kind}, name)
    folder.open(together)
    shared = (networks.store, folder.path / KIND, measure)
    with pool_of(actors) as pool:
        errors = make_missing(together, folder, KIND, SUFFIX, make_weight_work, shared, pool, 0)
        result = pair_up(folder, choice, measure, pool, errors=errors, memory=memory)
    result.networks = together.frame
    return result


def make_weight_work(store: Path, folder: Path, measure: WeightDistance) -> Callable[[Network], None]:
    """Return the work of a pool: a network's weights are written layer by layer."""
    loader = Loader(store, torch.device("cpu"), keep=1)

    def work(network: Network) -> None:
        layers: dict[str, Tensors] = {}
        bad: dict[str, str] = {}
        for layer, values in weights_by_layer(loader.load(network.trial, network.epoch)).items():
            if not bool(torch.isfinite(values).all()):
                bad[layer] = f"{int((~torch.isfinite(values)).sum())} of {len(values)} weights are not finite"
            else:
                layers[layer] = measure.kept(values)
        write_summaries(folder / f"{key_of(network)}{SUFFIX}", layers, bad)

    return work
