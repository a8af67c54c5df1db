"""The training loop: seeded, with a held-out part for early stopping; it knows batches and losses, not tables."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vae_model.network.autoencoder import Batch, Network, kl_divergence
from vae_model.network.conditional import ConditionalModel
from vae_model.network.shape import TrainingSchedule
from vae_model.training.checkpoint import Progress, optimizer_tensors, restore_optimizer
from vae_model.training.rows import RowStore


@dataclass(frozen=True)
class TrainEvent:
    """Progress after an epoch. Losses are means over rows, in nats; `held_out` is that of held-out rows."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    held_out: float
    kl: float
    elapsed_s: float


def take_batch(store: RowStore, index: Tensor, device: torch.device) -> Batch:
    """Rows of each member's batch: index [M, B]."""
    x, codes, absent = store.take(index.reshape(-1).numpy())
    shape = index.shape
    return Batch(
        torch.from_numpy(x).view(*shape, -1).to(device),
        torch.from_numpy(codes).view(*shape, -1).to(device).long(),
        torch.from_numpy(absent).view(*shape, -1).to(device).bool(),
    )


def choose_device(name: str) -> torch.device:
    """The device that `train.device` names; 'auto' is the first GPU, else the CPU."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def hide_columns(batch: Batch, network: Network, share: float, generator: torch.Generator) -> Batch:
    """Denoising: each column of each row is hidden from the encoder with probability `share`, its absence too."""
    if share <= 0:
        return batch
    hidden = torch.rand(batch.absent.shape, generator=generator, device=batch.x.device) < share
    return Batch(
        batch.x.masked_fill(hidden[..., network.inputs_owner], 0.0),
        torch.where(hidden[..., network.categories_owner], network.absent_codes, batch.codes),
        batch.absent & ~hidden,
    )


def row_losses(network: Network, shown: Batch, target: Batch, noise: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Loss and KL of each row, [M, B]: negative beta-ELBO for a VAE, with the conditional model's terms if it has
    one; mean squared difference for an autoencoder."""
    mu, logvar = network.encode(shown)
    if not network.shape.is_variational:
        differences = network.column_differences(network.decode(mu), target)
        return differences.mean(dim=2), torch.zeros_like(mu[..., 0])
    outputs = network.decode(mu + noise * torch.exp(0.5 * logvar))
    kl = kl_divergence(mu, logvar).sum(dim=2)
    if network.conditionals is None:
        return network.column_terms(outputs, target).sum(dim=2) + beta * kl, kl
    both = torch.cat([outputs, network.conditionals(network.embed(target))])
    terms = network.column_terms(both, target.repeated(2)).sum(dim=2)
    own, given_others = terms.chunk(2)
    return own + given_others + beta * kl, kl


