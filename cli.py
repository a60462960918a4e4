"""The same functions as on the pages, from a shell: ``python cli.py --help``, or ``pickwell --help``."""

import os
import sys

import typer

from commands import evaluations, models, projects, running
from commands.shell import console
from db.schema import migrate
from errors import PickwellError
from files import keep_private
from settings import settings

WITHOUT_DATABASE = {"winrate", "restore"}
"""Commands that want no database, or put one in place."""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _begin(context: typer.Context) -> None:
    """The same functions as on the pages, from a shell. In a checkout, type `python cli.py` for `pickwell`."""
    if "--help" not in sys.argv and context.invoked_subcommand not in WITHOUT_DATABASE:
        migrate()
        os.environ |= settings().whole_paths()  # processes below start in the program's own folder


for subject in (running, projects, models, evaluations):
    app.add_typer(subject.app)


def main() -> None:
    """Run a command; errors for people are one sentence."""
    keep_private()
    try:
        app()
    except PickwellError as problem:
        console.print(str(problem), style="red", markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
