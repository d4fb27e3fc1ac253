"""What an exported page says, in words and in order, before it becomes HTML or Markdown. All texts are plain."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from mediator.errors import EvenhandError
from mediator.models import ModelChoice, parse_model
from mediator.neutrality import tilt_kind, warmth_kind
from mediator.report_parts import Parts
from mediator.resources import asset, read_yaml
from mediator.schema import Scores, View
from mediator.session import Proposal, Rating, Round, Session, SideForm

LANGUAGES = ("en", "de")
"""English is what another language gets."""


@dataclass(frozen=True)
class Side:
    """One side: its letter, its name, what it wrote as (heading or "", text), and what is known about the person."""

    letter: str
    name: str
    parts: tuple[tuple[str, str], ...]
    about: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Bars:
    """How close a text comes to each side, in whole hundredths, and that in words.

    ``error_a`` and ``error_b`` are the standard errors, in hundredths too; None where they are not known.
    """

    a: int
    b: int
    words: str
    error_a: int | None = None
    error_b: int | None = None


@dataclass(frozen=True)
class Wording:
    """A text under a heading, with its bars if it was measured."""

    heading: str
    text: str
    bars: Bars | None


@dataclass(frozen=True)
class Option:
    """A proposal: a wording, where it comes from, remarks on its bars, and how each rater takes it (who, how, why)."""

    wording: Wording
    origin: str
    notes: tuple[str, ...]
    ratings: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Step:
    """A round of the trail: its heading, and lines on what was asked for and what came."""

    heading: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Content:
    """Everything on the page.

    Attributes:
        words: the page's own words by key.
        sides: A, then B.
        options: what the page is about, under the remark ``options_note``.
        others: what else there is to choose from.
        histories: for each edited option its heading and its wordings, the writer's first.
        audits: what came of exchanging the sides, a sentence for each round.
        earlier_views: views that bars of the page are measured against and that were changed since, with a heading.
        origins: who wrote, and where the text went; a sentence each.
    """

    language: str
    words: Mapping[str, Any]
    title: str
    as_of: str
    sides: tuple[Side, Side]
    summary: str
    options: tuple[Option, ...]
    options_note: str
    others: tuple[Option, ...]
    trail: tuple[Step, ...]
    audits: tuple[str, ...]
    histories: tuple[tuple[str, tuple[Wording, ...]], ...]
    earlier_views: tuple[tuple[str, tuple[Side, Side]], ...]
    origins: tuple[str, ...]

    @property
    def meaning(self) -> str:
        """What the bars mean; how sure they are too, if that is known of one of them."""
        wordings = [option.wording for option in (*self.options, *self.others)]
        wordings += [wording for _, history in self.histories for wording in history]
        bars = [wording.bars for wording in wordings if wording.bars is not None]
        unsure = any(bar.error_a is not None or bar.error_b is not None for bar in bars)
        keys = ("meaning_is", "meaning_unsure", "meaning_is_not") if unsure else ("meaning_is", "meaning_is_not")
        return " ".join(self.words[key] for key in keys)


def content_of(session: Session, language: str = "en", redacted: bool = False, parts: Parts | None = None) -> Content:
    """Gather what the page of a session says. Times are those of this computer's place.

    A ``redacted`` session says so beside its date: a reader must know that a name may be somebody's invention.
    ``parts`` is what the page says of it; None for what `Parts` has by itself.
    """
    content = _Gatherer(session, language if language in LANGUAGES else LANGUAGES[0], parts or Parts()).content()
    return replace(content, as_of=f"{content.as_of}. {content.words['redacted']}") if redacted else content


@cache
def _words(language: str) -> Mapping[str, Any]:
    words: Mapping[str, Any] = read_yaml(asset("report", f"{language}.yaml"))
    return words


_Place = tuple[Round, Proposal]


class _Gatherer:
    def __init__(self, session: Session, language: str, parts: Parts) -> None:
        self._session = session
        self._language = language
        self._parts = parts
        self._words = _words(language)
        last = session.rounds[-1].dispute if session.rounds else None
        shown = (_view_of(session.form.side_a), _view_of(session.form.side_b))
        # Half a page of views is worth less than the whole ones of the last round.
        self._views = shown if all(shown) or last is None else (last.view_a, last.view_b)
        self._names = (
            session.form.side_a.label or (last.view_a.label if last else "") or self._say("side", letter="A"),
            session.form.side_b.label or (last.view_b.label if last else "") or self._say("side", letter="B"),
        )

    def content(self) -> Content:
        session = self._session
        options, others, note = self._chosen()
        first = [(self._say("option", number=number), *place) for number, place in enumerate(options, 1)]
        then = [(self._origin(*place), *place) for place in others]
        everything, history = (*first, *then), self._parts.history
        summary = session.form.summary.strip()
        if not summary and session.rounds:
            summary = session.rounds[-1].dispute.summary
        return Content(
            language=self._language,
            words=self._words,
            title=session.title or self._say("untitled"),
            as_of=self._say("as_of", **self._when(session.updated_at)),
            sides=self._sides(*self._views),
            summary=summary,
            options=tuple(self._option(*entry) for entry in first),
            options_note=note,
            others=tuple(self._option(*entry) for entry in then),
            trail=tuple(self._step(entry) for entry in session.rounds) if history else (),
            audits=tuple(self._audits()) if self._parts.audit else (),
            histories=tuple(
                self._history(title, proposal) for title, _, proposal in everything if proposal.edits and history
            ),
            earlier_views=self._earlier_views([entry for _, entry, _ in everything]) if history else (),
            origins=tuple(self._origins(any(proposal.edited for _, _, proposal in everything))),
        )

    def _chosen(self) -> tuple[list[_Place], list[_Place], str]:
        """Return what the page is about, what else is on it, and a remark on the first.

        The first are the proposals that were kept; if none was, the selected ones of the last round that has some.
        """
        rounds = self._session.rounds
        marked = [(entry, proposal) for entry in rounds for proposal in (*entry.selected, *entry.rest)]
        main = [(entry, proposal) for entry, proposal in marked if proposal.mark == "kept"]
        note = self._say("kept_note") if len(main) > 1 else ""
        if not self._parts.with_others(len(main)):
            return main, [], note if main else self._say("none_kept")
        if not main:
            note = self._say("no_proposals")
            for entry in reversed(rounds):
                if main := [(entry, proposal) for proposal in entry.selected if proposal.mark != "dropped"]:
                    note = self._say("selected_note", round=entry.number)
                    break
        known = {proposal.id for _, proposal in main}
        others = [
            (entry, proposal)
            for entry, proposal in marked
            if proposal.id not in known and not proposal.mark and self._was_looked_at(proposal)
        ]
        return main, others, note

    def _was_looked_at(self, proposal: Proposal) -> bool:
        return proposal.rank is not None or bool(proposal.edits) or (bool(proposal.ratings) and self._parts.ratings)

    def _option(self, title: str, entry: Round, proposal: Proposal) -> Option:
        origin = self._origin(entry, proposal)
        about = [origin] if origin != title and self._parts.history else []
        if proposal.edited:
            about.append(self._say("edited"))
        scores = proposal.current.scores
        bars = self._bars(scores)
        notes = [self._say("not_measured" if scores is None else "only_english")] if bars is None else []
        if bars is not None and self._changed_since(entry):
            # Without the history no round is on the page, nor its views.
            key = "earlier_views" if self._parts.history else "earlier_views_unseen"
            notes.append(self._say(key, round=entry.number))
        return Option(
            wording=Wording(title, proposal.current.text, bars),
            origin=", ".join(about),
            notes=tuple(notes),
            ratings=tuple(self._rating(rating) for rating in proposal.ratings) if self._parts.ratings else (),
        )

    def _origin(self, entry: Round, proposal: Proposal) -> str:
        if proposal.rank is None:
            return self._say("unranked", round=entry.number)
        return self._say("from_round", round=entry.number, number=proposal.rank)

    def _rating(self, rating: Rating) -> tuple[str, str, str]:
        name = {"a": self._names[0], "b": self._names[1]}.get(rating.rater, rating.rater)
        words = self._say(f"rating_{rating.value}")
        return name, self._say("rating", value=rating.value, words=words), rating.note

    def _bars(self, scores: Scores | None) -> Bars | None:
        if scores is None or not scores.measured:
            return None
        name = {"a": self._names[0], "b": self._names[1]}
        tilt, warmth = tilt_kind(scores), warmth_kind(scores)
        tilt_key = tilt.removesuffix("_a").removesuffix("_b")
        warmth_key = "far" if warmth in ("far_a", "far_b") else warmth
        words = self._say(
            "words",
            tilt=self._say(f"tilt_{tilt_key}", side=name.get(tilt[-1], "")),
            warmth=self._say(f"warmth_{warmth_key}", side=name.get(warmth[-1], "")),
        )
        errors = (scores.score_error_a, scores.score_error_b)
        error_a, error_b = (None if error is None else round(100 * error) for error in errors)
        return Bars(round(100 * scores.score_a), round(100 * scores.score_b), words, error_a, error_b)

    def _history(self, title: str, proposal: Proposal) -> tuple[str, tuple[Wording, ...]]:
        wordings = [
            Wording(self._say("writers_wording"), proposal.candidate.text, self._bars(proposal.candidate.scores))
        ]
        for number, edit in enumerate(proposal.edits, 1):
            heading = self._say("edit", number=number, **self._when(edit.made_at))
            wordings.append(Wording(heading, edit.text, self._bars(edit.scores)))
        return title, tuple(wordings)

    def _step(self, entry: Round) -> Step:
        when = self._when(entry.started_at)
        state = "" if entry.state == "done" else f" ({self._say(f'round_state_{entry.state}')})"
        heading = f"{self._say('round', number=entry.number)}, {when['date']}, {when['time']}{state}"
        lines = []
        if entry.comment.strip():
            lines.append(self._say("comment", comment=entry.comment.strip()))
        if entry.like is not None and (found := self._place(entry.like)):
            lines.append(self._say("like", number=found[1].rank or "–", round=found[0].number))
        lines.append(self._say("written", count=len(entry.proposals), selected=len(entry.selected)))
        return Step(heading, tuple(lines))

    def _audits(self) -> Iterator[str]:
        """Say what the latest audit of each round found, and the latest of those of no round."""
        latest = {audit.round_id: audit for audit in self._session.audits}
        numbers = {entry.id: entry.number for entry in self._session.rounds}
        for round_id, audit in sorted(latest.items(), key=lambda item: numbers.get(item[0] or "", 0)):
            found = self._say(f"audit_{audit.finding}", number=self._hundredths(abs(audit.position_bias)))
            if audit.finding in ("same_scores", "favours_first", "favours_second"):
                by_chance = "" if audit.chance is None else self._hundredths(audit.chance)
                found += " " + self._say("audit_chance" if by_chance else "audit_chance_unknown", error=by_chance)
            number = numbers.get(round_id or "")
            yield found if number is None else f"{self._say('round', number=number)}: {found}"

    def _hundredths(self, value: float) -> str:
        return f"{value:.2f}".replace(".", self._words["decimal_point"])

    def _place(self, proposal_id: str) -> _Place | None:
        everything = ((entry, proposal) for entry in self._session.rounds for proposal in entry.proposals)
        return next((place for place in everything if place[1].id == proposal_id), None)

    def _origins(self, edited: bool) -> Iterator[str]:
        by_writer: dict[str, list[int]] = {}
        for entry in self._session.rounds:
            by_writer.setdefault(entry.model, []).append(entry.number)
        for model, numbers in by_writer.items():
            listed = ", ".join(map(str, numbers))
            rounds = self._say(f"rounds.{'one' if len(numbers) == 1 else 'other'}", list=listed)
            try:
                choice = parse_model(model)
            except EvenhandError:
                writer = self._say("writer_unknown", name=model)
                yield self._say("origin_unknown", rounds=rounds, writer=writer)
                continue
            key = "origin_here" if choice.destination is None else "origin_away"
            yield self._say(key, rounds=rounds, writer=self._writer(choice), host=choice.destination)
        if by_writer:
            yield self._say("origin_scores")
        if edited:
            yield self._say("origin_edits")

    def _writer(self, choice: ModelChoice) -> str:
        if choice.kind in ("drafter", "bundled"):
            return self._say(f"writer_{choice.kind}")
        # Folders say more about this computer than anybody at the table should know.
        name = PureWindowsPath(PurePosixPath(choice.model).name).name if choice.kind in ("gguf", "hf") else choice.model
        if choice.kind == "claude":
            return self._say("writer_claude", name=name) if name else "Claude"
        return self._say("writer_model", name=name)

    def _sides(self, view_a: View | None, view_b: View | None) -> tuple[Side, Side]:
        return self._side("A", 0, view_a), self._side("B", 1, view_b)

    def _side(self, letter: str, index: int, view: View | None) -> Side:
        if view is None:
            return Side(letter, self._names[index], (("", self._say("nothing_written")),), ())
        if view.text:
            parts: tuple[tuple[str, str], ...] = (("", view.text),)
        else:
            fields = (("place", view.place), ("reason", view.reason), ("suggestion", view.suggestion))
            parts = tuple((self._say(key), text) for key, text in fields if text)
        about = tuple((name, value) for name, value in view.demographics.items() if value.strip())
        return Side(letter, self._names[index], parts, about)

    def _changed_since(self, entry: Round) -> bool:
        then = (entry.dispute.view_a, entry.dispute.view_b)
        return any(
            now is not None and now.as_text() != before.as_text() for now, before in zip(self._views, then, strict=True)
        )

    def _earlier_views(self, shown: Sequence[Round]) -> tuple[tuple[str, tuple[Side, Side]], ...]:
        """Return the views that were changed since, those that several rounds have in common only once."""
        changed = {entry.number: entry.dispute for entry in shown if self._changed_since(entry)}
        rounds_with: dict[tuple[Side, Side], list[int]] = {}
        for number in sorted(changed):
            sides = self._sides(changed[number].view_a, changed[number].view_b)
            rounds_with.setdefault(sides, []).append(number)
        return tuple((self._views_heading(numbers), sides) for sides, numbers in rounds_with.items())

    def _views_heading(self, numbers: list[int]) -> str:
        first, last = numbers[0], numbers[-1]
        if first == last:
            return self._say("views_of_round", round=first)
        if len(numbers) > 2 and numbers == list(range(first, last + 1)):
            return self._say("views_of_rounds_to", first=first, last=last)
        return self._say("views_of_rounds", rounds=", ".join(map(str, numbers[:-1])), last=last)

    def _when(self, time: datetime) -> dict[str, str]:
        here = time.astimezone()
        date = self._say("date", day=here.day, month=self._words["months"][here.month - 1], year=here.year)
        return {"date": date, "time": self._say("time", hour=f"{here.hour:02}", minute=f"{here.minute:02}")}

    def _say(self, key: str, **values: object) -> str:
        text: str = self._words[key]
        return text.format(**values)


def _view_of(form: SideForm) -> View | None:
    """Return what is typed in the form that is shown, or None if that is nothing."""
    texts = {"text": form.text} if form.form == "text" else form.model_dump(include={"place", "reason", "suggestion"})
    if not any(text.strip() for text in texts.values()):
        return None
    return View(label=form.label, demographics=form.demographics, **texts)
