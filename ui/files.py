"""Files in and out of the page, none on the server: the browser saves texts, and reads the files it is given."""

import json
import secrets
from html import escape
from typing import TYPE_CHECKING

from ui.strings import LANGUAGES, catalogue, decimal, say

if TYPE_CHECKING:
    import gradio

_PROBLEMS = ("too_large", "not_text", "unreadable")

# The value is data for this script and never becomes HTML: the template does not hold it. A nonce keeps a value that
# comes twice (a page that is drawn again) from being saved twice.
_SAVE = """
let last = "";
const save = () => {
  if (!props.value) return;
  const file = JSON.parse(props.value);
  props.value = "";
  if (file.nonce === last) return;
  last = file.nonce;
  const address = URL.createObjectURL(new Blob([file.text], { type: `${file.mime};charset=utf-8` }));
  const link = document.createElement("a");
  link.href = address;
  link.download = file.name;
  link.hidden = true;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
};
watch("value", save);
save();
"""

# The language is chosen here as Gradio chooses it for its own components: by the browser's first one.
_PICK = """
const words = __WORDS__;
const language = (navigator.language || "").toLowerCase().split("-")[0];
const say = words[language] || words.en;
const button = element.querySelector("button");
const input = element.querySelector("input");
button.textContent = say.label;
button.disabled = false;
button.addEventListener("click", () => input.click());
const report = (problem, name) => trigger("picked", { error: say[problem].replace("{name}", () => name) });
const decode = (bytes) => {
  const start = new Uint8Array(bytes.slice(0, 2));
  const two = start[0] * 256 + start[1];
  const encoding = two === 0xfffe ? "utf-16le" : two === 0xfeff ? "utf-16be" : "utf-8";
  const text = new TextDecoder(encoding, { fatal: true }).decode(bytes);
  if (text.includes("\\u0000")) throw new TypeError("binary");
  return text;
};
input.addEventListener("change", () => {
  const file = input.files[0];
  if (!file) return;
  input.value = "";  // so that the same file can be chosen again
  if (file.size > __LARGEST__) return report("too_large", file.name);
  const reader = new FileReader();
  reader.onerror = () => report("unreadable", file.name);
  reader.onload = () => {
    let text;
    try { text = decode(reader.result); } catch { return report("not_text", file.name); }
    trigger("picked", { name: file.name, text });
  };
  reader.readAsArrayBuffer(file);
});
"""


def download_slot() -> "gradio.HTML":
    """An unseen component. Set to the string of `file_payload`, it makes the browser save that file, once."""
    import gradio as gr

    return gr.HTML("", html_template="", js_on_load=_SAVE, visible="hidden", apply_default_css=False)


def file_payload(name: str, mime: str, text: str) -> str:
    """Return the value that makes a `download_slot` save a file.

    Args:
        name: of the file, without a folder; the browser replaces what its system does not allow.
        mime: such as ``text/html``; the text is saved as UTF-8.
        text: the content.
    """
    payload = json.dumps({"nonce": secrets.token_hex(8), "name": name, "mime": mime, "text": text})
    return payload.replace("<", "\\u003c")  # Gradio looks for tags in all that a component is given


def file_picker(label_key: str, accept: str, largest_bytes: int, elem_id: str) -> "gradio.HTML":
    """A button that lets the user choose a text file, which the browser reads and hands over.

    Its event ``picked`` has as ``evt._data`` (`gradio.EventData`) ``{"name": str, "text": str}``, or ``{"error": str}``
    with a sentence in the language of the browser: the file is too large, is no text, or cannot be read. The text is
    what UTF-8 bytes say, or UTF-16 ones with a byte order mark; the mark itself is not part of it. **Neither name nor
    size may be trusted**: whoever talks to the server without the page can send anything.

    Args:
        label_key: key of the button's text in the catalogue.
        accept: what the browser offers, e.g. ``.yaml,.yml,.json``.
        largest_bytes: of the file; a larger one is not read.
        elem_id: id of the component; the button's is ``<elem_id>-button``.
    """
    import gradio as gr

    limit = f"{largest_bytes / 1_000_000:g} MB" if largest_bytes >= 1_000_000 else f"{largest_bytes / 1_000:g} kB"
    words = {
        language: {"label": say(language, label_key)}
        | {
            problem: catalogue(language)[f"files.{problem}"].replace("{limit}", decimal(language, limit))
            for problem in _PROBLEMS
        }
        for language in LANGUAGES
    }
    label = escape(say("en", label_key))
    return gr.HTML(
        # The script enables it: before, a press would do nothing.
        f'<button type="button" class="eh-button" id="{escape(elem_id)}-button" disabled>{label}</button>'
        f'<input type="file" accept="{escape(accept)}" hidden>',
        js_on_load=_PICK.replace("__WORDS__", json.dumps(words)).replace("__LARGEST__", str(int(largest_bytes))),
        elem_id=elem_id,
        apply_default_css=False,
    )
