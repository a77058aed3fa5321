"""Ray on this machine begins beside the command, its waiting workers train, and nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import ENVIRONMENT, nnray, wait_until

from nnray.errors import SpaceError
from nnray.sweep.cluster.local_ray import LocalRay

MARK = "NNRAY_TEST_OF_LOCAL_RAY"
MODULE = """
import os
from pathlib import Path

from lightning.pytorch.callbacks import Callback


class Note(Callback):
    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_start(self, trainer, module) -> None:
        (self.folder / str(os.getpid())).write_text(os.environ["RAY_JOB_ID"])
"""
SPACE = """
from nnray import Sweep, grid

sweep = Sweep(
    name="study",
    base={{
        "model": "user_code.Tiny",
        "data": {{"class_path": "nnray.data.Digits", "init_args": {{"batch_size": 256}}}},
        "trainer": {{
            "max_epochs": 1,
            "callbacks": [{{"class_path": "noting.Note", "init_args": {{"folder": {notes!r}}}}}],
        }},
        {more}
    }},
    space={{"seed": grid([0, 1])}},
)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    (tmp_path / "noting.py").write_text(MODULE)
    return tmp_path


def write_space(folder: Path, more: str = "") -> None:
    (folder / "study.py").write_text(SPACE.format(notes=str(folder / "notes"), more=more))


def left_of(mark: str) -> list[str]:
    """Return the command lines of the processes that have inherited the mark from their command."""
    left = []
    for process in Path("/proc").iterdir():
        try:
            if f"{MARK}={mark}\0".encode() in (process / "environ").read_bytes():
                left.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # it has ended, or is somebody else's
    return left


def test_trials_are_trained_by_the_workers_that_have_waited_for_them(folder: Path) -> None:
    write_space(folder)
    status, output = nnray(folder, "sweep", "study.py", **{MARK: str(folder)})
    assert status == 0, output
    before_any_job = "f" * 8
    assert [note.read_text() for note in (folder / "notes").iterdir()] == [before_any_job] * 2
    assert left_of(str(folder)) == []


def test_a_mistake_in_a_new_sweep_leaves_no_ray_behind(folder: Path) -> None:
    write_space(folder, '"trainer.max_epoch": 1,')
    status, output = nnray(folder, "sweep", "study.py", **{MARK: str(folder)})
    assert status == 2
    assert len(output.splitlines()) == 1, output
    assert "max_epochs" in output
    wait_until(lambda: left_of(str(folder)) == [])


@pytest.mark.parametrize("early", [True, False], ids=["while it starts", "started"])
def test_ray_ends_with_a_command_that_is_killed(early: bool, tmp_path: Path) -> None:
    program = "import sys; from nnray.sweep.cluster.local_ray import LocalRay; ray = LocalRay()"
    program += "" if early else "; ray.address()"
    command = subprocess.Popen(
        [sys.executable, "-c", f"{program}; print('here', flush=True); sys.stdin.read()"],
        env=ENVIRONMENT | {MARK: str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert command.stdout is not None
    assert command.stdout.readline() == "here\n"
    if early:
        wait_until(lambda: any("gcs_server" in line for line in left_of(str(tmp_path))))
    command.send_signal(signal.SIGKILL)
    command.communicate()
    wait_until(lambda: left_of(str(tmp_path)) == [])


@pytest.fixture
def local() -> Iterator[LocalRay]:
    with LocalRay() as local:
        yield local


def test_what_keeps_ray_from_starting_is_told(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/proc/nowhere")
    local: LocalRay = request.getfixturevalue("local")
    with pytest.raises(SpaceError, match=r"^cannot start Ray: .*/proc/nowhere"):
        local.address()


def test_a_ray_that_is_killed_while_it_starts_is_told(local: LocalRay) -> None:
    os.kill(local._process.pid, signal.SIGKILL)
    with pytest.raises(SpaceError, match=r"^cannot start Ray: its process was killed$"):
        local.address()
