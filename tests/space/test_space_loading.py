"""The sweep in a file."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nnray.errors import SpaceError
from nnray.space import load_sweep

ROOT = Path(__file__).parents[2]
HEAD = "from nnray import Sweep, grid\n"


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A function that writes a file and returns its path; what loading adds to sys.path is taken away again."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(text, name="space.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return write


def test_a_python_file(file):
    path = file(HEAD + 'sweep = Sweep(name="s", base={"seed": 3}, space={"model.width": grid(1, 2)})')
    sweep = load_sweep(path)
    assert (sweep.name, sweep.base) == ("s", {"seed": 3})
    assert list(sweep.overrides()) == [{"model.width": 1}, {"model.width": 2}]
    assert load_sweep(str(path)).name == "s"


def test_modules_beside_the_file_can_be_imported(file):
    file("WIDTHS = (3, 5)", "widths_beside.py")
    path = file(HEAD + "from widths_beside import WIDTHS\nmine = Sweep(name='s', space={'model.width': grid(WIDTHS)})")
    assert len(list(load_sweep(path).overrides())) == 2


@pytest.mark.parametrize("name", ["space.py", "space.yaml", "space.json"])
def test_the_folder_of_the_file_is_importable_from_then_on(file, name, tmp_path):
    text = HEAD + "sweep = Sweep(name='s')" if name.endswith(".py") else '{"name": "s"}'
    load_sweep(file(text, name))
    assert sys.path[0] == str(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        'a = Sweep(name="a")\nsweep = Sweep(name="right")\n',
        'right = Sweep(name="right")\n',
        'right = also = Sweep(name="right")\n',
    ],
    ids=["the one called sweep", "the only one", "one by two names"],
)
def test_the_sweep_of_a_file_with_more_in_it(file, text):
    assert load_sweep(file(HEAD + text)).name == "right"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "space.json",
            json.dumps(
                {"name": "s", "base": {"seed": 1}, "space": {"a": [1, 2], "b": 3, "c": "[x"}, "mode": "min"},
                indent="\t",
            ),
        ),
        ("space.yaml", "name: s\nbase: {seed: 1}\nspace:\n  a: [1, 2]\n  b: 3\n  c: '[x'\nmode: min\n"),
        ("space.yml", "{name: s, base: {seed: 1}, space: {a: [1, 2], b: 3, c: '[x'}, mode: min}"),
    ],
)
def test_a_described_space(file, name, text):
    sweep = load_sweep(file(text, name))
    assert (sweep.name, sweep.base, sweep.mode, sweep.metric) == ("s", {"seed": 1}, "min", "val_acc")
    assert list(sweep.overrides()) == [{"a": 1, "b": 3, "c": "[x"}, {"a": 2, "b": 3, "c": "[x"}]


def test_described_trials(file):
    sweep = load_sweep(file("name: s\ntrials: [{a: 1}, {b: 2}]\nspace: {seed: [0, 1]}\n", "space.yaml"))
    assert list(sweep.overrides()) == [
        {"a": 1, "seed": 0},
        {"a": 1, "seed": 1},
        {"b": 2, "seed": 0},
        {"b": 2, "seed": 1},
    ]


MISTAKES = {
    "a syntax error": ("space.py", HEAD + "x = (\n", r"{path}:2: SyntaxError: '\(' was never closed"),
    "an unknown name": ("space.py", HEAD + "\nx = gird(1)\n", "{path}:3: NameError: name 'gird' is not defined"),
    "an error in a function": (
        "space.py",
        "def f():\n    return 1 / 0\nf()\n",
        "{path}:2: ZeroDivisionError: division by zero",
    ),
    "a mistake in a sweep": ("space.py", HEAD + "sweep = Sweep(name='a b')\n", "{path}:2: 'a b' cannot name a sweep"),
    "an unknown field": (
        "space.py",
        HEAD + "sweep = Sweep(name='a', spaces=3)\n",
        "{path}:2: Sweep has no field 'spaces'; did you mean 'space'",
    ),
    "an exit": ("space.py", "raise SystemExit(3)", "{path}:1: SystemExit: 3"),
    "an error of many lines": ("space.py", "raise ValueError('a\\nb')", "{path}:1: ValueError: a b$"),
    "no sweep": ("space.py", HEAD, r"{path} defines no sweep: it needs a line such as sweep = Sweep\("),
    "an empty file": ("space.py", "", "{path} defines no sweep"),
    "several sweeps": (
        "space.py",
        HEAD + "a = Sweep(name='a')\nb = Sweep(name='b')\n",
        r"{path} defines several sweeps \(a, b\): call the one to run 'sweep'",
    ),
    "another suffix": ("space.toml", "", r"{path} is not a search space: a \.py, \.yaml or \.json file is expected"),
    "no YAML": ("space.yaml", "name: [s\n", "{path} is not YAML: .*line 2"),
    "a key twice": ("space.yaml", "name: s\nname: t\n", "{path} is not YAML: the key 'name' stands twice"),
    "no mapping": ("space.yaml", "- 1\n", "{path} holds a list, where a mapping"),
    "an unknown key": (
        "space.yaml",
        "name: s\nspaces: 3\n",
        "{path}: spaces: there is no such field; did you mean 'space'",
    ),
    "no name": ("space.yaml", "space: {a: 1}\n", "{path} defines no sweep: it needs a field 'name'"),
    "a space that is none": (
        "space.json",
        '{"name": "s", "space": [1]}',
        r"{path}: space: a mapping of dotted keys is expected, not \[1\]",
    ),
    "an empty list": ("space.json", '{"name": "s", "space": {"a": []}}', "{path}: space: a: the list has no values"),
    "a wrong mode": ("space.yaml", "name: s\nmode: most\n", "{path}: mode: 'most' is neither"),
}


@pytest.mark.parametrize(("name", "text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line_that_names_the_place(file, name, text, message, monkeypatch):
    path = file(text, name)
    with pytest.raises(SpaceError, match="^" + message.replace("{path}", str(path))) as caught:
        load_sweep(path)
    assert "\n" not in str(caught.value)
    monkeypatch.chdir(path.parent)
    with pytest.raises(SpaceError, match="^" + message.replace("{path}", name)):
        load_sweep(name)


def test_errors_in_a_module_beside_name_that_module(file):
    file("x = (\n", "broken_beside.py")
    with pytest.raises(SpaceError, match=r"broken_beside\.py:1: SyntaxError: '\(' was never closed"):
        load_sweep(file("import broken_beside\n"))


def test_files_that_are_not_there(file, tmp_path):
    file("", "digits.py")
    with pytest.raises(SpaceError, match=r"^there is no search space .*digit\.py; did you mean 'digits\.py'\?$"):
        load_sweep(tmp_path / "digit.py")
    with pytest.raises(SpaceError, match=r"^there is no search space .*none/digits\.py$"):
        load_sweep(tmp_path / "none" / "digits.py")
    with pytest.raises(SpaceError, match=r" is a folder, where a search space is expected; there is: digits\.py$"):
        load_sweep(tmp_path)


def test_a_space_is_read_and_counted_without_heavy_libraries(file):
    path = file(
        HEAD
        + """
