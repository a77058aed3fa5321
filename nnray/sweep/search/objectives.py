"""What a search looks for, and what it is told of a trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nnray.errors import SpaceError, did_you_mean
from nnray.store.metrics_log import Row, best_value, metrics_of
from nnray.sweep.search.searcher import FAILURE, Evaluation

Objectives = Mapping[str, str]
"""Metrics, the leading one first, and whether their largest (``max``) or smallest (``min``) value is looked for."""


def check_objectives(value: Any) -> dict[str, str]:
    """Return ``value`` if it names objectives (``{"val_acc": "max", "val_loss": "min"}``), else raise SpaceError."""
    if not isinstance(value, Mapping) or not value:
        raise SpaceError(
            f"search: objectives: metrics and their modes are expected, as {{'val_acc': 'max'}}, not {value!r}"
        )
    for metric, mode in value.items():
        if not isinstance(metric, str) or mode not in ("max", "min"):
            raise SpaceError(f"search: objectives: {metric}: {mode!r} is neither 'max' nor 'min'")
    return dict(value)


def evaluation_of(rows: Sequence[Row], objectives: Objectives) -> Evaluation:
    """Return what a searcher is told of a trial with these ``rows`` of metrics.

    Its value is the one that the tables have as ``best/<metric>``: the best over the epochs. Of several objectives all
    are those of one epoch, the (first) one at which the leading metric is best.
    """
    epochs = [metrics_of(row) for row in rows]
    whole = [metrics for metrics in epochs if all(_is_number(metrics.get(name)) for name in objectives)]
    lead = next(iter(objectives))
    best = best_value([metrics[lead] for metrics in whole], objectives[lead])
    if best is None:
        return FAILURE
    epoch = next(metrics for metrics in whole if metrics[lead] == best)
    return Evaluation(tuple(float(epoch[name]) for name in objectives), tuple(whole))


def unknown_metric(rows: Sequence[Row], objectives: Objectives) -> str | None:
    """Return one line about an objective that no row has, None if there is no such."""
    reported = {name for row in rows for name in metrics_of(row)}
    missing = [name for name in objectives if name not in reported]
    if not missing or not rows:
        return None
    return f"metric: no trial has reported {missing[0]!r}{did_you_mean(missing[0], reported)}"


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
