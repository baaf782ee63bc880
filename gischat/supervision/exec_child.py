"""python -m gischat.supervision.exec_child COMMAND ...: what supervisord starts, tied to it for life.

A process that supervisord starts would outlive it when it is killed: the port stays taken, the embedded
server goes on writing, and the next start meets them. So before it becomes COMMAND, this process

- asks the kernel for a SIGTERM at its parent's death (Linux; elsewhere only the lock holds), which ends each
  process in its orderly way;
- shares the instance's lock for as long as it lives, which the next start waits for.
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
