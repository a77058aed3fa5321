"""Tell everything that is known of a trial: status, times, origin, configuration, metrics, checkpoints, files.

TRIAL is the signature, as few of its first digits as no other trial begins with, or SWEEP/NAME.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nnray.cli.jobs import add_address_option
from nnray.cli.store_option import add_store_option, existing_store
from nnray.errors import StoreError

if TYPE_CHECKING:
    from nnray.store.stored_trial import StoredTrial
    from nnray.trial.paths import StorePaths

EXIT_OK = 0
_WIDE = 16
"""Width of the names of facts."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("trial", metavar="TRIAL", help="a signature or its first digits, or SWEEP/NAME")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how to print (default: text)")
    add_store_option(parser)
    add_address_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print it; return the exit status."""
    from nnray.store.finding import find_trial
    from nnray.store.stored_trial import StoredTrial

    store = existing_store(arguments.store)
    facts = trial_facts(store, StoredTrial(find_trial(store, arguments.trial)))
    print(json.dumps(_finite(facts), indent=1) if arguments.format == "json" else _text(facts))
    return EXIT_OK


def trial_facts(store: StorePaths, trial: StoredTrial) -> dict[str, Any]:
    """Return what is known of a trial, as plain data; of a damaged part, what is wrong with it under ``damaged``."""
    damaged: list[str] = []

    def read(part: str, otherwise: Any) -> Any:
        try:
            return getattr(trial, part)
        except StoreError as error:
            if str(error) not in damaged:  # of what was made of the same file, too
                damaged.append(str(error))
            return otherwise

    paths = trial.paths
    record = read("record", None)
    known = {} if record is None else {key: _plain(value) for key, value in dataclasses.asdict(record).items()}
    rows, checkpoints, config = read("rows", []), read("checkpoints", []), read("config", {})
    return {
        "trial": paths.signature,
        "status": read("status", None),
        "sweeps": _sweeps(trial, damaged),
        **{key: value for key, value in known.items() if key != "status"},
        "code": str(store.code(known["code"])) if known.get("code") else None,
        "packages": str(store.packages(known["packages"])) if known.get("packages") else None,
        "epochs": len(rows),
        "max_epochs": config.get("trainer", {}).get("max_epochs"),
        "metrics": _metrics(trial, rows),
        "checkpoints": [
            {"epoch": kept["epoch"], "bytes": kept["bytes"], "path": str(store.root / kept["path"])}
            for kept in checkpoints
        ],
        "config": config,
        "files": {str(path): path.stat().st_size for path in sorted(paths.folder.rglob("*")) if path.is_file()},
        "damaged": damaged,
    }


def _sweeps(trial: StoredTrial, damaged: list[str]) -> dict[str, dict[str, Any]]:
    from nnray.store.membership import Membership, sweeps_of

    found = {}
    for sweep in sweeps_of(trial.paths):
        try:
            membership = Membership.read(trial.paths, sweep)
        except StoreError as error:
            damaged.append(str(error))
            continue
        if membership is not None:
            found[sweep] = dataclasses.asdict(membership)
    return found


def _metrics(trial: StoredTrial, rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the last and the best value of each metric, and the epoch of the best one."""
    from nnray.store.membership import Membership, sweeps_of
    from nnray.store.metrics_log import best_value, default_mode, metrics_of

    modes: dict[str, str] = {}
    for sweep in sweeps_of(trial.paths):
        try:
            membership = Membership.read(trial.paths, sweep)
        except StoreError:
            continue
        if membership is not None and membership.metric and membership.mode:
            modes[membership.metric] = membership.mode
    found = {}
    for name in {name: None for row in rows for name in metrics_of(row)}:
        values = {row["epoch"]: row[name] for row in rows if isinstance(row.get(name), (int, float))}
        mode = modes.get(name, default_mode(name))
        best = best_value(list(values.values()), mode)
        epoch = next((epoch for epoch, value in values.items() if value == best), None)
        found[name] = {"last": next(reversed(values.values()), None), "best": best, "best_epoch": epoch, "mode": mode}
    return found


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(facts: Mapping[str, Any]) -> str:
    from nnray.trial.yaml_dumper import dump_yaml

    shown = dict(facts)
    config, metrics, files = shown.pop("config"), shown.pop("metrics"), shown.pop("files")
    checkpoints, trace, diff = shown.pop("checkpoints"), shown.pop("traceback", None), shown.pop("git_diff", None)
    asked = shown.pop("max_epochs")
    shown["epochs"] = f"{shown['epochs']} of {asked}" if asked else shown["epochs"]
    shown["sweeps"] = [f"{sweep}/{place['name']}" for sweep, place in shown["sweeps"].items()]
    shown["git_diff"] = f"{len(diff.splitlines())} lines, in record.json" if diff else None
    lines = []
    for key, value in shown.items():
        lines += _fact(key, value)
    if metrics:
        lines += ["", f"{'metric':<24}{'last':>12}{'best':>12}   in epoch"]
        for name, told in metrics.items():
            lines.append(f"{name:<24}{_number(told['last']):>12}{_number(told['best']):>12}   {told['best_epoch']}")
    if checkpoints:
        total = sum(kept["bytes"] for kept in checkpoints)
        epochs = _ranges([kept["epoch"] for kept in checkpoints])
        lines += ["", f"checkpoints: {len(checkpoints)}, {_size(total)}, after the epochs {epochs}"]
    lines += ["", "configuration:", *(f"  {line}" for line in dump_yaml(config).splitlines())]
    lines += ["", "files:", *(f"  {_size(size):>9}  {path}" for path, size in files.items())]
    if trace:
        lines += ["", *trace.rstrip().splitlines()]
    return "\n".join(lines)


def _fact(name: str, value: Any) -> list[str]:
    """Return lines for one fact; none for what is not known."""
    if value in (None, "", [], {}):
        return []
    if isinstance(value, Mapping):
        value = [", ".join(f"{key} {entry}" for key, entry in value.items())]
    first, *others = value if isinstance(value, list) else [value]
    return [f"{name:<{_WIDE}} {first}", *(f"{'':<{_WIDE}} {other}" for other in others)]


def _ranges(numbers: list[int]) -> str:
    """Return ascending numbers as ``0-3, 7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, (int, float)) else ""


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
