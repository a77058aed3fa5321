"""A person's mistake is one line that names the key and the nearest right one."""

import random
import textwrap

import pytest

from nnray.errors import ConfigurationError
from nnray.trial import merge, resolve

BASE = {"model": "SimpleCNN", "data": "Digits"}
STOPPING = "lightning.pytorch.callbacks.EarlyStopping"
CROP = "nnray.data.RandomCrop"

MISTAKES = [
    # Unknown keys.
    ({"modle": 1}, "modle: there is no such key; did you mean 'model'?"),
    ({"modle.width": 1}, "modle: there is no such key; did you mean 'model'?"),
    ({"trainer.max_epoch": 1}, "trainer.max_epoch: there is no such key; did you mean 'max_epochs'?"),
    ({"checkpoint": {"keeps": 1}}, "checkpoint.keeps: there is no such key; did you mean 'keep' or 'keep_state'?"),
    ({"model.widht": 3}, "model.init_args.widht: SimpleCNN has no such argument; did you mean 'width'?"),
    (
        {"optimizer.momentum": 1},
        "optimizer.init_args.momentum: AdamW has no such argument; there is: amsgrad, betas, "
        "capturable, differentiable, eps, foreach, fused, lr, ...",
    ),
    (
        {"model": {"class_path": "MLP", "init_arg": {}}},
        "model.init_arg: beside class_path stands init_args, which holds all arguments; did you mean 'init_args'?",
    ),
    # Wrong types.
    ({"seed": "a"}, "seed: expected int, got 'a'"),
    ({"seed": 1.5}, "seed: expected int, got 1.5"),
    ({"seed": True}, "seed: expected int, got True"),
    ({"seed": None}, "seed: a value is expected, not null"),
    ({"seed": {"a": 1}}, "seed: expected int, got {'a': 1}"),
    ({"source": 3}, "source: expected str, got 3"),
    ({"model.width": "wide"}, "model.init_args.width: expected int, got 'wide'"),
    ({"model.width": [8, 16]}, "model.init_args.width: expected int, got [8, 16]"),
    ({"model.width": 8.0}, "model.init_args.width: expected int, got 8.0"),
    ({"model.width": None}, "model.init_args.width: a value is expected, not null"),
    ({"model.width.x": 3}, "model.init_args.width: expected int, got {'x': 3}"),
    ({"model.batch_norm": 1}, "model.init_args.batch_norm: expected bool, got 1"),
    ({"optimizer.lr": "fast"}, "optimizer.init_args.lr: expected float, got 'fast'"),
    ({"optimizer.betas": [0.9]}, "optimizer.init_args.betas: expected tuple with 2 elements, got [0.9]"),
    ({"optimizer.betas": [0.9, "x"]}, "optimizer.init_args.betas: expected float, got 'x'"),
    ({"trainer.max_epochs": "ten"}, "trainer.max_epochs: expected int, got 'ten'"),
    ({"trainer.limit_val_batches": "x"}, "trainer.limit_val_batches: expected int or float, got 'x'"),
    ({"trainer.gradient_clip_algorithm": "x"}, "trainer.gradient_clip_algorithm: expected 'norm' or 'value', got 'x'"),
    (
        {"checkpoint.keep": "none"},
        "checkpoint.keep: expected all, last, best, 'every N' or 'top K', as in 'every 5', got 'none'",
    ),
    (
        {"checkpoint.keep": "top 0"},
        "checkpoint.keep: expected all, last, best, 'every N' or 'top K', as in 'every 5', got 'top 0'",
    ),
    ({"trainer": 5}, "trainer: a mapping of options is expected, not 5"),
    ({"checkpoint": [1]}, "checkpoint: a mapping of options is expected, not [1]"),
    ({"model": 3}, "model: a class path, or a mapping with class_path and init_args, is expected, not 3"),
    ({"task": []}, "task: a class path, or a mapping with class_path and init_args, is expected, not []"),
    ({"model.init_args": 3}, "model.init_args: a mapping of arguments is expected, not 3"),
    # Values that cannot be.
    ({"seed": -1}, "seed: -1 is outside 0 ... 2**32 - 1"),
    ({"seed": 2**32}, "seed: 4294967296 is outside 0 ... 2**32 - 1"),
    ({"threads": 0}, "threads: 0 is not a positive number"),
    ({"workers": 0}, "workers: 0 is not a positive number"),
    ({"trainer.max_epochs": 0}, "trainer.max_epochs: 0 is not a positive number"),
    ({"trainer.accumulate_grad_batches": 0}, "trainer.accumulate_grad_batches: 0 is not a positive number"),
    (
        {"trainer.limit_train_batches": 1.5},
        "trainer.limit_train_batches: 1.5 is neither a number of batches nor a fraction between 0.0 and 1.0",
    ),
    (
        {"trainer.limit_val_batches": -1},
        "trainer.limit_val_batches: -1 is neither a number of batches nor a fraction between 0.0 and 1.0",
    ),
    ({"checkpoint.every_n_epochs": 0}, "checkpoint.every_n_epochs: 0 is not a positive number"),
    ({"checkpoint.every_n_steps": 0}, "checkpoint.every_n_steps: 0 is not a positive number"),
    # Missing.
    (
        {"lr_scheduler": "StepLR"},
        "lr_scheduler.init_args.step_size: StepLR needs this argument and has no default for it",
    ),
    # Classes.
    ({"model": "Resnet"}, "model.class_path: there is no 'Resnet' in nnray.models; did you mean 'ResNet'?"),
    (
        {"optimizer": "torch.optim.Adamw"},
        "optimizer.class_path: there is no 'Adamw' in torch.optim; did you mean 'AdamW'?",
    ),
    (
        {"model": "nnray.modles.ResNet"},
        "model.class_path: cannot import nnray.modles.ResNet: there is no module "
        "'nnray.modles'; did you mean 'models'?",
    ),
    (
        {"model": "no_such_module.Net"},
        "model.class_path: cannot import no_such_module.Net: there is no module 'no_such_module'; the folder "
        "that it lies in must be importable: start in that folder, or add it to PYTHONPATH",
    ),
    ({"model": "torch.optim.SGD"}, "model.class_path: torch.optim.SGD is not a subclass of torch's Module"),
    ({"model": "torch.relu"}, "model.class_path: torch.relu is not a subclass of torch's Module"),
    (
        {"data": "InMemoryDataModule"},
        "data.class_path: InMemoryDataModule is abstract; there is: CIFAR10, CIFAR100, Digits, "
        "FakeData, FashionMNIST, ImageFolder, MNIST",
    ),
    ({"model": "a..b"}, "model.class_path: 'a..b' is not a class path such as 'nnray.models.NAME'"),
    ({"model": ""}, "model.class_path: a class path such as 'nnray.models.NAME' is expected, not ''"),
    ({"model.class_path": 3}, "model.class_path: a class path such as 'nnray.models.NAME' is expected, not 3"),
    # Classes within arguments.
    ({"trainer.callbacks": "x"}, "trainer.callbacks: expected list, got 'x'"),
    ({"trainer.callbacks": [3]}, "trainer.callbacks: expected the class path of a Callback, got '3'"),
    (
        {"trainer.callbacks": ["Stopp"]},
        "trainer.callbacks: expected a class path such as 'package.module.NAME', got 'Stopp'",
    ),
    (
        {"trainer.callbacks": [{"class_path": STOPPING}]},
        "trainer.callbacks: EarlyStopping needs the argument monitor and has no default for it",
    ),
    (
        {"trainer.callbacks": [{"class_path": STOPPING, "init_args": {"monitor": "a", "pattience": 1}}]},
        "trainer.callbacks: EarlyStopping has no argument 'pattience'; did you mean 'patience'?",
    ),
    (
        {"trainer.callbacks": [{"class_path": STOPPING, "init_args": {"monitor": "a", "patience": "x"}}]},
        "trainer.callbacks.patience: expected int, got 'x'",
    ),
    (
        {"trainer.callbacks": [{"class_path": STOPPING[:-1]}]},
        "trainer.callbacks: there is no 'EarlyStoppin' in lightning.pytorch.callbacks; did you mean 'EarlyStopping'?",
    ),
    (
        {"trainer.callbacks": ["no.such.Callback"]},
        "trainer.callbacks: cannot use no.such.Callback: No module named 'no'",
    ),
    ({"trainer.callbacks": ["torch.optim.SGD"]}, "trainer.callbacks: torch.optim.SGD is not a subclass of Callback"),
    (
        {"data.augment": [{"class_path": CROP, "init_args": {"pading": 3}}]},
        "data.init_args.augment: RandomCrop has no argument 'pading'; did you mean 'padding'?",
    ),
    (
        {"data.augment": [{"class_path": CROP, "init_args": {"padding": "x"}}]},
        "data.init_args.augment.padding: expected int, got 'x'",
    ),
    (
        {"data.augment": [{"class_path": CROP, "init_args": 3}]},
        "data.init_args.augment: cannot use nnray.data.RandomCrop: 'int' object has no attribute 'keys'",
    ),
    # What is no data at all.
    (
        {"model.width": {1: 2, "a": 3}},
        "model.init_args: {'width': {1: 2, 'a': 3}} is not plain data: '<' not supported between "
        "instances of 'str' and 'int'",
    ),
    (
        {"model.init_args": {1: 2}},
        "model.init_args.1: SimpleCNN has no such argument; there is: batch_norm, depth, kernel_size, width",
    ),
]


