"""What can be said about what varies: zipped keys, spaces inside of spaces, samples, replicates."""

import math
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import tune

from nnray import Sweep, grid, zipped
from nnray.errors import SpaceError
from nnray.space import load_sweep


def overrides(**fields):
    return list(Sweep(**{"name": "s", **fields}).overrides())


def configurations(settings=None, **fields):
    return list(Sweep(**{"name": "s", **fields}).configurations(Path(), settings))


SPANS = {
    "zipped keys are paired": ({"a": zipped(1, 2), "b": zipped(3, 4)}, [(1, 3), (2, 4)]),
    "and multiplied by grids": (
        {"a": zipped(1, 2), "g": grid(0, 9), "b": zipped(3, 4)},
        [(1, 3, 0), (1, 3, 9), (2, 4, 0), (2, 4, 9)],
    ),
    "each group for itself": (
        {"a": zipped(1, 2), "b": zipped(3, 4), "c": zipped(5, 6, group="other"), "d": zipped([7, 8], group="other")},
        [(1, 3, 5, 7), (1, 3, 6, 8), (2, 4, 5, 7), (2, 4, 6, 8)],
    ),
    "one alone is a grid": ({"a": zipped(range(3))}, [(0,), (1,), (2,)]),
}


@pytest.mark.parametrize(("space", "expected"), SPANS.values(), ids=SPANS)
def test_zipped(space, expected):
    assert [
        tuple(point[key] for key in sorted(space, key="abcdg".index)) for point in overrides(space=space)
    ] == expected


def test_zipped_keys_of_different_lengths_are_named():
    with pytest.raises(SpaceError, match=r"^space: zipped keys need equally many values: a has 2, b\.c has 1$"):
        overrides(space={"a": zipped(1, 2), "b.c": zipped(1)})
    with pytest.raises(SpaceError, match=r"^trials: number 2: zipped keys of the group 'x' need equally many values:"):
        overrides(trials=[{}, {"a": zipped(1, 2, group="x"), "b": zipped(1, group="x")}])
    with pytest.raises(SpaceError, match=r"^zipped\(\) has no values: give some, as in zipped\(8, 16\)"):
        zipped()


AXES = st.dictionaries(st.sampled_from("abcdef"), st.lists(st.integers(), min_size=1, max_size=4), max_size=4)


@given(AXES, st.integers(1, 4), st.lists(st.sampled_from("uvw"), unique=True))
def test_the_size_of_a_product(axes, length, zipped_keys):
    space = {key: grid(values) for key, values in axes.items()}
    space |= {key: zipped(range(length)) for key in zipped_keys}
    points = overrides(space=space)
    assert len(points) == math.prod(map(len, axes.values())) * (length if zipped_keys else 1)
    assert all(point.keys() == space.keys() for point in points)
    assert all(len({point[key] for key in zipped_keys}) <= 1 for point in points)
    for key, values in axes.items():
        assert {point[key] for point in points} == set(values)


