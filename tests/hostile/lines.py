"""Hostile lines from a seed, each with what must become of it: the model that the engine is held to.

Good lines stand among the bad ones; every document has a name of its own, so that what a bad line does to a good one
shows.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from hostile.bad_lines import (
    cut_off,
    gits_own,
    literal_ways,
    nested,
    no_record,
    up_and_out,
    wrong_base64,
    wrong_bytes,
    wrong_length,
    wrong_letters,
    wrong_number,
    wrong_op,
    wrong_reference,
    wrong_rename,
    wrong_type,
)
from hostile.good_lines import (
    changeset_record,
    doubled_key,
    endless,
    file_on_disk,
    folder_line,
    nothing,
    odd_name,
    ordinary,
    removed,
    rename_in_circles,
    right_reference,
    spelled_otherwise,
)
from hostile.model import HostileLine, Place

MAKERS: list[tuple[Callable[[Place], HostileLine], int]] = [
    (ordinary, 22),
    (odd_name, 6),
    (spelled_otherwise, 3),
    (doubled_key, 3),
    (right_reference, 2),
    (rename_in_circles, 2),
    (file_on_disk, 8),
    (folder_line, 2),
    (removed, 3),
    (changeset_record, 3),
    (nothing, 2),
    (no_record, 2),
    *((each, 3) for each in (cut_off, wrong_type, wrong_op, wrong_number, wrong_bytes, wrong_letters)),
    *((each, 4) for each in (up_and_out, literal_ways, wrong_reference)),
    *((each, 2) for each in (gits_own, wrong_length, wrong_base64, nested, wrong_rename)),
]
"""What is made, and how often."""


def hostile_lines(
    seed: int, count: int, root: Path, files: dict[str, tuple[str, bytes]], *, endless_lines: int = 4
) -> Iterator[HostileLine]:
    """``count`` lines, always the same for one seed; ``endless_lines`` of them are megabytes long."""
    chance = random.Random(seed)
    makers, weights = zip(*MAKERS, strict=True)
    long = set(chance.sample(range(count), endless_lines))
    for number in range(count):
        place = Place(chance=chance, number=number, root=root, files=files)
        make = endless if number in long else chance.choices(makers, weights)[0]
        line = make(place)
        assert b"\n" not in line.raw, make.__name__
        yield replace(line, kind=make.__name__)
