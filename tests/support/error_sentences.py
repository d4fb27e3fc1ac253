"""The sentences of errors as the sources can say them: each message and hint, read from the syntax trees.

A sentence is a row of literal texts and holes; what can stand in a hole is looked up where it is words of the sources
too (``reason = "it is empty"``), so that each of them can be asked for in another language.
"""

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import prod

from tests.support.source_trees import Function, Module, last_name, modules

SAID: dict[str, tuple[int | str, ...]] = {
    "Failure": (0, 1),
    "ended": (2, 3),
    "unable": (1,),
    "_note_end": (1,),
    "_replace": ("message",),
    "Outcome": ("problem",),
    "OwnModels": ("notice",),
    "kind": (0, 1),  # mediator.store_errors: one of two classes of errors
}
"""Besides the errors: what is called with sentences for the page, and the places or names of its arguments."""

WITHIN = {
    "_Damaged": (0, "⟦file⟧ is damaged: {}."),
    "_Lost": (0, "⟦host⟧ {}, 3 times in a row."),
    "Problem": (2, "⟦file⟧, line 3: `⟦field⟧` {}."),
    "ValueError": (0, "⟦form⟧: {}."),
}
"""What carries a part of a sentence to where it becomes one: the place of the argument, and that sentence.
`ValueError` only where pydantic passes it on."""

_CHECKS_SETTINGS = "trainer/alignment/config.py"

RETURNED = {
    "_stopped_words": "{}",
    "_obituary": "{}",
    "affordable_precision": "{}",
    "words_of": "⟦file⟧, line 3: `⟦field⟧` {}.",
}
"""Functions whose results are sentences for the page, or parts of such; of a pair, its second half."""

NOTED = ("notes", "left_out", "_REASONS")
"""Names under which remarks for the page are gathered."""

_KEYS = ("message", "hint", "failed")  # of dictionaries that become an error, or a run's status
_DEEPEST = 5
_MOST_FORMS = 16

Form = tuple["str | Hole", ...]


@dataclass(frozen=True)
class Hole:
    """A place of a sentence, with the words of the sources that can stand there."""

    name: str
    forms: tuple[Form, ...] = ()


@dataclass(frozen=True)
class Sentence:
    """A message or a hint.

    Attributes:
        where: ``file:line``.
        text: with ``{names}`` at its places, to be read by people.
        instances: as it can be said, samples such as ``⟦name⟧`` in the places; each with the words of the sources that
            stand in one of its places, if any.
    """

    where: str
    text: str
    instances: tuple[tuple[str, tuple[str, ...]], ...]


@cache
def error_names() -> frozenset[str]:
    """Return the names of all classes of errors that carry a sentence."""
    names, before = {"EvenhandError"}, 0
    while len(names) != before:
        before = len(names)
        for module in modules().values():
            names |= {one.name for one in module.classes if {last_name(base) for base in one.bases} & names}
    return frozenset(names)


def sentences(exempt: Iterable[str] = ()) -> list[Sentence]:
    """Return each sentence that an error can say, of all files but those whose paths begin with one of ``exempt``."""
    left_out = tuple(exempt)
    files = [module for module in modules().values() if not left_out or not module.path.startswith(left_out)]
    return [sentence for module in files for sentence in _reader(module.path).sentences()]


