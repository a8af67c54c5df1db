"""`train`: a killed training goes on where it stopped, and says what it made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vae_model as vm
from jobs.models.store import past_models
from tests.jobs.job import Job

EPOCHS = 60


@pytest.fixture
def extracted(job: Job) -> Job:
    job.settings["train"] = {"epochs": EPOCHS, "patience": 0}
    job.settings["model"] = {"members": 1}
    assert job.run("extract").code == 0
    return job


def train_and_kill(job: Job) -> None:
    """Start a training in a process of its own, and kill it once it has kept some epochs."""
    checkpoint = job.bundle.with_name(f"{job.bundle.name}.checkpoint")
    command = [sys.executable, "-m", "jobs.train", "--config", str(job.write_config())]
    root = Path(__file__).parents[3]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 120
    while not checkpoint.exists():
        assert process.poll() is None, "it ended before it kept anything"
        assert time.monotonic() < deadline_s
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert checkpoint.exists()


def test_a_killed_training_resumes_to_the_same_bundle(extracted: Job) -> None:
    before = vm.load(extracted.bundle).model_id
    train_and_kill(extracted)
    assert vm.load(extracted.bundle).model_id == before, "the old bundle is there until the new one is complete"
    resumed = extracted.run("train", "--resume")
    assert resumed.code == 0, resumed.stderr
    kept = vm.load(extracted.bundle)
    assert len(kept.training_curve) == EPOCHS
    assert extracted.run("train").last["model_id"] == kept.model_id == resumed.last["model_id"]
    assert (past_models(extracted.bundle) / before / "bundle.json").exists()
    assert not list(extracted.folder.glob("*.checkpoint"))


def test_it_says_what_the_latent_layer_carries(extracted: Job) -> None:
    extracted.settings["train"] = {"epochs": 3}
    outcome = extracted.run("train")
    latent = next(event for event in outcome.events if event["event"] == "latent")
    assert 0 <= latent["used"] <= latent["units"] == len(latent["kl"])
