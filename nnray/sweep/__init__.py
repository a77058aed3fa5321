"""Many trials: what there is to do, and Ray Tune to do it."""
