"""The form of a new training run as HTML text: what to do, files, every setting with its explanation, the command."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Literal, get_args, get_origin

from trainer.alignment.config import CONFIGS
from ui.components import attributes, data_words
from ui.strings import say
from ui.train_settings import (
    FILES,
    FOLDS,
    LONGEST_VALUE,
    NEEDS,
    OPEN,
    PATHS,
    PLACED,
    RECIPES,
    Draft,
    choice_words,
    default_value,
    explanation_of,
    label_of,
)


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
        names += [name for name in fields if name not in PLACED]
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
    if name in FILES:
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
