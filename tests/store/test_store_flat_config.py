"""Configurations that are read in parts mean what they mean when they are read as a whole."""

from __future__ import annotations

import pytest
from trial_folders import write_trial

from nnray.errors import StoreError
from nnray.store.flat_config import read_flat_config
from nnray.store.listed_trial import plain
from nnray.trial.merging import flatten, read_configuration_file
from nnray.trial.paths import StorePaths
from nnray.trial.yaml_dumper import dump_yaml


@pytest.mark.parametrize(
    "text",
    [
        dump_yaml({"seed": 1, "model": {"widths": [1, [2.5]], "note": "a\n\nb: c\n"}, "text": "x" * 200}),
        "list:\n- 1\n- a: 2\nempty: {}\nnothing:\nrate: 1e-3\n",
        "model: &m {a: 1}\nother: *m\n",
        "text: |\n  one\n\n  two\nseed: 1\n",
        'text: "one\nseed: 1"\n',
        "on: 1\nTrue: 2\nnull: 3\n",
        "a: {b: 1,\nc: 2}\n",
        "# comment\nseed: 1\n...\n",
        '{"seed": 1, "model": {"a": [1]}}',
    ],
)
def test_a_configuration_in_parts_is_the_whole_one(tmp_path, text):
    paths = write_trial(StorePaths(tmp_path))
    paths.config.write_text(text)
    expected = flatten(read_configuration_file(paths.config))
    assert repr(read_flat_config(paths)) == repr({key: plain(value) for key, value in expected.items()})


@pytest.mark.parametrize("text", ["", "a: 1\na: 2\n", "a: 1\n---\nb: 2\n", "a: 1\n- 2\n", "a: [1\nb: 2]\nc: ]\n"])
def test_a_damaged_configuration_is_found_as_the_whole_one_is(tmp_path, text):
    paths = write_trial(StorePaths(tmp_path))
    paths.config.write_text(text)
    with pytest.raises(StoreError):
        read_flat_config(paths)
