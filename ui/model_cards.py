"""The list of models as HTML: a card for each, with what it needs, how a download is, and what can be done with it."""

from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path

from mediator.catalogue import Downloadable, downloadables, recommended
from mediator.download_jobs import DownloadJobs, JobState
from mediator.downloads import Progress, begun, installed
from mediator.errors import EvenhandError
from mediator.keys import where_from
from mediator.memory import available, need, total
from mediator.models import ModelChoice, hears_feedback, parse_model
from mediator.own_models import WriterChoice, load, writer_choices
from mediator.writers.gguf_file import check_gguf_file
from ui.error_words import in_language
from ui.strings import figure, say, size_words
from ui.trials import Trials, TrialState


@dataclass(frozen=True)
class _Card:
    """What one card shows. All texts are plain text.

    Attributes:
        key: unlike that of every other card.
        name: of the writer, as in the ``--model`` option; of a downloadable one, its name in the catalogue.
        notes: short remarks beside the title.
        facts: label, value, and an address to link to (or an empty string).
        removal: what a press of Remove does (``remove``, ``discard``), or empty.
    """

    key: str
    name: str
    title: str
    about: str
    facts: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...] = ()
    problem: str = ""
    removal: str = ""
    sure: str = ""
    can_test: bool = False
    trial: TrialState | None = None
    job: JobState | None = None
    can_download: bool = False
    kept: int = 0


def model_list(language: str, jobs: DownloadJobs, trials: Trials, loaded: tuple[str, ...] = ()) -> str:
    """Return the whole list.

    Args:
        language: of the page.
        jobs: the downloads of this process.
        trials: the tests of this process.
        loaded: names of the writers that are in memory now.
    """
    memory, own = total(), load()
    said = say(
        language, "models.memory_here", total=size_words(language, memory), free=size_words(language, available())
    )
    ready = [_ready(language, choice, trials, loaded) for choice in writer_choices()]
    ready += [_gone(language, path) for path in own.files if not path.is_file()]
    best = recommended(memory)
    offered = [
        _offered(language, entry, jobs, memory, entry is best)
        for entry in downloadables()
        if not entry.path().is_file()
    ]
    notice = f'<p class="eh-problem" role="alert">{escape(in_language(language, own.notice))}</p>' if own.notice else ""
    return (
        f'<div class="eh-models">{notice}<p class="eh-quiet">{escape(said)}</p>'
        + _section(language, "ready", ready, say(language, "models.test_note"))
        + _section(language, "to_download", offered, say(language, "models.download_note"))
        + "</div>"
    )


def _ready(language: str, choice: WriterChoice, trials: Trials, loaded: tuple[str, ...]) -> _Card:
    facts: list[tuple[str, str, str]] = []
    about, removal, sure, problem = "", "", "", ""
    entry = next((entry for entry in downloadables() if choice.name == f"gguf:{entry.path()}"), None)
    kind = choice.name.partition(":")[0]
    if choice.name == "drafter":
        about = say(language, "models.drafter_about")
        facts.append(_fact(language, "licence", say(language, "models.part_of_evenhand")))
    elif entry is not None:
        about, removal, sure = entry.said(language), "remove", say(language, "models.remove_file_sure")
        problem = _file_facts(language, entry.path(), facts)
        facts.append(_fact(language, "licence", entry.licence, entry.licence_url))
        if record := installed(entry):
            facts.append(_fact(language, "checksum", record.sha256))
    elif kind == "gguf":
        path = Path(choice.name.removeprefix("gguf:"))
        about = say(language, "models.own_file_about", path=path)
        removal, sure = "remove", say(language, "models.remove_entry_sure")
        problem = _file_facts(language, path, facts)
        facts.append(_fact(language, "licence", say(language, "models.own_licence")))
    elif kind == "openai":
        url = parse_model(choice.name).url or ""
        about = say(language, "models.own_server_about", url=url)
        removal, sure = "remove", say(language, "models.remove_entry_sure")
    elif choice.name == "claude":
        about = say(language, "models.claude_about")
        facts.append(_fact(language, "licence", say(language, "models.terms"), "https://www.anthropic.com/legal"))
    else:
        about = say(language, "models.chosen_about")
    where = say(language, "models.sent_to", host=choice.destination) if choice.destination else ""
    facts.append(_fact(language, "where", where or say(language, "models.stays")))
    # Of a model that runs elsewhere only the connection is here.
    here = kind not in ("claude", "openai")
    notes = [say(language, "models.loaded")] if here and choice.name in loaded else []
    if choice.name == "claude" and where_from("anthropic") is None:
        notes.append(say(language, "models.no_key"))
    return _Card(
        key=choice.name,
        name=choice.name,
        title=say(language, choice.key) if choice.key else choice.title,
        about=about,
        facts=tuple(facts),
        notes=tuple(notes),
        problem=problem,
        removal=removal,
        sure=sure,
        can_test=True,
        trial=trials.state(choice.name),
    )


