"""Searches as a person runs them: every searcher end to end on digits, and one that is killed half way."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pandas as pd
import pytest
from commands import finish, nnray, start, wait_until

from nnray.cli.main import main
from nnray.store.membership import Membership, members
from nnray.trial.paths import StorePaths

SPACE = """
from nnray import Sweep, grid
from ray import tune
{preparation}
sweep = Sweep(
    name="s",
    base={{
        "model": "MLP",
        "data": {{"class_path": "Digits", "init_args": {{"batch_size": 256}}}},
        "trainer": {{"max_epochs": {epochs}, "callbacks": {callbacks}}},
    }},
    space={space},
    search={search},
    num_samples={samples},
    {further}
)
"""
MIXED = '{"optimizer.lr": tune.loguniform(1e-4, 1e-1), "model.width": grid(8, 16), "threads": 1}'
FLOATS = '{"optimizer.lr": tune.uniform(1e-4, 1e-1), "optimizer.weight_decay": tune.uniform(0.0, 0.5)}'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNRAY_STORE", raising=False)
    return tmp_path


def write(
    search: object, space: str = MIXED, samples: int = 4, preparation: str = "", epochs: int = 1, further: str = ""
) -> None:
    callbacks = [{"class_path": "user_code.Slow", "init_args": {"seconds": 0.3}}] if epochs > 1 else []
    text = SPACE.format(
        search=search if preparation else repr(search),
        space=space,
        samples=samples,
        preparation=preparation,
        epochs=epochs,
        callbacks=callbacks,
        further=further,
    )
    Path("s.py").write_text(text)


def trials(store: str = "nnray-store") -> pd.DataFrame:
    return pd.read_parquet(Path(store) / "tables/s/trials.parquet")


RAYS = """
from ray.tune.search.optuna import OptunaSearch
import optuna
searcher = OptunaSearch(sampler=optuna.samplers.TPESampler(seed=1))
"""
OWN_SPACE = """
from ray.tune.search.nevergrad import NevergradSearch
import nevergrad as ng
own = ng.p.Dict(**{"optimizer.lr": ng.p.Log(lower=1e-4, upper=1e-1), "model.width": ng.p.Choice([8, 16])})
own.random_state.seed(1)
searcher = NevergradSearch(ng.optimizers.OnePlusOne, space=own, metric="val_acc", mode="max")
"""
SEARCHERS = {
    "random": ("random", MIXED, ""),
    "TPE": ("optuna", MIXED, ""),
    "CMA-ES": ({"name": "optuna", "sampler": "cmaes"}, FLOATS, ""),
    "multi-objective": (
        {"name": "optuna", "sampler": "nsgaii", "objectives": {"val_acc": "max", "val_loss": "min"}},
        *(MIXED, ""),
    ),
    "Nevergrad": ("nevergrad", MIXED, ""),
    "Nevergrad's OnePlusOne": ({"name": "nevergrad", "optimizer": "OnePlusOne"}, MIXED, ""),
    "one of Ray Tune's by name": ("bayesopt", FLOATS, ""),
    "Ray Tune's object": ("searcher", MIXED, RAYS),
    "Ray Tune's object with a space of its own": ("searcher", "{}", OWN_SPACE),
}


@pytest.mark.filterwarnings("default")  # what loading a searcher's package says
@pytest.mark.parametrize(("search", "space", "preparation"), SEARCHERS.values(), ids=SEARCHERS)
def test_every_searcher(
    folder: Path, capsys: pytest.CaptureFixture[str], search: object, space: str, preparation: str
) -> None:
    write(search, space, 3, preparation)
    assert main(["sweep", "s.py", "--in-process"]) == 0
    assert "0 of 3 trials complete, 3 to ask for" in capsys.readouterr().out
    before = trials()
    assert before["status"].tolist() == ["completed"] * 3
    # More of it, in a new run of the command: the first ones stay as they are.
    write(search, space, 5, preparation)
    assert main(["sweep", "s.py", "--dry-run"]) == 0
    assert "3 of 5 trials complete, 2 to ask for" in capsys.readouterr().out
    assert main(["sweep", "s.py", "--in-process"]) == 0
    after = trials()
    assert len(after) == 5
    assert after["attempts"].tolist() == [1] * 5
    assert after["trial"].tolist()[:3] == before["trial"].tolist()
    places = [Membership.read(paths, "s") for paths in members(StorePaths(folder / "nnray-store"), "s")]
    told = {place.position: place.asks[0].values for place in places if place is not None}
    assert [told[position][0] for position in range(5)] == pytest.approx(after["best/val_acc"].tolist())
    if isinstance(search, dict) and "objectives" in search:
        assert all(len(values) == 2 for values in told.values())


def test_killed_half_way_and_started_again(folder: Path) -> None:
    """On Ray, with SIGKILL: no trial is lost, none is repeated, and the search goes on where it was."""
    write("optuna", samples=6, epochs=3)
    store = StorePaths(folder / "nnray-store")
    process = start(folder, "sweep", "s.py")
    wait_until(lambda: process.poll() is not None or len([*store.trials.glob("*/record.json")]) >= 3)
    assert process.poll() is None, finish(process)
    wait_until(lambda: any('"completed"' in path.read_text() for path in store.trials.glob("*/record.json")))
    process.send_signal(signal.SIGKILL)
    finish(process)
    wait_until(lambda: not _workers_of(store))
    then = {path.parent.name: json.loads(path.read_text()) for path in store.trials.glob("*/record.json")}
    done = {signature for signature, record in then.items() if record["status"] == "completed"}
    listed = {paths.signature: Membership.read(paths, "s") for paths in members(store, "s")}
    assert done
    assert len(listed) < 6

    status, output = nnray(folder, "sweep", "s.py")
    assert status == 0, output
    assert f"{len(done)} of 6 trials complete" in output
    assert f"{6 - len(listed)} to ask for" in output
    table = trials().set_index("trial")
    assert len(table) == 6
    assert set(table["status"]) == {"completed"}
    assert listed.keys() <= set(table.index)
    assert (table.loc[list(done), "attempts"] == 1).all()
    begun = then.keys() - done
    assert (table.loc[list(begun), "attempts"] == 2).all()
    assert (table.drop(index=list(then))["attempts"] == 1).all()
    metrics = pd.read_parquet(folder / "nnray-store/tables/s/metrics.parquet")
    assert not metrics.duplicated(["trial", "epoch"]).any()
    assert len(metrics) == 6 * 3
    # The searcher was told of everything once, in one order.
    asks = [ask for paths in members(store, "s") for ask in Membership.read(paths, "s").asks]  # type: ignore[union-attr]
    assert sorted(ask.number for ask in asks) == list(range(len(asks)))
    events = sorted(clock for ask in asks for clock in (ask.asked, ask.told))
    assert events == list(range(2 * len(asks)))


def _workers_of(store: StorePaths) -> list[str]:
    from nnray.store.claim import is_claimed

    return [paths.name for paths in store.trials.glob("*") if is_claimed(paths / "claim.lock")]


@pytest.mark.filterwarnings("default")
def test_a_metric_that_is_never_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("random", further='metric="val_accuracy",')
    assert main(["sweep", "s.py", "--in-process"]) == 2
    line = "nnray: error: metric: no trial has reported 'val_accuracy'; did you mean 'val_acc'?"
    assert line in capsys.readouterr().err
    assert len(trials()) == 1


@pytest.mark.filterwarnings("default")
def test_a_searcher_that_does_not_exist(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("optunna")
    assert main(["sweep", "s.py", "--in-process"]) == 2
    line = "nnray: error: search: there is no searcher 'optunna'; did you mean 'optuna'?"
    assert capsys.readouterr().err.strip() == line
    assert not Path("nnray-store").exists()


@pytest.mark.filterwarnings("default")
def test_a_search_without_python(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {
        "name": "s",
        "base": {"model": "MLP", "data": "Digits", "trainer": {"max_epochs": 1}},
        "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}, "model.width": [8, 16]},
        "search": {"name": "optuna", "sampler": "tpe", "seed": 3},
        "num_samples": 2,
    }
    Path("s.json").write_text(json.dumps(values))
    assert main(["sweep", "s.json", "--in-process"]) == 0
    assert "s: search optuna (tpe): 0 of 2 trials complete, 2 to ask for" in capsys.readouterr().out


@pytest.mark.filterwarnings("default")
def test_a_failed_trial_makes_the_status_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("random", '{"model": grid("MLP", "user_code.Raises"), "seed": grid(0, 1)}', samples=9)
    assert main(["sweep", "s.py", "--in-process"]) == 1
    out = capsys.readouterr().out
    assert "s: 2 of 4 trials complete" in out
    assert "failed: model=Raises seed=0" in out
    assert main(["sweep", "s.py", "--in-process"]) == 1
    out = capsys.readouterr().out
    assert "2 failed before" in out
    assert "0 to ask for" in out
