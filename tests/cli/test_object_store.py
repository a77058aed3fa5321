"""Real commands on a store in a bucket: they do what they do in a folder."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from commands import finish, nnray, start, wait_until
from object_store import ObjectStore, Proxy

import nnray as library
from nnray.cli.main import main
from nnray.store import files

CONFIG = """
model: {class_path: user_code.Tiny, init_args: {width: 2}}
data: {class_path: nnray.data.Digits, init_args: {batch_size: 256}}
optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.01}}
trainer: {max_epochs: 2}
"""
SPACE = """
from nnray import Sweep, grid

sweep = Sweep(name="seeds", base="base.yaml", space={"seed": grid(range(3))}, metric="val_acc", mode="max")
"""
SLOW = "--trainer.callbacks=[{class_path: user_code.Slow, init_args: {seconds: 0.5}}]"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base.yaml").write_text(CONFIG)
    (tmp_path / "space.py").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNRAY_STORE", raising=False)


@pytest.fixture
def proxy(object_store: ObjectStore) -> Iterator[Proxy]:
    """A way to the server that can be out of order."""
    with Proxy(object_store) as proxy:
        yield proxy


def weights(store: str) -> dict[str, bytes]:
    """Every checkpoint in a store, by signature and name."""
    paths = files.path_of(store).glob("trials/*/checkpoints/*.safetensors")
    return {f"{path.parent.parent.name}/{path.name}": path.read_bytes() for path in paths}


def test_a_trial_is_trained_and_looked_at_as_in_a_folder(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--config", "base.yaml", "--store", bucket]) == 0
    assert "MLflow: off, since a database needs a store in a folder" in capsys.readouterr().out
    assert main(["train", "--config", "base.yaml", "--store", bucket]) == 0
    assert "already trained, nothing to do" in capsys.readouterr().out
    assert main(["train", "--config", "base.yaml", "--store", str(tmp_path / "folder")]) == 0
    assert weights(bucket) == weights(str(tmp_path / "folder"))

    trials = pd.read_parquet(f"{bucket}/tables/single/trials.parquet")
    assert trials["status"].tolist() == ["completed"]
    store = library.open(bucket)
    assert store.sweeps() == ["single"]
    assert store.metrics("single")["epoch"].tolist() == [0, 1]
    (signature,) = trials["trial"]
    path = f"{bucket}/trials/{signature}/checkpoints/epoch=0000.safetensors"
    assert store.checkpoints("single")["path"].tolist()[0] == path
    assert store.load(signature).training is False

    files.remove_tree(files.path_of(bucket) / "tables")
    capsys.readouterr()
    assert main(["rebuild", "--store", bucket]) == 0
    assert pd.read_parquet(f"{bucket}/tables/single/trials.parquet")["trial"].tolist() == [signature]
    for words, told in {
        "status": "1 trial",
        "results single": signature[:4],
        f"info {signature}": f"{bucket}/trials/{signature}/record.json",
    }.items():
        assert main([*words.split(), "--store", bucket]) == 0
        assert told in capsys.readouterr().out
    assert main(["logs", signature, "--store", bucket]) == 0


def test_a_killed_trial_ends_with_the_same_bits_as_one_on_a_disk(
    bucket: str, tmp_path: Path, object_store: ObjectStore
) -> None:
    words = ["train", "--config", "base.yaml", "--trainer.max_epochs", "5", SLOW]
    process = start(tmp_path, *words, "--store", bucket, **object_store.environment)
    wait_until(lambda: any(files.path_of(bucket).glob("trials/*/resume.ckpt")))
    os.killpg(process.pid, signal.SIGKILL)
    finish(process)
    assert len(weights(bucket)) < 5
    status, output = nnray(tmp_path, *words, "--store", bucket, **object_store.environment)
    assert status == 0, output
    assert ": resuming" in output or "being trained by another command" in output
    assert not [log for log in files.path_of(bucket).glob("trials/*/log.txt") if "begins anew" in log.read_text()]
    assert nnray(tmp_path, *words, "--store", "folder")[0] == 0
    assert weights(bucket) == weights(str(tmp_path / "folder"))
    assert library.open(bucket).metrics("single")["epoch"].tolist() == list(range(5))


def test_a_sweep(bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "space.py", "--store", bucket, "--in-process"]) == 0
    assert f"tables: {bucket}/tables/seeds" in capsys.readouterr().out
    trials = pd.read_parquet(f"{bucket}/tables/seeds/trials.parquet")
    assert trials["status"].tolist() == ["completed"] * 3
    assert main(["sweep", "space.py", "--store", bucket, "--dry-run"]) == 0


@pytest.mark.parametrize("command", ["status", "train --config base.yaml", "sweep space.py --in-process"])
def test_a_bucket_that_is_not_there_is_one_line(command: str, bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--store", "s3://no-such-bucket/store"]) == 2
    error = capsys.readouterr().err
    assert error == "nnray: error: there is no bucket no-such-bucket (s3://no-such-bucket/store)\n"


def test_a_server_that_does_not_answer_is_one_line(tmp_path: Path, object_store: ObjectStore) -> None:
    environment = object_store.environment | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    status, output = nnray(tmp_path, "train", "--config", "base.yaml", "--store", "s3://bucket/a", **environment)
    assert status == 2
    assert len(output.splitlines()) == 1
    assert "the store s3://bucket/a cannot be reached: " in output
    assert "http://127.0.0.1:9" in output


@pytest.mark.parametrize("condition", ["If-None-Match", "If-Match"])
def test_a_server_that_does_not_heed_conditions_is_refused(
    condition: str, tmp_path: Path, bucket: str, proxy: Proxy
) -> None:
    proxy.deaf = condition
    status, output = nnray(tmp_path, "train", "--config", "base.yaml", "--store", bucket, **proxy.environment)
    assert status == 2
    assert f"does not heed {condition}" in output
    assert not files.path_of(bucket).exists()


def test_a_server_that_is_gone_for_a_moment_is_waited_for(tmp_path: Path, bucket: str, proxy: Proxy) -> None:
    words = ["train", "--config", "base.yaml", "--trainer.max_epochs", "4", SLOW, "--store", bucket]
    process = start(tmp_path, *words, **proxy.environment)
    wait_until(lambda: any(files.path_of(bucket).glob("trials/*/resume.ckpt")))
    proxy.down = True
    wait_until(lambda: proxy.refused > 0)
    proxy.down = False
    status, output = finish(process)
    assert status == 0, output
    assert pd.read_parquet(f"{bucket}/tables/single/trials.parquet")["status"].tolist() == ["completed"]


def test_event_files_need_a_folder(bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", "base.yaml", "--store", bucket, "--tensorboard"]) == 2
    assert "--tensorboard appends to its files, which an object store cannot" in capsys.readouterr().err
