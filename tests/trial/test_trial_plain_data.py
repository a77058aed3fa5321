"""Only defaults are left out of a configuration: whatever is given is in it, is signed and reaches the class."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from nnray.errors import ConfigurationError
from nnray.trial import resolve
from nnray.trial.components import build, resolve_arguments

V2 = "torchvision.transforms.v2"
TRANSFORMS = {
    "RandomRotation": ({"degrees": 10}, {"degrees": 20}, {"degrees": [-5, 7.5]}),
    "RandomAffine": ({"degrees": 0, "shear": 2}, {"degrees": 0, "shear": 3}, {"degrees": [0, 9], "scale": [0.5, 2]}),
    "ColorJitter": ({"brightness": 0.5}, {"brightness": 0.25}, {"brightness": [0.5, 1.5], "hue": 0.1}),
}


CPU, OBJECT = torch.device("cpu"), object()


class Numbers:
    """Numbers annotated by their abstract class, alone and in other types."""

    def __init__(
        self,
        scale: numbers.Number = 1,  # type: ignore[assignment]
        size: numbers.Number | Sequence = 2,  # type: ignore[assignment,type-arg]
        sizes: Sequence[numbers.Number] = (),
        perhaps: numbers.Number | None = None,
        odd: numbers.Number = 1j,  # type: ignore[assignment]
    ) -> None:
        self.given = {"scale": scale, "size": size, "sizes": sizes, "perhaps": perhaps}
        self.odd = odd


class Device(nn.Module):
    """Has a default that is no data, in itself and in a list."""

    def __init__(
        self,
        device: Any = CPU,
        marks: Any = (OBJECT,),
        inner: nn.Module | None = None,
        odd: numbers.Number = 1,
    ):
        super().__init__()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_arguments_of_torchvisions_transforms_are_signed_and_reach_them(name):
    signatures = set()
    for given in TRANSFORMS[name]:
        augment = {"class_path": f"{V2}.{name}", "init_args": given}
        configuration = resolve({"model": "MLP", "data": "FakeData", "data.augment": [augment]})
        (entry,) = configuration.values["data"]["init_args"]["augment"]
        assert given.items() <= entry["init_args"].items()
        assert resolve(configuration.values).signature == configuration.signature
        signatures.add(configuration.signature)
        configuration.build_data()
    assert len(signatures) == len(TRANSFORMS[name])


@pytest.mark.parametrize(
    "given",
    [{"scale": 2.5}, {"scale": 3}, {"size": 4}, {"size": [1, 2.5]}, {"sizes": [1, 2.5]}, {"perhaps": 7}],
    ids=str,
)
def test_numbers_come_as_they_are_given(given):
    arguments = resolve_arguments("x", Numbers, given)
    assert arguments == {"scale": 1, "size": 2, "sizes": [], "perhaps": None} | given
    (name,) = given
    assert type(arguments[name]) is type(given[name])  # 3 is not 3.0
    built = build(Numbers, arguments, {})
    assert built.given[name] == given[name]
    assert built.odd == 1j  # a default that no file can hold


@pytest.mark.parametrize("value", [True, "much", [1]], ids=repr)
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ConfigurationError, match=r"^x\.scale: expected number, got "):
        resolve_arguments("x", Numbers, {"scale": value})


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"device": torch.device("cpu")}, "device"),
        ({"odd": 2j}, "odd"),
        ({"marks": [1, object()]}, "marks.1"),
        ({"marks": {"one": {"two": object()}}}, "marks.one.two"),
        (
            {"inner": {"class_path": f"{__name__}.Device", "init_args": {"device": object()}}},
            "inner.init_args.device",
        ),
    ],
    ids=["an argument", "a number", "in a list", "in a mapping", "of a class inside"],
)
def test_a_given_value_that_is_no_data_is_named(given, key):
    with pytest.raises(ConfigurationError, match=f"^model.init_args.{key}: the value given cannot be written as plain"):
        resolve_arguments("model.init_args", Device, given)


@pytest.mark.parametrize(
    "inner",
    [f"{__name__}.Device", {"class_path": f"{__name__}.Device"}, {"class_path": f"{__name__}.Device", "init_args": {}}],
    ids=["path", "mapping", "no arguments"],
)
def test_defaults_of_a_class_that_is_given_stay_its_own_affair(inner):
    assert resolve_arguments("x", Device, {"inner": inner}) == {
        "inner": {"class_path": f"{__name__}.Device", "init_args": {"inner": None, "odd": 1}},
        "odd": 1,
    }
