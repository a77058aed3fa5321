"""The neural tangent kernel (NTK) of a network: how alike the changes are that two images ask of its weights.

Notation: f_c(x) is output c of a network for the image x, with parameters theta (P of them). The empirical kernel is
``K(x, x') = sum_c <d f_c(x) / d theta, d f_c(x') / d theta>``, the trace over outputs of that of Jacot et al.

Sources: Jacot et al. 2018, arXiv:1806.07572; Cortes et al. 2012, "Algorithms for Learning Kernels Based on Centered
Alignment" (the alignment, which is CKA of given Gram matrices); Charikar et al. 2002 (the count sketch).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from analysis.similarity.cka import centred_gram

_CHUNK = 16
"""Images whose gradients are computed at once."""


def ntk(model: nn.Module, images: torch.Tensor, sketch: int | None = None, seed: int = 0) -> torch.Tensor:
    """Return the empirical neural tangent kernel of a network.

    Args:
        model: In eval mode; its output for a minibatch is ``n x outputs``.
        images: ``n x ...``.
        sketch: None for the exact kernel, which takes ``8 n P`` bytes. Else each gradient is sketched in so many
            numbers: its entries, with random signs, are added into random places. That keeps inner products on average,
            each with a variance of at most ``2 |g|^2 |g'|^2 / sketch``.
        seed: Of the sketch.

    Returns:
        ``n x n``, float64, on the device of the images.
    """
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    buffers = dict(model.named_buffers())
    with torch.no_grad():
        outputs = model(images[:1]).shape[1]

    def output(weights: dict[str, torch.Tensor], image: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        return functional_call(model, (weights, buffers), (image[None],))[0, which]

    gradients = vmap(grad(output), in_dims=(None, 0, None))
    size = sum(value.numel() for value in parameters.values())
    generator = torch.Generator().manual_seed(seed)  # on the CPU: a GPU's would draw others
    if sketch is not None:
        places = torch.randint(sketch, (size,), generator=generator).to(images.device)
        signs = (2 * torch.randint(2, (size,), generator=generator) - 1).to(images.device, torch.float64)
    kernel = torch.zeros(len(images), len(images), dtype=torch.float64, device=images.device)
    for which in range(outputs):
        rows = []
        for chunk in images.split(_CHUNK):
            found = gradients(parameters, chunk, torch.tensor(which, device=images.device))
            flat = torch.cat([value.reshape(len(chunk), -1) for value in found.values()], dim=1).double()
            if sketch is not None:
                flat = flat.new_zeros(len(chunk), sketch).index_add_(1, places, flat * signs)
            rows.append(flat)
        jacobian = torch.cat(rows)
        kernel += jacobian @ jacobian.T
    return kernel


def kernel_alignment(k: torch.Tensor, l: torch.Tensor) -> float:  # noqa: E741 - the letters of the formula
    """Return the centred alignment of two Gram matrices (``n x n``) of the same images: their CKA.

    1 for equal up to scale; NaN if one is constant.
    """
    k, l = centred_gram(k.double()), centred_gram(l.double())  # noqa: E741
    return float((k * l).sum() / (k.norm() * l.norm()))
