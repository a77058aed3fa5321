"""What a store promises of claims and files, wherever it lies: proven with real processes."""

from __future__ import annotations

import functools
import itertools
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest
from contenders import LEASE_S, OBJECTS_GRAIN_S, Contender, forbid_links_and_locks, set_clock

from nnray.store.files import ObjectPath, write_text
from nnray.store.format import settle_format

HOURS = 3600.0
PLACES = ["disk", "disk with leases", "no links or locks", "bucket"]
TAKE_OVER_S = 3 * (LEASE_S + OBJECTS_GRAIN_S)

Start = Callable[..., Contender]


@pytest.fixture(params=PLACES, ids=[place.replace(" ", "-") for place in PLACES])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(place: str, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A store's folder."""
    if place == "bucket":
        folder: Any = ObjectPath(request.getfixturevalue("bucket"))
    else:
        folder = tmp_path
        settle_format(folder, "locks" if place == "disk" else "leases")
    return folder  # type: ignore[no-any-return]


@pytest.fixture
def start(root: Path, place: str, processes: BaseContext) -> Iterator[Start]:
    """Start a contender for one claim; what is given it is done in its process first."""
    started: list[Contender] = []

    def one(*prepare: Callable[[], None]) -> Contender:
        shims = (forbid_links_and_locks,) if place == "no links or locks" else ()
        started.append(Contender(processes, root / "claim.lock", *shims, *prepare))
        return started[-1]

    yield one
    for contender in started:
        contender.end()


def test_one_of_many_takes_a_claim(start: Start) -> None:
    contenders = [start() for _ in range(8)]
    for contender in contenders:
        contender.ask("is_claimed")  # all are up
    for _ in range(3):
        moment = time.time_ns() + 100_000_000
        for contender in contenders:
            contender.tell("acquire at", moment)
        taken = [contender.answer() for contender in contenders]
        assert taken.count(True) == 1
        winner = contenders[taken.index(True)]
        assert winner.ask("check") == "held"
        assert [contender.ask("is_claimed") for contender in contenders[:2]] == [True, True]
        winner.ask("release")


def test_what_is_released_is_free_at_once(start: Start) -> None:
    one, other = start(), start()
    assert not one.ask("is_claimed")
    assert one.ask("acquire")
    said, own = one.ask("owner")
    assert said == own
    assert not other.ask("acquire")
    one.ask("release")
    assert not other.ask("is_claimed")
    assert other.ask("acquire")
    assert other.ask("owner")[0] != own
    assert one.ask("check") != "held"


def test_a_dead_holder_is_followed(start: Start) -> None:
    dead, next_one = start(), start()
    assert dead.ask("acquire")
    dead.signal(signal.SIGKILL)
    assert _in_time(lambda: next_one.ask("acquire"))
    assert next_one.ask("check") == "held"


def test_a_holder_that_is_busy_is_not_followed(start: Start) -> None:
    busy, other = start(), start()
    assert busy.ask("acquire")
    end = time.monotonic() + 2 * LEASE_S
    while time.monotonic() < end:
        busy.tell("compute", LEASE_S / 2)
        assert not other.ask("acquire")
        busy.answer()
        time.sleep(LEASE_S / 5)
    assert busy.ask("check") == "held"


def test_a_holder_that_was_cut_off_may_write_no_more_once_it_was_followed(start: Start, place: str) -> None:
    zombie, successor = start(), start()
    assert zombie.ask("acquire")
    zombie.signal(signal.SIGSTOP)
    followed = _in_time(lambda: successor.ask("acquire"), 2 * LEASE_S if place == "disk" else TAKE_OVER_S)
    zombie.signal(signal.SIGCONT)
    if place == "disk":
        assert not followed  # the kernel knows that it lives
        assert zombie.ask("check") == "held"
        return
    assert followed
    assert "is no longer this process's" in zombie.ask("check")
    time.sleep(LEASE_S)  # and it doesn't come back, nor keep its successor from renewing
    assert successor.ask("check") == "held"
    assert "is no longer this process's" in zombie.ask("check")
    zombie.ask("release")
    assert successor.ask("check") == "held"
    assert not start().ask("acquire")


def test_a_holder_that_was_cut_off_goes_on_if_nobody_followed(start: Start) -> None:
    holder, other = start(), start()
    assert holder.ask("acquire")
    holder.signal(signal.SIGSTOP)
    time.sleep(LEASE_S + 1.5 * OBJECTS_GRAIN_S)
    holder.signal(signal.SIGCONT)
    assert holder.ask("check") == "held"
    assert not other.ask("acquire")


def test_clocks_need_not_agree(start: Start) -> None:
    holder, *others = start(), *(start(functools.partial(set_clock, ahead)) for ahead in (5 * HOURS, -5 * HOURS))
    assert holder.ask("acquire")
    end = time.monotonic() + LEASE_S + 1.5 * OBJECTS_GRAIN_S
    while time.monotonic() < end:
        assert [other.ask("is_claimed") for other in others] == [True, True]
        assert [other.ask("acquire") for other in others] == [False, False]
        time.sleep(0.05)
    for former, later in itertools.pairwise([holder, *others]):
        former.signal(signal.SIGKILL)
        assert _in_time(lambda later=later: later.ask("acquire"))


def test_work_for_one_at_a_time(start: Start, root: Path) -> None:
    write_text(root / "counter", "0")
    contenders = [start() for _ in range(3)]
    for contender in contenders:
        contender.tell("count", root / "counter", 5)
    for contender in contenders:
        contender.answer()
    assert (root / "counter").read_text() == "15"


def test_a_file_is_created_by_one_of_many(start: Start, root: Path) -> None:
    contenders = [start() for _ in range(4)]
    for contender in contenders:
        contender.tell("create", root)
    assert sum(contender.answer() for contender in contenders) == 20


def test_a_reader_finds_the_old_file_or_the_new_one(start: Start, root: Path) -> None:
    write_text(root / "file", "\n".join(["-1"] * 2000))
    writers = [start(), start()]
    reads, seen = 0, set()
    while reads < 100 or (len(seen) < 3 and reads < 100_000):  # on a busy machine, until it has a turn between theirs
        for writer in writers:
            writer.tell("replace", root / "file", 50)
        last = ""
        for _ in range(1000):
            if last == "49" and reads >= 100:
                break
            last, *lines = (root / "file").read_text().split("\n")
            assert lines == [last] * 1999
            seen.add(last)
            reads += 1
        for writer in writers:
            writer.answer()
    assert len(seen) > 2


def _in_time(condition: Callable[[], bool], seconds: float = TAKE_OVER_S) -> bool:
    """Tell whether a condition comes true before long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False
