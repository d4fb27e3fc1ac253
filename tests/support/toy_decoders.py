"""Small decoders of the families that can be exported: random weights in every tensor, tokenizers of their kind."""

from pathlib import Path
from typing import Any, Literal

from support.tiny_models import SENTENCES

Family = Literal["llama", "mistral", "qwen2", "qwen3"]

_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN_2 = _LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")
_LLAMA_MARKERS = ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>")
_QWEN_MARKERS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def toy_tokenizer(family: Family, size: int = 384) -> Any:
    """A byte-level BPE tokenizer of ``size`` tokens, which splits as Llama 3's or Qwen2's own does."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    qwen = family.startswith("qwen")
    markers = _QWEN_MARKERS if qwen else _LLAMA_MARKERS
    bpe = Tokenizer(models.BPE(ignore_merges=not qwen))
    if qwen:
        bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN_2 if qwen else _LLAMA_3), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(markers), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator(SENTENCES, trainer)
    bpe.add_special_tokens(list(markers))
    if not qwen:
        begin = markers[0]
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A",
            pair=f"{begin} $A {begin}:1 $B:1",
            special_tokens=[(begin, bpe.token_to_id(begin))],
        )
    names = {"pad_token": markers[0]} if qwen else {"bos_token": markers[0]}
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=markers[-1 if qwen else 1], **names)


def toy_decoder(folder: Path, family: Family, *, seed: int = 0, dtype: str = "float32", **changes: Any) -> Path:
    """Save a checkpoint of two layers, width 64, 4 heads of which 2 for keys, with its tokenizer; return ``folder``.

    Args:
        folder: where to save.
        family: whose network.
        seed: of the random weights.
        dtype: torch's name of the type in which the weights are stored.
        changes: of the configuration.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = toy_tokenizer(family)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": False,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if family == "mistral":
        shape["sliding_window"] = None
    if family == "qwen3":
        shape["head_dim"] = 32
    config = AutoConfig.for_model(family, **{**shape, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():  # fresh norms are ones and fresh biases zeros, which would hide a mistake with them
            for name, weight in model.named_parameters():
                if name.endswith("norm.weight"):
                    weight.normal_(1.0, 0.2)
                else:
                    weight.normal_(0.0, 0.5 if weight.dim() == 1 else 0.15)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
