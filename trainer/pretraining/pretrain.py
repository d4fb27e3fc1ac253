"""A small Llama from scratch: a byte-level tokenizer and a model that learn English prose in a budget of minutes.

Where no published model can be had, the method still needs a base that knows the language: something to fine-tune, and
something to forget. ``python -m trainer.pretraining.pretrain --text FILE.xz --output FOLDER --minutes 60`` makes one.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mediator.errors import MissingExtraError
from trainer.pretraining.text import PretrainingError, Rows, documents, train_tokenizer, write_tokens

HELD_OUT_ROWS = 64
CLOCK_FILE = "clock.json"


@dataclass(frozen=True)
class Shape:
    """The model and its rows.

    Attributes:
        layers: decoder layers.
        width: length of a token's vector; a multiple of ``heads``.
        heads: attention heads.
        vocabulary: tokens, at least 260 (the bytes and four special ones) and at most 65,536.
        row: tokens in one row of training; the model is never asked to learn from further back.
    """

    layers: int = 6
    width: int = 256
    heads: int = 4
    vocabulary: int = 8192
    row: int = 512

    def check(self) -> None:
        """Raise `PretrainingError` unless a model of this shape can be made."""
        if min(self.layers, self.width, self.heads) < 1 or self.row < 8:
            raise PretrainingError("--layers, --width and --heads must be at least 1, --row at least 8.")
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise PretrainingError(
                f"--width {self.width} cannot be shared among {self.heads} heads.",
                "Width divided by heads must be an even number: 256 and 4, for example.",
            )
        if not 260 <= self.vocabulary <= 65_536:
            raise PretrainingError(f"--vocabulary is {self.vocabulary}; it must lie between 260 and 65536.")


@dataclass(frozen=True)
class Budget:
    """How long and how fast to learn.

    Attributes:
        minutes: of learning; reading the text and making the tokenizer come on top.
        rows: rows in one step of the optimiser.
        learning_rate: the highest one.
        tokens: the most tokens to prepare; where they run out, they are read again in another order.
        checkpoint_minutes: between two checkpoints.
        steps: the most steps of the optimiser, where that shall end it before the minutes do; 0 for no such end.
    """

    minutes: float = 60.0
    rows: int = 8
    learning_rate: float = 2e-3
    tokens: int = 24_000_000
    checkpoint_minutes: float = 5.0
    steps: int = 0


def make_model(shape: Shape, tokenizer: Any, seed: int) -> Any:
    """Return a Llama of this shape with random weights, its embedding shared with its output head."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    block = 256 if shape.width % 256 == 0 else 32  # llama.cpp's k-quants divide rows into blocks of 256
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.width,
            intermediate_size=-(-shape.width * 8 // 3 // block) * block,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            max_position_embeddings=2048,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def pace(share: float, warmup: float = 0.02, decay: float = 0.35) -> float:
    """The learning rate at a share (0..1) of the budget, as a share of the highest one.

    A linear rise, a plateau, a linear fall to a fiftieth: unlike a cosine over steps it needs no number of steps, which
    nobody knows where the budget is time.
    """
    share = min(max(share, 0.0), 1.0)
    if share < warmup:
        return max(share / warmup, 0.02)
    return max(min((1.0 - share) / decay, 1.0), 0.02)


def _learn(model: Any, tokenizer: Any, rows: Rows, folder: Path, budget: Budget, seed: int, resume: bool) -> int:
    """Learn until the minutes are over; return the tokens read in them, earlier sessions included."""
    import torch
    from torch.optim.lr_scheduler import LambdaLR
    from transformers import Trainer, TrainerCallback, TrainingArguments

    seconds = budget.minutes * 60
    tokens_per_step = budget.rows * len(rows[0]["input_ids"])

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Counts the seconds of learning, those before an interruption included."""

        def __init__(self) -> None:
            self.before, self.started, self.saved = 0.0, time.monotonic(), time.monotonic()
            self.step_at_start = 0

        def spent(self) -> float:
            return self.before + time.monotonic() - self.started

        def share(self, step: int) -> float:
            """How much of the budget is spent, 0..1."""
            return max(self.spent() / seconds, step / budget.steps if budget.steps else 0.0)

        def on_train_begin(self, arguments: Any, state: Any, control: Any, **_: Any) -> None:
            self.started = self.saved = time.monotonic()
            self.step_at_start = state.global_step

        def on_step_end(self, arguments: Any, state: Any, control: Any, **_: Any) -> None:
            if self.spent() >= seconds:
                control.should_training_stop = True
            elif time.monotonic() - self.saved >= budget.checkpoint_minutes * 60:
                self.saved = time.monotonic()
                control.should_save = True

        def on_save(self, arguments: Any, state: Any, control: Any, **_: Any) -> None:
            path = Path(arguments.output_dir) / f"checkpoint-{state.global_step}" / CLOCK_FILE
            path.write_text(json.dumps({"seconds": self.spent()}), encoding="utf-8")

        def on_log(self, arguments: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                steps = state.global_step - self.step_at_start
                speed = steps * tokens_per_step / max(time.monotonic() - self.started, 1e-9)
                tell(
                    f"{self.spent() / 60:5.1f} of {budget.minutes:g} min, step {state.global_step}, "
                    f"loss {float(logs['loss']):.3f}, {speed:,.0f} tokens/s, "
                    f"{state.global_step * tokens_per_step / 1e6:.2f} M tokens"
                )

    clock = Clock()

    class TimedTrainer(Trainer):  # type: ignore[misc]
        """A trainer whose learning rate follows the clock."""

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, lambda step: pace(clock.share(step)))
            return self.lr_scheduler

    trainer = TimedTrainer(
        model=model,
        train_dataset=rows,
        callbacks=[clock],
        args=TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=budget.rows,
            learning_rate=budget.learning_rate,
            adam_beta2=0.95,
            weight_decay=0.1,
            max_grad_norm=1.0,
            max_steps=budget.steps or 10**7,
            logging_steps=20,
            save_strategy="no",
            save_total_limit=2,
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_drop_last=True,
            dataloader_pin_memory=False,
            seed=seed,
        ),
    )
    for callback in list(trainer.callback_handler.callbacks):
        if type(callback).__name__ == "PrinterCallback":
            trainer.remove_callback(callback)
    last = _last_checkpoint(folder) if resume else None
    if last:
        clock.before = float(json.loads((last / CLOCK_FILE).read_text(encoding="utf-8"))["seconds"])
        tell(f"going on after {clock.before / 60:.1f} minutes")
    torch.manual_seed(seed)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    steps: int = trainer.state.global_step
    return steps * tokens_per_step


def _last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole: the clock is written last."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{CLOCK_FILE}")]
    return max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)


def held_out_loss(model: Any, rows: Rows) -> float:
    """The mean negative log-likelihood of the tokens of rows that were not learned from, in nats."""
    import torch

    model.eval()
    with torch.inference_mode():
        losses = [
            float(model(input_ids=row[None], labels=row[None]).loss)
            for row in (rows[index]["input_ids"].to(model.device) for index in range(len(rows)))
        ]
    return sum(losses) / len(losses)


def pretrain(
    texts: Sequence[Path], output: Path, shape: Shape, budget: Budget, *, seed: int = 0, resume: bool = False
) -> Path:
    """Make a tokenizer and a model from texts; return the folder with both (safetensors, ready for ``transformers``).

    The work lies in ``output/work`` (tokens, checkpoints); with ``resume`` an interrupted run goes on from it.

    Raises:
        PretrainingError: the shape or a text cannot be used, or the folder already holds a model.
    """
    from transformers import PreTrainedTokenizerFast

    shape.check()
    if (output / "model.safetensors").exists():
        raise PretrainingError(f"{output} already holds a model.", "Choose another --output, or delete it.")
    work = output / "work"
    if work.exists() and not resume:
        raise PretrainingError(f"{work} holds an unfinished run.", "Add --resume to go on, or delete it.")
    work.mkdir(parents=True, exist_ok=True)
    if (work / "tokenizer" / "tokenizer.json").exists():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(work / "tokenizer")
    else:
        tell(f"learning a tokenizer of {shape.vocabulary} tokens")
        tokenizer = train_tokenizer(documents(texts), shape.vocabulary)
        tokenizer.save_pretrained(work / "tokenizer")
    path = work / "tokens.bin"
    if not path.exists():
        tell(f"writing up to {budget.tokens:,} tokens")
        write_tokens(tokenizer, documents(texts), path, budget.tokens)
    count = path.stat().st_size // 2 // shape.row
    kept = min(HELD_OUT_ROWS, count // 10)
    if count - kept < budget.rows or kept < 1:
        raise PretrainingError(
            f"The text makes {count} rows of {shape.row} tokens, too few for {budget.rows} a step.", "Give more text."
        )
    model = make_model(shape, tokenizer, seed)
    tell(f"{model.num_parameters():,} weights, {count * shape.row:,} tokens")
    learned = _learn(
        model,
        tokenizer,
        Rows(path, shape.row, 0, count - kept),
        work / "checkpoints",
        budget,
        seed,
        resume,
    )
    loss = held_out_loss(model, Rows(path, shape.row, count - kept, count))
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    facts = {
        "shape": asdict(shape),
        "budget": asdict(budget),
        "weights": model.num_parameters(),
        "tokens_learned_from": learned,
        "held_out_loss": loss,
        "held_out_perplexity": math.exp(loss),
        "texts": [text.name for text in texts],
    }
    (output / "pretraining.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    tell(f"held-out loss {loss:.3f} nats, perplexity {math.exp(loss):.1f}; the model is in {output}")
    return output


def tell(line: str) -> None:
    """Write a line of progress on stderr."""
    sys.stderr.write(f"pretrain: {line}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m trainer.pretraining.pretrain``; return the exit code: 0 done, 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m trainer.pretraining.pretrain", description=__doc__.split("\n")[0])
    parser.add_argument("--text", type=Path, action="append", required=True, metavar="FILE", help="a .txt or .txt.xz")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where the model shall lie")
    parser.add_argument("--layers", type=int, default=Shape.layers, help="decoder layers (default %(default)s)")
    parser.add_argument("--width", type=int, default=Shape.width, help="length of a vector (default %(default)s)")
    parser.add_argument("--heads", type=int, default=Shape.heads, help="attention heads (default %(default)s)")
    parser.add_argument("--vocabulary", type=int, default=Shape.vocabulary, help="tokens (default %(default)s)")
    parser.add_argument("--row", type=int, default=Shape.row, help="tokens in one row (default %(default)s)")
    parser.add_argument("--minutes", type=float, default=Budget.minutes, help="of learning (default %(default)s)")
    parser.add_argument("--steps", type=int, default=0, help="the most steps; 0: as many as fit (default)")
    parser.add_argument("--rows", type=int, default=Budget.rows, help="rows in one step (default %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=Budget.learning_rate, help="default %(default)s")
    parser.add_argument("--tokens", type=int, default=Budget.tokens, help="the most to prepare (default %(default)s)")
    parser.add_argument(
        "--checkpoint-minutes", type=float, default=Budget.checkpoint_minutes, help="between two (default %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=0, help="of the processor; 0 leaves it to torch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in FOLDER")
    given = parser.parse_args(arguments)
    try:
        import torch
        import transformers
    except ImportError as error:
        missing = MissingExtraError("Pretraining needs torch and transformers.", "pip install 'evenhand[train]'")
        tell(str(missing))
        raise SystemExit(missing.exit_code) from error
    transformers.logging.set_verbosity_error()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false" if given.threads == 1 else "true")
    if given.threads:
        torch.set_num_threads(given.threads)
    try:
        pretrain(
            given.text,
            given.output,
            Shape(given.layers, given.width, given.heads, given.vocabulary, given.row),
            Budget(
                minutes=given.minutes,
                rows=given.rows,
                learning_rate=given.learning_rate,
                tokens=given.tokens,
                checkpoint_minutes=given.checkpoint_minutes,
                steps=given.steps,
            ),
            seed=given.seed,
            resume=given.resume,
        )
    except PretrainingError as error:
        tell(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
