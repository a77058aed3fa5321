"""A configuration of somebody else's builds networks, and nothing else happens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from trials import TINY, configured, folder_of

from nnray.errors import ConfigurationError
from nnray.store.loading import load_model
from nnray.trial import Configuration, merge, resolve
from nnray.trial.components import build, resolve_arguments


class Takes(torch.nn.Module):
    """Takes anything, as people's modules without annotations do."""

    def __init__(self, thing=None, typed: torch.nn.Module | None = None):
        super().__init__()
        self.thing, self.typed = thing, typed


def built(thing):
    return build(Takes, resolve_arguments("model.init_args", Takes, {"thing": thing}), {}).thing


def program(place: Path) -> dict:
    return {"class_path": "os.system", "init_args": {"command": f"touch {place}"}}


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "functools.partial",
        "torch.os.system",
        "torch.hub.load",
        "torch.load",
        "torch.multiprocessing.Pool",
        "torch.utils.cpp_extension.load_inline",
        "torch.utils.data.DataLoader",
        "numpy.load",
        "nnray.graph.merge",
        "user_code.torch.load",
        "pytest.__main__.x",
    ],
)
def test_what_is_no_class_for_a_network_is_refused(path):
    for spelled in ({"class_path": path}, {"class_path": path, "init_args": {"f": 1}}):
        with pytest.raises(ConfigurationError, match=r"may name|may not be built") as caught:
            built(spelled)
        assert path in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "place",
    [
        "model.init_args.thing",
        "model.init_args.typed",
        "trainer.callbacks",
        "lr_scheduler",
        "optimizer",
        "task",
        "model",
    ],
)
def test_no_key_runs_a_program(tmp_path, place):
    value = program(tmp_path / "ran")
    raw = merge(
        TINY,
        {"model": f"{Takes.__module__}.Takes"},
        {place: [value] if place == "trainer.callbacks" else value},
    )
    with pytest.raises(ConfigurationError, match=r"os\.system|posix\.system|callbacks"):
        resolve(raw).build_model({})
    assert not (tmp_path / "ran").exists()


def test_text_that_holds_a_class_is_checked_as_well(tmp_path):
    text = f'{{"class\\u005fpath": "os.system", "init_args": {{"command": "touch {tmp_path}/ran"}}}}'
    with pytest.raises(ConfigurationError, match=r"os\.system"):
        built(text)
    assert not (tmp_path / "ran").exists()


def test_a_stored_configuration_that_was_edited_runs_nothing(store, tmp_path):
    configuration = configured()
    paths = folder_of(store, configuration)
    edited = {**configuration.values, "model": {
        "class_path": "nnray.graph.GraphModule", "init_args": {"architecture": {"a": program(tmp_path / "ran")}},
    }}  # fmt: skip
    paths.config.write_text(Configuration(edited, frozenset()).yaml())
    paths.checkpoints.mkdir()
    from nnray.store.weights import save_weights

    save_weights(paths.checkpoint(0), {"w": torch.zeros(1)})
    with pytest.raises(ConfigurationError, match=r"model\.init_args\.architecture\.a: os\.system is no class"):
        load_model(paths)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "path", ["torch.nn.ReLU", "torchvision.transforms.v2.RandomErasing", "nnray.data.RandomCrop", "user_code.Tiny"]
)
def test_networks_transforms_and_own_classes_may_be_built(path):
    arguments = {"size": 4} if path.endswith("Crop") else {}
    assert type(built({"class_path": path, "init_args": arguments})).__name__ == path.rpartition(".")[2]


def test_functions_may_be_named_but_those_of_python_itself_may_not():
    raw = merge(TINY, {"lr_scheduler": "LambdaLR"})
    assert resolve(merge(raw, {"lr_scheduler.lr_lambda": "math.sqrt"})).values["lr_scheduler"]["init_args"]
    with pytest.raises(ConfigurationError, match=r"lr_scheduler\.init_args\.lr_lambda"):
        resolve(merge(raw, {"lr_scheduler.lr_lambda": "os._exit"}))


@pytest.mark.parametrize(
    "update", [{"data.root": "s3://me:hunter2@bucket/x"}, {"source": "https://me:hunter2@host/weights"}]
)
def test_a_password_in_a_configuration_is_refused_and_not_shown(update):
    with pytest.raises(ConfigurationError, match=r"password or token has no place in a configuration") as caught:
        configured({"data": "nnray.data.CIFAR10"} if "data.root" in update else {}, update)
    assert "hunter2" not in str(caught.value)
