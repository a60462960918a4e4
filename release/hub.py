"""Push an exported model to a model hub: https://huggingface.co, or the one that HF_ENDPOINT names.

`python -m jobs.child push RUN_ID ATTEMPT` calls `run`. Nothing is sent unless a manager typed the repository's name;
the token comes from the worker's environment variable HF_TOKEN and from nowhere else, and is in no table, log or error.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy.orm import Session

from db.lookup import get_model
from db.models import PushRun, Role
from db.people import require_role
from db.session import reading, session
from errors import PickwellError, Refused
from jobs.progress import Progress
from jobs.runs import Resources
from release.export import Tell, check_export, refuse_beside_another, teller

TOKEN = "HF_TOKEN"
ENDPOINT = "HF_ENDPOINT"


class PushFailed(PickwellError):
    """A hub that cannot be reached, or that refuses."""


class Hub(Protocol):
    """What is used of huggingface_hub's ``HfApi``."""

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> Any:
        """Make the repository."""

    def repo_info(self, repo_id: str) -> Any:
        """What the hub knows of it."""

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> Any:
        """Put every file of the folder into it, in one commit."""


def request_push(
    s: Session, *, by: int, project_id: int, model_version_id: int, folder: Path, repository: str, private: bool = True
) -> PushRun:
    """Ask for a push of an exported folder: a QUEUED run that a worker takes up; managers only.

    Raises `Refused` for a name that cannot be, and while an export or a push of the model goes on.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    name = _checked_name(repository)
    refuse_beside_another(s, get_model(s, model_version_id))
    run = PushRun(
        project_id=project_id,
        requested_by_id=by,
        model_version_id=model_version_id,
        folder=str(folder),
        repository=name,
        private=private,
    )
    s.add(run)
    s.flush()
    return run


def resources(run: PushRun) -> Resources:
    """A core, to hash and upload."""
    return Resources()


def run(progress: Progress) -> None:
    """Push, and note the address. Raises what `push` does, `NotAllowed`, and `jobs.progress.RunLost`."""
    with reading() as s:
        row = s.get_one(PushRun, progress.run_id)
        require_role(s, by=row.requested_by_id, project_id=row.project_id, roles=(Role.MANAGER,))
    address = push_export(Path(row.folder), repository=row.repository, private=row.private, tell=teller(progress))
    with session() as s:
        progress.guard(s)
        s.get_one(PushRun, progress.run_id).address = address
        progress.succeed(s)


def hub_address(environment: Mapping[str, str] = os.environ) -> str:
    """Where a push would go."""
    return environment.get(ENDPOINT, "").rstrip("/") or "https://huggingface.co"


def missing_token(environment: Mapping[str, str] = os.environ) -> str | None:
    """What stands in the way of a push before anything is asked, as a sentence."""
    if not environment.get(TOKEN, "").strip():
        return f"A push needs your token in the environment variable {TOKEN}. Set it and start Pickwell again."
    return None


def hub() -> Hub:
    """The hub, with the token of the environment. Raises `PushFailed` without one."""
    if problem := missing_token():
        raise PushFailed(problem)
    from huggingface_hub import HfApi

    api: Any = HfApi(endpoint=hub_address(), token=os.environ[TOKEN].strip())
    return api  # type: ignore[no-any-return]


def push_export(
    folder: Path,
    *,
    repository: str,
    private: bool = True,
    to: Hub | None = None,
    tell: Tell = lambda stage, share: None,
) -> str:
    """Put an exported folder into a repository, made if it is new, and give its address.

    A repository that is there must be as private as is asked for. Raises `Refused` for a changed folder or a name that
    cannot be, `PushFailed` where the hub is out of reach or refuses.
    """
    from httpx2 import HTTPError
    from huggingface_hub.errors import HfHubHTTPError

    name = _checked_name(repository)
    tell("Checking the export", 0.0)
    manifest = check_export(folder)
    api = to or hub()
    try:
        tell(f"Making {name} on {hub_address()}", 0.1)
        _ensure_repository(api, name, private=private)
        size = sum(file.stat().st_size for file in folder.iterdir())
        tell(f"Uploading {size / 1e6:,.0f} MB to {name}", 0.2)
        message = f"{manifest['model']} ({manifest['part']})"[:80]
        api.upload_folder(repo_id=name, folder_path=folder, commit_message=message)
    except HfHubHTTPError as problem:
        code = problem.response.status_code
        why = {401: f"the token in {TOKEN} is not valid", 403: "the token may not write there"}
        raise PushFailed(f"The hub refused {name}: {why.get(code, f'it answered {code}')}.") from None
    except (HTTPError, ConnectionError):
        raise PushFailed(
            f"No hub can be reached at {hub_address()} from this machine. Copy the export {folder} to one that can."
        ) from None
    tell("Done", 1.0)
    return f"{hub_address()}/{name}"


def _checked_name(repository: str) -> str:
    """The repository's name without white space around it. Raises `Refused` for one that is not owner/name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    name = repository.strip()
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise Refused("Type the repository as owner/name, with letters, digits, dots and hyphens.") from None
    if name.count("/") != 1:
        raise Refused("Type the repository as owner/name, so that it is clear whose it becomes.")
    return name


def _ensure_repository(api: Hub, name: str, *, private: bool) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api.create_repo(name, private=private, exist_ok=False)
        return
    except HfHubHTTPError as problem:
        if problem.response.status_code != 409:
            raise
    if private and not api.repo_info(name).private:
        raise Refused(f"{name} is there already and public. Choose another name, or push it as public.")
