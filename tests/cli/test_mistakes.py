"""A person's mistake: one line that names the thing and the nearest right one, status 2, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnray.cli.main import main

SPACE = """
from nnray import Sweep, grid
sweep = Sweep(name="study", base={"model": "user_code.Tiny", "data": "nnray.data.Digits"}, space=SPACE)
"""

FILES = {
    "good.py": SPACE.replace("SPACE", '{"seed": grid(0, 1)}'),
    "key.py": SPACE.replace("SPACE", '{"model.widht": grid(2, 4)}'),
    "top_key.py": SPACE.replace("SPACE", '{"modle.width": grid(2, 4)}'),
    "type.py": SPACE.replace("SPACE", '{"optimizer.lr": grid(0.1, "fast")}'),
    "unknown_class.py": SPACE.replace(
        "SPACE", '{"model.class_path": grid("nnray.models.ResNet", "nnray.models.ResNet8")}'
    ),
    "unknown_module.py": SPACE.replace("SPACE", '{"model.class_path": "nnray.modells.ResNet"}'),
    "wrong_class.py": SPACE.replace("SPACE", '{"data.class_path": "nnray.models.ResNet"}'),
    "no_dict.py": SPACE.replace("SPACE", '{}, trials=[{"seed": 1}, "ResNet"]'),
    "nothing.py": SPACE.replace("SPACE", '{"seed": grid(0, 1)}, trials=lambda: []'),
    "raises.py": SPACE.replace("SPACE", '{}, trials=lambda: [{"seed": 1 // 0}]'),
    "pairs.py": SPACE.replace("SPACE", '{"model.width": zipped(1, 2), "seed": zipped(1, 2, 3)}').replace(
        "grid", "grid, zipped", 1
    ),
    "resources.py": SPACE.replace("SPACE", '{"seed": 0}, resources=lambda trial: {"gpus": trial["seed"]}'),
    "no_sweep.py": "x = 1\n",
    "syntax.py": "from nnray import Sweep\nsweep = Sweep(name='a'\n",
    "name_error.py": "from nnray import Sweep\n\nsweep = Sweep(name='a', space={'seed': grid(1)})\n",
    "no_base.py": "from nnray import Sweep\nsweep = Sweep(name='a', base='nowhere.yaml')\n",
    "bad_name.py": "from nnray import Sweep\nsweep = Sweep(name='../a', base={})\n",
    "greedy.py": SPACE.replace("SPACE", '{"seed": 0}, resources={"cpus": 1}'),
    "broken.yaml": "model: [1, 2\n",
    "a_file": "",
}

MISTAKES = {
    "no such file": ("sweep godo.py", "there is no search space godo.py; did you mean 'good.py'"),
    "unknown argument": ("sweep key.py", "model.init_args.widht: Tiny has no such argument; did you mean 'width'?"),
    "unknown key": ("sweep top_key.py", "modle: there is no such key; did you mean 'model'?"),
    "wrong type": ("sweep type.py", "optimizer.init_args.lr: expected float"),
    "unknown class": (
        "sweep unknown_class.py",
        "model.class_path: there is no 'ResNet8' in nnray.models; did you mean 'ResNet",
    ),
    "unknown module": ("sweep unknown_module.py", "there is no module 'nnray.modells'; did you mean 'models'?"),
    "class of another kind": ("sweep wrong_class.py", "data.class_path: nnray.models.ResNet is not a"),
    "a trial that is no dict": (
        "sweep no_dict.py",
        "trials: number 2: a dict of dotted keys or a Sweep is expected, not 'ResNet'",
    ),
    "no trials": ("sweep nothing.py", "the sweep study has no trials: what its field 'trials' gives is empty"),
    "trials that fail": ("sweep raises.py", "trials of the sweep study: raises.py:"),
    "zipped keys": ("sweep pairs.py", "space: zipped keys need equally many values: model.width has 2, seed has 3"),
    "resources of a trial": ("sweep resources.py", "resources: there is no 'gpus'; did you mean 'gpu'? (of the trial "),
    "neither space nor base": ("sweep --grid seed=0..4", "give a SPACE, or --base FILE with --grid KEY=VALUES"),
    "a grid of an unknown key": ("sweep good.py --grid modle.width=1,2", "modle: there is no such key; did you mean"),
    "a grid without values": ("sweep good.py --grid seed=", "--grid: seed has no values: list some, as in seed=1,2"),
    "a grid without a key": ("sweep good.py --grid seed", "--grid: 'seed' is not of the form KEY=VALUE,VALUE,..."),
    "a list without values": ("sweep good.py --set seed=[]", "--set: seed: the list has no values"),
    "a key set twice": ("sweep good.py --set seed=1 --grid seed=1,2", "seed is given by --set and by --grid"),
    "a distribution that is none": (
        "sweep good.py --num-samples 2 --grid optimizer.lr=loguniform(0,1)",
        "--grid: optimizer.lr: loguniform(0, 1): nothing can be drawn from loguniform(lower, upper)",
    ),
    "no number of samples": (
        "sweep good.py --grid optimizer.lr=uniform(0,1)",
        "optimizer.lr is a distribution: say with num_samples how many values to draw",
    ),
    "samples of nothing": (
        "sweep good.py --num-samples 2",
        "num_samples: 2, but nothing in the space is a distribution",
    ),
    "replicates of several seeds": (
        "sweep good.py --replicates 2 --grid seed=0..4",
        "replicates are seeds, and the seed is varied in the space too: give one of the two",
    ),
    "no replicates": ("sweep good.py --replicates 0", "replicates: 0 is not a whole number of at least 1"),
    "a base without a name": ("sweep --base a.b@c.yaml", "'a.b@c' cannot name a sweep"),
    "no sweep": ("sweep no_sweep.py", "no_sweep.py defines no sweep"),
    "syntax error": ("sweep syntax.py", "syntax.py:2: SyntaxError"),
    "error in the file": ("sweep name_error.py", "name_error.py:3: NameError: name 'grid' is not defined"),
    "no base": ("sweep no_base.py", "nowhere.yaml: No such file or directory"),
    "bad name": ("sweep bad_name.py", "'../a' cannot name a sweep"),
    "unknown resource": ("sweep greedy.py", "resources: there is no 'cpus'; did you mean 'cpu'?"),
    "store in a file": ("sweep good.py --store a_file/store", "a_file is a file"),
    "store that cannot be written": ("sweep good.py --store /proc/store", "/proc/store"),
    "store by URI": (
        "sweep good.py --store memory://store",
        "memory://store: a store is a folder or s3://bucket/folder, not memory://",
    ),
    "setting without a value": ("sweep good.py --set seed", "'seed' is not of the form KEY=VALUE"),
    "in process: at a time": (
        "sweep good.py --in-process --max-concurrent 2",
        "--max-concurrent is for Ray, and --in-process trains one trial after another without it",
    ),
    "in process: resources": (
        "sweep good.py --in-process --resources cpu=1",
        "--resources is for Ray, and --in-process trains one trial after another without it",
    ),
    "in process: address": ("sweep good.py --in-process --address auto", "--address is for Ray"),
    "unknown option": ("sweep good.py --dryrun", "--dryrun"),
    "unknown command": ("swep good.py", "there is no command 'swep'; did you mean 'sweep'?"),
    "train: unknown key": ("train --modle MLP", "modle: there is no such key; did you mean 'model'?"),
    "train: no data": ("train --model MLP", "data: name the data set"),
    "train: wrong type": ("train --model MLP --data Digits --seed x", "seed: expected int, got 'x'"),
    "train: value missing": ("train --model", "--model: a value is missing"),
    "train: not an option": ("train MLP", "'MLP': an option such as --model.width 32 is expected here"),
    "train: no file": ("train --config nowhere.yaml", "cannot read configuration nowhere.yaml"),
    "train: broken file": ("train --config broken.yaml", "broken.yaml is not YAML"),
    "train: help for nothing": ("train --trainer.help", "--trainer.help: there is help for --model.help"),
    "results: no store": ("results study", "there is no store"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNRAY_STORE", raising=False)
    return tmp_path


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.replace(" ", "-") for mistake in MISTAKES])
def test_one_line_status_2_nothing_written(mistake: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command, message = MISTAKES[mistake]
    try:
        status = main(command.split())
    except SystemExit as left:
        status = left.code
    printed = capsys.readouterr()
    assert status == 2
    assert message in printed.err
    assert printed.err.count("\n") == 1, printed.err
    assert "Traceback" not in printed.err
    assert {path.name for path in folder.iterdir()} == {
        *FILES,
        *({"__pycache__"} if (folder / "__pycache__").exists() else ()),
    }


def test_a_dry_run_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "good.py", "--dry-run"]) == 0
    assert "study: 2 trials: 0 complete, 0 to resume, 2 to run" in capsys.readouterr().out
    assert not (folder / "nnray-store").exists()


def test_the_cifar10_grid_is_planned_without_the_data(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = Path(__file__).parents[2] / "search_spaces" / "cifar10_resnets.py"
    assert main(["sweep", str(space), "--dry-run"]) == 0
    assert "cifar10-resnets: 20 trials: 0 complete, 0 to resume, 20 to run" in capsys.readouterr().out
