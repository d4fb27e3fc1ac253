"""Models to start from and models that were trained: loading a checkpoint with a sentence for each failure, and saving.

Only safetensors weights are read, and no code that comes with a checkpoint is ever run.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mediator.atomic_file import sync_file
from mediator.errors import EvenhandError, InputError, MissingExtraError, ModelFileError
from mediator.settings import user_path
from mediator.writers.aligned import STORY_FILE
from trainer.models.files import OLD_TOKENIZER, check_folder, weight_files

if TYPE_CHECKING:
    import torch

__all__ = [
    "RECIPE_FILE", "Device", "NoSuchDevice", "Precision", "check_folder", "check_vocabulary", "dtype_of", "load",
    "load_quantised", "load_tokenizer", "quiet", "require", "resolved", "save", "torch_device", "weight_files",
    "write_story",
]  # fmt: skip

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when transformers is imported, which is later

Precision = Literal["auto", "bf16", "fp32"]
Device = Literal["auto", "cpu", "cuda"]

RECIPE_FILE = STORY_FILE
"""In the folder of a trained model or adapter: what it was trained with, and so how it is to be asked."""


class NoSuchDevice(InputError):
    """The settings ask for a GPU, and torch sees none."""


def load(
    name: str, precision: Precision = "auto", device: Device = "auto", *, as_stored: bool = False
) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer.

    A tokenizer without a padding token gets one that it has already (the unknown token, else the end-of-text token), so
    that the embeddings keep their size; whoever pads must mask by position, not by that token.

    Args:
        name: a folder, or a name on the Hugging Face hub.
        precision: of the weights in memory; ``auto`` is bf16 on a GPU that computes in it, else fp32.
        device: where to; ``auto`` is the GPU where there is one. Of several processes, each takes its own GPU.
        as_stored: leave the weights in the precision of the file.

    Returns:
        the model, in eval mode, and the tokenizer.

    Raises:
        ModelFileError: no such folder or name, no weights or only pickled ones, a truncated file, no tokenizer, an
            architecture that needs code of its own, or the hub cannot be reached.
        NoSuchDevice: ``cuda`` without a GPU.
        MissingExtraError: torch or transformers are not installed.
    """
    require("torch", "transformers", "safetensors")
    import torch
    from transformers import AutoModelForCausalLM

    place = torch_device(device)
    kind: Any = "auto" if as_stored else dtype_of(resolved(precision, place))
    tokenizer = load_tokenizer(name)
    with explained(name), quiet():
        model = AutoModelForCausalLM.from_pretrained(
            _source(name), dtype=kind, trust_remote_code=False, use_safetensors=True, **_of_hub(name)
        )
        model = model.to(place).eval()
    check_vocabulary(name, model, tokenizer)
    if not all(bool(torch.isfinite(parameter).all()) for parameter in model.get_input_embeddings().parameters()):
        raise ModelFileError(f"The weights of {name} are damaged: they hold numbers that are none.", "Fetch it again.")
    return model, tokenizer


def load_quantised(name: str, device: Device = "auto") -> tuple[Any, Any]:
    """Load a model with its weights in 4 bits (NF4, with quantised constants), to train adapters beside it (QLoRA).

    Raises: what `load` raises; `NoSuchDevice` without a CUDA GPU; `MissingExtraError` without bitsandbytes.
    """
    require("torch", "transformers", "peft", "safetensors")
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        raise NoSuchDevice(
            "trainable = qlora needs an NVIDIA GPU, and "
            + ("the settings say device = cpu." if device == "cpu" else "torch sees none."),
            "Set trainable = lora, which works everywhere.",
        )
    require("bitsandbytes", how="pip install bitsandbytes")
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    tokenizer = load_tokenizer(name)
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    with explained(name), quiet():
        model = AutoModelForCausalLM.from_pretrained(
            _source(name),
            quantization_config=settings,
            dtype=torch.bfloat16,
            device_map={"": torch_device(device)},
            trust_remote_code=False,
            use_safetensors=True,
            **_of_hub(name),
        ).eval()
    check_vocabulary(name, model, tokenizer)
    return model, tokenizer


