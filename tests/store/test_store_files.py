"""What the files of a store promise, on a disk and in a bucket alike."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from object_store import ObjectStore, Proxy

from nnray.store import files
from nnray.store.claim import ClaimLostError
from nnray.store.files import ObjectPath, conditional, in_parts
from nnray.store.files import bucket as connection
from nnray.store.files.bucket import filesystem


@pytest.fixture(params=["disk", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An empty folder."""
    if request.param == "disk":
        return tmp_path
    path: Any = ObjectPath(request.getfixturevalue("bucket"))
    return path  # type: ignore[no-any-return]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_file_is_replaced_as_a_whole(folder: Path) -> None:
    files.write_text(folder / "a.json", "old")
    with files.replacing(folder / "a.json") as beside:
        beside.write_text("new, and longer")
        assert (folder / "a.json").read_text(encoding="utf-8") == "old"
    assert (folder / "a.json").read_text(encoding="utf-8") == "new, and longer"
    assert names(folder) == ["a.json"]


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(folder: Path) -> None:
    files.write_text(folder / "a.json", "old")
    left: list[Path] = []

    def fail() -> None:
        with files.replacing(folder / "a.json") as local:
            left.append(local)
            local.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (folder / "a.json").read_text(encoding="utf-8") == "old"
    assert names(folder) == ["a.json"]
    assert not left[0].exists()


def test_of_two_who_create_a_file_one_alone_succeeds(folder: Path) -> None:
    assert files.create(folder / "claim", b"first")
    assert not files.create(folder / "claim", b"second")
    assert (folder / "claim").read_bytes() == b"first"
    assert names(folder) == ["claim"]
    files.remove(folder / "claim")
    assert files.create(folder / "claim", b"")
    assert not files.create(folder / "claim", b"third")


def test_of_many_threads_that_create_a_file_on_a_disk_one_alone_succeeds(tmp_path: Path) -> None:
    start, made = threading.Barrier(8), []

    def create(number: int) -> None:
        start.wait()
        made.append(files.create(tmp_path / "claim", str(number).encode()))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 7 + [True]


