"""Work spread over Ray actors, or done here: tasks in, results out, whatever happens to single ones."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from threadpoolctl import ThreadpoolController, threadpool_limits

from analysis.memory import freed_memory_kept, keep_freed_memory
from nnray.errors import AnalysisError, NnrayError
from nnray.loopback import on_loopback
from nnray.redaction import masked_text

Task = TypeVar("Task")
Work = Callable[[Any], Any]
"""What a worker does with a task; both, and what it returns, can be pickled."""

_DEATHS = 3
"""A task whose actor dies is given to another one this many times."""

_OBJECT_STORE_BYTES = 500_000_000


@dataclass(frozen=True)
class Actors:
    """Where work is done.

    Attributes:
        count: How many Ray actors; 0 for this process, None for one per core or share of a GPU.
        gpu: The share of a GPU that an actor holds.
        address: The Ray cluster to join; None for ``$RAY_ADDRESS``, or else this machine.
    """

    count: int | None = 0
    gpu: float = 0.0
    address: str | None = None

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 0:
            raise AnalysisError(f"actors: {self.count} is no number of actors; 0 computes in this process")
        if self.gpu < 0:
            raise AnalysisError(f"actors: {self.gpu} is no share of a GPU")


def actors_of(actors: Actors | int | None) -> Actors:
    """Return where work is done; a number is how many actors there are, None is this process.

    Raises:
        AnalysisError: If it is something else.
    """
    if actors is None or isinstance(actors, Actors):
        return actors or Actors()
    if isinstance(actors, bool) or not isinstance(actors, int):
        raise AnalysisError(f"actors is {actors!r}, where a number or analysis.Actors(...) is expected")
    return Actors(actors)


@dataclass(frozen=True)
class Done(Generic[Task]):
    """What became of a task.

    Attributes:
        task: The task.
        value: What the work returned; None if it failed.
        error: Why it failed, in one line; None if it did not.
    """

    task: Task
    value: Any
    error: str | None


class Pool(Protocol):
    """Workers that stay for the whole of a job."""

    def work_through(
        self, tasks: Sequence[Task], make_work: Callable[..., Work], shared: tuple[Any, ...] = ()
    ) -> Iterator[Done[Task]]:
        """Do every task once, and yield each when it is done.

        The results do not depend on where and in which order tasks are done: each runs on one thread, in a process
        that does one after another.

        Args:
            tasks: What is to be done.
            make_work: Called once in each worker with ``shared``; returns the function that does a task.
            shared: Large arguments: held once per machine.
        """
        ...


@contextlib.contextmanager
def pool_of(actors: Actors | int | None) -> Iterator[Pool]:
    """Give a pool for as long as it is needed: this process by default, else Ray actors.

    Raises:
        AnalysisError: If the cluster cannot be joined.
    """
    actors = actors_of(actors)
    if actors.count == 0:
        yield _Here()
        return
    with _ray(actors.address):
        pool = _OnRay(actors)
        try:
            yield pool
        finally:
            pool.close()


class _Here:
    def work_through(
        self, tasks: Sequence[Task], make_work: Callable[..., Work], shared: tuple[Any, ...] = ()
    ) -> Iterator[Done[Task]]:
        with freed_memory_kept():
            work, threads = make_work(*shared), _Threads()
            for task in tasks:
                with threads.only_one():
                    value, error = _attempt(work, task)
                yield Done(task, value, error)


class _Threads:
    """The number of threads changes the last bits of a result."""

    def __init__(self) -> None:
        self._modules = 0

    @contextlib.contextmanager
    def only_one(self) -> Iterator[None]:
        if len(sys.modules) != self._modules:  # to look for libraries takes milliseconds
            self._libraries, self._modules = ThreadpoolController(), len(sys.modules)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with self._libraries.limit(limits=1):  # NumPy's and scikit-learn's
                yield
        finally:
            torch.set_num_threads(threads)


def _attempt(work: Work, task: Any) -> tuple[Any, str | None]:
    try:
        return work(task), None
    except NnrayError as error:
        return None, masked_text(str(error))
    except Exception as error:  # one network's failure is a row, not the end of the job
        place = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({place.name}, line {place.lineno})"
        return None, masked_text(" ".join(reason.split()))


class _Worker:
    """Lives in an actor."""

    def __init__(self, path: list[str]) -> None:
        sys.path[:0] = [entry for entry in path if entry not in sys.path]
        torch.set_num_threads(1)
        threadpool_limits(1)
        keep_freed_memory()

    def prepare(self, make_work: Callable[..., Work], *shared: Any) -> None:
        self._work = make_work(*shared)

    def do(self, task: Any) -> tuple[Any, str | None]:
        return _attempt(self._work, task)


class _OnRay:
    def __init__(self, actors: Actors) -> None:
        import ray

        there = ray.cluster_resources()
        if actors.gpu > there.get("GPU", 0.0):
            raise AnalysisError(f"actors: each asks for {actors.gpu:g} GPU, and there is {there.get('GPU', 0.0):g}")
        self._remote = ray.remote(num_cpus=1, num_gpus=actors.gpu, max_restarts=0)(_Worker)
        self._most = _count(actors, there)
        self._workers: list[Any] = []

    def close(self) -> None:
        """End the workers: others may be waiting for their cores."""
        import ray

        for worker in self._workers:
            ray.kill(worker)

    def work_through(
        self, tasks: Sequence[Task], make_work: Callable[..., Work], shared: tuple[Any, ...] = ()
    ) -> Iterator[Done[Task]]:
        import ray
        from ray.exceptions import RayActorError

        references = [ray.put(value) for value in shared]
        waiting: deque[tuple[Task, int]] = deque((task, 0) for task in tasks)
        busy: dict[Any, tuple[Any, Task, int]] = {}
        while len(self._workers) < min(len(tasks), self._most):
            self._workers.append(self._remote.remote(list(sys.path)))
        # A worker gets tasks once it runs: there may be fewer cores than workers, and some never start.
        starting = {worker.prepare.remote(make_work, *references): worker for worker in self._workers}
        idle: list[Any] = []
        failed_starts = 0
        while waiting or busy:
            while waiting and idle:
                worker, (task, deaths) = idle.pop(), waiting.popleft()
                busy[worker.do.remote(task)] = worker, task, deaths
            (ready, *_), _ = ray.wait([*busy, *starting], num_returns=1)
            if ready in starting:
                worker = starting.pop(ready)
                try:
                    ray.get(ready)
                except RayActorError as death:
                    failed_starts += 1
                    if failed_starts > _DEATHS:
                        line = " ".join(str(death).split())
                        raise AnalysisError(f"workers die before they have begun: {line[:300]}") from death
                    starting |= self._replace(worker, make_work, references)
                else:
                    idle.append(worker)
                continue
            worker, task, deaths = busy.pop(ready)
            try:
                value, error = ray.get(ready)
            except RayActorError as death:
                starting |= self._replace(worker, make_work, references)
                if deaths < _DEATHS:
                    waiting.append((task, deaths + 1))
                    continue
                line = " ".join(str(death).split())
                value, error = None, f"its worker died {deaths + 1} times: {line[:300]}"
            else:
                idle.append(worker)
            yield Done(task, value, error)

    def _replace(self, dead: Any, make_work: Callable[..., Work], references: list[Any]) -> dict[Any, Any]:
        """Start another worker and return it by the reference that says when it is ready."""
        self._workers.remove(dead)
        self._workers.append(self._remote.remote(list(sys.path)))
        return {self._workers[-1].prepare.remote(make_work, *references): self._workers[-1]}


def _count(actors: Actors, there: dict[str, float]) -> int:
    if actors.count is not None:
        return actors.count
    if actors.gpu:
        return max(1, int(there.get("GPU", 0.0) / actors.gpu + 1e-6))
    return max(1, int(there.get("CPU", 1.0)))


@contextlib.contextmanager
def _ray(address: str | None) -> Iterator[None]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    local: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    with contextlib.ExitStack() as stack:
        if not address:
            stack.enter_context(on_loopback())
        try:
            ray.init(
                address=address or "local", log_to_driver=False, logging_level="ERROR", **({} if address else local)
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            place = f"join the Ray cluster at {address}" if address else "start Ray"
            raise AnalysisError(f"cannot {place}: {' '.join(str(error).split())}") from error
        stack.callback(ray.shutdown)
        yield
