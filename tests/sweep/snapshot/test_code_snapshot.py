"""Modules as they were when a command started, whatever becomes of their files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nnray.sweep.snapshot.code_snapshot import CodeSnapshot
from nnray.sweep.snapshot.source_files import source_files

ROOT = Path(__file__).parents[3]
_WORKER = """
import sys, pickle
from pathlib import Path
pickle.loads(Path(sys.argv[1]).read_bytes()).activate()
"""


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def in_worker(snapshot: CodeSnapshot, program: str, folder: Path) -> str:
    """Run a program in a process that has activated the snapshot."""
    import pickle

    pickled = folder / "snapshot.pickle"
    pickled.write_bytes(pickle.dumps(snapshot))
    done = subprocess.run(
        [sys.executable, "-P", "-c", _WORKER + textwrap.dedent(program), str(pickled)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "my project"
    write(
        folder,
        {
            "model.py": "VERSION = 1\ndef fail():\n    raise RuntimeError('line three of version one')\n",
            "package/__init__.py": "from package.part import VERSION\n",
            "package/part.py": "VERSION = 1\n",
            "studies/inner/deep.py": """
                import pathlib
                TEXT = pathlib.Path(__file__).with_name('table.csv').read_text()
            """,
            "studies/inner/table.csv": "1,2",
        },
    )
    return folder


def test_edits_new_files_and_removals_change_nothing(project: Path, tmp_path: Path) -> None:
    snapshot = CodeSnapshot.take([str(project), *sys.path])
    write(project, {"model.py": "VERSION = 2\n", "model/__init__.py": "VERSION = 3\n", "package/part.py": "1 / 0"})
    (project / "package/__init__.py").unlink()
    shutil.rmtree(project / "studies/inner/", ignore_errors=True)
    write(project, {"studies/inner/table.csv": "1,2"})
    output = in_worker(
        snapshot,
        "import model, package, studies.inner.deep as d; print(model.VERSION, package.VERSION, d.TEXT)",
        tmp_path,
    )
    assert output == "1 1 1,2\n"


def test_files_keep_their_names_and_tracebacks_show_the_lines_that_ran(project: Path, tmp_path: Path) -> None:
    snapshot = CodeSnapshot.take([str(project)])
    write(project, {"model.py": "\n\n\n\nVERSION = 2\n"})
    program = """
        import model, traceback
        print(model.__file__)
        try:
            model.fail()
        except RuntimeError:
            traceback.print_exc()
    """
    output = in_worker(snapshot, program, tmp_path)
    assert output.startswith(str(project / "model.py"))
    assert f'File "{project}/model.py", line 3, in fail' in output
    assert "raise RuntimeError('line three of version one')\n" in output


def test_where_the_folder_cannot_be_seen_the_archive_is_unpacked(project: Path, tmp_path: Path) -> None:
    snapshot = CodeSnapshot.take([str(project / "studies"), str(project)])
    project.rename(tmp_path / "elsewhere")
    program = "import model, inner.deep as d, package; print(model.VERSION, d.TEXT, package.VERSION, model.__file__)"
    for _ in range(2):  # the second worker of a host finds it there
        output = in_worker(snapshot, program, tmp_path)
        assert output.startswith(f"1 1,2 1 {tmp_path}/nnray-code-")


def test_folders_are_searched_in_their_order(project: Path, tmp_path: Path) -> None:
    """A module of one's own named like one of the standard library comes after it where its folder does."""
    write(project, {"colorsys.py": "MINE = True\n"})
    for path, mine in (([str(project), *sys.path], True), ([*sys.path, str(project)], False)):
        snapshot = CodeSnapshot.take(path)
        program = "import colorsys; print(hasattr(colorsys, 'MINE'))"
        assert in_worker(snapshot, program, tmp_path) == f"{mine}\n"


def test_somebody_elses_folder_is_refused(project: Path, tmp_path: Path) -> None:
    snapshot = CodeSnapshot.take([str(project)])
    shutil.rmtree(project)
    (tmp_path / f"nnray-code-{os.getuid()}").mkdir()
    (tmp_path / f"nnray-code-{os.getuid()}").chmod(0o777)
    assert "is not this user's alone, so code cannot be unpacked there" in in_worker(snapshot, "", tmp_path)


def test_installed_packages_do_not_travel() -> None:
    assert (
        CodeSnapshot.take([entry for entry in sys.path if "site-packages" in entry or "lib/python" in entry]).roots
        == ()
    )


def test_equal_code_has_equal_digests(project: Path) -> None:
    one = CodeSnapshot.take([str(project)])
    os.utime(project / "model.py", (1, 1))
    assert CodeSnapshot.take([str(project)]) == one
    write(project, {"model.py": "VERSION = 2"})
    assert CodeSnapshot.take([str(project)]).digest != one.digest


@pytest.mark.parametrize("repository", [False, True], ids=["plain folder", "git repository"])
def test_data_results_and_hidden_files_are_no_sources(tmp_path: Path, repository: bool) -> None:
    write(
        tmp_path,
        {
            "net.py": "",
            "base/digits.yaml": "",
            ".git-like/x.py": "",
            "venv/pyvenv.cfg": "",
            "venv/x.py": "",
            "store/trials/a/config.yaml": "",
            "large.csv": "1" * (1 << 20) + "1",
            "weights.bin": "",
            "outputs/log.txt": "",
            "generated.py": "",
            ".gitignore": "outputs/\ngenerated.py\n",
        },
    )
    (tmp_path / "images").mkdir()
    for number in range(1001):
        (tmp_path / "images" / f"{number}.txt").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    if repository:
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    found = source_files(tmp_path, [tmp_path / "store"])
    assert set(found.files) == {"net.py", "generated.py", "base/digits.yaml"} | (
        set() if repository else {"outputs/log.txt"}
    )
    assert {"images", "store", "venv", "large.csv", "weights.bin", "loop"} <= set(found.others)
    assert found.complete
