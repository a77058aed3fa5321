"""An actor that is killed in the middle of a job: another takes its place, and the result is the same to the bit."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.jobs import cka, extraction, mapping

MAKERS = {
    "cka": (cka, "make_gram_work"),
    "extract": (extraction, "make_extraction_work"),
    "figures": (mapping, "make_map_work"),
}


class KillsItsActorOnce:
    """Makes the work of a pool, in which the first actor that has done a network and begins another gets SIGKILL."""

    def __init__(self, make: object, mark: Path) -> None:
        self._make, self._mark = make, mark

    def __call__(self, *shared):
        work, done = self._make(*shared), []

        def dying(task):
            if done:
                try:
                    self._mark.touch(exist_ok=False)
                except FileExistsError:
                    return work(task)
                os.kill(os.getpid(), signal.SIGKILL)
            done.append(task)
            return work(task)

        return dying


@pytest.mark.parametrize("name", MAKERS)
def test_an_actor_that_is_killed_in_the_middle_changes_nothing(name, copied, ray_session, monkeypatch, tmp_path):
    networks = copied.epochs("all")
    options = {"layers": "linear", "n": 100} | ({"which": ["probe", "sparsity"]} if name == "figures" else {})
    here = getattr(networks, name)(**options, name="here")
    module, make = MAKERS[name]
    monkeypatch.setattr(module, make, KillsItsActorOnce(getattr(module, make), tmp_path / "killed"))
    actors = analysis.Actors(2, address=ray_session)
    killed = getattr(networks, name)(**options, name="killed", actors=actors)
    assert (tmp_path / "killed").exists()
    assert killed.errors.empty
    if name == "extract":
        files = [sorted((copied.store / "analysis" / job / "values").rglob("*.npy")) for job in ("here", "killed")]
        assert [path.parts[-2:] for path in files[0]] == [path.parts[-2:] for path in files[1]]
        assert all(one.read_bytes() == other.read_bytes() for one, other in zip(*files, strict=True))
    else:
        pd.testing.assert_frame_equal(pd.DataFrame(killed), pd.DataFrame(here), check_exact=True)
