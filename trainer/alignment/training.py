"""What all recipes share: transformers' Trainer, told what to learn from, when to stop, and whom to report to.

accelerate brings devices, mixed precision and several GPUs; the Trainer brings gradient accumulation and the loop. Here
are the order of the examples, the loss over a whole step, checkpoints that are whole or not there, and the metrics.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments

from mediator.errors import EvenhandError
from trainer.alignment import checkpoints, ranks
from trainer.alignment.config import RecipeConfig
from trainer.alignment.material import Material, Tally
from trainer.models.network import Batch, Network
from trainer.progress import Reporter, Stopped

_LEARNED = "learned.safetensors"
_A_DAY = 24 * 3600


class Diverged(EvenhandError):
    """The loss is not a number any more."""


Measure = Callable[[int, int, float], Mapping[str, float]]
"""Measures the model at a step (step, steps, epoch); raises `Stopped` when the run was asked to stop meanwhile."""


def arguments(config: RecipeConfig, folder: Path, device: torch.device, precision: str) -> TrainingArguments:
    """Translate a recipe's settings for the Trainer; with several processes, this is where they meet."""
    made = TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=min(config.warmup_share, 1 - 1e-9),  # below 1 it is a share
        adam_beta1=config.adam_beta1,
        adam_beta2=config.adam_beta2,
        weight_decay=config.weight_decay,
        max_grad_norm=config.largest_gradient,
        optim="adamw_torch_fused" if device.type == "cuda" else "adamw_torch",
        bf16=precision == "bf16",
        use_cpu=device.type == "cpu",
        logging_strategy="steps",
        logging_steps=config.log_every,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=config.checkpoint_every,
        seed=config.seed,
        report_to=[],
        disable_tqdm=True,
        log_level="error",
        remove_unused_columns=False,
        label_names=[],
        dataloader_pin_memory=device.type == "cuda",
        ddp_find_unused_parameters=False,
        ddp_timeout=_A_DAY,  # the first process writes and scores samples while the others wait
    )
    if made.n_gpu > 1:
        made._n_gpu = 1  # one process uses one GPU; torchrun starts one for each
    return made


class _Drawn(Dataset[Any]):  # type: ignore[misc]
    """`Material` as the data loader wants it: indexed by (epoch, number)."""

    def __init__(self, material: Material) -> None:
        self._material = material

    def __len__(self) -> int:
        return len(self._material)

    def __getitem__(self, place: tuple[int, int]) -> Any:
        return self._material.item(*place)


class _Order(Sampler[Any]):  # type: ignore[misc]
    """The order of the items: a permutation for each epoch, drawn from the seed and the epoch."""

    def __init__(self, length: int, seed: int) -> None:
        self._length, self._seed, self.epoch = length, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        chance = torch.Generator().manual_seed((self._seed * 1_000_003 + epoch) % 2**63)
        for index in torch.randperm(self._length, generator=chance).tolist():
            yield epoch, index


