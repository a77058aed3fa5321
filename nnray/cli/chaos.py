"""Do harm on purpose and check that nothing is lost: for your own machine, file system or cluster.

A small study is trained once without faults, then again in every episode, and something goes wrong: processes are
killed, the disk fills up, files are damaged. Then the study is finished as usual. All trials must be complete, none
trained twice, their metrics and weights the same to the bit, the tables readable at every moment and equal to what
nnray rebuild makes, and MLflow must have a run for each. What must hold and does not is told, with the seed that
repeats the episode.

It works in a new folder of the place that --store names, and touches no results that are there. The exit status is 0
if everything held, 1 if something did not, 2 for a mistake in the input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnray.cli.store_option import store_paths

if TYPE_CHECKING:
    from rich.console import Console

    from nnray.chaos import Episode

_EPISODES = 22


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "space", metavar="SPACE", nargs="?", type=Path, help="a search space of seconds (default: three tiny trials)"
    )
    parser.add_argument(
        "--store", metavar="PLACE", help="where to work: in a new folder in there (else as for nnray sweep)"
    )
    parser.add_argument("--episodes", metavar="N", type=int, default=_EPISODES, help=f"how many ({_EPISODES})")
    parser.add_argument(
        "--seed", metavar="S", type=int, default=0, help="the first episode's; the next one has S+1 (0)"
    )
    parser.add_argument("--faults", metavar="A,B,...", help="these alone, one after another; --list names them")
    parser.add_argument("--address", help="your Ray cluster, for the faults on Ray (else one is started here)")
    parser.add_argument("--list", action="store_true", help="list the faults and exit")
    parser.add_argument("--keep", action="store_true", help="keep the stores of all episodes, not just of broken ones")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from rich.console import Console

    from nnray.chaos import FAULTS, Campaign, faults_at, run_campaign
    from nnray.cli.main import EXIT_FAILED_TRIALS, EXIT_OK, main

    console = Console(highlight=False)
    if arguments.list:
        for name, fault in FAULTS.items():
            console.print(f"{name:<12}  {fault.about}", markup=False, soft_wrap=True)
        return EXIT_OK
    place = store_paths(arguments.store).root
    campaign = Campaign(
        place,
        arguments.space,
        arguments.episodes,
        arguments.seed,
        tuple(arguments.faults.split(",")) if arguments.faults else faults_at(place),
        arguments.address,
        arguments.keep,
    )
    episodes = _played(run_campaign(campaign, main), campaign.episodes, console)
    _print_table(episodes, console)
    broken = [episode for episode in episodes if episode.broken]
    for episode in broken:
        console.print(f"\n{episode.fault}, seed {episode.seed}: {'; '.join(episode.deeds)}", markup=False)
        for what in episode.broken:
            console.print(f"  {what}", markup=False, soft_wrap=True)
        again = f"nnray chaos --faults {episode.fault} --seed {episode.seed} --episodes 1"
        console.print(f"  kept in {episode.folder}; again: {again}", markup=False, soft_wrap=True)
    return EXIT_FAILED_TRIALS if broken else EXIT_OK


def _played(episodes: Iterator[Episode], total: int, console: Console) -> list[Episode]:
    """Play all episodes behind a progress bar."""
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not sys.stdout.isatty()) as progress:
        task = progress.add_task("without faults", total=total)
        played = []
        for episode in episodes:
            played.append(episode)
            broken = sum(bool(episode.broken) for episode in played)
            progress.update(task, advance=1, description=f"{episode.fault}{f', {broken} broken' if broken else ''}")
    return played


def _print_table(episodes: Sequence[Episode], console: Console) -> None:
    from rich.table import Column, Table

    table = Table("fault", *(Column(name, justify="right") for name in ("episodes", "kills", "reads", "s", "broken")))
    for name in dict.fromkeys(episode.fault for episode in episodes):
        table.add_row(name, *_sums([episode for episode in episodes if episode.fault == name]))
    table.add_section()
    table.add_row("all", *_sums(episodes))
    console.print(table)


def _sums(episodes: Sequence[Episode]) -> tuple[str, ...]:
    return (
        str(len(episodes)),
        str(sum(episode.kills for episode in episodes)),
        str(sum(episode.reads for episode in episodes)),
        f"{sum(episode.seconds for episode in episodes):.0f}",
        str(sum(bool(episode.broken) for episode in episodes)),
    )
