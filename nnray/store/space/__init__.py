"""What a store has no need of any more: how much there is, and how it goes."""

from __future__ import annotations

from nnray.store.space.budget import Budget, Excess
from nnray.store.space.references import note_references, referenced
from nnray.store.space.removal import Removal, remove_all
from nnray.store.space.waste import waste_of_store, waste_of_trial

__all__ = [
    "Budget",
    "Excess",
    "Removal",
    "note_references",
    "referenced",
    "remove_all",
    "waste_of_store",
    "waste_of_trial",
]
