"""Networks as points in weight space: permutations of units that change nothing, distances, and lines between them."""

from analysis.weights.following import permutable_axes
from analysis.weights.matching import weight_matching
from analysis.weights.path import gather_statistics, interpolated, networks_between
from analysis.weights.permutable_axes import PermutableAxes, permuted

__all__ = [
    "PermutableAxes",
    "gather_statistics",
    "interpolated",
    "networks_between",
    "permutable_axes",
    "permuted",
    "weight_matching",
]