class _Reader:
    """Reads the sentences of one file."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._is_page = module.path.startswith("ui/")  # which words what it gathers by itself

    def sentences(self) -> Iterator[Sentence]:
        """Yield the sentences of the file."""
        for node in self._module.nodes:
            for expression, frame in self._said_by(node):
                yield from self._of(expression, frame)

    def _said_by(self, node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
        match node:
            case ast.Call():
                yield from self._said_by_call(node)
            case ast.Dict(keys=keys, values=values) if not self._is_page:
                named = (isinstance(key, ast.Constant) and key.value in _KEYS for key in keys)
                yield from ((value, "{}") for value, wanted in zip(values, named, strict=True) if wanted)
            case ast.FunctionDef(name=name) if name in RETURNED:
                for each in ast.walk(node):
                    if isinstance(each, ast.Return) and each.value is not None:
                        yield each.value.elts[1] if isinstance(each.value, ast.Tuple) else each.value, RETURNED[name]
            case ast.Assign(targets=[ast.Attribute(attr="message" | "hint")], value=value) if not isinstance(
                value, ast.Name
            ):
                yield value, "{}"
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in NOTED and not self._is_page:
                every = value.values if isinstance(value, ast.Dict) else [getattr(value, "elt", value)]
                yield from ((one, "{}") for one in every)

    def _said_by_call(self, node: ast.Call) -> Iterator[tuple[ast.expr, str]]:
        called = last_name(node.func)
        wanted: Sequence[int | str] = SAID.get(called, ())
        frame = "{}"
        if called in error_names():
            wanted = (0, 1, "message", "hint")
        elif called == "__init__" and last_name(self._base_of(node)) in error_names():
            wanted = (0, 1)
        elif called == "append" and isinstance(node.func, ast.Attribute) and not self._is_page:
            if last_name(node.func.value) in NOTED:
                wanted = (0,)
        elif called in WITHIN and (called != "ValueError" or self._module.path == _CHECKS_SETTINGS):
            place, frame = WITHIN[called]
            wanted = (place,)
        for one in wanted:
            if isinstance(one, int) and one < len(node.args):
                yield node.args[one], frame
            yield from ((word.value, frame) for word in node.keywords if word.arg == one)

    def _base_of(self, node: ast.Call) -> ast.expr:
        for each in self._module.classes:
            if each.bases and any(one is node for one in ast.walk(each)):
                return each.bases[0]
        return ast.Constant(None)

    def _of(self, expression: ast.expr, frame: str = "{}") -> Iterator[Sentence]:
        where = f"{self._module.path}:{expression.lineno}"
        for form in self.forms(expression):
            in_words = any(isinstance(part, str) and part.strip(" .:,()") for part in form)
            last = form[-1] if isinstance(form[-1], Hole) else form[-2:][0]
            if in_words or (isinstance(last, Hole) and last.forms):  # else nothing but places, with nothing known
                instances = ((frame.replace("{}", text), words) for text, words in _instances(form))
                yield Sentence(where, _readable(form), tuple(instances))

    def forms(self, node: ast.expr, depth: int = 0) -> list[Form]:
        """Return the forms that an expression can have; none where it is not words of the sources."""
        if depth > _DEEPEST:
            return []
        match node:
            case ast.Constant(value=str(text)):
                return [(text,)] if text else []
            case ast.JoinedStr():
                return self._joined(node, depth)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                sides = (self.forms(left, depth + 1), self.forms(right, depth + 1))
                return [one + other for one, other in product(*(side or [(Hole("more"),)] for side in sides))]
            case ast.IfExp(body=body, orelse=other):
                return self.forms(body, depth) + self.forms(other, depth)
            case ast.BoolOp(values=values):
                return [form for value in values for form in self.forms(value, depth)]
            case ast.Name(id=name):
                return self._of_name(node, name, depth)
            case ast.Call():
                return self._of_call(node, depth)
            case ast.Subscript(value=ast.Dict(values=values)):
                return [form for value in values for form in self.forms(value, depth + 1)]
            case ast.Attribute(value=ast.Name(id="work"), attr="name" | "again" as part):
                return self._of_work(part)
            case ast.Attribute(attr=name) if name.endswith("_hint"):
                return _of_keyword(name, depth + 1)
        return []

    def _joined(self, node: ast.JoinedStr, depth: int) -> list[Form]:
        """A text in a hole that has two fixed forms makes two forms of the whole: "line is", "lines are"."""
        forms: list[Form] = [()]
        for part in node.values:
            if isinstance(part, ast.Constant):
                forms = [(*form, str(part.value)) for form in forms]
                continue
            assert isinstance(part, ast.FormattedValue)
            within = self.forms(part.value, depth + 1)
            fixed = [one for one in within if all(isinstance(text, str) for text in one)]
            two = isinstance(part.value, ast.IfExp) or ast.unparse(part.value) == "work.name"
            if two and within == fixed and len(fixed) == 2:
                forms = [(*form, *one) for form in forms for one in fixed]
            else:
                forms = [(*form, Hole(_name(part.value), tuple(within))) for form in forms]
        return forms

    def _of_name(self, node: ast.expr, name: str, depth: int) -> list[Form]:
        module = self._module
        function = module.within.get(node)
        found: list[Form] = []
        if function is not None:
            found += [
                form for value in module.assigned.get((function, name), ()) for form in self.forms(value, depth + 1)
            ]
            added = [form for value in module.added.get((function, name), ()) for form in self.forms(value, depth + 1)]
            found += [one + other for one in found for other in added]
            arguments = function.args
            parameters = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
            if not found and name in (*parameters, *(one.arg for one in arguments.kwonlyargs)):
                return self._of_parameter(function, name, parameters, depth)
        if not found:
            found = [form for value in module.assigned.get((None, name), ()) for form in self.forms(value, depth + 1)]
        if not found and name in module.imports:
            source, other = module.imports[name]
            if source in modules():
                values = modules()[source].assigned.get((None, other), ())
                reader = _reader(modules()[source].path)
                found = [form for value in values for form in reader.forms(value, depth + 1)]
        return found

    def _of_parameter(self, function: Function, name: str, parameters: list[str], depth: int) -> list[Form]:
        """Look at what the function is called with, in its own file and in those that import it."""
        at = parameters.index(name) - (parameters[0] in ("self", "cls")) if name in parameters else None
        found: list[Form] = []
        for module in modules().values():
            if module is not self._module and function.name not in module.imports:
                continue
            reader = _reader(module.path)
            for call in module.calls.get(function.name, ()):
                given = [word.value for word in call.keywords if word.arg == name]
                given += call.args[at : at + 1] if at is not None else []
                for value in given:
                    found += [form for form in reader.forms(value, depth + 1) if form not in found]
        return found

    def _of_call(self, node: ast.Call, depth: int) -> list[Form]:
        name = last_name(node.func)
        if name == "get" and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Dict):
            return [form for value in node.func.value.values for form in self.forms(value, depth + 1)]
        source, module, function = self, self._module, self._module.functions.get(name)
        if function is None and name in self._module.imports:
            named, other = self._module.imports[name]
            if named in modules():
                module = modules()[named]
                function, source = module.functions.get(other), _reader(module.path)
        if function is None or function.returns is None or ast.unparse(function.returns) != "str":
            return []
        returned = [one.value for one in ast.walk(function) if isinstance(one, ast.Return) and one.value is not None]
        return [form for value in returned for form in source.forms(value, depth + 1)]

    def _of_work(self, part: str) -> list[Form]:
        """What a process worked on (`trainer.runs.failures.Work`): its name, or how to have it done after all."""
        works = [
            value
            for module in modules().values()
            for values in module.assigned.values()
            for value in values
            if isinstance(value, ast.Call) and last_name(value.func) == "Work"
        ]
        return [form for work in works for form in self.forms(work.args[0 if part == "name" else 1])]


@cache
def _reader(path: str) -> _Reader:
    return _Reader(next(module for module in modules().values() if module.path == path))


@cache
def _of_keyword(name: str, depth: int) -> list[Form]:
    """Return what is given under a keyword anywhere: ``Remote(key_hint="…")``."""
    return [
        form
        for module in modules().values()
        for calls in module.calls.values()
        for call in calls
        for word in call.keywords
        if word.arg == name
        for form in _reader(module.path).forms(word.value, depth)
    ]


def _instances(form: Form) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield a form with something in each of its places, and which of it are words of the sources.

    Where such words can stand, each of them does once; a sample where nothing is known but a name or a number.
    """
    choices: list[list[tuple[str, tuple[str, ...]]]] = []
    for at, part in enumerate(form):
        if isinstance(part, str):
            choices.append([(part, ())])
            continue
        in_words = any(isinstance(text, str) and " " in text.strip() for one in part.forms for text in one)
        worded = part.forms if in_words else ()
        known = [(text, (text, *words)) for one in worded for text, words in _instances(one)]
        choices.append(known or [(f"⟦{part.name}{at}⟧", ())])
    many = prod(map(len, choices)) > _MOST_FORMS
    turns = ([options[turn % len(options)] for options in choices] for turn in range(max(map(len, choices))))
    for chosen in turns if many else product(*choices):
        yield "".join(text for text, _ in chosen), tuple(word for _, words in chosen for word in words)


def _readable(form: Form) -> str:
    return "".join(part if isinstance(part, str) else f"{{{part.name}}}" for part in form)


def _name(node: ast.expr) -> str:
    names = [last_name(one) for one in ast.walk(node) if isinstance(one, ast.Name | ast.Attribute)]
    return next((name.strip("_") for name in names if name not in ("self", "str", "len", "gigabytes")), "place")
