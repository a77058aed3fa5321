"""From a sweep to its trials."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray import tune

from nnray import Sweep, grid, zipped
from nnray.errors import SpaceError
from nnray.space import Resources
from nnray.sweep.planning.expansion import expand
from nnray.sweep.planning.plan import make_plan
from nnray.trial import resolve, trial_names
from nnray.trial.name import configuration_names

BASE = {"model": "MLP", "data": "Digits", "model.width": 4}


def expansion(given=None, **fields):
    return expand(Sweep(**{"name": "s", "base": BASE, **fields}), Path(), given)


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.lists(st.sampled_from([0.1, 1, 1.0, 0.5]), min_size=1, max_size=4),
    st.integers(1, 3),
)
def test_each_signature_once_and_nothing_lost(widths, rates, replicates):
    made = expansion(space={"model.width": grid(widths), "optimizer.lr": grid(rates)}, replicates=replicates)
    signatures = [configuration.full_signature for configuration in made.configurations]
    distinct = len(set(widths)) * len(set(rates)) * replicates
    assert len(set(signatures)) == len(signatures) == distinct
    assert len(set(made.names)) == distinct
    merged = len(widths) * len(rates) * replicates - distinct
    assert made.notes == () if merged == 0 else f"{merged} duplicate" in made.notes[0]
    for configuration, signature in zip(made.configurations, signatures, strict=True):
        assert resolve(configuration.values).full_signature == signature


def test_more_samples_and_more_replicates_keep_the_trials():
    space = {"optimizer.lr": tune.loguniform(1e-4, 1e-1), "model.width": grid(4, 8)}

    def trials(samples, replicates):
        made = expansion(space=space, num_samples=samples, replicates=replicates)
        return {configuration.full_signature for configuration in made.configurations}

    assert len(trials(2, 2)) == 8
    assert trials(2, 2) < trials(3, 2)
    assert trials(2, 2) < trials(2, 5)


def test_replicates_are_the_seeds_that_one_would_write():
    by_hand = expansion(space={"model.width": grid(4, 8), "seed": grid(range(3, 6))})
    made = expansion(base={**BASE, "seed": 3}, space={"model.width": grid(4, 8)}, replicates=3)
    assert [c.signature for c in made.configurations] == [c.signature for c in by_hand.configurations]
    assert made.names == by_hand.names


def test_settings_multiply_what_the_sweep_has():
    made = expansion({"optimizer.lr": grid(1, 2), "trainer.max_epochs": 3}, space={"seed": grid(0, 1)})
    assert made.names == ("lr=1 seed=0", "lr=2 seed=0", "lr=1 seed=1", "lr=2 seed=1")
    assert {c.values["trainer"]["max_epochs"] for c in made.configurations} == {3}


def test_resources_of_each_trial():
    def resources(configuration):
        width = configuration["model"]["init_args"]["width"]
        configuration["model"].clear()
        return {"cpu": width / 4, "gpu": 0.5 if width > 4 else 0}

    plan = make_plan_of(resources, {"model.width": grid(4, 8)})
    assert [trial.resources for trial in plan.trials] == [Resources(cpu=1, gpu=0), Resources(cpu=2, gpu=0.5)]
    assert plan.trials[0].configuration.values["model"]["class_path"] == "nnray.models.MLP"


def make_plan_of(resources, space):
    from nnray.trial import StorePaths

    return make_plan(Sweep(name="s", base=BASE, space=space, resources=resources), StorePaths(Path("/none")), Path())


@pytest.mark.parametrize("resources", [None, {"cpu": 2}], ids=str)
def test_the_same_resources_for_all(resources):
    assert set(expansion(space={"seed": grid(0, 1)}, resources=resources).resources) == {Resources.of(resources)}


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (lambda c: c["width"], r"resources: the function fails for the trial seed=0: KeyError: 'width'"),
        (lambda c: 1 / c["seed"], r"resources: the function fails for the trial seed=0: ZeroDivisionError"),
        (lambda one, two: {}, r"resources: the function fails for the trial seed=0: TypeError: "),
        (lambda c: {"cpu": -c["seed"]}, r"resources: cpu is -1, where .* \(of the trial seed=1\)"),
        (lambda c: None if c["seed"] else 4, r"resources: a dict such as .* not 4 \(of the trial seed=0\)"),
    ],
    ids=["a key", "arithmetic", "arguments", "an amount", "no dict"],
)
def test_resources_that_cannot_be_meant(resources, message):
    with pytest.raises(SpaceError, match=f"^{message}") as caught:
        expansion(space={"seed": grid(0, 1)}, resources=resources)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"space": {"model": grid("MLP", "ResNet9"), "seed": grid(0, 1)}},
        {"space": {"model.width": zipped(4, 8, 16), "optimizer.lr": zipped(1, 2, 3)}},
        {"space": {"lr_scheduler": grid(None, {"class_path": "StepLR", "init_args": {"step_size": grid(1, 2)}})}},
        {"space": {"seed": grid(1000, 1001), "threads": 1000}},
        {"space": {"seed": 1000}},
        {"trials": [{"model": "VGG"}, {"model": "MLP", "model.depth": grid(1, 2)}]},
        {"space": {"data.augment": grid([], None), "trainer.limit_train_batches": grid(1, 1.0)}},
    ],
    ids=["classes", "numbers", "null", "equal objects", "one trial", "within a class", "lists"],
)
def test_names_of_shared_configurations_are_those_of_flat_ones(fields):
    made = expansion(**fields)
    assert list(made.names) == trial_names([configuration.flat() for configuration in made.configurations])
    assert configuration_names([]) == []
