"""Further loggers of trainings, by the one setting `settings.tracker`: what transformers' callbacks are told.

The trainer says ``report_to=names()`` and ``**arguments(folder)``, and puts `environment` into its process's variables
before it makes the trainer; ``transformers.integrations.integration_utils`` 5.19 has what each callback reads. They log
numbers, knobs and paths: no prompt and no reply. Nothing is sent anywhere, unless MLFLOW_TRACKING_URI names a server.
"""

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from errors import BadSetting, missing_package
from settings import Tracker, settings

PROJECT = "pickwell"
"""What trackers that keep several projects call ours."""
TENSORBOARD = "tensorboard"
"""Folder of event files within a run's folder."""
PACKAGES = {
    Tracker.tensorboard: ("tensorboard",),
    Tracker.trackio: ("trackio",),
    # the whole of mlflow asks for an older pandas than ours, and what logs is in the small package; importlib_metadata
    # 9.1 cannot be imported without a package that it does not ask for
    Tracker.mlflow: ("mlflow-skinny", "importlib_metadata<9"),
}
"""What each needs."""


ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")
"""Either makes Trackio send what it logs; without them it writes to a database of its own here and asks nobody."""


def names() -> list[str]:
    """What ``report_to`` takes, here and in `training.trainer.run_folder.RunInput.trackers`; empty for no tracker.

    Raises `BadSetting` with the line to type where the tracker's package is not installed.
    """
    return chosen(settings().tracker, installed=lambda name: find_spec(name) is not None, given=os.environ)


def chosen(tracker: Tracker, *, installed: Callable[[str], bool], given: Mapping[str, str]) -> list[str]:
    """`names` for a tracker, told what is installed and what the environment says."""
    if tracker is Tracker.none:
        return []
    sending = [name for name in ELSEWHERE if given.get(name) is not None]
    if tracker is Tracker.trackio and sending:
        raise BadSetting(f"{sending[0]} would have trainings logged on another machine. Unset it: Trackio logs here.")
    if not installed(tracker.value):
        raise BadSetting(missing_package(f"PICKWELL_TRACKER={tracker.value}", *PACKAGES[tracker]) + " Or unset it.")
    return [tracker.value]


def environment(folder: Path) -> dict[str, str]:
    """Variables for the process that trains in ``folder``, by the settings; empty for no tracker.

    What somebody set in their own environment stays.
    """
    return variables(settings().tracker, folder=folder, home=settings().home.resolve(), given=os.environ)


def variables(tracker: Tracker, *, folder: Path, home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """`environment` for a tracker; of ``given``, only what may name another place counts."""
    if tracker is Tracker.tensorboard:
        return {"TENSORBOARD_LOGGING_DIR": str(folder / TENSORBOARD)}
    if tracker is Tracker.trackio:
        return {"TRACKIO_DIR": given.get("TRACKIO_DIR", str(home / "trackio"))}
    if tracker is Tracker.mlflow:
        return {
            "MLFLOW_TRACKING_URI": given.get("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}"),
            "MLFLOW_EXPERIMENT_NAME": given.get("MLFLOW_EXPERIMENT_NAME", PROJECT),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "HF_MLFLOW_LOG_ARTIFACTS": "FALSE",
        }
    return {}


def arguments(folder: Path) -> dict[str, object]:
    """Fields of transformers' ``TrainingArguments``: the run's name for trackers, and no Space of Trackio's."""
    return {"run_name": folder.name, "project": PROJECT, "trackio_space_id": None, "trackio_static_space_id": False}


def look(folder: Path) -> str | None:
    """The command that shows what was logged of the run in ``folder``; none without a tracker.

    MLflow's screen is in the whole of mlflow, for which an environment of its own is best.
    """
    home = settings().home.resolve()
    return {
        Tracker.tensorboard: f"tensorboard --logdir {folder / TENSORBOARD}",
        Tracker.trackio: f"TRACKIO_DIR={home / 'trackio'} trackio show --project {PROJECT}",
        Tracker.mlflow: f"mlflow server --backend-store-uri sqlite:///{home / 'mlflow.db'} --host 127.0.0.1",
    }.get(settings().tracker)
