"""`python -m fuzz TARGET [SECONDS]`: one target, guided by coverage (atheris), until a finding or the time's end.

The corpus grows in ``.fuzz/corpus/TARGET``. A finding is written to ``.fuzz/findings``: mend it, and keep its file in
``tests/hostile/findings/TARGET``, where the suite tries it for ever.
"""

import argparse
import sys
import warnings
from pathlib import Path

import atheris

HERE = Path(".fuzz")
_LONGEST_BYTES = {"lines": 4_096, "paths": 1_024, "text": 16_384, "chunks": 6_000}
_ONE_INPUT_S = 120
"""A watchdog for hangs, generous enough for a machine that has other things to do."""

with atheris.instrument_imports(include=["elysia_dagster.sync", "json", "base64"]):
    from fuzz.seeds import seeds, words
    from fuzz.targets import TARGETS
    from fuzz.tree import remove_tree


def main() -> None:
    """Fuzzes; the process ends with 0 where nothing was found, with libFuzzer's 77 where something was."""
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("seconds", type=int, nargs="?", default=300)
    asked = parser.parse_args()
    corpus = HERE / "corpus" / asked.target
    findings = HERE / "findings"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for number, each in enumerate(seeds(asked.target)):
        (corpus / f"seed-{number}").write_bytes(each)
    dictionary = HERE / f"{asked.target}.dict"
    dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in words(asked.target)))
    warnings.simplefilter("error")
    options = [
        f"-max_total_time={asked.seconds}",
        f"-max_len={_LONGEST_BYTES[asked.target]}",
        f"-timeout={_ONE_INPUT_S}",
        f"-artifact_prefix={findings}/{asked.target}-",
        f"-dict={dictionary}",
        "-rss_limit_mb=4096",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[asked.target])
    try:
        atheris.Fuzz()
    finally:
        remove_tree()


def _escaped(word: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word)


main()