def _file_facts(language: str, path: Path, facts: list[tuple[str, str, str]]) -> str:
    """Add the size and the memory need of a GGUF file; return what is wrong with it."""
    try:
        found = path.stat()
        size, needed = found.st_size, _needed(path, found.st_size, found.st_mtime_ns)
    except (EvenhandError, OSError) as error:
        return in_language(language, error if isinstance(error, EvenhandError) else str(error))
    facts.append(_fact(language, "size", size_words(language, size)))
    facts.append(_fact(language, "memory", say(language, "models.about", amount=size_words(language, needed))))
    if not hears_feedback(ModelChoice("gguf", str(path))):
        facts.append(_fact(language, "hears", say(language, "models.hears_views_only")))
    return ""


@lru_cache(maxsize=64)
def _needed(path: Path, size: int, changed: int) -> int:
    """Read a file's memory need once: the list is drawn twice a second, and a header holds a whole vocabulary."""
    return need(check_gguf_file(path), size)


def _gone(language: str, path: Path) -> _Card:
    about = say(language, "models.own_file_missing", path=path)
    sure = say(language, "models.remove_entry_sure")
    name = f"gguf:{path}"
    return _Card(name, name, path.name, "", (), problem=about, removal="remove", sure=sure)


def _offered(language: str, entry: Downloadable, jobs: DownloadJobs, memory: int, best: bool) -> _Card:
    job, kept = jobs.state(entry.name), begun(entry)
    known = job.progress if job is not None and job.progress is not None and job.progress.total else None
    size = size_words(language, known.total if known else entry.size)
    needed = say(language, "models.about", amount=size_words(language, entry.memory))
    facts = [
        _fact(language, "size", size if known else say(language, "models.about", amount=size)),
        _fact(language, "memory", needed),
    ]
    facts.append(_fact(language, "licence", entry.licence, entry.licence_url))
    facts.append(_fact(language, "where", say(language, "models.stays")))
    if known:
        facts.append(_fact(language, "checksum", known.sha256))
    notes = [say(language, "models.recommended")] if best else []
    if entry.memory > memory:
        notes.append(say(language, "models.too_large"))
    return _Card(
        key=f"offer-{entry.name}",
        name=entry.name,
        title=entry.title,
        about=entry.said(language),
        facts=tuple(facts),
        notes=tuple(notes),
        removal="discard" if kept and not (job and job.running) else "",
        sure=say(language, "models.discard_sure"),
        job=job,
        can_download=True,
        kept=kept,
    )


def _fact(language: str, label: str, value: str, link: str = "") -> tuple[str, str, str]:
    return say(language, f"models.{label}"), value, link


def _section(language: str, name: str, cards: list[_Card], note: str) -> str:
    if not cards:
        return ""
    body = "".join(_card(language, card) for card in cards)
    return (
        f'<section aria-labelledby="eh-models-{name}"><h2 id="eh-models-{name}">'
        f'{escape(say(language, f"models.{name}"))}</h2><p class="eh-quiet">{escape(note)}</p>'
        f'<div class="eh-grid">{body}</div></section>'
    )


def _card(language: str, card: _Card) -> str:
    notes = "".join(f'<span class="eh-badge">{escape(note)}</span>' for note in card.notes)
    facts = "".join(f"<dt>{escape(label)}</dt><dd>{_value(value, link)}</dd>" for label, value, link in card.facts)
    problem = _problem(card.problem) if card.problem else ""
    return (
        f'<article class="eh-card eh-model" data-card="{escape(card.key)}" aria-label="{escape(card.title)}">'
        f"<header><h3>{escape(card.title)}</h3>{notes}</header><p>{escape(card.about)}</p><dl>{facts}</dl>{problem}"
        f'<div class="eh-state">{_state(language, card)}</div>'
        f'<div class="eh-buttons">{_buttons(language, card)}</div></article>'
    )


