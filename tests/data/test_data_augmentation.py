import pytest
import torch
import torch.nn.functional as F

from nnray.data import RandomCrop, RandomHorizontalFlip
from nnray.errors import DataError

DTYPES = pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=["uint8", "float32"])


def distinct_images(dtype, count=40, channels=2, side=6):
    """Images of which no two have equal pixels where it matters: each crop and mirror image is recognisable."""
    values = torch.randint(1, 250, (count, channels, side, side), generator=torch.Generator().manual_seed(7))
    return values.to(dtype)


@DTYPES
@pytest.mark.parametrize(("size", "padding"), [(None, 2), (6, 0), (4, 0), (5, 1), (1, 3), (8, 1)])
def test_random_crop_equals_a_loop_over_the_images(dtype, size, padding):
    images = distinct_images(dtype)
    torch.manual_seed(3)
    batch = RandomCrop(size, padding)(images)

    side = size or 6
    places = 6 + 2 * padding - side + 1
    torch.manual_seed(3)
    top, left = torch.randint(places, (40,)), torch.randint(places, (40,))
    for image, crop, row, column in zip(images, batch, top.tolist(), left.tolist(), strict=True):
        padded = F.pad(image, [padding] * 4)
        assert torch.equal(crop, padded[:, row : row + side, column : column + side])
    assert batch.dtype == dtype
    assert batch.shape == (40, 2, side, side)


def test_random_crop_takes_every_place_about_equally_often():
    grid = torch.arange(1, 26, dtype=torch.float32).reshape(1, 1, 5, 5).repeat(9000, 1, 1, 1)
    torch.manual_seed(0)
    corners, counts = RandomCrop(3, padding=0)(grid)[:, 0, 0, 0].unique(return_counts=True)
    assert corners.tolist() == [1, 2, 3, 6, 7, 8, 11, 12, 13]
    assert ((counts - 1000).abs() < 150).all()  # five standard deviations


@DTYPES
def test_random_horizontal_flip_equals_a_loop_over_the_images(dtype):
    images = distinct_images(dtype)
    torch.manual_seed(3)
    batch = RandomHorizontalFlip(0.3)(images)
    torch.manual_seed(3)
    mirrored = torch.rand(40) < 0.3
    assert 0 < mirrored.sum() < 40
    for image, result, mirror in zip(images, batch, mirrored.tolist(), strict=True):
        assert torch.equal(result, image.flip(-1) if mirror else image)
    assert batch.dtype == dtype


@pytest.mark.parametrize(("p", "expected"), [(0.0, lambda x: x), (1.0, lambda x: x.flip(-1))], ids=["never", "always"])
def test_random_horizontal_flip_at_its_bounds(p, expected):
    images = distinct_images(torch.uint8)
    assert torch.equal(RandomHorizontalFlip(p)(images), expected(images))


@pytest.mark.parametrize("augmentation", [RandomCrop(padding=2), RandomHorizontalFlip()], ids=["crop", "flip"])
def test_augmentations_leave_their_input_as_it_is(augmentation):
    images = distinct_images(torch.uint8)
    before = images.clone()
    augmentation(images).zero_()
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomCrop(0), "RandomCrop needs size >= 1 and padding >= 0, got size=0"),
        (lambda: RandomCrop(padding=-1), "padding=-1"),
        (lambda: RandomHorizontalFlip(1.5), "probability p from 0 to 1, got p=1.5"),
        (
            lambda: RandomCrop(9, padding=1)(distinct_images(torch.uint8)),
            r"size=9, padding=1\) is too large for images of 6x6",
        ),
    ],
    ids=["size", "padding", "p", "too large"],
)
def test_what_cannot_be_done_is_refused(make, message):
    with pytest.raises(DataError, match=message):
        make()
