"""Two processes that train one trial together, without Ray: found by a file that both know."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trials import configured, folder_of, train

from nnray.store.metrics_log import Row, read_rows
from nnray.store.record import now
from nnray.store.weights import load_weights
from nnray.training.code import Code
from nnray.training.data_parallel import Team
from nnray.training.runner import Run, assist_trial, run_trial
from nnray.trial.paths import StorePaths, TrialPaths

# Batches of 300, 300, 300, 300 and 80 images, and of odd numbers of them.
EXACT: dict[str, Any] = {
    "model": {"class_path": "nnray.models.MLP", "init_args": {"width": 16}},
    "data": {"class_path": "nnray.data.Digits", "init_args": {"batch_size": 301}},
    "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
}


def _work(root: Path, raw: dict[str, Any], rank: int, meeting: str, last_epoch: int | None) -> None:
    """Train as one of two workers; the leading one is killed after ``last_epoch``."""
    import torch.distributed as dist
    from lightning.pytorch.plugins.environments import LightningEnvironment
    from lightning.pytorch.strategies import DDPStrategy

    torch.set_num_threads(1)
    os.environ.update({"LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "NODE_RANK": "0"})
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    team = Team(rank, 2, {"strategy": DDPStrategy(), "plugins": [LightningEnvironment()], "devices": 2})
    configuration = configured({"workers": 2, "trainer.accelerator": "cpu"}, raw)
    paths = folder_of(StorePaths(root), configuration)

    def die(row: Row) -> None:
        if row["epoch"] == last_epoch:
            os._exit(9)

    if team.leads:
        assert run_trial(paths, configuration, Run(Code(), now()), die, team) == "completed"
    else:
        assist_trial(paths, configuration, team)


@pytest.fixture
def together(in_child: Callable[..., int], tmp_path: Path) -> Callable[..., list[int]]:
    """Train a trial with two workers and return how they ended."""
    meetings = iter(range(9))

    def run(root: Path, raw: dict[str, Any], last_epoch: int | None = None) -> list[int]:
        meeting, codes = str(tmp_path / f"meeting{next(meetings)}"), [0, 0]

        def one(rank: int) -> None:
            codes[rank] = in_child(_work, root, raw, rank, meeting, last_epoch)

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return codes

    return run


def _trial(root: Path, raw: dict[str, Any], workers: int) -> TrialPaths:
    return StorePaths(root).trial(configured({"workers": workers}, raw).signature)


def _last_weights(paths: TrialPaths) -> dict[str, torch.Tensor]:
    return load_weights(paths.checkpoint(2))


def test_two_workers_give_what_one_gives(together: Callable[..., list[int]], tmp_path: Path) -> None:
    assert together(tmp_path / "two", EXACT) == [0, 0]
    train(tmp_path / "one", EXACT)
    two, one = _trial(tmp_path / "two", EXACT, 2), _trial(tmp_path / "one", EXACT, 1)
    weights = _last_weights(one)
    assert _last_weights(two).keys() == weights.keys()
    for name, tensor in _last_weights(two).items():
        torch.testing.assert_close(tensor, weights[name], rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(read_rows(two.metrics), read_rows(one.metrics), strict=True):
        assert ours.keys() == theirs.keys()
        assert ours["step"] == theirs["step"]
        for metric in ("train_loss", "train_acc", "val_loss", "val_acc"):
            assert ours[metric] == pytest.approx(theirs[metric], rel=1e-4)


def test_killed_and_resumed_to_the_same_bits(together: Callable[..., list[int]], tmp_path: Path) -> None:
    # With BatchNorm and dropout, so that each worker has states of its own.
    assert together(tmp_path / "whole", {}) == [0, 0]
    leader, _ = together(tmp_path / "killed", {}, last_epoch=1)
    assert leader == 9
    assert together(tmp_path / "killed", {}) == [0, 0]
    whole, killed = _trial(tmp_path / "whole", {}, 2), _trial(tmp_path / "killed", {}, 2)
    assert json.loads(killed.record.read_text())["attempts"] == 2
    for name, tensor in _last_weights(whole).items():
        assert torch.equal(tensor, _last_weights(killed)[name]), name


def test_workers_enter_the_signature_unless_there_is_one() -> None:
    assert configured({"workers": 1}).signature == configured().signature
    assert configured({"workers": 2}).signature != configured().signature
    assert configured().with_workers(2).signature == configured({"workers": 2}).signature
    assert configured({"workers": 2}).with_workers(1).signature == configured().signature
