"""What passes between a search and its searcher: counted, so that it can be held again in the same order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from nnray.store.membership import Ask
from nnray.sweep.search.isolation import isolated_searcher
from nnray.sweep.search.searcher import FAILURE, Evaluation, Point, Searcher
from nnray.sweep.search.space import SearchSpace

PATIENCE = 200
"""So often in a row a searcher may propose nothing new before it is taken to have nothing new."""


class Conversation:
    """Asks and tells a searcher.

    Attributes:
        untellable: How many results the searcher could not be told, since it takes none that it was not asked for.
        diverged: Whether the searcher proposed something else than it did before, when it was asked again.

    Args:
        searcher: Fresh: not asked yet.
        space: What its proposals mean.
        seed: Of the global random generators, for searchers that draw from those.
    """

    def __init__(self, searcher: Searcher, space: SearchSpace, seed: int) -> None:
        self._searcher, self._space, self._seed = searcher, space, abs(seed)
        self._clock = 0
        self._number = 0
        self._open: set[int] = set()
        self.untellable = 0
        self.diverged = False

    def replay(self, asks: Iterable[tuple[Ask, str]], evaluation: Callable[[Ask, str], Evaluation]) -> None:
        """Ask and tell again what was asked and told before.

        A seeded searcher is then in the state in which it was. From the first proposal on that differs from the
        recorded one (another space, another version of its package) it is only told what came out.

        Args:
            asks: What was asked, and the signatures of the trials there; in any order.
            evaluation: Gives what was told of one of them.
        """
        asks = list(asks)
        events = [(ask.asked, True, ask, signature) for ask, signature in asks if ask.asked is not None]
        events += [(ask.told, False, ask, signature) for ask, signature in asks if ask.told is not None]
        for clock, is_ask, ask, signature in sorted(events, key=lambda event: event[0]):
            if is_ask:
                self._ask_again(ask, clock)
            else:
                self._tell(ask, evaluation(ask, signature), clock)
        self._clock = 1 + max((event[0] for event in events), default=-1)
        self._number = 1 + max((ask.number for ask, _ in asks if ask.number is not None), default=-1)

    def ask(self) -> Ask | None:
        """Return the next point, or None if the searcher waits for results that are on their way.

        Raises:
            NothingMoreError: If it has no further point.
            SpaceError: If the point is none of the space.
        """
        point = self._proposal(self._number, self._clock)
        if point is None:
            return None
        ask = Ask(self._number, dict(point), asked=self._clock)
        self._open.add(self._number)
        self._number += 1
        self._clock += 1
        return ask

    def tell(self, ask: Ask, evaluation: Evaluation) -> Ask:
        """Tell what became of a point; return it as it is to be recorded."""
        clock = self._clock
        self._tell(ask, evaluation, clock)
        self._clock += 1
        return replace(ask, told=clock, values=None if evaluation.values is None else list(evaluation.values))

    def _ask_again(self, ask: Ask, clock: int) -> None:
        assert ask.number is not None
        if self.diverged:
            return
        point = self._proposal(ask.number, clock) if ask.number == self._number else None
        self._number = ask.number + 1
        if point == ask.point:
            self._open.add(ask.number)
            return
        self.diverged = True
        if point is not None:
            with isolated_searcher(self._seed, clock):
                self._searcher.tell(ask.number, FAILURE)  # nobody will train it

    def _proposal(self, number: int, clock: int) -> Point | None:
        for _ in range(1 if self._open else PATIENCE):  # some have nothing instead of a point that they had before
            with isolated_searcher(self._seed, clock):
                proposal = self._searcher.ask(number)
            if proposal is not None:
                return self._space.fit(proposal)
        return None

    def _tell(self, ask: Ask, evaluation: Evaluation, clock: int) -> None:
        with isolated_searcher(self._seed, clock):
            if ask.number in self._open:
                self._open.remove(ask.number)
                self._searcher.tell(ask.number, evaluation)
                return
            try:
                self._searcher.add(ask.point, evaluation)
            except NotImplementedError:
                self.untellable += 1
