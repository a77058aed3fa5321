"""Tables that are kept up change by change are those that are made anew, whoever reads or writes meanwhile."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem
from trial_folders import append_row, epoch_row, write_trial, write_trials

from nnray.store import listing as listing_module
from nnray.store import parquet_file, reading_processes
from nnray.store import tables as tables_module
from nnray.store.files import write_text
from nnray.store.listing import SweepListing
from nnray.store.parquet_file import write_parquet
from nnray.store.reading import stamp_of
from nnray.store.table_block import TABLES
from nnray.store.table_keeper import CHANGES, TableKeeper
from nnray.store.tables import TableBlocks
from nnray.trial.paths import StorePaths

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(-2, 2),
    st.sampled_from([math.nan, math.inf, 2**63, 10**400, "a", "1", "\ud800", [1, 0.5], {"a": 1}]),
)
ROW = st.dictionaries(st.sampled_from(["loss", "acc", "status", "path", "trial", "metric/loss"]), VALUES, max_size=4)
CHANGE = st.one_of(
    st.tuples(st.just("rows"), st.integers(0, 3), st.lists(ROW, max_size=3)),
    st.tuples(st.just("config"), st.integers(0, 3), VALUES),
    st.tuples(st.just("checkpoint"), st.integers(0, 3), st.integers(0, 2)),
    st.tuples(st.just("unlist"), st.integers(0, 3), st.none()),
    st.tuples(st.just("damage"), st.integers(0, 3), st.none()),
    st.tuples(st.just("restart"), st.just(0), st.none()),
    st.tuples(st.just("move"), st.integers(0, 3), st.integers(0, 9)),
)


def anew(store: StorePaths, sweep: str = "digits") -> dict[str, pa.Table]:
    """The tables, made from the folders alone."""
    listing = SweepListing(store, sweep)
    listing.rescan()
    tables = TableBlocks().tables(listing.trials())
    return {kind: pa.concat_tables(table.parts(), promote_options="none") for kind, table in tables.items()}


def kept(store: StorePaths, sweep: str = "digits") -> dict[str, pa.Table]:
    return {kind: pq.read_table(store.table(sweep, kind), partitioning=None) for kind in TABLES}


def assert_same(found: dict[str, pa.Table], expected: dict[str, pa.Table]) -> None:
    for kind in TABLES:
        assert found[kind].schema.equals(expected[kind].schema), kind
        assert repr(found[kind].to_pydict()) == repr(expected[kind].to_pydict()), kind  # NaN is NaN here


def change(store: StorePaths, what: str, number: int, value) -> str:
    """Change one trial's folder; return its signature."""
    paths = store.trial(f"{number:016x}")
    if not paths.folder.exists():
        write_trial(store, position=number, rows=[]).folder.rename(paths.folder)
    if what == "rows":
        rows = [{"epoch": epoch, "step": 3 * epoch, "time": 1e9 + epoch} | row for epoch, row in enumerate(value)]
        write_text(paths.metrics, "".join(json.dumps(row) + "\n" for row in rows))
    elif what == "config":
        write_text(paths.config, json.dumps({"seed": number, "key": None if value == "\ud800" else value}, indent=1))
    elif what == "checkpoint":
        paths.checkpoints.mkdir(exist_ok=True)
        write_text(paths.checkpoint(value), "weights")
    elif what == "unlist":
        paths.membership("digits").unlink(missing_ok=True)
    elif what == "damage":
        write_text(paths.record, "{")
    elif what == "move":
        member = {"name": "moved", "position": value, "metric": "acc", "mode": "min"}
        write_text(paths.membership("digits"), json.dumps(member))
        write_text(paths.record, json.dumps({"signature": paths.signature, "status": "completed"}))
    return paths.signature


@settings(max_examples=40, deadline=None)
@given(changes=st.lists(CHANGE, max_size=10))
def test_tables_kept_up_are_those_made_anew_whatever_happens_to_the_trials(changes):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing_module, "_SETTLED_S", 0.01)
        patch.setattr(tables_module, "_BLOCK", 2)
        store = StorePaths(Path(folder))
        keeper = TableKeeper(store, "digits")
        keeper.update()
        for what, number, value in changes:
            if what == "restart":
                time.sleep(0.015)
                keeper.save()
                keeper = TableKeeper(store, "digits")
            else:
                keeper.note(change(store, what, number, value))
            keeper.update()
            assert keeper.problem is None
            assert_same(kept(store), anew(store))


