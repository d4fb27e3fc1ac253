"""What a reproduction consists of: its runs, their settings, and where everything lies."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trainer.evaluate.cli import Progress

RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "+NCE": ("nce", {"score": "log_ratio"}),
    "+task": ("task", {"score": "sum"}),
    "+DPO": ("dpo", {}),
    "+NCE (sum)": ("nce", {"score": "sum"}),
    "+NCE (mean)": ("nce", {"score": "mean"}),
    "+task (mean)": ("task", {"score": "mean"}),
    "+task (log ratio)": ("task", {"score": "log_ratio"}),
    "+task (a tenth of the rate)": ("task", {"score": "sum", "learning_rate": 3e-5}),
    "+task (log ratio, a tenth of the rate)": ("task", {"score": "log_ratio", "learning_rate": 3e-5}),
    "+DPO (a tenth of the rate)": ("dpo", {"learning_rate": 3e-5}),
    "+NCA": ("nca", {}),
    **{f"+calibration (K={count})": ("calibrate", {"candidates": count}) for count in (5, 10, 15, 20)},
    "+calibration (K=10, by preference)": ("calibrate", {"candidates": 10, "ranking": "preference"}),
}
"""Name in the tables -> recipe and what differs from its defaults."""

ALWAYS = ("+NCE", "+task", "+DPO")


class Recorder(Progress):
    """Shows progress, and keeps the metrics of a run in a file for the curves."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        self._path = folder / "metrics.jsonl"
        self._step = 0
        folder.mkdir(parents=True, exist_ok=True)

    def metrics(self, step: int, steps: int, epoch: float, values: Mapping[str, float]) -> None:
        """Add a line to the file."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "steps": steps, "epoch": epoch, **values}) + "\n")


@dataclass(frozen=True)
class Plan:
    """What the options say, and where everything lies."""

    options: argparse.Namespace
    output: Path

    def folder(self, name: str) -> Path:
        """The folder of a run."""
        plain = "".join(letter if letter.isalnum() else "-" for letter in name.strip("+").lower())
        return self.output / "runs" / plain.strip("-")

    def model(self, name: str) -> Path:
        """The folder of a trained model, or of the base."""
        return Path(self.options.base) if name == "base" else self.folder(name) / "model"

    @cached_property  # what another process finishes meanwhile comes in the next time
    def runs(self) -> list[str]:
        """The alignments of the page: those asked for, and all that the output folder holds finished."""
        return [name for name in RUNS if name in ALWAYS or name in self.options.also or self.finished(name)]

    def finished(self, name: str) -> bool:
        """Whether the output folder holds this run, trained to its end."""
        facts = self.folder(name) / "stage.json"
        return facts.is_file() and bool(json.loads(facts.read_text(encoding="utf-8")).get("done"))

    def settings(self, name: str) -> tuple[str, dict[str, Any]]:
        """Recipe and settings of a run."""
        options = self.options
        data = self.output / "data"
        shared = {
            "dataset": str(data / "train.jsonl"),
            "batch_size": options.batch,
            "gradient_accumulation": options.accumulation,
            "longest_text": options.longest_text,
            "seed": options.seed,
            "device": options.device,
            "evaluate_every": 10**6,
            "sample_disputes": 0,
            "checkpoint_every": options.checkpoint_every,
        }
        if name == "SFT":
            rate = {"learning_rate": options.sft_rate, "epochs": options.sft_epochs}
            return "sft", {**shared, **rate, "model": str(options.base)}
        recipe, own = RUNS[name]
        epochs = options.task_epochs if recipe == "task" else options.nce_epochs
        aligned = {
            "model": str(self.model("SFT")),
            "layers": options.layers,
            "learning_rate": options.rate,
            "epochs": epochs,
            "hypothesis_tokens": options.tokens,
            "dataset": str(data / "align.jsonl"),
            "hypotheses": str(data / "hypotheses.jsonl"),
        }
        if recipe == "calibrate":  # its candidates are several, and it writes them itself
            aligned |= {"hypotheses": ""}
            shared |= {"batch_size": 1, "gradient_accumulation": options.batch * options.accumulation}
        return recipe, {**shared, **aligned, **own}
