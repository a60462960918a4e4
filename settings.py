"""The settings, read from environment variables (prefix ``PICKWELL_``) or a ``.env`` file.

Every default is here and nowhere else; `docs/architecture.md` lists them and a test compares the two.
"""

import ipaddress
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from platformdirs import user_data_path
from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from errors import CHECKOUT, BadSetting

VERSION = "0.1.0"

ROOT = Path(__file__).resolve().parent
"""The program's folder: the checkout, or the installed package."""

DATA = ROOT / "var" if CHECKOUT else user_data_path("pickwell")
"""The home unless a setting names another; of an installed package, the user's own data folder."""

ENV_FILE = (ROOT if CHECKOUT else DATA) / ".env"


class Engine(StrEnum):
    """What answers prompts on this machine."""

    auto = "auto"
    """vLLM where it is installed, else transformers."""
    vllm = "vllm"
    """A vLLM server that the worker starts on loopback."""
    transformers = "transformers"
    """The server of the transformers library, where vLLM has no wheel. Slower."""
    echo = "echo"
    """A server without a model, for tests: it answers with a text made from the prompt."""


class Adapters(StrEnum):
    """How models with an adapter are served."""

    auto = "auto"
    """Beside their base on a GPU, merged on a CPU, where vLLM's adapter requests are slow."""
    beside = "beside"
    """One engine holds the base and its adapters; DoRA is always merged, since vLLM does not take it."""
    merged = "merged"
    """Each adapter is merged into a copy of its base."""


class Tracker(StrEnum):
    """A further logger of trainings, beside the database."""

    none = "none"
    tensorboard = "tensorboard"
    """Event files in each run's folder."""
    trackio = "trackio"
    """Trackio's own database on this machine."""
    mlflow = "mlflow"
    """The server that MLFLOW_TRACKING_URI names, else a folder in the home."""


class Settings(BaseSettings):
    """Where files are and what runs; see each field."""

    model_config = SettingsConfigDict(env_prefix="PICKWELL_", env_file=ENV_FILE, extra="ignore")

    home: Path = DATA
    """Folder of everything that is written: database, models, snapshots, runs, logs."""
    database_url: str = ""
    """SQLAlchemy URL; empty means the SQLite file ``pickwell.db`` in `home`."""
    host: Annotated[str, BeforeValidator(lambda host: str(host).strip("[]"))] = "127.0.0.1"
    """Address the app listens on. Only loopback is accepted until there are accounts."""
    port: int = Field(default=8501, ge=1, le=65535)
    """Port the app listens on."""
    base_model: str = ""
    """Local folder or hub id of the base model; empty means the default model, SmolLM2-135M-Instruct."""
    engine: Engine = Engine.auto
    """Which engine the worker starts for local models."""
    engine_url: str = ""
    """URL of an OpenAI-compatible endpoint (ending in ``/v1``) to use instead of starting an engine here."""
    engine_api_key: SecretStr = SecretStr("")
    """Key for `engine_url`; never stored or logged."""
    adapters: Adapters = Adapters.auto
    """How adapters are served."""
    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that share each layer of a model, for one too large for a single GPU."""
    data_parallel: int = Field(default=1, ge=1)
    """Copies of the model that answer side by side, each on its own GPUs."""
    concurrency: int = Field(default=32, ge=1, le=1024)
    """Requests in flight at once, so that the engine's batch stays full."""
    context_tokens: int = Field(default=2048, ge=128)
    """Longest prompt plus reply, in tokens."""
    tracker: Tracker = Tracker.none
    """A further logger of trainings."""
    ray_address: str = ""
    """Address of a Ray cluster's Jobs API, as ``http://127.0.0.1:8265``; runs go there instead of this machine."""
    max_cell_kb: int = Field(default=256, ge=1)
    """Longest text accepted in one cell of an imported file, in KiB."""

    @property
    def url(self) -> str:
        """The SQLAlchemy URL in use."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'pickwell.db'}"

    def whole_paths(self) -> dict[str, str]:
        """Environment variables by which a process that starts in another folder finds the same files."""
        model = Path(self.base_model)
        paths = {
            "PICKWELL_HOME": str(self.home.resolve()),
            "PICKWELL_BASE_MODEL": str(model.resolve()) if self.base_model and model.is_dir() else self.base_model,
            "PICKWELL_DATABASE_URL": re.sub(
                r"^(sqlite:///)([^/:].*)", lambda match: match[1] + str(Path(match[2]).resolve()), self.database_url
            ),
        }
        return {name: path for name, path in paths.items() if path}

    @property
    def models_dir(self) -> Path:
        """Folder of model weights."""
        return self.home.resolve() / "models"

    @property
    def default_model_dir(self) -> Path:
        """Where the default model is unpacked."""
        return self.models_dir / "smollm2-135m-instruct"

    @property
    def runs_dir(self) -> Path:
        """One folder for each run: its input, log, checkpoints and output."""
        return self.home.resolve() / "runs"

    @property
    def snapshots_dir(self) -> Path:
        """One folder for each frozen Snapshot."""
        return self.home.resolve() / "snapshots"


@lru_cache
def settings() -> Settings:
    """The settings of this process.

    Raises `BadSetting` naming the variable when a value cannot work.
    """
    try:
        return Settings()
    except ValidationError as problem:
        first = problem.errors()[0]
        name = "PICKWELL_" + str(first["loc"][0]).upper()
        raise BadSetting(f"{name} cannot be {first['input']!r}: {first['msg']}. Change or unset it.") from None


def is_loopback(address: str | None) -> bool:
    """Whether an address is reachable from this machine only."""
    try:
        return address == "localhost" or ipaddress.ip_address(address or "0.0.0.0").is_loopback
    except ValueError:
        return False


@contextmanager
def home_usable() -> Iterator[None]:
    """Say in the block which setting is wrong where the home cannot be written. Raises `BadSetting`."""
    try:
        yield
    except OSError as problem:
        raise BadSetting(
            f"PICKWELL_HOME is {settings().home}, which cannot be written ({problem.strerror}). Set it to a folder of "
            "yours."
        ) from None
