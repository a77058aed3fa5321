"""What can vary, and which trials that makes. Needs neither PyTorch nor Ray: a space can be counted anywhere."""

from nnray.space.grid import Grid, grid
from nnray.space.loading import load_sweep
from nnray.space.resources import Resources
from nnray.space.sweep import Sweep

__all__ = ["Grid", "Resources", "Sweep", "grid", "load_sweep"]
