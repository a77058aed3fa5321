"""What a module computes, seen by hooks that clone at once; and modules that are quick to make."""

import torch
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode


class OnMeta(TorchFunctionMode):
    """Make parameters and buffers on the meta device, but not the tensors that constructors compute with."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function in (torch.empty, torch.zeros, torch.ones):
            kwargs["device"] = "meta"
        return function(*args, **kwargs)


def torchvision_model(name, **options):
    if name in ("googlenet", "inception_v3"):
        options = {"init_weights": False, **options}
    if name == "small MaxVit":  # the smallest images that maxvit_t takes are large
        return torchvision.models.MaxVit(
            input_size=(64, 64),
            stem_channels=8,
            partition_size=2,
            block_channels=[8, 16],
            block_layers=[1, 2],
            head_dim=4,
            stochastic_depth_prob=0.2,
            **options,
        )
    return torchvision.models.get_model(name, **options)


def eager_values(module, *args, **kwargs):
    """Return the module's output, and the value of each call of each submodule by its name: `relu`, `relu_1`, ..."""
    values, calls, handles = {}, {}, []

    def hook(name):
        def record(child, inputs, output):
            count = calls[name] = calls.get(name, -1) + 1
            key = f"{name}_{count}" if count else name
            if isinstance(output, torch.Tensor):
                values[key] = output.clone()
            elif isinstance(output, tuple):
                values.update({f"{key}.{i}": v.clone() for i, v in enumerate(output) if isinstance(v, torch.Tensor)})

        return record

    for name, child in module.named_modules():
        if name:
            handles.append(child.register_forward_hook(hook(name)))
    try:
        output = module(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return output, values


def network(forward, **children):
    """A module with these submodules, parameters and buffers, and this code."""
    module = type("Network", (nn.Module,), {"forward": forward})()
    for name, child in children.items():
        setattr(module, name, child)
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


def assert_same(value, expected):
    """Compare tensors, and tuples, lists and dicts of them, bit for bit."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(value, expected)
    elif isinstance(expected, dict):
        assert value.keys() == expected.keys()
        for key in expected:
            assert_same(value[key], expected[key])
    elif isinstance(expected, tuple | list):
        assert type(value) is type(expected)
        for item, other in zip(value, expected, strict=True):
            assert_same(item, other)
    else:
        assert value == expected
