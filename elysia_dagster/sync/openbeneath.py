"""Open a path beneath an open folder without following a symbolic link at any component.

Linux 5.6 does it in one system call, openat2 with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS (source: openat2(2)). Python
has no wrapper for it, hence ctypes. Where the kernel, or a container's seccomp filter, refuses it, the components are
opened one by one.
"""

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from functools import cache

_SYS_OPENAT2 = 437  # the same number on every Linux architecture but alpha
_RESOLVE = 0x04 | 0x08  # RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH, linux/openat2.h
_MAX_LINKS = 40  # as many as Linux itself follows before it says ELOOP

Opener = Callable[[int, str, int], int]


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(folder_fd: int, relative: str, flags: int) -> int:
    """A file descriptor of ``relative``, which holds no ``..``; raises ``OSError`` as ``os.open``, ELOOP for a link."""
    return _opener()(folder_fd, relative, flags)


@cache
def _opener() -> Opener:
    return _openat2() or open_by_components


def open_by_components(folder_fd: int, relative: str, flags: int) -> int:
    """As `open_beneath`, with one call for each component: for systems without openat2."""
    *parents, name = relative.split("/")
    steps = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
    current = folder_fd
    try:
        for part in parents:
            following = os.open(part, steps, dir_fd=current)
            if current != folder_fd:
                os.close(current)
            current = following
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=current)
    finally:
        if current != folder_fd:
            os.close(current)


def _openat2() -> Opener | None:
    """The system call, or None where it cannot be had."""
    if sys.platform != "linux":
        return None
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
    size = ctypes.sizeof(_OpenHow)
    hows: dict[int, tuple[_OpenHow, int]] = {}

    def open_one(folder_fd: int, relative: str, flags: int) -> int:
        known = hows.get(flags)
        if known is None:
            how = _OpenHow(flags, 0, _RESOLVE)
            known = hows[flags] = (how, ctypes.addressof(how))
        while True:
            fd: int = syscall(_SYS_OPENAT2, folder_fd, os.fsencode(relative), known[1], size)
            if fd >= 0:
                return fd
            number = ctypes.get_errno()
            if number not in (errno.EINTR, errno.EAGAIN):
                raise OSError(number, os.strerror(number), relative)

    probe = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(open_one(probe, ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError:
        return None  # ENOSYS from an old kernel, EPERM from a seccomp filter
    finally:
        os.close(probe)
    return open_one


def leads_inside(folder: str, relative: str) -> bool | None:
    """Whether following the link ``relative`` would stay in ``folder`` (absolute, free of links) at every hop.

    Told by the text of the links alone: nothing is opened. None if it never ends.
    """
    beneath = folder.rstrip("/") + "/"
    pending = relative.split("/")[::-1]
    current, hops = folder, 0
    while pending:
        part = pending.pop()
        if part in ("", "."):
            continue
        current = os.path.dirname(current) if part == ".." else os.path.join(current, part)
        if current != folder and not current.startswith(beneath):
            return False
        try:
            target = os.readlink(current)
        except OSError:
            continue  # no link, or nothing there: its name is all that counts
        hops += 1
        if hops > _MAX_LINKS:
            return None
        current = os.path.dirname(current)
        if target.startswith("/"):
            if not (target + "/").startswith(beneath):
                return False
            target, current = target[len(folder) :], folder
        pending += target.split("/")[::-1]
    return True
