"""The parts of `graph_forward.py`."""
