"""What to train, said on the command line."""

import argparse
import shlex
from pathlib import Path

import pytest

from nnray import grid
from nnray.cli.space_options import add_space_options, asked_for
from nnray.errors import NnrayError
from nnray.space import Distribution

SPACE = """
from nnray import Sweep, grid
sweep = Sweep(name="study", base="base.yaml", space={"seed": grid(0, 1)}, resources=RESOURCES)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "study.py").write_text(SPACE.replace("RESOURCES", "{'cpu': 2, 'gpu': 0}"))
    (tmp_path / "function.py").write_text(SPACE.replace("RESOURCES", "lambda c: {'cpu': c['seed'], 'gpu': 0}"))
    (tmp_path / "bases").mkdir()
    for name in ("base.yaml", "bases/other.yaml"):
        (tmp_path / name).write_text(f"{{model: MLP, source: {name}}}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(command):
    parser = argparse.ArgumentParser()
    add_space_options(parser)
    return asked_for(parser.parse_args(shlex.split(command)))


def configurations(command):
    what = asked(command)
    return list(what.sweep.configurations(what.folder, what.settings))


def test_a_base_and_grids_are_a_sweep():
    what = asked("--base bases/other.yaml --grid optimizer.init_args.lr=0.001,0.01 --grid seed=0..4")
    assert what.sweep.name == "other"
    assert what.settings == {"optimizer.init_args.lr": grid(0.001, 0.01), "seed": grid(range(5))}
    made = configurations("--base bases/other.yaml --grid optimizer.init_args.lr=0.001,0.01 --grid seed=0..4")
    assert [(c["optimizer"]["init_args"]["lr"], c["seed"]) for c in made] == [
        (rate, seed) for rate in (0.001, 0.01) for seed in range(5)
    ]
    assert {c["source"] for c in made} == {"bases/other.yaml"}


def test_options_stand_in_the_place_of_the_spaces_own():
    options = "--name other --metric val_loss --mode min --num-samples 3 --sample-seed 4 --replicates 2"
    sweep = asked(f"study.py --base bases/other.yaml {options} --grid 'optimizer.lr=uniform(0, 1)'").sweep
    assert (sweep.name, sweep.metric, sweep.mode) == ("other", "val_loss", "min")
    assert (sweep.num_samples, sweep.sample_seed, sweep.replicates) == (3, 4, 2)
    made = configurations("study.py --base bases/other.yaml")
    assert [(c["source"], c["seed"]) for c in made] == [("bases/other.yaml", 0), ("bases/other.yaml", 1)]
    assert {c["source"] for c in configurations("study.py")} == {"base.yaml"}


def test_what_is_set_and_what_multiplies():
    what = asked("study.py --set threads=2 --set 'optimizer.lr=[1,2]' --set 'optimizer.betas=[[0.9,0.99]]'")
    assert what.settings == {"threads": 2, "optimizer.lr": grid(1, 2), "optimizer.betas": grid([[0.9, 0.99]])}
    made = configurations("study.py --set threads=2 --set optimizer.lr=[1,2]")
    assert [(c["seed"], c["optimizer"]["init_args"]["lr"]) for c in made] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert asked("study.py --grid 'a=uniform(0,1)'").settings == {"a": Distribution("uniform", (0, 1))}


@pytest.mark.parametrize("space", ["study.py", "function.py"])
def test_resources_are_put_over_those_of_the_sweep(space):
    resources = asked(f"{space} --resources gpu=0.5").sweep.resources
    given = resources({"seed": 2}) if callable(resources) else resources
    assert given == {"cpu": 2, "gpu": 0.5}


@pytest.mark.parametrize(
    "command",
    [
        "study.py",
        "'a folder/study.py' --set 'optimizer.lr=[1, 2]'",
        "--base bases/other.yaml --grid 'lr=uniform(0, 1)' --num-samples 3 --sample-seed 0",
        "study.py --resources cpu=2 --name x --metric m --mode min --replicates 3",
    ],
)
def test_the_words_say_the_same_again(command, folder):
    (folder / "a folder").mkdir()
    (folder / "a folder" / "study.py").write_text((folder / "study.py").read_text())
    first = asked(command)
    again = asked(first.words)
    assert (again.words, again.settings, again.file) == (first.words, first.settings, first.file)
    assert repr(again.sweep) == repr(first.sweep)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", r"what to train is missing: give a SPACE, or --base FILE with --grid KEY=VALUES"),
        ("--base 'bases/a b.yaml'", r"'a b' cannot name a sweep: .*; give another with --name"),
        ("study.py --set model.width=1 --grid model.init_args.width=1,2", r"model\.init_args\.width is given by --set"),
        ("study.py --name a/b", "'a/b' cannot name a sweep"),
    ],
)
def test_mistakes(command, message):
    with pytest.raises(NnrayError, match=f"^{message}"):
        asked(command)


def test_another_name_for_a_base_that_cannot_give_one():
    assert asked("--base 'bases/a b.yaml' --name ab").sweep.name == "ab"
    assert asked("--base bases/other.yaml").folder == Path.cwd() / "bases"
