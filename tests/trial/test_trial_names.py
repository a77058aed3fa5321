"""Names for people: short, and no two alike."""

import itertools
import random
import re

import pytest

from nnray.trial import flatten, merge, resolve, trial_names

BASE = {"model": "SimpleCNN", "data": "Digits"}


def names(*overrides):
    return trial_names([resolve(merge(BASE, changes)).flat() for changes in overrides])


SWEEPS = {
    "no trials": ([], []),
    "one trial": ([{}], ["model=SimpleCNN data=Digits seed=0"]),
    "seeds last": (
        [{"seed": 0, "threads": 1}, {"seed": 1, "threads": 2}],
        ["threads=1 seed=0", "threads=2 seed=1"],
    ),
    "only differences": (
        [{"model.width": 8, "optimizer.lr": 0.1}, {"model.width": 16, "optimizer.lr": 0.1}],
        ["width=8", "width=16"],
    ),
    "numbers": (
        [{"optimizer.lr": rate} for rate in (1e-3, 1e-05, 1, 0.30000000000000004, 1e10)],
        ["lr=0.001", "lr=1e-05", "lr=1", "lr=0.30000000000000004", "lr=1e+10"],
    ),
    "classes by their names": ([{"model": "MLP"}, {"model": "ResNet9"}], ["model=MLP", "model=ResNet9"]),
    "what merely comes with a class": (
        [
            {"model": "MLP", "model.width": 3},
            {"model": "ResNet", "model.depth": 8},
            {"model": "ResNet", "model.depth": 8, "seed": 1},
        ],
        ["model=MLP seed=0", "model=ResNet seed=0", "model=ResNet seed=1"],
    ),
    "what varies within a class": (
        [{"model": "MLP"}, {"model": "ResNet", "model.depth": 8}, {"model": "ResNet", "model.depth": 14}],
        ["model=MLP depth=2", "model=ResNet depth=8", "model=ResNet depth=14"],
    ),
    "null": (
        [{}, {"lr_scheduler": "StepLR", "lr_scheduler.step_size": 3}],
        ["lr_scheduler=null", "lr_scheduler=StepLR"],
    ),
    "lists of classes": (
        [{"data.augment": []}, {"data.augment": ["nnray.data.RandomCrop"]}, {"data.augment": None}],
        ["augment=[]", "augment=[RandomCrop]", "augment=null"],
    ),
    "lists of a class with several arguments": (
        [{"data.augment": [{"class_path": "torch.nn.Dropout", "init_args": {"p": p}}]} for p in (0, 0.5)],
        ["augment=[torch.nn.Dropout(p=0,inplace=false)]", "augment=[torch.nn.Dropout(p=0.5,inplace=false)]"],
    ),
    "a count and a fraction": (
        [
            {"trainer.limit_train_batches": 1},
            {"trainer.limit_train_batches": 1.0},
            {"trainer.limit_train_batches": None},
        ],
        ["limit_train_batches=1", "limit_train_batches=1.0", "limit_train_batches=null"],
    ),
    "text that needs quotes": (
        [{"source": "a"}, {"source": "a b=c"}, {"source": ""}],
        ["source=a", 'source="a b=c"', 'source=""'],
    ),
    "text like null": ([{"source": None}, {"source": "Null"}], ["source=null", "source=Null"]),
}


@pytest.mark.parametrize(("overrides", "expected"), SWEEPS.values(), ids=SWEEPS)
def test_names(overrides, expected):
    assert names(*overrides) == expected


FLAT = {
    "one word where it is enough": ([{"a.b.x": 1, "c.b.y": 1}, {"a.b.x": 2, "c.b.y": 2}], ["x=1 y=1", "x=2 y=2"]),
    "as many as it takes": (
        [{"a.b.x": 1, "a.c.x": 1, "x": 1}, {"a.b.x": 2, "a.c.x": 2, "x": 2}],
        ["b.x=1 c.x=1 x=1", "b.x=2 c.x=2 x=2"],
    ),
    "a class and a key of its name": (
        [{"model.class_path": "A", "task.init_args.model": 1}, {"model.class_path": "B", "task.init_args.model": 2}],
        ["model=A task.model=1", "model=B task.model=2"],
    ),
    "classes of one name": (
        [{"model.class_path": "a.Net"}, {"model.class_path": "b.Net"}],
        ['model="a.Net"', 'model="b.Net"'],
    ),
    "a number and its text": ([{"x": 1}, {"x": "1"}, {"x": True}], ["x=1", 'x="1"', "x=true"]),
    "whole numbers as floats": ([{"x": 1.0}, {"x": 2.0}], ["x=1", "x=2"]),
    "no value": ([{"x": 1, "y": 1}, {"x": 2}], ["x=1 y=1", "x=2"]),
    "no value at all": ([{"x": 1}, {}], ["x=1", ""]),
    "mappings": ([{"x": {}}, {"x.a": 1}], ["x={}", "a=1"]),
    "the same twice": ([{"x": 1}, {"x": 1}, {"x": 2}], ["x=1", "x=1 (2)", "x=2"]),
}


@pytest.mark.parametrize(("flat", "expected"), FLAT.values(), ids=FLAT)
def test_names_of_odd_configurations(flat, expected):
    assert trial_names(flat) == expected


AXES = {
    "model": ["SimpleCNN", "MLP", "ResNet9", {"class_path": "MLP", "init_args": {"depth": 3}}, "nnray.models.mlp.MLP"],
    "model.width": [3, 4, "5"],
    "optimizer": ["SGD", "AdamW", {"class_path": "AdamW", "init_args": {"eps": 1e-6}}],
    "optimizer.lr": [1, 0.1, 1e-7, 0.1 + 1e-17, 0.1 + 1e-12],
    "lr_scheduler": [None, "ReduceLROnPlateau", {"class_path": "StepLR", "init_args": {"step_size": 3}}],
    "data": ["Digits", "FakeData", {"class_path": "FakeData", "init_args": {"in_channels": 1}}],
    "data.augment": [
        None,
        [],
        ["nnray.data.RandomCrop"],
        [{"class_path": "nnray.data.RandomCrop", "init_args": {"padding": 1}}],
    ],
    "trainer.limit_train_batches": [None, 1, 1.0, 0],
    "trainer.callbacks": [None, [], ["lightning.pytorch.callbacks.LearningRateMonitor"]],
    "source": [None, "", "1", "a", "a.b", "b", "x=1 y=2", "true"],
    "seed": [0, 1],
}


@pytest.mark.parametrize("seed", range(12))
def test_trials_that_differ_have_names_that_differ(seed):
    generator = random.Random(seed)
    chosen = generator.sample(list(AXES), 4)
    points = itertools.product(*(generator.sample(AXES[key], min(3, len(AXES[key]))) for key in chosen))
    trials = [resolve(merge(BASE, dict(zip(chosen, point, strict=True)))) for point in points]
    distinct = {trial.full_signature: trial for trial in trials}
    called = trial_names([trial.flat() for trial in distinct.values()])
    assert len(set(called)) == len(distinct)
    assert not [name for name in called if re.search(r" \(\d+\)$", name)], "kept apart by numbers only"


def test_the_order_of_trials_gives_each_the_same_name():
    overrides = [{"model.width": width, "seed": seed} for width in (3, 4) for seed in (0, 1)]
    assert names(*reversed(overrides)) == list(reversed(names(*overrides)))


def test_names_read_flat_configurations():
    nested = {"model": {"class_path": "a.B", "init_args": {"x": [1]}}}
    assert trial_names([flatten(nested), flatten(merge(nested, {"model.x": [2]}))]) == ["x=[1]", "x=[2]"]
