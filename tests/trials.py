"""Make and run single trials in tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nnray.store.record import now
from nnray.training.code import Code
from nnray.training.runner import Outcome, Run, run_trial
from nnray.trial import Configuration, StorePaths, TrialPaths, merge, resolve
from nnray.trial.config_file import with_checksum

TINY: dict[str, Any] = {
    "model": "user_code.Tiny",
    "data": {"class_path": "nnray.data.Digits", "init_args": {"batch_size": 256}},
    "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
    "trainer": {"max_epochs": 3},
}
"""A trial that takes a tenth of a second."""


def configured(*updates: Mapping[str, Any]) -> Configuration:
    """Return TINY with updates put over it."""
    return resolve(merge(TINY, *updates))


def folder_of(store: StorePaths, configuration: Configuration) -> TrialPaths:
    """Return the trial's folder, made and configured as a sweep makes it."""
    paths = store.trial(configuration.signature)
    paths.folder.mkdir(parents=True, exist_ok=True)
    if not paths.config.exists():
        paths.config.write_text(with_checksum(configuration.yaml()))
    return paths


def train(root: Path, raw: Mapping[str, Any]) -> Outcome:
    """Train the trial ``raw`` in the store at ``root``; can be sent to another process."""
    torch.set_num_threads(1)
    configuration = configured(raw)
    return run_trial(folder_of(StorePaths(root), configuration), configuration, Run(Code(), now()))
