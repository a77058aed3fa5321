"""Keep rules: what they choose, and that it does not depend on how often they are asked."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.trial.keep_rule import KeepRule

RULES = ["all", "last", "best", "every 1", "every 3", "top 1", "top 3"]


@pytest.mark.parametrize(
    ("text", "epochs", "kept"),
    [
        ("all", [0, 1, 2], {0, 1, 2}),
        ("last", [0, 1, 2], {2}),
        ("every 2", [0, 1, 2, 3, 4], {1, 3, 4}),
        ("every  03", [0, 1, 2], {2}),
        ("every 9", [0, 1], {1}),
    ],
)
def test_rules_that_look_at_epochs_alone(text: str, epochs: list[int], kept: set[int]) -> None:
    assert KeepRule.parse(text).chosen(epochs) == kept


@pytest.mark.parametrize(
    ("text", "values", "mode", "kept"),
    [
        ("best", [0.1, 0.9, 0.5], "max", {1}),
        ("best", [0.1, 0.9, 0.5], "min", {0}),
        ("best", [0.9, 0.9, 0.9], "max", {0}),
        ("top 2", [0.1, 0.9, 0.5, 0.9], "max", {1, 3}),
        ("top 2", [0.9, 0.5, 0.5, 0.5], "max", {0, 1}),
        ("top 2", [math.nan, 0.5, math.nan], "max", {1, 0}),
        ("best", [math.nan, -math.inf], "max", {1}),
        ("best", [math.nan, math.nan], "min", {0}),
        ("top 9", [0.1, 0.2], "max", {0, 1}),
    ],
)
def test_rules_that_look_at_a_metric(text: str, values: list[float], mode: str, kept: set[int]) -> None:
    assert KeepRule.parse(text).chosen(list(range(len(values))), dict(enumerate(values)), mode) == kept


@pytest.mark.parametrize("text", ["", "none", "top", "every", "top 0", "every -1", "top 1.5", "every 5 epochs"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected all, last, best, 'every N' or 'top K'"):
        KeepRule.parse(text)


@given(
    st.sampled_from(RULES),
    st.lists(st.sampled_from([0.0, 0.25, 0.5, math.nan, math.inf]), min_size=1, max_size=12),
    st.sampled_from(["max", "min"]),
)
def test_removing_after_each_epoch_leaves_what_is_chosen_of_all(text: str, values: list[float], mode: str) -> None:
    rule, all_values = KeepRule.parse(text), dict(enumerate(values))
    kept: set[int] = set()
    for epoch in all_values:
        kept = rule.chosen(sorted(kept | {epoch}), all_values, mode)
    assert kept == rule.chosen(list(all_values), all_values, mode)
    assert kept  # so that a trial can always be loaded