def test_integers_become_floats_and_then_text_when_a_later_trial_has_such_values(tmp_path):
    store, keeper = StorePaths(tmp_path), None
    found = []
    for position, value in enumerate([1, 0.5, "much"]):
        paths = write_trial(store, position=position, rows=[{"epoch": 0, "score": value}])
        keeper = keeper or TableKeeper(store, "digits")
        keeper.note(paths.signature)
        keeper.update()
        found.append(pd.read_parquet(store.table("digits", "metrics"))["score"].tolist())
    assert found == [[1], [1.0, 0.5], ["1", "0.5", "much"]]


def age(store: StorePaths) -> None:
    """Make all files look as if they had been written some time ago."""
    then = time.time() - 60
    for path in [*store.trials.rglob("*")]:
        os.utime(path, (then, then))


def write_unseen(path: Path, old: str, new: str) -> None:
    """Change a file in place so that nothing but its content shows it."""
    times, text = path.stat(), path.read_text()
    assert len(old) == len(new)
    assert old in text
    path.write_text(text.replace(old, new))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def hosts(store: StorePaths) -> list[str]:
    return pd.read_parquet(store.table("digits", "trials"))["host"].tolist()


def test_the_next_command_reads_only_folders_that_changed(tmp_path):
    store = write_trials(tmp_path, 3)
    age(store)
    first = TableKeeper(store, "digits")
    first.update()
    first.save()
    before, signatures = kept(store), [listed.signature for listed in first.trials()]
    write_unseen(store.trial(signatures[0]).record, "node1", "node2")
    write_trial(store, position=1, host="node3")
    TableKeeper(store, "digits").update()
    assert hosts(store) == ["node1", "node3", "node1"]
    assert kept(store)["metrics"].equals(before["metrics"])
    TableKeeper(store, "digits").rebuild()
    assert hosts(store) == ["node2", "node3", "node1"]


def test_a_folder_that_changed_just_now_is_read_again_by_the_next_command(tmp_path):
    store = write_trials(tmp_path, 1)
    keeper = TableKeeper(store, "digits")
    keeper.update()
    keeper.save()
    write_unseen(store.trial(keeper.trials()[0].signature).record, "node1", "node2")
    TableKeeper(store, "digits").update()
    assert hosts(store) == ["node2"]


@pytest.mark.parametrize("damage", ["half", "a flipped byte", "another format", "nothing"])
def test_what_the_last_command_left_is_passed_over_where_it_is_damaged(tmp_path, damage):
    store = write_trials(tmp_path, 2)
    age(store)
    keeper = TableKeeper(store, "digits")
    keeper.update()
    keeper.save()
    content = bytearray(store.listing("digits").read_bytes())
    content[-100] ^= 0xFF if damage == "a flipped byte" else 0
    content[:5] = b"other" if damage == "another format" else content[:5]
    length = {"half": len(content) // 2, "nothing": 0}.get(damage, len(content))
    store.listing("digits").write_bytes(content[:length])
    write_unseen(store.trial(keeper.trials()[0].signature).record, "node1", "node2")
    TableKeeper(store, "digits").update()
    assert sorted(hosts(store)) == ["node1", "node2"]


def test_several_processes_read_the_same_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(reading_processes, "_WORTH_A_PROCESS", 35)
    store = StorePaths(tmp_path)
    for position in range(70):  # more than one process takes at a time
        write_trial(store, position=position, rows=[{"epoch": 0, "acc": position if position % 2 else 0.5}])
    broken = sorted(store.trials.iterdir())[7]
    (broken / "record.json").write_text("{")
    seen: list[int] = []
    keeper = TableKeeper(store, "digits")
    keeper.rebuild(lambda: seen.append(1))
    assert len(seen) == 70
    assert keeper.damaged.keys() == {broken.name}
    assert_same(kept(store), anew(store))


def test_four_commands_on_one_sweep_look_only_at_folders_that_changed(tmp_path, monkeypatch):
    store, looked = write_trials(tmp_path, 40), []
    monkeypatch.setattr(listing_module, "stamp_of", lambda *at: looked.append(at) or stamp_of(*at))
    keepers = [TableKeeper(store, "digits") for _ in range(4)]
    for keeper in keepers:
        keeper.update()
    mine = [listed.paths for listed in keepers[0].trials()[::10]]
    looked.clear()
    for epoch in range(2, 8):
        for keeper, paths in zip(keepers, mine, strict=True):
            append_row(paths.metrics, epoch_row(epoch, 0.5))
            keeper.note(paths.signature)
            keeper.update()
    assert len(looked) <= 6 * 4 * 12  # the forty would make 960
    assert_same(kept(store), anew(store))


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "of former tables"])
def test_tables_whose_changes_are_not_told_make_a_command_look_at_all_folders(tmp_path, lost):
    store = write_trials(tmp_path, 3)
    first, second = TableKeeper(store, "digits"), TableKeeper(store, "digits")
    first.update()
    second.update()
    changes = store.table("digits", "trials").with_name(CHANGES)
    before = changes.read_bytes()
    one, other, silent = (listed.paths for listed in first.trials())
    append_row(silent.metrics, epoch_row(2, 0.5))  # which nobody notes
    append_row(one.metrics, epoch_row(2, 0.5))
    second.note(one.signature)
    second.update()
    changes.unlink() if lost else changes.write_bytes(before)  # a command that was killed between the two
    append_row(other.metrics, epoch_row(2, 0.5))
    first.note(other.signature)
    first.update()
    assert_same(kept(store), anew(store))


