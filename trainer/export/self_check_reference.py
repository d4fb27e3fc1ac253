"""What the checkpoint itself makes of the self-check's texts: transformers, on the CPU, in a process of its own."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trainer.evaluate.forgetting import Row, likelihood_of, read_prose, rows_of
from trainer.export.self_check_texts import (
    EXPECTED,
    WINDOW,
    Texts,
    longest_prompt,
    shipped_prompts,
    shipped_strings,
    string_with,
)
from trainer.export.worker import Message, serve
from trainer.models.pretrained import explained, load, quiet
from trainer.progress import Phase, Silent


def compute(request: Message, tell: Callable[[Message], None]) -> Message:
    """Read the texts with the checkpoint's tokenizer, and compute with its weights where there is memory for them.

    The request: ``checkpoint``, ``tokenizer``, ``adapter`` (folders; the last may be empty), ``precision`` (fp32, bf16,
    or empty to leave the weights alone), ``pooling`` (of an encoder: MEAN or CLS; empty for a decoder), ``context`` and
    ``vocabulary`` (of the model), ``text`` (a file, or empty for no perplexity), ``windows``, and ``folder``, where the
    answers go that are too long to be said. The answer: ``sums`` and ``counts`` over the windows.
    """
    folder, checkpoint = Path(request["folder"]), str(request["checkpoint"])
    encoder = bool(request["pooling"])
    tokenizer = _tokenizer(str(request["tokenizer"]))
    texts = _texts(tokenizer, request, encoder)
    texts.save(folder)
    if not request["precision"]:
        return {"sums": 0.0, "counts": 0}
    if encoder:
        _save_vectors(checkpoint, request, tokenizer, texts.sentences, folder / EXPECTED)
        return {"sums": 0.0, "counts": 0}
    model, _ = load(checkpoint, request["precision"], "cpu")
    if request["adapter"]:
        model = _adapted(model, str(request["adapter"]))
    total = len(texts.prompts) + len(texts.windows)
    _save_logits(model, texts.prompts, folder / EXPECTED, lambda done: tell({"done": done, "total": total}))
    if not texts.windows:
        return {"sums": 0.0, "counts": 0}
    rows = [Row(tokens, counted) for tokens, counted in texts.windows]
    found = likelihood_of(model, rows, _Told(tell, len(texts.prompts), total))
    return {"sums": sum(found.sums), "counts": sum(found.counts)}


def _texts(tokenizer: Any, request: Message, encoder: bool) -> Texts:
    strings = [*shipped_strings(), string_with(list(tokenizer.all_special_tokens))]
    context = int(request["context"])
    read = [(text, _tokens(tokenizer, text)) for text in strings]
    if encoder:
        sentences = [text for text in (*shipped_prompts(), *shipped_strings()) if _fits(tokenizer, text, context)]
        return Texts(read, [], sentences, [])
    longest = longest_prompt(len(shipped_prompts()), int(request["vocabulary"]), context)
    prompts = [_tokens(tokenizer, text)[:longest] for text in shipped_prompts()]
    windows: list[Row] = []
    if request["text"] and request["precision"]:
        prose = read_prose(Path(request["text"]))
        windows = rows_of(tokenizer, prose, min(WINDOW, context), int(request["windows"]))
    return Texts(read, prompts, [], [(row.tokens, row.counted) for row in windows])


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return [int(token) for token in tokenizer(text, verbose=False)["input_ids"]]


def _fits(tokenizer: Any, text: str, context: int) -> bool:
    return 0 < len(_tokens(tokenizer, text)) <= context


def _tokenizer(folder: str) -> Any:
    from transformers import AutoTokenizer

    with explained(folder), quiet():
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def _adapted(model: Any, adapter: str) -> Any:
    """The model with the adapter beside its weights, as it was trained: the merging is what is to be checked."""
    from peft import PeftModel

    with explained(adapter), quiet():
        return PeftModel.from_pretrained(model, adapter, use_safetensors=True).eval()


def _save_logits(model: Any, prompts: list[list[int]], file: Path, advance: Callable[[int], None]) -> None:
    """Write the logits of all positions of all prompts, float32, shape (positions, vocabulary)."""
    import torch

    width = int(model.get_input_embeddings().weight.shape[0])
    positions = sum(len(prompt) for prompt in prompts)
    kept = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(positions, width))
    place = 0
    with torch.inference_mode():
        for number, prompt in enumerate(prompts):
            advance(number)
            logits = model(input_ids=torch.tensor([prompt])).logits[0]
            kept[place : place + len(prompt)] = logits.float().numpy()
            place += len(prompt)
    kept.flush()
    advance(len(prompts))


def _save_vectors(checkpoint: str, request: Message, tokenizer: Any, sentences: list[str], file: Path) -> None:
    """Write the unit vector of each sentence, float32, shape (sentences, dimensions)."""
    import torch
    from transformers import AutoModel

    with explained(checkpoint), quiet():
        model = AutoModel.from_pretrained(
            checkpoint, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        ).eval()
    vectors = []
    with torch.inference_mode():
        for sentence in sentences:
            states = model(**tokenizer(sentence, return_tensors="pt")).last_hidden_state[0]
            vector = states[0] if request["pooling"] == "CLS" else states.mean(0)
            vectors.append((vector / vector.norm()).numpy())
    np.save(file, np.array(vectors, np.float32))


class _Told(Silent):
    """Passes on how many windows are read."""

    def __init__(self, tell: Callable[[Message], None], before: int, total: int) -> None:
        self._tell, self._before, self._total = tell, before, total

    def phase(self, name: Phase, done: int = 0, total: int = 0) -> None:
        """Tell the other process."""
        self._tell({"done": self._before + done, "total": self._total})


if __name__ == "__main__":
    sys.exit(serve(compute))
