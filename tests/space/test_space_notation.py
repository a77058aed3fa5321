"""What varies, without Python: in files and on command lines."""

import pytest

from nnray import grid, zipped
from nnray.errors import SpaceError
from nnray.space import Distribution
from nnray.space.notation import described_value, parse_grids, parse_settings


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ([1, 2], grid(1, 2)),
        ([[0.9, 0.99]], grid([[0.9, 0.99]])),
        ([[1, 2], [3, 4]], grid([1, 2], [3, 4])),
        ({"grid": [1, 2]}, grid(1, 2)),
        ({"zipped": [1, 2]}, zipped(1, 2)),
        ({"zipped": [1, 2], "group": "x"}, zipped(1, 2, group="x")),
        ({"loguniform": [1e-4, 1e-1]}, Distribution("loguniform", (1e-4, 1e-1))),
        ({"choice": ["a", "b"]}, Distribution("choice", ("a", "b"))),
        ({"class_path": "MLP"}, {"class_path": "MLP"}),
        ({}, {}),
        ("[1, 2]", "[1, 2]"),
        (None, None),
    ],
    ids=str,
)
def test_described_values(value, meant):
    assert described_value("k", value) == meant


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], r"k: the list has no values; a value that is an empty list is written \[\[\]\]"),
        ({"grid": []}, "k: the list has no values"),
        ({"zipped": 3}, "k: zipped: a list is expected, not 3"),
        ({"uniform": [2, 1]}, r"k: uniform\(2, 1\): nothing can be drawn"),
    ],
    ids=str,
)
def test_described_values_mistaken(value, message):
    with pytest.raises(SpaceError, match=f"^{message}"):
        described_value("k", value)


GRIDS = {
    "k=1": grid(1),
    "k=0.001,0.01": grid(0.001, 0.01),
    "k=1e-3, 1e-2": grid(0.001, 0.01),
    "k=0..4": grid(range(5)),
    "k=-2..2..2": grid(-2, 0, 2),
    "k=8..30..8": grid(8, 16, 24),
    "k=4..0..-2": grid(4, 2, 0),
    "k=0.1..0.5..0.1": grid(0.1, 0.2, 0.3, 0.4, 0.5),
    "k=0.5..2": grid(0.5, 1.5),
    "k=0..2,10": grid(0, 1, 2, 10),
    "k=relu,gelu": grid("relu", "gelu"),
    "k=true,null": grid(True, None),
    "k='1','a,b'": grid("1", "a,b"),
    "k=[1,2],[3,4]": grid([1, 2], [3, 4]),
    "k={class_path: A, init_args: {b: 1}},C": grid({"class_path": "A", "init_args": {"b": 1}}, "C"),
    "k=../data,a..b": grid("../data", "a..b"),
    "k='0..4'": grid("0..4"),
    "k=loguniform(1e-4,1e-1)": Distribution("loguniform", (1e-4, 1e-1)),
    "k=choice(a, [1, 2])": Distribution("choice", ("a", [1, 2])),
}


@pytest.mark.parametrize(("word", "meant"), GRIDS.items(), ids=GRIDS)
def test_grids_of_a_command_line(word, meant):
    (value,) = parse_grids([word]).values()
    assert value == meant
    if value != Distribution("choice", ("a", [1, 2])):
        types = [
            type(entry) for entry in getattr(value, "values", value.arguments if hasattr(value, "arguments") else ())
        ]
        assert types == [type(entry) for entry in getattr(meant, "values", getattr(meant, "arguments", ()))]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed"], "--grid: 'seed' is not of the form KEY=VALUE,VALUE"),
        (["=1"], "--grid: '=1' is not of the form"),
        (["seed="], "--grid: seed has no values: list some, as in seed=1,2 or seed=0..4"),
        (["seed=4..0"], r"--grid: seed: there is nothing in 4\.\.0"),
        (["seed=1", "seed=2"], "--grid: seed is given twice; list its values in one, as in seed=1,2"),
        (["lr=logunifrom(1,2)"], "--grid: lr: there is no distribution 'logunifrom'; did you mean 'loguniform'"),
    ],
)
def test_grids_mistaken(words, message):
    with pytest.raises(SpaceError, match=f"^{message}"):
        parse_grids(words)


def test_settings():
    assert parse_settings(["a=1", "b=[1,2]", "c=[[0.9,0.99]]", "d={uniform: [0, 1]}", "e={x: [1]}"]) == {
        "a": 1,
        "b": grid(1, 2),
        "c": grid([[0.9, 0.99]]),
        "d": Distribution("uniform", (0, 1)),
        "e": {"x": [1]},
    }
