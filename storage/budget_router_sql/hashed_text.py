"""Text as salted n-gram counts: enough for the text projection to learn from, and no text.

What is stored are the counts that `TextProjection` works from, under bucket numbers that the salt of the ledger has shuffled.
Rows alone tell no more than how many n-grams a task has. Whoever holds the salt too can test guesses of words and word pairs, as
with any salted hash of a small set; figures are gone, for digits are all alike.
"""

import hashlib
import struct
from functools import cached_property

from budget_router.errors import InvalidInput
from budget_router.features import ngram_counts
from budget_router.features.projection import N_BUCKETS

_MOST = 2**16 - 1


class HashedText:
    """Writes n-gram counts under a ledger's salt, and reads them back as they were counted."""

    def __init__(self, salt: str) -> None:
        self._salt = salt

    def packed(self, text: str) -> bytes:
        """Pairs of shuffled bucket and count, by the former: their order tells nothing either."""
        shuffled = sorted((self._shuffled[bucket], min(count, _MOST)) for bucket, count in ngram_counts(text).items())
        return b"".join(struct.pack("<HH", *pair) for pair in shuffled)

    def counts(self, packed: bytes) -> dict[int, int]:
        """The counts that `packed` wrote; raises InvalidInput where it wrote something else."""
        try:
            return dict(sorted((self._buckets[bucket], count) for bucket, count in struct.iter_unpack("<HH", packed)))
        except (struct.error, KeyError) as error:
            raise InvalidInput(f"{len(packed)} bytes are no n-gram counts ({error})") from error

    @cached_property
    def _shuffled(self) -> list[int]:
        """Place of each bucket in an order that only the salt tells."""
        key = hashlib.blake2b(self._salt.encode(), digest_size=32, person=b"n-grams").digest()
        order = sorted(range(N_BUCKETS), key=lambda bucket: hashlib.blake2b(bucket.to_bytes(2), key=key, digest_size=16).digest())
        places = [0] * N_BUCKETS
        for place, bucket in enumerate(order):
            places[bucket] = place
        return places

    @cached_property
    def _buckets(self) -> dict[int, int]:
        return {place: bucket for bucket, place in enumerate(self._shuffled)}
