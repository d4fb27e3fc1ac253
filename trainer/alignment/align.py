"""Alignment of a fine-tuned model against its own answers: the paper's two losses, DPO and NCA, on the same footing.

First the model answers every pair once; then, with all but the last layers frozen, what the frozen ones say of every
text is computed once; for losses that compare with the start, so is the start's likelihood of every text. All three
are kept, and a run that was killed takes them up again.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from mediator.atomic_file import write_whole
from mediator.settings import cache_folder
from trainer.alignment import ranks
from trainer.alignment.config import AlignConfig, CalibrateConfig, NcaConfig, TaskConfig
from trainer.alignment.pairs import Pair, Pairs, needs_start
from trainer.alignment.workshop import Workshop, all_at_once, finished, first_then_others, open_workshop
from trainer.dataset.data import DatasetError, Example
from trainer.evaluate.rouge import best_rouge
from trainer.models import hypotheses, trainable
from trainer.models.decoder_parts import Top
from trainer.models.network import Network, batch_of, encode_answer, prompt_room
from trainer.models.prompting import Encoded, prompt_of
from trainer.progress import Reporter, Stopped
from trainer.trunk.cache import TrunkCache, text_key, top

HYPOTHESES_FILE = "hypotheses.jsonl"
"""In a run's folder: the model's own answers, as `hypotheses` of another run takes them."""


Answers = list[list[str]]
"""The model's own answers to each pair."""


def train(
    recipe: str,
    config: AlignConfig,
    folder: Path,
    reporter: Reporter,
    resume: bool = False,
    arrange: Callable[[Workshop, Answers], Answers] | None = None,
) -> Path:
    """Align a fine-tuned model.

    Args:
        recipe: its name; the class of the settings says which loss.
        config: the settings.
        folder: of the run: checkpoints in ``checkpoints``, the result in ``model``.
        reporter: is told of each step, and asked whether to stop.
        resume: go on from the newest whole checkpoint, or begin where there is none.
        arrange: puts the answers to each pair into the order that the loss needs; None where none is needed.

    Returns:
        the folder of the trained model: safetensors, tokenizer, and ``evenhand.json`` with its story.

    Raises:
        Stopped: the reporter said so; there is a checkpoint if training had begun.
        EvenhandError: see `workshop.open_workshop` and `training.fit`.
    """
    if result := finished(folder, resume):
        return result
    work = open_workshop(recipe, config, folder, reporter, resume)
    answers = _own_answers(work, config)
    if arrange is not None:
        answers = arrange(work, answers)
    if ranks.rank() == 0:
        write_hypotheses(work.folder / HYPOTHESES_FILE, work.examples, answers)
    trainable.choose(work.learner, config)
    pairs, texts = _table(work, config, answers)
    cache, keys, upper = _trunk(work, config, texts)
    start = None
    if needs_start(config):
        network = Network(work.learner.model, upper)
        start = first_then_others(lambda: _start_sums(work, network, texts, cache, keys), work.settings.device)
    material = Pairs(pairs, texts, config, start, (cache, keys) if cache else None)
    spoken = hashlib.sha256(json.dumps(answers).encode()).hexdigest()
    result = work.finish(material, {"hypotheses": spoken}, upper)
    if cache:
        cache.delete()
    return result


# -- the model's own answers ----------------------------------------------------------------------------------------


def _own_answers(work: Workshop, config: AlignConfig) -> Answers:
    """The answers to each pair, written now, or earlier by this model, or read from the file that the settings name."""
    count, diversity = 1, 0.0
    if isinstance(config, NcaConfig):
        count = config.answers - 1
    elif isinstance(config, CalibrateConfig):
        count, diversity = config.candidates, config.diversity
    if config.hypotheses:
        found = read_hypotheses(Path(config.hypotheses), work.examples, count)
    else:
        prompts = [prompt_of(example, config.demographics) for example in work.examples]
        tokens, temperature = config.hypothesis_tokens, config.hypothesis_temperature
        room = prompt_room(config.longest_text, tokens)
        key = hypotheses.answer_key(work.key, tokens, temperature, config.seed, count, room, diversity)
        known = hypotheses.AnswerCache(cache_folder() / "hypotheses", key, ranks.rank())

        def write() -> None:
            with work.learner.computing():
                hypotheses.generate(
                    work.learner.model,
                    work.learner.tokenizer,
                    prompts[ranks.rank() :: ranks.size()],
                    config.hypothesis_batch,
                    tokens,
                    temperature,
                    config.seed,
                    count,
                    work.reporter,
                    longest=room,
                    cache=known,
                    diversity=diversity,
                )

        all_at_once(write, work.settings.device)
        known.read()
        found = [known.get(prompt) or [] for prompt in prompts]
    work.reporter.phase("hypotheses", len(found), len(found))
    return found


