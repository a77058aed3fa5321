"""YAML as people expect it in a configuration."""

from __future__ import annotations

import itertools
import re
from typing import Any

import yaml

_NUMBER = re.compile(
    r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?$"
    r"|^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"
    r"|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
)
MOST_VALUES = 1_000_000
DEEPEST = 100
_LONGEST_NUMBER = 4096
_INDENT = re.compile(r"(?m)^[ \t]+")
_REPLACED = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:float")


class ConfigurationLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """``1e-3`` is a number, a date stays text, and a key that stands twice is an error."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the name and the form are PyYAML's
        first: [(tag, pattern) for tag, pattern in pairs if tag not in _REPLACED]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Refuse a number so long that it cannot be written again (``0x`` and thousands of digits)."""
        value = super().construct_yaml_int(node)
        if value.bit_length() > _LONGEST_NUMBER:
            raise yaml.constructor.ConstructorError(None, None, "the number has too many digits", node.start_mark)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a mapping with the same key twice, of which YAML would silently drop the first."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen and key.value != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


ConfigurationLoader.add_constructor("tag:yaml.org,2002:int", ConfigurationLoader.construct_yaml_int)
ConfigurationLoader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+0123456789."))


def load_yaml(text: str) -> Any:
    """Return what ``text`` means.

    Text in which aliases stand for more than ``MOST_VALUES`` values, or that is nested deeper than ``DEEPEST`` levels,
    is refused before memory or time is spent on it.

    Raises:
        yaml.YAMLError: The text is no YAML, or means nothing that a configuration could be.
    """
    _check_depth(text)
    try:
        loader = ConfigurationLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_size(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:  # a number without end, say
        raise yaml.YAMLError(f"a value cannot be read: {error}") from error


def _check_depth(text: str) -> None:
    """Refuse text nested so deeply that the parser, which calls itself, would run out of stack."""
    if sum(map(text.count, "[{-?")) + max(map(len, _INDENT.findall(text)), default=0) <= DEEPEST:
        return  # no text can be deeper than it has openings and blanks in front of a line
    depth = 0
    for event in yaml.parse(text, Loader=ConfigurationLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise yaml.YAMLError(f"it is nested deeper than {DEEPEST} levels")


def _check_size(node: yaml.Node) -> None:
    """Refuse a document whose aliases, each a whole copy to all that comes after, multiply beyond bounds."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        known = sizes.get(id(node), 0)
        if known is None:
            raise yaml.YAMLError("an alias stands inside of what it means")
        if known == 0:
            sizes[id(node)] = None
            pairs = isinstance(node, yaml.MappingNode)
            known = 1 + sum(map(size, itertools.chain.from_iterable(node.value) if pairs else node.value))
            sizes[id(node)] = known
        return known

    if size(node) > MOST_VALUES:
        raise yaml.YAMLError(f"its aliases make more than {MOST_VALUES} values of it")
