"""The study of trained networks: from rows of a sweep's table to the geometry of their layers."""

from analysis.extracted import Extracted
from analysis.jobs.own import Job, job
from analysis.networks import Network, Networks, open  # noqa: A004 - called as analysis.open
from analysis.pool import Actors
from analysis.results import LayerFigures, Pairs, Paths
from analysis.stitched import Stitched

__all__ = [
    "Actors",
    "Extracted",
    "Job",
    "LayerFigures",
    "Network",
    "Networks",
    "Pairs",
    "Paths",
    "Stitched",
    "job",
    "open",
]
