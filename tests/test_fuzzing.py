"""Whatever stands in a file or is typed: a correct result or an error of nnray's in one line, and nothing is changed.

``NNRAY_FUZZ_EXAMPLES`` sets how many examples each test tries.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trial_folders import write_trials

import nnray
from nnray.errors import NnrayError
from nnray.space.loading import load_sweep
from nnray.store.membership import Membership
from nnray.store.metrics_log import read_rows
from nnray.store.reading import read_folder, stamp_of
from nnray.store.record import Record
from nnray.store.stop_request import StopRequest
from nnray.store.weights import load_weights, save_weights
from nnray.training.resume import read_resume_state
from nnray.trial import resolve
from nnray.trial.paths import StorePaths

EXAMPLES = int(os.environ.get("NNRAY_FUZZ_EXAMPLES", "25"))
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="NNRAY_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
PARTS = ("model", "data", "optimizer", "lr_scheduler", "task", "trainer", "checkpoint", "seed", "threads")
KEYS = st.text(max_size=8) | st.sampled_from(
    [
        *PARTS,
        "class_path",
        "init_args",
        "lr",
        "width",
        "max_epochs",
        "callbacks",
        "keep",
        "model.width",
        "name",
        "base",
        "space",
        "trials",
        "x",
    ]
)
plain = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))
PATHS = ["nnray.models.MLP", "MLP", "nnray.data.Digits", "torch.optim.SGD", "os.system", "x.y", "torch.nn.Linear", ""]
configurations = st.dictionaries(
    KEYS,
    plain | st.fixed_dictionaries({"class_path": st.sampled_from(PATHS)}, optional={"init_args": plain}),
    max_size=5,
)


def refused_or_done(act):
    """Return what ``act`` returns, or None if it raises an error of nnray's, which is one line."""
    try:
        return act()
    except NnrayError as error:
        if not str(error) or "\n" in str(error):
            raise AssertionError(f"no line for a person: {error!r}") from error
        return None


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> StorePaths:
    return write_trials(tmp_path_factory.mktemp("fuzz") / "store", 2)


def first_of(store: StorePaths):
    return store.trial(sorted(path.name for path in store.trials.iterdir())[0])


def digest(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@given(values=configurations)
@fuzzed
def test_a_configuration(values):
    base = {"model": "MLP", "data": "nnray.data.Digits"}
    configuration = refused_or_done(lambda: resolve({**base, **values}))
    if configuration is not None:
        assert resolve(yaml.safe_load(json.dumps(configuration.values))).signature == configuration.signature


@given(values=st.dictionaries(KEYS, plain, max_size=5) | plain)
@fuzzed
def test_a_space_file(tmp_path, values):
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump(values, allow_unicode=False))
    refused_or_done(lambda: load_sweep(file))


@given(content=st.binary(max_size=200))
@fuzzed
def test_a_space_file_of_any_bytes(tmp_path, content):
    for name in ("space.yaml", "space.json"):
        (tmp_path / name).write_bytes(content)
        refused_or_done(lambda name=name: load_sweep(tmp_path / name))


RECORD_KEYS = st.sampled_from(
    ["signature", "status", "attempts", "started", "duration_s", "error", "history", "versions"]
)


@given(values=st.dictionaries(RECORD_KEYS, scalars | plain, max_size=4))
@fuzzed
def test_a_record(example, values):
    paths = first_of(example)
    before = paths.record.read_bytes()
    try:
        paths.record.write_text(json.dumps({**json.loads(before), **values}))
        there = digest(example.root)
        record = refused_or_done(lambda: Record.read(paths.record))
        listed, reason = read_folder(paths, "digits", stamp_of(paths, "digits"))
        assert (listed is None) == (reason is not None)
        assert record is not None or listed is None
        refused_or_done(lambda: nnray.open(example.root).trial(paths.signature).status)
        assert digest(example.root) == there
    finally:
        paths.record.write_bytes(before)


@given(content=st.binary(max_size=300) | st.integers(1, 100_000).map(lambda depth: b"[" * depth + b"]" * depth))
@pytest.mark.parametrize("name", ["record.json", "sweeps/digits.json", "config.yaml", "metrics.jsonl", "stop.json"])
@fuzzed
def test_any_bytes_in_a_file_of_a_trial(example, name, content):
    paths = first_of(example)
    file = paths.folder / name
    before = file.read_bytes() if file.exists() else None
    try:
        file.write_bytes(content + b"\n")
        listed, reason = read_folder(paths, "digits", stamp_of(paths, "digits"))
        assert listed is not None or "\n" not in (reason or "")
        refused_or_done(lambda: Membership.read(paths, "digits"))
        StopRequest.read(paths.stop)
    finally:
        if before is None:
            file.unlink()
        else:
            file.write_bytes(before)


@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from(["epoch", "step", "time", "val_acc", "x"]), scalars | plain), max_size=4
    )
)
@fuzzed
def test_rows_of_metrics(example, rows):
    paths = first_of(example)
    before = paths.metrics.read_bytes()
    try:
        paths.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert all(isinstance(row["epoch"], int) for row in read_rows(paths.metrics))
        listed, reason = read_folder(paths, "digits", stamp_of(paths, "digits"))
        assert listed is not None or reason
    finally:
        paths.metrics.write_bytes(before)


@given(values=st.dictionaries(st.sampled_from(["name", "position", "metric", "mode", "asks"]), scalars | plain))
@fuzzed
def test_a_membership(example, values):
    paths = first_of(example)
    before = paths.membership("digits").read_bytes()
    try:
        paths.membership("digits").write_text(json.dumps(values))
        membership = refused_or_done(lambda: Membership.read(paths, "digits"))
        if membership is not None:
            assert isinstance(membership.name, str)
            assert isinstance(membership.position, int)
    finally:
        paths.membership("digits").write_bytes(before)


@given(place=st.integers(0, 400), piece=st.binary(min_size=1, max_size=12), length=st.none() | st.integers(0, 500))
@fuzzed
def test_a_checkpoint_that_was_changed_anywhere(tmp_path, place, piece, length):
    path = tmp_path / "epoch=0000.safetensors"
    state = {"a": torch.arange(24.0), "b": torch.ones(3, dtype=torch.int64)}
    save_weights(path, state)
    content = path.read_bytes()
    path.write_bytes((content[:place] + piece + content[place + len(piece) :])[:length])
    loaded = refused_or_done(lambda: load_weights(path))
    changed = path.read_bytes() != content
    if loaded is not None and not changed:
        assert all(torch.equal(loaded[name], state[name]) for name in state)


@given(content=st.binary(max_size=300))
@fuzzed
def test_a_state_to_resume_from(tmp_path, content):
    path = tmp_path / "resume.ckpt"
    path.write_bytes(content)
    assert read_resume_state(path) is None


@given(
    text=st.text(max_size=40)
    | st.sampled_from(["../x", "/etc/passwd", "a/../b", "x" * 5000, "a\0b", "..", "digits/.."])
)
@fuzzed
def test_a_name_of_a_trial_or_sweep(example, text):
    there = digest(example.root)
    store = nnray.open(example.root)
    for ask in (store.trial, store.trials, store.metrics, store.checkpoints, store.load):
        refused_or_done(lambda ask=ask: ask(text))
    assert digest(example.root) == there
