"""BERT-family text encoders to GGUF: weights, WordPiece vocabulary and pooling as llama.cpp reads them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mediator.encoder_prefix import GGUF_KEY, prefix_of_prompts
from mediator.errors import ModelFileError
from trainer.export.base import Advance, Checkpoint, Output, Precision, write_gguf
from trainer.export.metadata import Details
from trainer.export.metadata import describe as describe_model

if TYPE_CHECKING:
    from gguf import GGUFWriter

MODEL_TYPES = ("bert",)

# Checkpoint name -> GGUF name, without the `.weight` / `.bias` ending. `{}` is the layer.
_OUTSIDE_LAYERS = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
_INSIDE_LAYERS = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
# llama.cpp adds these to the token embeddings in float32.
_EXACT = ("position_embd", "token_types")
_LAYER = re.compile(r"^encoder\.layer\.(\d+)\.(.+)$")
# Heads of other tasks: the sentence embedding is pooled from the last layer and never passes through them.
_UNUSED = ("pooler.", "cls.", "classifier.")
# llama.cpp marks the beginning of a word where WordPiece marks its continuation.
_WORD_BEGIN = "\u2581"
_POOLING_MODES = {"mean": "MEAN", "cls": "CLS"}
_PROMPTS = "config_sentence_transformers.json"


@dataclass(frozen=True)
class Vocabulary:
    """A WordPiece vocabulary in llama.cpp's form.

    Attributes:
        tokens: by id; ``##ing`` is ``ing`` and ``run`` is ``▁run``; tokens in square brackets stay as they are.
        types: llama.cpp's token types, 1 normal, 3 control, 5 unused.
        special: ids of ``unk``, ``sep``, ``pad``, ``cls`` and ``mask``, as far as the tokenizer has them.
    """

    tokens: list[str]
    types: list[int]
    special: dict[str, int]


def export(
    checkpoint: Checkpoint, target: Path, precision: Precision, *, details: Details, advance: Advance | None = None
) -> None:
    """Write a BERT encoder with its vocabulary and pooling as one GGUF file; see `trainer.export.families.export_gguf`.

    Norms, biases and positions are float32 at every precision. The prefix that it wants before every text goes into the
    metadata (`mediator.encoder_prefix`).

    Raises:
        ModelFileError: the checkpoint is damaged, or uses something that llama.cpp would compute differently.
    """
    _check_architecture(checkpoint)
    outputs = list_outputs(checkpoint)  # first: after it the sizes that config.json states are those of the weights
    vocabulary = read_vocabulary(checkpoint)
    pooling = read_pooling(checkpoint)
    prefix = read_prefix(checkpoint)

    def describe(writer: "GGUFWriter") -> None:
        import gguf

        describe_model(writer, checkpoint, details)
        if prefix is not None:  # `add_string` drops an empty one, which says that there is none
            writer.add_key_value(GGUF_KEY, prefix, gguf.GGUFValueType.STRING)
        writer.add_context_length(checkpoint.number("max_position_embeddings"))
        writer.add_embedding_length(checkpoint.number("hidden_size"))
        writer.add_feed_forward_length(checkpoint.number("intermediate_size"))
        writer.add_block_count(checkpoint.number("num_hidden_layers"))
        writer.add_head_count(checkpoint.number("num_attention_heads"))
        writer.add_layer_norm_eps(float(checkpoint.config.get("layer_norm_eps", 1e-12)))
        writer.add_causal_attention(False)
        writer.add_pooling_type(getattr(gguf.PoolingType, pooling))
        writer.add_tokenizer_model("bert")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(vocabulary.tokens)
        writer.add_token_types(vocabulary.types)
        writer.add_token_type_count(int(checkpoint.config.get("type_vocab_size", 2)))
        for role, token_id in vocabulary.special.items():
            # llama.cpp opens a sequence with its `bos` token; BERT's is [CLS].
            getattr(writer, f"add_{'bos' if role == 'cls' else role}_token_id")(token_id)

    write_gguf(target, "bert", precision, describe, outputs, advance=advance)


def list_outputs(checkpoint: Checkpoint) -> list[Output]:
    """The encoder's tensors under their GGUF names, embeddings first, then layer by layer.

    Raises:
        ModelFileError: a tensor is missing, unknown, or has a shape that the configuration does not say.
    """
    layers = checkpoint.number("num_hidden_layers")
    hidden, inner = checkpoint.number("hidden_size"), checkpoint.number("intermediate_size")
    expected: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (checkpoint.number("vocab_size"), hidden),
        "position_embd.weight": (checkpoint.number("max_position_embeddings"), hidden),
        "token_types.weight": (int(checkpoint.config.get("type_vocab_size", 2)), hidden),
        "token_embd_norm.weight": (hidden,),
        "token_embd_norm.bias": (hidden,),
    }
    for layer in range(layers):
        for part in _INSIDE_LAYERS.values():
            rows = inner if part == "ffn_up" else hidden
            columns = inner if part == "ffn_down" else hidden
            expected[f"blk.{layer}.{part}.weight"] = (hidden,) if part.endswith("norm") else (rows, columns)
            expected[f"blk.{layer}.{part}.bias"] = (rows,)

    found: dict[str, Output] = {}
    for tensor in checkpoint.tensors.values():
        plain = tensor.name.removeprefix("bert.")
        if not tensor.is_floating or plain.startswith(_UNUSED):
            continue
        renamed = _rename(plain)
        if renamed is None or renamed not in expected:
            raise ModelFileError(
                f"{tensor.path}: tensor {tensor.name} is not part of a BERT encoder with {layers} layers.",
                "Export a plain BERT encoder; merge adapters first.",
            )
        if tensor.shape != expected[renamed]:
            raise ModelFileError(
                f"{tensor.path}: tensor {tensor.name} has the shape {tensor.shape}, config.json says "
                f"{expected[renamed]}.",
                "The weights and config.json are of different models.",
            )
        found[renamed] = Output(renamed, tensor, exact=renamed.startswith(_EXACT))
    missing = [name for name in expected if name not in found]
    if missing:
        raise ModelFileError(
            f"{checkpoint.directory} lacks {len(missing)} tensors, first {missing[0]}.", "Fetch the checkpoint again."
        )
    return [found[name] for name in expected]


def _rename(plain: str) -> str | None:
    stem, _, ending = plain.rpartition(".")
    # Old checkpoints call a layer norm's weight `gamma` and its bias `beta`.
    ending = {"gamma": "weight", "beta": "bias"}.get(ending, ending)
    inside = _LAYER.match(stem)
    if inside:
        part = _INSIDE_LAYERS.get(inside[2])
        return f"blk.{inside[1]}.{part}.{ending}" if part else None
    part = _OUTSIDE_LAYERS.get(stem)
    return f"{part}.{ending}" if part else None


def read_vocabulary(checkpoint: Checkpoint) -> Vocabulary:
    """Read the WordPiece vocabulary of ``tokenizer.json`` and turn it into llama.cpp's form.

    Raises:
        ModelFileError: the tokenizer is no lower-casing WordPiece, has more tokens than the embedding table, or lacks
            ``[CLS]``, ``[SEP]`` or ``[UNK]``.
    """
    tokenizer = checkpoint.tokenizer
    where = checkpoint.directory / "tokenizer.json"
    model = tokenizer.get("model") or {}
    if model.get("type") != "WordPiece":
        raise ModelFileError(
            f"{where}: the tokenizer is {model.get('type')}, not WordPiece.", "Export an encoder with a BERT tokenizer."
        )
    if model.get("continuing_subword_prefix", "##") != "##":
        raise ModelFileError(f"{where}: continuations are not marked with ##.", "llama.cpp knows only ##.")
    normalizer = tokenizer.get("normalizer") or {}
    # llama.cpp's WordPiece lower-cases and removes accents, always.
    if not normalizer.get("lowercase", False) or normalizer.get("strip_accents") is False:
        raise ModelFileError(
            f"{where}: the tokenizer keeps upper case or accents; llama.cpp would read every such text differently.",
            "Export an uncased encoder.",
        )
    size = checkpoint.number("vocab_size")
    by_id = {int(token_id): str(token) for token, token_id in (model.get("vocab") or {}).items()}
    control: set[int] = set()
    for added in tokenizer.get("added_tokens") or []:
        by_id[int(added["id"])] = str(added["content"])
        if added.get("special"):
            control.add(int(added["id"]))
    if not by_id or max(by_id) >= size:
        raise ModelFileError(
            f"{where} has {len(by_id)} tokens, the embedding table {size} rows.",
            "The tokenizer and the weights are of different models.",
        )
    ids = {token: token_id for token_id, token in by_id.items()}
    names = _special_names(checkpoint)
    special = {role: ids[token] for role, token in names.items() if token in ids}
    for role in ("cls", "sep", "unk"):
        if role not in special:
            raise ModelFileError(f"{where} has no {names[role]} token.", "This is not a complete BERT tokenizer.")
    tokens = [_llama_token(by_id[token_id]) if token_id in by_id else f"[PAD{token_id}]" for token_id in range(size)]
    types = [3 if token_id in control else 1 if token_id in by_id else 5 for token_id in range(size)]
    return Vocabulary(tokens, types, special)


def _special_names(checkpoint: Checkpoint) -> dict[str, str]:
    names = {role: f"[{role.upper()}]" for role in ("unk", "sep", "pad", "cls", "mask")}
    config = checkpoint.json("tokenizer_config.json") if checkpoint.has("tokenizer_config.json") else {}
    for role in names:
        token: Any = config.get(f"{role}_token")
        if token:
            names[role] = str(token["content"] if isinstance(token, dict) else token)
    return names


def _llama_token(token: str) -> str:
    if token.startswith("[") and token.endswith("]"):
        return token
    if token.startswith("##"):
        return token[2:]
    return _WORD_BEGIN + token


def read_pooling(checkpoint: Checkpoint) -> str:
    """How token vectors become one: ``MEAN`` (the default where nothing is said) or ``CLS``.

    Raises:
        ModelFileError: another pooling, one that leaves out the prompt before every text, or a module after it that
            GGUF cannot carry (a dense layer).
    """
    modules = checkpoint.directory / "modules.json"
    if not modules.is_file():
        return "MEAN"
    try:
        listed = [(str(module["path"]), str(module["type"])) for module in json.loads(modules.read_text("utf-8"))]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelFileError(f"{modules} is damaged: it is no list of modules.", "Fetch the file again.") from error
    pooling: dict[str, Any] = {}
    for path, kind in listed:
        kind = kind.rpartition(".")[2]
        if kind == "Pooling":
            pooling = checkpoint.json(path, "config.json")
        elif kind not in ("Transformer", "Normalize"):
            raise ModelFileError(
                f"{modules}: the encoder ends in a {kind} module, which a GGUF file cannot carry.",
                "Export an encoder of transformer, pooling and normalisation only.",
            )
    # sentence-transformers 6 writes one name; before it, one flag per mode.
    mode = pooling.get("pooling_mode")
    if mode is None:
        modes = [key for key, value in pooling.items() if key.startswith("pooling_mode_") and value is True]
        mode = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}.get(
            modes[0] if len(modes) == 1 else "", " and ".join(modes) or "mean"
        )
    if mode not in _POOLING_MODES:
        raise ModelFileError(
            f"{modules}: pooling {mode} has no counterpart in llama.cpp.", "Export an encoder with mean or cls pooling."
        )
    if pooling.get("include_prompt") is False and (prefix := read_prefix(checkpoint)):
        raise ModelFileError(
            f"{modules}: pooling leaves out the prompt {prefix!r} that stands before every text (`include_prompt` is "
            "false), which llama.cpp cannot do.",
            "Export an encoder that pools its prompt too, or one without a prompt.",
        )
    return _POOLING_MODES[mode]


def read_prefix(checkpoint: Checkpoint) -> str | None:
    """What the encoder wants before every text: empty for nothing, None where neither its prompts nor its name say.

    Raises:
        ModelFileError: config_sentence_transformers.json is damaged.
    """
    # Without modules.json sentence-transformers takes the folder for plain transformers, and reads no prompts.
    said = checkpoint.json(_PROMPTS) if checkpoint.has("modules.json") and checkpoint.has(_PROMPTS) else {}
    return prefix_of_prompts(said.get("prompts"), said.get("default_prompt_name"), str(checkpoint.directory.absolute()))


def _check_architecture(checkpoint: Checkpoint) -> None:
    where = checkpoint.directory / "config.json"
    activation = checkpoint.config.get("hidden_act", "gelu")
    if activation not in ("gelu", "gelu_new", "gelu_pytorch_tanh"):
        raise ModelFileError(f"{where}: llama.cpp computes BERT with GELU, not {activation}.", "Use another encoder.")
    positions = checkpoint.config.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise ModelFileError(f"{where}: positions are {positions}, only absolute can be exported.", "Use another one.")
