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
from nnray.store.files import check_reachable, is_object

_STUDIES = ("without-faults", "longer-without-faults")
"""Where the studies are trained first."""


def faults_at(place: Path) -> tuple[str, ...]:
    """Return the names of the faults that a store at ``place`` can meet."""
    return tuple(name for name, fault in FAULTS.items() if fault.in_buckets or not is_object(place))


@dataclass(frozen=True)
class Campaign:
    """What is to be played.

    Attributes:
        place: A folder, or one in an object store; the campaign works in a new one in there. What commands print is
            kept beside the store, for an object store in a folder for temporary files of this machine.
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
            if name not in (known := faults_at(self.place)):
                raise SpaceError(f"{name} is for a store in a folder; in an object store there are: {', '.join(known)}")
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
    check_reachable(campaign.place)
    campaign.place.mkdir(parents=True, exist_ok=True)
    within = None if is_object(campaign.place) else campaign.place.absolute()
    folder = Path(tempfile.mkdtemp(prefix="nnray-chaos-", dir=within))
    stores = folder if within is not None else campaign.place / folder.name
    try:
        with ExitStack() as stack:
            yield from _episodes(campaign, Launcher(main), folder, stores, stack)
    finally:
        if not any(path.is_dir() and path.name not in _STUDIES for path in folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)


def _episodes(
    campaign: Campaign, launcher: Launcher, folder: Path, stores: Path, stack: ExitStack
) -> Iterator[Episode]:
    cluster: Cluster | None = None
    studies: dict[str, Study] = {}
    for number in range(campaign.episodes):
        fault, seed = FAULTS[campaign.faults[number % len(campaign.faults)]], campaign.seed + number
        name = _STUDIES[fault.on_ray and campaign.space is None]
        if name not in studies:
            space = campaign.space or write_tiny_space(folder / f"{name}.yaml", longer=fault.on_ray)
            studies[name] = study_of(launcher, space.absolute(), folder / name, stores / name)
        if fault.on_ray and cluster is None:
            cluster = stack.enter_context(cluster_at(campaign.address))
        episode = f"{seed:04d}-{fault.name}"
        nodes = cluster if fault.on_ray else None
        stage = Stage(launcher, studies[name], folder / episode, stores / episode, Random(seed), nodes)
        yield play(fault, stage, seed, campaign.keep)
