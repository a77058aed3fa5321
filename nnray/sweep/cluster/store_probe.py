"""Find out, before the first trial, whether every node of a cluster can use the store."""

from __future__ import annotations

import contextlib
import socket
import time
import uuid
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from nnray.errors import NnrayError, StoreError
from nnray.store.claim import Claim, is_claimed
from nnray.store.files import is_local, path_of, remove_tree, write_text
from nnray.store.format import read_format, settle_format

_ANSWER_S = 60.0
"""How long a node may take: it may have to start a process first."""
_MOST_NAMED = 8
_APPEARS_S = 30.0
_NOT_SHARED = "locks of other hosts are not seen there"


def check_store(root: Path) -> None:
    """Refuse a store that some node of the cluster that this process has joined cannot use.

    A node must see the folder that this host sees, see the claims in it, and write what this host can read. Where locks
    are not shared between the nodes, a store that is new claims by leases from then on.

    Args:
        root: The store's folder; made if it is not there.

    Raises:
        StoreError: Names the nodes and what is wrong with each. Nothing is left in the store.
    """
    import ray

    nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    new = [folder for folder in (root, *root.parents) if is_local(folder) and not folder.exists()]
    place = root / f".probe-{uuid.uuid4().hex}"
    wrong: dict[str, str] = {}
    try:
        place.mkdir(parents=True)
        write_text(place / "token", place.name)
        settled = read_format(root)
        settle_format(place, settled.claims if settled else None)  # as if it were the store
        with Claim.acquire(place / "lock") or contextlib.nullcontext():
            wrong = _ask(nodes, place)
        if settled is None and wrong and set(wrong.values()) == {_NOT_SHARED}:
            settle_format(root, "leases")
            wrong = {}
    except OSError as error:
        raise StoreError(f"cannot write to the store {root}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            remove_tree(place)
        if wrong:
            _remove(new)
    if wrong:
        advice = _advice(root, wrong.values())
        raise StoreError(f"{len(wrong)} of {len(nodes)} nodes cannot use the store {root}: {_named(wrong)}; {advice}")


def wait_for_folder(folder: Path) -> None:
    """Wait a moment for a trial's folder to be seen: on a node that has just started, shared folders may come late.

    To wait also keeps a node without the store from failing trial after trial as fast as it is given them.

    Raises:
        StoreError: If it does not appear.
    """
    deadline = time.monotonic() + _APPEARS_S
    while not folder.is_dir():
        if time.monotonic() > deadline:
            raise StoreError(f"{socket.gethostname()} cannot use the store: it sees no {folder}; {_advice(folder)}")
        time.sleep(0.5)


def _ask(nodes: Mapping[str, Mapping[str, Any]], place: Path) -> dict[str, str]:
    """Return what is wrong on the nodes where something is, by the name of the host."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(probe)
    answers = {
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
            str(place), node
        ): node
        for node in nodes
    }
    ray.wait(list(answers), num_returns=len(answers), timeout=_ANSWER_S)
    reasons = {node: _reason(answer) for answer, node in answers.items()}
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    wrong = {}
    for node, reason in reasons.items():
        if node not in alive:  # it was lost before it could answer: nothing will be trained there
            continue
        if reason is None and not (place / node).exists():
            reason = "what it writes there does not arrive here"
        if reason is not None:
            wrong[f"{nodes[node]['NodeManagerHostname']} ({nodes[node]['NodeManagerAddress']})"] = reason
    return wrong


def _reason(answer: Any) -> str | None:
    import ray

    try:
        return ray.get(answer, timeout=0.1)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(answer, force=True)
        return f"it has not answered for {_ANSWER_S:g} s"
    except ray.exceptions.RayTaskError as error:
        return " ".join(f"{type(error.cause).__name__}: {error.cause}".split())
    except ray.exceptions.RayError as error:
        return " ".join(str(error).split())


def probe(folder: str, node: str) -> str | None:
    """Return what is wrong with the store on this host, None if nothing is; runs on every node."""
    place = path_of(folder)
    try:
        if (place / "token").read_text() != place.name:
            return "it sees another folder of that name"
        if not is_claimed(place / "lock"):
            return _NOT_SHARED
        write_text(place / node, "")
    except FileNotFoundError:
        return "it sees no such folder, or another one"
    except (OSError, NnrayError) as error:
        return " ".join(str(error).split())
    return None


def _advice(place: Path, reasons: Collection[str] = ()) -> str:
    if _NOT_SHARED in reasons:
        return "mount it so that locks are shared, or take a new store, which will do without them"
    if is_local(place):
        return "put the store on a file system that all nodes share"
    return "every node needs s3fs and the credentials and endpoint of the store (AWS_* variables or ~/.aws)"


def _named(wrong: Mapping[str, str]) -> str:
    named = [f"{host}: {reason}" for host, reason in list(wrong.items())[:_MOST_NAMED]]
    more = [f"and {len(wrong) - _MOST_NAMED} more"] if len(wrong) > _MOST_NAMED else []
    return "; ".join(named + more)


def _remove(folders: Iterable[Path]) -> None:
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
