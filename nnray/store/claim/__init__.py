"""One runner per trial, also where runners die, are cut off, or share no clock.

Where a file system shares its locks between all hosts, a claim is a lock (:mod:`nnray.store.claim.lock`), which the
kernel drops when its holder dies. Elsewhere, and on object stores, it is a lease (:mod:`nnray.store.claim.lease`),
which its holder renews and which runs out when it doesn't. Which of the two is written into the store
(:mod:`nnray.store.format`), so that all hosts agree.
"""

from __future__ import annotations

from nnray.store.claim.claim import Claim, claim_facts, claim_owner, claims_in, exclusive, forget_claim, is_claimed
from nnray.store.claim.kind import ClaimLostError

__all__ = [
    "Claim",
    "ClaimLostError",
    "claim_facts",
    "claim_owner",
    "claims_in",
    "exclusive",
    "forget_claim",
    "is_claimed",
]
