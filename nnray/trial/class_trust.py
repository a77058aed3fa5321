"""Which classes a configuration may name, so that a configuration of somebody else's cannot run what it likes.

A configuration is data: it may come out of a store that somebody sent. To read it imports the modules that its class
paths name, and to build from it calls those classes. Of code that is installed a configuration may build modules,
optimizers, schedules, data modules, callbacks and transforms, and no function may be called with arguments out of a
configuration; the standard library (``os.system``, ``subprocess.Popen``) is out of bounds. Your own code, which is
neither, may be named as you like: it is trusted to do no harm whatever it is called with.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonargparse
import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from nnray.errors import ConfigurationError

_KINDS = (
    torch.nn.Module,
    torch.optim.Optimizer,
    torch.optim.lr_scheduler.LRScheduler,
    pl.LightningDataModule,
    Callback,
)
_HOMES = ("nnray.data", "nnray.graph", "nnray.layers", "nnray.models", "nnray.training", "torchvision.transforms")
"""Whose classes may be built though they are of no such kind."""

_LOADERS = (  # which run code that they are pointed at
    "cloudpickle",
    "dill",
    "joblib",
    "pandas.read_pickle",
    "torch.hub",
    "torch.load",
    "torch.multiprocessing",
    "torch.package",
    "torch.serialization",
    "torch.utils.cpp_extension",
)
_HARMLESS = ("math",)
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_OURS = frozenset({"nnray", "analysis"})

# What jsonargparse itself imports on a configuration's word, functions that are named and not called among it.
jsonargparse.set_parsing_settings(
    instantiate_subclass_spec_in_any=True,  # arguments without annotation are common; what they name is checked
    import_path_denylist=[*sorted(sys.stdlib_module_names - {*_HARMLESS, "__main__", "__future__"}), *_LOADERS],
    import_path_allowlist=list(_HARMLESS),
)


def check_import(key: str, path: str) -> None:
    """Refuse to import what ``path`` names if its module is Python's own, or a program."""
    parts = path.split(".")
    if "__main__" in parts[1:] or (len(parts) > 1 and _origin(parts[0]) == "standard"):
        raise ConfigurationError(f"{key}: {path} is no class that a configuration may name")


def check_classes(prefix: str, values: Any) -> None:
    """Refuse arguments in which a class path names what a configuration may not build.

    Args:
        prefix: The dotted key of the arguments, for error messages.
        values: Arguments, as they were parsed.

    Raises:
        ConfigurationError: Naming the key and the class path.
    """
    for key, path in _class_paths(prefix, values):
        check_import(key, path)
        if not _may_be_built(path):
            raise ConfigurationError(
                f"{key}: {path} may not be built from a configuration: name a module, an optimizer, a schedule, a data "
                "module, a callback or a class of your own code"
            )


def _class_paths(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the class paths inside of arguments, each with its key."""
    if isinstance(value, jsonargparse.Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        if isinstance(value.get("class_path"), str):
            yield key, value["class_path"]
        for name, entry in value.items():
            yield from _class_paths(f"{key}.{name}" if key else str(name), entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _class_paths(key, entry)


@functools.cache
def _may_be_built(path: str) -> bool:
    found = _found(path)
    if found is None:
        return True  # there is nothing to be built: the parser tells why
    module = getattr(found, "__module__", None)
    if not isinstance(module, str) or not (inspect.isclass(found) or inspect.isfunction(found)):
        return False
    if _origin(module.partition(".")[0]) == "own":
        return True
    if not inspect.isclass(found):
        return False
    return issubclass(found, _KINDS) or any(f"{module}.".startswith(f"{home}.") for home in _HOMES)


def _found(path: str) -> Any:
    """Return what the path names, in a module or in a class of one; None if there is nothing."""
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        except (Exception, SystemExit):  # whatever a person's own module raises
            return None
        for name in parts[length:]:
            found = getattr(found, name, None)
        return found
    return None


@functools.cache
def _origin(package: str) -> str:
    """Tell whether a top-level module is Python's own (``standard``), ``installed`` or a person's ``own``."""
    module = sys.modules.get(package)
    try:
        specification = getattr(module, "__spec__", None) or importlib.util.find_spec(package)
    except (ImportError, ValueError):
        specification = None
    if specification is None:
        return "own"
    places = [specification.origin or "", *(specification.submodule_search_locations or ())]
    if package in _OURS or any(_INSTALLED & set(Path(place).parts) for place in places):
        return "installed"
    standard = Path(sysconfig.get_path("stdlib")).resolve()
    is_standard = specification.origin in ("built-in", "frozen") or any(
        place and Path(place).resolve().is_relative_to(standard) for place in places
    )
    return "standard" if is_standard and package in sys.stdlib_module_names else "own"