def trials():
    for width in range(3):
        yield {"model.width": width}

sweep = Sweep(name="s", base="base.yaml", trials=trials, space={"seed": grid(range(4))})
"""
    )
    file("optimizer.lr: 1e-3\n", "base.yaml")
    program = """
        import json, sys
        import nnray
        facts = {"import": sorted(sys.modules)}
        facts["dir"] = dir(nnray)
        from nnray.space import load_sweep
        from nnray.trial import merge
        from pathlib import Path
        path = Path(sys.argv[1])
        sweep = load_sweep(path)
        base = sweep.base_configuration(path.parent)
        facts["trials"] = len([merge(base, changes) for changes in sweep.overrides()])
        facts["all"] = sorted(sys.modules)
        facts["same"] = [nnray.Sweep is type(sweep), nnray.grid(1).values]
        print(json.dumps(facts))
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    facts = json.loads(answer.stdout)
    assert facts["trials"] == 12
    assert facts["same"] == [True, [1]]
    assert {"Sweep", "grid", "open"} <= set(facts["dir"])
    heavy = {"torch", "ray", "lightning", "mlflow", "pandas", "pyarrow", "numpy", "jsonargparse", "sklearn"}
    assert not heavy & set(facts["all"])
    assert [name for name in facts["import"] if name.startswith("nnray")] == ["nnray"]


def test_nnray_has_no_other_names():
    import nnray

    with pytest.raises(AttributeError, match="module 'nnray' has no attribute 'sweep_'"):
        nnray.sweep_  # noqa: B018


def test_an_edit_within_the_same_second_to_the_same_length_counts(tmp_path):
    """By time and size alone, Python would take its cached bytecode for that of the edited file."""
    path = tmp_path / "study.py"
    for name in ("one", "two"):
        path.write_text(f"from nnray import Sweep\nsweep = Sweep(name={name!r})\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        assert load_sweep(path).name == name
