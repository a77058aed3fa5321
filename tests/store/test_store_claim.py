from __future__ import annotations

import threading

from nnray.store.claim import Claim, is_claimed


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
