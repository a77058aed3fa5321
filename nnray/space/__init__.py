"""What can vary, and which trials that makes. Needs neither PyTorch nor Ray: a space can be counted anywhere."""

from nnray.space.grid import Grid, grid
from nnray.space.loading import load_sweep
from nnray.space.sweep import Resources, Sweep

__all__ = ["Grid", "Resources", "Sweep", "grid", "load_sweep"]
