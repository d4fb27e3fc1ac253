"""Values that claim to be files: the page sends none, and Gradio would copy or fetch what they name."""

import json
from typing import Any

_KEY, _CLAIM = "_type", "gradio.FileData"


def claims_file(body: bytes) -> bool:
    """Whether a JSON body has an object that Gradio would take for a file; also for what cannot be told.

    Only an object counts: whoever writes about Gradio in a text field may do so.
    """
    if b"\0" in body:  # UTF-16, which Python's JSON reads too
        return True
    # The words can only be hidden by escapes, which browsers do not use for them: most bodies are not read twice.
    if _CLAIM.encode() not in body and b"\\u" not in body:
        return False
    claims = 0

    def see(pairs: list[tuple[str, Any]]) -> None:
        nonlocal claims
        claims += (_KEY, _CLAIM) in pairs

    try:
        json.loads(body, object_pairs_hook=see)
    except (ValueError, RecursionError):
        return True
    return claims > 0