def write_hypotheses(path: Path, examples: Sequence[Example], answers: Sequence[Sequence[str]]) -> None:
    """Write answers, one JSON object a line: the ``id`` of the pair and its ``answers``. Raises OSError."""
    lines = (
        json.dumps({"id": example.id, "answers": list(texts)}, ensure_ascii=False) + "\n"
        for example, texts in zip(examples, answers, strict=True)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, "".join(lines))


def read_hypotheses(path: Path, examples: Sequence[Example], count: int) -> list[list[str]]:
    """Read what `write_hypotheses` wrote: ``count`` answers for each example.

    Raises:
        DatasetError: the file cannot be read, a line is bad, or a pair has too few answers; file, line and field are
            named.
    """
    found: dict[str, list[str]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise DatasetError(f"{path} cannot be read ({reason}).", "Name a JSONL file of answers.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise DatasetError(f"{path}, line {number}: is not valid JSON.") from error
        texts = entry.get("answers") if isinstance(entry, dict) else None
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts) or "id" not in entry:
            raise DatasetError(
                f"{path}, line {number}: `id` or `answers` is missing or of another kind.",
                'A line is {"id": "...", "answers": ["..."]}.',
            )
        found[str(entry["id"])] = texts
    for example in examples:
        if len(found.get(example.id, [])) < count:
            raise DatasetError(
                f"{path} has {len(found.get(example.id, []))} answers for the pair {example.id}, and {count} are "
                "needed.",
                "Leave `hypotheses` empty to have the model write them.",
            )
    return [found[example.id][:count] for example in examples]


# -- what the losses need -------------------------------------------------------------------------------------------


def _table(work: Workshop, config: AlignConfig, answers: Sequence[Sequence[str]]) -> tuple[list[Pair], list[Encoded]]:
    """All texts, encoded, and the pairs as numbers into them."""
    measure = config.rouge if isinstance(config, TaskConfig) else "rougeL"
    pairs: list[Pair] = []
    texts: list[Encoded] = []

    def numbered(prompt: str, response: str) -> int:
        texts.append(encode_answer(work.learner.tokenizer, prompt, response, config.longest_text))
        return len(texts) - 1

    for example, spoken in zip(work.examples, answers, strict=True):
        prompt = prompt_of(example, config.demographics)
        candidates = [candidate.text for candidate in example.candidates]
        pairs.append(
            Pair(
                example.id,
                tuple(numbered(prompt, text) for text in candidates),
                tuple(numbered(prompt, text) for text in spoken),
                tuple(tuple(getattr(best_rouge(own, [text]), measure) for own in spoken) for text in candidates),
            )
        )
    return pairs, texts


def _trunk(
    work: Workshop, config: AlignConfig, texts: Sequence[Encoded]
) -> tuple[TrunkCache | None, list[str], Top | None]:
    """What the frozen layers say of all texts, where the settings want it kept."""
    if not config.trunk_cache:
        return None, [], None
    # Several processes share one file: each would else compute and hold all of it.
    room = int(config.cache_memory * 2**30) if ranks.size() == 1 else 0
    cache = TrunkCache(work.cache, work.key, room, config.layers)

    def build() -> list[str]:
        with work.learner.computing():
            return cache.build(work.learner.model, texts, config.batch_size, work.reporter)

    keys = first_then_others(build, work.settings.device)
    return cache, keys, top(work.learner.model, config.layers)


def _start_sums(
    work: Workshop, network: Network, texts: Sequence[Encoded], cache: TrunkCache | None, keys: Sequence[str]
) -> list[float]:
    """The log-probability of each text before the first step, computed once and kept in the run's cache."""
    path = work.cache / "start.json"
    names = [text_key(text.tokens) for text in texts]
    depends = [work.key, work.learner.precision, hashlib.sha256("".join(names).encode()).hexdigest()]
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["depends"] == depends:
            return [float(value) for value in kept["sums"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    device, size = work.learner.device, work.config.batch_size
    order = sorted(range(len(texts)), key=lambda number: len(texts[number].tokens))
    found = [0.0] * len(texts)
    network.eval()
    for begin in range(0, len(order), size):
        if work.reporter.should_stop():
            raise Stopped
        work.reporter.phase("caching", begin, len(order))
        chosen = order[begin : begin + size]
        batch = batch_of([texts[number] for number in chosen], device)
        if cache:
            batch["states"], _ = cache.states([keys[number] for number in chosen], device)
        with torch.no_grad(), work.learner.computing():
            sums, _ = network(**batch)
        for number, value in zip(chosen, sums.tolist(), strict=True):
            found[number] = value
    work.reporter.phase("caching", len(order), len(order))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps({"depends": depends, "sums": found}))
    return found
