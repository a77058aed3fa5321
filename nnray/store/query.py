"""Questions to a sweep's table of trials: columns by the names that people use, conditions, order, means over seeds.

A column is named in full (``config/model.init_args.width``) or by any last part that only one configuration key has
(``model.width``, ``width``); a class path also by what it is the class of (``model``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from nnray.errors import StoreError, did_you_mean
from nnray.store.metrics_log import default_mode
from nnray.store.table_block import BEST, CONFIG, FIXED

if TYPE_CHECKING:
    import pandas as pd

_BACKTICKED = re.compile(r"`([^`]*)`")


def find_column(frame: pd.DataFrame, name: str) -> str:
    """Return the column of ``frame`` that ``name`` means; raise StoreError if there is none or more than one."""
    return find_name(frame.columns, name)


def find_name(columns: Iterable[str], name: str, others: Iterable[str] = ()) -> str:
    """Return the one of ``columns`` that ``name`` means; raise StoreError if there is none or more than one.

    ``others`` are further names to suggest.
    """
    columns = list(columns)
    if name in columns:
        return name
    short = _short_names(columns)
    found = short.get(name, [])
    if len(found) == 1:
        return found[0]
    if found:
        raise StoreError(f"{name!r} may be {' or '.join(repr(column) for column in found)}")
    raise StoreError(f"there is no column {name!r}{did_you_mean(name, [*columns, *short, *others])}")


def is_short_name(columns: Iterable[str], name: str) -> bool:
    """Tell whether ``name`` is the last part of the name of at least one of ``columns``."""
    return name in _short_names(columns)


def where(frame: pd.DataFrame, condition: str) -> pd.DataFrame:
    """Return the rows for which ``condition`` holds.

    Args:
        frame: A table of trials.
        condition: An expression as ``pandas.DataFrame.query`` takes it; names that are no Python identifiers stand in
            backticks (```model.width` > 8``).

    Raises:
        StoreError: If the condition cannot be read, names no column, or is neither true nor false for a row.
    """
    import pandas as pd

    if not isinstance(condition, str):
        raise StoreError(f"a condition is a text such as 'val_acc > 0.9', not {condition!r}")
    names: dict[str, str] = {}

    def alias(match: re.Match[str]) -> str:
        return names.setdefault(find_column(frame, match.group(1)), f"_column_{len(names)}")

    text = _BACKTICKED.sub(alias, condition)
    short = {name: found[0] for name, found in _short_names(frame.columns).items() if len(found) == 1}
    columns = {name: frame[column] for name, column in short.items() if name.isidentifier()}
    columns |= {name: frame[name] for name in frame.columns if name.isidentifier()}
    columns |= {name: frame[column] for column, name in names.items()}
    try:
        # The Python engine: the faster one is an optional package, and a table of trials is small.
        mask = pd.DataFrame(columns).eval(text, engine="python", local_dict={}, global_dict={})
    except pd.errors.UndefinedVariableError as error:
        find_column(frame, str(error).split("'")[1])  # raises, with the names nearest to it
        raise StoreError(f"{condition!r}: {error}") from error
    except Exception as error:  # a syntax error, a comparison of text with numbers, ...
        dotted = max((name for name in short if "." in name and name in text), key=len, default=None)
        hint = "" if dotted is None else f"; names with dots stand in backticks: `{dotted}`"
        reason = " ".join(str(error).split())
        raise StoreError(f"{condition!r} is not a condition on trials: {reason}{hint}") from error
    if not isinstance(mask, pd.Series) or not pd.api.types.is_bool_dtype(mask.dtype):
        raise StoreError(f"{condition!r} is not a condition on trials: it is neither true nor false for a trial")
    return frame[mask.fillna(False).to_numpy(bool)]


def ordered(frame: pd.DataFrame, column: str, descending: bool) -> pd.DataFrame:
    """Return the rows in the order of ``column``; rows without a value come last, equal ones stay in order."""
    return frame.sort_values(column, ascending=not descending, kind="stable", na_position="last")


def metric_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns of last values of metrics."""
    return [column for column in frame.columns if column not in FIXED and not column.startswith((CONFIG, BEST))]


def larger_is_better(column: str, metric: str | None, mode: str | None) -> bool:
    """Tell whether larger values of a metric's column are better; ``metric`` and ``mode`` are the sweep's."""
    name = column.removeprefix(BEST)
    return (mode if mode and name == metric else default_mode(name)) == "max"


def varying_config(frame: pd.DataFrame) -> list[str]:
    """Return the configuration columns in which the rows differ."""
    config = [column for column in frame.columns if column.startswith(CONFIG)]
    return [column for column in config if frame[column].nunique(dropna=False) > 1]


def mean_over(frame: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return a row per group of trials that differ in nothing but ``keys`` (the seed, say).

    Args:
        frame: A table of trials.
        keys: Columns of the configuration.

    Returns:
        The configuration columns that vary among groups, ``trials`` (how many), and for each numeric metric ``x`` the
        columns ``x/mean``, ``x/std`` (of the sample), ``x/count`` (of values that are numbers) and ``x/ci95`` (half the
        width of the mean's 95 % confidence interval by Student's t; empty below two values).
    """
    import pandas as pd
    from scipy.stats import t

    groups_by = [column for column in varying_config(frame) if column not in keys]
    last = metric_columns(frame)
    metrics = [column for column in [*last, *(BEST + name for name in last)] if column in frame.columns]
    metrics = [column for column in metrics if pd.api.types.is_numeric_dtype(frame[column].dtype)]
    groups = frame.groupby(groups_by, dropna=False, sort=False) if groups_by else frame.groupby(lambda _: 0)
    columns: dict[str, pd.Series] = {"trials": groups.size()}
    for metric in metrics:
        values = groups[metric]
        count, std = values.count(), values.std()
        columns |= {f"{metric}/mean": values.mean(), f"{metric}/std": std, f"{metric}/count": count}
        columns[f"{metric}/ci95"] = std / count**0.5 * t.ppf(0.975, (count - 1).clip(lower=1))
    means = pd.DataFrame(columns)
    return means.reset_index() if groups_by else means.reset_index(drop=True)


def short_labels(columns: Iterable[str]) -> dict[str, str]:
    """Return for each column the shortest name that no other of ``columns`` has."""
    columns = list(columns)
    names = _short_names(columns)
    labels = {}
    for column in columns:
        fitting = [name for name, found in names.items() if found == [column] and name not in columns]
        labels[column] = min(fitting, key=len) if fitting else column
    return labels


def _short_names(columns: Iterable[str]) -> dict[str, list[str]]:
    """Return the configuration columns that each last part of a key may mean; a whole key means itself alone."""
    names: dict[str, list[str]] = {}
    keys = [column.removeprefix(CONFIG) for column in columns if column.startswith(CONFIG)]
    for key in keys:
        parts = [part for part in key.split(".") if part != "init_args"]
        endings = {".".join(parts[start:]) for start in range(len(parts))}
        if parts[-1] == "class_path" and len(parts) > 1:
            endings |= {".".join(parts[start:-1]) for start in range(len(parts) - 1)}
        for name in endings | {key}:
            names.setdefault(name, []).append(CONFIG + key)
    return names | {key: [CONFIG + key] for key in keys}
