"""What of a person's function makes it another computation."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from analysis.jobs.function_text import function_text

SOURCE = """
import functools
import json
import math

import numpy as np

WIDTH = 3
NAMES = {"b", "a"}
SETTINGS = {"depth": [1, 2]}
CACHE = np.zeros(3)


class Scale:
    factor = 2


def twice(x):
    return 2 * half(x) if x else twice(1)


def half(x):
    return x / 4 * WIDTH


def job(network, activations):
    return [twice(x) for x in (1, len(NAMES), Scale.factor, math.pi, SETTINGS, CACHE)], json.dumps({})


def other(network, activations):
    return 1
"""


@pytest.fixture
def text_of(tmp_path, monkeypatch):
    """Return a function from a module's source to the text of its ``job``."""
    monkeypatch.syspath_prepend(str(tmp_path))
    numbers = iter(range(99))

    def text(source: str) -> str:
        name = f"module_of_a_person_{next(numbers)}"
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        return function_text(importlib.import_module(name).job)

    yield text
    for name in [name for name in sys.modules if name.startswith("module_of_a_person_")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2 * half", "3 * half"),
        ("x / 4", "x / 5"),
        ("WIDTH = 3", "WIDTH = 4"),
        ('{"b", "a"}', '{"b", "c"}'),
        ("[1, 2]", "[1, 3]"),
        ("factor = 2", "factor = 3"),
    ],
    ids=["called", "called by what is called", "number", "set", "dict of lists", "class"],
)
def test_what_a_function_uses_is_part_of_it(text_of, before, after):
    assert text_of(SOURCE.replace(before, after)) != text_of(SOURCE)


@pytest.mark.parametrize(
    ("before", "after"),
    [("return 1", "return 2"), ('{"b", "a"}', '{"a", "b"}'), ("zeros", "ones"), ("import json", "import json, re")],
    ids=["another function", "order of a set", "array", "import"],
)
def test_what_it_does_not_use_is_not(text_of, before, after):
    assert text_of(SOURCE.replace(before, after)) == text_of(SOURCE)


def test_libraries_are_not_taken_apart(text_of):
    text = text_of("from json import dumps\n\n\ndef job(network, activations):\n    return dumps({})\n")
    assert "skipkeys" not in text
    assert "dumps({})" in text


def test_where_it_stands_does_not_matter(text_of, tmp_path):
    assert str(tmp_path) not in text_of(SOURCE)
    assert Path(__file__).name not in text_of(SOURCE)


def test_lambdas_on_one_line_are_different_functions():
    functions = [lambda x: x + 1, lambda x: x + 2, lambda x: x - 1, lambda x: x.mean(), lambda x: [y + 1 for y in x]]
    assert len({function_text(function) for function in functions}) == len(functions)
    assert " at 0x" not in "".join(map(function_text, functions))  # another one in each process
