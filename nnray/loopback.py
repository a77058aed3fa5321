"""Ray on this machine alone: what nnray starts here can be reached from nowhere else.

Ray listens on the loopback interface by itself on Windows and macOS, where firewalls ask questions; elsewhere all of
its processes would listen on all interfaces, as the nodes of a cluster must.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Has a process that imports Ray later, and the Ray that it starts, keep to the loopback interface."""


@contextmanager
def on_loopback() -> Iterator[None]:
    """Do the same for this process, where Ray may be imported already, and for those that it starts in the block."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER, {name: os.environ.get(name) for name in ON_LOOPBACK}
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ.update(ON_LOOPBACK)
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[0]
        for name, value in before[1].items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
