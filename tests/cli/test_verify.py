"""``nnray rebuild --verify`` reads all that trials hold, names what is damaged, and changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import nnray
from nnray.cli.main import main
from nnray.errors import StoreError
from nnray.trial.paths import StorePaths, TrialPaths

BASE = """
model: {class_path: nnray.models.MLP, init_args: {width: 8}}
data: {class_path: nnray.data.Digits, init_args: {batch_size: 512}}
trainer: {max_epochs: 2}
checkpoint: {keep: all, keep_state: true}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store: two trials in a sweep, and one that is in another sweep alone."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("NNRAY_STORE", raising=False)
        (folder / "base.yaml").write_text(BASE)
        for name, seeds in (("first", "0,1"), ("second", "2")):
            words = ["sweep", "--base", "base.yaml", "--grid", f"seed={seeds}", "--name", name, "--in-process"]
            assert main(words) == 0
    return folder


@pytest.fixture
def store(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StorePaths:
    """A copy of that store, in the working folder."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNRAY_STORE", raising=False)
    return StorePaths(tmp_path / "nnray-store")


def member(store: StorePaths, sweep: str) -> TrialPaths:
    return next(
        TrialPaths(folder) for folder in sorted(store.trials.iterdir()) if (folder / f"sweeps/{sweep}.json").exists()
    )


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def flip(path: Path, place: float = 0.5) -> None:
    """Change one bit of the file, at that share of its length."""
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    path.write_bytes(content)


def cut_last_row(paths: TrialPaths) -> None:
    lines = paths.metrics.read_text().splitlines(keepends=True)
    paths.metrics.write_text("".join(lines[:-1]))


DAMAGE: dict[str, tuple[Callable[[TrialPaths], object], str]] = {
    "a bit of the weights": (
        lambda paths: flip(paths.checkpoint(0)),
        "checkpoints/epoch=0000.safetensors is damaged: ",
    ),
    "weights cut short": (
        lambda paths: paths.checkpoint(1).write_bytes(paths.checkpoint(1).read_bytes()[:-7]),
        "checkpoints/epoch=0001.safetensors is damaged: ",
    ),
    "a bit of the state": (lambda paths: flip(paths.resume), "resume.ckpt is damaged: "),
    "a bit of the rows": (lambda paths: flip(paths.metrics, 0.2), "metrics.jsonl is damaged: "),
    "a row that is gone": (cut_last_row, "metrics.jsonl is damaged: it has 1 of 2 rows"),
    "half a record": (lambda paths: paths.record.write_text('{"signature"'), "record.json is damaged: "),
    "half a place": (lambda paths: paths.membership("first").write_text("{"), "sweeps/first.json is damaged: "),
    "no configuration": (lambda paths: paths.config.unlink(), "config.yaml is missing"),
    "no text": (lambda paths: paths.config.write_bytes(b"\xff\xfe\x00"), "config.yaml: it is not UTF-8 text"),
    "another value": (
        lambda paths: paths.config.write_text(paths.config.read_text().replace("lr: 0.001", "lr: 0.002")),
        "config.yaml is damaged: it is not what was written (its checksum differs)",
    ),
    "an empty configuration": (lambda paths: paths.config.write_text(""), "config.yaml is empty"),
    "a link": (
        lambda paths: paths.log.unlink() or paths.log.symlink_to("/etc/hostname"),
        "log.txt is a symbolic link out",
    ),
}


def test_every_damage_is_named_and_nothing_is_changed(store: StorePaths, capsys: pytest.CaptureFixture[str]) -> None:
    whole = contents(store.root)
    capsys.readouterr()
    assert main(["rebuild", "--verify"]) == 0
    assert capsys.readouterr() == ("3 trials verified, 0 of them damaged\n", "")
    assert contents(store.root) == whole
    victim = member(store, "first")
    for name, (harm, line) in DAMAGE.items():
        harm(victim)
        harmed = contents(store.root)
        assert main(["rebuild", "--verify"]) == 1, name
        out, err = capsys.readouterr()
        assert out == "3 trials verified, 1 of them damaged\n", name
        assert line in err, name
        assert err.count("\n") == 1, (name, err)
        assert err.startswith(f"nnray: trial {victim.signature}: "), name
        assert contents(store.root) == harmed, name
        for path in victim.folder.rglob("*"):
            if path.is_symlink():
                path.unlink()
        for path, content in whole.items():
            path.write_bytes(content)


def test_named_sweeps_alone_are_read(store: StorePaths, capsys: pytest.CaptureFixture[str]) -> None:
    flip(member(store, "first").checkpoint(0))
    assert main(["rebuild", "second", "--verify"]) == 0
    assert "1 trial verified, 0 of them damaged\n" in capsys.readouterr().out
    assert main(["rebuild", "first", "--verify"]) == 1
    assert main(["rebuild", "frist", "--verify"]) == 2
    assert "did you mean 'first'" in capsys.readouterr().err


def test_an_option_that_would_be_ignored_is_refused(store: StorePaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rebuild", "--verify", "--mlflow-uri", "http://127.0.0.1:9"]) == 2
    assert "--mlflow-uri: --verify looks at trial folders alone" in capsys.readouterr().err


def test_a_value_changed_in_a_configuration_is_in_no_table_and_trained_with_by_nobody(
    store: StorePaths, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = member(store, "second")
    whole = paths.config.read_text()
    paths.config.write_text(whole.replace("lr: 0.001", "lr: 0.002"))
    damaged = f"{paths.config} is damaged: it is not what was written (its checksum differs)"
    assert main(["rebuild", "second"]) == 1
    assert f"nnray: trial {paths.signature} is left out: {damaged}" in capsys.readouterr().err
    assert len(nnray.open(store.root).trials("second")) == 0
    assert main(["train", "--config", str(paths.config)]) == 2
    assert capsys.readouterr().err == f"nnray: error: {damaged}\n"
    with pytest.raises(StoreError, match="its checksum differs"):
        nnray.open(store.root).load(paths.signature)
    again = ["sweep", "--base", "base.yaml", "--grid", "seed=2", "--name", "second", "--in-process"]
    assert main(again) == 1
    assert damaged in capsys.readouterr().out
    paths.config.unlink()  # as docs/store.md says
    assert main(again) == 0
    assert paths.config.read_text() == whole
    assert len(nnray.open(store.root).trials("second")) == 1
