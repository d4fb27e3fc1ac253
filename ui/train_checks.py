"""What the page says of the form of a new run while it is typed: each field, the data, what the run will need."""

import importlib.util
import os
import stat
from collections.abc import Mapping
from functools import lru_cache
from html import escape
from typing import Any

from mediator.errors import EvenhandError
from mediator.settings import user_path
from trainer.alignment.config import CONFIGS, RecipeConfig, make_config
from trainer.dataset.data import Example, read_examples
from trainer.preflight.check import Estimate, check
from trainer.runs.runs import command_of
from ui.error_words import in_language
from ui.strings import figure, say, size_words
from ui.train_settings import FILES, FOLDS, PATHS, Draft, settings_of
from ui.train_words import setting

LARGEST_DATA = 100_000_000
"""Bytes of a data set that is read while one types; a larger one is read when the run starts."""

_PACKAGES = ("torch", "transformers", "accelerate", "safetensors")
_DATA = ("dataset", "validation")


def extra_is_missing() -> bool:
    """Whether this install cannot train: a package of ``evenhand[train]`` is not there."""
    return any(importlib.util.find_spec(name) is None for name in _PACKAGES)


def checked(draft: Draft, language: str) -> dict[str, Any]:
    """Say what is to be said of a draft.

    Returns:
        ``slots``: HTML for the places of the form, by their names; ``command``: the equivalent command line;
        ``bad``: the names of the fields that hold something wrong.
    """
    settings, problems = settings_of(draft, language)
    slots = {f"field-{name}": _problem(text) for name, text in problems.items()}
    for name in settings.keys() - {*PATHS, *FILES, "trunk_cache"}:
        slots[f"field-{name}"] = _quiet(say(language, "train.default", value=_default(draft, name, language)))
    for name in _DATA:
        if text := str(settings.get(name, "")):
            slots[f"field-{name}"], good = _data(text, language)
            if not good:
                problems[name] = ""
    changed = sum(name in names for name in settings for names in FOLDS.values())
    slots["changed"] = escape(say(language, "train.changed", count=changed)) if changed else ""
    if not any(name in problems for name in ("dataset", "validation")):
        slots |= _estimated(draft, settings, problems, language)
    command = command_of(draft.recipe, settings)
    if draft.processes not in ("", "1") and "processes" not in problems:
        command += f" --processes {draft.processes}"
    return {"slots": slots, "command": command, "bad": sorted(problems)}


def config_of(draft: Draft, language: str) -> tuple[RecipeConfig, int]:
    """Return the checked settings of a draft, and how many processes it asks for.

    Raises `EvenhandError`: a field holds something wrong, is missing, or does not go with another one.
    """
    settings, problems = settings_of(draft, language)
    for name in ("model", "dataset"):
        if not settings.get(name):
            problems.setdefault(name, say(language, f"train.need_{name}"))
    if problems:
        name, text = next(iter(problems.items()))
        label = say(language, f"train.label.{name}")
        raise EvenhandError(say(language, "train.bad_field", field=label, problem=text))
    return make_config(draft.recipe, settings, say(language, "train.the_form")), int(draft.processes)


def views_of(path: str, ids: frozenset[str]) -> Mapping[str, Example]:
    """Return the disputes of a data set with these ids; those that can be had without trouble."""
    try:
        signature = _signature(path)
        return {} if signature is None else {one.id: one for one in _read(path, signature) if one.id in ids}
    except EvenhandError:
        return {}


def _default(draft: Draft, name: str, language: str) -> str:
    return setting(CONFIGS[draft.recipe].model_fields[name].default, language)


def _estimated(draft: Draft, settings: dict[str, Any], problems: dict[str, str], language: str) -> dict[str, str]:
    """Say what the run would need, or why it cannot work."""
    if problems or not settings.get("model") or not settings.get("dataset"):
        missing = [name for name in ("model", "dataset") if not settings.get(name)]
        words = say(language, f"train.need_{missing[0]}") if missing else say(language, "train.mend_first")
        return {"estimate": _quiet(words)}
    try:
        config = make_config(draft.recipe, settings, say(language, "train.the_form"))
        estimate = check(draft.recipe, config, processes=int(draft.processes))
    except (EvenhandError, OSError) as error:
        return {"estimate": _problem(in_language(language, error if isinstance(error, EvenhandError) else str(error)))}
    notes = "".join(f'<p class="eh-note">{escape(in_language(language, note))}</p>' for note in estimate.notes)
    return {"estimate": f'<p class="eh-train-needs">{escape(_needs(estimate, language))}</p>{notes}'}


def _needs(estimate: Estimate, language: str) -> str:
    steps = say(language, "train.about_steps", steps=estimate.steps)
    if not estimate.parameters:
        return steps
    kind = "gpu" if estimate.device == "cuda" else "memory"
    return " ".join(
        (
            say(
                language,
                f"train.needs_{kind}",
                memory=size_words(language, estimate.memory_bytes),
                free=size_words(language, estimate.memory_free),
            ),
            say(
                language,
                "train.needs_disk",
                disk=size_words(language, estimate.disk_bytes),
                free=size_words(language, estimate.disk_free),
            ),
            _weights(estimate, language),
            steps,
        )
    )


def _weights(estimate: Estimate, language: str) -> str:
    """Say how many weights there are and how many of them learn."""
    size, unit = (1e9, "billion") if estimate.parameters >= 1e9 else (1e6, "million")
    learn, every = (figure(language, count / size) for count in (estimate.trainable, estimate.parameters))
    return say(language, f"train.weights_{unit}", learn=learn, all=every)


def _data(named: str, language: str) -> tuple[str, bool]:
    """Say what is in a data set, or what is wrong with it; and whether it can be used."""
    try:
        signature = _signature(named)
        if signature is None:
            return _quiet(say(language, "train.data_large")), True
        examples = _read(named, signature)
    except EvenhandError as error:
        return _problem(in_language(language, error)), False
    candidates = sum(len(example.candidates) for example in examples)
    words = (say(language, "train.disputes", count=len(examples)), say(language, "train.candidates", count=candidates))
    bare = sum(not example.candidates for example in examples)
    without = " " + say(language, "train.without_candidates", count=bare) if bare else ""
    return _quiet(say(language, "train.data_found", disputes=words[0], candidates=words[1]) + without), True


def _signature(named: str) -> tuple[int, int] | None:
    """Return what changes when a file changes; None for one that is not to be read now: large, or a device."""
    try:
        found = os.stat(user_path(named))
    except (OSError, ValueError):  # whoever reads it says what is wrong
        return 0, 0
    if stat.S_ISDIR(found.st_mode):
        return 0, 0
    large = not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_DATA
    return None if large else (found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=4)
def _read(named: str, signature: tuple[int, int]) -> tuple[Example, ...]:
    """Read a data set once for each of its versions."""
    return tuple(read_examples(user_path(named)))


def _quiet(text: str) -> str:
    return f'<p class="eh-quiet">{escape(text)}</p>'


def _problem(text: str) -> str:
    return f'<p class="eh-field-error">{escape(text)}</p>'