class Trainer:
    """Fits a network to rows by a schedule. Every random draw follows from (seed, epoch): an epoch can be repeated."""

    def __init__(self, network: Network, schedule: TrainingSchedule, rows: RowStore, held_out: RowStore) -> None:
        self.network, self.schedule, self.rows, self.held_out = network, schedule, rows, held_out
        self.device = next(network.parameters()).device
        self.optimizer = torch.optim.Adam(
            network.parameters(), lr=schedule.learning_rate, betas=(0.9, 0.99), fused=True
        )
        self.steps = schedule.epochs * schedule.steps_per_epoch
        self.curve: list[dict[str, float]] = []
        self.best_loss, self.best_epoch = math.inf, -1
        self.best: dict[str, Tensor] = {}

    def resume(self, progress: Progress) -> None:
        """Go on from a checkpoint."""
        self.network.load_state_dict(progress.network)
        restore_optimizer(self.optimizer, progress.optimizer)
        self.best, self.best_loss, self.best_epoch = progress.best, progress.best_loss, progress.best_epoch
        self.curve = progress.curve

    def progress(self) -> Progress:
        """What a checkpoint keeps."""
        network, optimizer = dict(self.network.state_dict()), optimizer_tensors(self.optimizer)
        return Progress(network, optimizer, self.best, self.best_loss, self.best_epoch, self.curve)

    def run(
        self,
        on_event: Callable[[TrainEvent], None] | None = None,
        on_epoch: Callable[[Progress], None] | None = None,
    ) -> None:
        """Train to the end or until the held-out loss has not improved for `patience` epochs; keep the best weights."""
        started_s = time.monotonic()
        if self._is_done():
            self._finish()
            return
        for epoch in range(len(self.curve), self.schedule.epochs):
            loss = self._run_epoch(epoch)
            held_out, kl = self.evaluate()
            self.curve.append({"epoch": epoch + 1, "loss": loss, "held_out": held_out, "kl": kl})
            if held_out < self.best_loss and epoch * self.schedule.steps_per_epoch >= self.schedule.warmup * self.steps:
                self.best_loss, self.best_epoch = held_out, epoch
                self.best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
            if on_event:
                done = (epoch + 1) * self.schedule.steps_per_epoch
                elapsed_s = time.monotonic() - started_s
                on_event(TrainEvent(epoch + 1, self.schedule.epochs, done, self.steps, loss, held_out, kl, elapsed_s))
            if on_epoch:
                on_epoch(self.progress())
            if self._is_done():
                break
        self._finish()

    def _is_done(self) -> bool:
        patience, epoch = self.schedule.patience, len(self.curve) - 1
        return bool(self.best) and patience > 0 and epoch - self.best_epoch >= patience

    def _finish(self) -> None:
        if self.best:
            self.network.load_state_dict(self.best)
        self.network.eval()

    def _run_epoch(self, epoch: int) -> float:
        schedule, network = self.schedule, self.network
        generator = torch.Generator(device=self.device).manual_seed(schedule.seed * 1_000_003 + epoch)
        order = self._batch_order(epoch)
        network.train()
        total = 0.0
        for i in range(schedule.steps_per_epoch):
            step = epoch * schedule.steps_per_epoch + i
            for group in self.optimizer.param_groups:
                group["lr"] = schedule.learning_rate * one_cycle(step, self.steps)
            total += self._take_step(order[:, i], step, generator)
        return total / schedule.steps_per_epoch

    def _take_step(self, index: Tensor, step: int, generator: torch.Generator) -> float:
        schedule, network = self.schedule, self.network
        target = take_batch(self.rows, index, self.device)
        shown = hide_columns(target, network, schedule.mask, generator)
        noise = torch.randn(*index.shape, network.shape.latent, generator=generator, device=self.device)
        beta = schedule.beta * min(1.0, (step + 1) / max(1.0, schedule.warmup * self.steps))
        losses, _ = row_losses(network, shown, target, noise, beta)
        kept = keep_smallest(losses, schedule.trim)
        loss = kept.mean(dim=1).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clip_gradients(network, 5.0 * math.sqrt(network.layout.columns))
        self.optimizer.step()
        return float(loss.detach()) / network.shape.members

    def _batch_order(self, epoch: int) -> Tensor:
        """Row numbers [M, steps, B]: each member walks through its own shuffles of the training rows."""
        schedule, n = self.schedule, self.rows.rows
        wanted = schedule.steps_per_epoch * schedule.batch_rows
        generator = torch.Generator().manual_seed(schedule.seed * 7_919 + epoch + 1)
        members = []
        for _ in range(self.network.shape.members):
            shuffles = [torch.randperm(n, generator=generator) for _ in range(math.ceil(wanted / n))]
            members.append(torch.cat(shuffles)[:wanted])
        return torch.stack(members).view(-1, schedule.steps_per_epoch, schedule.batch_rows)

    @torch.no_grad()
    def evaluate(self, block_rows: int = 4_096) -> tuple[float, float]:
        """Mean loss and KL of the held-out rows at the posterior mean, with the final beta."""
        self.network.eval()
        losses, kls = [], []
        members = self.network.shape.members
        for start in range(0, self.held_out.rows, block_rows):
            index = torch.arange(start, min(start + block_rows, self.held_out.rows))
            batch = take_batch(self.held_out, index.expand(members, -1), self.device)
            noise = torch.zeros(members, len(index), self.network.shape.latent, device=self.device)
            loss, kl = row_losses(self.network, batch, batch, noise, self.schedule.beta)
            losses.append(loss)
            kls.append(kl)
        return float(torch.cat(losses, dim=1).mean()), float(torch.cat(kls, dim=1).mean())


def one_cycle(step: int, steps: int) -> float:
    """Factor on the peak learning rate: linear rise over a tenth (at least 20 steps), then half a cosine to 1 %."""
    rise = max(20.0, 0.1 * steps)
    if step + 1 <= rise:
        return (step + 1) / rise
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(1.0, steps - rise)))


@torch.no_grad()
def clip_gradients(network: Network, limit: float) -> None:
    """Scale each member's gradient to a norm of at most `limit`; one member's outlier does not slow the others."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    norm = torch.sqrt(torch.stack([g.flatten(1).square().sum(dim=1) for g in gradients]).sum(dim=0))  # [M]
    factor = (limit / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))


def keep_smallest(losses: Tensor, trim: float) -> Tensor:
    """Drop the `trim` share of rows with the largest losses from each member's batch: [M, B] -> [M, kept]."""
    kept = max(1, round(losses.shape[1] * (1.0 - trim)))
    return losses if kept == losses.shape[1] else losses.topk(kept, dim=1, largest=False).values


@torch.no_grad()
def export_weights(network: Network) -> dict[str, npt.NDArray[np.float32]]:
    """Weights for the numpy forward pass: [M, out, in] matrices and [M, out, 1] biases, norms folded in."""
    tensors: dict[str, Tensor] = {}
    for side, cone in (("encoder", network.encoder), ("decoder", network.decoder)):
        for i, (weight, bias) in enumerate(cone.folded()):
            tensors[f"{side}.{i}.weight"], tensors[f"{side}.{i}.bias"] = weight, bias
    for name in ("mu", "logvar", "head"):
        linear = getattr(network, name)
        if linear is not None:
            tensors[f"{name}.weight"], tensors[f"{name}.bias"] = linear.weight, linear.bias
    for name in ("shortcut_in", "shortcut_out"):
        weight = getattr(network, name)
        if weight is not None:
            tensors[name] = weight
    if network.conditionals is not None:
        tensors |= _export_conditionals(network.conditionals)
    for c, table in enumerate(network.embeddings):
        tensors[f"embedding.{c}"] = table
    return {name: _to_numpy(value.transpose(1, 2)) for name, value in tensors.items()}


def _export_conditionals(peers: ConditionalModel) -> dict[str, Tensor]:
    weight, head = peers.masked()
    logits = {f"peers.logits.{c}": table for c, table in enumerate(peers.logits)}
    return {"peers.first.weight": weight, "peers.first.bias": peers.first.bias, "peers.head": head, **logits}


def _to_numpy(value: Tensor) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(value.detach().float().cpu().numpy())
