"""Every command and snippet of the README is run, in order, in one folder: the default study among them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
_INSTALLS = ("make ", "pip install")
_PROGRAM = "import sys; from nnray.cli.main import main; sys.exit(main())"


def _commands() -> list[str]:
    lines = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines if line and not line.startswith(_INSTALLS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the search spaces, as a fresh clone has them."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "search_spaces", folder / "search_spaces", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _run(folder: Path, words: list[str]) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("command", _commands())
def test_command(command: str, folder: Path) -> None:
    import shlex

    program, *words = shlex.split(command)
    assert program == "nnray", f"the test does not know how to run {command!r}"
    assert _run(folder, [sys.executable, "-c", _PROGRAM, *words])


@pytest.mark.parametrize("number", [index for index, (kind, _) in enumerate(BLOCKS) if kind == "python"])
def test_python_block(number: int, folder: Path) -> None:
    _run(folder, [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", BLOCKS[number][1]])


def test_the_default_study_is_what_the_readme_says(folder: Path) -> None:
    trials = pd.read_parquet(folder / "nnray-store/tables/digits/trials.parquet")
    assert f"{len(trials)} networks" in README
    assert len(trials) >= 24
    assert set(trials["status"]) == {"completed"}
    assert trials["val_acc"].max() > 0.97
    assert trials["config/model.class_path"].nunique() >= 2


def test_yaml_blocks_are_what_they_say(folder: Path) -> None:
    from nnray.space import load_sweep
    from nnray.trial import resolve

    space, configuration = (text for kind, text in BLOCKS if kind == "yaml")
    (folder / "widths.yaml").write_text(space)
    assert len(list(load_sweep(folder / "widths.yaml").overrides())) == 4
    assert resolve(yaml.safe_load(configuration)).values["model"]["init_args"] == {"depth": 20, "width": 16}


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_options_in_the_readme_are_those_of_the_command() -> None:
    import argparse

    from nnray.cli import sweep

    parser = argparse.ArgumentParser()
    sweep.add_arguments(parser)
    known = {option for action in parser._actions for option in action.option_strings}
    table = README[README.index("| option | meaning |") : README.index("`search_spaces/cifar10_resnets.py` is")]
    named = set(re.findall(r"(--[a-z][a-z-]+)", table))
    assert named | {"--help", "--address"} == known - {"-h"}
