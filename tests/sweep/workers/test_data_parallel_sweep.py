"""A trial that two workers of Ray Train train, one of which is killed on the way."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

import nnray
from nnray.cli.main import main
from nnray.store.weights import load_weights

SPACE = """
from nnray import Sweep
sweep = Sweep(
    name="study",
    base={
        "model": {"class_path": "nnray.models.MLP", "init_args": {"width": 16}},
        "data": {"class_path": "nnray.data.Digits", "init_args": {"batch_size": 301}},
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
        "trainer": {
            "max_epochs": 3,
            "accelerator": "cpu",
            "callbacks": [{"class_path": "fragile.Dies", "init_args": {"flag": "FLAG"}}],
        },
    },
    resources={"workers": WORKERS},
)
"""
CALLBACK = """
import os, signal
from pathlib import Path
from lightning.pytorch.callbacks import Callback

class Dies(Callback):
    def __init__(self, flag: str) -> None:
        self.flag = Path(flag)

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 2 and trainer.global_rank == 1 and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.filterwarnings("default")  # Tune's own, in this very process
def test_two_workers_give_what_one_gives_also_if_one_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_session: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNRAY_STORE", raising=False)
    (tmp_path / "fragile.py").write_text(CALLBACK)
    space = SPACE.replace("FLAG", str(tmp_path / "killed"))
    (tmp_path / "two.py").write_text(space.replace("WORKERS", "2"))
    (tmp_path / "one.py").write_text(space.replace("WORKERS", "1"))

    assert main(["sweep", "two.py", "--store", "two"]) == 0
    assert (tmp_path / "killed").exists()
    assert main(["sweep", "one.py", "--store", "one", "--in-process"]) == 0
    two, one = (pd.read_parquet(tmp_path / f"{name}/tables/study/trials.parquet").iloc[0] for name in ("two", "one"))
    assert (two["status"], two["config/workers"], two["attempts"]) == ("completed", 2, 2)
    assert two["trial"] != one["trial"]
    for metric in ("train_loss", "val_loss", "val_acc"):
        assert two[metric] == pytest.approx(one[metric], rel=1e-4)
    checkpoints = nnray.open("two").checkpoints("study")
    assert checkpoints["epoch"].tolist() == [0, 1, 2]
    weights = [
        load_weights(tmp_path / f"{name}/trials/{row['trial']}/checkpoints/epoch=0002.safetensors")
        for name, row in (("two", two), ("one", one))
    ]
    for layer, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][layer], rtol=1e-4, atol=1e-6)
