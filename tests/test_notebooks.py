"""Every notebook runs from top to bottom without a display, and draws the figures that its headings announce."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELL_TIMEOUT_S, STARTUP_TIMEOUT_S = 300, 180
FIGURE = re.compile(r"^## Fig \d+", re.MULTILINE)


def run_notebook(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> nbformat.NotebookNode:
    """The notebook with its outputs; what Jupyter would write elsewhere goes into the folder.

    The kernel is reached through files, which other users of the machine cannot open, as they could a port. Their paths
    have to be short, so that they cannot lie in pytest's folder.
    """
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(folder / name.lower()))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as sockets:
        monkeypatch.setenv("JUPYTER_RUNTIME_DIR", sockets)
        settings = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT_S,
            startup_timeout=STARTUP_TIMEOUT_S,
            resources={"metadata": {"path": str(path.parent)}},
            config=settings,
        )
        return client.execute()


def count_pictures(notebook: nbformat.NotebookNode) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_draws_its_figures(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    announced = FIGURE.findall("\n".join(c.source for c in nbformat.read(path, as_version=4).cells))
    notebook = run_notebook(path, tmp_path, monkeypatch)
    errors = [o for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type in ("error", "stream")]
    assert errors == []
    assert count_pictures(notebook) >= len(announced)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_without_outputs(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in cells] == [[]] * len(cells)
