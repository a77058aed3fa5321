"""Which blocks of a graph are repetitions, so that a picture shows one of them and says how many there are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nnray.graph.architecture import Node
from nnray.graph.drawing.labels import kind, operation_label


class Repetition(NamedTuple):
    """A block that stands for itself and for those after it, up to `last`.

    Args:
        last: Name of the last block.
        times: How many blocks there are.
    """

    last: str
    times: int


@dataclass(frozen=True)
class Folded:
    """A graph in which repeated blocks are there once.

    Args:
        nodes: The layers that are left; their inputs are among them too.
        repetitions: For the name of a block that stands for several, which ones.
        outputs: The model's outputs, or the layers that stand for them.
    """

    nodes: tuple[Node, ...]
    repetitions: dict[str, Repetition]
    outputs: tuple[str, ...]


def fold(nodes: Sequence[Node], outputs: Sequence[str], shapes: Mapping[str, Any]) -> Folded:
    """Leave out blocks that repeat the one before.

    Neighbouring nested dicts are repetitions if they have the same operations with the same sizes (probabilities of
    dropout may differ), connected alike, if each reads from the one before what that reads from the one before it
    (apart from layers that all of them read), and if only the last one is read by layers further on.

    Args:
        nodes: The layers, in graph order.
        outputs: The model's outputs.
        shapes: The shapes of the layers, as far as they are known.
    """
    return _Folding(nodes, outputs, shapes).result(outputs)


class _Block(NamedTuple):
    name: str
    layers: tuple[int, ...]  # positions in graph order, without gaps
    form: tuple[Any, ...]  # equal for blocks with the same operations, connected alike
    sources: tuple[str, ...]  # what it reads from outside, in the order of the first use


class _Folding:
    def __init__(self, nodes: Sequence[Node], outputs: Sequence[str], shapes: Mapping[str, Any]) -> None:
        self._nodes = nodes
        self._shapes = shapes
        self._readers: dict[str, list[str]] = {node.name: [] for node in nodes}
        for node in nodes:
            for source in node.inputs:
                self._readers.setdefault(source, []).append(node.name)
        for name in outputs:
            self._readers[name].append("")  # the caller
        self._repetitions: dict[str, Repetition] = {}
        self._stands_for: dict[str, str] = {}  # prefix of a block that is left out -> that of the one shown
        self._fold_within("", range(len(nodes)))

    def result(self, outputs: Sequence[str]) -> Folded:
        kept = (node for node in self._nodes if self._shown(node.name) == node.name)
        return Folded(
            tuple(node._replace(inputs=tuple(map(self._shown, node.inputs))) for node in kept),
            self._repetitions,
            tuple(dict.fromkeys(map(self._shown, outputs))),
        )

    def _shown(self, name: str) -> str:
        """Return the layer that stands for this one in the picture."""
        parts = name.split(".")
        for depth in range(1, len(parts)):
            prefix = ".".join(parts[:depth])
            if prefix in self._stands_for:
                parts[:depth] = self._stands_for[prefix].split(".")
        return ".".join(parts)

    def _fold_within(self, scope: str, positions: Sequence[int]) -> None:
        blocks = self._blocks(scope, positions)
        start = 0
        while start < len(blocks):
            end = start + 1
            while end < len(blocks) and self._continues(blocks[start:end], blocks[end]):
                end += 1
            first, count = blocks[start], end - start
            if first is not None:
                if count > 1:
                    self._repetitions[first.name] = Repetition(_name(blocks[end - 1]), count)
                    self._stands_for.update((_name(block), first.name) for block in blocks[start + 1 : end])
                self._fold_within(first.name, first.layers)
            start = end

    def _blocks(self, scope: str, positions: Sequence[int]) -> list[_Block | None]:
        """Return the nested dicts directly within a scope, in graph order, and None for each single layer."""
        depth = scope.count(".") + 1 if scope else 0
        runs: list[tuple[str | None, list[int]]] = []
        for position in positions:
            parts = self._nodes[position].name.split(".")
            name = ".".join(parts[: depth + 1]) if len(parts) > depth + 1 else None
            if name is None or not runs or runs[-1][0] != name:
                runs.append((name, []))
            runs[-1][1].append(position)
        names = [name for name, _ in runs]
        return [None if name is None or names.count(name) > 1 else self._block(name, layers) for name, layers in runs]

    def _block(self, name: str, layers: Sequence[int]) -> _Block:
        sources: dict[str, int] = {}
        form = []
        for node in (self._nodes[position] for position in layers):
            inputs = tuple(
                source[len(name) :] if _is_in(source, name) else sources.setdefault(source, len(sources))
                for source in node.inputs
            )
            form.append((node.name[len(name) :], _text(node.operation), str(self._shapes.get(node.name)), inputs))
        return _Block(name, tuple(layers), tuple(form), tuple(sources))

    def _continues(self, run: Sequence[_Block | None], block: _Block | None) -> bool:
        last = run[-1]
        if block is None or last is None or block.form != last.form:
            return False
        for position in last.layers:
            name = self._nodes[position].name
            if not all(_is_in(reader, last.name) or _is_in(reader, block.name) for reader in self._readers[name]):
                return False
        before = run[-2] if len(run) > 1 else None
        for own, previous in zip(block.sources, last.sources, strict=True):
            if not _is_in(own, last.name):  # a layer that all blocks read
                if own != previous:
                    return False
            elif before is not None and own[len(last.name) :] != previous[len(before.name) :]:
                return False
        return True


def _text(operation: Any) -> str:
    """Return an operation with all its sizes, without its address in memory."""
    if kind(operation) == "dropout":
        return operation_label(operation)  # its probability often grows from block to block
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(operation))


def _is_in(name: str, block: str) -> bool:
    return name.startswith(f"{block}.")


def _name(block: _Block | None) -> str:
    assert block is not None
    return block.name
