"""Augmentations that draw for each image of a batch on its own.

torchvision's v2 transforms draw one set of parameters per call: given a whole batch, they crop every image at the same
place. These take a batch and treat each image as torchvision's transform of the same name would treat it alone.

Parameters are drawn from torch's global CPU generator whatever the device of the images, so that a batch is augmented
the same way on the CPU and on a GPU; no values travel back, so a GPU is never waited for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnray.errors import DataError


class RandomCrop(nn.Module):
    """Pad each image with zeros and cut a square out of it, at a place drawn uniformly for each image.

    Args:
        size: Side of the square in pixels; None keeps the side of square images.
        padding: Pixels of zeros put on each of the four sides first.
    """

    def __init__(self, size: int | None = None, padding: int = 4) -> None:
        super().__init__()
        if (size is not None and size < 1) or padding < 0:
            raise DataError(f"RandomCrop needs size >= 1 and padding >= 0, got size={size}, padding={padding}")
        self.size = size
        self.padding = padding

    def forward(self, images: Tensor) -> Tensor:
        """Crop images of shape (N, C, H, W), uint8 or float, to (N, C, size, size) of the same dtype.

        Raises:
            DataError: If the padded images are smaller than the crop.
        """
        size = self.size or images.shape[-1]
        padded = F.pad(images, [self.padding] * 4)
        rows, columns = padded.shape[-2] - size + 1, padded.shape[-1] - size + 1
        if min(rows, columns) < 1:
            height, width = images.shape[-2:]
            raise DataError(
                f"RandomCrop(size={size}, padding={self.padding}) is too large for images of {height}x{width} pixels"
            )
        count = len(images)
        top = torch.randint(rows, (count,), device="cpu").to(images.device)
        left = torch.randint(columns, (count,), device="cpu").to(images.device)
        # All crops of all images as a view, (N, C, rows, columns, size, size); indexing copies one of each image.
        crops = padded.unfold(2, size, 1).unfold(3, size, 1)
        return crops[torch.arange(count, device=images.device), :, top, left]

    def extra_repr(self) -> str:
        """Show the arguments in ``repr``."""
        return f"size={self.size}, padding={self.padding}"


class RandomHorizontalFlip(nn.Module):
    """Mirror each image left to right with probability ``p``, drawn for each image.

    Args:
        p: Probability that an image is mirrored, from 0 to 1.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise DataError(f"RandomHorizontalFlip needs a probability p from 0 to 1, got p={p}")
        self.p = p

    def forward(self, images: Tensor) -> Tensor:
        """Mirror some of the images of shape (N, C, H, W), any dtype; shape and dtype stay."""
        mirrored = (torch.rand(len(images), device="cpu", dtype=torch.float32) < self.p).to(images.device)
        return torch.where(mirrored[:, None, None, None], images.flip(-1), images)

    def extra_repr(self) -> str:
        """Show the arguments in ``repr``."""
        return f"p={self.p}"
