"""Tables whose columns would be unpickled are refused before any value is made."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import nnray
from nnray.errors import StoreError
from nnray.store.sweep_reader import SweepReader
from nnray.store.table_files import read_frame
from nnray.trial.paths import StorePaths

RAY = "ray.data.arrow_pickled_object"


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "unpickled"


def of_ray(storage: pa.Array) -> pa.Array:
    from ray.data._internal.object_extensions.arrow import ArrowPythonObjectArray, ArrowPythonObjectType

    return ArrowPythonObjectArray.from_storage(ArrowPythonObjectType(), storage)


def in_a_list(values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), values)


@pytest.mark.parametrize("around", [lambda values: values, in_a_list], ids=["column", "list"])
def test_a_column_of_pickles_is_refused(store: StorePaths, trace: Path, around: Callable[[pa.Array], pa.Array]) -> None:
    path = store.table("s", "trials")
    values = around(of_ray(pa.array([pickle.dumps(Planted(trace))], pa.large_binary())))
    path.parent.mkdir(parents=True, exist_ok=True)
    for kind in ("trials", "metrics", "checkpoints"):
        pq.write_table(pa.table({"status": ["completed"], "duration_s": [1.0], "x": values}), store.table("s", kind))
    why = f"trials.parquet is refused: its column 'x' is of the extension type '{RAY}'$"
    with pytest.raises(StoreError, match=why):
        nnray.open(store.root).trials("s")
    with pytest.raises(StoreError, match=why):
        SweepReader(store, "s").read(5)
    assert not trace.exists()


def test_a_type_that_this_process_does_not_know_is_refused_as_well(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    field = pa.field(
        "x", pa.binary(), metadata={"ARROW:extension:name": "someone.else", "ARROW:extension:metadata": ""}
    )
    pq.write_table(pa.table([pa.array([b""])], schema=pa.schema([field])), path)
    with pytest.raises(StoreError, match=r"rows\.parquet is refused: its column 'x' is of .* 'someone\.else'$"):
        read_frame(path)


def test_plain_columns_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"x": [1.5], "y": [["a"]], "z": pa.array(["b"]).dictionary_encode()}), path)
    assert read_frame(path).iloc[0].tolist()[0::2] == [1.5, "b"]
