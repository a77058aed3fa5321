"""Read the sweep that a file defines."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnray.errors import ConfigurationError, NnrayError, SpaceError, did_you_mean
from nnray.space.notation import described_value
from nnray.space.sweep import Sweep
from nnray.trial.importing import file_specification, make_importable
from nnray.trial.merging import read_configuration_file

_FIELDS = tuple(field.name for field in dataclasses.fields(Sweep))
_UNKNOWN_FIELD = re.compile(r"Sweep\.__init__\(\) got an unexpected keyword argument '(\w+)'.*")


def load_sweep(path: str | Path) -> Sweep:
    """Return the one Sweep in a Python file (or the one called ``sweep``), or what a JSON or YAML file describes.

    In a JSON or YAML file the fields are those of :class:`Sweep`; what varies is written as
    :mod:`nnray.space.notation` says, and text in ``trials`` is the file of another space. The folder of the file
    becomes importable and stays so, so that class paths can name modules beside it.

    Raises:
        SpaceError: If there is no such file, it fails, or it defines no sweep; the message is one line.
    """
    path = Path(path)
    if path.is_dir():
        inside = sorted(entry.name for entry in path.iterdir() if entry.suffix in (".py", ".yaml", ".yml", ".json"))
        raise SpaceError(f"{path} is a folder, where a search space is expected{did_you_mean('', inside)}")
    if not path.is_file():
        beside = [entry.name for entry in path.parent.glob("*.*")] if path.parent.is_dir() else []
        raise SpaceError(f"there is no search space {path}{did_you_mean(path.name, beside)}")
    if path.suffix not in (".py", ".json", ".yaml", ".yml"):
        raise SpaceError(f"{path} is not a search space: a .py, .yaml or .json file is expected")
    make_importable(path)
    if path.suffix != ".py":
        return _described(path)
    return _only_sweep(path, vars(_run(path)))


def _run(path: Path) -> Any:
    specification = file_specification(f"_nnray_space_{path.stem}", path)
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[module.__name__] = module
    try:
        specification.loader.exec_module(module)
    except SyntaxError as error:
        place = path if error.filename in (None, str(path.absolute())) else error.filename
        raise SpaceError(f"{place}:{error.lineno}: SyntaxError: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise SpaceError(f"{_place(path, error)}: {_fact(error)}") from error
    return module


def _fact(error: BaseException) -> str:
    text = " ".join(str(error).split())
    unknown = _UNKNOWN_FIELD.fullmatch(text) if isinstance(error, TypeError) else None
    if unknown is not None:
        return f"Sweep has no field {unknown[1]!r}{did_you_mean(unknown[1], _FIELDS)}"
    return text if isinstance(error, NnrayError) else f"{type(error).__name__}: {text}"


def _place(path: Path, error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path.absolute()]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _only_sweep(path: Path, names: dict[str, Any]) -> Sweep:
    sweeps = {name: value for name, value in names.items() if isinstance(value, Sweep)}
    if "sweep" in sweeps:
        return sweeps["sweep"]
    if not sweeps:
        raise SpaceError(
            f"{path} defines no sweep: it needs a line such as sweep = Sweep(name=..., base=..., space=...)"
        )
    if len({id(value) for value in sweeps.values()}) > 1:
        raise SpaceError(f"{path} defines several sweeps ({', '.join(sweeps)}): call the one to run 'sweep'")
    return next(iter(sweeps.values()))


def _described(path: Path) -> Sweep:
    try:
        values = read_configuration_file(path)
    except ConfigurationError as error:
        raise SpaceError(str(error)) from error
    for key in values:
        if key not in _FIELDS:
            raise SpaceError(f"{path}: {key}: there is no such field{did_you_mean(str(key), _FIELDS)}")
    if "name" not in values:
        raise SpaceError(f"{path} defines no sweep: it needs a field 'name'")
    space = values.get("space") or {}
    if not isinstance(space, dict):
        raise SpaceError(f"{path}: space: a mapping of dotted keys is expected, not {space!r}")
    try:
        values["space"] = {key: described_value(f"space: {key}", value) for key, value in space.items()}
        if isinstance(values.get("trials"), list):
            values["trials"] = [_described_item(path, item) for item in values["trials"]]
        return Sweep(**values)
    except SpaceError as error:
        raise SpaceError(f"{path}: {error}") from error


def _described_item(path: Path, item: Any) -> Any:
    """Return an item of ``trials``; text is the file of another space, whose base lies beside that file."""
    if isinstance(item, str):
        inner = load_sweep(path.parent / item)
        folder = (path.parent / item).absolute().parent
        return inner if isinstance(inner.base, Mapping) else dataclasses.replace(inner, base=folder / inner.base)
    if not isinstance(item, dict):
        return item
    # A list stays one value here: an item is mostly a single trial.
    return {
        key: value if isinstance(value, list) else described_value(f"trials: {key}", value)
        for key, value in item.items()
    }
