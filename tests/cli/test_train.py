"""``nnray train``: one trial from the command line."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pandas as pd
import pytest
from commands import finish, nnray, start, wait_until

import nnray as library
from nnray.cli.main import main
from nnray.trial import configuration as trial_configuration

CONFIG = """
model: {class_path: user_code.Tiny, init_args: {width: 2}}
data: {class_path: nnray.data.Digits, init_args: {batch_size: 256}}
optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.01}}
trainer: {max_epochs: 2}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNRAY_STORE", raising=False)


def test_a_trial_is_trained_once_and_listed_under_single(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", "base.yaml", "--model.init_args.width", "3", "--seed=4"]) == 0
    output = capsys.readouterr().out
    assert "epoch 2/2 " in output
    assert "completed: " in output
    trials = library.open("nnray-store").trials("single")
    assert trials["name"].tolist() == ["Tiny Digits width=3 batch_size=256 lr=0.01 max_epochs=2 seed=4"]
    assert trials["config/model.init_args.width"].tolist() == [3]

    assert main(["train", "--config", "base.yaml", "--model.width", "3", "--seed", "4"]) == 0
    assert "already trained, nothing to do" in capsys.readouterr().out


def test_a_stored_configuration_reproduces_its_trial(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", "base.yaml", "--sweep", "mine"]) == 0
    (folder,) = Path("nnray-store/trials").iterdir()
    capsys.readouterr()
    assert main(["train", "--config", str(folder / "config.yaml"), "--sweep", "mine"]) == 0
    assert f"trial {folder.name}" in capsys.readouterr().out
    assert main(["train", "--config", str(folder / "config.yaml"), "--store", "other"]) == 0
    for path in folder.glob("checkpoints/*"):
        assert path.read_bytes() == (Path("other/trials") / folder.name / "checkpoints" / path.name).read_bytes()
    assert library.open("other").sweeps() == ["single"]


def test_a_second_trial_joins_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    for seed in ("0", "1"):
        assert main(["train", "--config", "base.yaml", "--seed", seed]) == 0
    assert pd.read_parquet("nnray-store/tables/single/trials.parquet")["config/seed"].tolist() == [0, 1]


def test_a_failure_is_status_1_and_can_be_retried(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--config", "base.yaml", "--model", "user_code.Raises"]
    assert main(words) == 1
    assert main(words) == 1
    output = capsys.readouterr().out
    assert "failed before" in output
    assert output.count("failed: RuntimeError") == 2
    assert "--retry-failed tries it again" in output
    assert main([*words, "--retry-failed"]) == 1
    assert "): failed before, training it again\n" in capsys.readouterr().out
    assert library.open("nnray-store").trials("single")["attempts"].tolist() == [2]


def test_later_words_win() -> None:
    Path("other.yaml").write_text("seed: 7\nmodel: {init_args: {width: 9}}\n")
    from nnray.cli.train import raw_configuration

    raw = raw_configuration(["--seed", "1", "--config", "base.yaml", "--config", "other.yaml", "--model.width", "5"])
    values = trial_configuration.resolve(raw).values
    assert (values["seed"], values["model"]["init_args"]["width"]) == (7, 5)


def test_print_config_shows_what_would_be_trained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", "base.yaml", "--print-config"]) == 0
    text = capsys.readouterr().out
    Path("printed.yaml").write_text(text)
    assert main(["train", "--config", "printed.yaml", "--print-config"]) == 0
    assert capsys.readouterr().out == text
    assert not Path("nnray-store").exists()


def test_help_for_a_class(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--model.help", "ResNet"]) == 0
    text = capsys.readouterr().out
    assert "nnray.models.ResNet" in text
    assert "--model.depth" in text
    assert "num_classes" not in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interruption_leaves_a_trial_that_is_resumed(tmp_path: Path, number: signal.Signals) -> None:
    slow = "trainer.callbacks=[{class_path: user_code.Slow, init_args: {seconds: 0.5}}]"
    words = ["train", "--config", "base.yaml", "--trainer.max_epochs", "6", f"--{slow}"]
    process = start(tmp_path, *words)
    wait_until(lambda: any(tmp_path.glob("nnray-store/trials/*/resume.ckpt")))
    os.killpg(process.pid, number)
    status, output = finish(process)
    assert status == 130, output
    assert "Traceback" not in output
    trials = library.open("nnray-store").trials("single")
    assert trials["status"].tolist() == ["pending"]
    status, output = nnray(tmp_path, *words)
    assert status == 0, output
    assert ": resuming" in output
    assert library.open("nnray-store").metrics("single")["epoch"].tolist() == list(range(6))
