"""Numbers that are put into arguments without the parser come out as the parser would have them."""

import contextlib
import math
from typing import Literal, Union

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse.typing import PositiveFloat

from nnray.errors import ConfigurationError
from nnray.trial import components, merge, resolve
from nnray.trial.components import resolve_arguments
from nnray.trial.configuration import Resolver
from nnray.trial.plain_numbers import number_types, plain_numbers


class Numbers:
    def __init__(
        self,
        rate: float = 0.5,
        size: int = 1,
        either: int | float = 2,
        perhaps: float | None = None,
        strict: PositiveFloat = 1.0,
        text: str = "",
    ) -> None:
        pass


HINTS = {
    "float": (float, float),
    "int": (int, int),
    "perhaps": (None | float, float),
    "a tensor too": (float | torch.Tensor, float),
    "old style": (Union[int, None], int),  # noqa: UP007 - as older packages write it
    "both": (int | float, None),
    "bool": (bool, None),
    "restricted": (PositiveFloat, None),
    "text": (float | str, None),
    "choice": (Literal[1, 2], None),
    "list": (list[float], None),
    "nothing": (None, None),
}


@pytest.mark.parametrize(("hint", "kind"), HINTS.values(), ids=HINTS)
def test_which_arguments_are_mere_numbers(hint, kind):
    assert number_types({"x": hint}) == ({} if kind is None else {"x": kind})


def test_which_values_are():
    kinds = {"f": float, "i": int}
    assert plain_numbers(kinds, {"f": 1, "i": 2, "other": 3}) == {"f": 1.0, "i": 2}
    assert type(plain_numbers(kinds, {"f": 1})["f"]) is float
    for left in (
        {"f": True},
        {"i": False},
        {"i": 1.0},
        {"f": "1"},
        {"f": None},
        {"f": math.nan},
        {"f": -math.inf},
        {"f": 10**400},
    ):
        assert plain_numbers(kinds, left) == {}
    assert plain_numbers(kinds, {"f": -0.0}) == {}, "0.0 would be taken for it"


@settings(deadline=None, max_examples=40)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "rate": st.floats() | st.integers() | st.sampled_from(["1", "1e-3", None, True, "x", [1]]),
            "size": st.integers() | st.floats(0, 9) | st.sampled_from(["2", None, False]),
            "either": st.integers() | st.floats(),
            "perhaps": st.none() | st.floats() | st.integers(),
            "strict": st.floats() | st.integers(),
        },
    )
)
def test_the_same_as_the_parser_alone(arguments):
    def outcome(with_numbers):
        components._template.cache_clear()
        components._filled.cache_clear()
        components._resolved.cache_clear()
        try:
            if with_numbers:  # the template is made from other numbers of the same arguments
                others = {k: (v * 0.5 + 1 if type(v) is float else v) for k, v in arguments.items()}
                with contextlib.suppress(ConfigurationError):
                    resolve_arguments("x", Numbers, others)
                return repr(resolve_arguments("x", Numbers, arguments))
            text = components._text_of("x", arguments)
            return repr(components._resolved("x", Numbers, frozenset(), components._Given(arguments, text)))
        except ConfigurationError as error:
            return str(error)

    assert outcome(True) == outcome(False)


def test_a_sweep_of_one_number_is_parsed_once():
    components._resolved.cache_clear()
    base = {"model": "MLP", "data": "Digits"}
    resolver = Resolver()
    made = [resolver.resolve(merge(base, {"optimizer.lr": rate / 1000, "seed": rate})) for rate in range(1, 200)]
    assert components._resolved.cache_info().misses < 20
    assert len({configuration.full_signature for configuration in made}) == 199
    for configuration in made[::50]:
        assert resolve(configuration.values).full_signature == configuration.full_signature


def test_what_configurations_share_is_one_object():
    resolver = Resolver()
    base = {"model": "MLP", "data": "Digits"}
    one, two = (resolver.resolve(merge(base, {"optimizer.lr": rate})) for rate in (0.1, 0.2))
    assert one.values["model"]["init_args"] is two.values["model"]["init_args"]
    assert one.values["trainer"] is two.values["trainer"]
    assert one.unsigned is two.unsigned
    assert one.values["optimizer"] != two.values["optimizer"]


def test_a_mistake_after_many_that_were_right_is_named():
    resolver = Resolver()
    base = {"model": "MLP", "data": "Digits"}
    resolver.resolve(merge(base, {"optimizer.lr": 0.1}))
    with pytest.raises(ConfigurationError, match=r"^optimizer\.init_args\.lr: expected float"):
        resolver.resolve(merge(base, {"optimizer.lr": "fast"}))
    with pytest.raises(ConfigurationError, match=r"^optimizer\.init_args\.lr: expected float, got '<object"):
        resolver.resolve(merge(base, {"optimizer.lr": object()}))
