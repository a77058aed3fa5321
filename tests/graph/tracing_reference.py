"""What a module computes, seen by hooks that clone at once; and modules that are quick to make."""

import torch
import torchvision
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
