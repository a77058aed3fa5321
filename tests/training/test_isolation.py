"""What a trial does to its process is undone."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trials import train

from nnray.training.isolation import isolated, random_state, seed_generators, set_random_state


def _observed() -> dict[str, Any]:
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "benchmark": torch.backends.cudnn.benchmark,
        "mkldnn": torch.backends.mkldnn.enabled,
        "autocast": torch.is_autocast_enabled("cpu"),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
        "denormal": (torch.tensor([1e-40]) * 0.5).item(),
        "interrupt": signal.getsignal(signal.SIGINT),
        "hooks": len(torch.nn.modules.module._global_forward_hooks),
        "gradients": torch.is_grad_enabled(),
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "random": (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()),
    }


@pytest.mark.parametrize("model", ["user_code.Messy", "user_code.Raises", "user_code.Tiny"])
def test_a_trial_leaves_no_trace(model: str, tmp_path: Path) -> None:
    train(tmp_path, {"seed": 99})  # whatever a first use sets up is set up
    before = _observed()
    train(tmp_path, {"model": model, "trainer.max_epochs": 1})
    assert _observed() == before


def test_a_trial_starts_from_a_defined_state() -> None:
    torch.set_default_dtype(torch.float64)
    random.seed(123)
    try:
        with isolated(seed=3, threads=1, deterministic=True):
            assert torch.get_default_dtype() == torch.float32
            assert torch.are_deterministic_algorithms_enabled()
            drawn = (random.random(), np.random.rand(), torch.rand(()).item())
        assert torch.get_default_dtype() == torch.float64
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_default_dtype(torch.float32)
    with isolated(seed=3, threads=1, deterministic=False):
        assert (random.random(), np.random.rand(), torch.rand(()).item()) == drawn


def test_gradients_are_on_whatever_the_caller_does() -> None:
    with torch.no_grad(), isolated(seed=0, threads=1, deterministic=False):
        assert torch.is_grad_enabled()


def test_random_states_survive_a_file_without_unpickling_code(tmp_path: Path) -> None:
    seed_generators(11)
    random.gauss(0, 1)
    np.random.randn()
    torch.save(random_state(), tmp_path / "state")
    expected = (random.random(), random.gauss(0, 1), np.random.randn(), torch.randn(2).tolist())
    seed_generators(0)
    set_random_state(torch.load(tmp_path / "state", weights_only=True))
    assert (random.random(), random.gauss(0, 1), np.random.randn(), torch.randn(2).tolist()) == expected