class RecipeTrainer(Trainer):  # type: ignore[misc]
    """transformers' Trainer for one recipe. Made and run by `fit`."""

    def __init__(
        self,
        network: Network,
        material: Material,
        settings: TrainingArguments,
        config: RecipeConfig,
        reporter: Reporter,
        measure: Measure | None,
        made_with: Mapping[str, Any],
    ) -> None:
        self._material, self._config, self._reporter, self._measure = material, config, reporter, measure
        self._made_with = dict(made_with)
        self._order = _Order(len(material), config.seed)
        self._tally: dict[str, Tensor] = {}
        self._since = time.monotonic()
        self.stopped = False
        super().__init__(
            model=network,
            args=settings,
            train_dataset=_Drawn(material),
            data_collator=material.collate,
            callbacks=[_Conductor(self)],
        )
        self.remove_callback(PrinterCallback)
        self.loss_is_scaled_for_ga = True  # `compute_loss` divides by what the whole step holds

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self._order

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> Any:
        """Collect the batches of one step, with the weight of all of them, in all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return batches, None
        weight = torch.stack([self._material.weight(batch).to(device, torch.float32) for batch in batches]).sum()
        return batches, ranks.sums(weight)

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of one pass as its share of the whole step's mean."""
        known = ("tokens", "response", "attention_mask", "positions", "states")
        sums, counts = model(**{name: inputs[name] for name in known if name in inputs})
        total, tally = self._material.loss(sums, counts, inputs)
        self._count(inputs, tally)
        # The gradients are averaged over the processes.
        loss = total * ranks.size() / num_items_in_batch.clamp(min=1)
        return (loss, (sums, counts)) if return_outputs else loss

    def _count(self, batch: Batch, tally: Tally) -> None:
        entries = {name: torch.stack([part.detach().double() for part in pair]) for name, pair in tally.items()}
        tokens = batch["attention_mask"].sum() if "attention_mask" in batch else batch["kept"].sum()
        speeds = torch.stack([tokens, self._material.examples(batch).to(tokens.device)]).double()
        for name, value in {**entries, "speeds": speeds}.items():
            self._tally[name] = self._tally[name] + value if name in self._tally else value

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Report the metrics since the last time. Raises `Diverged`."""
        if "loss" not in logs:  # the summary at the end
            return
        state = self.state
        now = time.monotonic()
        seconds, self._since = max(now - self._since, 1e-9), now
        values = {"loss": logs["loss"], "learning_rate": logs["learning_rate"]}
        if "grad_norm" in logs:
            values["gradient_norm"] = logs["grad_norm"]
        names = sorted(self._tally)
        totals = ranks.sums(torch.stack([self._tally[name].to(self.args.device) for name in names])).tolist()
        self._tally = {}
        for name, (first, second) in zip(names, totals, strict=True):
            if name == "speeds":
                values |= {"tokens_per_second": first / seconds, "samples_per_second": second / seconds}
            elif second:
                values[name] = first / second
        values |= memory()
        self._reporter.metrics(state.global_step, state.max_steps, float(state.epoch or 0), values)
        if not all(abs(values[name]) < float("inf") for name in ("loss", "gradient_norm") if name in values):
            raise self._diverged()

    def _diverged(self) -> Diverged:
        return Diverged(
            f"The loss is not a number any more at step {self.state.global_step}.",
            "Lower learning_rate; if precision is bf16, fp32 may help too.",
        )

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure, in the first process; the others wait."""
        began, state, stopped = time.monotonic(), self.state, False
        self.control.should_evaluate = False  # else it is done once more at the end of an epoch
        if self._measure is not None and ranks.rank() == 0:
            try:
                found = self._measure(state.global_step, state.max_steps, float(state.epoch or 0))
                if found:
                    self._reporter.metrics(state.global_step, state.max_steps, float(state.epoch or 0), found)
            except Stopped:
                stopped = True
        if ranks.any_of(stopped, self.args.device):
            self.stop_here()
        self._since += time.monotonic() - began
        return {}

    def stop_here(self) -> None:
        """Write a checkpoint after this step, and end."""
        self.stopped = self.control.should_save = self.control.should_training_stop = True

    def asked_to_stop(self) -> bool:
        """Whether any process was asked to stop."""
        return ranks.any_of(self._reporter.should_stop(), self.args.device)

    # -- checkpoints ------------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        began = time.monotonic()
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        super()._save_checkpoint(model, trial)
        ranks.any_of(False, self.args.device)  # all have written
        if ranks.rank() == 0:
            checkpoints.seal(folder, self.state.global_step, self._made_with)
            checkpoints.tidy(folder.parent, self._config.keep_checkpoints)
        ranks.any_of(False, self.args.device)
        self._since += time.monotonic() - began

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write what learns and nothing else: the rest is in the base model."""
        if ranks.rank() != 0:
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        learned = {name: value.detach().contiguous() for name, value in _learned(self.model)}
        if not all(bool(torch.isfinite(value).all()) for value in learned.values()):
            raise self._diverged()  # a checkpoint of these could never be gone on from
        save_file(learned, folder / _LEARNED)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        found = load_file(Path(resume_from_checkpoint) / _LEARNED)
        wanted = dict(_learned(model if model is not None else self.model))
        if found.keys() != wanted.keys():
            raise checkpoints.CannotResume(
                f"The checkpoint {resume_from_checkpoint} holds other weights than those that learn now.",
                "Resume with the settings of the run, or start a new run.",
            )
        with torch.no_grad():
            for name, parameter in wanted.items():
                parameter.copy_(found[name])


class _Conductor(TrainerCallback):  # type: ignore[misc]
    """Decides after each step whether to measure and whether to stop."""

    def __init__(self, trainer: RecipeTrainer) -> None:
        self._trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._trainer._order.set_epoch(int(state.epoch or 0))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        trainer = self._trainer
        trainer._reporter.phase("training", state.global_step, state.max_steps)
        if trainer._measure is not None and (
            state.global_step % trainer._config.evaluate_every == 0 or state.global_step >= state.max_steps
        ):
            control.should_evaluate = True
        if trainer.asked_to_stop():
            control.should_evaluate = False
            trainer.stopped = control.should_save = control.should_training_stop = True


def fit(
    network: Network,
    material: Material,
    settings: TrainingArguments,
    config: RecipeConfig,
    reporter: Reporter,
    measure: Measure | None,
    made_with: Mapping[str, Any],
    resume: bool,
) -> int:
    """Train the network; what learns in it is changed in place.

    Args:
        network: what computes.
        material: what it learns from.
        settings: of `arguments`.
        config: of the recipe.
        reporter: is told of each step, and asked whether to stop.
        measure: called every ``evaluate_every`` steps and at the end, in the first process; None for never.
        made_with: what a checkpoint depends on; a resumed run must have the same.
        resume: go on from the newest whole checkpoint, or begin where there is none.

    Returns:
        how many steps of the optimiser the whole training has.

    Raises:
        Stopped: the reporter said so; there is a checkpoint of the last step.
        CannotResume: see `checkpoints.check_same`.
        Diverged: the loss is not a number any more.
    """
    trainer = RecipeTrainer(network, material, settings, config, reporter, measure, made_with)
    folder = Path(settings.output_dir)
    found = checkpoints.newest(folder) if resume else None
    if found:
        checkpoints.check_same(found, made_with)
    ranks.any_of(False, settings.device)  # all have chosen the same one before anything is deleted
    if ranks.rank() == 0:
        checkpoints.tidy(folder)
    ranks.any_of(False, settings.device)
    steps = _steps_of(found) if found else 0
    reporter.phase("training", found.step if found else 0, steps)
    if found and found.step >= steps:
        # It was killed while it saved the result. The Trainer would take one more step.
        trainer._load_from_checkpoint(str(found.folder))
        return steps
    trainer.train(resume_from_checkpoint=str(found.folder) if found else None)
    if trainer.stopped:
        raise Stopped
    return int(trainer.state.max_steps)


def memory() -> dict[str, float]:
    """Return the memory of this process, and at its highest the GPU's, in bytes."""
    import psutil

    found = {"memory_bytes": float(psutil.Process().memory_info().rss)}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["gpu_memory_bytes"] = float(torch.cuda.max_memory_allocated())
    return found


def _steps_of(checkpoint: checkpoints.Checkpoint) -> int:
    """How many steps the whole training has, of which this checkpoint is one."""
    return int(TrainerState.load_from_json(str(checkpoint.folder / "trainer_state.json")).max_steps)


def _learned(model: Any) -> list[tuple[str, Tensor]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
