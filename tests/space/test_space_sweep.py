"""Which trials a space makes."""

import json

import numpy as np
import pytest

from nnray import Sweep, grid
from nnray.errors import ConfigurationError, SpaceError


def overrides(**fields):
    return list(Sweep(name="s", **fields).overrides())


@pytest.mark.parametrize(
    ("made", "values"),
    [
        (grid(8, 16), (8, 16)),
        (grid(8), (8,)),
        (grid([8, 16]), (8, 16)),
        (grid(range(3)), (0, 1, 2)),
        (grid(x * x for x in (1, 2)), (1, 4)),
        (grid("abc"), ("abc",)),
        (grid("a", "b"), ("a", "b")),
        (grid(None, 1), (None, 1)),
        (grid([1, 2], [3]), ([1, 2], [3])),
        (grid({"class_path": "MLP"}), ({"class_path": "MLP"},)),
        (grid(np.arange(2)), (0, 1)),
        (grid(np.float32(0.5), np.bool_(True)), (0.5, True)),
        (grid(np.linspace(0, 1, 3)), (0.0, 0.5, 1.0)),
    ],
)
def test_grids(made, values):
    assert made.values == tuple(made) == values
    assert len(made) == len(values)
    assert {type(value) for value in made} <= {int, float, str, bool, list, dict, type(None)}


@pytest.mark.parametrize("values", [(), ([],), (range(0),)])
def test_a_grid_without_values_is_refused(values):
    with pytest.raises(SpaceError, match=r"^grid\(\) has no values: give some, as in grid\(8, 16\)"):
        grid(*values)


def test_the_last_key_varies_fastest():
    assert overrides(space={"a": grid(1, 2), "b": 7, "c": grid("x", "y")}) == [
        {"b": 7, "a": 1, "c": "x"},
        {"b": 7, "a": 1, "c": "y"},
        {"b": 7, "a": 2, "c": "x"},
        {"b": 7, "a": 2, "c": "y"},
    ]


def test_a_space_that_varies_nothing_is_one_trial():
    assert overrides() == [{}]
    assert overrides(space={"a": [1, 2]}) == [{"a": [1, 2]}]


def loops():
    for depth in (8, 14):
        for width in (4, 8):
            if depth * width < 100:
                yield {"model.depth": depth, "model.width": width}


@pytest.mark.parametrize(
    "trials", [loops, list(loops()), tuple(loops()), loops()], ids=["function", "list", "tuple", "generator"]
)
def test_trials_from_loops_and_conditions(trials):
    sweep = Sweep(name="s", trials=trials, space={"seed": grid(0, 1)})
    expected = [{"model.depth": d, "model.width": w, "seed": s} for d, w in ((8, 4), (8, 8), (14, 4)) for s in (0, 1)]
    assert list(sweep.overrides()) == expected
    assert list(sweep.overrides()) == expected, "a second time too"


def test_no_trials_are_none():
    assert overrides(trials=list, space={"seed": grid(0, 1)}) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "a/b"}, r"'a/b' cannot name a sweep: use letters, digits"),
        ({"name": ""}, "'' cannot name a sweep"),
        ({"name": 3}, r"name: 3 is not text"),
        ({"base": 3}, "base: a configuration file or a dict is expected, not 3"),
        ({"mode": "maximum"}, "mode: 'maximum' is neither 'max' nor 'min'"),
        ({"metric": 3}, "metric: 3 is not text"),
        ({"space": [1]}, r"space: a dict of dotted keys is expected, not \[1\]"),
        ({"space": {"learning rate": 1}}, "space: 'learning rate' is not a dotted key such as 'model.init_args.width'"),
        ({"space": {"a..b": 1}}, r"space: 'a\.\.b' is not a dotted key"),
        ({"space": {"a=1": 1}}, "space: 'a=1' is not a dotted key"),
        ({"space": {3: 1}}, "space: 3 is not a dotted key"),
        (
            {"space": {"model.width": 1, "model.init_args.width": 2}},
            r"space: model\.width and model\.init_args\.width are the same key",
        ),
        ({"trials": 3}, "trials: a function that yields dicts of dotted keys is expected, not 3"),
        ({"trials": {"a": 1}}, "trials: a function that yields dicts"),
        ({"trials": "loops"}, "trials: a function that yields dicts"),
        ({"resources": {"cpus": 1}}, "resources: there is no 'cpus'; did you mean 'cpu'"),
        ({"resources": {"cpu": -1}}, "resources: cpu is -1, where a number that is not negative is expected"),
        ({"resources": {"gpu": "all"}}, "resources: gpu is 'all'"),
        ({"resources": {"gpu": True}}, "resources: gpu is True"),
        ({"resources": {"gpu": float("nan")}}, "resources: gpu is nan"),
        ({"resources": [1]}, r"resources: a dict such as \{'cpu': 1\} is expected, not \[1\]"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(fields, message):
    with pytest.raises(SpaceError, match=f"^{message}") as caught:
        Sweep(**{"name": "s", **fields})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("trials", "space", "message"),
    [
        ([{"seed": 1}], {"seed": grid(0, 1)}, "trials: number 1 sets seed, which the space sets too"),
        ([{}, {"seed": 1}], {"seed": 0}, "trials: number 2 sets seed, which the space sets too"),
        (
            [{"model.init_args.width": 1}],
            {"model.width": grid(1)},
            r"trials: number 1 sets model\.init_args\.width, which",
        ),
        ([{"a": 1}, 3], {}, "trials: number 2: a dict of dotted keys or a Sweep is expected, not 3"),
        ([{"a b": 1}], {}, "trials: number 1: 'a b' is not a dotted key"),
    ],
)
def test_trials_that_do_not_fit_are_named(trials, space, message):
    with pytest.raises(SpaceError, match=f"^{message}"):
        overrides(trials=trials, space=space)


def test_the_base_is_a_file_beside_the_space_or_a_dict(tmp_path):
    (tmp_path / "base.yaml").write_text("optimizer.lr: 1e-3\nseed: 1\n")
    (tmp_path / "base.json").write_text(json.dumps({"optimizer.lr": 1e-3, "seed": 1}))
    expected = {"optimizer": {"init_args": {"lr": 0.001}}, "seed": 1}
    for base in ("base.yaml", "base.json", tmp_path / "base.yaml", {"optimizer.lr": 1e-3, "seed": 1}):
        assert Sweep(name="s", base=base).base_configuration(tmp_path) == expected
    with pytest.raises(ConfigurationError, match=r"cannot read configuration .*bse\.yaml: No such file"):
        Sweep(name="s", base="bse.yaml").base_configuration(tmp_path)
