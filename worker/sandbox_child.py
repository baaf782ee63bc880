"""The child's side of a sandbox: see `worker.sandbox`.

It imports neither an event loop nor networking, so that it starts faster and leaves more memory to the job.
"""

import importlib
import os
import pickle
import resource
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

HEADER = struct.Struct("!I")  # a frame is the length of its body, then the body
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class SandboxError(Exception):
    """The function did not complete, and the child is gone."""


class OutOfMemory(SandboxError):
    """The function needed more than its memory limit."""


class SandboxedFailure(Exception):
    """The function raised an exception that cannot be pickled; the text is its traceback."""


def serve() -> None:
    """Main function of the child: limits itself, imports modules, signals readiness, answers until its parent exits."""
    descriptor, memory, parent, *preload = sys.argv[1:]
    _die_with(int(parent))
    _confine(int(memory))
    with socket.socket(fileno=int(descriptor)) as connection, suppress(EOFError, ConnectionError):
        _send_frame(connection, _import(preload))
        _silence()
        while True:
            _send_frame(connection, _answer(_receive_frame(connection)))


def _die_with(parent: int) -> None:
    """Get killed when the parent dies; otherwise a child in a long computation would outlive a killed worker.

    To Linux the parent is the thread that started the child: the event loop's, which lives as long as the worker.
    """
    if sys.platform == "linux":
        with suppress(ImportError, OSError):
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit()


def _confine(memory: int) -> None:
    # Photos must not delay texts, but need their share of a busy machine. Measured on one core: a front's 0.4 ms of
    # work takes 0.6 ms alone, and beside two sandboxes 0.9 (nice 10), 1.1 (nice 5) or 2.4 (nice 0, or SCHED_BATCH);
    # beside two ordinary programs the sandbox gets 5 %, 14 % or 33 % of the core.
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(ValueError, OSError):  # macOS has no such limit to set
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _import(names: Sequence[str]) -> bytes:
    """Import modules; returns the traceback of a failure, which on the standard error would break up our log lines."""
    try:
        for name in names:
            importlib.import_module(name)
    except Exception:
        import traceback

        return traceback.format_exc().encode(errors="backslashreplace")
    return b""


def _silence() -> None:
    """Discard the standard error, our log, to which C libraries write details of users' files."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def _answer(request: bytearray) -> bytes:
    try:
        function, args, kwargs = pickle.loads(request)
        return _pickled(None, function(*args, **kwargs))
    except MemoryError:
        return _OUT_OF_MEMORY
    except Exception as error:
        return _pickled_error(error)


def _pickled(outcome: type[Exception] | None, value: Any) -> bytes:
    return pickle.dumps((outcome, value), pickle.HIGHEST_PROTOCOL)


def _pickled_error(error: Exception) -> bytes:
    import traceback  # not needed by most jobs

    text = "".join(traceback.format_exception(error)).rstrip()
    error.add_note(f"in the sandbox's child:\n{text}")
    try:
        answer = _pickled(Exception, error)
        pickle.loads(answer)  # exceptions with arguments of their own often pickle but do not unpickle
        return answer
    except Exception:
        return _pickled(Exception, SandboxedFailure(text))


_OUT_OF_MEMORY = _pickled(OutOfMemory, OutOfMemory("needed more memory than allowed"))


def _send_frame(connection: socket.socket, body: bytes) -> None:
    connection.sendall(HEADER.pack(len(body)))
    connection.sendall(body)


def _receive_frame(connection: socket.socket) -> bytearray:
    (size,) = HEADER.unpack(_receive(connection, HEADER.size))
    return _receive(connection, size)


def _receive(connection: socket.socket, size: int) -> bytearray:
    buffer = bytearray(size)
    rest = memoryview(buffer)
    while rest:
        count = connection.recv_into(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return buffer
