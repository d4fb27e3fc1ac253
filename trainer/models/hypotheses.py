"""The model's own answers to prompts: written in batches, once, and kept, so that a killed run takes them up again."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mediator.writers.conversation_layout import ALPACA_STOPS
from trainer.models.diverse_beams import DiverseBeams
from trainer.models.prompting import prompt_tokens
from trainer.progress import Phase, Reporter, Silent, Stopped


class AnswerCache:
    """Answers in a file of JSON lines, one prompt a line, added to as they are written.

    Several processes may write answers of the same kind: each has a file of its own and reads all of them. The name of
    the file stands for the model and the settings, so answers of another model are never taken for this one's.
    """

    def __init__(self, folder: Path, key: str, process: int = 0) -> None:
        """Read what is there.

        Args:
            folder: of the files; made when the first answer comes.
            key: of `answer_key`.
            process: the number of this process.
        """
        self._folder, self._key = folder, key
        self._own = folder / (f"{key}.jsonl" if process == 0 else f"{key}-{process}.jsonl")
        self._found: dict[str, list[str]] = {}
        self.read()

    def read(self) -> None:
        """Read again what all processes have written. A line that was cut off by a kill is passed over."""
        for file in sorted(self._folder.glob(f"{self._key}*.jsonl")):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                    self._found.setdefault(str(entry["prompt"]), [str(text) for text in entry["answers"]])
                except (ValueError, KeyError, TypeError):
                    continue

    def get(self, prompt: str) -> list[str] | None:
        """Return the answers to a prompt, or None."""
        return self._found.get(_digest(prompt))

    def put(self, entries: Sequence[tuple[str, list[str]]]) -> None:
        """Add (prompt, answers); when this returns, they are on the disk. The first answers to a prompt stay."""
        fresh = [(key, answers) for prompt, answers in entries if (key := _digest(prompt)) not in self._found]
        if not fresh:
            return
        lines = "".join(json.dumps({"prompt": key, "answers": answers}) + "\n" for key, answers in fresh)
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._own.open("a+b") as file:
            if file.tell() and not _ends_a_line(file):
                lines = "\n" + lines  # a kill cut the last line off
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())
        self._found.update(fresh)


def answer_key(
    model_key: str,
    tokens: int,
    temperature: float,
    seed: int,
    answers: int = 1,
    longest: int | None = None,
    diversity: float = 0.0,
) -> str:
    """Return the name of the answers of one model with one set of settings; greedy ones do not depend on the seed."""
    settings: dict[str, Any] = {"model": model_key, "tokens": tokens, "answers": answers, "longest": longest}
    if diversity > 0:
        settings |= {"diversity": diversity}
    if temperature > 0:
        settings |= {"temperature": temperature, "seed": seed}
    return _digest(json.dumps(settings, sort_keys=True))


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    batch: int = 16,
    tokens: int = 160,
    temperature: float = 0.0,
    seed: int = 0,
    answers: int = 1,
    reporter: Reporter | None = None,
    *,
    longest: int | None = None,
    cache: AnswerCache | None = None,
    phase: Phase = "hypotheses",
    diversity: float = 0.0,
) -> list[list[str]]:
    """Have the model answer prompts.

    Prompts of about the same length are answered together, padded on the left. An answer ends at an end-of-text token,
    where the model opens a heading of the template, or after ``tokens``. Drawn answers depend on the seed, the prompt
    and their number only, not on what else is in the batch.

    Args:
        model: a causal language model; it is put into eval mode and back.
        tokenizer: goes with it.
        prompts: texts that end where the answer begins, as of `trainer.models.prompting.prompt_of`.
        batch: answers written at once.
        tokens: the longest answer.
        temperature: 0 takes the likeliest token each time.
        seed: of the drawing.
        answers: how many for each prompt.
        reporter: is told how many prompts are answered.
        longest: tokens of a prompt; by default as many as the model's context holds beside the answer.
        cache: where answers are looked up and kept.
        phase: as which the work is reported.
        diversity: above 0, with temperature 0, the answers are those of diverse beam search, in the order of its
            groups, with this penalty (see `trainer.models.diverse_beams`).

    Returns:
        for each prompt, in the order given, its answers: stripped, possibly empty.

    Raises:
        Stopped: the reporter was asked to stop; what is written stays in the cache.
    """
    reporter = reporter or Silent()
    room = min(longest or 2**31, _longest_prompt(model, tokens))
    encoded = [prompt_tokens(tokenizer, prompt, room) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda at: (len(encoded[at]), at))
    found: list[list[str] | None] = [cache.get(prompt) if cache else None for prompt in prompts]
    done = sum(one is not None for one in found)
    reporter.phase(phase, done, len(prompts))
    step = max(1, batch // answers)
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(order), step):
            # A batch of which a part is known is answered whole: what else is in a batch may change the last bits.
            chosen = order[start : start + step]
            missing = [at for at in chosen if found[at] is None]
            if not missing:
                continue
            if reporter.should_stop():
                raise Stopped
            rows = [(encoded[at], prompts[at], number) for at in chosen for number in range(answers)]
            texts = _answer(model, tokenizer, rows, tokens, temperature, seed, answers, diversity)
            written = {at: texts[place * answers : (place + 1) * answers] for place, at in enumerate(chosen)}
            for at in missing:
                found[at] = written[at]
            if cache:
                cache.put([(prompts[at], written[at]) for at in missing])
            done += len(missing)
            reporter.phase(phase, done, len(prompts))
    finally:
        model.train(was_training)
    return [one if one is not None else [] for one in found]


def _answer(
    model: Any,
    tokenizer: Any,
    rows: list[tuple[list[int], str, int]],
    tokens: int,
    temperature: float,
    seed: int,
    answers: int,
    diversity: float,
) -> list[str]:
    from transformers import GenerationConfig, LogitsProcessorList

    width = max(len(row) for row, _, _ in rows)
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    inputs = torch.full((len(rows), width), padding, dtype=torch.long)
    mask = torch.zeros_like(inputs)
    for number, (row, _, _) in enumerate(rows):
        inputs[number, width - len(row) :] = torch.tensor(row)
        mask[number, width - len(row) :] = 1
    stated = getattr(model.generation_config, "eos_token_id", None)
    ends = {tokenizer.eos_token_id, *(stated if isinstance(stated, list) else [stated])} - {None}
    settings = GenerationConfig(
        max_new_tokens=tokens,
        do_sample=False,  # the drawing is done by _Draw, with random numbers of its own
        num_beams=1,
        repetition_penalty=1.0,
        eos_token_id=sorted(ends),
        pad_token_id=padding,
        use_cache=True,
    )
    choosing: list[Any] = []
    if temperature:
        choosing = [_Draw(temperature, [f"{seed}:{number}:{prompt}" for _, prompt, number in rows])]
    elif diversity:
        choosing = [DiverseBeams(answers, diversity, width, frozenset(ends))]
    with torch.inference_mode():
        output = model.generate(
            inputs.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=settings,
            logits_processor=LogitsProcessorList(choosing),
        )
    texts = tokenizer.batch_decode(output[:, width:].cpu(), skip_special_tokens=True)
    return [_until_heading(text) for text in texts]


class _Draw:
    """Turns greedy decoding into drawing: a logits processor that leaves only the drawn token possible.

    Each row has a stream of uniform numbers of its own, and takes the token at which the sum of probabilities passes
    the next of them.
    """

    def __init__(self, temperature: float, names: Sequence[str]) -> None:
        import numpy as np

        self._temperature = temperature
        self._streams = [np.random.Generator(np.random.Philox(int(_digest(name), 16))) for name in names]

    def __call__(self, _tokens: Tensor, logits: Tensor) -> Tensor:
        """Take logits (rows, vocabulary) of the next token, return them such that the largest is the drawn one."""
        sums = torch.softmax(logits.double() / self._temperature, dim=-1).cumsum(dim=-1)
        points = torch.tensor([[stream.random()] for stream in self._streams], dtype=sums.dtype, device=sums.device)
        drawn = torch.searchsorted(sums, points * sums[:, -1:], right=True).clamp(max=logits.shape[-1] - 1)
        return torch.full_like(logits, float("-inf")).scatter(1, drawn, 0.0)


def _longest_prompt(model: Any, tokens: int) -> int:
    context = int(getattr(model.config, "max_position_embeddings", 0) or 2**31)
    return max(context - tokens, context // 2)


def _until_heading(text: str) -> str:
    ends = [at for stop in ALPACA_STOPS if (at := text.find(stop)) >= 0]
    return text[: min(ends, default=len(text))].strip()


def _ends_a_line(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