def _value(value: str, link: str) -> str:
    if not link:
        return escape(value)
    return f'<a href="{escape(link)}" target="_blank" rel="noreferrer noopener">{escape(value)}</a>'


def _state(language: str, card: _Card) -> str:
    """What a download or a test is doing, or how it ended."""
    job, trial = card.job, card.trial
    if job is not None and job.running:
        return _progress(language, card.title, job.progress)
    if job is not None and job.problem:
        return _problem(in_language(language, job.problem))
    if card.kept:
        amount = say(language, "models.kept_part", amount=size_words(language, card.kept))
        stopped = say(language, "models.download_stopped") + " " if job is not None and job.stopped else ""
        return f'<p role="status">{escape(stopped + amount)}</p>'
    if trial is None:
        return ""
    if trial.running:
        words = say(language, "models.test_waiting", position=trial.position) if trial.position else ""
        return f'<p role="status">{escape(words or say(language, "models.testing"))}</p>'
    outcome = trial.outcome
    if outcome is None:
        return f'<p role="status">{escape(say(language, "models.test_stopped"))}</p>'
    if not outcome.works:
        return _problem(in_language(language, outcome.problem))
    first = figure(language, outcome.first_after, 1)
    rate = f"{outcome.per_second:.0f}"
    key = "models.test_works_rate" if outcome.per_second else "models.test_works"
    answer = say(language, "models.test_answer", text=outcome.text)
    return f'<p role="status">{escape(say(language, key, first=first, rate=rate))}<br>{escape(answer)}</p>'


def _problem(text: str) -> str:
    return f'<p class="eh-problem" role="alert">{escape(text)}</p>'


def _progress(language: str, title: str, progress: Progress | None) -> str:
    """A bar that a screen reader can read, and the same in words: its share, its speed, the time left."""
    share, words = 0, [say(language, "models.stage_asking")]
    if progress is not None and progress.total:
        share = 100 * progress.received // progress.total
        received, of = size_words(language, progress.received), size_words(language, progress.total)
        words = [say(language, f"models.stage_{progress.stage}", received=received, total=of)]
        if progress.speed:
            words.append(say(language, "models.speed", speed=size_words(language, int(progress.speed))))
        if progress.seconds_left is not None:
            words.append(say(language, "models.left", time=_duration(language, progress.seconds_left)))
    label, text = say(language, "models.progress_named", title=title), ", ".join(words)
    return (
        f'<div class="eh-progress" role="progressbar" aria-label="{escape(label)}" aria-valuemin="0"'
        f' aria-valuemax="100" aria-valuenow="{share}" aria-valuetext="{escape(text)}">'
        f'<span style="width:{share}%"></span></div><p class="eh-quiet">{escape(text)}</p>'
    )


def _duration(language: str, seconds: float) -> str:
    if seconds < 90:
        return say(language, "models.seconds", count=max(1, round(seconds)))
    return say(language, "models.minutes", count=round(seconds / 60))


def _buttons(language: str, card: _Card) -> str:
    buttons = ""
    if card.job is not None and card.job.running:
        buttons = _button(language, card, "stop", "stop-download")
    elif card.can_download:
        buttons = _button(language, card, "resume" if card.kept else "download", "download", strong=True)
    elif card.trial is not None and card.trial.running:
        buttons = _button(language, card, "stop", "stop-test")
    elif card.can_test:
        buttons = _button(language, card, "test", "test")
    if card.removal:
        yes = escape(say(language, f"models.{card.removal}_yes"))
        buttons += (
            f'<details class="eh-confirm" data-key="{escape(card.key)}">'
            f"<summary>{escape(say(language, f'models.{card.removal}'))}</summary><p>{escape(card.sure)}</p>"
            f'<button type="button" data-act="remove" data-name="{escape(card.name)}">{yes}</button></details>'
        )
    return buttons


def _button(language: str, card: _Card, word: str, act: str, *, strong: bool = False) -> str:
    label = escape(say(language, f"models.{word}_named", title=card.title))
    return (
        f'<button type="button" class="{"eh-strong" if strong else ""}" data-act="{act}"'
        f' data-name="{escape(card.name)}" aria-label="{label}">{escape(say(language, f"models.{word}"))}</button>'
    )
