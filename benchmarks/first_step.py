"""A callback that notes when a process makes its first training step."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

_noted = False


class FirstStep(Callback):
    """Writes the time into ``folder``, once per process."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_end(self, *arguments: Any, **named: Any) -> None:
        global _noted
        if not _noted:
            _noted = True
            (self.folder / str(os.getpid())).write_text(str(time.time()))
