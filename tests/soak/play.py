"""A soak: stories, one after the other, until enough was killed."""

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from crash.zygote import Zygote
from faults.mortal import MortalServer
from soak.aim import Habits, Pace
from soak.story import Mortal, Story
from soak.tally import Tally

SCRIPT = Path(__file__).with_name("processes.py")

DAGSTER_YAML = """telemetry:
  enabled: false
event_log_storage:
  module: dagster._core.storage.event_log
  class: ConsolidatedSqliteEventLogStorage
  config:
    base_dir: {home}/events
"""
"""One database for the events of all runs: a new one for each run takes longer than the run."""


class Soak:
    """What all stories of a soak share: the parent of their processes, a Dagster instance, perhaps a server.

    A context manager. ``zygote`` and ``server`` are there already, or it starts its own: the latter where ``store`` is
    "weaviate".
    """

    def __init__(
        self,
        folder: Path,
        *,
        store: str,
        seed: str,
        say: Callable[[str], None] = lambda _sentence: None,
        zygote: Zygote | None = None,
        server: Mortal | None = None,
        habits: Habits | None = None,
    ) -> None:
        self.folder = folder
        self.store = store
        self.seed = seed
        self.say = say
        self.tally = Tally()
        self._given_zygote = zygote
        self._server = server
        self._home: Path | None = None
        self._habits = habits or Habits()
        self._pace = Pace()
        self._seconds = 0.0

    def __enter__(self) -> "Soak":
        self._stack = ExitStack()
        with self._stack as until_all_is_there:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._zygote = self._given_zygote or self._stack.enter_context(Zygote(script=SCRIPT))
            if self.store == "weaviate" and self._server is None:
                environment = {"ASYNC_INDEXING": "true"}  # as docs/stores.md says of a server that may be killed
                self._server = self._stack.enter_context(MortalServer(self.folder / "server", environment=environment))
            self._stack = until_all_is_there.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def dagster_home(self) -> Path:
        """The folder of the Dagster instance; made when it is first asked for, by a process that nobody kills."""
        if self._home is None:
            self._home = self.folder / "dagster"
            self._home.mkdir()
            (self._home / "dagster.yaml").write_text(DAGSTER_YAML.format(home=self._home))
            said = self.folder / "prepared"
            environment = {"DAGSTER_HOME": str(self._home)}
            prepared = self._zygote.start("prepare", said / "state", said, environment=environment)
            assert prepared.wait() == 0, (said / "said").read_text()
        return self._home

    def play(self, *, kills: int, only: int | None = None) -> bool:
        """Plays stories until so many were killed, or one of them alone; whether nothing was found.

        The folder of a story in which something was found is kept, and named.
        """
        began = time.monotonic()
        is_clean = True
        number = 1 if only is None else only
        while True:
            story = Story(
                seed=self.seed,
                number=number,
                base=self.folder / f"story-{number}",
                zygote=self._zygote,
                dagster_home=self.dagster_home,
                pace=self._pace,
                tally=self.tally,
                budget=kills - self.tally.kills.total() if only is None else kills,
                server=self._server,
                habits=self._habits,
            )
            findings = story.play()
            self._seconds = time.monotonic() - began
            (story.base / "story.txt").write_text("\n".join([*story.said, str(findings), ""]))
            if findings:
                is_clean = False
                self.say(f"SEED={self.seed} ONLY={number}: kept in {story.base}\n{findings}")
                self.say("\n".join(story.said))
            else:
                shutil.rmtree(story.base)
            self.say(f"story {number}: {story.kills} kills; {self.tally.kills.total()} in {self._seconds:.0f} s")
            number += 1
            if only is not None or self.tally.kills.total() >= kills:
                return is_clean

    def table(self) -> str:
        """What was done and found."""
        return self.tally.table(store=self.store, seed=self.seed, seconds=self._seconds)
