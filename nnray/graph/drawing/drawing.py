"""A picture of a graph, as text, as a file, and in a notebook."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from nnray.errors import GraphError, did_you_mean
from nnray.graph.drawing.dot import dot
from nnray.graph.drawing.folding import Folded, fold
from nnray.graph.drawing.mermaid import mermaid
from nnray.graph.layer_table import Example, measure

if TYPE_CHECKING:
    from nnray.graph.module import GraphModule

_TEXTS = (".dot", ".md")
_RENDERED = (".svg", ".png", ".pdf")


@final
class Drawing:
    """A picture of a graph. A notebook shows it, `save` writes it to a file.

    Layers are coloured by the kind of their operation, each with its name, its operation and the shape of its output
    for one example. Nested dicts are boxes; layers that follow one another without a branch share a table.

    Args:
        model: The graph.
        example: What `GraphModule.layers` documents; without one, and for a model that knows none, there are no shapes.
        fold: Whether blocks that repeat the one before are left out, and counted where the first one stands.

    Raises:
        GraphError: The example does not fit the model.
    """

    def __init__(self, model: GraphModule, example: Example | None = None, *, fold: bool = True) -> None:
        self._inputs = model._inputs
        self._shapes, _ = measure(model, example)
        self._folded = _folded(model, self._shapes, fold)

    @functools.cached_property
    def dot(self) -> str:
        """The picture in DOT, the language of Graphviz."""
        return dot(self._folded, self._inputs, self._shapes)

    @functools.cached_property
    def mermaid(self) -> str:
        """The picture in Mermaid, which GitHub, GitLab and JupyterLab show in Markdown."""
        return mermaid(self._folded, self._inputs, self._shapes)

    @functools.cached_property
    def svg(self) -> str:
        """The picture in SVG. It takes Graphviz's program `dot`, or else a GraphError is raised."""
        return self._rendered("svg").decode()

    def save(self, path: str | Path) -> Path:
        """Write the picture to a file.

        Args:
            path: Its ending decides: `.dot` (Graphviz), `.md` (Mermaid in Markdown), `.svg`, `.png` or `.pdf`. The
                last three take Graphviz's program `dot`.

        Returns:
            The path.

        Raises:
            GraphError: The ending is another one, the program `dot` is missing, or the file cannot be written.
        """
        if not isinstance(path, str | os.PathLike):
            raise GraphError(f"a picture is drawn to a path such as 'model.svg', not to {path!r}")
        path = Path(path)
        if path.suffix == ".dot":
            content = self.dot.encode()
        elif path.suffix == ".md":
            content = _fenced(self.mermaid).encode()
        elif path.suffix in _RENDERED:
            content = self._rendered(path.suffix[1:])
        else:
            hint = did_you_mean(path.suffix, [*_TEXTS, *_RENDERED])
            raise GraphError(f"cannot draw {str(path)!r}: its ending must name a format{hint}")
        try:
            path.write_bytes(content)
        except OSError as error:
            raise GraphError(f"cannot write {str(path)!r}: {error.strerror}") from error
        return path

    def _rendered(self, form: str) -> bytes:
        import graphviz

        try:
            return graphviz.Source(self.dot).pipe(format=form)
        except graphviz.ExecutableNotFound as error:
            raise GraphError(
                f"a picture in .{form} takes the program 'dot' of Graphviz, which is not installed here "
                "(https://graphviz.org/download); .dot and .md need no program"
            ) from error
        except graphviz.CalledProcessError as error:
            reason = " ".join(str(error.stderr or error).split())
            raise GraphError(f"Graphviz cannot draw this graph: {reason}") from error

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Return the picture for a notebook: as SVG, or where Graphviz's program is missing as Mermaid in Markdown."""
        try:
            return {"image/svg+xml": self.svg, "text/plain": repr(self)}
        except GraphError:
            return {"text/markdown": _fenced(self.mermaid), "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._folded.nodes)} layers shown)"


def draw(
    model: GraphModule, path: str | Path | None = None, *, example: Example | None = None, fold: bool = True
) -> Drawing:
    """Draw the graph: blocks as nested boxes, layers coloured by operation and labelled with shapes.

    Args:
        path: A file to write the picture to; its ending decides: `.dot` (Graphviz), `.md` (Mermaid in Markdown),
            `.svg`, `.png` or `.pdf`. The last three take Graphviz's program `dot`.
        example: As for `layers`; without one, for a model that has none of its own, there are no shapes.
        fold: Whether a block that is repeated is shown once, with how many times it is there.

    Returns:
        The picture, which a notebook shows. It has the attributes `dot`, `mermaid` and `svg` and a method `save`.

    Raises:
        GraphError: The example does not fit the model, the ending is another one, the file cannot be written, or the
            program `dot` is missing.
    """
    drawing = Drawing(model, example, fold=fold)
    if path is not None:
        drawing.save(path)
    return drawing


def mimebundle(model: GraphModule, include: Any = None, exclude: Any = None) -> dict[str, str]:
    """Return the graph's picture for a notebook, and its text where there is no picture."""
    try:
        picture = Drawing(model)._repr_mimebundle_()
    except GraphError:  # its own example does not fit any more
        picture = {}
    return {**picture, "text/plain": repr(model)}


def _folded(model: GraphModule, shapes: dict[str, Any], wanted: bool) -> Folded:
    return fold(model._nodes, model._outputs, shapes) if wanted else Folded(model._nodes, {}, model._outputs)


def _fenced(text: str) -> str:
    return f"```mermaid\n{text}```\n"
