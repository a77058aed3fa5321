from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nnray.errors import StoreError
from nnray.store.query import find_column, larger_is_better, mean_over, ordered, short_labels, varying_config, where

FRAME = pd.DataFrame(
    {
        "trial": ["a", "b", "c", "d"],
        "status": ["completed", "completed", "failed", "completed"],
        "config/seed": [0, 1, 0, 1],
        "config/model.class_path": ["nnray.models.MLP"] * 2 + ["nnray.models.ResNet"] * 2,
        "config/model.init_args.width": [8, 8, 16, 16],
        "config/data.init_args.width": [1, 1, 1, 1],
        "config/optimizer.init_args.lr": [0.1, 0.1, 0.01, 0.01],
        "config/data.init_args.seed": [5, 5, 5, 5],
        "val_acc": [0.5, 0.7, np.nan, 0.9],
        "val_loss": [0.5, 0.4, np.nan, 0.1],
        "best/val_acc": [0.6, 0.8, np.nan, 0.9],
    }
)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("val_acc > 0.6", "bd"),
        ("`best/val_acc` >= 0.6", "abd"),
        ("lr == 0.1", "ab"),
        ("`model.width` > 8", "cd"),
        ("`config/model.init_args.width` > 8 and `model.init_args.width` < 20 and lr < 1", "cd"),
        ("seed == 1", "bd"),
        ("`data.seed` == 5", "abcd"),
        ("model == 'nnray.models.MLP'", "ab"),
        ("status == 'failed' or trial in ['a', 'b']", "abc"),
        ("val_acc.isna()", "c"),
        ("not val_acc > 0", "c"),
    ],
)
def test_a_condition_names_columns_as_people_do(condition, expected):
    assert "".join(where(FRAME, condition)["trial"]) == expected


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("vall_acc > 0", "there is no column 'vall_acc'; did you mean 'val_acc'"),
        ("`model.with` > 0", "there is no column 'model.with'; did you mean 'model.width'"),
        ("width > 0", "'width' may be 'config/model.init_args.width' or 'config/data.init_args.width'"),
        ("val_acc >", "'val_acc >' is not a condition on trials: invalid syntax"),
        ("val_acc", "neither true nor false"),
        ("val_acc > 'high'", "is not a condition on trials"),
        ("model.width > 8", "names with dots stand in backticks: `model.width`"),
        ("@pd.DataFrame", "there is no column 'pd'"),
        ("__import__('os')", "is not a condition on trials|there is no column"),
        ("", "is not a condition on trials"),
    ],
)
def test_a_bad_condition_is_one_clear_line(condition, message):
    with pytest.raises(StoreError, match=message) as error:
        where(FRAME, condition)
    assert "\n" not in str(error.value)


def test_a_table_without_rows_can_be_asked_too():
    assert len(where(FRAME.head(0), "val_acc > 0.5 and lr < 1")) == 0


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("seed", "config/seed"),
        ("data.seed", "config/data.init_args.seed"),
        ("lr", "config/optimizer.init_args.lr"),
        ("model", "config/model.class_path"),
        ("status", "status"),
    ],
)
def test_a_name_finds_its_column(name, column):
    assert find_column(FRAME, name) == column


def test_labels_are_the_shortest_names_that_tell_columns_apart():
    columns = ["trial", "config/seed", "config/model.class_path", "config/model.init_args.width", "val_acc"]
    assert list(short_labels(columns).values()) == ["trial", "seed", "model", "width", "val_acc"]
    both = short_labels(["config/model.init_args.width", "config/data.init_args.width", "config/a.trial", "trial"])
    assert list(both.values()) == ["model.width", "data.width", "a.trial", "trial"]


def test_missing_values_come_last_whatever_the_order():
    assert "".join(ordered(FRAME, "val_acc", descending=True)["trial"]) == "dbac"
    assert "".join(ordered(FRAME, "val_acc", descending=False)["trial"]) == "abdc"


@pytest.mark.parametrize(
    ("column", "metric", "mode", "larger"),
    [
        ("val_acc", None, None, True),
        ("val_loss", None, None, False),
        ("best/val_loss", None, None, False),
        ("score", "score", "min", False),
        ("best/score", "score", "min", False),
        ("val_loss", "score", "max", False),
    ],
)
def test_which_values_are_better(column, metric, mode, larger):
    assert larger_is_better(column, metric, mode) is larger


def test_only_what_varies_is_shown():
    assert varying_config(FRAME.head(2)) == ["config/seed"]


def test_means_over_seeds_are_those_of_textbooks():
    means = mean_over(FRAME, ["config/seed"])
    assert list(means["config/model.init_args.width"]) == [8, 16]
    assert list(means["trials"]) == [2, 2]
    assert list(means["val_acc/mean"]) == pytest.approx([0.6, 0.9])
    assert means["val_acc/std"][0] == pytest.approx(math.sqrt(0.02))
    assert list(means["val_acc/count"]) == [2, 1]
    low, high = stats.t.interval(0.95, 1, loc=0.6, scale=stats.sem([0.5, 0.7]))
    assert means["val_acc/ci95"][0] == pytest.approx((high - low) / 2)
    assert math.isnan(means["val_acc/std"][1])
    assert math.isnan(means["val_acc/ci95"][1])
    assert "best/val_acc/mean" in means
    assert list(mean_over(FRAME.head(2), ["config/seed"])["trials"]) == [2]
