import pytest
import torch
from sklearn.datasets import load_digits

from nnray.data import Digits
from nnray.errors import DataError


def test_digits_holds_each_of_scikit_learns_images_once():
    splits = Digits().splits
    parts = (splits.train, splits.val, splits.test)
    assert [len(part.labels) for part in parts] == [1280, 256, 261]

    def rows(images, labels):
        return sorted((*image, label) for image, label in zip(images.tolist(), labels.tolist(), strict=True))

    original = load_digits()
    held = rows(torch.cat([part.images.flatten(1) for part in parts]), torch.cat([part.labels for part in parts]))
    assert held == rows(original.data.astype(int), original.target)


def test_the_content_and_the_split_are_fixed():
    assert Digits(seed=5).fingerprint() == "8320bd2922739693572a30dec8c5963ef763318a7976e4d24449221089babc5b"


def test_every_class_has_its_share_of_each_part():
    splits = Digits().splits
    for part in (splits.train, splits.val, splits.test):
        shares = torch.bincount(part.labels, minlength=10) / len(part.labels)
        assert (shares - 0.1).abs().max() < 0.005


def test_what_models_must_know_is_known_without_loading(monkeypatch):
    monkeypatch.setattr(Digits, "load_splits", None)
    for source in (Digits, Digits()):
        assert (source.in_channels, source.num_classes, source.image_size) == (1, 10, 8)


def test_batches_are_normalized_to_mean_zero_and_deviation_one():
    digits = Digits()
    loaders = (digits.train_dataloader(), digits.val_dataloader(), digits.test_dataloader())
    images = torch.cat([images for loader in loaders for images, _ in loader])
    assert images.shape == (1797, 1, 8, 8)
    assert images.dtype == torch.float32
    assert images.mean().item() == pytest.approx(0, abs=1e-3)
    assert images.std().item() == pytest.approx(1, abs=1e-3)


def test_evaluation_batches_are_four_times_as_large():
    digits = Digits(batch_size=16)
    assert digits.train_dataloader().batch_size == 16
    assert [len(labels) for _, labels in digits.val_dataloader()] == [64] * 4
    assert digits.test_dataloader().batch_size == 64


def test_arguments_reach_the_batches():
    class Marked(torch.nn.Module):
        def forward(self, images):
            return torch.full_like(images, 16)

    digits = Digits(batch_size=100, seed=7, augment=[Marked()], drop_last=True)
    batches = digits.train_dataloader()
    assert len(batches) == 12
    assert batches.seed == 7
    assert all((images == (16 / 16 - 0.3053) / 0.3760).all() for images, _ in batches)
    assert not any((images == images[0, 0, 0, 0]).all() for images, _ in digits.val_dataloader())


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(DataError, match="batch_size must be at least 1, got 0"):
        Digits(batch_size=0)
