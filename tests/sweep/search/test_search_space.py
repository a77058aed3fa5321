"""Which configuration a point of a search stands for, and which points older trials are."""

from pathlib import Path

import pytest
from ray import tune

from nnray import Sweep, grid, zipped
from nnray.errors import SpaceError
from nnray.sweep.search.axes import Choice, Number
from nnray.sweep.search.space import SearchSpace


def space_of(settings=None, **fields):
    return SearchSpace.of(Sweep(name="s", search="random", **fields), Path(), settings or {})


def test_grids_zipped_keys_and_trials_are_choices():
    space = space_of(
        trials=[{"model": "MLP", "model.width": grid(8, 16)}, {"model": "SimpleCNN"}],
        space={
            "optimizer.lr": tune.loguniform(1e-4, 1e-1),
            "data.batch_size": zipped(64, 128),
            "trainer.max_epochs": zipped(1, 2),
            "seed": grid(range(3)),
            "threads": 1,
        },
    )
    assert list(space.axes) == ["trials", "optimizer.lr", "data.batch_size trainer.max_epochs", "seed"]
    assert [axis.size for axis in space.axes.values()] == [3, float("inf"), 2, 3]
    assert space.constants == {"threads": 1}
    point = {key: axis.corners().__iter__().__next__() for key, axis in space.axes.items()}
    assert space.overrides(point) == {
        "threads": 1,
        "model": "MLP",
        "model.width": 8,
        "optimizer.lr": 1e-4,
        "data.batch_size": 64,
        "trainer.max_epochs": 1,
        "seed": 0,
    }


def test_a_value_with_a_grid_of_its_own_is_as_many_choices():
    model = grid({"class_path": "MLP", "init_args": {"width": grid(8, 16)}}, "ResNet9")
    space = space_of(space={"model": model})
    assert [space.overrides({"model": label}) for label in space.axes["model"].labels] == [
        {"model": {"class_path": "MLP", "init_args": {}}, "model.init_args.width": 8},
        {"model": {"class_path": "MLP", "init_args": {}}, "model.init_args.width": 16},
        {"model": "ResNet9"},
    ]


def test_a_distribution_inside_of_a_mapping_is_an_axis():
    space = space_of(space={"optimizer": {"class_path": "SGD", "init_args": {"lr": tune.uniform(0, 1)}}})
    assert space.axes == {"optimizer.init_args.lr": Number(0, 1)}
    assert space.constants == {"optimizer": {"class_path": "SGD", "init_args": {}}}


def test_settings_win_over_the_space_and_may_vary():
    fields = {"space": {"optimizer.lr": tune.uniform(0, 1), "seed": grid(1, 2)}}
    assert list(space_of({"optimizer.init_args.lr": 0.1}, **fields).axes) == ["seed"]
    assert space_of({"seed": grid(5, 6)}, **fields).axes["seed"] == Choice.of([5, 6])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"trials": [{"seed": 1}], "space": {"seed": grid(1, 2)}}, "trials: number 1 sets seed, which the space sets"),
        ({"trials": [{"seed": tune.randint(0, 3)}]}, "trials: number 1: seed is a distribution that only some trials"),
        (
            {"space": {"model": grid({"class_path": "MLP", "init_args": {"width": tune.randint(1, 3)}}, "ResNet9")}},
            "space: model.init_args.width is a distribution that only some trials",
        ),
    ],
    ids=["a key set twice", "a distribution in trials", "a distribution in a choice"],
)
def test_what_a_searcher_cannot_vary_is_refused(fields, message):
    with pytest.raises(SpaceError, match=message):
        space_of(**fields)


def test_a_trial_of_another_space_is_recognised_by_its_configuration():
    space = space_of(space={"model.width": grid(8, 16), "optimizer.lr": tune.uniform(0, 1)})
    configuration = {"model.init_args.width": 8, "optimizer.init_args.lr": 0.5}
    assert space.recognised({}, configuration) == {"model.width": 8, "optimizer.lr": 0.5}
    assert space.recognised({"optimizer.lr": 0.25}, configuration) == {"model.width": 8, "optimizer.lr": 0.25}
    assert space.recognised({"model.width": 32}, configuration) is None
    assert space.recognised({}, {"model.init_args.width": 8}) is None


def test_the_corners_have_every_choice_and_both_ends():
    space = space_of(space={"model.width": grid(8, 16, 32), "optimizer.lr": tune.uniform(0, 1)})
    corners = space.corners()
    assert [corner["model.width"] for corner in corners] == [8, 16, 32]
    assert {corner["optimizer.lr"] for corner in corners} == {0.0, 1.0}


def test_the_size_of_a_space_of_choices():
    assert space_of(space={"seed": grid(range(4)), "model.width": tune.randint(1, 4)}).size == 12
