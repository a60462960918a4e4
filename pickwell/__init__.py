"""Pickwell as an installed package: the rooms of the checkout stand in this folder, and import each other as there."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def main() -> None:
    """What the command `pickwell` runs."""
    import cli

    cli.main()
