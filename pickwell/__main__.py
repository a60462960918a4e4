"""``python -m pickwell``, the same as the command `pickwell`."""

from pickwell import main

main()
