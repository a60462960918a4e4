"""``python -m training.leash PID COMMAND …``: become the command, and be killed when process PID ends.

The command's own children find this process's number in their environment and can do the same (`training.following`).
"""

import os
import sys

from jobs.processes import die_with_parent
from training.following import LEASH


def main() -> None:
    """See the module."""
    die_with_parent(int(sys.argv[1]))
    os.environ[LEASH] = str(os.getpid())
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
