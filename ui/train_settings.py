"""The settings of a new run as the Train tab knows them: their places in the form, what was typed, what it means."""

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

from trainer.alignment.config import CONFIGS, Recipe, RecipeConfig
from ui.strings import catalogue, decimal, say
from ui.train_words import setting, typed

LONGEST_VALUE = 4096
"""Characters of one field."""

MOST_PROCESSES = 64
"""Processes of one run: one for each graphics card of a large machine, several times over."""

RECIPES: tuple[Recipe, ...] = ("sft", "nce", "task", "calibrate", "dpo", "nca")
"""In the order of the form: first what the others start from, then the paper's losses, then what to compare with."""

PATHS = ("model", "dataset", "validation")
"""The fields that name files, at the top."""

FILES = ("hypotheses", "preference_model")
"""The other fields that name files, in the fold of texts."""

OPEN = (
    "epochs", "learning_rate", "batch_size", "trainable", "layers", "score", "margin_weight", "candidates", "ranking",
    "margin", "beta", "answers",
)  # fmt: skip
"""The settings that matter most, always in sight; each recipe has some of them."""

FOLDS: Mapping[str, tuple[str, ...]] = {
    "weights": ("train_final_norm", "train_head", "adapter_rank", "adapter_scale"),
    "learning": ("gradient_accumulation", "warmup_share", "adam_beta1", "adam_beta2", "weight_decay",
                 "largest_gradient", "seed"),
    "texts": ("longest_text", "packing", "demographics", "rouge", "hypotheses", "hypothesis_batch", "hypothesis_tokens",
              "hypothesis_temperature", "reward_temperature", "diversity", "preference_model", "likelihood_weight"),
    "memory": ("precision", "device", "gradient_checkpointing", "trunk_cache", "cache_memory"),
    "watching": ("log_every", "evaluate_every", "validation_pairs", "sample_disputes", "checkpoint_every",
                 "keep_checkpoints"),
}  # fmt: skip
"""All other settings, by headings, in a fold."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "trainable": ("all", "last_layers", "lora", "qlora"),
    "score": ("sum", "mean", "log_ratio"),
    "precision": ("auto", "bf16", "fp32"),
    "device": ("auto", "cpu", "cuda"),
    "rouge": ("rouge1", "rougeL"),
    "ranking": ("neutrality", "preference"),
}
"""What can be chosen in the fields with a menu."""

PLACED = (*PATHS, *OPEN, *(name for names in FOLDS.values() for name in names))
"""All settings that have a place in the form, in its order."""

NEEDS: Mapping[str, tuple[str, ...]] = {
    "layers": ("last_layers",),
    "train_final_norm": ("last_layers",),
    "train_head": ("last_layers",),
    "trunk_cache": ("last_layers",),
    "cache_memory": ("last_layers",),
    "adapter_rank": ("lora", "qlora"),
    "adapter_scale": ("lora", "qlora"),
}
"""Settings that do something only where one of these is what learns (``trainable``); elsewhere they are hidden."""

_WHOLE = re.compile(r"[+-]?[0-9]+")
_GERMAN = re.compile(r"[+-]?[0-9]+,[0-9]+(e[+-]?[0-9]+)?", re.IGNORECASE)

Value = str | bool


@dataclass(frozen=True)
class Draft:
    """What is typed and chosen in the form.

    Attributes:
        recipe: the chosen one.
        values: the fields that differ from the recipe's defaults, as they were typed; also those that only other
            recipes have, so that they are there again when one of these is chosen.
        processes: how many graphics cards train together, as typed.
    """

    recipe: Recipe = "sft"
    values: Mapping[str, Value] = field(default_factory=dict)
    processes: str = "1"

    def text(self, name: str) -> str:
        """Return what a field of text holds, without spaces around it; empty where it is as it was."""
        value = self.values.get(name, "")
        return value.strip() if isinstance(value, str) else ""


def draft_of(data: object, before: Draft | None = None) -> Draft:
    """Read a draft from what a browser sent or a file holds; whatever does not fit is left out.

    Args:
        data: ``{"recipe": …, "processes": …, "values": {field: text or yes/no}}``.
        before: keeps the fields that only other recipes have.
    """
    given = data if isinstance(data, dict) else {}
    recipe: Recipe = next((name for name in RECIPES if name == given.get("recipe")), "sft")
    values: dict[str, Value] = {}
    sent = given.get("values")
    for name, value in (sent if isinstance(sent, dict) else {}).items():
        if name not in _FIELDS or not isinstance(value, bool if _FIELDS[name].annotation is bool else str):
            continue
        kept = value if isinstance(value, bool) else value[:LONGEST_VALUE]
        own = CONFIGS[recipe].model_fields.get(name)
        if own is None or kept != default_value(own.default):
            values[name] = kept
    if before is not None:
        own_fields = CONFIGS[recipe].model_fields
        values = {name: value for name, value in before.values.items() if name not in own_fields} | values
    processes = given.get("processes")
    return Draft(recipe, values, processes[:9].strip() or "1" if isinstance(processes, str) else "1")


def chosen_recipe(draft: Draft, recipe: str) -> Draft:
    """Return the draft for another recipe: what was changed stays changed, the rest takes the new one's defaults."""
    return draft_of({"recipe": recipe, "values": dict(draft.values), "processes": draft.processes}, draft)


