"""What can vary, and which trials that makes. Needs neither PyTorch nor Ray: a space can be counted anywhere."""

from nnray.space.distribution import Distribution, is_distribution
from nnray.space.grid import Grid, grid
from nnray.space.loading import load_sweep
from nnray.space.resources import Resources
from nnray.space.sweep import Sweep
from nnray.space.zipped import Zipped, zipped

__all__ = ["Distribution", "Grid", "Resources", "Sweep", "Zipped", "grid", "is_distribution", "load_sweep", "zipped"]
