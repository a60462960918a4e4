"""Files that appear whole or not at all, and hashes of what is in them.

A folder is complete once it holds its manifest: folders are written under another name, the manifest last, and then
renamed.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
"""Written last into every folder made here; its presence means complete."""


def keep_private() -> None:
    """Whatever this process and its children write from now on is this user's alone."""
    os.umask(0o077)


def file_sha256(file: Path) -> str:
    """Hash of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_whole(file: Path, text: str) -> None:
    """Put `text` into `file`, which never holds half of it."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(file)


def write_json(file: Path, content: Any) -> None:
    """Put `content` into `file`, which never holds half of it."""
    write_whole(file, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def read_json(file: Path) -> dict[str, Any]:
    """The object in `file`; empty where the file is missing or holds no JSON object."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