def settings_of(draft: Draft, language: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the settings that differ from the defaults, and what is wrong with fields, a sentence for each.

    Settings that do nothing with what learns are left as they are by default, the trunk's cache off where it cannot be.
    """
    fields = CONFIGS[draft.recipe].model_fields
    learns = draft.values.get("trainable", fields["trainable"].default)
    settings: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, value in draft.values.items():
        if name not in fields or learns not in NEEDS.get(name, (learns,)):
            continue
        try:
            settings[name] = _read(name, fields[name], value, language)
        except ValueError as error:
            problems[name] = str(error)
    if "trunk_cache" in fields and learns not in NEEDS["trunk_cache"]:
        settings["trunk_cache"] = False
    if not (_WHOLE.fullmatch(draft.processes) and 1 <= int(draft.processes) <= MOST_PROCESSES):
        problems["processes"] = say(language, "train.bad_between", least=1, most=MOST_PROCESSES)
    return settings, problems


def default_value(default: object) -> Value:
    """Return a default as its field shows it."""
    if isinstance(default, bool):
        return default
    return typed(default) if isinstance(default, float) else str(default)


def label_of(name: str, language: str) -> str:
    """Return what a field is called. Plain text."""
    return catalogue(language).get(f"train.label.{name}", name)


def explanation_of(recipe: str, name: str, language: str) -> str:
    """Return the explanation of a field. Plain text; in English where this language has none."""
    known = catalogue(language).get(f"train.field.{name}")
    about = CONFIGS[recipe].model_fields.get(name) if recipe in CONFIGS else None
    return known or (about.description or "" if about is not None else "")


def choice_words(name: str, value: object, language: str) -> str:
    """Return a value of a setting in words: of a menu, its text; else as it is typed. Plain text."""
    if name in CHOICES and value in CHOICES[name]:
        return say(language, f"train.choice.{name}.{str(value).lower()}")
    return setting(value, language)


def fields_of(config: type[RecipeConfig]) -> tuple[str, ...]:
    """Return the settings of a recipe in the order of the form; those that no group names come last."""
    known = [name for name in PLACED if name in config.model_fields]
    return (*known, *(name for name in config.model_fields if name not in known))


# -- reading -----------------------------------------------------------------------------------------------------------

_FIELDS = {name: about for config in CONFIGS.values() for name, about in config.model_fields.items()}


def _read(name: str, about: Any, value: Value, language: str) -> object:
    """Return a field's value as its setting. Raises ValueError with a sentence."""
    kind = about.annotation
    if isinstance(value, bool):
        return value
    text = value.strip()
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise ValueError(say(language, "train.bad_choice", choices=", ".join(map(str, get_args(kind)))))
        return text
    if kind is str:
        return text
    if language == "de" and _GERMAN.fullmatch(text):
        text = text.replace(",", ".")
    try:
        number = int(text) if kind is int else float(text)
        finite = abs(number) < float("inf")
    except (ValueError, OverflowError):
        finite = False
    if not finite or (kind is int and not _WHOLE.fullmatch(text)):
        raise ValueError(say(language, "train.bad_whole" if kind is int else "train.bad_number"))
    _check_bounds(number, about.metadata, language)
    return int(number) if number == int(number) else number


_FITS = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}


def _check_bounds(number: float, metadata: Sequence[Any], language: str) -> None:
    bounds = {name: getattr(one, name) for one in metadata for name in _FITS if hasattr(one, name)}
    if all(_FITS[name](number, bound) for name, bound in bounds.items()):
        return
    words = {name: decimal(language, str(bound)) for name, bound in bounds.items()}
    least, more, most, under = (words.get(name) for name in _FITS)
    if least is not None and under is not None:
        raise ValueError(say(language, "train.bad_under", least=least, most=under))
    if least is not None and most is not None:
        raise ValueError(say(language, "train.bad_between", least=least, most=most))
    if least is not None:
        raise ValueError(say(language, "train.bad_least", least=least))
    if more is not None:
        raise ValueError(say(language, "train.bad_more", least=more))
    raise ValueError(say(language, "train.bad_most", most=most))
