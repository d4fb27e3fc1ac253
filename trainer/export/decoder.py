"""Decoders to GGUF: what Llama, Mistral, Qwen2 and Qwen3 have in common; each family's own file says what differs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mediator.errors import ModelFileError
from trainer.export.base import EMBEDDING, HEAD, Advance, Checkpoint, Output, Precision, positive_number, write_gguf
from trainer.export.metadata import Details
from trainer.export.metadata import describe as describe_model
from trainer.export.rope import Rope, read_rope
from trainer.export.tensors import Computed, Values
from trainer.export.vocabulary import read_vocabulary

if TYPE_CHECKING:
    from gguf import GGUFWriter

# Name inside a layer -> GGUF name.
_NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
_HEAD_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
_MATRICES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
# Buffers of old checkpoints: the frequencies follow from config.json.
_UNUSED = ".rotary_emb.inv_freq"
_COMPARED_ROWS = 1024


@dataclass(frozen=True)
class Family:
    """How llama.cpp computes one family of decoders.

    Attributes:
        title: for messages, e.g. ``Llama``.
        architecture: llama.cpp's name of it.
        scalings: the rotary scalings that it computes.
        rotates_pairs: whether it rotates neighbouring rows of a head, where transformers rotates the two halves: the
            rows of Q and K are then written interleaved.
        head_norms: whether each head's queries and keys are normalised.
        free_head_size: whether a head may have another size than hidden size / heads.
        default_head_size: where config.json does not say; 0 for hidden size / heads.
        biases: config.json -> the matrices that have one, by their names in the checkpoint's layers.
        window: checkpoint -> tokens that a layer sees at most as config.json says, or None where each sees all.
    """

    title: str
    architecture: str
    scalings: tuple[str, ...]
    rotates_pairs: bool = False
    head_norms: bool = False
    free_head_size: bool = True
    default_head_size: int = 0
    biases: Callable[[Mapping[str, Any]], tuple[str, ...]] = lambda config: ()
    window: Callable[[Checkpoint], Any] = lambda checkpoint: None

    def export(
        self,
        checkpoint: Checkpoint,
        target: Path,
        precision: Precision,
        *,
        details: Details,
        advance: Advance | None = None,
    ) -> None:
        """Write a decoder with its vocabulary as one GGUF file; see `trainer.export.families.export_gguf`."""
        # The tensors first: after them the sizes that config.json states are those of the weights.
        shape, outputs = self.read_shape(checkpoint), self.list_outputs(checkpoint)
        vocabulary = read_vocabulary(checkpoint)

        def describe(writer: "GGUFWriter") -> None:
            describe_model(writer, checkpoint, details)
            shape.describe(writer)
            vocabulary.describe(writer)

        write_gguf(target, self.architecture, precision, describe, outputs, advance=advance)

    def read_shape(self, checkpoint: Checkpoint) -> "Shape":
        """Read what config.json says about the network.

        Raises:
            ModelFileError: it lacks a value, or says something that llama.cpp would compute differently.
        """
        where, config = checkpoint.path("config.json"), checkpoint.config
        activation = config.get("hidden_act", "silu")
        if activation != "silu":
            raise ModelFileError(
                f"{where}: llama.cpp computes {self.title} with silu, not {activation}.", "Use another model."
            )
        hidden, heads = checkpoint.number("hidden_size"), checkpoint.number("num_attention_heads")
        key_heads = checkpoint.number("num_key_value_heads") if config.get("num_key_value_heads") else heads
        if config.get("head_dim") is None:
            head_size = self.default_head_size or hidden // heads
        else:
            head_size = checkpoint.number("head_dim")
        if not self.free_head_size and head_size * heads != hidden:
            raise ModelFileError(
                f"{where}: {heads} heads of {head_size} are not the hidden size {hidden}; llama.cpp computes no such "
                f"{self.title}.",
                "Use another model.",
            )
        if head_size % 2 or heads % key_heads:
            raise ModelFileError(
                f"{where}: {heads} heads of size {head_size} with {key_heads} key-value heads do not fit together.",
                "Fetch the file again.",
            )
        context, window = checkpoint.number("max_position_embeddings"), self.window(checkpoint)
        if window is not None:
            # llama.cpp computes full attention for these families; up to the window that is the same.
            context = min(context, int(positive_number(where, "sliding_window", window)))
        return Shape(
            hidden=hidden,
            inner=checkpoint.number("intermediate_size"),
            layers=checkpoint.number("num_hidden_layers"),
            heads=heads,
            key_heads=key_heads,
            head_size=head_size,
            vocabulary=checkpoint.number("vocab_size"),
            context=context,
            norm_epsilon=positive_number(where, "rms_norm_eps", config.get("rms_norm_eps", 1e-6)),
            rope=read_rope(checkpoint, self.scalings),
        )

    def list_outputs(self, checkpoint: Checkpoint) -> list[Output]:
        """The decoder's tensors under their GGUF names, in llama.cpp's order: outside the layers first.

        Raises:
            ModelFileError: a tensor is missing, unknown, or has a shape that the configuration does not say.
        """
        shape = self.read_shape(checkpoint)
        outputs = []
        factors = shape.rope.frequency_factors(shape.head_size)
        if factors is not None:
            outputs.append(Output("rope_freqs.weight", Computed("the frequency factors", factors), exact=True))
        left = dict(checkpoint.tensors)
        for name, output_name, wanted, head_rows in self._wanted(checkpoint, shape):
            tensor = left.pop(name, None)
            if tensor is None:
                raise self._missing(checkpoint, name)
            if tensor.shape != wanted:
                raise self._misfit(tensor, wanted)
            outputs.append(Output(output_name, tensor, exact="norm" in output_name, head_rows=head_rows))
        left = {name: tensor for name, tensor in left.items() if tensor.is_floating and not name.endswith(_UNUSED)}
        head = left.pop(HEAD, None)
        if head is not None:
            # The head is tied and there all the same: old files repeat the embedding table, and transformers ties the
            # two only where they are equal.
            embedding = checkpoint.tensors[EMBEDDING]
            if head.shape != embedding.shape:
                raise self._misfit(head, embedding.shape)
            if not _equal(head, embedding):
                outputs.append(Output("output.weight", head))
        for tensor in left.values():
            raise ModelFileError(
                f"{tensor.where} is not part of a {self.title} with {shape.layers} layers.",
                f"Export a plain {self.title} for text, with its language-modelling head.",
            )
        return outputs

    def _wanted(self, checkpoint: Checkpoint, shape: "Shape") -> Iterator[tuple[str, str, tuple[int, ...], int]]:
        """Each tensor that must be there: its name, its GGUF name, its shape, and the rows of a head to interleave."""
        hidden, inner = shape.hidden, shape.inner
        queries, keys = shape.heads * shape.head_size, shape.key_heads * shape.head_size
        matrices = {
            "attn_q": (queries, hidden),
            "attn_k": (keys, hidden),
            "attn_v": (keys, hidden),
            "attn_output": (hidden, queries),
            "ffn_gate": (inner, hidden),
            "ffn_up": (inner, hidden),
            "ffn_down": (hidden, inner),
        }
        yield EMBEDDING, "token_embd.weight", (shape.vocabulary, hidden), 0
        yield "model.norm.weight", "output_norm.weight", (hidden,), 0
        if not checkpoint.config.get("tie_word_embeddings", False):
            yield HEAD, "output.weight", (shape.vocabulary, hidden), 0
        biases = self.biases(checkpoint.config)
        for layer in range(shape.layers):
            stem, block = f"model.layers.{layer}", f"blk.{layer}"
            for part, name in _NORMS.items():
                yield f"{stem}.{part}.weight", f"{block}.{name}.weight", (hidden,), 0
            for part, name in _MATRICES.items():
                head_rows = shape.head_size if self.rotates_pairs and name in ("attn_q", "attn_k") else 0
                yield f"{stem}.{part}.weight", f"{block}.{name}.weight", matrices[name], head_rows
                if part in biases:
                    yield f"{stem}.{part}.bias", f"{block}.{name}.bias", matrices[name][:1], head_rows
            if self.head_norms:
                for part, name in _HEAD_NORMS.items():
                    yield f"{stem}.{part}.weight", f"{block}.{name}.weight", (shape.head_size,), 0

    def _misfit(self, tensor: Values, wanted: tuple[int, ...]) -> ModelFileError:
        return ModelFileError(
            f"{tensor.where} has the shape {tensor.shape}, config.json says {wanted}.",
            "The weights and config.json are of different models.",
        )

    def _missing(self, checkpoint: Checkpoint, name: str) -> ModelFileError:
        if name == HEAD:
            return ModelFileError(
                f"{checkpoint.directory} has no {HEAD}, and config.json does not say `tie_word_embeddings`.",
                "Save the whole language model, with its head.",
            )
        return ModelFileError(
            f"{checkpoint.directory} has no tensor {name}, which a {self.title} of its config.json has.",
            "Fetch the checkpoint again.",
        )


@dataclass(frozen=True)
class Shape:
    """What config.json says about a decoder.

    Attributes:
        hidden: width of the residual stream.
        inner: width inside the feed-forward part.
        layers: decoder layers.
        heads: of queries.
        key_heads: of keys and values.
        head_size: width of one head.
        vocabulary: rows of the embedding table.
        context: tokens up to which llama.cpp computes what the checkpoint does.
        norm_epsilon: of the RMS norms.
        rope: the rotary positions.
    """

    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    head_size: int
    vocabulary: int
    context: int
    norm_epsilon: float
    rope: Rope

    def describe(self, writer: "GGUFWriter") -> None:
        """Add it to a file's metadata."""
        writer.add_vocab_size(self.vocabulary)
        writer.add_context_length(self.context)
        writer.add_embedding_length(self.hidden)
        writer.add_block_count(self.layers)
        writer.add_feed_forward_length(self.inner)
        writer.add_head_count(self.heads)
        writer.add_head_count_kv(self.key_heads)
        writer.add_key_length(self.head_size)
        writer.add_value_length(self.head_size)
        writer.add_rope_dimension_count(self.head_size)
        writer.add_layer_norm_rms_eps(self.norm_epsilon)
        self.rope.describe(writer)


def _equal(one: Values, other: Values) -> bool:
    """Whether two tensors of one shape hold the same values."""
    return all(
        np.array_equal(one.rows(start, start + _COMPARED_ROWS), other.rows(start, start + _COMPARED_ROWS))
        for start in range(0, one.shape[0], _COMPARED_ROWS)
    )
