from __future__ import annotations

import math
from datetime import timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trial_folders import START, epoch_row, write_trial, write_trials

from nnray.store.columns import infer_array
from nnray.store.listing import SweepListing
from nnray.store.tables import write_tables
from nnray.trial.paths import StorePaths

FIXED = [
    "trial",
    "name",
    "sweep",
    "status",
    "error",
    "attempts",
    "started",
    "ended",
    "duration_s",
    "host",
    "git_commit",
    "cause",
]


def tables(store: StorePaths, sweep: str = "digits") -> dict[str, pd.DataFrame]:
    listing = SweepListing(store, sweep)
    listing.rescan()
    assert not listing.damaged
    write_tables(store, sweep, listing.trials())
    return {kind: pd.read_parquet(store.table(sweep, kind)) for kind in ("trials", "metrics", "checkpoints")}


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([True, None, False], pa.bool_()),
        ([1, None, -2], pa.int64()),
        ([1, 2.5], pa.float64()),
        ([1.0, float("nan"), float("inf")], pa.float64()),
        (["a", None], pa.string()),
        ([1, "a"], pa.string()),
        ([True, 1], pa.string()),
        ([[1, 2], None], pa.string()),
        ([{"a": 1}, "x"], pa.string()),
        ([2**63, 1], pa.string()),
        ([10**400, 1.0], pa.string()),
        (["\ud800"], pa.string()),
        ([None, None], pa.float64()),
        ([], pa.float64()),
    ],
    ids=str,
)
def test_a_column_has_the_narrowest_type_that_holds_all_its_values(values, dtype):
    array = infer_array(values, if_all_null=pa.float64())
    assert array.type == dtype
    assert array.null_count == sum(value is None for value in values)


def test_values_that_do_not_mix_are_kept_as_json_and_text():
    assert infer_array([True, 1, 0.5, "a", [1, "b"], None], pa.string()).to_pylist() == [
        *("true", "1", "0.5", "a", '[1, "b"]', None)
    ]


def test_trials_hold_record_configuration_and_metrics(tmp_path):
    store = write_trials(tmp_path, 2)
    frame = tables(store)["trials"]
    assert list(frame.columns[: len(FIXED)]) == FIXED
    first = frame.iloc[0]
    assert first["name"] == "seed=0"
    assert first["sweep"] == "digits"
    assert first["status"] == "completed"
    assert first["started"] == START
    assert first["ended"] - first["started"] == timedelta(seconds=3)
    assert first["config/model.init_args.width"] == 8
    assert first["config/optimizer.init_args.betas"] == "[0.9, 0.999]"
    assert first["config/trainer.deterministic"]
    assert list(frame["config/seed"]) == [0, 1]
    assert frame["config/lr_scheduler"].isna().all()
    assert first["val_acc"] == pytest.approx(0.7)
    assert first["best/val_loss"] == pytest.approx(0.3)
    assert str(frame["started"].dtype) == "datetime64[us, UTC]"


def test_rows_stand_in_the_order_of_the_sweep_and_of_epochs(tmp_path):
    store = StorePaths(tmp_path)
    for position in (2, 0, 1):
        write_trial(store, position=position, rows=[epoch_row(epoch, 0.5) for epoch in (1, 0)])
    found = tables(store)
    assert list(found["trials"]["config/seed"]) == [0, 1, 2]
    assert list(found["metrics"]["epoch"]) == [0, 1] * 3
    assert list(found["metrics"]["trial"].unique()) == list(found["trials"]["trial"])
    assert found["metrics"]["time"].iloc[0] == START + timedelta(seconds=0.25)


@pytest.mark.parametrize(("mode", "best"), [("max", 0.9), ("min", 0.2)])
def test_the_best_value_follows_the_mode_of_the_sweep_and_leaves_nan_out(tmp_path, mode, best):
    store = StorePaths(tmp_path)
    values = [0.2, 0.9, math.nan, 0.5]
    write_trial(store, mode=mode, rows=[epoch_row(epoch, value) for epoch, value in enumerate(values)])
    row = tables(store)["trials"].iloc[0]
    assert row["best/val_acc"] == best
    assert row["val_acc"] == 0.5


def test_an_integer_in_one_trial_and_a_float_in_another_make_floats(tmp_path):
    store = StorePaths(tmp_path)
    write_trial(store, position=0, config={"model.init_args.dropout": 1}, rows=[{"epoch": 0, "val_acc": 1}])
    write_trial(store, position=1, config={"model.init_args.dropout": 0.5}, rows=[{"epoch": 0, "val_acc": 0.5}])
    write_trial(store, position=2, config={"model.init_args.dropout": "much"}, sweep="words")
    write_trial(store, position=3, config={"model.init_args.dropout": 0.5}, sweep="words")
    found = tables(store)
    assert list(found["trials"]["config/model.init_args.dropout"]) == [1.0, 0.5]
    assert list(found["metrics"]["val_acc"]) == [1.0, 0.5]
    assert list(tables(store, "words")["trials"]["config/model.init_args.dropout"]) == ["much", "0.5"]


