"""The sides that ``sweep_throughput.py`` compares, a file each."""
