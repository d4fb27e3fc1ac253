"""The preference model: how many people would agree with a statement, learned from few votes on each."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.preference.recipe import encoded, fit, head_of, objective, save_head, train

__all__ = ["encoded", "fit", "head_of", "objective", "save_head", "train"]


def __getattr__(name: str) -> Any:
    # Only when it is asked for: the settings beside it are read by `--help`, which waits for nothing.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trainer.preference import recipe

    return getattr(recipe, name)
