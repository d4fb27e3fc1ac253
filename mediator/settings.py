"""Where Evenhand keeps its files, and what it reads from the environment: folders and defaults."""

import os
from pathlib import Path

import platformdirs

from mediator.keys import without_keys as without_keys  # the rest of the package has it from here

APPLICATION = "evenhand"

DATA_FOLDER_VARIABLE = "EVENHAND_DATA_FOLDER"
CACHE_FOLDER_VARIABLE = "EVENHAND_CACHE_FOLDER"
LOG_FOLDER_VARIABLE = "EVENHAND_LOG_FOLDER"
MODEL_VARIABLE = "EVENHAND_MODEL"
ENCODER_VARIABLE = "EVENHAND_ENCODER"


def data_folder() -> Path:
    """The folder of what must not be lost: ``EVENHAND_DATA_FOLDER``, else the platform's place. Not created here."""
    return _folder(DATA_FOLDER_VARIABLE, platformdirs.user_data_dir(APPLICATION, appauthor=False))


def cache_folder() -> Path:
    """The folder of what can be had again: ``EVENHAND_CACHE_FOLDER``, else the platform's place. Not created here."""
    return _folder(CACHE_FOLDER_VARIABLE, platformdirs.user_cache_dir(APPLICATION, appauthor=False))


def log_folder() -> Path:
    """The folder of the log: ``EVENHAND_LOG_FOLDER``, else the platform's place. Not created here."""
    return _folder(LOG_FOLDER_VARIABLE, platformdirs.user_log_dir(APPLICATION, appauthor=False))


def default_model() -> str:
    """The model that writes when none is named: ``EVENHAND_MODEL``, else the drafter."""
    return os.environ.get(MODEL_VARIABLE, "").strip() or "drafter"


def default_encoder() -> str:
    """The encoder that scores when none is named: ``EVENHAND_ENCODER``, else the bundled one."""
    return os.environ.get(ENCODER_VARIABLE, "").strip() or "bundled"


def models_folder() -> Path:
    """The folder of downloaded models, below `data_folder`. Not created here."""
    return data_folder() / "models"


def user_path(named: str | Path) -> Path:
    """Return a path as a user writes it, ``~`` resolved. An unknown ``~name`` stays: there is just no such file."""
    return Path(os.path.expanduser(named))  # `Path.expanduser` would raise RuntimeError for it


def _folder(variable: str, otherwise: str) -> Path:
    named = os.environ.get(variable, "").strip()
    return user_path(named) if named else Path(otherwise)
