"""The data modules as jsonargparse configures them, and what of a configuration cannot change a result."""

import inspect
import pickle

import pytest
import torch
from jsonargparse import ArgumentError, ArgumentParser
from lightning.pytorch import LightningDataModule

from nnray.data import (
    CIFAR10,
    CIFAR100,
    MNIST,
    Digits,
    FakeData,
    FashionMNIST,
    ImageFolder,
    InMemoryDataModule,
    RandomCrop,
)

ALL = [Digits, CIFAR10, CIFAR100, MNIST, FashionMNIST, ImageFolder, FakeData]
each = pytest.mark.parametrize("module", ALL, ids=lambda module: module.__name__)


@pytest.fixture
def parser():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    return parser


@each
def test_defaults_are_the_same_from_a_configuration(parser, module):
    configuration = parser.parse_args([f"--data=nnray.data.{module.__name__}"])
    made = parser.instantiate(configuration).data
    assert type(made) is module
    assert (made.batch_size, made.seed, made.drop_last) == (128, 0, False)
    assert [type(step) for step in made.augment] == [type(step) for step in module().augment]


def test_augmentations_are_given_by_class_path(parser):
    crop = {"class_path": "nnray.data.RandomCrop", "init_args": {"padding": 2}}
    erase = {"class_path": "torchvision.transforms.v2.RandomErasing", "init_args": {"p": 1.0}}
    init_args = {"augment": [crop, erase], "batch_size": 7, "seed": 3}
    configuration = parser.parse_object({"data": {"class_path": "nnray.data.Digits", "init_args": init_args}})
    digits = parser.instantiate(configuration).data
    assert isinstance(digits.augment[0], RandomCrop)
    assert digits.augment[0].padding == 2
    first, second = digits.train_dataloader(), digits.train_dataloader()
    assert len(first) == 183
    for (images, _), (again, _) in zip(first, second, strict=True):
        assert torch.equal(images, again)


def test_a_wrong_argument_is_an_error_that_names_it(parser):
    with pytest.raises(ArgumentError, match="batch_sise"):
        parser.parse_args(["--data=nnray.data.Digits", "--data.batch_sise=3"])


@each
def test_unsigned_arguments_are_arguments(module):
    parameters = inspect.signature(module).parameters
    assert module.unsigned_arguments <= set(parameters)
    assert not module.unsigned_arguments & {"batch_size", "seed", "augment", "drop_last", "val_fraction", "image_size"}
    assert ("root" in parameters) == ("root" in module.unsigned_arguments)


@each
def test_every_argument_is_described(module):
    described = "".join(inspect.getdoc(kind) for kind in module.__mro__ if issubclass(kind, InMemoryDataModule))
    for name in inspect.signature(module).parameters:
        assert f"\n    {name}: " in described


@each
def test_a_data_module_that_is_not_set_up_travels_to_other_processes(module):
    copy = pickle.loads(pickle.dumps(module(batch_size=3)))
    assert copy.batch_size == 3
