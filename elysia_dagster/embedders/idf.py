"""The frozen idf table: how rare a word is in source code, counted once in the standard library's functions.

The file is gzipped text, small enough to ship and easy to diff when unpacked. Its first line names the format and its
source, the others are a document frequency and all the words that have it:

    idf-v1 documents=16539 source=python-3.11.7
    1 aaaa abcabc ...
"""

import gzip
import hashlib
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from elysia_dagster.errors import UsageError

TABLE_PATH = Path(__file__).parent / "data" / "idf-v1.txt.gz"
_FORMAT = "idf-v1"


@dataclass(frozen=True, kw_only=True)
class IdfTable:
    """``idf[stem]`` in nats; a stem that the table does not have is worth ``unknown``, the highest.

    ``digest`` is the SHA-256 (hex) of the unpacked text: the packed bytes depend on the compressor's version.
    """

    idf: Mapping[str, float]
    unknown: float
    digest: str


def pack_table(frequencies: Mapping[str, int], *, documents: int, source: str) -> bytes:
    """The file's bytes for the document frequencies of ``documents`` documents; the same input gives the same bytes."""
    by_frequency: dict[int, list[str]] = {}
    for word in sorted(frequencies):
        by_frequency.setdefault(frequencies[word], []).append(word)
    lines = [f"{_FORMAT} documents={documents} source={source}"]
    lines += [f"{frequency} {' '.join(words)}" for frequency, words in sorted(by_frequency.items())]
    return gzip.compress(("\n".join(lines) + "\n").encode(), compresslevel=9, mtime=0)


def load_table(packed: bytes) -> IdfTable:
    """Reads a table's bytes in a few milliseconds; raises ``UsageError`` for what ``pack_table`` did not write."""
    try:
        text = gzip.decompress(packed)
        header, *lines = text.decode().splitlines()
        name, documents_field, *_ = header.split(" ")
        if name != _FORMAT:
            raise ValueError(f"format {name!r}")
        documents = int(documents_field.removeprefix("documents="))
        idf: dict[str, float] = {}
        for line in lines:
            frequency, *words = line.split(" ")
            idf.update(dict.fromkeys(words, _idf(documents, int(frequency))))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UsageError(
            f"the idf table cannot be read: {error}.",
            next_step="Install the package anew, or make the table with benchmarks/make_idf_table.py.",
        ) from error
    return IdfTable(idf=idf, unknown=_idf(documents, 0), digest=hashlib.sha256(text).hexdigest())


def _idf(documents: int, frequency: int) -> float:
    return math.log((documents + 1) / (frequency + 1))
