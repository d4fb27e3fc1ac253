"""The trunk cache: what the frozen layers make of each text is computed once, and only the top is run at each step.

With all but the last k layers frozen, what enters layer L - k for a text never changes. It is kept token by token,
without padding, in memory, or in a file that is mapped into memory where it is larger (`trainer.trunk.file`); a file is
used again only by the same model, cut and texts. Responses to one prompt share what is kept of it
(`trainer.trunk.rows`).

    cache = TrunkCache(folder, model_key(model), memory_bytes=4 * 2**30, layers=3)
    keys = cache.build(model, texts, batch=8)
    upper = top(model, layers=3)
    states, mask = cache.states(keys[:4], device)
    logits = upper(states, mask)
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mediator.errors import ModelFileError
from trainer.models.decoder_parts import (
    CannotCutModel,
    Top,
    TrunkNotFrozen,
    Whole,
    require_frozen,
    split_point,
    top,
    trunk_states,
)
from trainer.progress import Reporter, Silent, Stopped
from trainer.trunk.file import CacheDiskFull, CacheFolderUnusable, open_file, write_file
from trainer.trunk.rows import SharedRow, Spans, batches, can_share, inputs, plan

__all__ = [
    "CacheDiskFull",
    "CacheFolderUnusable",
    "CannotCutModel",
    "Top",
    "TrunkCache",
    "TrunkNotFrozen",
    "Whole",
    "model_key",
    "split_point",
    "text_key",
    "top",
    "trunk_states",
]

_log = logging.getLogger(__name__)
_ATTEMPTS = 3  # at a file that another process deletes between its being written and its being mapped


class TrunkCache:
    """The activations of the frozen layers for a set of texts.

    Attributes:
        path: the file in use; None while the activations fit into memory.
        reused: whether `build` found a file that fits, and computed nothing.
    """

    def __init__(self, folder: Path, model_key: str, memory_bytes: int, layers: int = 3) -> None:
        """Make an empty cache; nothing is written before `build`.

        Args:
            folder: where a file is kept if one is needed. Several processes may share it.
            model_key: what `model_key` gives for the model at the start.
            memory_bytes: the most that is kept in memory.
            layers: how many of the last decoder layers learn; the same as `top` is given.
        """
        self.path: Path | None = None
        self.reused = False
        self._folder = folder
        self._model_key = model_key
        self._memory_bytes = memory_bytes
        self._layers = layers
        self._states: Tensor | None = None
        self._places: dict[str, Spans] = {}

    def build(self, model: Any, texts: Sequence[Any], batch: int = 8, reporter: Reporter | None = None) -> list[str]:
        """Run the frozen layers over every text once, or find that this was done before.

        Computes in eval mode (the result cannot have dropout in it), on the model's device, under the autocast that is
        active when it is called.

        Args:
            model: Llama, Mistral, Qwen2 or Qwen3; nothing below its last layers may learn.
            texts: token lists, or objects with ``tokens`` and ``response_start``
                (`trainer.models.prompting.Encoded`); those with one prompt share what is kept of it. Equal ones are
                kept once.
            batch: how many of the longest text are run together; of shorter ones, more.
            reporter: is told of the phase ``caching`` and asked whether to stop.

        Returns:
            The key of each text, in the order given.

        Raises:
            CannotCutModel: see `split_point`.
            TrunkNotFrozen: something below the cut learns.
            CacheDiskFull: there is no room for the file.
            CacheFolderUnusable: the folder cannot be written to.
            Stopped: the reporter said so; no file is left behind.
        """
        require_frozen(model, self._layers)
        reporter = reporter or Silent()
        found = [(list(getattr(text, "tokens", text)), int(getattr(text, "response_start", 0))) for text in texts]
        keys = [text_key(tokens) for tokens, _ in found]
        if not all(tokens for tokens, _ in found):
            raise ValueError("A text without tokens has no activations")
        unique = dict(zip(keys, found, strict=True))
        rows, self._places = plan(unique, can_share(model))
        lengths = [len(row.tokens) for row in rows]
        total = sum(lengths)
        embedding = model.model.embed_tokens.weight
        shape = (total, int(embedding.shape[1]))
        self.path, self.reused, self._states = None, False, None
        tokens_at_once = batch * max((len(tokens) for tokens, _ in found), default=0)
        if total * shape[1] * embedding.element_size() <= self._memory_bytes:
            states = torch.empty(shape, dtype=embedding.dtype)
            done = 0
            for piece in self._compute(model, rows, tokens_at_once, reporter):
                states[done : done + len(piece)] = piece
                done += len(piece)
            self._states = states
            return keys
        reporter.phase("caching", 0, len(unique))
        identity = {**self._identity(model), "texts": self._places}
        name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
        self.path = self._folder / f"{name}.trunk"
        mapped = open_file(self.path, identity, lengths, shape, embedding.dtype)
        self.reused = mapped is not None
        attempts = 0
        while mapped is None:
            if attempts == _ATTEMPTS:
                raise CacheFolderUnusable(f"{self.path} was written and then could not be read.", "Look at the disk.")
            attempts += 1
            pieces = self._compute(model, rows, tokens_at_once, reporter)
            write_file(self.path, identity, lengths, shape, embedding.dtype, pieces)
            mapped = open_file(self.path, identity, lengths, shape, embedding.dtype, verify=False)
        self._states = mapped
        return keys

    def states(self, keys: Sequence[str], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Return what enters the first of the last layers, for a batch of texts.

        Args:
            keys: B keys that `build` gave.
            device: where the batch is wanted.

        Returns:
            states: (B, T, H) in the model's type, T the longest of these texts; zeros at padding, on the right.
            mask: (B, T) bool, true at tokens.

        Raises:
            KeyError: a key that `build` did not give.
        """
        if self._states is None:
            raise KeyError("The cache is empty: call build first")
        places = [self._places[key] for key in keys]
        lengths = torch.tensor([sum(length for _, length in spans) for spans in places])
        longest, width = int(lengths.max()), self._states.shape[1]
        target = torch.device(device)
        states = torch.zeros((len(keys), longest, width), dtype=self._states.dtype, pin_memory=target.type == "cuda")
        for row, spans in zip(states, places, strict=True):
            place = 0
            for start, length in spans:
                row[place : place + length] = self._states[start : start + length]
                place += length
        mask = torch.arange(longest)[None, :] < lengths[:, None]
        return states.to(target, non_blocking=True), mask.to(target)

    def delete(self) -> None:
        """Let go of the activations, and remove the file if there is one."""
        self._states, self._places = None, {}
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self.path = None

    def _compute(self, model: Any, rows: list[SharedRow], tokens: int, reporter: Reporter) -> Iterator[Tensor]:
        """Yield (tokens, H) on the CPU for each row, in order."""
        training = model.training
        done, total = 0, sum(row.texts for row in rows)
        model.eval()
        try:
            for some in batches(rows, tokens):
                if reporter.should_stop():
                    raise Stopped
                reporter.phase("caching", done, total)
                read, mask, positions = inputs(some, model)
                states = trunk_states(model, self._layers, read, mask, positions)
                yield from (state[: len(row.tokens)] for state, row in zip(states.cpu(), some, strict=True))
                done += sum(row.texts for row in some)
            reporter.phase("caching", total, total)
        finally:
            model.train(training)

    def _identity(self, model: Any) -> dict[str, Any]:
        """All that the activations depend on, besides the texts."""
        split = split_point(model, self._layers)
        kind = model.model.embed_tokens.weight.device.type
        below = [
            (name, tensor)
            for name, tensor in model.model.named_parameters()
            if name.startswith("embed_tokens.") or (name.startswith("layers.") and int(name.split(".")[1]) < split)
        ]
        return {
            "model": self._model_key,
            # Hashed here once more, so that a key that somebody kept too long cannot bring stale activations back.
            "trunk": _hash_of_tensors(model.config, below),
            "layers": self._layers,
            "dtype": str(model.model.embed_tokens.weight.dtype),
            "autocast": str(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else "",
            "attention": str(model.config._attn_implementation),
        }


def model_key(source: Path | str | Any) -> str:
    """Return a hash of a model's weights and configuration: another weight anywhere, another key.

    Args:
        source: a folder with ``config.json`` and safetensors files, or a model. The two give different keys for the
            same weights; keep to one of them.

    Raises:
        ModelFileError: the folder has no configuration or no safetensors.
    """
    if not isinstance(source, str | Path):
        return _hash_of_tensors(source.config, list(source.named_parameters()))
    folder = Path(source)
    files = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
    if len(files) < 2 or not files[0].is_file():
        raise ModelFileError(
            f"{folder} holds no model: config.json and a .safetensors file are needed.", "Check the folder's name."
        )
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            digest.update(path.name.encode() + b"\0" + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def text_key(tokens: Sequence[int]) -> str:
    """Return the key of a text: a hash of its tokens."""
    return hashlib.sha256(json.dumps(list(tokens)).encode()).hexdigest()[:32]


def _hash_of_tensors(config: Any, tensors: list[tuple[str, Tensor]]) -> str:
    settings = {
        name: value
        for name, value in config.to_dict().items()
        if name not in ("_name_or_path", "transformers_version")  # where it came from is not what it is
    }

    def digest_of(named: tuple[str, Tensor]) -> bytes:
        name, tensor = named
        values = tensor.detach().reshape(-1).contiguous().view(torch.uint8).cpu().numpy()
        head = f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode()
        return hashlib.sha256(head + hashlib.sha256(values).digest()).digest()

    whole = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    with ThreadPoolExecutor(4) as pool:  # hashing large buffers does not hold Python's lock
        for found in pool.map(digest_of, sorted(tensors, key=lambda named: named[0])):
            whole.update(found)
    return whole.hexdigest()
