"""Write a report of a sweep as one HTML file: counts, best trials, means over seeds, learning curves, all trials.

The file needs nothing else: no network, no scripts.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnray.cli.store_option import add_store_option
from nnray.counting import counted
from nnray.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

    from nnray.cli.report_pictures import Curve
    from nnray.store.store import Store

EXIT_OK = 0
_SEED = "config/seed"
_MOST_CURVES = 8
_MOST_LINES = 500
_MOST_AXES = 8
_STYLE = """
body { font: 14px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: 2px 12px 2px 0; text-align: left }
th { border-bottom: 1px solid #888 } td.number { text-align: right; font-variant-numeric: tabular-nums }
ul.legend { list-style: none; padding: 0; columns: 2 }
ul.legend span { display: inline-block; width: 1.5em; height: 3px;
margin-right: 6px; vertical-align: middle } .halo { paint-order: stroke; stroke: white; stroke-width: 3px }
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("sweep", metavar="SWEEP", help="the sweep's name")
    parser.add_argument("--out", metavar="FILE", type=Path, help="where to write it (SWEEP.html)")
    parser.add_argument("--metric", metavar="NAME", help="the metric to report (else the one that the sweep looks at)")
    parser.add_argument("--top", metavar="N", type=int, default=10, help="so many of the best trials (10)")
    add_store_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the report; return the exit status."""
    from nnray.store import open  # noqa: A004 - the name it has for everybody
    from nnray.store.files import write_text

    if arguments.top < 1:
        raise StoreError(f"--top: {arguments.top} is not a positive number")
    out = arguments.out or Path(f"{arguments.sweep}.html")
    store = open(arguments.store)
    text = report(store, arguments.sweep, arguments.metric, arguments.top)
    if not out.absolute().parent.is_dir():
        raise StoreError(f"--out: there is no folder {out.absolute().parent}")
    write_text(out, text)
    print(out)
    return EXIT_OK


def report(store: Store, sweep: str, metric: str | None = None, top: int = 10) -> str:
    """Return the page.

    Args:
        store: The store.
        sweep: The sweep's name.
        metric: The column of the metric to report; None for the one that the sweep looks at.
        top: How many of the best trials to list.

    Raises:
        StoreError: If there is no such sweep or metric.
    """
    from nnray.store.query import find_column, larger_is_better, metric_columns, ordered
    from nnray.store.table_block import BEST

    frame = store.trials(sweep)
    own, mode = store.metric(sweep)
    metric = metric or own or next(iter(metric_columns(frame)), None)
    parts = [f"<h1>{escape(sweep)}</h1>", _summary(store, frame)]
    if metric is not None:
        metric = find_column(frame, metric)
        best = BEST + metric if BEST + metric in frame.columns else metric
        descending = larger_is_better(metric, own, mode)
        done = ordered(frame[frame[best].notna()], best, descending)
        parts += [*_best_trials(done.head(top), metric), *_over_seeds(done, metric, descending)]
        parts += [*_curves(store.metrics(sweep), done, metric), *_all_trials(done, metric, best)]
    failed = frame[frame["status"] == "failed"]
    if len(failed):
        parts += ["<h2>Failed trials</h2>", _table(failed.head(top)[["trial", "name", "error"]])]
    body = "\n".join(filter(None, parts))
    title = f"<title>{escape(sweep)}</title><style>{_STYLE}</style>"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">{title}</head>\n<body>\n{body}\n</body></html>\n'
    )


def _summary(store: Store, frame: pd.DataFrame) -> str:
    from nnray.store.record import STATUSES
    from nnray.store.tables import nnray_version

    counts = frame["status"].value_counts()
    told = ", ".join(f"{counts[status]} {status}" for status in STATUSES if status in counts)
    hours = frame["duration_s"].sum() / 3600
    commits = ", ".join(commit[:8] for commit in frame["git_commit"].dropna().unique()[:5])
    lines = [
        f"{counted(len(frame), 'trials')}: {told}",
        f"{hours:.2f} hours of training on {frame['host'].nunique()} hosts",
        f"trained by the commits {commits}" if commits else "",
        f"{store.path}, nnray {nnray_version()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    ]
    return "<p>" + "<br>\n".join(escape(line) for line in lines if line) + "</p>"


def _best_trials(best: pd.DataFrame, metric: str) -> list[str]:
    from nnray.store.table_block import BEST

    columns = ["trial", "name", metric, BEST + metric, "duration_s"]
    return ["<h2>Best trials</h2>", _table(best[[column for column in columns if column in best.columns]])]


def _over_seeds(done: pd.DataFrame, metric: str, descending: bool) -> list[str]:
    from nnray.cli.frames import labelled
    from nnray.store.query import mean_over, ordered
    from nnray.store.table_block import CONFIG

    if _SEED not in done.columns or done[_SEED].nunique() < 2:
        return []
    means = mean_over(done, [_SEED])
    if f"{metric}/mean" not in means.columns:
        return []
    means = ordered(means, f"{metric}/mean", descending)
    config = [column for column in means.columns if column.startswith(CONFIG)]
    figures = [f"{metric}/{kind}" for kind in ("mean", "std", "ci95", "count")]
    note = "<p>Last values; ci95 is half the width of the mean's 95 % confidence interval.</p>"
    return [f"<h2>{escape(metric)} over seeds</h2>", note, _table(labelled(means[[*config, *figures]]))]


def _curves(metrics: pd.DataFrame, done: pd.DataFrame, metric: str) -> list[str]:
    from nnray.cli.report_pictures import line_chart

    if metric not in metrics.columns:
        return []
    groups = _groups(done)
    curves = [_curve(name, metrics, signatures, metric) for name, signatures in list(groups.items())[:_MOST_CURVES]]
    picture = line_chart(curves, "epoch", metric)
    if not picture:
        return []
    note = f"The best {_MOST_CURVES} of {len(groups)} settings. " if len(groups) > _MOST_CURVES else ""
    note += "Means over seeds, with the range from the smallest to the largest value."
    return ["<h2>Learning curves</h2>", f"<p>{note}</p>", picture]


def _groups(done: pd.DataFrame) -> dict[str, list[str]]:
    """Return the signatures of the trials that differ in their seed alone, by a name for what they share."""
    from nnray.cli.frames import cell, labelled
    from nnray.store.query import varying_config

    varying = [column for column in varying_config(done) if column != _SEED]
    shown = labelled(done[varying])
    groups: dict[str, list[str]] = {}
    for signature, row in zip(done["trial"], shown.itertuples(index=False, name=None), strict=True):
        pairs = zip(shown.columns, map(cell, row), strict=True)
        groups.setdefault(" ".join(f"{label}={text}" for label, text in pairs if text) or "all", []).append(signature)
    return groups


def _curve(name: str, metrics: pd.DataFrame, signatures: Sequence[str], metric: str) -> Curve:
    from nnray.cli.report_pictures import Curve

    values = metrics[metrics["trial"].isin(signatures)].groupby("epoch")[metric]
    mean, low, high = (
        getattr(values, how)().to_numpy(float, na_value=math.nan).tolist() for how in ("mean", "min", "max")
    )
    return Curve(name, [float(epoch) for epoch in values.mean().index], mean, low, high)


def _all_trials(done: pd.DataFrame, metric: str, best: str) -> list[str]:
    from nnray.cli.report_pictures import Axis, parallel_coordinates
    from nnray.store.query import short_labels, varying_config

    varying = varying_config(done)[: _MOST_AXES - 1]
    shown = done.head(_MOST_LINES)
    labels = short_labels(varying)
    axes = [Axis(labels[column], [_plain(value) for value in shown[column]]) for column in varying]
    values = [float(value) for value in shown[best]]
    picture = parallel_coordinates([*axes, Axis(metric, values)], values)
    if not picture:
        return []
    note = f"The best {_MOST_LINES} of {len(done)} trials: " if len(done) > _MOST_LINES else ""
    return ["<h2>All trials</h2>", f"<p>{note}a line per trial, coloured by the best {escape(metric)}.</p>", picture]


def _plain(value: Any) -> Any:
    """Return a value of a frame as Python has it."""
    value = value.item() if hasattr(value, "item") else value
    return "" if value is None or value != value else value


def _table(frame: pd.DataFrame) -> str:
    from nnray.cli.frames import cell

    head = "".join(f"<th>{escape(str(column))}</th>" for column in frame.columns)
    rows = []
    for row in frame.itertuples(index=False, name=None):
        kinds = (' class="number"' if isinstance(value, (int, float)) else "" for value in row)
        rows.append("".join(f"<td{kind}>{escape(cell(value))}</td>" for kind, value in zip(kinds, row, strict=True)))
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
