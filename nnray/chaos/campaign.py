"""Many episodes, one after another, each decided by its own seed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

from nnray.chaos.cluster import Cluster, cluster_at
from nnray.chaos.episode import Episode, play
from nnray.chaos.faults import FAULTS
from nnray.chaos.launcher import Launcher, Main
from nnray.chaos.stage import Stage
from nnray.chaos.study import Study, study_of, write_tiny_space
from nnray.errors import SpaceError, did_you_mean

_STUDIES = ("without-faults", "longer-without-faults")
"""Where the studies are trained first."""


@dataclass(frozen=True)
class Campaign:
    """What is to be played.

    Attributes:
        place: A folder; the campaign works in a new one in there.
        space: The file of a search space, or None for three tiny trials.
        episodes: How many episodes.
        seed: The first one's; each further one has the next number.
        faults: The names of the faults, which follow one another.
        address: The Ray cluster for the faults that want one; None for one that is started here.
        keep: Whether the stores of all episodes are kept, not just of those in which something is broken.
    """

    place: Path
    space: Path | None = None
    episodes: int = 20
    seed: int = 0
    faults: tuple[str, ...] = tuple(FAULTS)
    address: str | None = None
    keep: bool = False

    def __post_init__(self) -> None:
        for name in self.faults:
            if name not in FAULTS:
                raise SpaceError(f"there is no fault {name!r}{did_you_mean(name, FAULTS)}")
        if self.space is not None and not self.space.is_file():
            raise SpaceError(f"there is no search space {self.space}")


def run_campaign(campaign: Campaign, main: Main) -> Iterator[Episode]:
    """Play the episodes and yield each when it is over.

    Args:
        campaign: What is to be played.
        main: What a command line of ``nnray`` does.

    Raises:
        SpaceError: If the space cannot be trained even without faults, or the cluster cannot be joined.
    """
    campaign.place.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="nnray-chaos-", dir=campaign.place.absolute()))
    try:
        with ExitStack() as stack:
            yield from _episodes(campaign, Launcher(main), folder, stack)
    finally:
        if not any(path.is_dir() and path.name not in _STUDIES for path in folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)


def _episodes(campaign: Campaign, launcher: Launcher, folder: Path, stack: ExitStack) -> Iterator[Episode]:
    cluster: Cluster | None = None
    studies: dict[str, Study] = {}
    for number in range(campaign.episodes):
        fault, seed = FAULTS[campaign.faults[number % len(campaign.faults)]], campaign.seed + number
        name = _STUDIES[fault.on_ray and campaign.space is None]
        if name not in studies:
            space = campaign.space or write_tiny_space(folder / f"{name}.yaml", longer=fault.on_ray)
            studies[name] = study_of(launcher, space.absolute(), folder / name)
        if fault.on_ray and cluster is None:
            cluster = stack.enter_context(cluster_at(campaign.address))
        place = folder / f"{seed:04d}-{fault.name}"
        stage = Stage(launcher, studies[name], place, Random(seed), cluster if fault.on_ray else None)
        yield play(fault, stage, seed, campaign.keep)