def load_tokenizer(name: str) -> Any:
    """Load a model's tokenizer, with a padding token (see `load`). Raises `ModelFileError`, `MissingExtraError`."""
    require("transformers")
    check_folder(name)
    if os.path.isdir(user_path(name)):
        _check_kind(user_path(name))
    from transformers import AutoTokenizer

    with explained(name), quiet():
        tokenizer = AutoTokenizer.from_pretrained(_source(name), trust_remote_code=False, **_of_hub(name))
    if tokenizer.eos_token_id is None:
        raise ModelFileError(
            f"The tokenizer of {name} names no end-of-text token, so a model could never learn to stop.",
            "Name one as `eos_token` in its tokenizer_config.json.",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token if tokenizer.unk_token_id is not None else tokenizer.eos_token
        tokenizer.padding_was_borrowed = True
    return tokenizer


def check_vocabulary(name: str, model: Any, tokenizer: Any) -> None:
    """Raise `ModelFileError` when the tokenizer can name tokens that the model has no embedding for."""
    rows = int(model.get_input_embeddings().weight.shape[0])
    if len(tokenizer) > rows:
        raise ModelFileError(
            f"The tokenizer of {name} has {len(tokenizer)} tokens and the model embeddings for {rows} only.",
            "They do not belong together; fetch the model again.",
        )


def save(
    model: Any, tokenizer: Any, folder: Path, base: str, facts: dict[str, Any], dtype: "torch.dtype | None" = None
) -> Path:
    """Save a trained model in a folder that ``hf:FOLDER`` serves and the exporter reads.

    The folder is whole or not there: it is written beside its place and then moved. The base's chat template is left
    out, because training used the plain template and serving must use the same.

    Args:
        model: to save; its weights are cast to ``dtype`` on the way.
        tokenizer: goes with it.
        folder: where to; what is there is replaced.
        base: the folder or name the model came from: its ``tokenizer.model`` is kept, if it has one.
        facts: what `RECIPE_FILE` shall say.
        dtype: of the weights in the file; None for that of the model.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if dtype is not None:
        model = model.to(dtype)
        model.config.dtype = dtype
    model.config.use_cache = True
    with quiet():
        _mend_generation(model, partial)
        model.save_pretrained(partial)
        _save_tokenizer(tokenizer, partial)
    if original := _file_of(base, OLD_TOKENIZER):
        shutil.copyfile(original, partial / OLD_TOKENIZER)
    write_story(partial, facts)
    for file in partial.iterdir():
        sync_file(file)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    return folder


def write_story(folder: Path, facts: dict[str, Any]) -> None:
    """Write what a model or adapter was trained with into its folder. Raises `OSError`."""
    (folder / RECIPE_FILE).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _mend_generation(model: Any, folder: Path) -> None:
    """Make the settings of generation such that transformers agrees to save them.

    Some published models name a temperature and no sampling; several versions load that and refuse to save it.
    """
    settings = model.generation_config
    try:
        settings.save_pretrained(folder)
    except ValueError:
        kept = {name: getattr(settings, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        model.generation_config = type(settings)(**kept)


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    template, padding = tokenizer.chat_template, tokenizer.pad_token
    borrowed = getattr(tokenizer, "padding_was_borrowed", False)
    try:
        tokenizer.chat_template = None
        if borrowed:
            tokenizer.pad_token = None
        tokenizer.save_pretrained(folder)
    finally:
        tokenizer.chat_template, tokenizer.pad_token = template, padding


def _file_of(name: str, file: str) -> Path | None:
    """A file of a model: in its folder, or in the hub's cache on this computer."""
    if os.path.isdir(user_path(name)):
        path = user_path(name) / file
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, file)
    return Path(found) if isinstance(found, str) else None


# -- devices and precision ------------------------------------------------------------------------------------------


