"""A pair measure of all layers of all networks with all others.

Each network is loaded once and shown the images; what remains of a layer is what the measure compares it by, such as an
orthonormal basis or ranks of dissimilarities (:mod:`analysis.jobs.summaries`). Then pairs are compared tile by tile.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from analysis.activations import patterns_of
from analysis.jobs.folder import JobFolder
from analysis.jobs.function_text import function_name, function_text
from analysis.jobs.pairing import choice_of, pair_up
from analysis.jobs.per_network import device_of, make_missing
from analysis.jobs.summaries import KIND, SUFFIX, make_summary_work
from analysis.networks import Networks
from analysis.pool import Actors, pool_of
from analysis.results import Pairs
from analysis.similarity.measure import PairMeasure
from analysis.similarity.registry import Own, measure_of
from analysis.stimuli import Data, make_stimuli
from analysis.uncertainty import Resampling, Way
from nnray.errors import AnalysisError

MEMORY_BYTES = 1_000_000_000
"""What a worker takes for activations, and then for summaries."""


def compare(
    networks: Networks,
    measure: str | Callable[..., Any] | PairMeasure,
    layers: str | Sequence[str] = "*",
    *,
    against: Networks | None = None,
    same: str | Sequence[str] = (),
    data: Data = "test",
    n: int | None = None,
    seed: int = 0,
    interval: Way | None = None,
    resamples: int = 200,
    level: float = 0.95,
    name: str | None = None,
    actors: Actors | int | None = None,
    memory: int = MEMORY_BYTES,
    **options: Any,
) -> Pairs:
    """Return a measure of every layer of every network with every other.

    All pairs are a square: for many networks, ``same="layer"`` compares layers of equal names alone, and ``against`` a
    few networks with all. For CKA, :func:`analysis.jobs.cka.cka` compares all pairs much faster.

    Args:
        networks: Networks that take the same images.
        measure: A name of :data:`analysis.similarity.MEASURES`, its function, or a function of one's own of two sets
            of activations (``n x ...`` tensors) that returns a number; it is called for both orders of a pair.
        layers: Names or globs.
        against: The networks of the sides ``a``, all of which are compared with ``networks``, the sides ``b``; left
            out, the same networks.
        same: What both sides have in common: ``layer`` (its name), ``trial`` (epochs of one network), ``epoch``, or
            several of these; left out, all pairs.
        data: What the networks are shown: see :func:`analysis.stimuli.make_stimuli`.
        n: How many images; None for all. Summaries take up to ``8 n^2`` bytes a layer on disk.
        seed: Of the choice and the order of the images, and of what is drawn for intervals.
        interval: ``bootstrap`` or ``split-half`` give the columns ``low`` and ``high``: see
            :mod:`analysis.uncertainty`. It takes ``resamples`` times as long.
        resamples: How many choices of images make an interval.
        level: The share of the choices' values within the interval.
        name: The folder under ``analysis/`` in the store that keeps the result; what is there is not computed again.
        actors: Where to compute: how many Ray actors, or :class:`analysis.Actors`; by default (0) in this process.
        memory: Bytes that a worker may take for activations, and then for summaries; two networks' summaries are in
            memory in any case.
        options: Of the measure, such as ``variance=0.9`` of ``svcca``.

    Returns:
        A row per pair, in both orders where both sides are the same networks.

    Raises:
        AnalysisError: If there are no networks, too few images, no such measure or option, or the networks were
            trained on different data.
    """
    chosen = measure_of(measure, **options)
    choice = choice_of(networks, against, same)
    together = networks if against is None else against | networks
    stimuli = make_stimuli(together, data, n, seed)
    how = None if interval is None else Resampling(interval, resamples, level, seed)
    fewest = chosen.fewest * (2 if interval == "split-half" else 1)
    if len(stimuli) < fewest:
        raise AnalysisError(f"{len(stimuli)} images are too few for {chosen.title}: it needs {fewest}")
    patterns = patterns_of(layers)
    arguments = {
        "measure": _description(chosen),
        "layers": list(patterns),
        "same layer": "layer" in choice.same,
        "stimuli": stimuli.fingerprint,
        "interval": None if how is None else dataclasses.asdict(how),
    }
    folder = JobFolder(networks.store, chosen.name, arguments, name)
    folder.open(together)
    place, device = folder.path / KIND, device_of(actors)
    shared = (stimuli, networks.store, place, patterns, chosen, how is not None, memory, device)
    with pool_of(actors) as pool:
        errors = make_missing(together, folder, KIND, SUFFIX, make_summary_work, shared, pool, len(stimuli))
        result = pair_up(
            folder, choice, chosen, pool, errors=errors, memory=memory, device=device, how=how, images=len(stimuli)
        )
    result.networks = together.frame
    return result


def _description(measure: PairMeasure) -> dict[str, Any]:
    if isinstance(measure, Own):
        source = hashlib.sha256(function_text(measure.function).encode()).hexdigest()[:16]
        return {"function": function_name(measure.function), "source": source}
    return {"name": measure.name, **dataclasses.asdict(measure)}  # type: ignore[call-overload]
