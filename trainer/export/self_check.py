"""The self-check of an exported file: what llama.cpp reads and computes, against the checkpoint it was made from."""

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mediator.errors import ModelFileError
from mediator.memory import SKIP_VARIABLE, available, gigabytes
from mediator.writers.gguf_file import check_gguf_file
from trainer.evaluate.forgetting import read_prose
from trainer.export.bert import MODEL_TYPES as ENCODERS
from trainer.export.bert import read_pooling
from trainer.export.quantise import Kind
from trainer.export.self_check_result import SelfCheck, judged, unable
from trainer.export.self_check_texts import WINDOW, Texts, beyond_wordpiece, shipped_prose
from trainer.export.vocabulary import read_vocabulary
from trainer.export.worker import Message, WorkerFailed, work

if TYPE_CHECKING:
    from trainer.export.base import Checkpoint


_REFERENCE, _GGUF = "trainer.export.self_check_reference", "trainer.export.self_check_gguf"
_RUNTIME = 900 << 20  # bytes of Python, torch, transformers, and a window on its way through the layers
_WORK = 1e13  # floating-point operations that each side may spend on the perplexity: some minutes of two cores
_FEWEST_WINDOWS = 2


def check(
    file: Path,
    checkpoint: "Checkpoint",
    kind: Kind,
    *,
    exact: tuple[Path, str] | None = None,
    adapter: Path | None = None,
    text: Path | None = None,
    windows: int = 0,
    folder: Path | None = None,
    advance: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> SelfCheck:
    """Compare an exported file with its checkpoint.

    Both sides compute in processes of their own, one after the other, so that a crash of either is a finding and the
    memory of both is not needed at once.

    Args:
        file: the GGUF file.
        checkpoint: what it was made from.
        kind: how it is quantised, which decides what is allowed.
        exact: the file that was quantised into it, and its precision (``f32``, ``f16`` or ``bf16``). Whether llama.cpp
            computes the same network is seen on this one: what is lost by quantising hides small mistakes.
        adapter: the folder of the LoRA adapter that was merged into it.
        text: prose for the perplexity; by default a short story of our own, and for f16, which loses nothing, none.
        windows: the most windows of 512 tokens of the text to read; by default what takes some minutes.
        folder: for what the two sides write, up to 600 MB; it is made, and removed. By default a temporary one.
        advance: is told (prompts and windows done, in all) of both sides together.
        should_stop: is asked ten times a second.

    Raises:
        Stopped: ``should_stop`` said so.
        TooShortError: the text cannot be read, or is empty.
        MissingExtraError: torch or transformers are not installed.
    """
    require_packages()
    if text is not None:
        read_prose(text)  # refuses what cannot be read, here and not in the other process
    try:
        header = check_gguf_file(file)
    except ModelFileError as error:
        return unable(kind, str(error))
    precision, left_out = affordable_precision(count_weights(checkpoint), checkpoint.number("vocab_size"))
    request = request_of(file, checkpoint, kind, precision, exact=exact, adapter=adapter, text=text, windows=windows)
    # A file says less than config.json where a sliding window ends what llama.cpp computes alike.
    stated = header.metadata.get(f"{header.architecture}.context_length")
    request["context"] = min(request["context"], int(stated or request["context"]))
    both = _Halves(advance)
    with _work_folder(folder) as place:
        request["folder"] = str(place)
        try:
            expected = work(_REFERENCE, request, what="The checkpoint", hear=both.first, should_stop=should_stop)
        except WorkerFailed as error:
            if not (error.out_of_memory and precision):
                return unable(kind, f"The checkpoint cannot be run, so that nothing can be compared: {error}")
            left_out = f"Logits and perplexity are not compared: the checkpoint did not fit into memory ({error})."
            request["precision"] = request["exact"] = precision = ""
            expected = work(_REFERENCE, request, what="The tokenizer", should_stop=should_stop)
        try:
            found = work(_GGUF, request, what="llama.cpp", hear=both.second, should_stop=should_stop)
        except WorkerFailed as error:
            return unable(kind, f"llama.cpp cannot run the file: {error}")
        request["unlike"] = unlike(checkpoint, place)
        return judged(request, left_out, expected, found)


def request_of(
    file: Path,
    checkpoint: "Checkpoint",
    kind: Kind,
    precision: str,
    *,
    exact: tuple[Path, str] | None = None,
    adapter: Path | None = None,
    text: Path | None = None,
    windows: int = 0,
) -> Message:
    """Return what both sides are asked, but for the ``folder``; see `check` and `self_check_reference.compute`."""
    encoder = checkpoint.model_type in ENCODERS
    prose = None if encoder or (kind == "f16" and text is None) else text or shipped_prose()
    affordable = int(_WORK / (2 * count_weights(checkpoint) * WINDOW))
    return {
        "kind": kind,
        "file": str(file),
        "checkpoint": str(checkpoint.directory),
        "tokenizer": str(checkpoint.path("tokenizer.json").parent),  # an adapter may bring its own
        "adapter": str(adapter or ""),
        "exact": str(exact[0]) if exact and precision else "",
        "exact_precision": exact[1] if exact else "",
        "encoder": encoder,
        "precision": precision,
        "pooling": read_pooling(checkpoint) if encoder else "",
        "context": checkpoint.number("max_position_embeddings"),
        "vocabulary": checkpoint.number("vocab_size"),
        "text": str(prose or ""),
        "windows": windows or max(_FEWEST_WINDOWS, affordable),
    }


def unlike(checkpoint: "Checkpoint", folder: Path) -> dict[str, str]:
    """The strings that no file can make llama.cpp read as this tokenizer does, each with the reason."""
    if checkpoint.model_type in ENCODERS:
        reason = "llama.cpp's WordPiece drops all combining marks, among them vowels of Hangul, Devanagari and Thai"
        return dict.fromkeys(beyond_wordpiece(), reason)
    vocabulary = read_vocabulary(checkpoint)
    reasons = {text: vocabulary.may_differ_on(text) for text, _ in Texts.load(folder).strings}
    return {text: reason for text, reason in reasons.items() if reason}


def require_packages() -> None:
    """Raise `MissingExtraError` where a check cannot be made: better before the file is written than after."""
    from trainer.models.pretrained import require

    require("torch", "transformers", "safetensors")


def count_weights(checkpoint: "Checkpoint") -> int:
    """How many weights a checkpoint has."""
    return sum(math.prod(tensor.shape) for tensor in checkpoint.tensors.values() if tensor.is_floating)


def affordable_precision(weights: int, vocabulary: int) -> tuple[str, str]:
    """Say what there is memory to compute a checkpoint in: ``fp32``, ``bf16``, or nothing and a sentence on why.

    EVENHAND_SKIP_MEMORY_CHECK=1 takes float32 whatever is free.
    """
    free = available()
    for name, size in (("fp32", 4), ("bf16", 2)):
        # The weights, and a tenth more while they are read; the logits of a window, some of them twice.
        needed = int(weights * size * 1.1) + 3 * 4 * WINDOW * vocabulary + _RUNTIME
        if needed <= free or os.environ.get(SKIP_VARIABLE, "").strip() not in ("", "0"):
            return name, ""
    return "", (
        f"Logits and perplexity are not compared: even in bfloat16 the checkpoint would need about {gigabytes(needed)} "
        f"of memory, {gigabytes(free)} are free."
    )


@contextmanager
def _work_folder(folder: Path | None) -> Iterator[Path]:
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="evenhand-check-") as made:
            yield Path(made)
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Halves:
    """Makes one count of two processes that do the same work one after the other."""

    def __init__(self, advance: Callable[[int, int], None] | None) -> None:
        self._advance = advance

    def first(self, message: Message) -> None:
        self._tell(int(message["done"]), int(message["total"]))

    def second(self, message: Message) -> None:
        self._tell(int(message["total"]) + int(message["done"]), int(message["total"]))

    def _tell(self, done: int, total: int) -> None:
        if self._advance is not None:
            self._advance(done, 2 * total)