def test_every_reader_reads_the_same(tmp_path):
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    store = StorePaths(tmp_path)
    for position in range(3):
        rows = [{**epoch_row(epoch, 0.25 * epoch), "good": epoch > 0, "note": None} for epoch in range(position)]
        paths = write_trial(store, position=position, rows=rows, error=None if position else "it broke")
        paths.checkpoints.mkdir()
        paths.checkpoint(0).write_bytes(b"weights")
    TableKeeper(store, "digits").update()
    for kind in TABLES:
        path = str(store.table("digits", kind))
        expected = pq.read_table(path)
        sides = {
            "dataset": ds.dataset(path).to_table(),
            "duckdb": duckdb.sql(f"SELECT * FROM '{path}'").to_arrow_table(),
            "polars": polars.read_parquet(path).to_arrow(),
            "pandas": pa.Table.from_pandas(pd.read_parquet(path, dtype_backend="pyarrow")),
        }
        for name, table in sides.items():
            assert table.column_names == expected.column_names, name
            assert table.to_pylist() == expected.to_pylist(), name


def test_what_an_old_footer_names_is_in_the_file_that_took_its_place(tmp_path):
    polars = pytest.importorskip("polars")
    path, draw = tmp_path / "table.parquet", np.random.default_rng(0)
    old, largest = None, 0
    for count in [5, 6, 7, 40, 8, 0, 9, *range(1000, 1012), 3, 1000]:
        table = pa.table({"a": draw.random(count), "b": [str(value) for value in draw.integers(0, 9, count)]})
        largest = max(largest, table.nbytes)
        write_parquet(table.schema, lambda table=table: iter([table.slice(0, 3), table.slice(3)]), path)
        if old is not None:
            fragment, before = old
            assert fragment.to_table().equals(before)  # it has read the footer of the former file, and its data now
        fragment = ds.ParquetFileFormat().make_fragment(str(path), LocalFileSystem())
        fragment.ensure_complete_metadata()
        old = (fragment, table)
        assert pq.read_table(path).equals(table)
        assert polars.read_parquet(path).to_arrow().to_pylist() == table.to_pylist()
        assert path.stat().st_size < 4 * largest + 2000


def test_no_more_rows_are_in_memory_than_a_row_group_and_a_part_have(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_file, "_ROW_GROUP", 10)
    path, yielded = tmp_path / "table.parquet", []
    schema = pa.schema([("a", pa.int64())])

    def parts():
        for start in range(0, 203, 7):
            part = pa.table({"a": range(start, start + 7)}, schema=schema)
            yielded.append(weakref.ref(part))
            yield part
            del part
            assert sum(reference() is not None for reference in yielded) <= 3

    for _ in range(3):
        write_parquet(schema, parts, path)
        metadata = pq.read_metadata(path)
        groups = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
        assert groups == [10] * 20 + [3]
        assert pq.read_table(path)["a"].to_pylist() == list(range(203))


