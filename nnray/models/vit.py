"""Vision transformers."""

from __future__ import annotations

import functools
import math
import operator
import re
from collections.abc import Mapping
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnray.graph import GraphModule, pure
from nnray.layers import ImageToTokens
from nnray.models.arguments import check_at_least, check_divides

_MLP_RATIO = 4  # units of the hidden layer of a block's perceptron, in units of the width


@final
class ViT(GraphModule):
    """The vision transformer of Dosovitskiy et al. 2020; by default ViT-tiny with small patches.

    The image is cut into patches of `patch_size` x `patch_size` pixels, each of which becomes a token of `width`
    numbers; a learnt class token is put before them and learnt positions are added; `depth` pre-norm blocks of
    self-attention and a perceptron with one hidden layer of 4 `width` units (GELU), each added to its input; layer
    normalisation; a linear layer on the class token.

    Queries, keys and values of all heads are layers of examples x tokens x `width`, as is `attention.heads`, what the
    heads return, side by side. With the weights of torchvision's `VisionTransformer` of the same sizes
    (`torchvision_state_dict`) the outputs are the same.

    Layers: `patches`, `tokens`, `class_token`, `position`,
    `block{0,..,depth-1}.{norm1,attention.{query,key,value,heads,linear},add1,norm2,mlp.{linear1,gelu,linear2},add2}`,
    `norm`, `pool`, `linear`.

    Args:
        width: Length of a token: 192 in ViT-tiny, 384 in ViT-small, 768 in ViT-base.
        depth: Number of blocks.
        heads: Number of attention heads, a divisor of the width.
        patch_size: Height and width of the patches in pixels, a divisor of the image size; 16 in the paper.
        in_channels: Number of channels of the images.
        image_size: Height and width of the images in pixels.
        num_classes: Number of outputs.

    Raises:
        ConfigurationError: An argument is not positive, or a divisor does not divide.

    References:
        Dosovitskiy et al.: An Image is Worth 16x16 Words, 2020. https://arxiv.org/abs/2010.11929
        Touvron et al.: Training data-efficient image transformers, 2020 (ViT-tiny). https://arxiv.org/abs/2012.12877
        https://github.com/pytorch/vision/blob/main/torchvision/models/vision_transformer.py
    """

    def __init__(
        self,
        width: int = 192,
        depth: int = 12,
        heads: int = 3,
        patch_size: int = 4,
        in_channels: int = 3,
        image_size: int = 32,
        num_classes: int = 10,
    ) -> None:
        check_at_least(1, width=width, depth=depth, heads=heads, patch_size=patch_size)
        check_at_least(1, in_channels=in_channels, image_size=image_size, num_classes=num_classes)
        check_divides("patch_size", patch_size, "image_size", image_size)
        check_divides("heads", heads, "width", width)
        architecture: dict[str, Any] = {
            "patches": nn.Conv2d(in_channels, width, patch_size, stride=patch_size),
            "tokens": ImageToTokens(),
            "class_token": ClassToken(width),
            "position": PositionalEmbedding((image_size // patch_size) ** 2 + 1, width),
        }
        before = "position"
        for index in range(depth):
            architecture[f"block{index}"] = _block(width, heads, before)
            before = f"block{index}.add2"
        architecture |= {
            "norm": nn.LayerNorm(width, eps=1e-6),
            "pool": functools.partial(torch.select, dim=1, index=0),
            "linear": nn.Linear(width, num_classes),
        }
        super().__init__(architecture)
        self.example_shape = (in_channels, image_size, image_size)
        self._initialize()

    def _initialize(self) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                # Like torchvision, queries, keys and values start as one matrix with three times as many outputs would.
                is_projection = name.endswith(("query", "key", "value"))
                nn.init.xavier_uniform_(module.weight, gain=math.sqrt(0.5) if is_projection else 1.0)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d):
                fan_in = module.weight[0].numel()
                nn.init.trunc_normal_(module.weight, std=math.sqrt(1 / fan_in))
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def torchvision_state_dict(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the entries of a state dict of torchvision's `VisionTransformer`, so that this model can load it.

        Its queries, keys and values are one matrix, which is cut in three.
        """
        converted = {}
        for key, value in state_dict.items():
            name = _own_name(key)
            if ".in_proj" in name:
                for part, rows in zip(("query", "key", "value"), value.chunk(3), strict=True):
                    converted[re.sub(r"in_proj_(\w+)", rf"{part}.\1", name)] = rows
            else:
                converted[name] = value
        return converted


_OWN_NAMES = {
    r"^conv_proj\.": "patches.",
    r"^class_token$": "class_token.token",
    r"^encoder\.pos_embedding$": "position.embedding",
    r"^encoder\.ln\.": "norm.",
    r"^heads\.head\.": "linear.",
    r"^encoder\.layers\.encoder_layer_": "block",
    r"\.ln_": ".norm",
    r"\.self_attention\.out_proj\.": ".attention.linear.",
    r"\.self_attention\.": ".attention.",
    r"\.mlp\.0\.": ".mlp.linear1.",
    r"\.mlp\.3\.": ".mlp.linear2.",
}


def _own_name(key: str) -> str:
    for theirs, own in _OWN_NAMES.items():
        key = re.sub(theirs, own, key)
    return key


def _block(width: int, heads: int, before: str) -> dict[str, Any]:
    return {
        "norm1": (nn.LayerNorm(width, eps=1e-6), before),
        "attention": {
            "query": (nn.Linear(width, width), "norm1"),
            "key": (nn.Linear(width, width), "norm1"),
            "value": (nn.Linear(width, width), "norm1"),
            "heads": (SelfAttention(heads), ["query", "key", "value"]),
            "linear": nn.Linear(width, width),
        },
        "add1": (operator.add, ["attention.linear", before]),
        "norm2": nn.LayerNorm(width, eps=1e-6),
        "mlp": {
            "linear1": nn.Linear(width, _MLP_RATIO * width),
            "gelu": nn.GELU(),
            "linear2": nn.Linear(_MLP_RATIO * width, width),
        },
        "add2": (operator.add, ["mlp.linear2", "add1"]),
    }


@pure
class ClassToken(nn.Module):
    """Put a learnt token, at first zero, before the tokens of each example.

    Args:
        width: Length of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return examples x (1 + tokens) x width from examples x tokens x width."""
        return torch.cat([self.token.expand(len(x), -1, -1), x], 1)


@pure
class PositionalEmbedding(nn.Module):
    """Add a learnt vector to each token, one per place in the sequence, at first normal with standard deviation 0.02.

    Args:
        tokens: Number of tokens.
        width: Length of a token.
    """

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(1, tokens, width).normal_(std=0.02))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape, examples x tokens x width."""
        return x + self.embedding


@pure
class SelfAttention(nn.Module):
    """Scaled dot-product attention of several heads, without weights of its own.

    Args:
        heads: Number of heads, among which the width is divided.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return what the heads return, side by side: examples x tokens x width, as all three arguments are."""
        split = [x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (query, key, value)]
        return F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)

    def extra_repr(self) -> str:
        """Return the constructor's argument, for `repr`."""
        return f"heads={self.heads}"