@given(AXES)
def test_a_product_is_that_of_its_parts(axes):
    """A space inside another, a dict of ``trials`` with grids and the space itself all multiply alike."""
    keys = list(axes)
    first = {key: grid(axes[key]) for key in keys[: len(keys) // 2]}
    second = {key: grid(axes[key]) for key in keys[len(keys) // 2 :]}
    whole = [sorted(point.items()) for point in overrides(space={**first, **second})]
    assert [sorted(point.items()) for point in overrides(trials=[first], space=second)] == whole
    inner = Sweep(name="inner", space=first)
    assert [sorted(point.items()) for point in overrides(trials=inner, space=second)] == whole


MLP = {"class_path": "MLP", "init_args": {"width": grid(8, 16)}}
MLPS = [{"model": {"class_path": "MLP", "init_args": {}}, "model.init_args.width": width} for width in (8, 16)]


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ({"model": MLP}, MLPS),
        ({"model": grid(MLP, "ResNet9")}, [*MLPS, {"model": "ResNet9"}]),
        (
            {"trainer": {"max_epochs": grid(1, 2), "precision": "64-true"}},
            [{"trainer": {"precision": "64-true"}, "trainer.max_epochs": epochs} for epochs in (1, 2)],
        ),
    ],
    ids=["in a mapping", "in a value of a grid", "in options"],
)
def test_grids_inside(space, expected):
    assert overrides(space=space) == expected


def test_a_grid_inside_of_the_same_key_is_refused():
    with pytest.raises(SpaceError, match=r"^space: model\.init_args\.width and model\.width are the same key$"):
        overrides(space={"model": MLP, "model.width": 3})


def test_what_trials_yield_may_have_grids():
    def trials():
        for depth in (8, 14):
            if depth > 8:
                yield {"model.depth": depth, "model.width": grid(4, 8)}
            yield {"model.depth": depth, "optimizer.lr": zipped(1, 2), "optimizer.eps": zipped(3, 4)}

    assert [tuple(point.values()) for point in overrides(trials=trials)] == [
        (8, 1, 3),
        (8, 2, 4),
        (14, 4),
        (14, 8),
        (14, 1, 3),
        (14, 2, 4),
    ]


SMALL = Sweep(
    name="small",
    base={"model": "MLP", "model.width": 4, "optimizer.lr": 0.1, "seed": 5},
    space={"model.width": grid(4, 8)},
)
LARGE = Sweep(name="large", base={"model": "ResNet", "model.depth": 8}, trials=[{"model.depth": grid(14, 20)}, {}])


def test_a_space_inside_another_brings_its_base():
    base = {"model": "ResNet9", "model.width": 1, "trainer.max_epochs": 3, "seed": 1}
    (first, *_), all_of_them = [configurations(base=base, trials=SMALL, space={"optimizer.lr": grid(1, 2)})] * 2
    assert first == {
        "model": {"class_path": "MLP", "init_args": {"width": 4}},
        "trainer": {"max_epochs": 3},
        "seed": 5,
        "optimizer": {"init_args": {"lr": 1}},
    }
    assert [(c["model"]["init_args"]["width"], c["optimizer"]["init_args"]["lr"]) for c in all_of_them] == [
        (4, 1),
        (4, 2),
        (8, 1),
        (8, 2),
    ]


def test_a_list_of_spaces_is_their_union():
    made = configurations(trials=[SMALL, LARGE, {"model": "VGG"}], space={"seed": grid(0, 1)})
    models = [(c["model"]["class_path"], *c["model"].get("init_args", {}).values()) for c in made]
    once = [("MLP", 4), ("MLP", 8), ("ResNet", 14), ("ResNet", 20), ("ResNet", 8), ("VGG",)]
    assert models == [model for model in once for _ in range(2)]
    assert [c["seed"] for c in made] == [0, 1] * 6


def test_spaces_in_spaces_in_spaces():
    middle = Sweep(name="middle", base={"seed": 7, "model.width": 99}, trials=[SMALL], space={"threads": grid(1, 2)})
    made = configurations(base={"model": "VGG", "seed": 8}, trials=[middle])
    assert [(c["seed"], c["threads"], c["model"]["init_args"]["width"]) for c in made] == [
        (5, 1, 4),
        (5, 2, 4),
        (5, 1, 8),
        (5, 2, 8),
    ]


def test_a_key_that_two_spaces_vary_is_refused():
    with pytest.raises(SpaceError, match=r"^trials: number 1 sets model\.width, which the space sets too$"):
        overrides(trials=[SMALL], space={"model.init_args.width": grid(1)})


def test_spaces_of_files(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "base.yaml").write_text("model: MLP\nseed: 3\n")
    (tmp_path / "inner" / "small.yaml").write_text("{name: small, base: base.yaml, space: {model.width: [1, 2]}}")
    (tmp_path / "all.yaml").write_text(
        "{name: all, trials: [inner/small.yaml, {model: VGG, threads: {grid: [1, 2]}}], space: {data: [Digits]}}"
    )
    made = list(load_sweep(tmp_path / "all.yaml").configurations(tmp_path))
    assert made == [
        {"model": {"class_path": "MLP", "init_args": {"width": 1}}, "seed": 3, "data": {"class_path": "Digits"}},
        {"model": {"class_path": "MLP", "init_args": {"width": 2}}, "seed": 3, "data": {"class_path": "Digits"}},
        {"model": {"class_path": "VGG"}, "threads": 1, "data": {"class_path": "Digits"}},
        {"model": {"class_path": "VGG"}, "threads": 2, "data": {"class_path": "Digits"}},
    ]


def test_an_error_in_a_generator_names_its_line(tmp_path):
    (tmp_path / "space.py").write_text(
        textwrap.dedent("""
            from nnray import Sweep

            def width(depth):
                return 8 // depth

            def trials():
                for depth in (1, 0):
                    yield {"model.width": width(depth)}

            sweep = Sweep(name="s", trials=trials)
        """)
    )
    with pytest.raises(SpaceError, match=r"^trials of the sweep s: .*space\.py:5: ZeroDivisionError: .* by zero$"):
        list(load_sweep(tmp_path / "space.py").overrides())


@pytest.mark.parametrize("made", [lambda: None, lambda: {"a": 1}, lambda: "abc"], ids=["nothing", "a dict", "text"])
def test_a_function_that_makes_no_trials(made):
    with pytest.raises(SpaceError, match=r"^trials: the function returns .*, where dicts of dotted keys are expected"):
        overrides(trials=made)


RATES = {"optimizer.lr": tune.loguniform(1e-4, 1e-1)}


@given(st.integers(0, 2**40), st.integers(1, 6), st.integers(0, 6))
def test_more_samples_keep_the_first(seed, few, more):
    fields = {"space": {**RATES, "optimizer.eps": tune.uniform(0, 1)}, "sample_seed": seed}
    first = overrides(num_samples=few, **fields)
    assert overrides(num_samples=few + more, **fields)[:few] == first
    assert len({point["optimizer.lr"] for point in first}) == few
    assert all(1e-4 <= point["optimizer.lr"] <= 1e-1 for point in first)
    assert overrides(num_samples=few, **{**fields, "sample_seed": seed + 1}) != first


@pytest.mark.parametrize(
    "space",
    [
        {"optimizer.eps": tune.uniform(0, 1), **RATES},
        {"model.width": grid(8, 16), **RATES},
        {"optimizer.init_args.lr": RATES["optimizer.lr"], "z": tune.sample_from(lambda config: 1)},
    ],
    ids=["another distribution", "a grid", "another spelling"],
)
def test_other_keys_change_no_draws(space):
    alone = [point["optimizer.lr"] for point in overrides(space=RATES, num_samples=3)]
    made = [
        point.get("optimizer.lr") or point["optimizer.init_args.lr"] for point in overrides(space=space, num_samples=3)
    ]
    assert made == alone * (len(made) // 3)


def test_the_draws_are_these_for_ever():
    """Trials are found again by their values: should this ever change, those of everybody would be trained anew."""
    made = overrides(space={**RATES, "model.depth": tune.randint(1, 100)}, num_samples=2, sample_seed=3)
    assert made == [
        {"optimizer.lr": 0.00010449214476508993, "model.depth": 2},
        {"optimizer.lr": 0.010588239610756353, "model.depth": 33},
    ]


def test_functions_see_what_was_drawn_and_have_random_numbers_of_their_own():
    import random

    import numpy as np

    space = {
        "model.depth": tune.sample_from(lambda config: config["model.width"] * 2 + random.randint(0, 9)),
        "model.width": tune.randint(4, 64),
        "trainer.max_epochs": tune.sample_from(lambda config: np.random.randint(1000) + config["model.depth"]),
        "seed": tune.sample_from(lambda: random.random()),
    }
    before = random.getstate(), np.random.get_state()[1].tolist()
    made = overrides(space=space, num_samples=4)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    random.seed(1)
    assert overrides(space=space, num_samples=4) == made
    assert all(0 <= point["model.depth"] - 2 * point["model.width"] <= 9 for point in made)
    assert len({point["seed"] for point in made}) == 4
    assert [list(point) for point in made] == [list(space)] * 4


def test_samples_mistaken():
    with pytest.raises(SpaceError, match=r"^optimizer\.lr is a distribution: say with num_samples how many values"):
        overrides(space=RATES)
    with pytest.raises(SpaceError, match=r"^num_samples: 3, but nothing in the space is a distribution$"):
        overrides(space={"seed": grid(0, 1)}, num_samples=3)
    with pytest.raises(SpaceError, match=r"^seed: cannot draw a value: ZeroDivisionError: division by zero$"):
        overrides(space={"seed": tune.sample_from(lambda config: 1 / 0)}, num_samples=1)


def test_a_space_inside_another_is_sampled_by_its_own_numbers():
    few = Sweep(name="few", base={"model": "A"}, space=RATES, num_samples=1, replicates=3)
    free = Sweep(name="free", base={"model": "B"}, space=RATES)
    made = configurations(trials=[few, free], num_samples=4, sample_seed=9, replicates=2, base={"seed": 5})
    kinds = [(c["model"]["class_path"], c["seed"]) for c in made]
    assert kinds == [("A", 5), ("A", 6), ("A", 7)] + [("B", 5), ("B", 6)] * 4
    assert len({c["optimizer"]["init_args"]["lr"] for c in made}) == 5


@given(st.integers(0, 100), st.integers(1, 5), st.integers(0, 5))
def test_more_replicates_keep_the_first(seed, few, more):
    fields = {"base": {"seed": seed}, "space": {"model.width": grid(8, 16)}}
    first = configurations(replicates=few, **fields)
    assert [c["seed"] for c in first] == [*range(seed, seed + few)] * 2
    assert all(c in configurations(replicates=few + more, **fields) for c in first)


def test_replicates_count_from_a_trials_own_seed_and_from_one_that_is_set():
    assert [c["seed"] for c in configurations(trials=[{}, {"seed": 10}], replicates=2)] == [0, 1, 10, 11]
    assert [c["seed"] for c in configurations({"seed": 3}, trials=[{"seed": 10}], replicates=2)] == [3, 4]


@pytest.mark.parametrize(
    "fields",
    [
        {"space": {"seed": grid(0, 1)}},
        {"trials": [{"seed": zipped(0, 1)}]},
        {"trials": Sweep(name="inner", space={"seed": grid(1, 2)})},
        {"settings": {"seed": grid(0, 1)}},
    ],
    ids=["grid", "zipped", "inside", "set"],
)
def test_replicates_beside_varied_seeds_are_refused(fields):
    with pytest.raises(SpaceError, match=r"^replicates are seeds, and the seed is varied in the space too"):
        configurations(replicates=2, **fields)


def test_replicates_of_what_is_no_number():
    with pytest.raises(SpaceError, match=r"^replicates count upwards from the seed, and 'x' is not a whole number$"):
        configurations(base={"seed": "x"}, replicates=2)


def test_settings_multiply():
    made = configurations({"seed": grid(7, 8), "threads": 2, **RATES}, space={"seed": grid(0, 1)}, num_samples=3)
    assert len(made) == 2 * 2 * 3
    assert {(c["seed"], c["threads"]) for c in made} == {(7, 2), (8, 2)}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_samples": 0}, "num_samples: 0 is not a whole number of at least 1"),
        ({"num_samples": True}, "num_samples: True is not a whole number"),
        ({"replicates": 2.0}, r"replicates: 2\.0 is not a whole number of at least 1"),
        ({"sample_seed": "a"}, "sample_seed: 'a' is not a whole number"),
    ],
)
def test_numbers_that_are_none(fields, message):
    with pytest.raises(SpaceError, match=f"^{message}"):
        Sweep(name="s", **fields)
