"""Wrapper of each of supervisord's children: python -m gischat.supervision.exec_child COMMAND ...

Children of a killed supervisord would outlive it: they would keep the port and the embedded server's data in use when
the next run starts. So before it executes COMMAND, this process

- asks the kernel for a SIGTERM when its parent dies (Linux only), for a graceful shutdown;
- holds a shared lock on the instance's lock file for its lifetime; the next start waits for the lock.
"""

import ctypes
import fcntl
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    lock = os.open(os.path.join(os.environ["RUN_DIR"], "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    os.set_inheritable(lock, True)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