def one_line(raw):
    with pytest.raises(ConfigurationError) as caught:
        resolve(merge(BASE, raw))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("raw", "message"), MISTAKES, ids=[str(raw)[:60] for raw, _ in MISTAKES])
def test_a_mistake_is_one_line_that_names_it(raw, message):
    assert one_line(raw) == message


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import no_such_dependency", "No module named 'no_such_dependency'"),
        ("raise ValueError('one\\ntwo')", "ValueError: one two"),
        ("def f(:", r"SyntaxError: invalid syntax (breaks.py, line 1)"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_module_that_fails_is_told_with_its_reason(tmp_path, monkeypatch, source, reason):
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "breaks.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("own_package", "own_package.breaks"):
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
    assert one_line({"model": "own_package.breaks.Net"}) == (
        f"model.class_path: importing own_package.breaks.Net failed: {reason}"
    )


ODD = [
    None,
    True,
    -1,
    0,
    3.5,
    float("nan"),
    float("inf"),
    10**400,
    "",
    "x",
    "1",
    "a.b",
    "null",
    "\n",
    "\ud800",
    "nnray.models.MLP",
    [],
    [None],
    [[]],
    {},
    {"a": 1},
    {1: 2},
    {1: 2, "a": 3},
    {None: 1},
    {"class_path": "x.y"},
    {"class_path": None},
    {"class_path": "MLP", "init_args": {"width": []}},
    {"init_args": []},
    [{"class_path": "torch.nn.ReLU", "init_args": None}],
    [{"class_path": []}],
    (1, 2),
    {1, 2},
    b"x",
    object(),
    print,
    range(2),
    1j,
    Ellipsis,
]
PARTS = [
    "model",
    "data",
    "optimizer",
    "lr_scheduler",
    "task",
    "trainer",
    "checkpoint",
    "seed",
    "threads",
    "source",
    "other",
]
NAMES = [
    "class_path",
    "init_args",
    "width",
    "augment",
    "lr",
    "betas",
    "callbacks",
    "max_epochs",
    "keep",
    "label_smoothing",
    "step_size",
    "a",
    "batch_size",
    "limit_train_batches",
    "self",
    "__class__",
    "cls",
    "help",
    "init_args.width",
    "print_config",
]


@pytest.mark.parametrize("seed", range(8))
def test_junk_gives_a_configuration_or_a_line(seed):
    generator = random.Random(seed)
    for _ in range(60):
        raw = dict(BASE)
        for _ in range(generator.randint(1, 3)):
            key = generator.choice(PARTS)
            if generator.random() < 0.7:
                key = f"{key}.{generator.choice(NAMES)}"
            raw[key] = generator.choice(ODD)
        try:
            resolve(raw).yaml()
        except Exception as error:
            if not isinstance(error, ConfigurationError) or "\n" in str(error):
                raise AssertionError(f"{raw} raised {error!r}") from error


def test_a_value_that_holds_itself():
    loop = {}
    loop["a"] = loop
    with pytest.raises((ConfigurationError, RecursionError)):
        resolve({**BASE, "model.width": loop})
