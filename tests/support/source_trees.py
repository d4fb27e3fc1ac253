"""The sources of the packages as syntax trees, with what names mean in each file: for tests that read the code."""

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("mediator", "ui", "trainer")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Module:
    """A source file with what names mean in it."""

    path: str
    nodes: list[ast.AST] = field(default_factory=list)
    within: dict[ast.AST, Function] = field(default_factory=dict)
    """The innermost function around a name or a call."""
    assigned: dict[tuple[Function | None, str], list[ast.expr]] = field(default_factory=dict)
    added: dict[tuple[Function | None, str], list[ast.expr]] = field(default_factory=dict)
    """What is assigned to names, and what is added to them, by the function around."""
    calls: dict[str, list[ast.Call]] = field(default_factory=dict)
    """By the last name of what is called."""
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    classes: list[ast.ClassDef] = field(default_factory=list)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Names that come ``from package.module import name``."""
    texts: list[str] = field(default_factory=list)
    """Every string, with ``⟦⟧`` at its places."""

    def take(self, node: ast.AST, function: Function | None) -> None:
        """Note what a node says, and go on to its children."""
        self.nodes.append(node)
        if function is not None:
            self.within[node] = function
        match node:
            case ast.Call():
                self.calls.setdefault(last_name(node.func), []).append(node)
            case ast.Constant(value=str(text)):
                self.texts.append(text)
            case ast.JoinedStr(values=parts):
                self.texts.append("".join(str(one.value) if isinstance(one, ast.Constant) else "⟦⟧" for one in parts))
            case ast.ClassDef():
                self.classes.append(node)
            case ast.ImportFrom(module=str(source), names=names):
                self.imports |= {name.asname or name.name: (source, name.name) for name in names}
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    names_of = target.elts if isinstance(target, ast.Tuple) else [target]
                    values = value.elts if isinstance(value, ast.Tuple) and len(names_of) > 1 else [value]
                    if len(names_of) == len(values):
                        self._assign(function, zip(names_of, values, strict=True))
            case ast.NamedExpr(target=target, value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(function, [(target, value)])
            case ast.AugAssign(target=ast.Name(id=name), value=value):
                self.added.setdefault((function, name), []).append(value)
            case ast.FunctionDef(name=name):
                self.functions[name] = node
        inside = node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        for child in ast.iter_child_nodes(node):
            self.take(child, inside)

    def _assign(self, function: Function | None, pairs: Iterable[tuple[ast.expr, ast.expr]]) -> None:
        for target, value in pairs:
            if isinstance(target, ast.Name):
                self.assigned.setdefault((function, target.id), []).append(value)


@cache
def modules() -> dict[str, Module]:
    """Return all source files of the packages by their dotted names."""
    found: dict[str, Module] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            relative = path.relative_to(ROOT)
            module = Module(relative.as_posix())
            module.take(ast.parse(path.read_text(encoding="utf-8")), None)
            found[".".join(relative.with_suffix("").parts).removesuffix(".__init__")] = module
    return found


@cache
def every_text() -> str:
    """Return every string of the sources, one after the other, with ``⟦⟧`` at its places."""
    return "\n".join(text for module in modules().values() for text in module.texts)


def last_name(node: ast.expr) -> str:
    """Return ``name`` of ``name`` and of ``any.thing.name``; nothing of anything else."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
