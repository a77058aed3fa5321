"""A trial is found by what people can remember of it."""

from __future__ import annotations

import pytest
from trial_folders import write_trial

from nnray.errors import StoreError
from nnray.store.finding import find_trial


@pytest.fixture
def trials(store):
    return [write_trial(store, position=position) for position in range(40)]


def shortest(signature, others):
    """Return the first digits that no other signature begins with."""
    return next(
        signature[:length]
        for length in range(1, 17)
        if sum(other.startswith(signature[:length]) for other in others) == 1
    )


def test_by_as_few_digits_as_no_other_trial_begins_with(store, trials):
    signatures = [paths.signature for paths in trials]
    for paths in trials:
        prefix = shortest(paths.signature, signatures)
        assert find_trial(store, prefix) == find_trial(store, paths.signature) == paths
        assert find_trial(store, paths.signature + "0" * 48) == paths  # the long form, as records have it


def test_by_its_name_in_a_sweep(store, trials):
    other = write_trial(store, "other/../sweep".replace("/", "-"), position=3, name="a/b c=1")
    assert find_trial(store, "digits/seed=3") == trials[3] == other
    assert find_trial(store, "other-..-sweep/a/b c=1") == other


def test_an_ambiguous_beginning_lists_the_candidates_with_their_names(store):
    for last in "01":
        store.trial("abcdef" + last * 10).folder.mkdir(parents=True)
    paths = write_trial(store)
    store.trial("abcdef0000000000").folder.rmdir()
    paths.folder.rename(store.trial("abcdef0000000000").folder)
    with pytest.raises(StoreError) as error:
        find_trial(store, "abc")
    assert str(error.value) == "'abc' is ambiguous: abcdef0000000000 (digits/seed=0), abcdef1111111111"


def test_many_candidates_are_counted(store):
    for number in range(11):
        store.trial(f"abc{number:013}").folder.mkdir(parents=True)
    with pytest.raises(StoreError, match=r"'abc' is ambiguous: abc0000000000000, .* and 3 more$"):
        find_trial(store, "abc")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zzz", r"there is no trial 'zzz' in "),
        ("", r"there is no trial ''"),
        ("../trials", r"there is no sweep '\.\.'"),
        ("digits/seed=99", r"there is no trial 'seed=99' in the sweep digits; did you mean 'seed=9'"),
        ("digts/seed=9", r"there is no sweep 'digts' in .*; did you mean 'digits'"),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest(store, trials, text, message):
    with pytest.raises(StoreError, match=message):
        find_trial(store, text)
