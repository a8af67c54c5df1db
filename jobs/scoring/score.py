"""`score`: attaches scores to the rows of the source table and puts them into the scored table, in one commit. A run
replaces what it scores, so running it again gives the same table."""

from __future__ import annotations

import random
import time
import uuid
from datetime import UTC, datetime

import vae_model as vm
from jobs.common.config import Config
from jobs.common.console import Reporter
from jobs.common.errors import ConflictError
from jobs.engines.base import Engine, Lineage, ScorePlan, ScoreResult
from jobs.models.store import load_model
from jobs.scoring.plan import describe_nothing, make_plan
from jobs.scoring.quarantine import fill_quarantine

MAX_ATTEMPTS = 4


def score(
    config: Config,
    engine: Engine,
    reporter: Reporter,
    where: str | None = None,
    logical_time: datetime | None = None,
    full: bool = False,
) -> ScoreResult | None:
    """The command: plan, score, check, commit. A run that another one overtook plans anew, which is always safe: what
    is left to do is read from the target.

    Args:
        config: the job.
        engine: to run on.
        reporter: hears of progress and of the result.
        where: score and replace only these rows.
        logical_time: goes into `scored_at`; now when None.
        full: score everything again, whatever is scored already.

    Returns:
        What was done; None when there was nothing to do.

    Raises:
        SandtimerError: nothing was committed.
    """
    result = _score_with_retries(config, engine, reporter, where, logical_time, full)
    fill_quarantine(config, engine, reporter)
    return result


def _score_with_retries(
    config: Config,
    engine: Engine,
    reporter: Reporter,
    where: str | None,
    logical_time: datetime | None,
    full: bool,
) -> ScoreResult | None:
    """Plan anew, a few times, where another writer was there first."""
    for attempt in range(1, MAX_ATTEMPTS):
        try:
            return _score_once(config, engine, reporter, where, logical_time, full)
        except ConflictError as error:
            wait_s = random.uniform(0.5, 1.0) * 2**attempt  # noqa: S311  spreads writers, hides nothing
            reporter.say("retrying", f"{error}; planning anew in {wait_s:.1f} s", attempt=attempt, wait_s=wait_s)
            time.sleep(wait_s)
    return _score_once(config, engine, reporter, where, logical_time, full)


def _score_once(
    config: Config,
    engine: Engine,
    reporter: Reporter,
    where: str | None,
    logical_time: datetime | None,
    full: bool,
) -> ScoreResult | None:
    started = time.monotonic()
    bundle = load_model(config)
    plan = make_plan(config, engine, bundle, where, full)
    if plan.is_empty:
        reporter.say("done", describe_nothing(plan), rows=0, target=plan.target_ref.name)
        return None
    options = vm.ScoringOptions(
        config.score.alert_budget,
        config.score.explain,
        config.score.samples,
        _as_utc(logical_time or datetime.now(UTC)),
    )
    reporter.say("scoring", _announce(plan, bundle), rows=plan.work.rows, route=plan.route, engine=plan.engine)
    with reporter.progress("scoring", plan.work.rows, "rows") as advance:
        result = engine.score(plan, bundle, options, describe_run(config, plan, bundle, options), advance)
    took_s = time.monotonic() - started
    reporter.say(
        "done",
        f"scored {result.rows:,} rows of {plan.source.ref.name} version {plan.source.version} into"
        f" {plan.target_ref.name} version {result.version} with model {bundle.model_id} in {took_s:.1f} s",
        rows=result.rows,
        target=plan.target_ref.name,
        version=result.version,
        model_id=bundle.model_id,
        seconds=round(took_s, 3),
    )
    return result


def _announce(plan: ScorePlan, bundle: vm.Bundle) -> str:
    return (
        f"scoring {plan.work.rows:,} rows of {plan.source.ref.name} version {plan.source.version} with model"
        f" {bundle.model_id} on the {plan.engine} engine, route {plan.route}: {plan.why}"
    )


def describe_run(config: Config, plan: ScorePlan, bundle: vm.Bundle, options: vm.ScoringOptions) -> Lineage:
    """What the commit says about the run; `run_id` is unique, and tells a commit that landed from one that did not."""
    return {
        "app": "sandtimer",
        "run_id": str(uuid.uuid4()),
        "mode": config.score.mode,
        "engine": plan.engine,
        "route": plan.route,
        "source": plan.source.ref.name,
        "source_id": plan.source.table_id,
        "source_version": plan.source.version,
        "since_version": plan.since,
        "watermark": plan.watermark,
        "action": plan.action,
        "where": str(plan.scope) if plan.scope else None,
        "standing": config.source.where,
        "columns": config.score.columns,
        "model_id": bundle.model_id,
        "rows": plan.work.rows,
        "config_digest": config.digest(),
        "scored_at": options.scored_at.isoformat(),
    }


def _as_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
