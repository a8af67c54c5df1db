"""The project's frame: what lies at the top, which way imports go, what each import costs, and that scoring works in an
environment that has only the base requirements."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

import vae_model as vm

TARGETS = ("help", "setup", "demo", "check", "test", "bench", "clean")
HEAVY = ("torch", "scipy", "pandas", "pyspark", "delta", "deltalake", "typer", "jobs")
TRAINING_ONLY = {"torch", "scipy"}


def python_files(root: Path, package: str) -> list[Path]:
    return sorted((root / package).rglob("*.py"))


def imported_packages(file: Path, *, lazy: bool = True) -> set[str]:
    """Top-level packages that a module imports: when it is loaded, and with `lazy` also inside functions."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if lazy else walk_loaded(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


def walk_loaded(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when a module is loaded: no function bodies, no `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from walk_loaded(child)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "conf/flights.yaml",
            "conf/template.yaml",
            "vae_model/py.typed",
            "jobs/py.typed",
            "jobs/engines",
            "notebooks",
        ),
        *("tests/engines", "Makefile", "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"),
        *("pyproject.toml", "constraints.txt", ".ci/run", ".pre-commit-config.yaml", ".gitignore"),
    ],
)
def test_the_top_level_holds_what_the_contract_lists(root: Path, name: str) -> None:
    assert (root / name).exists()


def test_the_licence_is_spdx(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert (project["name"], project["license"]) == ("sandtimer", "Apache-2.0")
    assert project["scripts"] == {"sandtimer": "jobs.cli.main:main"}
    assert "SPDX-License-Identifier: Apache-2.0" in (root / "LICENSE").read_text()


def test_scoring_requires_neither_torch_nor_scipy_nor_pandas(root: Path) -> None:
    requirements = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[<>=\[ ]", requirement)[0] for requirement in requirements}
    assert not names & {"torch", "scipy", "pandas", "pyspark"}


def test_constraints_pin_exactly_and_name_no_index(root: Path) -> None:
    for line in (root / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[a-z0-9._-]+==[\w.+-]+( ; .+)?", line), line


@pytest.mark.parametrize("package", ["vae_model", "jobs"])
def test_every_module_says_what_it_is(root: Path, package: str) -> None:
    for file in python_files(root, package):
        assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))), file


def test_jobs_import_vae_model_and_never_back(root: Path) -> None:
    for file in python_files(root, "vae_model"):
        assert not imported_packages(file) & {"jobs", "pyspark", "delta", "deltalake", "typer", "rich", "tests"}, file


def test_every_room_has_its_place_and_launchers_are_imported_by_nobody(root: Path) -> None:
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract.get("containers") == ["jobs"]]
    rooms = {folder.name for folder in (root / "jobs").iterdir() if (folder / "__init__.py").exists()}
    assert {name.strip() for layer in layers for name in layer.split("|")} == rooms - {"orchestrators"}
    launchers = {file.stem for file in (root / "jobs").glob("*.py")} - {"__init__"}
    assert "score" in launchers
    for file in python_files(root, "jobs"):
        text = file.read_text(encoding="utf-8")
        assert file.parent.name != "jobs" or len(text.splitlines()) <= 15, file
        assert not re.search(rf"(from|import) jobs\.({'|'.join(launchers)})( |$)", text, re.MULTILINE), file


def test_torch_and_scipy_are_imported_by_training_alone(root: Path) -> None:
    for file in python_files(root, "jobs"):
        assert not imported_packages(file) & TRAINING_ONLY, file
    # Whatever loads one of them when it is loaded itself must not be loaded by scoring.
    eager = {
        ".".join(file.relative_to(root).with_suffix("").parts)
        for file in python_files(root, "vae_model")
        if imported_packages(file, lazy=False) & TRAINING_ONLY
    }
    assert "vae_model.network.autoencoder" in eager
    assert not eager & loaded_modules(root, "import vae_model.scoring.scorer, vae_model.api")


@pytest.mark.parametrize(
    "statement", ["import vae_model", "from vae_model import Scorer, load, score, explain, encode"]
)
def test_importing_vae_model_loads_nothing_heavy(root: Path, statement: str) -> None:
    assert not {name.partition(".")[0] for name in loaded_modules(root, statement)} & set(HEAVY)


def test_importing_the_command_line_loads_neither_torch_nor_spark(root: Path) -> None:
    loaded = {name.partition(".")[0] for name in loaded_modules(root, "import jobs.cli.main")}
    assert not loaded & {"torch", "scipy", "pandas", "pyspark", "delta"}


def loaded_modules(root: Path, statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_make_help_lists_every_target(root: Path) -> None:
    # A make that runs this test hands down its own flags and its job server.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(["make"], cwd=root, env=environment, capture_output=True, text=True, check=True)
    described = dict(line.split(maxsplit=2)[1:] for line in done.stdout.splitlines())
    assert set(TARGETS) <= described.keys()
    makefile = (root / "Makefile").read_text().replace("\\\n", "")
    declared = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert declared is not None
    assert set(declared.group(1).split()) == described.keys()


SLIM_SCRIPT = """
import importlib.util, sys
import pyarrow.parquet as pq
import vae_model as vm

present = [name for name in ("torch", "scipy", "pandas", "pyspark") if importlib.util.find_spec(name)]
assert not present, f"this environment is not slim: {present}"
pq.write_table(vm.score(pq.read_table(sys.argv[1]), vm.load(sys.argv[2])), sys.argv[3])
"""


@pytest.fixture(scope="module")
def slim_python(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a real environment with the base requirements alone; uv makes one in seconds from its cache."""
    folder = tmp_path_factory.mktemp("slim") / "venv"
    requirements = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    run_uv("venv", "--python", sys.executable, folder)
    python = folder / "bin" / "python"
    run_uv("pip", "install", "--python", python, "--constraint", root / "constraints.txt", *requirements)
    return python


def run_uv(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "uv", "--quiet", *arguments], check=True)


def test_a_table_is_scored_without_torch(
    slim_python: Path, root: Path, orders: pa.Table, orders_bundle: Path, tmp_path: Path
) -> None:
    pq.write_table(orders, tmp_path / "orders.parquet")
    arguments = [tmp_path / "orders.parquet", orders_bundle, tmp_path / "scored.parquet"]
    run_slim(slim_python, root, "-c", SLIM_SCRIPT, *arguments)
    there = pq.read_table(tmp_path / "scored.parquet")
    here = vm.score(orders, vm.load(orders_bundle))
    assert there.column_names == [*orders.column_names, *vm.SCORE_COLUMNS]
    assert there["model_id"].equals(here["model_id"])
    for name in ("anomaly_score", "reconstruction_nll"):
        assert there[name].to_pylist() == pytest.approx(here[name].to_pylist(), rel=1e-6)


def test_the_scoring_job_runs_without_torch(
    slim_python: Path, root: Path, orders: pa.Table, orders_bundle: Path, tmp_path: Path
) -> None:
    write_deltalake(tmp_path / "orders", orders, partition_by=["day"])
    config = tmp_path / "orders.yaml"
    config.write_text(
        f"source: {{table: {tmp_path}/orders, key: [order_id], partition: day}}\n"
        f"extract: {{path: {tmp_path}/extract}}\n"
        f"bundle: {{path: {orders_bundle}}}\n"
        f"score: {{table: {tmp_path}/scored}}\n"
    )
    run_slim(slim_python, root, "-m", "jobs.score", "--config", config)
    scored = DeltaTable(tmp_path / "scored").to_pyarrow_table()
    assert sorted(scored["order_id"].to_pylist()) == orders["order_id"].to_pylist()


def run_slim(python: Path, root: Path, *arguments: str | Path) -> None:
    done = subprocess.run(
        [python, *arguments], env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_scoring_a_batch_imports_no_pandas(root: Path, tmp_path: Path) -> None:
    """It would take every new worker of a cluster a second."""
    pq.write_table(pa.table({"x": [1.0, None] * 50, "c": ["a", "b"] * 50, "f": [True, False] * 50}), tmp_path / "rows")
    rows = pq.read_table(tmp_path / "rows")
    vm.fit(rows, epochs=1, members=1).save(tmp_path / "bundle")
    statement = (
        "import pyarrow.parquet as pq, vae_model as vm, jobs.engines.spark.tasks;"
        f" batch = next(pq.ParquetFile({str(tmp_path / 'rows')!r}).iter_batches());"
        f" vm.Scorer(vm.load({str(tmp_path / 'bundle')!r}), explain='all').score_batch(batch)"
    )
    assert "pandas" not in {name.partition(".")[0] for name in loaded_modules(root, statement)}
