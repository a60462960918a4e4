"""``python -m generation.launch PARENT PROGRAM ...``: become the program, and be told to end when PARENT does.

An engine started this way outlives nobody, even a parent that was killed outright. It is told, not killed, so that it
can end the processes below it. Only Linux can do this.
"""

import ctypes
import os
import signal
import sys


def main() -> None:
    """Arm the signal, make sure that the parent is still there, and become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("Whoever started this engine is gone, so it does not start.")
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
