"""Networks that differ in their seed alone are replicates: means over them, with an interval over seeds.

Pairs of replicates are not independent of each other: n networks make n (n - 1) / 2 pairs. Their interval counts each
network once, by leaving out one after the other (the jackknife; Efron & Tibshirani 1993, chapter 11).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t

from analysis.uncertainty import jackknife
from nnray.errors import AnalysisError
from nnray.store.query import find_column, short_labels, varying_config

ALL = "all networks"


def groups_of(networks: pd.DataFrame, over: str | Sequence[str]) -> dict[str, str]:
    """Return for each trial what its group is called: by what varies among the trials but for ``over``.

    Args:
        networks: A row per network with the columns of its configuration.
        over: Keys in which replicates differ, in full or by their last part: ``seed``.

    Raises:
        StoreError: If there is no such key.
    """
    trials = networks.drop_duplicates("trial")
    keys = [find_column(trials, key) for key in ([over] if isinstance(over, str) else over)]
    telling = [column for column in varying_config(trials) if column not in keys]
    # Arguments of one class vary by being absent from the others, which the name of the class tells better.
    brief = [column for column in telling if trials[column].nunique() > 1]
    names = [_named(trials[columns]) for columns in (brief, telling)]
    chosen = names[0] if len(set(names[0])) == len(set(names[1])) else names[1]
    return dict(zip(trials["trial"].astype(str), chosen, strict=True))


def _named(configurations: pd.DataFrame) -> list[str]:
    labels = short_labels(configurations.columns)
    names = []
    for row in configurations.itertuples(index=False):
        words = []
        for column, value in zip(configurations.columns, row, strict=True):
            if pd.isna(value):  # an argument of another class
                continue
            if column.endswith("class_path"):
                words.append(str(value).rpartition(".")[2])
            else:
                words.append(f"{labels[column]}={value:g}" if isinstance(value, float) else f"{labels[column]}={value}")
        names.append(" ".join(words) or ALL)
    return names


def mean_of_figures(
    frame: pd.DataFrame, figures: Sequence[str], groups: dict[str, str], level: float = 0.95
) -> pd.DataFrame:
    """Return a row per group, epoch and layer, with the mean of each figure over the group's networks.

    Args:
        frame: ``trial``, ``epoch``, ``layer`` and figures.
        figures: Their columns.
        groups: See :func:`groups_of`.
        level: Of the interval, which is Student's.

    Returns:
        ``group``, ``epoch``, ``layer``, and for each figure ``x`` the columns ``x`` (mean), ``x/std`` (of the sample),
        ``x/count``, ``x/low`` and ``x/high``.
    """
    named = pd.DataFrame(frame).assign(group=frame["trial"].astype(str).map(groups))
    several = named.groupby(["group", "epoch", "layer"], sort=False, observed=True)
    columns: dict[str, pd.Series] = {}
    for figure in figures:
        mean, std, count = several[figure].mean(), several[figure].std(), several[figure].count()
        half = std / np.sqrt(count) * t.ppf(0.5 + level / 2, (count - 1).clip(lower=1))
        columns |= {figure: mean, f"{figure}/std": std, f"{figure}/count": count}
        columns |= {f"{figure}/low": mean - half, f"{figure}/high": mean + half}
    return pd.DataFrame(columns).reset_index()


def mean_of_pairs(frame: pd.DataFrame, groups: dict[str, str], same: bool, level: float = 0.95) -> pd.DataFrame:
    """Return a row per pair of groups, epochs and layers, with the mean of ``value`` over pairs of networks.

    Args:
        frame: As :class:`analysis.results.Pairs`.
        groups: See :func:`groups_of`.
        same: Whether both layers are of one network; else they are of two different ones.
        level: Of the interval.

    Returns:
        The columns of pairs with the groups' names as ``trial_a`` and ``trial_b``, ``value`` (mean), ``std``,
        ``count``, ``low`` and ``high``. The interval is empty where leaving out a network leaves no pair.

    Raises:
        AnalysisError: If there are no such pairs.
    """
    rows = pd.DataFrame(frame)
    one, other = rows["trial_a"].astype(str), rows["trial_b"].astype(str)
    chosen = ((one == other) == same) & rows["value"].notna()
    rows = rows[chosen].assign(own_a=one, own_b=other, trial_a=one.map(groups), trial_b=other.map(groups))
    if rows.empty:
        raise AnalysisError(f"there are no pairs of {'one network' if same else 'different networks'}")
    keys = [f"{name}_{side}" for side in "ab" for name in ("trial", "epoch", "layer")]
    found = []
    for key, group in rows.groupby(keys, sort=False, observed=True):
        found.append([*_values(key), *_summary(group, level)])
    return pd.DataFrame(found, columns=[*keys, "value", "std", "count", "low", "high"])


def _values(key: Hashable) -> Sequence[object]:
    return key if isinstance(key, tuple) else (key,)


def _summary(rows: pd.DataFrame, level: float) -> tuple[float, float, int, float, float]:
    values, a, b = rows["value"].to_numpy(), rows["own_a"].to_numpy(), rows["own_b"].to_numpy()
    mean, without = float(values.mean()), []
    for network in dict.fromkeys([*a, *b]):
        rest = values[(a != network) & (b != network)]
        without.append(float(rest.mean()) if len(rest) else np.nan)
    half = jackknife(without, level)
    return mean, float(values.std(ddof=1)) if len(values) > 1 else np.nan, len(values), mean - half, mean + half
