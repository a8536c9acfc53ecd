"""Keeps a lease alive while a process works under it."""

import threading
import time

from elysia_dagster.checkpoint import clock
from elysia_dagster.checkpoint.claims import Lease, renew_lease
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.errors import LeaseLost, TransientError
from elysia_dagster.exhaustion import check_memory_for_thread


class Heartbeat:
    """Renews a lease from a thread of its own, a third of its length apart, until stopped.

    ``check`` raises what the thread met: ``LeaseLost``, or the database's error once the lease has expired unrenewed.
    """

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._note_renewal()
        self._thread = threading.Thread(target=self._beat, name=f"lease-{lease.run_id}", daemon=True)

    def __enter__(self) -> "Heartbeat":
        check_memory_for_thread()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Raises where the lease is lost."""
        if self._error is not None:
            raise self._error

    def ensure(self, seconds: float) -> None:
        """Makes the lease outlive the next ``seconds``, renewing it here and now where it would not."""
        self.check()
        # by two clocks: the wall's is set back by people, the other stands still while the machine sleeps
        elapsed = max((clock.now() - self._renewed_at).total_seconds(), time.monotonic() - self._renewed_monotonic)
        if elapsed + seconds > self._lease.seconds:
            renew_lease(self._database, self._lease)
            self._note_renewal()

    def _note_renewal(self) -> None:
        self._renewed_at, self._renewed_monotonic = clock.now(), time.monotonic()

    def _beat(self) -> None:
        while not self._stop.wait(self._lease.seconds / 3):
            try:
                renew_lease(self._database, self._lease)
                self._note_renewal()
            except LeaseLost as error:
                self._error = error
                return
            except TransientError:
                continue  # a busy database: the lease lives two more beats
            except Exception as error:  # handed to the thread that works, which raises it
                self._error = error
                return
