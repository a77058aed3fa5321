from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nnray.errors import StoreError
from nnray.store.claim import Claim, is_claimed


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Give up the superuser's right to write everywhere, where the tests have it."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(mine)


@pytest.fixture
def lock_of_another(tmp_path, monkeypatch) -> Iterator[Path]:
    """A lock file that can be read and not written; relative, since folders above may be closed to others."""
    (tmp_path / "trial").mkdir()
    lock = tmp_path / "trial" / "claim.lock"
    lock.touch()
    lock.chmod(0o444)
    lock.parent.chmod(0o555)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    yield lock.relative_to(tmp_path)
    lock.parent.chmod(0o755)
    lock.chmod(0o644)


def test_asking_who_runs_a_trial_never_keeps_a_runner_out(tmp_path):
    lock, stop = tmp_path / "claim.lock", threading.Event()

    def ask() -> None:
        while not stop.is_set():
            is_claimed(lock)

    lock.touch()
    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(200):
            claim = Claim.acquire(lock)
            assert claim is not None
            claim.release()
    finally:
        stop.set()
        for asker in askers:
            asker.join()


def test_a_trial_is_claimed_once(tmp_path):
    lock = tmp_path / "claim.lock"
    with Claim.acquire(lock) as claim:
        assert claim is not None
        assert Claim.acquire(lock) is None
        assert is_claimed(lock)
    assert not is_claimed(lock)


@pytest.mark.parametrize("held", [True, False])
def test_asking_needs_no_right_to_write(lock_of_another, held):
    import fcntl

    with lock_of_another.open() as runner:
        if held:
            fcntl.flock(runner, fcntl.LOCK_EX)
        with as_somebody_else():
            assert is_claimed(lock_of_another) is held


def test_asking_leaves_no_lock_behind(tmp_path):
    lock = tmp_path / "claim.lock"
    assert not is_claimed(lock)
    assert not is_claimed(tmp_path / "no folder" / "claim.lock")
    assert not lock.exists()


@pytest.mark.parametrize("name", ["claim.lock", "new.lock"], ids=["lock of another", "folder of another"])
def test_a_claim_that_cannot_be_written_is_named(lock_of_another, name):
    lock = lock_of_another.with_name(name)
    with as_somebody_else(), pytest.raises(StoreError, match=f"the claim trial/{name} cannot be written: Permission"):
        Claim.acquire(lock)


def test_a_claim_that_cannot_be_read_is_named(lock_of_another):
    lock_of_another.chmod(0)
    with as_somebody_else(), pytest.raises(StoreError, match=r"claim\.lock cannot be read: Permission denied"):
        is_claimed(lock_of_another)
