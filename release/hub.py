"""Push an exported model to a model hub: https://huggingface.co, or the one that HF_ENDPOINT names.

Nothing is sent unless a manager typed the repository's name; the token comes from the environment variable HF_TOKEN and
from nowhere else, and is in no table, log or error.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy.orm import Session

from db.models import Role
from db.people import require
from errors import PickwellError, Refused
from release.export import Tell, check_export

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


def may_push(s: Session, *, by: int, project_id: int) -> None:
    """Raise `NotAllowed` for anybody but a manager."""
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))


def hub_address(given: Mapping[str, str] = os.environ) -> str:
    """Where a push would go."""
    return given.get(ENDPOINT, "").rstrip("/") or "https://huggingface.co"


def missing(given: Mapping[str, str] = os.environ) -> str | None:
    """What stands in the way of a push before anything is asked, as a sentence."""
    if not given.get(TOKEN, "").strip():
        return f"A push needs your token in the environment variable {TOKEN}. Set it and start Pickwell again."
    return None


def hub() -> Hub:
    """The hub, with the token of the environment. Raises `PushFailed` without one."""
    if problem := missing():
        raise PushFailed(problem)
    from huggingface_hub import HfApi

    api: Any = HfApi(endpoint=hub_address(), token=os.environ[TOKEN].strip())
    return api  # type: ignore[no-any-return]


def push(
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
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    name = repository.strip()
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise Refused("Type the repository as owner/name, with letters, digits, dots and hyphens.") from None
    if name.count("/") != 1:
        raise Refused("Type the repository as owner/name, so that it is clear whose it becomes.")
    tell("Checking the export", 0.0)
    said = check_export(folder)
    api = to or hub()
    try:
        tell(f"Making {name} on {hub_address()}", 0.1)
        _ensure_repository(api, name, private=private)
        size = sum(file.stat().st_size for file in folder.iterdir())
        tell(f"Uploading {size / 1e6:,.0f} MB to {name}", 0.2)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message=f"{said['model']} ({said['part']})"[:80])
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
