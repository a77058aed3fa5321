"""The code as it was when a command started, for workers that start later or elsewhere."""
