"""Before a command destroys or stops what others made: it asks, or wants ``--yes``."""

from __future__ import annotations

import argparse
import sys

from nnray.errors import SpaceError


def add_yes_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--yes``."""
    parser.add_argument(
        "--yes",
        action="store_true",
        help="do without asking what stops another command's running trials or throws results away",
    )


def confirm(deeds: list[str], yes: bool) -> None:
    """Return if there is nothing to be asked, or if the person wants all of the ``deeds``.

    Args:
        deeds: What is going to happen that cannot be taken back, as ``"stops 2 running trials"``.
        yes: Whether ``--yes`` was given.

    Raises:
        SpaceError: If the person says no, or there is no terminal to ask at.
    """
    if not deeds or yes:
        return
    what = " and ".join(deeds)
    if not sys.stdin.isatty():
        raise SpaceError(f"this {what}; nothing is done without --yes, since there is no terminal to ask at")
    try:
        answer = input(f"This {what}. Go on? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise SpaceError("not confirmed; nothing was done")
