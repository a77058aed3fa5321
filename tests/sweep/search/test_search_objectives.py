"""What a searcher is told of a trial."""

import pytest

from nnray.errors import SpaceError
from nnray.sweep.search.objectives import check_objectives, evaluation_of, unknown_metric
from nnray.sweep.search.searcher import FAILURE

ROWS = [
    {"epoch": 0, "step": 1, "time": 0.0, "val_acc": 0.5, "val_loss": 3.0},
    {"epoch": 1, "step": 2, "time": 0.0, "val_acc": 0.8, "val_loss": 2.0},
    {"epoch": 2, "step": 3, "time": 0.0, "val_acc": 0.8, "val_loss": 1.0},
    {"epoch": 3, "step": 4, "time": 0.0, "val_acc": 0.7, "val_loss": float("nan")},
]


def test_the_value_is_the_best_over_the_epochs():
    assert evaluation_of(ROWS, {"val_acc": "max"}).values == (0.8,)
    assert evaluation_of(ROWS, {"val_loss": "min"}).values == (1.0,)


def test_several_objectives_are_those_of_one_epoch():
    assert evaluation_of(ROWS, {"val_acc": "max", "val_loss": "min"}).values == (0.8, 2.0)
    assert evaluation_of(ROWS, {"val_loss": "min", "val_acc": "max"}).values == (1.0, 0.8)


def test_the_epochs_are_told_too_without_those_that_lack_an_objective():
    epochs = evaluation_of([*ROWS, {"epoch": 4, "val_acc": 0.1}], {"val_acc": "max", "val_loss": "min"}).epochs
    assert [epoch["val_loss"] for epoch in epochs] == [3.0, 2.0, 1.0]
    assert "step" not in epochs[0]


def test_without_any_number_it_is_a_failure():
    assert evaluation_of([], {"val_acc": "max"}) is FAILURE
    assert evaluation_of(ROWS[3:], {"val_loss": "min"}) is FAILURE


def test_a_metric_that_is_not_reported_is_named_with_the_nearest():
    assert unknown_metric(ROWS, {"val_acc": "max"}) is None
    assert unknown_metric([], {"acc": "max"}) is None
    line = unknown_metric(ROWS, {"val_acc": "max", "val_los": "min"})
    assert line == "metric: no trial has reported 'val_los'; did you mean 'val_loss'?"


@pytest.mark.parametrize("value", ["val_acc", {}, {"val_acc": "maximum"}], ids=str)
def test_objectives_that_are_none(value):
    with pytest.raises(SpaceError, match=r"^search: objectives: "):
        check_objectives(value)
