"""The one archive that a cluster's executors need of us: the Python files of `vae_model` and `jobs`, for `--py-files`.
The same sources give the same bytes. `python -m jobs.dist data/dist/sandtimer.zip`, or `make dist`, writes it."""

import sys
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

ARCHIVE_NAME = "sandtimer.zip"
PACKAGES = ("jobs", "vae_model")
# The earliest time that the format knows: the archive must depend on its content alone.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def write_archive(path: Path) -> Path:
    """Write the archive of the packages that this Python runs, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in read_modules().items():
            archive.writestr(zipfile.ZipInfo(name, _NO_TIME), content, zipfile.ZIP_DEFLATED)
    return path


def read_modules() -> dict[str, bytes]:
    """Path and content of every Python file of both packages; they may lie in a folder or in an archive."""
    return {name: content for package in PACKAGES for name, content in _walk(files(package), package)}


def read_archive(path: Path) -> dict[str, bytes]:
    """What an archive holds, as `read_modules` gives it.

    Raises:
        OSError: it cannot be read.
        zipfile.BadZipFile: it is none.
    """
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _walk(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    for child in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if child.is_dir():
            yield from _walk(child, f"{name}/{child.name}")
        elif child.name.endswith(".py"):
            yield f"{name}/{child.name}", child.read_bytes()


def main() -> None:
    """Write the archive to the path that the command line names, and say so."""
    path = write_archive(Path(sys.argv[1] if len(sys.argv) > 1 else f"data/dist/{ARCHIVE_NAME}"))
    print(f"wrote {path}: {path.stat().st_size:,} bytes for `spark-submit --py-files {path}`")
