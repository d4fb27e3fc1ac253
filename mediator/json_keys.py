"""JSON whose objects may name no key twice: Python's reader keeps the last value and says nothing."""

import json
from typing import Any


def read_json_noting_repeats(text: str) -> tuple[Any, list[str]]:
    """Return the value of a JSON text and the keys that stand in one object a second time, in their order.

    Raises what `json.loads` raises: `json.JSONDecodeError`, `RecursionError`, `ValueError` for a number too long.
    """
    repeated: list[str] = []

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in pairs:
            if key in made:
                repeated.append(key)
            made[key] = value
        return made

    return json.loads(text, object_pairs_hook=mapping), repeated
