"""From what a person wrote to every key with its value."""

import itertools
import json

import pytest

from nnray.trial import merge, read_configuration_file, resolve
from nnray.trial.yaml_loader import load_yaml

BASE = {"model": "SimpleCNN", "data": "Digits"}

MODELS = [
    {"model": {"class_path": "ResNet", "init_args": {"depth": 8}}},
    {"model": "ResNet9", "model.width": 4},
    {"model": "SimpleCNN", "model.batch_norm": True},
    {"model": "MLP"},
]
DATA = [
    {"data": "Digits", "data.batch_size": 17},
    {"data": "CIFAR10", "data.augment": []},
    {"data": "CIFAR10", "data.root": "/else where", "data.download": True},
    {
        "data": "FakeData",
        "data.in_channels": 2,
        "data.augment": [
            {"class_path": "nnray.data.RandomCrop", "init_args": {"padding": 2}},
            "nnray.data.RandomHorizontalFlip",
            {"class_path": "torchvision.transforms.v2.RandomErasing", "init_args": {"p": 1}},
        ],
    },
]
REST = [
    {},
    {"optimizer": "SGD", "optimizer.momentum": 0.9, "lr_scheduler": "StepLR", "lr_scheduler.step_size": 3},
    {"optimizer.betas": (0.8, 0.99), "lr_scheduler": "CosineAnnealingLR", "lr_scheduler.T_max": 10},
    {"lr_scheduler": "torch.optim.lr_scheduler.ReduceLROnPlateau", "lr_scheduler.factor": 0.5},
    {
        "trainer.callbacks": [
            {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val_loss"}},
            {"class_path": "lightning.pytorch.callbacks.StochasticWeightAveraging", "init_args": {"swa_lrs": 1e-2}},
        ],
        "trainer.limit_train_batches": 0.5,
        "trainer.gradient_clip_val": 1,
        "seed": 2**32 - 1,
        "source": "1e-3: a 'text' with\n two lines",
        "checkpoint": {"keep": "best", "monitor": "train_loss", "mode": "min"},
    },
]


@pytest.mark.parametrize("raw", [{**a, **b, **c} for a, b, c in itertools.product(MODELS, DATA, REST)])
def test_the_yaml_of_a_configuration_resolves_to_itself(raw):
    configuration = resolve(raw)
    again = resolve(load_yaml(configuration.yaml()))
    assert again.values == configuration.values
    assert again.yaml() == configuration.yaml()
    assert again.full_signature == configuration.full_signature
    assert resolve(json.loads(json.dumps(configuration.values))).values == configuration.values


@pytest.mark.parametrize(
    "text",
    [
        "1e-3",
        "1e3",
        "1.5",
        "7",
        "0x1F",
        "true",
        "no",
        "~",
        "",
        " ",
        "2020-01-01",
        "1:30",
        "<<",
        "=",
        "é",
        "#x",
        "-",
        ".5",
        ".inf",
        "a: b",
        "1_000",
        "'",
        "\t",
        "\U0001f600",
    ],
)
def test_text_that_could_be_something_else_stays_text(text):
    configuration = resolve({**BASE, "source": text})
    assert resolve(load_yaml(configuration.yaml())).values["source"] == text


@pytest.mark.parametrize("rate", [1e-3, 1e-05, 0.1, 1e22, 3, 1 / 3, 5e-324])
def test_numbers_survive_yaml_to_the_last_bit(rate):
    configuration = resolve({**BASE, "optimizer.lr": rate})
    value = load_yaml(configuration.yaml())["optimizer"]["init_args"]["lr"]
    assert type(value) is float
    assert value == rate


def test_every_key_is_there_with_its_default():
    values = resolve(BASE).values
    assert list(values) == [
        "seed",
        "threads",
        "workers",
        "model",
        "data",
        "optimizer",
        "lr_scheduler",
        "task",
        "trainer",
        "checkpoint",
        "source",
    ]
    assert (values["seed"], values["threads"], values["lr_scheduler"]) == (0, 1, None)
    assert values["model"] == {
        "class_path": "nnray.models.SimpleCNN",
        "init_args": {"width": 16, "depth": 2, "kernel_size": 3, "batch_norm": False},
    }
    assert values["optimizer"]["class_path"] == "torch.optim.AdamW"
    assert values["optimizer"]["init_args"]["betas"] == [0.9, 0.999]
    assert values["task"]["class_path"] == "nnray.training.Classifier"
    assert values["trainer"]["max_epochs"] == 10
    assert values["checkpoint"] == {
        "every_n_epochs": 1,
        "keep": "all",
        "monitor": "val_acc",
        "mode": "max",
        "keep_state": False,
        "every_n_steps": None,
    }


SPELLINGS = [
    {"model": {"class_path": "nnray.models.ResNet", "init_args": {"depth": 8}}},
    {"model": {"class_path": "nnray.models.resnet.ResNet", "init_args": {"depth": 8}}},
    {"model": {"class_path": "ResNet", "init_args": {"depth": 8}}},
    {"model": "ResNet", "model.depth": 8},
    {"model.depth": 8, "model": "ResNet"},
    {"model.init_args.depth": 8, "model.class_path": "nnray.models.ResNet"},
    {"model.init_args": {"depth": 8}, "model.class_path": "ResNet"},
    {"model.depth": "8", "model": "ResNet"},
    {"model.class_path": "ResNet", "model": {"depth": 8}},
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_configuration_in_many_spellings(spelling):
    assert resolve({"data": "Digits", **spelling}).values == resolve({"data": "Digits", **SPELLINGS[0]}).values


def test_raw_configurations_are_left_as_they_are():
    augment = [{"class_path": "nnray.data.RandomCrop"}]
    raw = {"model": "MLP", "data": {"class_path": "Digits", "init_args": {"augment": augment}}}
    before = json.dumps(raw)
    configuration = resolve(raw)
    assert json.dumps(raw) == before
    assert configuration.values["data"]["init_args"]["augment"] == [
        {"class_path": "nnray.data.RandomCrop", "init_args": {"size": None, "padding": 4}}
    ]


@pytest.mark.parametrize(
    "augment",
    [
        ["nnray.data.RandomCrop"],
        ["nnray.data.augmentation.RandomCrop"],
        [{"class_path": "nnray.data.RandomCrop", "init_args": {}}],
        [{"class_path": "nnray.data.RandomCrop", "init_args": {"padding": 4}}],
    ],
)
def test_nested_classes_have_one_spelling_and_all_their_arguments_too(augment):
    plain = resolve({**BASE, "data.augment": [{"class_path": "nnray.data.RandomCrop"}]})
    assert resolve({**BASE, "data.augment": augment}).values == plain.values


def test_a_number_of_batches_and_a_fraction_are_two_things():
    number, fraction = (resolve({**BASE, "trainer.limit_train_batches": limit}) for limit in (1, 1.0))
    assert [type(c.values["trainer"]["limit_train_batches"]) for c in (number, fraction)] == [int, float]
    assert number.full_signature != fraction.full_signature


def test_files_and_what_comes_later_wins(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.json"
    first.write_text(
        "model: {class_path: ResNet, init_args: {depth: 20, width: 8}}\noptimizer.lr: 1e-3\ndata: Digits\n"
    )
    second.write_text('{\n\t"model": {\n\t\t"init_args": {"width": 4}},\n\t"optimizer": {"init_args": {"lr": 2e-3}}}')
    raw = merge({}, read_configuration_file(first), read_configuration_file(second), {"seed": 3})
    values = resolve(raw).values
    assert values["model"]["init_args"] == {"depth": 20, "width": 4}
    assert values["optimizer"]["init_args"]["lr"] == 0.002
    assert values["seed"] == 3


def test_a_configuration_builds_its_parts():
    configuration = resolve(
        {
            "model": "MLP",
            "model.width": 3,
            "data": "FakeData",
            "data.in_channels": 2,
            "data.image_size": 5,
            "seed": 7,
            "optimizer": "SGD",
            "lr_scheduler": "StepLR",
            "lr_scheduler.step_size": 3,
            "task.label_smoothing": 0.1,
            "trainer.callbacks": [{"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"}],
        },
    )
    data = configuration.build_data()
    assert (data.seed, data.in_channels) == (7, 2)
    facts = configuration.data_facts(data)
    assert facts == {"in_channels": 2, "num_classes": 10, "image_size": 5}
    model = configuration.build_model(facts)
    assert next(model.parameters()).shape == (3, 2 * 5 * 5)
    optimizer = configuration.factory("optimizer")(model.parameters())
    scheduler = configuration.factory("lr_scheduler")(optimizer)
    assert (scheduler.optimizer, scheduler.step_size) == (optimizer, 3)
    task = configuration.build_task(model=model, optimizer=configuration.factory("optimizer"))
    assert (task.model, task.label_smoothing) == (model, 0.1)
    assert [type(callback).__name__ for callback in configuration.build_callbacks()] == ["LearningRateMonitor"]
    assert configuration.build_callbacks()[0] is not configuration.build_callbacks()[0]
