"""The study of trained networks. So far: similarity of representations, as plain functions of arrays."""
