"""Guess how long trials take: from earlier trials of the same shape, or else from the networks themselves."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nnray.errors import NnrayError, StoreError
from nnray.store.files import readable
from nnray.trial.configuration import Configuration
from nnray.trial.paths import StorePaths

if TYPE_CHECKING:
    from nnray.sweep.planning.plan import PlannedTrial

Shape = frozenset[tuple[str, str]]
"""What decides how long an epoch takes, as texts of keys and values."""

_SHAPING = ("model.", "data.", "task.class_path", "optimizer.class_path", "trainer.", "threads", "workers")
_NOT_SHAPING = frozenset({"data.init_args.seed", "trainer.max_epochs", "trainer.callbacks"})
_GUESSED_SHAPES = 64
"""So many networks are built to look at their size, a few milliseconds each; of more, the rest count as average."""

# On one core of a server a layer of a small network takes about so long per batch (forward, backward and update),
# however little it computes; a multiply-add of the forward pass costs about so much with its two in the backward pass.
_S_PER_LAYER = 150e-6
_S_PER_MULTIPLY_ADD = 3e-10
_IMAGES = 10_000
"""A data set's size is not known before it is loaded; trials of one sweep mostly share theirs."""


def guess_durations(
    trials: Sequence[PlannedTrial], shapes: Sequence[Shape], store: StorePaths, known: Iterable[PlannedTrial]
) -> list[float]:
    """Return how many seconds each of ``trials`` may take: good for comparing them with each other, no more.

    Args:
        trials: Trials to be trained.
        shapes: Their shapes: see :func:`shape_of`.
        store: The store; the tables of its sweeps tell of earlier trials. It may not exist yet.
        known: Trials of the plan, whose records tell of earlier ones without a table.
    """
    seen = _seconds_per_epoch(store, known)
    first = {shape: trial.configuration for shape, trial in zip(reversed(shapes), reversed(trials), strict=True)}
    unseen = [shape for shape in dict.fromkeys(shapes) if shape not in seen]
    guesses = {shape: guess for shape in unseen[:_GUESSED_SHAPES] if (guess := _guess(first[shape])) is not None}
    scale = _scale(seen, first) if guesses else 1.0
    per_epoch = seen | {shape: scale * guess for shape, guess in guesses.items()}
    average = statistics.median(per_epoch.values()) if per_epoch else 1.0
    return [
        per_epoch.get(shape, average) * trial.configuration.values["trainer"]["max_epochs"]
        for shape, trial in zip(shapes, trials, strict=True)
    ]


def shape_of(flat: Mapping[str, Any]) -> Shape:
    """Return what decides how long an epoch takes, of a configuration in dotted keys; nulls count as left out."""
    shaping = (key for key in flat if key.startswith(_SHAPING) and key not in _NOT_SHAPING)
    return frozenset((key, text) for key in shaping if (text := _text(flat[key])) is not None)


def _text(value: Any) -> str | None:
    """Return a value's text, the same for a number in a configuration and in a column of other types."""
    if value is None or value != value:
        return None
    if isinstance(value, (list, dict)):
        return json.dumps(value, default=str)
    try:
        return repr(float(value))
    except ValueError:
        return str(value)


def _seconds_per_epoch(store: StorePaths, known: Iterable[PlannedTrial]) -> dict[Shape, float]:
    found: defaultdict[Shape, list[float]] = defaultdict(list)
    for flat, seconds in _earlier_trials(store):
        found[shape_of(flat)].append(seconds / float(flat["trainer.max_epochs"]))
    for trial in known:
        record, epochs = trial.record, trial.configuration.values["trainer"]["max_epochs"]
        if record is not None and record.status == "completed" and record.duration_s:
            found[shape_of(trial.configuration.flat())].append(record.duration_s / epochs)
    return {shape: statistics.median(seconds) for shape, seconds in found.items()}


def _earlier_trials(store: StorePaths) -> Iterable[tuple[dict[str, Any], float]]:
    """Yield configurations, in dotted keys, and seconds of completed trials in the store's tables."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from nnray.store.table_files import check_plain

    for path in sorted(store.tables.glob("*/trials.parquet")):
        try:
            source = readable(path)
            schema = pq.read_schema(source)
            check_plain(schema, path)
            keys = [name for name in schema.names if name.removeprefix("config/").startswith(_SHAPING)]
            table = pq.read_table(source, columns=["status", "duration_s", *keys])
        except (
            OSError,
            ValueError,
            StoreError,
        ):  # a view, perhaps damaged: its trials just aren't known then
            continue
        table = table.filter(pc.and_(pc.equal(table["status"], "completed"), pc.greater(table["duration_s"], 0.0)))
        names = [key.removeprefix("config/") for key in keys]
        columns = [table[key].to_pylist() for key in keys]
        for seconds, *values in zip(table["duration_s"].to_pylist(), *columns, strict=True):
            yield dict(zip(names, values, strict=True)), seconds


def _scale(seen: Mapping[Shape, float], first: Mapping[Shape, Configuration]) -> float:
    """Return how much longer than guessed an epoch takes, by the shapes of which both are known."""
    both = [shape for shape in first if shape in seen][:_GUESSED_SHAPES]
    ratios = [seen[shape] / guess for shape in both if (guess := _guess(first[shape]))]
    return statistics.median(ratios) if ratios else 1.0


def _guess(configuration: Configuration) -> float | None:
    """Return the seconds of an epoch as the network's size suggests, None where it cannot be built without data."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    try:
        data = configuration.build_data()
        facts = configuration.data_facts(data)
        batch = int(getattr(data, "batch_size", 128))
        with torch.device("meta"), torch.no_grad():
            model = configuration.build_model(facts)
            if model is None:
                return None
            size = facts["image_size"]
            images = torch.empty(1, facts["in_channels"], size, size)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.eval()(images)
    except (NnrayError, ArithmeticError, LookupError, TypeError, ValueError, RuntimeError, OSError):
        return None
    layers = sum(1 for module in model.modules() if not any(True for _ in module.children()))
    flops = counter.get_total_flops() / 2
    return _IMAGES / batch * _S_PER_LAYER * layers + _IMAGES * _S_PER_MULTIPLY_ADD * flops
