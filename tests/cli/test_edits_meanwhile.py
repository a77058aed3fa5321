"""Every trial of one command runs the code as it was when the command started."""

from __future__ import annotations

from pathlib import Path

from commands import finish, start, wait_until

MODULE = """
import os, signal, time
from pathlib import Path

import lightning.pytorch as pl
from nnray_test_part import VERSION
from user_code import Tiny

class Net(Tiny):
    def __init__(self, width: int = 4, in_channels: int = 1, num_classes: int = 10) -> None:
        super().__init__(width, in_channels, num_classes)
        print("version", VERSION)

class DieOnceEdited(pl.Callback):
    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        (self.folder / "training").touch()
        while not (self.folder / "edited").exists():
            time.sleep(0.02)
        if not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
"""
SPACE = """
from nnray import Sweep, grid
sweep = Sweep(
    name="study",
    base={{
        "model": "nnray_test_net.Net",
        "data": {{"class_path": "nnray.data.Digits", "init_args": {{"batch_size": 256}}}},
        "trainer": {{
            "max_epochs": 2,
            "callbacks": [{{"class_path": "nnray_test_net.DieOnceEdited", "init_args": {{"folder": "{folder}"}}}}],
        }},
    }},
    space={{"seed": grid(range(3))}},
)
"""


def test_a_worker_that_starts_after_an_edit_runs_the_code_from_before_it(tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text(SPACE.format(folder=tmp_path))
    (tmp_path / "nnray_test_net.py").write_text(MODULE)
    (tmp_path / "nnray_test_part.py").write_text("VERSION = 1\n")
    process = start(tmp_path, "sweep", "study.py", "--max-concurrent", "1")
    wait_until(lambda: (tmp_path / "training").exists() or process.poll() is not None)
    (tmp_path / "nnray_test_part.py").write_text("VERSION = 2\n")
    (tmp_path / "nnray_test_net.py").write_text("1 / 0")
    (tmp_path / "edited").touch()
    status, output = finish(process)
    assert status == 0, output
    assert (tmp_path / "died").exists()
    logs = [path.read_text() for path in tmp_path.glob("nnray-store/trials/*/log.txt")]
    assert sorted(log.count("version 1") for log in logs) == [1, 1, 2]
    assert not any("version 2" in log for log in logs)
