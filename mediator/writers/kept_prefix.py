"""What a model of transformers has read of its last prompt, kept so that the next is read from where they differ."""

import threading
from typing import Any


class KeptPrefix:
    """Keys and values of the last prompt's tokens, for the next prompt that begins alike. Thread-safe.

    Only for models all of whose layers keep every token; others (sliding windows, recurrent ones) read each prompt
    whole, because what they have forgotten of a prefix cannot be had back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: list[int] = []
        self._states: list[tuple[Any, Any]] = []  # keys and values of each layer: (1, heads, tokens, width)

    def cache_for(self, tokens: list[int], config: Any) -> Any:
        """Return a cache for `generate` that holds what is known of these tokens; of the last one, nothing.

        Its tensors are its own: streams may be interleaved.
        """
        from transformers import DynamicCache

        with self._lock:
            known, states = self._tokens, self._states
        shared = 0
        while shared < min(len(known), len(tokens) - 1) and known[shared] == tokens[shared]:
            shared += 1
        if not shared:
            return DynamicCache(config=config)
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(states):
            cache.update(keys[..., :shared, :], values[..., :shared, :], layer)
        return cache

    def keep(self, tokens: list[int], cache: Any) -> None:
        """Keep what a cache knows of a prompt, if that is all of it; `generate` may have been broken off."""
        layers = getattr(cache, "layers", [])
        whole = all(type(layer).__name__ == "DynamicLayer" for layer in layers) and all(
            layer.get_seq_length() >= len(tokens) for layer in layers
        )
        if not layers or not whole:
            return
        # Copied, or the answer's part of the tensors would stay in memory with them.
        states = [
            (layer.keys[..., : len(tokens), :].clone(), layer.values[..., : len(tokens), :].clone()) for layer in layers
        ]
        with self._lock:
            self._tokens, self._states = list(tokens), states

    def clear(self) -> None:
        """Forget it, and free its memory."""
        with self._lock:
            self._tokens, self._states = [], []