class Killed(BaseException):
    pass


def test_rows_of_a_command_that_is_killed_between_two_tables_stay(tmp_path, monkeypatch):
    store = write_trials(tmp_path, 2)
    killed, other = TableKeeper(store, "digits"), TableKeeper(store, "digits")
    killed.update()
    other.update()
    killed.update()
    first, second = (listed.paths for listed in other.trials())
    append_row(first.metrics, epoch_row(3, 0.5))
    killed.note(first.signature)

    def write_and_die(schema, parts, path):
        write_parquet(schema, parts, path)
        raise Killed

    monkeypatch.setattr(tables_module, "write_parquet", write_and_die)
    with pytest.raises(Killed):
        killed.update()
    monkeypatch.undo()
    seen = kept(store)["metrics"]
    append_row(second.metrics, epoch_row(3, 0.5))
    other.note(second.signature)
    other.update()
    assert seen.num_rows == 7
    assert kept(store)["metrics"]["epoch"].to_pylist() == [0, 1, 2, 3] * 2


def test_rows_are_held_once(tmp_path):
    store = StorePaths(tmp_path)
    for position in range(40):
        rows = [{"epoch": epoch, "step": epoch, "time": 1e9, "acc": 0.1 * epoch} for epoch in range(500)]
        write_trial(store, position=position, rows=rows)
    before = pa.total_allocated_bytes()
    keeper = TableKeeper(store, "digits")
    keeper.update()
    grown = keeper.trials()[3].paths
    append_row(grown.metrics, {"epoch": 500, "step": 500, "time": 1e9, "acc": 0.5})
    keeper.note(grown.signature)
    keeper.update()
    assert keeper.problem is None
    held = pa.total_allocated_bytes() - before
    assert held < 1.2 * 40 * 500 * 4 * 8


WRITER = textwrap.dedent("""
    import sys
    import time
    from pathlib import Path
    from trial_folders import append_row, epoch_row
    from nnray.store.metrics_log import read_rows
    from nnray.store.table_keeper import TableKeeper
    from nnray.trial.paths import StorePaths
    store = StorePaths(Path(sys.argv[1]))
    keeper = TableKeeper(store, "digits")
    keeper.update()
    trials = [store.trial(signature) for signature in sys.argv[2:]]
    for epoch in range(len(read_rows(trials[-1].metrics)), 24):
        for paths in trials:
            if epoch >= len(read_rows(paths.metrics)):
                append_row(paths.metrics, epoch_row(epoch, 0.5) | ({"new": epoch} if epoch > 12 else {}))
            keeper.note(paths.signature)
        keeper.update()
        time.sleep(0.25)  # a writer waits for longer than that; a reader has to be done before the second next version
        if keeper.problem:
            sys.exit(keeper.problem)
""")


def test_a_reader_never_fails_and_never_sees_a_row_go_while_two_write_and_one_is_killed(tmp_path):
    store = write_trials(tmp_path, 6, rows=[], status="running", ended=None)
    TableKeeper(store, "digits").update()
    signatures = pd.read_parquet(store.table("digits", "trials"))["trial"].tolist()
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), *sys.path]))

    def start(mine: list[str]) -> subprocess.Popen:
        command = [sys.executable, "-c", WRITER, str(tmp_path), *mine]
        return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path})

    writers = [start(signatures[:3]), start(signatures[3:])]
    seen: set[tuple[str, int]] = set()
    restarted = False
    while any(writer.poll() is None for writer in writers):
        frame = pd.read_parquet(store.table("digits", "metrics"))
        rows = set(zip(frame["trial"], frame["epoch"], strict=True))
        assert seen <= rows
        assert len(rows) == len(frame)
        seen = rows
        assert len(pd.read_parquet(store.table("digits", "trials"))) == 6
        if not restarted and len(rows) > 40:
            os.kill(writers[0].pid, signal.SIGKILL)
            writers[0].wait()
            writers[0], restarted = start(signatures[:3]), True
    assert [writer.returncode for writer in writers] == [0, 0]
    assert restarted
    assert len(pd.read_parquet(store.table("digits", "metrics"))) == 6 * 24
    assert_same(kept(store), anew(store))
