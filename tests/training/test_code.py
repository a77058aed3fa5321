"""The code of a trial is told whole, and kept once."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from nnray.store.record import Record
from nnray.sweep.planning.code_changes import changed_code
from nnray.training.code import WITHHELD, Code, code_of
from nnray.training.kept_code import keep_code, recorded_code


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit, in a folder whose name means something to git's patterns."""
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "a [repo] *"
    folder.mkdir()
    (folder / "net.py").write_text("one = 1\n")
    (folder / ".gitignore").write_text("ignored*\n.env\n")
    (folder / "deep").mkdir()
    for words in (["init"], ["add", "."], ["commit", "-m", "First"]):
        identity = ["-c", "user.name=n", "-c", "user.email=e@e", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_outside_a_repository_nothing_is_known(tmp_path):
    assert code_of(tmp_path) == Code(None, None)


def test_a_clean_repository_is_its_commit_and_takes_no_room(repository, store):
    code = code_of(repository)
    assert len(code.commit) == 40
    assert (code.diff, dict(code.untracked), dict(code.left_out)) == ("", {}, {})
    kept = keep_code(code, store)
    assert kept == code
    assert kept.kept is None
    assert not store.root.exists()


def test_untracked_files_are_taken_from_the_whole_repository_unless_ignored(repository):
    (repository / "new.py").write_text("two = 2\n")
    (repository / "deep" / "ünï.yaml").write_bytes(b"\xff\x00")
    (repository / "ignored.py").write_text("")
    code = code_of(repository / "deep")
    assert code.untracked == {"new.py": b"two = 2\n", "deep/ünï.yaml": b"\xff\x00"}
    assert code.left_out == {}


def test_results_are_no_code(repository):
    results = repository / "deep" / "a store [1] *"
    (results / "trials").mkdir(parents=True)
    (results / "trials" / "record.json").write_text("{}")
    (repository / "deep" / "a store 1 x").mkdir()
    (repository / "deep" / "a store 1 x" / "is.py").write_text("")
    assert set(code_of(repository, [results]).untracked) == {"deep/a store 1 x/is.py"}
    assert set(code_of(repository, [repository.parent]).untracked) == {
        "deep/a store 1 x/is.py",
        "deep/a store [1] */trials/record.json",
    }


@pytest.mark.parametrize(
    "name",
    [".env.local", "secrets.yaml", "my-credentials.json", "api_key.txt", "server.pem", "id_ed25519", ".aws/config"],
)
def test_what_may_hold_a_secret_is_named_but_not_taken(repository, name):
    (repository / name).parent.mkdir(exist_ok=True)
    (repository / name).write_text("hunter2")
    code = code_of(repository)
    assert code.left_out == {name: "may hold a secret"}
    assert code.untracked == {}


@pytest.mark.parametrize("name", ["tokenizer.json", "tokens.py", "keys.yaml", "environment.yml"])
def test_names_that_only_look_like_secrets_are_taken(repository, name):
    (repository / name).write_text("x")
    assert set(code_of(repository).untracked) == {name}


def test_secrets_in_code_are_masked_and_changes_of_files_for_secrets_left_out(repository):
    (repository / "net.py").write_text("one = 1\nurl = 'https://me:hunter2@host/x'\npassword = 'hunter2'\n")
    (repository / "new.yaml").write_text("password: hunter2\nwidth: 8\n")
    (repository / ".env").write_text("A=hunter2\n")
    subprocess.run(["git", "add", "--force", ".env"], cwd=repository, check=True, capture_output=True)
    code = code_of(repository)
    assert "hunter2" not in code.diff + str(code.untracked)
    assert "+url = 'https://***@host/x'\n+password = '***'\n" in code.diff
    assert f"+++ b/.env\n{WITHHELD}" in code.diff
    assert code.untracked == {"new.yaml": b"password: ***\nwidth: 8\n"}
    (repository / "net.py").write_text("one = 1\nurl = 'https://me:hunter3@host/x'\npassword = 'hunter2'\n")
    clean = Code(code.commit, "")
    assert changed_code(repository, clean, code) == {"net.py"}  # hashes of the content are there as they were
    assert changed_code(repository, code, code_of(repository)) == {"net.py"}


def test_large_files_links_and_too_many_are_named_but_not_taken(repository, monkeypatch):
    (repository / "data.bin").write_bytes(b"0" * 1_000_001)
    (repository / "link.py").symlink_to("/etc/hostname")
    code = code_of(repository)
    assert code.left_out == {"data.bin": "too large (1000001 bytes)", "link.py": "not a file"}
    for number in range(5):
        (repository / f"{number}.txt").write_text("12345")
    (repository / "z.py").write_text("1")
    monkeypatch.setattr("nnray.training.code._LARGEST_SUM", 11)
    assert set(code_of(repository).untracked) == {"z.py", "0.txt", "1.txt"}  # code first
    monkeypatch.setattr("nnray.training.code._MOST_FILES", 4)
    assert code_of(repository).left_out["4 more"] == "too many files"


def test_code_is_kept_once_by_content(repository, store):
    (repository / "net.py").write_text("one = 2\n")
    (repository / "new.py").write_text("two = 2\n")
    (repository / ".env.x").write_text("hunter2")
    code = code_of(repository)
    kept = keep_code(code, store)
    folder = store.code(kept.kept)
    files = files_of(folder)
    assert set(files) == {"about.json", "changes.diff", "untracked/new.py"}
    assert json.loads(files["about.json"]) == {"commit": code.commit, "left_out": {".env.x": "may hold a secret"}}
    inode = folder.stat().st_ino
    assert keep_code(code_of(repository), store) == kept
    assert folder.stat().st_ino == inode
    assert os.listdir(store.root / "code") == [kept.kept]  # noqa: PTH208 - half-written ones too
    (repository / "new.py").write_text("two = 3\n")
    assert keep_code(code_of(repository), store).kept != kept.kept

    # What was kept makes the commit into what was trained.
    subprocess.run(["git", "checkout", "net.py"], cwd=repository, check=True, capture_output=True)
    subprocess.run(["git", "apply", folder / "changes.diff"], cwd=repository, check=True)
    assert (repository / "net.py").read_text() == "one = 2\n"


def test_a_record_leads_back_to_its_code(repository, store):
    (repository / "net.py").write_text("one = 2\n")
    code = code_of(repository)
    kept = keep_code(code, store)
    assert recorded_code(store, Record("0" * 64, git_commit=code.commit, code=kept.kept)) == code
    assert recorded_code(store, Record("0" * 64, git_commit="c", git_diff="d")) == Code(
        "c", "d"
    )  # as older ones have it
    lost = recorded_code(store, Record("0" * 64, git_commit=code.commit, code="0" * 16))
    assert lost.commit == code.commit
    assert lost != code
