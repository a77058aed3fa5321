"""How one request to a graph is computed: which layers, in which order, what is copied, and when a value is dropped.

**In-place operations.** The value of a name is what its operation returned, for the caller and for every layer that
reads it. So an operation that may write into its inputs (see `nnray.graph.effects`) gets a copy of each input that can
still be seen:

1. it was handed in by the caller, is asked for as an output, is a parameter or a buffer, or is read by another layer
   later on;
2. with gradients on, another layer has read it before, or autograd keeps it for its producer's backward pass;
3. it is handed to the same operation twice;

where "it" is any value that may share the input's memory (`flatten` of a convolution, the output of an unknown
operation). Otherwise the operation writes in place, as in a network written by hand. All of this is settled when the
plan is made, from the graph alone: running it needs no version counters and no hooks, which `torch.compile` and
`torch.func` would not see, and a plain forward pass through operations that are known not to write copies nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from nnray.errors import GraphError
from nnray.graph.architecture import Node, Operation
from nnray.graph.effects import Effect, Fact, effect_of
from nnray.graph.operations import Size, Value


class Step(NamedTuple):
    """One call, `values[target] = operation(*values[sources])`, after which the slots in `dead` are emptied."""

    operation: Operation
    source: int | None  # the slot of the only argument, the usual case; None where there are none or several
    sources: tuple[int, ...]
    target: int
    dead: tuple[int, ...]
    name: str


class Plan:
    """A request that is ready to run.

    Args:
        nodes: The layers to compute, in graph order: what `needed` returns.
        given: Names of the values that are handed in, in order.
        wanted: Names of the values that are asked for.
        grad: Whether autograd records the run.
        facts: What the table of layers rests on; `is_valid` looks whether this and what the effects rest on still hold.
    """

    __slots__ = ("_facts", "results", "slots", "steps")

    def __init__(
        self, nodes: Sequence[Node], given: Sequence[str], wanted: Sequence[str], grad: bool, facts: Sequence[Fact]
    ) -> None:
        collected = list(facts)
        effects = [effect_of(node.operation, collected) for node in nodes]
        parameters = [node.name for node in nodes if isinstance(node.operation, Value)]
        copies = _copied_arguments(nodes, effects, {*given, *wanted, *parameters}, grad)
        last_reader = {source: index for index, node in enumerate(nodes) for source in node.inputs}
        place = {name: slot for slot, name in enumerate(given)}
        count = len(given)
        free: list[int] = []
        steps: list[Step] = []
        for index, node in enumerate(nodes):
            sources = [place[source] for source in node.inputs]
            dead = {place[source] for source in node.inputs if last_reader[source] == index and source not in wanted}
            for position in copies[index]:
                if not free:
                    free, count = [count], count + 1
                slot = free.pop()
                steps.append(Step(copied, sources[position], (sources[position],), slot, (), node.name))
                sources[position] = slot
                dead.add(slot)
            # The result overwrites an argument that nobody reads again, which drops that one without a further step.
            available = sorted(dead) or free
            if not available:
                available, count = [count], count + 1
            target = available.pop()
            left = tuple(available) if dead else ()
            free.extend(left)
            place[node.name] = target
            steps.append(
                Step(node.operation, sources[0] if len(sources) == 1 else None, tuple(sources), target, left, node.name)
            )
        self.results = tuple((name, place[name]) for name in wanted)
        self.steps = tuple(steps)
        self.slots = count
        self._facts = tuple(collected)

    def is_valid(self) -> bool:
        """Return whether the modules and the `inplace` flags that the plan was made for are still in place."""
        for mapping, key, value in self._facts:  # noqa: SIM110 - asked before every run, and all() takes twice as long
            if mapping.get(key) is not value:
                return False
        return True

    def run(self, values: list[Any]) -> list[Any]:
        """Compute the plan.

        Args:
            values: The given values, in the order of `given`. The list is used up.

        Returns:
            A list with the wanted values at the positions that `results` names.
        """
        values.extend([None] * (self.slots - len(values)))
        step = None
        try:
            for step in self.steps:
                operation, source, sources, target, dead, _ = step
                if source is not None:
                    values[target] = operation(values[source])
                else:
                    values[target] = operation(*[values[slot] for slot in sources])
                for slot in dead:
                    values[slot] = None
        except Exception as error:
            if step is not None:
                arguments = ", ".join(_describe(values[slot]) for slot in step.sources)
                error.add_note(f"in the layer {step.name!r}, called with ({arguments})")
            raise
        return values


def needed(
    nodes: dict[str, Node], inputs: Collection[str], given: Collection[str], wanted: Collection[str]
) -> list[Node]:
    """Return the layers that must be computed for the wanted values, in graph order.

    Raises:
        GraphError: An input of the model is needed and not given.
    """
    asked_by: dict[str, str | None] = dict.fromkeys(wanted)
    for name in wanted:
        if name in inputs and name not in given:
            raise GraphError(f"the input {name!r} is missing: it is asked for as an output")
    found: list[Node] = []
    for name in reversed(nodes):
        if name not in asked_by or name in given:
            continue
        node = nodes[name]
        found.append(node)
        for source in node.inputs:
            if source in inputs and source not in given:
                raise GraphError(f"the input {source!r} is missing: the layer {name!r} needs it")
            asked_by[source] = name
    return found[::-1]


def _copied_arguments(
    nodes: Sequence[Node], effects: Sequence[Effect], observed: Collection[str], grad: bool
) -> list[list[int]]:
    """Return for each node the positions of those arguments that it must be given as copies."""
    readers: dict[str, list[int]] = {}
    for index, node in enumerate(nodes):
        for source in node.inputs:
            readers.setdefault(source, []).append(index)
    sizes = {node.name for node in nodes if isinstance(node.operation, Size)}  # autograd keeps nothing for them
    kept = {node.name for node, effect in zip(nodes, effects, strict=True) if effect.kept}
    shared: dict[str, set[str]] = {}  # name -> the names so far whose values may share its memory, itself included

    def is_visible(name: str, index: int) -> bool:
        group = shared[name]
        return any(
            member in observed
            or (grad and member in kept)
            or any(
                reader > index
                or (
                    grad
                    and reader < index
                    and nodes[reader].name not in sizes
                    and (member == name or nodes[reader].name not in group)
                )
                for reader in readers.get(member, ())
            )
            for member in group
        )

    copies: list[list[int]] = []
    for index, (node, effect) in enumerate(zip(nodes, effects, strict=True)):
        positions = []
        seen: list[set[str]] = []
        own = {node.name}
        for position, source in enumerate(node.inputs):
            group = shared.setdefault(source, {source})
            # Two arguments that share memory: the first call to write would change both.
            twice = effect.writes > 0 and any(group is other for other in seen)
            if twice or (position < effect.writes and is_visible(source, index)):
                positions.append(position)
                continue
            seen.append(group)
            if position < effect.aliases:
                own |= group
        for member in own:
            shared[member] = own
        copies.append(positions)
    return copies


def copied(value: Any) -> Any:
    """Return a value of which all tensors are copies."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [copied(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return type(value).__name__
