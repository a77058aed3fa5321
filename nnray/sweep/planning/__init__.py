"""Before anything runs: which trials there are, what is left to do for each, and in which order."""
