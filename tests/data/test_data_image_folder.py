import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from nnray.data import ImageFolder
from nnray.errors import DataError


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def root(tmp_path):
    """Two classes; part, class and number of an image are its red, green and blue value."""
    for part_value, (part, count) in enumerate({"train": 3, "val": 2}.items()):
        for label, name in enumerate(["cat", "dog"]):
            for number in range(count):
                pixels = np.full((8, 8, 3), (part_value, label, number), dtype=np.uint8)
                save(tmp_path / part / name / f"{number}.png", pixels)
    return tmp_path


def add_test_part(root):
    for name in ("cat", "dog"):
        save(root / "test" / name / "0.png", np.zeros((8, 8, 3), dtype=np.uint8))


def test_images_and_labels_are_those_of_the_folders(root):
    splits = ImageFolder(str(root), image_size=8).splits
    assert splits.classes == ("cat", "dog")
    assert splits.test is None
    for part_value, part in enumerate((splits.train, splits.val)):
        red, green, blue = part.images[:, :, 3, 4].T.tolist()
        assert part.images.dtype == torch.uint8
        assert red == [part_value] * len(part.labels)
        assert green == part.labels.tolist()
        assert blue == list(range(len(part.labels) // 2)) * 2


def test_a_test_folder_is_used_if_there_is_one(root):
    folder = ImageFolder(str(root), image_size=8)
    with pytest.raises(DataError, match="ImageFolder has no test images"):
        folder.test_dataloader()
    add_test_part(root)
    assert len(ImageFolder(str(root), image_size=4).splits.test.labels) == 2


def test_the_number_of_classes_is_known_without_decoding(root):
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    folder = ImageFolder(str(root), image_size=8)
    assert (folder.in_channels, folder.num_classes, folder.image_size) == (3, 2, 8)


@pytest.mark.parametrize("size", [(12, 6), (6, 12)], ids=["landscape", "portrait"])
def test_the_middle_of_an_oblong_image_is_kept(root, size):
    height, width = size
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    middle = slice(3, 9)
    pixels[(middle, slice(None)) if height > width else (slice(None), middle)] = 200
    save(root / "train" / "cat" / "0.png", pixels)
    assert (ImageFolder(str(root), image_size=6).splits.train.images[0] == 200).all()


def test_resizing_keeps_a_constant_image_and_the_average(root):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    save(root / "train" / "cat" / "0.png", noise)
    images = ImageFolder(str(root), image_size=16).splits.train.images
    assert images.shape == (6, 3, 16, 16)
    assert (images[1] == images[1, :, :1, :1]).all()
    assert images[0].float().mean().item() == pytest.approx(noise.mean(), abs=1)
    assert images[0].float().std() < noise.std() / 2, "without antialiasing noise stays as strong as it was"


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_other_colour_modes_become_rgb(root, mode):
    Image.new("RGB", (8, 8), (102, 102, 102)).convert(mode).save(root / "train" / "cat" / "0.png")
    assert (ImageFolder(str(root), image_size=8).splits.train.images[0] == 102).all()


def test_batches_are_normalized_as_for_imagenet(root):
    images, labels = next(iter(ImageFolder(str(root), image_size=8).val_dataloader()))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = torch.tensor([[1, label, number] for label in (0, 1) for number in (0, 1)])
    torch.testing.assert_close(images[:, :, 0, 0], (pixels / 255 - mean) / std)
    assert labels.tolist() == [0, 0, 1, 1]


def test_too_many_images_are_refused_before_any_is_decoded(root):
    (root / "train" / "cat" / "0.png").write_bytes(b"no image")
    with pytest.raises(
        DataError, match=r"the 10 images in .* take 1\.9e-06 GB at 8x8 pixels, more than max_memory_gb=1e-06"
    ):
        ImageFolder(str(root), image_size=8, max_memory_gb=1e-6).setup()


def test_missing_folders_are_named(tmp_path, root):
    with pytest.raises(
        DataError, match=re.escape(f"no folders '{tmp_path}/nowhere/train/<class>'; --data.init_args.root")
    ):
        _ = ImageFolder(str(tmp_path / "nowhere")).num_classes
    (root / "val").rename(root / "validation")
    with pytest.raises(DataError, match=re.escape(f"no folders '{root}/val/<class>'")):
        ImageFolder(str(root)).setup()


def test_differing_classes_are_named(root):
    (root / "val" / "dog").rename(root / "val" / "wolf")
    with pytest.raises(DataError, match=r"same class folders in .*; only one of them has 'dog', 'wolf'"):
        ImageFolder(str(root)).setup()


def test_an_empty_class_is_named(root):
    for path in (root / "train" / "dog").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="no valid file for the classes dog"):
        ImageFolder(str(root)).setup()


@pytest.mark.parametrize("cut", [False, True], ids=["no image", "half an image"])
def test_a_damaged_image_is_named(root, cut):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "PNG")
    content = buffer.getvalue()[:2000] if cut else b"hello"
    (root / "train" / "dog" / "1.png").write_bytes(content)
    with pytest.raises(DataError, match=r"'.*/train/dog/1\.png' cannot be read as an image"):
        ImageFolder(str(root)).setup()


def test_an_image_size_below_one_is_refused():
    with pytest.raises(DataError, match="image_size must be at least 1, got 0"):
        ImageFolder(image_size=0)
