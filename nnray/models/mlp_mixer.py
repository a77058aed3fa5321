"""The MLP-Mixer."""

from __future__ import annotations

import functools
import operator
from typing import Any, final

import torch
from torch import nn

from nnray.graph import GraphModule
from nnray.layers import ImageToTokens
from nnray.models.arguments import check_at_least, check_divides

_SWAP = functools.partial(torch.transpose, dim0=1, dim1=2)  # tokens and channels


@final
class MLPMixer(GraphModule):
    """The MLP-Mixer of Tolstikhin et al. 2021; by default with small patches and widths for small images.

    The image is cut into patches of `patch_size` x `patch_size` pixels, each of which becomes a token of `width`
    channels. Each of `depth` blocks has two perceptrons with one hidden layer (GELU), each after layer normalisation
    and added to its input: one that mixes tokens, the same for all channels, and one that mixes channels, the same for
    all tokens. Layer normalisation, the mean over tokens and a linear layer.

    Layers: `patches`, `tokens`,
    `block{0,..,depth-1}.{norm1,token_mlp.{transpose,linear1,gelu,linear2,transpose_back},add1,norm2,channel_mlp.{linear1,gelu,linear2},add2}`,
    `norm`, `pool`, `linear`.

    Args:
        width: Number of channels of a token; 512 in Mixer-S, 768 in Mixer-B.
        depth: Number of blocks; 8 in Mixer-S, 12 in Mixer-B.
        patch_size: Height and width of the patches in pixels, a divisor of the image size; 16 or 32 in the paper.
        token_hidden: Number of hidden units of the perceptrons that mix tokens; half the width in the paper.
        channel_hidden: Number of hidden units of those that mix channels; four times the width in the paper.
        in_channels: Number of channels of the images.
        image_size: Height and width of the images in pixels.
        num_classes: Number of outputs.

    Raises:
        ConfigurationError: An argument is not positive, or patches don't fill the image.

    References:
        Tolstikhin et al.: MLP-Mixer: An all-MLP Architecture for Vision, 2021. https://arxiv.org/abs/2105.01601
        https://github.com/google-research/vision_transformer/blob/main/vit_jax/models_mixer.py
    """

    def __init__(
        self,
        width: int = 128,
        depth: int = 8,
        patch_size: int = 4,
        token_hidden: int = 64,
        channel_hidden: int = 512,
        in_channels: int = 3,
        image_size: int = 32,
        num_classes: int = 10,
    ) -> None:
        check_at_least(1, width=width, depth=depth, patch_size=patch_size)
        check_at_least(1, token_hidden=token_hidden, channel_hidden=channel_hidden)
        check_at_least(1, in_channels=in_channels, image_size=image_size, num_classes=num_classes)
        check_divides("patch_size", patch_size, "image_size", image_size)
        tokens = (image_size // patch_size) ** 2
        architecture: dict[str, Any] = {
            "patches": nn.Conv2d(in_channels, width, patch_size, stride=patch_size),
            "tokens": ImageToTokens(),
        }
        before = "tokens"
        for index in range(depth):
            architecture[f"block{index}"] = _block(tokens, token_hidden, width, channel_hidden, before)
            before = f"block{index}.add2"
        architecture |= {
            "norm": nn.LayerNorm(width, eps=1e-6),
            "pool": functools.partial(torch.mean, dim=1),
            "linear": nn.Linear(width, num_classes),
        }
        super().__init__(architecture)
        self.example_shape = (in_channels, image_size, image_size)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)


def _block(tokens: int, token_hidden: int, width: int, channel_hidden: int, before: str) -> dict[str, Any]:
    return {
        "norm1": (nn.LayerNorm(width, eps=1e-6), before),
        "token_mlp": {"transpose": _SWAP, **_perceptron(tokens, token_hidden), "transpose_back": _SWAP},
        "add1": (operator.add, ["token_mlp.transpose_back", before]),
        "norm2": nn.LayerNorm(width, eps=1e-6),
        "channel_mlp": _perceptron(width, channel_hidden),
        "add2": (operator.add, ["channel_mlp.linear2", "add1"]),
    }


def _perceptron(features: int, hidden: int) -> dict[str, Any]:
    return {"linear1": nn.Linear(features, hidden), "gelu": nn.GELU(), "linear2": nn.Linear(hidden, features)}
