"""``python -m tests.pages check``: every command of README and ``docs`` is run, page by page; ``make docs-check``.

``python -m tests.pages write``: the pages that are made of the sources are made anew; ``make docs``.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from pages.blocks import ROOT, blocks_of
from pages.blocks import pages as every_page
from pages.made import MADE
from pages.sandbox import Failed, Sandbox


def write() -> int:
    """Makes the pages; the exit code."""
    for name, page in MADE.items():
        (ROOT / name).write_text(page())
    return 0


def check() -> int:
    """Runs every block that can be run; 1 where one of them, or a page that is made, is not as it should be."""
    wrong = [name for name, page in MADE.items() if (ROOT / name).read_text() != page()]
    for name in wrong:
        print(f"{name} is out of date: make docs")
    for page in every_page():
        with tempfile.TemporaryDirectory(prefix="docs-") as folder:
            sandbox = Sandbox(Path(folder).resolve())
            for block in blocks_of(page):
                began = time.monotonic()
                if not block.is_run:
                    print(f"not run   {block.place}: {block.why}")
                    continue
                try:
                    sandbox.run(block)
                except Failed as error:
                    wrong.append(block.place)
                    print(f"FAILED    {error}")
                    continue
                print(f"ran       {block.place} in {time.monotonic() - began:.1f} s", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:] not in (["check"], ["write"]):
        sys.exit(__doc__)
    sys.exit(check() if sys.argv[1] == "check" else write())
