"""`nightly`: for every config in a folder what is due: extract and train where there is no model, then score, monitor
and report. One table after the other, so that they share the machine; one that fails does not keep the others from
their night."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from jobs.checks.ledger import read_ledger
from jobs.common.config import Config
from jobs.common.config_file import load_config
from jobs.common.console import Reporter
from jobs.common.errors import (
    EXIT_ALARM,
    EXIT_BUG,
    EXIT_CONFLICT,
    EXIT_DATA,
    EXIT_USAGE,
    AlarmError,
    ConfigError,
    describe,
    exit_code,
)
from jobs.engines.base import Engine
from jobs.fleet.index import State, TableLine, describe_table, write_index
from jobs.monitoring.monitor import monitor
from jobs.notifying.failure import tell_failure
from jobs.reporting.report import report
from jobs.scoring.score import score
from jobs.tables.refs import ledger_ref
from jobs.training.extract import extract
from jobs.training.train import train

# The worst comes last.
SEVERITY: Final = (0, EXIT_ALARM, EXIT_CONFLICT, EXIT_USAGE, EXIT_DATA, EXIT_BUG)
BuildEngine = Callable[[Config], Engine]


@dataclass(frozen=True)
class Outcome:
    """How a table's night ended."""

    line: TableLine
    code: int


def run_nightly(
    folder: Path,
    build_engine: BuildEngine,
    reporter: Reporter,
    overrides: Sequence[str] = (),
    alerts: float | None = None,
    index: Path | None = None,
) -> int:
    """The command.

    Args:
        folder: with the configs, as *.yaml or *.yml.
        build_engine: the engine of a config.
        reporter: hears what each table's commands say.
        overrides: of keys, in every config.
        alerts: expected a night over all tables together, each row with the same chance; None: as each config says.
        index: the page to write; None: data/nightly.html.

    Returns:
        The exit code: the worst of all tables.

    Raises:
        ConfigError: no config in the folder.
    """
    paths = sorted(path for path in folder.glob("*.y*ml") if path.suffix in (".yaml", ".yml"))
    if not paths:
        raise ConfigError(f"configs (*.yaml) in {folder}", "none", "name the folder that holds them")
    configs, broken = _load_all(paths, overrides, reporter)
    budget = _share_budget(configs, build_engine, alerts) if alerts is not None else None
    outcomes = [*broken]
    for path, config in configs.items():
        outcomes.append(_run_table(path, _with_budget(config, budget), build_engine, reporter))
    page = index or Path("data/nightly.html")
    write_index(page, [outcome.line for outcome in outcomes], datetime.now(UTC))
    code = max((outcome.code for outcome in outcomes), key=SEVERITY.index)
    states = [outcome.line.state for outcome in outcomes]
    reporter.say(
        "done",
        f"{len(outcomes)} tables: {states.count('quiet')} quiet, {states.count('alarm')} with alarms,"
        f" {states.count('failed')} failed; see {page}",
        tables=len(outcomes),
        path=str(page),
        code=code,
    )
    return code


def _load_all(
    paths: Sequence[Path], overrides: Sequence[str], reporter: Reporter
) -> tuple[dict[Path, Config], list[Outcome]]:
    configs: dict[Path, Config] = {}
    broken = []
    for path in paths:
        try:
            configs[path] = load_config(path, list(overrides))
        except ConfigError as error:
            reporter.fail(error)
            broken.append(Outcome(TableLine(path.stem, "failed", str(error)), EXIT_USAGE))
    return configs, broken


def _run_table(path: Path, config: Config, build_engine: BuildEngine, reporter: Reporter) -> Outcome:
    reporter.say("table", f"{path}: {config.source.table}", config=str(path), table=config.source.table)
    engine: Engine | None = None
    step = "start"
    page: Path | None = None
    state: State = "quiet"
    what, code = "", 0
    try:
        engine = build_engine(config)
        for name, work in _list_steps(config, engine, reporter).items():
            step = name
            try:
                found = work()
                page = found if isinstance(found, Path) else page
            except AlarmError as error:
                reporter.fail(error)
                more = f", and {len(error.alarms) - 1} more" if len(error.alarms) > 1 else ""
                state, what, code = "alarm", f"{(*error.alarms, error.found)[0]}{more}", EXIT_ALARM
    except Exception as error:  # noqa: BLE001  the other tables' night goes on
        told = describe(error)
        reporter.fail(told)
        tell_failure(config, engine, reporter, step, told)
        state, what, code = "failed", f"{step}: {told}", exit_code(error)
    if engine is None:
        return Outcome(TableLine(config.source.table, state, what), code)
    return Outcome(describe_table(config, engine, state, what, page), code)


def _list_steps(config: Config, engine: Engine, reporter: Reporter) -> Mapping[str, Callable[[], object]]:
    """What is due, by name, in order."""
    steps: dict[str, Callable[[], object]] = {}
    if not config.bundle.is_registered and not (config.bundle.path / "bundle.json").exists():
        steps |= {"extract": lambda: extract(config, engine, reporter), "train": lambda: train(config, reporter)}
    return steps | {
        "score": lambda: score(config, engine, reporter),
        "monitor": lambda: monitor(config, engine, reporter),
        "report": lambda: report(config, engine, reporter),
    }


def _with_budget(config: Config, budget: float | None) -> Config:
    if budget is None:
        return config
    return config.model_copy(update={"score": config.score.model_copy(update={"alert_budget": budget})})


def _share_budget(configs: Mapping[Path, Config], build_engine: BuildEngine, alerts: float) -> float | None:
    """The alert budget by which all tables together are expected to raise so many alerts a night; None before any
    night of theirs is known."""
    rows = 0
    for config in configs.values():
        try:
            ledger = read_ledger(build_engine(config), ledger_ref(config))
        except Exception:  # noqa: BLE001, S112  its own run will say what is wrong
            continue
        recent = sorted(ledger.records.values(), key=lambda record: record.name)[-7:]
        rows += round(sum(record.rows for record in recent) / max(len(recent), 1))
    return min(alerts / rows, 0.5) if rows else None
