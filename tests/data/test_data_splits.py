import pytest
import torch

from nnray.data import LabelledImages, Splits, split_stratified
from nnray.errors import DataError


def labelled(labels):
    return LabelledImages(torch.arange(len(labels), dtype=torch.uint8).reshape(-1, 1, 1, 1), torch.tensor(labels))


def two_parts(train=(0, 1, 1), test=(1, 0), classes=("a", "b")):
    return Splits(labelled(list(train)), labelled([0]), labelled(list(test)) if test else None, classes)


@pytest.mark.parametrize("size", [1, 7, 30, 59])
def test_split_parts_are_disjoint_ordered_and_complete(size):
    data = labelled([0, 1, 1, 2, 2, 2] * 10)
    kept, taken = split_stratified(data, size)
    indices = [part.images.flatten().tolist() for part in (kept, taken)]
    assert len(taken.labels) == size
    assert sorted(indices[0] + indices[1]) == list(range(60))
    assert all(part == sorted(part) for part in indices)
    for part, where in zip((kept, taken), indices, strict=True):
        assert part.labels.tolist() == data.labels[where].tolist()


@pytest.mark.parametrize("size", [6, 17, 100, 555])
def test_each_class_has_its_share_to_within_one_image(size):
    labels = torch.randint(0, 7, (600,), generator=torch.Generator().manual_seed(0))
    _, taken = split_stratified(LabelledImages(torch.zeros(600, 1, 1, 1), labels), size)
    shares = torch.bincount(labels, minlength=7) * size / 600
    assert (torch.bincount(taken.labels, minlength=7) - shares).abs().max() <= 1


def test_a_split_is_random_inside_a_class_but_fixed(random_states):
    before = random_states()
    _, taken = split_stratified(labelled([0] * 50 + [1] * 50), 20)
    assert random_states() == before
    steps = taken.images.flatten().to(torch.int64).diff()
    assert len(steps.unique()) > 2, "regular steps: the images of a class were not shuffled"
    torch.manual_seed(1)
    assert torch.equal(split_stratified(labelled([0] * 50 + [1] * 50), 20)[1].images, taken.images)


@pytest.mark.parametrize("size", [0, 3, 4])
def test_a_split_without_images_is_refused(size):
    with pytest.raises(DataError, match=f"cannot split {size} of 3 images off"):
        split_stratified(labelled([0, 1, 1]), size)


def test_the_fingerprint_is_the_same_in_every_process():
    assert two_parts().fingerprint == "7dc8dcf4286e72a33b7a613df96228e39e5c394ab544c9392da443e2b0c2db6a"


@pytest.mark.parametrize(
    "other",
    [
        two_parts(train=(0, 1, 0)),
        two_parts(test=(1, 1)),
        two_parts(test=None),
        two_parts(classes=("b", "a")),
        Splits(
            *[p._replace(images=p.images.float()) for p in (labelled([0, 1, 1]), labelled([0]), labelled([1, 0]))],
            ("a", "b"),
        ),
        Splits(
            labelled([0, 1, 1])._replace(images=torch.tensor([0, 1, 3], dtype=torch.uint8).reshape(-1, 1, 1, 1)),
            labelled([0]),
            labelled([1, 0]),
            ("a", "b"),
        ),
        Splits(
            labelled([0, 1, 1])._replace(images=torch.arange(3, dtype=torch.uint8).reshape(1, 3, 1, 1)),
            labelled([0]),
            labelled([1, 0]),
            ("a", "b"),
        ),
    ],
    ids=["train label", "test label", "no test", "class order", "dtype", "pixel", "shape"],
)
def test_the_fingerprint_tells_other_content_apart(other):
    assert other.fingerprint != two_parts().fingerprint


def test_the_fingerprint_ignores_how_tensors_are_laid_out():
    images = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 2, 2)
    labels = torch.tensor([0, 1])
    plain, channels_last = (
        Splits(part, part, None, ("a", "b"))
        for part in (
            LabelledImages(images, labels),
            LabelledImages(images.contiguous(memory_format=torch.channels_last), labels),
        )
    )
    assert plain.fingerprint == channels_last.fingerprint


def test_moving_keeps_the_tensors_that_are_there_and_the_fingerprint():
    splits = two_parts()
    fingerprint = splits.fingerprint
    moved = splits.to(torch.device("cpu"))
    assert moved.train.images is splits.train.images
    assert moved.__dict__["fingerprint"] == fingerprint, "hashed again"
    assert two_parts(test=None).to(torch.device("meta")).test is None
