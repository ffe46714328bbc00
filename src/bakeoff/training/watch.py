"""What is looked at while a loop runs: curves, whether the loss is still a number, when a checkpoint is due."""

import math
import time
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from bakeoff.errors import Refused
from bakeoff.training.model import CurvePoint, OnStep

if TYPE_CHECKING:
    from bakeoff.training.choice_trainer import ChoiceTrainer


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers' types are not followed: its class is Any
    """Collects the curves, tells the caller about every step, and says when a checkpoint is due."""

    def __init__(self, on_step: OnStep | None) -> None:
        self.on_step = on_step
        self.trainer: ChoiceTrainer | None = None

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - transformers' signature
        """A loader that begins in the middle of an epoch, after a checkpoint, does not tell the order which one."""
        if self.trainer is not None and self.trainer.order is not None:
            self.trainer.order.set_epoch(state.global_step // (state.max_steps // args.num_train_epochs))

    def _validate(self, step: int) -> None:
        trainer = self.trainer
        assert trainer is not None
        if trainer.held_out and not any(p.step == step and p.name == "validation_loss" for p in trainer.curves):
            trainer.curves += [CurvePoint(step=step, name=n, value=v) for n, v in trainer.validation().items()]

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - transformers' signature
        per_epoch = state.max_steps // args.num_train_epochs
        if state.global_step % per_epoch == 0:  # a checkpoint at the end of an epoch is older than its validation
            self._validate(state.global_step)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - transformers' signature
        self._validate(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - transformers' signature
        assert self.trainer is not None
        if self.trainer.checkpoint_due(time.perf_counter()):
            control.should_save = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002 - transformers' signature
        if not logs or "loss" not in logs:
            return
        assert self.trainer is not None
        began = time.perf_counter()
        metrics = {"training_loss": float(logs["loss"]), "learning_rate": float(logs["learning_rate"])}
        require_finite(metrics["training_loss"], state.global_step, args.learning_rate)
        metrics |= self.trainer.step_metrics()
        self.trainer.curves += [CurvePoint(step=state.global_step, name=n, value=v) for n, v in metrics.items()]
        if self.on_step is not None:
            self.on_step(state.global_step, state.max_steps, metrics)
        self.trainer.bookkeeping += time.perf_counter() - began


def require_finite(loss: float, step: int, learning_rate: float) -> None:
    """Raises Refused for a loss that is no number: nothing good comes after it, and such a run cannot be registered."""
    if not math.isfinite(loss):
        raise Refused(
            f"the training loss is {loss} at step {step}, so the weights are lost",
            cure=f"--learning-rate {learning_rate / 4:g}, or --dtype float32",
        )
