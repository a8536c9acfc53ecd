"""How well an embedder finds functions by their docstrings, and how fast it embeds them.

    python benchmarks/embedder_probe.py                        # the offline default
    python benchmarks/embedder_probe.py --embedder fastembed:BAAI/bge-small-en-v1.5 --limit 500 --json

A pair is a function of an installed package (none of them in the standard library, which the idf table is made of):
its docstring is the query, its source without the docstring the document. Of all pairs 4,000 are drawn with a fixed
seed, and every query is ranked against all 4,000 documents by dot product. MRR@10 is the mean of 1/rank, 0 beyond the
tenth; a tie counts against the embedder. Printed for the whole docstring, and for its first paragraph alone, which
says less and repeats fewer names (CodeSearchNet's choice, arXiv 1909.09436).

functions/s: the documents in batches of 200 in this one process, by an embedder that has seen nothing before ("cold":
every word is met for the first time) and once more ("warm"); imports do not count. The best of three.
"""

import argparse
import ast
import importlib.util
import json
import random
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from elysia_dagster.embedders import open_embedder
from elysia_dagster.embedders.base import Embedder

PACKAGES = (
    *("_pytest", "alembic", "click", "dagster", "fsspec", "graphql", "httpx", "hypothesis", "jinja2"),
    *("lancedb", "pandas", "pydantic", "requests", "rich", "sqlalchemy", "urllib3", "weaviate"),
)
"""What the project installs for itself. The embedder's constants were chosen on other packages (scipy, numpy,
sklearn, mypy, …)."""

_BATCH_TEXTS = 200
_MIN_DOCSTRING_WORDS = 4
_MIN_CODE_LINES = 3
_LEFT_OUT = frozenset({"test", "tests", "_vendor"})


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A function: what it says of itself, and its source without that."""

    docstring: str
    code: str

    @property
    def summary(self) -> str:
        """The docstring's first paragraph."""
        return self.docstring.split("\n\n", 1)[0]


@dataclass(frozen=True, kw_only=True)
class ProbeReport:
    """What the probe measured; the rates are functions a second in one process."""

    model_id: str
    pairs: int
    mean_characters: float
    mrr_docstring: float
    mrr_summary: float
    cold_functions_per_s: float
    warm_functions_per_s: float


def collect_pairs(packages: Iterable[str] = PACKAGES, *, limit: int = 4000, seed: int = 7) -> list[Pair]:
    """At most ``limit`` pairs of the packages that are installed, drawn with ``seed``; no docstring and no code is
    there twice."""
    pairs: dict[str, Pair] = {}
    docstrings: set[str] = set()
    for folder in _folders(packages):
        for path in sorted(folder.rglob("*.py")):
            if _LEFT_OUT.intersection(path.relative_to(folder).parts):
                continue
            for pair in _pairs_of(path.read_text("utf-8", errors="replace")):
                if pair.code not in pairs and pair.docstring not in docstrings:
                    pairs[pair.code] = pair
                    docstrings.add(pair.docstring)
    drawn = list(pairs.values())
    random.Random(seed).shuffle(drawn)
    return drawn[:limit]


def mean_reciprocal_rank(queries: np.ndarray, documents: np.ndarray, *, depth: int = 10) -> float:
    """MRR@depth where row ``i`` of ``documents`` is the one answer to row ``i`` of ``queries``; both ``(n,
    dimensions)``."""
    total = 0.0
    for start in range(0, len(queries), 500):
        scores = queries[start : start + 500] @ documents.T
        own = scores[np.arange(len(scores)), np.arange(start, start + len(scores))]
        ranks = (scores >= own[:, None]).sum(axis=1)  # its own score is one of them
        total += float(np.where(ranks <= depth, 1 / ranks, 0.0).sum())
    return total / len(queries)


def probe(opened: Callable[[], Embedder], pairs: Sequence[Pair], *, passes: int = 3) -> ProbeReport:
    """Embeds and ranks the pairs; ``opened`` gives a new embedder for each pass."""
    codes = [pair.code for pair in pairs]
    cold, warm = [], []
    for _ in range(passes):
        embedder = opened()
        embedder.check()  # a model is loaded here, not on the clock
        cold.append(_functions_per_s(embedder, codes))
        warm.append(_functions_per_s(embedder, codes))
    documents = _embed(embedder, codes)
    return ProbeReport(
        model_id=embedder.model_id,
        pairs=len(pairs),
        mean_characters=sum(map(len, codes)) / len(codes),
        mrr_docstring=mean_reciprocal_rank(_embed(embedder, [pair.docstring for pair in pairs]), documents),
        mrr_summary=mean_reciprocal_rank(_embed(embedder, [pair.summary for pair in pairs]), documents),
        cold_functions_per_s=max(cold),
        warm_functions_per_s=max(warm),
    )


def _embed(embedder: Embedder, texts: Sequence[str]) -> np.ndarray:
    return np.concatenate(
        [embedder.embed(texts[start : start + _BATCH_TEXTS]) for start in range(0, len(texts), _BATCH_TEXTS)]
    )


def _functions_per_s(embedder: Embedder, codes: Sequence[str]) -> float:
    began = time.perf_counter()
    for start in range(0, len(codes), _BATCH_TEXTS):
        embedder.embed(codes[start : start + _BATCH_TEXTS])
    return len(codes) / (time.perf_counter() - began)


def _folders(packages: Iterable[str]) -> Iterator[Path]:
    for name in packages:
        spec = importlib.util.find_spec(name)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            yield Path(location)


def _pairs_of(source: str) -> Iterator[Pair]:
    """The pairs of one file; none where it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's escapes
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    lines = source.split("\n")
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or len(node.body) < 2:
            continue
        docstring = ast.get_docstring(node)
        if docstring is None or len(docstring.split()) < _MIN_DOCSTRING_WORDS:
            continue
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        code = lines[first - 1 : node.body[0].lineno - 1] + lines[node.body[0].end_lineno : node.end_lineno]
        if len(code) > _MIN_CODE_LINES:
            yield Pair(docstring=docstring, code="\n".join(code))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embedder", default="hashing", help="as elysiactl's --embedder")
    parser.add_argument("--limit", type=int, default=4000, help="pairs to draw")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    pairs = collect_pairs(limit=options.limit, seed=options.seed)
    report = probe(lambda: open_embedder(options.embedder), pairs)
    if options.json:
        print(json.dumps(asdict(report)))
        return
    print(f"{report.model_id}: {report.pairs} functions of {report.mean_characters:.0f} characters")
    print(f"MRR@10           {report.mrr_docstring:.3f} by docstring, {report.mrr_summary:.3f} by its first paragraph")
    print(f"functions/s      {report.cold_functions_per_s:,.0f} cold, {report.warm_functions_per_s:,.0f} warm")


if __name__ == "__main__":
    main()
