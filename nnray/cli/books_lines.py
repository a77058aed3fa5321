"""What a person should know of a sweep's books when a command ends; nothing, if all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnray.store.files import is_local

if TYPE_CHECKING:
    from nnray.store.bookkeeper import BooksReport
    from nnray.trial.paths import StorePaths


def mlflow_lines(store: StorePaths, uri: str | None) -> list[str]:
    """Return a line if MLflow is given no runs at all."""
    if uri is not None or is_local(store.root):
        return []
    return ["MLflow: off, since a database needs a store in a folder; --mlflow-uri names a server"]


def books_lines(report: BooksReport) -> list[str]:
    """Return a line per trouble with tables or MLflow."""
    lines = []
    if report.problem is not None:
        lines.append(f"the tables could not be written: {report.problem}; nnray rebuild makes them anew")
    if report.damaged:
        signature, reason = next(iter(report.damaged.items()))
        lines.append(f"{len(report.damaged)} trial folders are damaged and in no table, {signature} for one: {reason}")
    if report.missed:
        reason = next(iter(report.missed.values()))
        lines.append(
            f"MLflow misses {len(report.missed)} trials ({reason}); they wait in the store, and the next command with"
            " this MLflow, on any sweep, or nnray rebuild sends them"
        )
    return lines
