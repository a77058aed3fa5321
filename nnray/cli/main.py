"""``nnray``: finds the subcommand and runs it; everything heavy is imported by the subcommand that needs it."""

from __future__ import annotations

import argparse
import errno
import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version

from nnray.cli.jobs import run_elsewhere, runs_elsewhere
from nnray.cli.termination import sigterm_interrupts
from nnray.errors import NnrayError, did_you_mean
from nnray.redaction import masked_command, masked_text

COMMANDS = {
    "sweep": "train every trial of a search space that is not trained yet",
    "train": "train one trial here",
    "status": "show how far a sweep is",
    "logs": "print what a trial printed",
    "info": "tell everything that is known of a trial",
    "stop": "stop a sweep or a trial that another command is running",
    "results": "print a sweep's table of trials",
    "report": "write a report of a sweep as one HTML file",
    "graph": "show a model's layers: as a table or as a picture",
    "analyze": "study the layers of a sweep's networks: CKA, figures, probes, your own job",
    "import": "bring in a network that was trained elsewhere",
    "gc": "remove what a store needs no more, and checkpoints over a budget",
    "chaos": "try out what survives on your machine or cluster: kill, damage, fill up, and check",
    "rebuild": "make tables and MLflow anew from the trial folders",
}
"""Every subcommand with its help; ``nnray.cli.NAME`` has ``add_arguments(parser)`` and ``run(arguments)``."""

_MODULES = {"import": "import_"}
"""Subcommands whose name cannot be a module's."""

EXIT_OK, EXIT_FAILED_TRIALS, EXIT_MISTAKE, EXIT_INTERRUPTED = 0, 1, 2, 130


_DISK_TROUBLE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.ECONNABORTED, errno.EBUSY),  # of an object store
)


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose error is one line, without the usage in front."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Print the mistake and leave with status 2."""
        self.exit(EXIT_MISTAKE, f"{self.prog}: error: {masked_text(message)} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (without the program's name) and return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in words if not word.startswith("-")), None)
    if command is None or command not in COMMANDS or words[0] != command:
        return _top_level(words, command)
    module = importlib.import_module(f"nnray.cli.{_MODULES.get(command, command)}")
    parser = OneLineParser(
        prog=f"nnray {command}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    try:
        arguments, rest = parser.parse_known_args(words[1:])
        if rest and not getattr(arguments, "takes_keys", False):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        arguments.keys = rest
        arguments.command_line = masked_command(["nnray", *words])
        arguments.words = words
        if command != "sweep" and runs_elsewhere(arguments):
            return run_elsewhere(arguments)
        with sigterm_interrupts():
            return module.run(arguments)
    except NnrayError as error:
        print(f"nnray: error: {masked_text(str(error))}", file=sys.stderr)
        return EXIT_MISTAKE
    except BrokenPipeError:  # `nnray results ... | head`
        sys.stderr.close()
        return EXIT_OK
    except OSError as error:
        if error.errno not in _DISK_TROUBLE:
            raise
        hint = "; nothing is lost, run it again when the store is back" if error.errno == errno.ECONNABORTED else ""
        print(f"nnray: error: {error.strerror}: {error.filename or 'while writing'}{hint}", file=sys.stderr)
        return EXIT_MISTAKE
    except KeyboardInterrupt:
        print("nnray: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _top_level(words: Sequence[str], command: str | None) -> int:
    if command is not None and words[0] == command:
        print(f"nnray: error: there is no command {command!r}{did_you_mean(command, COMMANDS)}", file=sys.stderr)
        return EXIT_MISTAKE
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    parser = OneLineParser(
        prog="nnray",
        description="Train grids of small networks on Ray, keep every one of them, and study all their layers.",
        epilog=f"commands:\n{listing}\n\nnnray COMMAND --help tells the rest.",
        usage="nnray COMMAND [OPTIONS]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    if parser.parse_args(words).version:
        print(f"nnray {version('nnray')}")
    else:
        parser.print_help()
    return EXIT_OK
