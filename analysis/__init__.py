"""The study of trained networks: from rows of a sweep's table to the geometry of their layers."""

from analysis.networks import Network, Networks, open  # noqa: A004 - called as analysis.open

__all__ = ["Network", "Networks", "open"]
