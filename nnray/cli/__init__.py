"""The command ``nnray``."""
