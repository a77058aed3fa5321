"""MLflow as a mirror of the trial folders."""
