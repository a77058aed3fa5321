import pytest
import torch

from nnray.data import Digits, FakeData, LabelledImages, RandomCrop, RandomHorizontalFlip, Splits, clear_cache
from nnray.data.cache import cached_splits
from nnray.errors import DataError

CPU = torch.device("cpu")


def some_splits():
    part = LabelledImages(torch.zeros(2, 1, 1, 1), torch.tensor([0, 1]))
    return Splits(part, part, None, ("a", "b"))


def failing():
    raise DataError("not there")


def test_a_data_set_is_loaded_once():
    first = cached_splits("a", CPU, some_splits)
    assert cached_splits("a", CPU, failing) is first
    clear_cache()
    with pytest.raises(DataError, match="not there"):
        cached_splits("a", CPU, failing)


def test_a_failure_is_not_kept():
    with pytest.raises(DataError, match="not there"):
        cached_splits("a", CPU, failing)
    assert cached_splits("a", CPU, some_splits).classes == ("a", "b")


def test_another_device_is_served_without_loading_again():
    on_cpu = cached_splits("a", CPU, some_splits)
    meta = torch.device("meta")
    moved = cached_splits("a", meta, failing)
    assert moved.train.images.device == meta
    assert cached_splits("a", CPU, failing).train.images is on_cpu.train.images


def test_the_two_that_were_used_last_are_kept():
    cached_splits("a", CPU, some_splits)
    cached_splits("b", CPU, some_splits)
    cached_splits("a", CPU, failing)
    cached_splits("c", CPU, some_splits)
    cached_splits("a", CPU, failing)
    cached_splits("c", CPU, failing)
    with pytest.raises(DataError, match="not there"):
        cached_splits("b", CPU, failing)


def test_modules_share_tensors_exactly_where_loading_gives_the_same():
    digits = Digits(batch_size=1, seed=1)
    assert digits.splits.train.images is Digits(batch_size=2, seed=2, augment=[]).splits.train.images
    small, large = FakeData(size=10, image_size=4), FakeData(size=10, image_size=5)
    assert small.splits.train.images.shape == (10, 3, 4, 4)
    assert large.splits.train.images.shape == (10, 3, 5, 5)


def test_a_module_keeps_its_data_set_when_the_cache_forgets_it():
    digits = Digits()
    splits = digits.splits
    clear_cache()
    digits.setup("fit")
    assert digits.splits is splits


def test_using_a_data_set_does_not_modify_it():
    digits = Digits(augment=[RandomCrop(padding=1), RandomHorizontalFlip()])
    tensors = [tensor for part in (digits.splits.train, digits.splits.val, digits.splits.test) for tensor in part]
    versions = [tensor._version for tensor in tensors]
    for batches in (digits.train_dataloader(), digits.val_dataloader(), digits.test_dataloader()):
        for images, labels in batches:
            images.add_(1)
            labels.add_(1)
    assert [tensor._version for tensor in tensors] == versions
    fingerprint = digits.fingerprint()
    clear_cache()
    assert Digits().fingerprint() == fingerprint
