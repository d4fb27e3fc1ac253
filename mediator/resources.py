"""Where the read-only files that ship with Evenhand (assets/) lie, in a source tree and in an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
ASSETS = _PACKAGE / "assets" if (_PACKAGE / "assets").is_dir() else _PACKAGE.parent / "assets"


def asset(*parts: str) -> Path:
    """Return the path of a shipped file, e.g. ``asset("prompts", "single.txt")``."""
    return ASSETS.joinpath(*parts)
