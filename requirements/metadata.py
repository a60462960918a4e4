"""What the package asks for, told to hatchling: the requirement files here, with the pins of constraints.txt.

A file becomes the extra of its name, and app.txt what is always installed. benchmarks.txt and cpu-engine.txt become
none: they are installed with --no-deps, which no extra can say.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

FOLDER = Path(__file__).parent
EXTRAS = ("train", "cpu", "gpu", "ray", "dev")


def plain(name: str) -> str:
    """A package's name as the index compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    """The version of every package, by its plain name."""
    lines = (FOLDER / "constraints.txt").read_text().splitlines()
    return {plain(name): version for name, _, version in (line.partition("==") for line in lines) if version}


def requirements(file: str) -> list[str]:
    """A requirement file as metadata says it: packages with their pins, another file as its extra."""
    pinned, packages = pins(), []
    for line in (FOLDER / f"{file}.txt").read_text().splitlines():
        if line.startswith("-r ") and line != "-r app.txt":
            packages.append(f"pickwell[{line[3:].removesuffix('.txt')}]")
        elif line and line[0] not in "#-":
            version = pinned.get(plain(line.partition("[")[0]))
            packages.append(f"{line}=={version}" if version else line)
    return packages


class RequirementFiles(MetadataHookInterface):  # type: ignore[misc, unused-ignore]
    """Hatchling's hook."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in what the project's table leaves open."""
        metadata["dependencies"] = requirements("app")
        metadata["optional-dependencies"] = {name: requirements(name) for name in EXTRAS}
