"""The form of a new training run: what was typed, what it means as settings, and the fields as HTML text."""

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal, get_args, get_origin

from trainer.config import CONFIGS, Recipe, RecipeConfig
from ui.components import attributes, data_words
from ui.strings import catalogue, say
from ui.train_words import setting, typed

LONGEST_VALUE = 4096
"""Characters of one field."""

MOST_PROCESSES = 64
"""Processes of one run: one for each graphics card of a large machine, several times over."""

RECIPES: tuple[Recipe, ...] = ("sft", "nce", "task", "dpo", "nca")
"""In the order of the form: first what the others start from, then the paper's losses, then what to compare with."""

PATHS = ("model", "dataset", "validation")
"""The fields that name files, at the top."""

OPEN = (
    "epochs", "learning_rate", "batch_size", "trainable", "layers", "score", "margin_weight", "beta", "answers",
)  # fmt: skip
"""The settings that matter most, always in sight; each recipe has some of them."""

FOLDS: Mapping[str, tuple[str, ...]] = {
    "weights": ("train_final_norm", "train_head", "adapter_rank", "adapter_scale"),
    "learning": ("gradient_accumulation", "warmup_share", "adam_beta1", "adam_beta2", "weight_decay",
                 "largest_gradient", "seed"),
    "texts": ("longest_text", "packing", "demographics", "rouge", "hypotheses", "hypothesis_batch", "hypothesis_tokens",
              "hypothesis_temperature", "reward_temperature"),
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
}
"""What can be chosen in the fields with a menu."""

_PLACED = (*PATHS, *OPEN, *(name for names in FOLDS.values() for name in names))

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
    least, more, most, under = (bounds.get(name) for name in _FITS)
    if least is not None and under is not None:
        raise ValueError(say(language, "train.bad_under", least=least, most=under))
    if least is not None and most is not None:
        raise ValueError(say(language, "train.bad_between", least=least, most=most))
    if least is not None:
        raise ValueError(say(language, "train.bad_least", least=least))
    if more is not None:
        raise ValueError(say(language, "train.bad_more", least=more))
    raise ValueError(say(language, "train.bad_most", most=most))


# -- HTML --------------------------------------------------------------------------------------------------------------


def run_form(draft: Draft, known: Mapping[str, Sequence[tuple[str, str]]], language: str, *, folded: bool) -> str:
    """Return the form. The places that `ui.train_checks` fills are empty: ``data-slot`` names each.

    Args:
        draft: what its fields hold.
        known: of the fields that name files, what to offer, each with a remark: the results of earlier runs.
        language: of the page.
        folded: closed at first, because something runs already; the reader opens it.
    """
    words = {name: say(language, f"train.{name}") for name in ("starting", "copied", "copy_failed", "no_answer")}
    config = CONFIGS[draft.recipe]
    paths = "".join(_path(draft, name, known.get(name, ()), language) for name in PATHS)
    settings = "".join(_field(draft, name, known, language) for name in OPEN if name in config.model_fields)
    folds = "".join(_group(draft, group, known, language) for group in FOLDS)
    command = attributes(aria_label=say(language, "train.command"))
    # Not on the form itself: there the field called dataset would hide what scripts know as its dataset.
    shown = attributes(data_language=language, data_recipe=draft.recipe) + data_words(words)
    return (
        f'<details class="eh-train-new" data-key="new"{shown}{"" if folded else " open"}>'
        f"<summary><h2>{escape(say(language, 'train.new'))}</h2></summary>"
        f'<form novalidate autocomplete="off">'
        f"{_recipes(draft, language)}"
        f'<div class="eh-train-paths">{paths}</div><div class="eh-train-fields">{settings}</div>'
        f'<details class="eh-fold" data-key="more"><summary>{escape(say(language, "train.more"))} '
        f'<span data-slot="changed"></span></summary>{folds}</details>'
        f'<div class="eh-train-estimate" data-slot="estimate" role="status"></div>'
        f'<div class="eh-train-command"><span class="eh-quiet">{escape(say(language, "train.command"))}</span>'
        f'<pre tabindex="0" role="region"{command}><code data-slot="command"></code></pre>'
        f'<button type="button" class="eh-button" data-copy="command">{escape(say(language, "train.copy"))}</button>'
        '<span class="eh-said" role="status"></span></div>'
        '<div class="eh-row-actions"><button type="submit" class="eh-button eh-primary" id="eh-train-start">'
        f'{escape(say(language, "train.start"))}</button></div><div data-slot="answer"></div></form></details>'
    )


def offers(values: Sequence[tuple[str, str]]) -> str:
    """Return the options of a list to choose from or to type over: each a value and a remark."""
    return "".join(f"<option{attributes(value=value, label=label)}></option>" for value, label in values)


def _recipes(draft: Draft, language: str) -> str:
    options = "".join(
        f'<label class="eh-recipe"><input type="radio" name="recipe"{attributes(value=name)}'
        f"{' checked' if name == draft.recipe else ''}><span><strong>"
        f"{escape(say(language, f'train.recipe_{name}'))}</strong> "
        f"<span>{escape(say(language, f'train.recipe_{name}_about'))}</span></span></label>"
        for name in RECIPES
    )
    return f'<fieldset class="eh-recipes"><legend>{escape(say(language, "train.recipe"))}</legend>{options}</fieldset>'


