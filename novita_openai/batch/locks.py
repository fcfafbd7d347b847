"""One writer for a file: by the system's lock, and by a lock file where the filesystem has no locks.

The system's lock ends with its process, whatever ends that. A lock file names its machine and process, and may stay
behind when these are killed: then the next process on that machine takes it over. On another machine nobody can tell,
and a person has to remove it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["LockFile", "LockedError", "locked"]

NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
"""How filesystems say that they have no locks, as some over a network do."""


class LockedError(BlockingIOError):
    """Another process is writing the file."""


def locked(file: int, path: Path) -> LockFile | None:
    """Lock an open file against other writers; return the lock file that it took, None where the system's lock does.

    Raises :class:`LockedError` where another process has the lock.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockedError(errno.EWOULDBLOCK, f"{WRITING}{_holder(file)}", str(path)) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return LockFile(path)
    return None


def _holder(file: int) -> str:
    """Return which process has the system's lock of a file, in brackets; "" where the system does not say, as Linux."""
    try:
        locks = LOCKS.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return ""
    ending = f":{os.fstat(file).st_ino}"
    fields = map(str.split, locks)
    holders = {each[4] for each in fields if each[1] == "FLOCK" and each[5].endswith(ending)}
    return _named(socket.gethostname(), holders.pop()) if len(holders) == 1 else ""


def _named(host: str, number: str) -> str:
    return f" (process {number} on {host})" if number.isdecimal() else ""


LOCKS: Final = Path("/proc/locks")
"""The locks of a Linux machine: each line has the kind at place 1, the process at place 4, and the file at place 5."""
WRITING: Final = "another process is writing this file"


class LockFile:
    """A file beside another that says which process writes that one; raises :class:`LockedError` where one does."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f".{path.name}.lock")
        self._words = f"{socket.gethostname()} {os.getpid()}"
        if self._is_created():
            return
        words = self._take_over()
        if not self._is_created():
            host, _, number = words.partition(" ")
            told = f"{WRITING}{_named(host, number)}, or was killed: if it does not run, remove {self.path}"
            raise LockedError(errno.EWOULDBLOCK, told, str(path))

    def release(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def _is_created(self) -> bool:
        """Create the file; tell whether there was none."""
        try:
            file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            return False
        os.write(file, self._words.encode())
        os.close(file)
        return True

    def _take_over(self) -> str:
        """Remove the file where the process has ended that it names; return what it said."""
        aside, words = self.path.with_name(f"{self.path.name}.{os.getpid()}"), ""
        with suppress(FileNotFoundError):  # whoever had it has just removed it
            words = self.path.read_text(errors="replace")
            if _has_ended(words):
                self.path.rename(aside)
                if _has_ended(aside.read_text(errors="replace")):
                    aside.unlink()
                else:  # another process took it over in between: it gets its file back
                    aside.rename(self.path)
        return words


def _has_ended(words: str) -> bool:
    host, _, number = words.partition(" ")
    if host != socket.gethostname() or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except OSError as error:  # of another user's process it is another one
        return error.errno == errno.ESRCH
    return False
