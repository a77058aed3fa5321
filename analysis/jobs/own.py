"""Jobs that people write: a Python file with decorated functions, run from a shell."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from analysis.stimuli import Data
from nnray.errors import AnalysisError, did_you_mean
from nnray.trial.importing import file_specification, make_importable

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__analysis_job__"


@dataclass(frozen=True)
class Job:
    """A function and what it is to be shown: see :func:`analysis.jobs.mapping.map_networks`."""

    function: Callable[..., Any]
    layers: tuple[str, ...]
    data: Data
    n: int | None
    seed: int

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.__name__


def job(
    layers: str | Sequence[str] = (), *, data: Data = "test", n: int | None = None, seed: int = 0
) -> Callable[[F], F]:
    """Mark a function of a network and its layers as a job that ``nnray analyze FILE`` runs.

    The function stays as it is. See :func:`analysis.jobs.mapping.map_networks` for its arguments and what it returns.

    Args:
        layers: Names or globs of the layers that it gets.
        data: What the networks are shown.
        n: How many images; None for all.
        seed: Of the choice and the order of the images.
    """
    if callable(layers):
        raise AnalysisError(
            "@analysis.job takes brackets: @analysis.job(layers=...), or @analysis.job() without layers"
        )
    names = (layers,) if isinstance(layers, str) else tuple(layers)

    def mark(function: F) -> F:
        setattr(function, _MARK, Job(function, names, data, n, seed))
        return function

    return mark


def load_jobs(path: str | Path) -> list[Job]:
    """Return the jobs in a Python file, in the order in which they stand there.

    Raises:
        AnalysisError: If there is no such file, it fails, or it has no jobs.
    """
    path = Path(path)
    if not path.is_file():
        beside = [entry.name for entry in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise AnalysisError(f"there is no file {path}{did_you_mean(path.name, beside)}")
    name = path.stem
    other = getattr(sys.modules.get(name), "__file__", None)
    if name in sys.modules and (other is None or Path(other).absolute() != path.absolute()):
        raise AnalysisError(f"{path}: a module of Python is called {name!r} already: give the file another name")
    make_importable(path)
    specification = file_specification(name, path)
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # workers import it under this name, from the file's folder
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # the person's own code
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename) == path.absolute()
        ]
        place = f"{path}:{lines[-1]}" if lines else str(path)
        raise AnalysisError(f"{place}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    jobs = [getattr(value, _MARK) for value in vars(module).values() if hasattr(value, _MARK)]
    if not jobs:
        raise AnalysisError(f"{path} has no jobs: mark a function with @analysis.job(layers=...)")
    return jobs
