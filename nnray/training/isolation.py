"""One trial cannot touch the next: process-wide state is set to the same values before each trial and put back after.

A warm worker trains hundreds of trials in one process, so whatever a model, a data module or Lightning leaves behind
(random states, the default dtype, thread counts, flags of cuDNN, environment variables) would change the bits of the
next one.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.modules import module

# What cuBLAS needs for deterministic sums, read when CUDA starts (cuBLAS documentation, "Results reproducibility").
_CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def isolated(seed: int, threads: int, deterministic: bool) -> Iterator[None]:
    """Run a trial from a defined state of the process, and leave the process as it was.

    Args:
        seed: Seed of Python's, NumPy's and PyTorch's global generators.
        threads: PyTorch's compute threads.
        deterministic: Whether PyTorch may only use deterministic algorithms.
    """
    before = _process_state()
    try:
        _set_process_state({**_DEFAULTS, "threads": threads, "deterministic": deterministic})
        if deterministic:
            os.environ.setdefault(_CUBLAS_WORKSPACE, ":4096:8")
        seed_generators(seed)
        with torch.enable_grad(), torch.autograd.set_detect_anomaly(False), warnings.catch_warnings():
            # Lightning 2.6 uses a name that torch 2.15 deprecates; nobody who trains can do anything about it.
            warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*", category=FutureWarning)
            yield
    finally:
        _set_process_state(before)


def release_memory() -> None:
    """Give the memory of the GPU back that a trial had; to be called when nothing refers to the trial any more."""
    if torch.cuda.is_initialized():  # a network and its optimizer are cycles, which hold memory until collected
        gc.collect()
        torch.cuda.empty_cache()


def seed_generators(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's (CPU and every accelerator's) global generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """Return the state of all global generators, in types that ``torch.load(weights_only=True)`` reads."""
    name, keys, position, has_gauss, cached = np.random.get_state()
    state = {
        "python": random.getstate(),
        "numpy": (
            str(name),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Put the global generators into a state that :func:`random_state` returned."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


_DEFAULTS: dict[str, Any] = {
    "dtype": torch.float32,
    "device": torch.device("cpu"),
    "matmul_precision": "highest",
    "flush_denormal": False,
    "fill_uninitialized_memory": False,  # a debugging aid that costs a write of every tensor
    "mkldnn": True,
    "cudnn": True,
    "autocast": dict.fromkeys(("cpu", "cuda"), False),
    "cudnn_benchmark": False,
    "cudnn_deterministic": False,
    "cudnn_tf32": False,
    "warn_only": False,
}


def _process_state() -> dict[str, Any]:
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "flush_denormal": False,  # PyTorch doesn't tell; this is how a process starts
        "fill_uninitialized_memory": torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        "mkldnn": torch.backends.mkldnn.enabled,
        "cudnn": torch.backends.cudnn.enabled,
        "autocast": {device: torch.is_autocast_enabled(device) for device in ("cpu", "cuda")},
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "random": random_state(),
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "interrupt": signal.getsignal(signal.SIGINT),
        "module_hooks": {name: dict(hooks) for name, hooks in _module_hooks().items()},
    }


def _module_hooks() -> dict[str, dict[Any, Any]]:
    """Return the hooks that run for every module of the process, which PyTorch has no public way to list."""
    found = {name: value for name, value in vars(module).items() if name.startswith("_global_") and "hooks" in name}
    return {name: hooks for name, hooks in found.items() if isinstance(hooks, dict)}


def _set_process_state(state: dict[str, Any]) -> None:
    torch.set_default_dtype(state["dtype"])
    if torch.get_default_device() != state["device"]:
        torch.set_default_device(None if state["device"] == torch.device("cpu") else state["device"])
    if torch.get_num_threads() != state["threads"]:
        torch.set_num_threads(state["threads"])
    torch.use_deterministic_algorithms(state["deterministic"], warn_only=state["warn_only"])
    fill = state["fill_uninitialized_memory"]
    torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
    torch.set_flush_denormal(state["flush_denormal"])
    torch.backends.mkldnn.enabled = state["mkldnn"]
    torch.backends.cudnn.enabled = state["cudnn"]
    for device, enabled in state["autocast"].items():
        torch.set_autocast_enabled(device, enabled)
    torch.set_float32_matmul_precision(state["matmul_precision"])
    torch.backends.cudnn.benchmark = state["cudnn_benchmark"]
    torch.backends.cudnn.deterministic = state["cudnn_deterministic"]
    torch.backends.cudnn.allow_tf32 = state["cudnn_tf32"]
    if "random" in state:
        set_random_state(state["random"])
    if "environment" in state and state["environment"] != dict(os.environ):
        os.environ.clear()
        os.environ.update(state["environment"])
    if "folder" in state and Path.cwd() != state["folder"]:
        os.chdir(state["folder"])
    if "interrupt" in state and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, state["interrupt"])  # Lightning ignores Ctrl-C for ever once it has seen one
    if "module_hooks" in state:
        for name, hooks in _module_hooks().items():
            hooks.clear()
            hooks.update(state["module_hooks"].get(name, {}))