def _path(draft: Draft, name: str, known: Sequence[tuple[str, str]], language: str) -> str:
    """A field for a path, with what to offer, and a place for what is found there."""
    shown = attributes(
        id=f"eh-train-{name}",
        name=name,
        value=draft.text(name),
        list=f"eh-train-{name}-known",
        placeholder=say(language, f"train.example_{name}"),
        aria_describedby=f"eh-train-{name}-about eh-train-{name}-found",
        maxlength=str(LONGEST_VALUE),
    )
    return (
        f'<div class="eh-field"><label{attributes(for_=f"eh-train-{name}")}>{escape(label_of(name, language))}</label>'
        f'<input type="text" spellcheck="false" autocapitalize="off"{shown}>'
        f"<datalist{attributes(id=f'eh-train-{name}-known')}>{offers(known)}</datalist>"
        f'<p class="eh-field-about"{attributes(id=f"eh-train-{name}-about")}>'
        f"{escape(explanation_of(draft.recipe, name, language))}</p>"
        f'<div role="status"{attributes(id=f"eh-train-{name}-found", data_slot=f"field-{name}")}></div></div>'
    )


def _group(draft: Draft, group: str, known: Mapping[str, Sequence[tuple[str, str]]], language: str) -> str:
    fields = CONFIGS[draft.recipe].model_fields
    names = [name for name in FOLDS[group] if name in fields]
    if group == "texts":  # a setting that nobody has placed yet must not be missing
        names += fields_of(CONFIGS[draft.recipe])[sum(name in fields for name in _PLACED) :]
    body = "".join(_field(draft, name, known, language) for name in names)
    if group == "memory":
        body += _processes(draft, language)
    heading = escape(say(language, f"train.group_{group}"))
    needed = {need for name in names for need in NEEDS.get(name, ("",))}
    only = attributes(data_needs=None if "" in needed else " ".join(sorted(needed)))
    return (
        f'<fieldset class="eh-train-group"{only}><legend>{heading}</legend>'
        f'<div class="eh-train-fields">{body}</div></fieldset>'
    )


def _field(draft: Draft, name: str, known: Mapping[str, Sequence[tuple[str, str]]], language: str) -> str:
    """One setting: its name, a control of its kind, its explanation, and a place for what is wrong with it."""
    if name == "hypotheses":
        return _path(draft, name, known.get(name, ()), language)
    about = CONFIGS[draft.recipe].model_fields[name]
    value = draft.values.get(name, default_value(about.default))
    label = escape(label_of(name, language))
    shown = attributes(
        id=f"eh-train-{name}", name=name, aria_describedby=f"eh-train-{name}-about eh-train-{name}-found"
    )
    for_label = attributes(for_=f"eh-train-{name}")
    if about.annotation is bool:
        box = f'<input type="checkbox"{shown}{" checked" if value else ""}>'
        control = f'<label class="eh-check"{for_label}>{box}{label}</label>'
    elif get_origin(about.annotation) is Literal:
        options = "".join(
            f"<option{attributes(value=one)}{' selected' if one == value else ''}>"
            f"{escape(choice_words(name, one, language))}</option>"
            for one in map(str, get_args(about.annotation))
        )
        control = f"<label{for_label}>{label}</label><select{shown}>{options}</select>"
    else:
        mode = attributes(inputmode="numeric" if about.annotation is int else "decimal", value=str(value))
        control = f'<label{for_label}>{label}</label><input type="text"{mode}{shown}>'
    return _framed(name, control, explanation_of(draft.recipe, name, language))


def _processes(draft: Draft, language: str) -> str:
    shown = attributes(
        id="eh-train-processes",
        name="processes",
        value=draft.processes,
        inputmode="numeric",
        aria_describedby="eh-train-processes-about eh-train-processes-found",
    )
    label = escape(say(language, "train.label.processes"))
    control = f'<label for="eh-train-processes">{label}</label><input type="text"{shown}>'
    return _framed("processes", control, say(language, "train.field.processes"))


def _framed(name: str, control: str, about: str) -> str:
    needs = attributes(data_needs=" ".join(NEEDS[name]) if name in NEEDS else None)
    return (
        f'<div class="eh-field"{needs}>{control}'
        f'<p class="eh-field-about"{attributes(id=f"eh-train-{name}-about")}>{escape(about)}</p>'
        f'<div role="status"{attributes(id=f"eh-train-{name}-found", data_slot=f"field-{name}")}></div></div>'
    )


def fields_of(config: type[RecipeConfig]) -> tuple[str, ...]:
    """Return the settings of a recipe in the order of the form; those that no group names come last."""
    known = [name for name in _PLACED if name in config.model_fields]
    return (*known, *(name for name in config.model_fields if name not in known))


def missing_extra(language: str) -> str:
    """Return what stands in the form's place where this install cannot train: how to get what is missing."""
    label = attributes(aria_label=say(language, "train.command"))
    words = data_words({name: say(language, f"train.{name}") for name in ("copied", "copy_failed")})
    return (
        f'<section class="eh-train-missing"{words}><h2>{escape(say(language, "train.missing"))}</h2>'
        f"<p>{escape(say(language, 'train.missing_about'))}</p>"
        f'<div class="eh-train-command"><pre tabindex="0" role="region"{label}><code>pip install '
        "&#39;evenhand[train]&#39;</code></pre>"
        f'<button type="button" class="eh-button" data-copy="command">{escape(say(language, "train.copy"))}</button>'
        '<span class="eh-said" role="status"></span></div>'
        f"<p>{escape(say(language, 'train.missing_after'))}</p></section>"
    )