def test_a_sweep_without_trials_or_values_has_every_fixed_column_in_its_type(tmp_path):
    store = StorePaths(tmp_path)
    write_trial(store, rows=[], status="pending", started=None, ended=None, duration_s=None, host=None, git_commit=None)
    listing = SweepListing(store, "digits")
    listing.rescan()
    write_tables(store, "digits", listing.trials())
    write_tables(store, "nothing", [])
    for kind in ("trials", "metrics", "checkpoints"):
        some, none = (pq.read_schema(store.table(sweep, kind)) for sweep in ("digits", "nothing"))
        assert all(some.field(name).type == none.field(name).type for name in none.names)
    frame = pd.read_parquet(store.table("digits", "trials"))
    assert frame["val_acc"].isna().all()
    assert frame["val_acc"].dtype == "float64"


def test_metrics_that_are_named_like_other_columns_stand_beside_them(tmp_path):
    store = StorePaths(tmp_path)
    names = ["status", "trial", "path", "bytes", "best/val_acc", "metric/status", "config/seed"]
    write_trial(store, rows=[{"epoch": 0, "step": 1, "val_acc": 0.5, **dict.fromkeys(names, 0.25)}])
    paths = next(iter(store.trials.iterdir()))
    (paths / "checkpoints").mkdir()
    (paths / "checkpoints" / "epoch=0000.safetensors").write_bytes(b"12345678")
    found = tables(store)
    trials, metrics, checkpoints = (found[kind].iloc[0] for kind in ("trials", "metrics", "checkpoints"))
    assert (trials["status"], trials["metric/status"], trials["best/val_acc"]) == ("completed", 0.25, 0.5)
    assert trials["metric/best/val_acc"] == trials["metric/config/seed"] == trials["metric/metric/status"] == 0.25
    assert (metrics["trial"], metrics["metric/trial"], metrics["status"]) == (paths.name, 0.25, 0.25)
    assert (checkpoints["bytes"], checkpoints["metric/bytes"], checkpoints["metric/path"]) == (8, 0.25, 0.25)


def test_checkpoints_are_listed_with_the_metrics_of_their_epochs(tmp_path):
    store = StorePaths(tmp_path)
    paths = write_trial(store)
    paths.checkpoints.mkdir()
    for epoch in (2, 0):
        paths.checkpoint(epoch).write_bytes(bytes(16 + epoch))
    (paths.checkpoints / ".epoch=0001.safetensors.1a2b.part").write_bytes(b"half")
    frame = tables(store)["checkpoints"]
    assert list(frame["epoch"]) == [0, 2]
    assert list(frame["bytes"]) == [16, 18]
    assert list(frame["step"]) == [10, 30]
    assert list(frame["val_acc"]) == pytest.approx([0.5, 0.7])
    assert list(frame["path"]) == [str(paths.checkpoint(0)), str(paths.checkpoint(2))]


def test_a_trial_whose_runner_is_gone_is_pending(tmp_path):
    store = StorePaths(tmp_path)
    write_trial(store, status="running", ended=None)
    assert tables(store)["trials"]["status"].tolist() == ["pending"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("record.json", '{"status": "comp'),
        ("record.json", '{"signature": "00", "status": "completed", "duration_s": "long"}'),
        ("config.yaml", "seed: [0"),
        ("config.yaml", ""),
        ("sweeps/digits.json", "{"),
    ],
    ids=["half a record", "ill-typed record", "no YAML", "empty configuration", "half a membership"],
)
def test_a_damaged_folder_is_named_and_left_out(tmp_path, file, content):
    store = write_trials(tmp_path, 3)
    victim = sorted(store.trials.iterdir())[1]
    (victim / file).write_text(content)
    listing = SweepListing(store, "digits")
    listing.rescan()
    assert listing.damaged.keys() == {victim.name}
    assert file.rpartition("/")[2] in listing.damaged[victim.name]
    assert victim.name not in {listed.signature for listed in listing.trials()}


def test_a_listing_reads_again_what_changed_and_nothing_else(tmp_path):
    store = write_trials(tmp_path, 3)
    listing = SweepListing(store, "digits")
    assert len(listing.rescan()) == 3
    assert listing.rescan() == set()
    before = listing.trials()
    changed = write_trial(store, position=1, status="failed", error="it broke")
    before[2].trial.paths.membership("digits").unlink()
    assert listing.rescan() == {changed.signature, before[2].signature}
    after = listing.trials()
    assert [listed.trial.status for listed in after] == ["completed", "failed"]
    assert after[0] is before[0]


def test_tables_tell_where_they_come_from(tmp_path):
    store = write_trials(tmp_path, 1)
    tables(store)
    metadata = pq.read_schema(store.table("digits", "trials")).metadata
    assert metadata[b"nnray.sweep"] == b"digits"
    assert metadata[b"nnray.metric"] == b"val_acc"
    assert metadata[b"nnray.mode"] == b"max"
    assert b"nnray.version" in metadata
