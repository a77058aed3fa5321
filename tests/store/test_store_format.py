"""``store.json``: which layout a store has, and how claims are made there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nnray
from nnray.errors import StoreError
from nnray.store.claim import Claim
from nnray.store.format import StoreFormat, claims_around, read_format, settle_format
from nnray.store.shared_locks import Mount, mount_of, shares_locks

TABLE = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard
28 27 0:25 / /home rw,nosuid shared:3 - nfs4 server:/home rw,vers=4.2,local_lock=none,addr=10.0.0.1
29 27 0:26 / /scratch rw - nfs server:/scratch rw,vers=3,nolock,local_lock=all
30 27 0:27 / /my\040data rw - fuse.sshfs host:/data rw,user_id=0
31 28 0:28 / /home/fast rw - lustre 10.0.0.2@tcp:/fast rw,localflock
32 28 0:29 / /home/whole rw - lustre 10.0.0.2@tcp:/whole rw,flock
33 27 0:30 / /twice rw - cifs //server/twice rw
34 33 0:31 / /twice rw - xfs /dev/vdb rw
35 27 0:32 / /some rw - 9p host rw
"""


@pytest.mark.parametrize(
    ("folder", "kind", "shared"),
    [
        ("/tmp/store", "ext4", True),
        ("/home/me/store", "nfs4", True),
        ("/homes/me", "ext4", True),
        ("/scratch/store", "nfs", False),
        ("/my data/store", "fuse.sshfs", False),
        ("/home/fast/store", "lustre", False),
        ("/home/whole/store", "lustre", True),
        ("/twice", "xfs", True),
        ("/some/where", "9p", False),
    ],
)
def test_what_is_mounted_where(tmp_path: Path, folder: str, kind: str, shared: bool) -> None:
    (tmp_path / "mountinfo").write_text(TABLE)
    mount = mount_of(Path(folder), tmp_path / "mountinfo")
    assert mount is not None
    assert (mount.type, mount.shares_locks) == (kind, shared)


def test_a_kernel_without_a_table_of_mounts(tmp_path: Path) -> None:
    assert mount_of(tmp_path, tmp_path / "nothing") is None


def test_without_locks_they_are_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shares_locks(tmp_path)
    import fcntl
    import os

    from contenders import forbid_links_and_locks

    monkeypatch.setattr(os, "link", os.link)
    monkeypatch.setattr(fcntl, "flock", fcntl.flock)
    forbid_links_and_locks()
    assert not shares_locks(tmp_path)
    assert settle_format(tmp_path).claims == "leases"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store.json"]


def test_a_store_is_settled_once(tmp_path: Path) -> None:
    assert read_format(tmp_path / "store") is None
    assert settle_format(tmp_path / "store", "leases") == StoreFormat(1, "leases")
    assert settle_format(tmp_path / "store", "locks") == StoreFormat(1, "leases")
    assert settle_format(tmp_path / "store") == read_format(tmp_path / "store")
    assert json.loads((tmp_path / "store" / "store.json").read_text()) == {"format": 1, "claims": "leases"}


def test_claims_are_made_as_the_store_says(tmp_path: Path) -> None:
    for claims in ("locks", "leases"):
        root = tmp_path / claims
        settle_format(root, claims)  # type: ignore[arg-type]
        (root / "trials" / "a").mkdir(parents=True)
        lock = root / "trials" / "a" / "claim.lock"
        assert claims_around(lock) == claims
        with Claim.acquire(lock):
            assert lock.exists() == (claims == "locks")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": 2, "claims": "rights"}', "is of format 2, and this version of nnray knows 1: update nnray"),
        ('{"format": 1, "claims": "rights"}', "is damaged"),
        ('{"format": 1}', "is damaged"),
        ('{"format": "1", "claims": "locks"}', "is damaged"),
        ("[1]", "is damaged"),
        ('{"format": 1,', "is damaged"),
        ("", "is damaged"),
    ],
)
def test_a_store_that_says_nothing_sensible_is_not_touched(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "trials").mkdir()
    (tmp_path / "store.json").write_text(text)
    for use in (read_format, settle_format, nnray.open, lambda root: Claim.acquire(root / "trials" / "claim.lock")):
        with pytest.raises(StoreError, match=message) as caught:
            use(tmp_path)
        assert str(tmp_path / "store.json") in str(caught.value)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "store.json").read_text() == text


def test_mounts_are_told_by_their_options() -> None:
    assert Mount("nfs4", frozenset({"rw", "local_lock=posix"})).shares_locks
    assert not Mount("nfs4", frozenset({"rw", "local_lock=flock"})).shares_locks
