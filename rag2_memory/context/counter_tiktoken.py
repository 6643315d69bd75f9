"""Counting with tiktoken: exactly with its vocabularies, and as an upper bound of o200k_base without them."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import zlib
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rag2_memory.context.tokens import DEFAULT_ENCODING, HASHED_FROM_CHARACTERS, CountingBase
from rag2_memory.errors import BackendUnavailableError, InvalidRequestError

if TYPE_CHECKING:
    import tiktoken

VOCABULARIES: Final = {
    "o200k_base": (
        "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    "cl100k_base": (
        "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
}
"""Address and SHA-256 as in tiktoken's `openai_public.py`; the address names the file in its cache."""

LONG_TEXT_CHARACTERS: Final = 100_000

LONG_WHITESPACE: Final = re.compile(rf"\s{{{LONG_TEXT_CHARACTERS}}}")
"""tiktoken 0.14 panics on about a million whitespace characters in a row (its regex engine's stack); counted in such slices it does not."""

LINE_ADDITIVE: Final = frozenset({"o200k_base", "o200k_harmony", "cl100k_base"})
"""Encodings whose split pattern always breaks between a line end and a visible character other than `/`, so that counts of lines add up."""

O200K_PATTERN: Final = "|".join(
    (
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""\p{N}{1,3}""",
        r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""",
        r"""\s*[\r\n]+""",
        r"""\s+(?!\S)""",
        r"""\s+""",
    )
)
"""The split pattern of o200k_base (tiktoken, MIT licence)."""

OFFLINE_RANKS: Final = Path(__file__).with_name("o200k_ranks.bin")
"""The 65,536 lowest ranks of o200k_base: zlib over one length byte and the bytes of each token, in rank order.

From tiktoken, MIT licence, Copyright (c) 2022 OpenAI, Shantanu Jain.
"""


def vocabulary_is_local(encoding: str = DEFAULT_ENCODING) -> bool:
    """Whether tiktoken can load a vocabulary without the network: loaded already, or intact in its cache folder.

    The file's hash is compared here because tiktoken deletes a damaged file and downloads it again.
    """
    from tiktoken.registry import ENCODINGS

    if encoding in ENCODINGS:
        return True
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if folder == "":
        return False
    url, sha256 = VOCABULARIES[encoding]
    path = Path(folder or Path(tempfile.gettempdir()) / "data-gym-cache") / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except OSError:
        return False


class TiktokenCounter(CountingBase):
    """Counts as tiktoken does; text that looks like a special token counts as the plain text it is."""

    def __init__(self, encoding: str = DEFAULT_ENCODING) -> None:
        """Take an encoding such as `o200k_base` or an OpenAI model name such as `gpt-4o`.

        The vocabulary is loaded at the first count, and may be downloaded then (see `default_token_counter` for one that never does).

        Raises:
            InvalidRequestError: If tiktoken knows neither an encoding nor a model of that name.
        """
        super().__init__()
        self._encoding = encoding_name(encoding)

    @property
    def name(self) -> str:
        """Identifies the counting rule."""
        return f"tiktoken:{self._encoding}"

    @cached_property
    def _engine(self) -> tiktoken.Encoding:
        import tiktoken

        try:
            return tiktoken.get_encoding(self._encoding)
        except (OSError, ValueError) as exc:
            raise BackendUnavailableError(
                f"tiktoken cannot load the vocabulary of {self._encoding!r} ({type(exc).__name__}). Set TIKTOKEN_CACHE_DIR to a folder "
                "that holds it, allow the download once, or use default_token_counter(), which needs neither."
            ) from exc

    def _count(self, text: str) -> int:
        if len(text) < HASHED_FROM_CHARACTERS or self._encoding not in LINE_ADDITIVE:
            return self._encoded(text)
        label, _, body = text.partition("\n")
        if not label or not body or label[-1].isspace() or body[0].isspace() or body[0] == "/":
            return self._encoded(text)
        # A block's header changes from context to context and its body does not: apart, the body is found in the cache.
        return self._encoded(f"{label}\n") + self._remembered(body, self._encoded)

    def _encoded(self, text: str) -> int:
        encode = self._engine.encode_ordinary
        if len(text) < LONG_TEXT_CHARACTERS or LONG_WHITESPACE.search(text) is None:
            return len(encode(text))
        return sum(len(encode(piece)) + 1 for piece in sliced_whitespace(text))

    def count_lines(self, parts: Sequence[str]) -> int:
        """Count `"".join(parts)`, where every part but the last ends a line after a visible character, and every part but the first
        starts with a visible character other than `/`."""
        if self._encoding in LINE_ADDITIVE:
            return sum(map(self.count, parts))
        return self.count("".join(parts))


class OfflineCounter(TiktokenCounter):
    """Never counts fewer tokens than o200k_base, about a tenth more; needs no vocabulary from elsewhere.

    Byte-pair encoding applies the available merge of the lowest rank until none is left. With only the lowest ranks it makes the same
    merges in the same order and then stops where the full vocabulary might go on, and going on only ever reduces the count. So encoding
    with the 65,536 lowest of o200k_base's 200,000 ranks gives an upper bound for every text.
    """

    def __init__(self) -> None:
        super().__init__(DEFAULT_ENCODING)

    @property
    def name(self) -> str:
        """Identifies the counting rule."""
        return f"offline:{self._encoding}"

    @cached_property
    def _engine(self) -> tiktoken.Encoding:
        return _offline_engine()


@cache
def _offline_engine() -> tiktoken.Encoding:
    import tiktoken

    data, at = zlib.decompress(OFFLINE_RANKS.read_bytes()), 0
    ranks: dict[bytes, int] = {}
    while at < len(data):
        end = at + 1 + data[at]
        ranks[data[at + 1 : end]] = len(ranks)
        at = end
    return tiktoken.Encoding(name="o200k_lowest_ranks", pat_str=O200K_PATTERN, mergeable_ranks=ranks, special_tokens={})


def encoding_name(name: str) -> str:
    """Return the encoding of that name, or of the model of that name, without loading it.

    Raises:
        InvalidRequestError: If tiktoken knows neither.
    """
    import tiktoken

    known = tiktoken.list_encoding_names()
    if name in known:
        return name
    try:
        return tiktoken.encoding_name_for_model(name)
    except KeyError as exc:
        raise InvalidRequestError(
            f"got {name!r} as a tiktoken encoding or model; needed a model that tiktoken knows, such as 'gpt-4o', or one of {sorted(known)}."
        ) from exc


def sliced_whitespace(text: str) -> list[str]:
    """Cut a text inside its longest whitespace runs so that no piece holds a run of 200,000 characters."""
    pieces, start = [], 0
    for run in LONG_WHITESPACE.finditer(text):
        pieces.append(text[start : run.end()])
        start = run.end()
    return [*pieces, text[start:]]
