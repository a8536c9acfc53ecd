"""Runs a producer command as a process of its own, and ends it with all that it began when its starter is gone.

A script that needs nothing but the standard library: ``producer.py FOLDER WORD…``. Standard input is a pipe of the
starter's that never holds anything: its end says that the starter is gone, or wants no more. The exit code is the
command's, 128 and the signal's number where one ended it, 127 where it could not be started.
"""

import os
import signal
import subprocess
import sys
import threading

NOT_STARTED = 127
GRACE_S = 2.0
"""Seconds between the wish to end and the end."""


class Group:
    """The command and the processes that it began, as long as it is not reaped: till then its number is no other's."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._lock = threading.Lock()
        self._is_there = True

    def signal(self, number: int) -> None:
        """Sends a signal to all of them."""
        with self._lock:
            if self._is_there:
                os.killpg(self._pid, number)

    def reap(self) -> int:
        """Ends what the command has left in the background; its exit code. Else it would write on behind our back."""
        os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        self.signal(signal.SIGKILL)
        with self._lock:
            self._is_there = False
            _, status = os.waitpid(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code


def main(folder: str, words: list[str]) -> int:
    """Runs the command to its end."""
    try:
        # a session of its own: what it starts is ended with it
        child = subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, start_new_session=True)
    except (OSError, ValueError) as error:
        print(f"It cannot be started: {getattr(error, 'strerror', None) or error}.", file=sys.stderr, flush=True)
        return NOT_STARTED
    group = Group(child.pid)
    threading.Thread(target=_end_with_starter, args=(group,), daemon=True).start()
    return group.reap()


def _end_with_starter(group: Group) -> None:
    while os.read(0, 1):
        pass
    group.signal(signal.SIGTERM)
    threading.Event().wait(GRACE_S)
    group.signal(signal.SIGKILL)


if __name__ == "__main__":
    os._exit(main(sys.argv[1], sys.argv[2:]))
