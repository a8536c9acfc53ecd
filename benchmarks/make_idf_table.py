"""Makes the idf table that the hashing embedder ships, from the standard library's sources of the running Python.

    python benchmarks/make_idf_table.py                     # rewrites elysia_dagster/embedders/data/idf-v1.txt.gz
    python benchmarks/make_idf_table.py --source DIR --output FILE

A document is a function with its docstring, of any depth: it is nearer to a chunk than a file is, where many a common
word is in every document (MRR@10 on the probe 0.627 and, by file, 0.613). Tests are left out: not every distribution
of Python has them. The same sources give the same bytes. A new table is a new ``model_id``: collections made with the
old one have to be indexed again.
"""

import argparse
import ast
import platform
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from elysia_dagster.embedders.idf import TABLE_PATH, load_table, pack_table
from elysia_dagster.embedders.words import split_words, stem

_LEFT_OUT = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})


def functions(source: str) -> Iterator[str]:
    """The source text of every function, nested ones too; nothing where the file does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in old modules
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    lines = source.split("\n")  # not splitlines: a form feed ends no line for the parser
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield "\n".join(lines[node.lineno - 1 : node.end_lineno])


def make_table(folder: Path, *, source: str) -> bytes:
    """The packed table of all Python files under ``folder``, but for tests and installed packages."""
    frequencies: Counter[str] = Counter()
    stems: dict[str, str] = {}
    documents = 0
    for path in sorted(folder.rglob("*.py")):
        if _LEFT_OUT.intersection(path.relative_to(folder).parts):
            continue
        for function in functions(path.read_text("utf-8", errors="replace")):
            words = set(split_words(function))
            for word in words.difference(stems):
                stems[word] = stem(word.lower())
            frequencies.update({stems[word] for word in words})
            documents += 1
    return pack_table(frequencies, documents=documents, source=source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--source", type=Path, default=Path(sysconfig.get_paths()["stdlib"]), help="a folder of Python files"
    )
    parser.add_argument("--output", type=Path, default=TABLE_PATH, help="the file to write")
    options = parser.parse_args()
    packed = make_table(options.source, source=f"python-{platform.python_version()}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_bytes(packed)
    table = load_table(packed)
    print(f"{options.output}: {len(table.idf)} words, {len(packed)} bytes, {table.digest[:8]}")


if __name__ == "__main__":
    main()
