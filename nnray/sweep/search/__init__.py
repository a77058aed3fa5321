"""Searches: trials that a searcher proposes one by one, from what came out of those before."""

from nnray.sweep.search.catalogue import NAMES
from nnray.sweep.search.planning import SearchPlan
from nnray.sweep.search.source import SearchSource, open_search

__all__ = ["NAMES", "SearchPlan", "SearchSource", "open_search"]
