"""Tiny models made on the spot: real files in real formats, with random weights or with a text they recite."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

SENTENCES = (
    "Two people disagree about a park near the river and both of them want to be heard.",
    "I think the police should patrol the station at night because people do not feel safe there.",
    "The library would be more welcoming with longer hours, warm light and a quiet corner.",
    "A compromise could be a trial for three months with a review that both sides attend.",
    "Perhaps volunteers and the city could share the work, the cost and the keys of the garden.",
    "You are a mediator. Propose four compromises, numbered, each in one sentence.",
)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
MARKERS = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")

# One token each; enough to be four good compromises to a parser. Some programs lose tokens of more than 31 bytes.
FOUR_COMPROMISES = (
    "1. Open the park", " until nine in the evening", " with a volunteer at the gate.\n",
    "2. Try both plans", " for three months each", " and let everybody vote after.\n",
    "3. Keep the north lawn", " for dogs before noon", " and the south for picnics.\n",
    "4. Share the cost", " of better lights", " between city and neighbours.",
)  # fmt: skip


def _vocabulary(recital: Sequence[str], size: int) -> tuple[list[str], list[float], list[int]]:
    """A SentencePiece-like vocabulary: texts, scores, and types (1 normal, 2 unknown, 3 control, 6 byte)."""
    texts = ["<unk>", "<s>", "</s>", *MARKERS]
    kinds = [2, 3, 3, 3, 3, 3, 3]
    texts += [f"<0x{byte:02X}>" for byte in range(256)]
    kinds += [6] * 256
    pieces: dict[str, None] = dict.fromkeys(
        "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?'-#()\""
    )
    for word in " ".join(SENTENCES).split():
        spelled = "▁" + word.strip(".,")
        # Every beginning of a word is a piece, so that pairwise merging from the left can build the whole word.
        pieces.update(dict.fromkeys(spelled[:end] for end in range(1, len(spelled) + 1)))
    pieces.update(dict.fromkeys(chunk.replace(" ", "▁") for chunk in recital if not _is_byte(chunk)))
    texts += list(pieces)
    kinds += [1] * len(pieces)
    while len(texts) < size:
        texts.append(f"▁filler{len(texts)}")
        kinds.append(1)
    return texts, [-float(index) for index in range(len(texts))], kinds


def _is_byte(chunk: str) -> bool:
    return re.fullmatch(r"<0x[0-9A-F]{2}>", chunk) is not None


def _chain(tokens: Sequence[int], end: int, vocabulary: int, width: int) -> tuple[Any, Any]:
    """Embedding and output matrices of a network that, whatever it has read, says ``tokens`` and then ``end``.

    Token i of the recital has the (i+1)-th unit vector as its embedding, every other token the first one; the row of
    each token's successor in the output matrix points the same way. With the layers switched off that is a chain.
    """
    embedding = np.zeros((vocabulary, width), np.float32)
    embedding[:, 0] = 1.0
    output = np.zeros((vocabulary, width), np.float32)
    for place, (token, after) in enumerate(zip([None, *tokens], [*tokens, end], strict=True)):
        if token is not None:
            embedding[token] = 0.0
            embedding[token, place] = 1.0
        output[after, place] = 4.0
    return embedding, output


def tiny_llama_gguf(
    path: Path,
    *,
    recital: Sequence[str] = (),
    chat_template: str | None = CHAT_TEMPLATE,
    context: int = 2048,
    width: int = 64,
    layers: int = 2,
    vocabulary: int = 0,
    half: bool = False,
    seed: int = 0,
    story: Mapping[str, str | bool] | None = None,
) -> Path:
    """Write a Llama in GGUF with its own SentencePiece-like vocabulary; return ``path``.

    Args:
        path: where to write.
        recital: pieces of text, all different, that the model says whatever it is asked (``<0xC3>`` for one byte); with
            none it has random weights.
        chat_template: Jinja source for the metadata, or None for a file without one.
        context: what the metadata give as the trained context length.
        width: embedding length, a multiple of 32; grown to fit the recital.
        layers: decoder layers.
        vocabulary: least number of tokens; filled up with words nobody needs.
        half: float16 instead of float32 matrices.
        seed: of the random weights.
        story: what the file tells of its training, under ``evenhand.*``.
    """
    import gguf

    texts, scores, kinds = _vocabulary(recital, vocabulary)
    width = max(width, -(-(len(recital) + 1) // 32) * 32)
    heads, hidden, count = width // 32, width * 2, len(texts)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(32)
    writer.add_vocab_size(count)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([text.encode() for text in texts])
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_eot_token_id(texts.index("<|end|>"))
    writer.add_add_bos_token(True)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    for name, value in (story or {}).items():
        (writer.add_bool if isinstance(value, bool) else writer.add_string)(f"evenhand.{name}", value)

    random = np.random.default_rng(seed)
    kind = np.float16 if half else np.float32

    def matrix(rows: int, columns: int, scale: float = 0.08) -> Any:
        return (random.standard_normal((rows, columns), np.float32) * scale).astype(kind)

    if recital:
        tokens = [texts.index(chunk if _is_byte(chunk) else chunk.replace(" ", "▁")) for chunk in recital]
        if len(set(tokens)) != len(tokens):
            raise ValueError("the pieces of a recital must all be different")
        embedding, output = _chain(tokens, 2, count, width)
    else:
        embedding, output = matrix(count, width, 1.0), matrix(count, width, 0.3)
    writer.add_tensor("token_embd.weight", embedding.astype(kind))
    writer.add_tensor("output.weight", output.astype(kind))
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    aloud = 0.0 if recital else 0.08  # a reciting model's layers add nothing to the chain
    for layer in range(layers):
        name = f"blk.{layer}"
        writer.add_tensor(f"{name}.attn_norm.weight", np.ones(width, np.float32))
        writer.add_tensor(f"{name}.ffn_norm.weight", np.ones(width, np.float32))
        for part in ("attn_q", "attn_k", "attn_v"):
            writer.add_tensor(f"{name}.{part}.weight", matrix(width, width))
        writer.add_tensor(f"{name}.attn_output.weight", matrix(width, width, aloud))
        writer.add_tensor(f"{name}.ffn_gate.weight", matrix(hidden, width))
        writer.add_tensor(f"{name}.ffn_up.weight", matrix(hidden, width))
        writer.add_tensor(f"{name}.ffn_down.weight", matrix(width, hidden, aloud))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tiny_checkpoint(
    path: Path,
    architecture: Literal["llama", "mistral"] = "llama",
    *,
    recital: Sequence[str] = (),
    chat_template: str | None = CHAT_TEMPLATE,
    width: int = 64,
    layers: int = 2,
    seed: int = 0,
) -> Path:
    """Save a Hugging Face checkpoint (config, safetensors, byte-level BPE tokenizer) into a folder; return ``path``.

    The arguments mean what they mean for `tiny_llama_gguf`.
    """
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        MistralConfig,
        MistralForCausalLM,
        PreTrainedTokenizerFast,
    )

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>", "</s>", *MARKERS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(SENTENCES, trainer)
    bpe.add_tokens([AddedToken(chunk, normalized=False) for chunk in recital])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", additional_special_tokens=list(MARKERS)
    )
    tokenizer.chat_template = chat_template
    width = max(width, -(-(len(recital) + 1) // 32) * 32)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": width * 2,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 32,
        "num_key_value_heads": width // 32,
        "max_position_embeddings": 2048,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "tie_word_embeddings": False,
        "initializer_range": 0.08,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: Any = (
            LlamaForCausalLM(LlamaConfig(**shape))
            if architecture == "llama"
            else MistralForCausalLM(MistralConfig(**shape, sliding_window=None))
        )
    if recital:
        tokens = [int(tokenizer.convert_tokens_to_ids(chunk)) for chunk in recital]
        embedding, output = _chain(tokens, int(tokenizer.eos_token_id), len(tokenizer), width)
        with torch.no_grad():
            network.model.embed_tokens.weight.copy_(torch.from_numpy(embedding))
            network.lm_head.weight.copy_(torch.from_numpy(output))
            for layer in network.model.layers:
                layer.self_attn.o_proj.weight.zero_()
                layer.mlp.down_proj.weight.zero_()
    network.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
