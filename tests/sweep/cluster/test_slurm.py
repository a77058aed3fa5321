"""The batch script for Slurm, run for real; Slurm's programs are stand-ins that start everything on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "cluster/slurm.sh"
SPACE = """
from nnray import Sweep, grid
sweep = Sweep(
    name="study",
    base={"model": "user_code.Tiny", "data": "Digits", "trainer.max_epochs": 1},
    space={"seed": grid(range(2))},
)
"""
PROGRAMS = {
    "srun": '#!/bin/bash\nwhile [[ $1 == --* ]]; do echo "$1" >> "$SRUN_LOG"; shift; done\nexec "$@"\n',
    "scontrol": '#!/bin/bash\n[[ $1 == show && $2 == hostnames ]] && printf "%s\\n" ${3//,/ }\n',
    "hostname": "#!/bin/bash\necho '127.0.0.1 10.0.0.1'\n",
    "ray": f"#!{sys.executable}\nfrom ray.scripts.scripts import main\nmain()\n",
    "nnray": f"#!{sys.executable}\nimport sys\nfrom nnray.cli.main import main\nsys.exit(main())\n",
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What Slurm sets for a job on two nodes, and stand-ins for its programs."""
    for name, text in PROGRAMS.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    (tmp_path / "study.py").write_text(SPACE)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "NNRAY_"))}
    return inherited | {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "SRUN_LOG": str(tmp_path / "srun.log"),
        "SLURM_JOB_NODELIST": "one,two",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_SUBMIT_DIR": str(tmp_path),
    }


def test_a_sweep_on_the_nodes_of_a_job(tmp_path: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["bash", str(SCRIPT), "study.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 trials complete" in done.stdout
    assert pd.read_parquet(tmp_path / "nnray-store/tables/study/trials.parquet")["status"].tolist() == ["completed"] * 2
    asked = (tmp_path / "srun.log").read_text().split()
    nodes = [word.partition("=")[2] for word in asked if word.startswith("--nodelist=")]
    assert nodes[0] == "one"  # its address
    assert sorted(nodes[1:3]) == ["one", "two"]  # Ray on each, at the same time
    assert not Path(f"/tmp/ray-{environment['SLURM_JOB_ID']}").exists()


def test_without_a_space_it_says_how_it_is_used(tmp_path: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(["bash", str(SCRIPT)], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: sbatch ")
