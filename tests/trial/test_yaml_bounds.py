"""YAML out of a file, whoever wrote it: read in bounded time and memory, or refused with a clear line."""

from __future__ import annotations

from itertools import pairwise

import pytest

from nnray.errors import ConfigurationError
from nnray.trial.merging import read_configuration_file
from nnray.trial.yaml_loader import load_yaml

LETTERS = "abcdefghijklmnopqrst"
LAUGHS = "a: &a [x, x]\n" + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in pairwise(LETTERS))
MERGES = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{new}: &{new}\n  <<: [{', '.join([f'*{old}'] * 9)}]\n" for old, new in pairwise(LETTERS)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "aliases make more than 1000000 values"),
        (MERGES, "aliases make more than 1000000 values"),
        ("a: &a [*a]", "an alias stands inside of what it means"),
        ("a: &a {<<: *a}", "an alias stands inside of what it means"),
        ("a: " + "[" * 100_000, "nested deeper than 100 levels"),
        ("a: " + "{a: " * 100_000, "nested deeper than 100 levels"),
        ("- " * 100_000 + "1", "nested deeper than 100 levels"),
        ("\n".join(" " * depth + "a:" for depth in range(2000)), "nested deeper than 100 levels"),
        ("a: " + "9" * 10_000, "integer string conversion"),
        ("a: 0x" + "f" * 10_000, "too many digits"),
        ("a: 1" + ":10" * 10_000, "too many digits"),
        ("a: !!timestamp x", "a value cannot be read"),
        ("a: !!int x", "a value cannot be read"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: \x00", "unacceptable character"),
        ("a: 1\na: 2", "the key 'a' stands twice"),
    ],
    ids=lambda text: text[:20],
)
def test_what_a_configuration_cannot_be_is_refused_in_one_line(tmp_path, text, message):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_configuration_file(file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_file_too_large_is_not_read(tmp_path):
    file = tmp_path / "config.yaml"
    with file.open("wb") as sparse:
        sparse.truncate(100 << 20)
    with pytest.raises(ConfigurationError, match="larger than 16 MiB"):
        read_configuration_file(file)


def test_aliases_merges_and_long_lists_are_read_as_ever():
    text = "base: &base {x: 1, y: [1, 2]}\nother:\n  <<: *base\n  y: *base\n"
    assert load_yaml(text)["other"] == {"x": 1, "y": {"x": 1, "y": [1, 2]}}
    assert load_yaml("\n".join(f"- {number}" for number in range(500))) == list(range(500))
