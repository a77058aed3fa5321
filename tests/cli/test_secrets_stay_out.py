"""Whatever secrets surround a sweep, its store and its MLflow database hold none of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nnray.cli.main import main

SECRETS = {
    "variable": "correct-horse-battery",
    "uri": "uripassw0rd",
    "untracked .env": "envfilesecret77",
    "diff": "diffsecret4242",
    "untracked code": "untrackedsecret99",
    "printed token": "ghp_" + "aB3" * 12,
    "printed variable": "printedsecret55",
    "command line": "commandsecret31",
    "error": "errorsecret808",
}
MODEL = """
import os

from user_code import Tiny


class Chatty(Tiny):
    \"\"\"Prints what it should not, and fails with it on request.\"\"\"

    def __init__(self, fail: bool = False, in_channels: int = 1, num_classes: int = 10) -> None:
        super().__init__(4, in_channels, num_classes)
        print("token:", "TOKEN", "and", os.environ["STUDY_API_KEY"])
        print("postgresql://me:PRINTED@db.example/runs")
        if fail:
            raise ValueError("cannot log in: password='ERROR'")
"""
SPACE = """
from nnray import Sweep, grid

sweep = Sweep(
    name="study",
    base={"model": "chatty.Chatty", "data": {"class_path": "nnray.data.Digits", "init_args": {"batch_size": 512}},
          "trainer": {"max_epochs": 1}},
    space={"model.init_args.fail": grid(False, True)},
)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with secrets wherever they are found in real ones."""
    model = MODEL.replace("PRINTED", SECRETS["printed variable"]).replace("ERROR", SECRETS["error"])
    model = model.replace("TOKEN", SECRETS["printed token"])
    (tmp_path / "chatty.py").write_text(model)
    (tmp_path / "study.py").write_text(SPACE)
    (tmp_path / "settings.py").write_text("user = 'me'\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=n", "-c", "user.email=e@e", "commit", "-m", "First")
    (tmp_path / "settings.py").write_text(f"user = 'me'\npassword = '{SECRETS['diff']}'\n")
    (tmp_path / "more.py").write_text(f"API_KEY = '{SECRETS['untracked code']}'\n")
    (tmp_path / ".env").write_text(f"DB={SECRETS['untracked .env']}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("STUDY_API_KEY", SECRETS["variable"])
    monkeypatch.delenv("NNRAY_STORE", raising=False)
    return tmp_path


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def test_no_secret_reaches_the_store_or_mlflow(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = f"http://me:{SECRETS['uri']}@127.0.0.1:9/mlflow?token={SECRETS['command line']}"
    token = SECRETS["printed token"]
    assert main(["sweep", "study.py", "--in-process", "--set", f"source={token}"]) == 2  # it is recorded whole
    assert not (folder / "nnray-store").exists()
    assert main(["sweep", "study.py", "--in-process", "--mlflow-uri", gone]) == 1
    assert main(["sweep", "study.py", "--in-process", "--retry-failed"]) == 1
    assert main(["rebuild"]) == 0
    printed = capsys.readouterr()
    files = {path: path.read_bytes() for path in (folder / "nnray-store").rglob("*") if path.is_file()}
    names = {path.name for path in files}
    assert {"record.json", "log.txt", "mlflow.db", "trials.parquet"} <= names  # there is something to look through
    assert sum(b"token: ***" in content for content in files.values()) >= 1
    found = [
        f"{kind} in {path.relative_to(folder)}"
        for kind, secret in SECRETS.items()
        for path, content in files.items()
        if secret.encode() in content
    ]
    assert found == []
    shown = {kind for kind, secret in SECRETS.items() if secret in printed.out + printed.err}
    assert shown <= {"variable", "printed token", "printed variable"}  # the study's own code, on its own terminal
