import random

import numpy as np
import pytest
import torch

from nnray.data import LabelledImages, Normalization, OrderedBatches, RandomCrop, RandomHorizontalFlip, ShuffledBatches

IDENTITY = Normalization(torch.zeros(1, 1, 1), torch.ones(1, 1, 1))


class Noise(torch.nn.Module):
    """Draws from every global generator."""

    def forward(self, images):
        return images + torch.rand(images.shape) + random.random() + np.random.rand()


def numbered(count=23):
    """Images that say which they are by their first pixel, and so does the label."""
    images = torch.arange(count, dtype=torch.uint8).reshape(-1, 1, 1, 1).repeat(1, 1, 4, 4)
    return LabelledImages(images, torch.arange(count))


def shuffled(batch_size=5, seed=0, augment=(), drop_last=False, epoch=0):
    batches = ShuffledBatches(numbered(), batch_size, IDENTITY, seed, augment, drop_last)
    batches.set_epoch(epoch)
    return batches


def assert_equal_batches(ours, theirs):
    ours, theirs = list(ours), list(theirs)
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine[0], other[0])
        assert torch.equal(mine[1], other[1])


def labels_of(batches):
    return [label for _, labels in batches for label in labels.tolist()]


def test_ordered_batches_are_all_images_in_their_order():
    batches = OrderedBatches(numbered(), 5, IDENTITY)
    assert len(batches) == 5
    assert [len(labels) for _, labels in batches] == [5, 5, 5, 5, 3]
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert labels.tolist() == list(range(23))
    assert torch.equal(images, numbered().images.float())


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [5, 5, 5, 5, 3]), (True, [5, 5, 5, 5])], ids=["keep", "drop"])
def test_shuffled_batches_are_every_image_once(drop_last, sizes):
    batches = shuffled(drop_last=drop_last)
    assert len(batches) == len(sizes)
    drawn = list(batches)
    assert [len(labels) for _, labels in drawn] == sizes
    assert len(set(labels_of(drawn))) == sum(sizes)
    assert all(torch.equal(images[:, 0, 0, 0], labels.float()) for images, labels in drawn)


def test_the_order_is_a_function_of_seed_and_epoch():
    reference = labels_of(shuffled(seed=3, epoch=2))
    torch.manual_seed(99)
    assert labels_of(shuffled(seed=3, epoch=2)) == reference
    assert labels_of(shuffled(seed=3, epoch=1)) != reference
    assert labels_of(shuffled(seed=2, epoch=2)) != reference
    assert labels_of(shuffled(seed=2, epoch=3)) != reference


def test_the_order_does_not_depend_on_batch_size_or_augmentation():
    assert labels_of(shuffled(batch_size=7, augment=[RandomCrop()])) == labels_of(shuffled())


@pytest.mark.parametrize(
    "augment", [[RandomCrop(padding=2), RandomHorizontalFlip()], [Noise()]], ids=["crop, flip", "noise"]
)
def test_augmentation_is_a_function_of_seed_epoch_and_batch(augment):
    reference = list(shuffled(seed=3, epoch=2, augment=augment))
    Noise()(torch.zeros(1))  # moves all global generators on
    assert_equal_batches(shuffled(seed=3, epoch=2, augment=augment), reference)


def test_augmentation_draws_anew_for_each_seed_epoch_and_batch():
    blank = LabelledImages(torch.zeros(20, 1, 8, 8), torch.arange(20))
    drawn = set()
    for seed in range(3):
        batches = ShuffledBatches(blank, 10, IDENTITY, seed, [Noise()])
        for epoch in range(3):
            batches.set_epoch(epoch)
            drawn |= {tuple(images[0].flatten().tolist()) for images, _ in batches}
    assert len(drawn) == 3 * 3 * 2


@pytest.mark.parametrize("augment", [[], [Noise()]], ids=["plain", "augmented"])
def test_iterating_leaves_the_global_random_state_alone(random_states, augment):
    before = random_states()
    for _ in shuffled(augment=augment):
        assert random_states() == before, "also between two batches, where the network draws its dropout"
    assert random_states() == before


@pytest.mark.parametrize("start", [0, 1, 3, 5])
def test_an_epoch_continues_in_its_middle(start):
    whole = list(shuffled(epoch=2, augment=[Noise()]))
    interrupted = shuffled(epoch=2, augment=[Noise()])
    iterator = iter(interrupted)
    for _ in range(start):
        next(iterator)
    resumed = shuffled(epoch=0, augment=[Noise()])
    state = interrupted.state_dict() if start else {"epoch": 2, "batch": 0}
    assert state == {"epoch": 2, "batch": start}
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert len(resumed) == 5
    assert_equal_batches(resumed, whole[start:])
    assert_equal_batches(resumed, whole)  # only the first iteration is shortened


def test_the_state_of_another_epoch_does_not_shorten_this_one():
    batches = shuffled()
    batches.load_state_dict({"epoch": 3, "batch": 5})
    batches.set_epoch(4)
    assert_equal_batches(batches, shuffled(epoch=4))
    batches.set_epoch(3)
    assert_equal_batches(batches, shuffled(epoch=3))


def test_the_epoch_may_be_set_after_the_iterator_is_made():
    batches = shuffled()
    iterator = iter(batches)
    batches.set_epoch(6)
    assert_equal_batches(iterator, shuffled(epoch=6))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "make", [OrderedBatches, lambda *args: ShuffledBatches(*args, seed=0)], ids=["ordered", "shuffled"]
)
def test_batches_are_normalized_float32_and_share_nothing_with_the_data(make, dtype):
    images = torch.randint(0, 255, (7, 2, 3, 3)).to(dtype)
    data = LabelledImages(images, torch.arange(7))
    kept = images.clone(), torch.arange(7)
    normalize = Normalization(torch.tensor([100.0, 50.0]).reshape(2, 1, 1), torch.tensor([0.5, 0.25]).reshape(2, 1, 1))
    for batch, labels in make(data, 7, normalize):
        expected = images[labels].float()
        expected = torch.stack([(expected[:, 0] - 100) / 2, (expected[:, 1] - 50) / 4], dim=1)
        torch.testing.assert_close(batch, expected)
        batch.zero_()
        labels.zero_()
    assert torch.equal(data.images, kept[0])
    assert torch.equal(data.labels, kept[1])