def test_create_works_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert files.create(tmp_path / "claim", b"first")
    assert not files.create(tmp_path / "claim", b"second")
    assert (tmp_path / "claim").read_bytes() == b"first"
    files.place_copy(tmp_path / "claim", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"first"
    assert names(tmp_path) == ["claim", "copy"]


def test_append_adds_at_the_end(folder: Path) -> None:
    files.append(folder / "rows", b"1\n")
    files.append(folder / "rows", b"2\n")
    assert (folder / "rows").read_bytes() == b"1\n2\n"


def test_a_copy_keeps_its_content_when_the_original_is_replaced(folder: Path) -> None:
    files.write_text(folder / "resume.ckpt", "one")
    for content in ("one", "two"):
        files.write_text(folder / "resume.ckpt", content)
        files.place_copy(folder / "resume.ckpt", folder / "snapshot.ckpt")
        files.place_copy(folder / "resume.ckpt", folder / "snapshot.ckpt")
        files.write_text(folder / "resume.ckpt", "changed")
        assert (folder / "snapshot.ckpt").read_bytes() == content.encode()
    assert names(folder) == ["resume.ckpt", "snapshot.ckpt"]


def test_the_stores_clock_is_that_of_its_files(folder: Path) -> None:
    before = files.store_clock(folder)
    files.write_text(folder / "beat", "")
    after = files.store_clock(folder)
    assert before - 1 <= files.modified(folder / "beat") <= after + 1  # an object store tells whole seconds
    assert abs(after - time.time()) < 60
    assert names(folder) == ["beat"]
    with pytest.raises(FileNotFoundError):
        files.modified(folder / "nothing")


def test_what_changes_changes_the_stat(folder: Path) -> None:
    def stamp(path: Path) -> tuple[int, int, int]:
        stat = path.stat()
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    (folder / "checkpoints").mkdir()
    files.write_text(folder / "checkpoints" / "a", "1")
    file, inside = stamp(folder / "checkpoints" / "a"), stamp(folder / "checkpoints")
    assert file == stamp(folder / "checkpoints" / "a")
    assert inside == stamp(folder / "checkpoints")
    files.write_text(folder / "checkpoints" / "a", "2")
    assert file != stamp(folder / "checkpoints" / "a")
    inside = stamp(folder / "checkpoints")
    files.write_text(folder / "checkpoints" / "b", "")
    assert inside != stamp(folder / "checkpoints")


def test_what_is_missing_raises_as_on_a_disk(folder: Path) -> None:
    missing = folder / "nothing"
    for read in (missing.read_bytes, missing.stat, missing.unlink, lambda: list(missing.iterdir())):
        with pytest.raises(FileNotFoundError, match=r"nothing'"):
            read()
    missing.unlink(missing_ok=True)
    files.remove(missing)
    files.remove_tree(missing)
    assert not missing.exists()
    assert not missing.is_file()
    assert not missing.is_dir()
    assert list(missing.glob("*")) == []


def test_listing(folder: Path) -> None:
    for name in ("tables/a/trials.parquet", "tables/b/metrics.parquet", "tables/.c/trials.parquet", "tables/d.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        files.write_text(folder / name, "")
    tables = folder / "tables"
    assert names(tables) == [".c", "a", "b", "d.json"]
    assert sorted(path.parent.name for path in tables.glob("*/trials.parquet")) == [".c", "a"]
    assert [path.name for path in tables.glob("[!.]*.json")] == ["d.json"]
    assert sorted(path.name for path in tables.rglob("*.parquet")) == ["metrics.parquet"] + ["trials.parquet"] * 2
    assert (tables.is_dir(), tables.is_file()) == (True, False)
    assert ((tables / "d.json").is_dir(), (tables / "d.json").is_file()) == (False, True)
    files.remove_tree(tables)
    assert not tables.exists()


def test_a_local_file_for_libraries_that_want_one(folder: Path) -> None:
    files.write_text(folder / "a.safetensors", "content")
    with files.local_file(folder / "a.safetensors") as local:
        assert Path(local).read_text(encoding="utf-8") == "content"
        assert local.suffix == ".safetensors"
    assert local.exists() == (local == folder / "a.safetensors")


def test_a_file_that_is_replaced_while_it_is_opened_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a file system in user space answers between the looking up and the opening."""
    real, calls = Path.open, 0

    def missing_at_first(path: Path, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return real(path, *arguments)

    (tmp_path / "record.json").write_text("{}")
    (tmp_path / "leads nowhere").symlink_to(tmp_path / "nothing")
    monkeypatch.setattr(Path, "open", missing_at_first)
    assert files.read_bytes(tmp_path / "record.json") == b"{}"
    for name in ("nothing", "leads nowhere", "nothing/record.json"):
        with pytest.raises(FileNotFoundError):
            files.read_at_most(tmp_path / name, 10)


def test_names_of_objects_are_those_of_paths() -> None:
    path = ObjectPath("s3://bucket/store/trials/0123/record.json")
    assert str(path) == "s3://bucket/store/trials/0123/record.json"
    assert str(path.parent.parent / "x") == "s3://bucket/store/trials/x"
    assert (path.name, path.stem, path.suffix) == ("record.json", "record", ".json")
    assert str(path.with_name("log.txt")) == "s3://bucket/store/trials/0123/log.txt"
    assert [str(parent) for parent in path.parents][-2:] == ["s3://bucket/store", "s3://bucket"]
    assert str(path.relative_to(path.parents[1])) == "0123/record.json"
    assert path.is_relative_to(path.parent)
    assert not path.is_relative_to(Path("/bucket"))
    assert pickle.loads(pickle.dumps(path)) == path
    assert len({path, ObjectPath(str(path))}) == 1
    assert sorted([path, path.parent]) == [path.parent, path]
    with pytest.raises(TypeError):
        os.fspath(path)  # type: ignore[call-overload]


def test_an_object_is_opened_to_be_read_alone(bucket: str) -> None:
    path = ObjectPath(bucket) / "log.txt"
    path.write_text("one\ntwo\n")
    with path.open() as file:
        assert file.readlines() == ["one\n", "two\n"]
    with path.open("rb") as file:
        file.seek(4)
        assert file.read() == b"two\n"
    with pytest.raises(ValueError, match="cannot be opened with mode 'a'"):
        path.open("a")


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"bucket does not exist: 's3://no-such-bucket/a'"):
        ObjectPath("s3://no-such-bucket/a").write_text("")


@pytest.fixture(params=["heeds", "does not heed"])
def large(request: pytest.FixtureRequest, bucket: str, object_store: ObjectStore) -> Iterator[ObjectPath]:
    """An object, where everything is large, of a server that heeds conditions of parts, or does not."""
    with Proxy(object_store) as proxy, pytest.MonkeyPatch.context() as patch:
        if request.param == "does not heed":
            proxy.deaf, proxy.deaf_in = "If-Match", "uploadId="
        patch.setenv("AWS_ENDPOINT_URL", proxy.environment["AWS_ENDPOINT_URL"])
        patch.setattr(conditional, "LARGEST", 0)
        patch.setattr(in_parts, "PART", 5 << 20)
        connection._connected.cache_clear()
        path = ObjectPath(bucket) / "resume.ckpt"
        path.write_bytes(b"old")
        yield path
    connection._connected.cache_clear()


def test_a_large_object_is_put_under_a_condition(
    large: ObjectPath, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    heeds = "does not" not in request.node.name
    content = os.urandom(11 << 20)
    with files.replacing(large, lambda: None) as local:
        local.write_bytes(content)
    assert large.read_bytes() == content
    assert names(large.parent) == ["resume.ckpt"]
    assert str(conditional.tag_of(large)).endswith('-3"') == heeds  # of three parts
    (tmp_path / "another").write_bytes(b"another")
    assert not conditional.put_new(large, tmp_path / "another")
    assert large.read_bytes() == content

    asked = []

    def fence() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise ClaimLostError("it is lost")
        large.write_bytes(b"a successor's")  # between the check and the request

    def replace() -> None:
        with files.replacing(large, fence) as local:
            local.write_bytes(b"late")

    with pytest.raises(ClaimLostError):
        replace()
    assert large.read_bytes() == b"a successor's"
    assert filesystem().call_s3("list_multipart_uploads", Bucket=large.place["Bucket"]).get("Uploads", []) == []
