"""What the parts of a configuration take from each other, and parts that people bring themselves."""

import textwrap

import pytest
import torch

from nnray.errors import ConfigurationError
from nnray.trial import resolve

MODULE = """
    import lightning.pytorch as pl
    import torch
    from torch import nn

    class Declares(pl.LightningDataModule):
        num_classes = 7
        image_size: int

        def __init__(self, side: int = 5, seed: int = 0):
            super().__init__()
            self.image_size, self.seed = side, seed

        @property
        def in_channels(self):
            return 2

    class Silent(pl.LightningDataModule):
        def __init__(self, batch_size: int = 8):
            super().__init__()

    class Net(nn.Linear):
        def __init__(self, image_size: int, in_channels: int = 1, num_classes: int = 10, hidden: int = 3):
            super().__init__(in_channels * image_size**2, num_classes)

    class Own(pl.LightningModule):
        def __init__(self, width: int = 4, num_classes: int = 10):
            super().__init__()
            self.net = nn.Linear(width, num_classes)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class WithModel(pl.LightningModule):
        def __init__(self, model: nn.Module, rate: float = 0.1):
            super().__init__()
            self.model, self.rate = model, rate

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.rate)

    class Whole(pl.LightningModule):
        def __init__(self, model, optimizer, lr_scheduler=None, num_classes=None, margin=0.5):
            super().__init__()
            self.parts = model, optimizer, lr_scheduler, num_classes

    class Choosy(pl.LightningModule):
        def __init__(self, model, optimizer=None, lr_scheduler=None):
            super().__init__()

    def _made():
        class Inner(nn.Linear):
            def __init__(self, width: int = 3):
                super().__init__(width, 10)
        return Inner

    Made = _made()

    class Outer:
        Inner = Made

    from dataclasses import dataclass

    @dataclass(eq=False)
    class Settings(pl.LightningModule):
        model: nn.Module
        optimizer: object
        size: int = 3

        def __post_init__(self):
            super().__init__()
"""


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    """The person's module ``linked_parts`` on the path; the same for all tests, since Python imports it once."""
    (tmp_path / "linked_parts.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(tmp_path)


def parts(**names):
    return {kind: f"linked_parts.{name}" if name[0].isupper() else name for kind, name in names.items()}


def test_a_model_takes_channels_classes_and_size_from_the_data():
    configuration = resolve({**parts(model="Net", data="Declares"), "seed": 9})
    assert configuration.values["model"]["init_args"] == {"hidden": 3}
    assert configuration.values["data"]["init_args"] == {"side": 5}
    data = configuration.build_data()
    assert data.seed == 9
    facts = configuration.data_facts(data)
    assert facts == {"in_channels": 2, "num_classes": 7, "image_size": 5}
    assert configuration.build_model(facts).weight.shape == (7, 50)


@pytest.mark.parametrize("name", ["in_channels", "num_classes", "image_size"])
def test_what_comes_from_the_data_cannot_be_given(name):
    raw = {**parts(model="Net", data="Declares"), f"model.{name}": 3}
    with pytest.raises(
        ConfigurationError, match=rf"^model\.init_args\.{name} is taken from another part of the conf.*; leave"
    ):
        resolve(raw)


@pytest.mark.parametrize(
    ("key", "base"),
    [
        ("data.seed", {}),
        ("optimizer.params", {"optimizer": "SGD"}),
        ("lr_scheduler.optimizer", {"lr_scheduler": "StepLR", "lr_scheduler.step_size": 1}),
        ("task.model", {}),
        ("task.optimizer", {}),
        ("task.lr_scheduler", {}),
        ("task.num_classes", {"task": "linked_parts.Whole"}),
    ],
)
def test_what_other_parts_give_cannot_be_given(key, base):
    component, name = key.split(".")
    with pytest.raises(ConfigurationError, match=rf"^{component}\.init_args\.{name} is taken from another part"):
        resolve({**parts(model="Net", data="Declares"), **base, key: 1})


def test_data_that_says_nothing_of_itself_leaves_the_model_its_own_arguments():
    raw = {**parts(model="Net", data="Silent"), "model.image_size": 4, "model.num_classes": 3}
    configuration = resolve(raw)
    assert configuration.values["model"]["init_args"] == {
        "image_size": 4,
        "in_channels": 1,
        "num_classes": 3,
        "hidden": 3,
    }
    data = configuration.build_data()
    assert configuration.data_facts(data) == {}
    assert configuration.build_model({}).weight.shape == (3, 16)
    with pytest.raises(
        ConfigurationError, match=r"^model\.init_args\.image_size: Net needs this argument and has no default"
    ):
        resolve(parts(model="Net", data="Silent"))


@pytest.mark.parametrize("data", ["Digits", "Declares", "Silent"])
def test_a_task_that_brings_network_and_optimizer(data):
    data = data if data == "Digits" else f"linked_parts.{data}"
    configuration = resolve({"task": "linked_parts.Own", "model": None, "data": data, "task.width": 2})
    values = configuration.values
    assert (values["model"], values["optimizer"], values["lr_scheduler"]) == (None, None, None)
    assert configuration.build_model({}) is None
    assert configuration.factory("optimizer") is None
    linked = {} if data == "linked_parts.Silent" else {"num_classes": 5}
    assert values["task"]["init_args"] == ({"width": 2} if linked else {"width": 2, "num_classes": 10})
    assert configuration.build_task(**linked).net.weight.shape == (linked.get("num_classes", 10), 2)


def test_a_task_that_takes_the_model_and_configures_its_own_optimizer():
    configuration = resolve(parts(task="WithModel", model="Net", data="Declares"))
    assert configuration.values["optimizer"] is None
    model = torch.nn.Identity()
    assert configuration.build_task(model=model).model is model


def test_a_task_that_takes_all_parts_as_untyped_arguments():
    configuration = resolve(
        {**parts(task="Whole", model="Net", data="Declares"), "lr_scheduler": "StepLR", "lr_scheduler.step_size": 1}
    )
    assert configuration.values["task"]["init_args"] == {"margin": 0.5}
    assert configuration.values["optimizer"]["class_path"] == "torch.optim.AdamW"
    task = configuration.build_task(model=1, optimizer=2, lr_scheduler=3, num_classes=4)
    assert task.parts == (1, 2, 3, 4)


def test_an_optimizer_that_a_task_can_do_without_is_not_made_up():
    assert resolve(parts(task="Choosy", model="Net", data="Declares")).values["optimizer"] is None
    named = resolve({**parts(task="Choosy", model="Net", data="Declares"), "optimizer": "SGD"})
    assert named.values["optimizer"]["class_path"] == "torch.optim.SGD"


def test_a_task_that_is_a_dataclass():
    configuration = resolve(parts(task="Settings", model="Net", data="Declares"))
    assert configuration.values["task"]["init_args"] == {"size": 3}


def test_a_class_that_cannot_be_imported_by_its_own_name_keeps_the_name_given():
    configuration = resolve(parts(model="Made", data="Silent"))
    assert configuration.values["model"]["class_path"] == "linked_parts.Made"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            parts(task="Own", model="Net", data="Declares"),
            r"^model: Own takes none \(its constructor has no argument 'model'\); leave it out$",
        ),
        ({**parts(task="Own", data="Declares"), "optimizer": "SGD"}, "^optimizer: Own takes none"),
        (
            {**parts(task="WithModel", model="Net", data="Declares"), "lr_scheduler": "StepLR"},
            "^lr_scheduler: WithModel takes none",
        ),
        (parts(task="WithModel", data="Declares"), r"^model: WithModel needs one; give model\.class_path$"),
        (
            {"model": "MLP", "data": "Digits", "lr_scheduler": {"step_size": 3}},
            r"^lr_scheduler\.class_path is missing: arguments are given, but not whose$",
        ),
        ({"model": {"width": 3}, "data": "Digits"}, r"^model\.class_path is missing"),
        ({"model": "MLP"}, r"^data: name the data set, for example data: nnray\.data\.Digits$"),
        (
            parts(model="Outer.Inner", data="Silent"),
            r"^model\.class_path: cannot import linked_parts\.Outer\.Inner: there is no module",
        ),
        (
            parts(model="Net", data="Net"),
            r"^data\.class_path: linked_parts\.Net is not a subclass of lightning's LightningDataModule$",
        ),
    ],
)
def test_parts_that_do_not_fit(raw, message):
    with pytest.raises(ConfigurationError, match=message):
        resolve(raw)
