"""Networks in a bucket are studied as those in a folder are."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import analysis
from nnray.cli.main import main
from nnray.errors import AnalysisError


def test_networks_in_a_bucket(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "--store", bucket, "--model", "nnray.models.MLP", "--data", "nnray.data.Digits"]
    assert main([*words, "--trainer.max_epochs", "2"]) == 0
    networks = analysis.open(bucket, "single", epochs="all")
    assert len(networks) == 2
    values = networks.cka("*", n=64, name="mine")
    there = pd.read_parquet(f"{bucket}/analysis/mine/result.parquet")
    assert len(there) == len(values) > 0
    assert networks.cka("*", n=64, name="mine")["value"].tolist() == values["value"].tolist()
    with pytest.raises(AnalysisError, match="need a store in a folder"):
        networks.extract("*", n=64)
