"""Peak memory of a call, as PyTorch's allocator sees it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(call: Callable[[], Any], device: str) -> int:
    """Return the most that was allocated at once during the call, beyond what was before (such as weights and input).

    What the call returns counts, and so does the working space of operations as far as PyTorch allocates it. On CPU
    every allocation and release is read from the profiler's trace; on GPU it is the allocator's own figure.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = call()
        peak = torch.cuda.max_memory_allocated() - before
    else:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            result = call()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            profiler.export_chrome_trace(str(path))
            events = json.loads(path.read_text())["traceEvents"]
        changes = sorted((event for event in events if event.get("name") == "[memory]"), key=lambda event: event["ts"])
        assert changes, "the profiler's trace has no events of memory"
        peak = max(accumulate(event["args"]["Bytes"] for event in changes))
    del result  # kept until here, since it is part of the peak
    return peak
