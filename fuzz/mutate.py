"""The short form: seeds changed at random from a fixed seed, without a look at coverage. Needs nothing installed."""

import random
from collections.abc import Iterator, Sequence

_INTERESTING = bytes((0, 9, 10, 13, 27, 32, 34, 46, 47, 92, 123, 127, 128, 255))


def mutations(seeds: Sequence[bytes], words: Sequence[bytes], *, seed: int, most_bytes: int) -> Iterator[bytes]:
    """The seeds themselves, then changed ones without end: always the same for one ``seed``."""
    yield from seeds
    chance = random.Random(seed)
    pool = list(seeds)
    while True:
        data = bytearray(chance.choice(pool))
        for _ in range(chance.randint(1, 8)):
            _change(data, words, pool, chance)
        made = bytes(data[:most_bytes])
        if chance.random() < 0.02:
            pool.append(made)
        yield made


def _change(data: bytearray, words: Sequence[bytes], pool: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1)
    end = min(len(data), at + chance.choice((1, 1, 2, 4, 16, 64)))
    match chance.randrange(7):
        case 0:
            del data[at:end]
        case 1:
            data[at:at] = chance.choice(words)
        case 2:
            data[at:end] = chance.choice(words)
        case 3:
            data[at:end] = chance.randbytes(end - at)
        case 4:
            data[at:at] = bytes((chance.choice(_INTERESTING),)) * chance.choice((1, 1, 3, 300))
        case 5:
            data[at:at] = data[at:end] * chance.choice((1, 2, 20))
        case _:
            other = chance.choice(pool)
            data[at:] = other[chance.randrange(len(other) + 1) :]
