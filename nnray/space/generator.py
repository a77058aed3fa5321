"""The person's own function that yields trials."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from nnray.errors import NnrayError, SpaceError


def items_of(sweep: str, trials: Callable[[], Iterable[Any]] | Iterable[Any]) -> Iterator[Any]:
    """Yield what ``trials``, a function or an iterable, has to give.

    Raises:
        SpaceError: If it raises something, with the file and line where; or if what a function returns has no items.
    """
    try:
        made = trials() if callable(trials) else trials
        if not isinstance(made, Iterable) or isinstance(made, (str, dict)):
            raise SpaceError(
                f"trials: the function returns {made!r}, where dicts of dotted keys are expected, as yielded"
            )
        items = iter(made)
    except Exception as error:
        raise _named(sweep, error) from error
    while True:
        try:
            item = next(items)
        except StopIteration:
            return
        except Exception as error:
            raise _named(sweep, error) from error
        yield item


def _named(sweep: str, error: Exception) -> NnrayError:
    if isinstance(error, NnrayError):
        return error
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    # The last line in the file that the function itself is in: what it calls there belongs to it.
    own = [frame for frame in frames if frame.filename == frames[0].filename]
    place = f"{_shown(own[-1].filename)}:{own[-1].lineno}: " if own else ""
    fact = " ".join(f"{type(error).__name__}: {error}".split())
    return SpaceError(f"trials of the sweep {sweep}: {place}{fact}")


def _shown(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