def torch_device(device: Device = "auto") -> "torch.device":
    """Return where to compute; of several processes, each has the GPU of its number. Raises `NoSuchDevice`."""
    import torch

    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise NoSuchDevice("device is cuda, and torch sees no GPU.", "Set device = auto or cpu.")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def resolved(precision: Precision, device: "torch.device") -> Literal["bf16", "fp32"]:
    """Return what ``auto`` means on a device: bf16 on a GPU that computes in it, else fp32."""
    import torch

    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def dtype_of(precision: Literal["bf16", "fp32"]) -> "torch.dtype":
    """Return torch's name for a precision."""
    import torch

    return torch.bfloat16 if precision == "bf16" else torch.float32


def _check_kind(folder: Path) -> None:
    """Raise `ModelFileError` for a kind of model that transformers does not have."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind, own_code = config.get("model_type"), "auto_map" in config
    if kind in CONFIG_MAPPING_NAMES:
        return
    if own_code:
        raise ModelFileError(
            f"{folder} needs code of its own, which Evenhand never runs.", "Choose a model that transformers knows."
        )
    raise ModelFileError(
        f"{folder} is of a kind that the installed transformers does not know: {kind}.",
        "Update it: pip install -U transformers.",
    )


def require(*packages: str, how: str = "pip install 'evenhand[train]'") -> None:
    """Raise `MissingExtraError` for packages that are not installed."""
    import importlib.util

    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise MissingExtraError(f"Training needs {' and '.join(missing)}, which this install does not have.", how)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' progress bars and advice off the screen."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn what the libraries raise while loading into one sentence."""
    try:
        yield
    except EvenhandError:
        raise
    except Exception as error:
        text, first = f"{type(error).__name__}: {error}", str(error).strip().split("\n", 1)[0]
        if "out of memory" in text.lower():
            raise
        if "trust_remote_code" in text:
            raise ModelFileError(
                f"{name} needs code of its own, which Evenhand never runs.", "Choose a model that transformers knows."
            ) from error
        if os.path.isdir(user_path(name)):
            raise ModelFileError(
                f"{name} cannot be loaded: {first}", "Choose a folder with config.json, safetensors and a tokenizer."
            ) from error
        if "valid model identifier" in text or "RepositoryNotFound" in text or "404" in text:
            raise ModelFileError(
                f"Neither a folder nor a model on the Hugging Face hub is called {name}.", "Check the spelling."
            ) from error
        if "gated" in text.lower() or "401" in text or "403" in text:
            raise ModelFileError(
                f"The Hugging Face hub gives {name} to those only who were granted access.",
                "Ask for it on the model's page and log in, or name a folder.",
            ) from error
        if "safetensors" in text:
            raise ModelFileError(
                f"{name} has no safetensors weights on the hub, and pickled ones can run any code.",
                "Choose another version of the model.",
            ) from error
        if isinstance(error, OSError) or "connect" in text.lower() or "offline" in text.lower():
            raise ModelFileError(
                f"{name} is not on this computer, and the Hugging Face hub cannot be reached.",
                "Check the network, or name a folder.",
            ) from error
        raise ModelFileError(f"{name} cannot be loaded: {first}", "Choose another model.") from error


def _of_hub(name: str) -> dict[str, Any]:
    """Options of loading a model by its name on the hub: without a network, from what was downloaded before.

    Asked once and soon, because the hub's own library tries again for a minute for each file.
    """
    if os.path.isdir(user_path(name)):
        return {}
    import httpx
    from huggingface_hub import constants, try_to_load_from_cache

    try:
        if constants.HF_HUB_OFFLINE:
            raise httpx.ConnectError("HF_HUB_OFFLINE is set")
        httpx.head(constants.ENDPOINT, timeout=10)
    except httpx.HTTPError as error:
        if not isinstance(try_to_load_from_cache(name, "config.json"), str):
            raise ModelFileError(
                f"{name} is not on this computer, and the Hugging Face hub cannot be reached.",
                "Check the network, or name a folder.",
            ) from error
        return {"local_files_only": True}
    return {}


def _source(name: str) -> str:
    return str(user_path(name)) if os.path.isdir(user_path(name)) else name
