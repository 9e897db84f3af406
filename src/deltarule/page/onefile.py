"""The view as one text: for a file that opens from disk, and for a notebook's cell.

A page from disk may not import modules, and a notebook takes one. So each module of `view/` becomes a function that
is called once, after those that it imports, and hands over what it exports::

    import { a } from "./x.js";          const view_y = (() => {
    export function b() { ... }          const { a } = view_x;
                                         function b() { ... }
                                         return { b };
                                         })();

Names stay within their module. What another kind of script sets on `globalThis`, as D3's does, is seen by the module
that imports it and by no one else: a notebook keeps its own D3.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

VIEW = Path(__file__).parent / "view"

IMPORT = re.compile(r"""^import\s*(?:(?P<what>[\w$*{},\s]+?)\s*from\s*)?["'](?P<path>[^"']+)["'];?""", re.MULTILINE)
DECLARED = re.compile(
    r"^export\s+(?=(?:const|let|class|(?:async\s+)?function\s*\*?)\s*(?:(?P<name>[\w$]+)|\{(?P<names>[^}]*)\}))",
    re.MULTILINE,
)
LISTED = re.compile(r"^export\s*\{(?P<names>[^}]*)\};?", re.MULTILINE)
LEFT = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)

START = """
const scene = JSON.parse(document.querySelector('script[type="application/json"]').textContent);
view_explore_js.mount(document.querySelector("main"), view_file_door_js.fileDoor(scene));
"""

WIDGET = """
export default {
  render({ model, el }) {
    const door = view_notebook_door_js.notebookDoor(model);
    const end = view_explore_js.mount(el, door);
    return () => {
      if (typeof end === "function") end();
      door.close();
    };
  },
};
"""


def file_of(scene: dict[str, Any]) -> str:
    """A whole page that shows the scene, with all that it needs inside and leave to fetch nothing.

    Its policy names the one script and the one style sheet by their digests: no other code runs in it, whatever the
    scene's words are.
    """
    script = within_script(joined("explore.js", "file_door.js") + START)
    style = (VIEW / "page.css").read_text(encoding="utf-8")
    style = re.sub(r"<(?=/style)", r"\\3c ", style, flags=re.IGNORECASE)
    policy = (
        f"default-src 'none'; script-src '{digest(script)}'; style-src '{digest(style)}'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{html.escape(str(scene["title"]))} · deltarule</title>
<style>{style}</style>
</head>
<body>
<main><noscript>This report is drawn by JavaScript, which is switched off here.</noscript></main>
<script type="application/json">{data(scene)}</script>
<script type="module">{script}</script>
</body>
</html>
"""


def widget_module() -> str:
    """The view as the module that anywidget asks for."""
    return joined("explore.js", "notebook_door.js") + WIDGET


def data(scene: dict[str, Any]) -> str:
    """JSON that ends no script element and opens no comment, whatever stands in it.

    >>> data({"title": "</script><!--"})
    '{"title":"\\\\u003c/script>\\\\u003c!--"}'
    """
    text = json.dumps(scene, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")


def within_script(text: str) -> str:
    """A script's text without what would end its element early, or change how the rest is read.

    In strings, templates and regular expressions the replacement means the same.
    """
    text = re.sub(r"<(?=/script|!--)", r"\\x3c", text, flags=re.IGNORECASE)
    return text.replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")


def digest(text: str) -> str:
    """The name of an inline script or style in a Content-Security-Policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def joined(*entries: str) -> str:
    """The modules named and all that they import, in order of dependence, as one text."""
    order: list[str] = []
    for entry in entries:
        _visit(entry, (), order)
    return "".join(_as_function(name) for name in order)


def _visit(name: str, way: tuple[str, ...], order: list[str]) -> None:
    if name in way:
        raise ValueError(f"modules import each other in a circle: {' -> '.join((*way, name))}")
    if name not in order:
        for found in IMPORT.finditer(_source(name)):
            _visit(_imported(name, found), (*way, name), order)
        order.append(name)


def _source(name: str) -> str:
    return (VIEW / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _imported(name: str, found: re.Match[str]) -> str:
    path = found["path"]
    if not re.fullmatch(r"\./[\w.-]+", path):
        raise ValueError(f"{name} imports {path!r}; expected a module beside it, ./x.js")
    return path[2:]


def _constant(name: str) -> str:
    return "view_" + re.sub(r"\W", "_", name)


def _as_function(name: str) -> str:
    """One module as a constant: what it exports."""
    text = _source(name)
    if not LEFT.search(text):  # a script of the other kind: what it makes it sets on globalThis
        return (
            f"const {_constant(name)} = {{}};\n"
            f"(function (globalThis, self, exports, module, define) {{\n{text}\n}})({_constant(name)});\n"
        )
    exports: list[str] = []

    def bound(found: re.Match[str]) -> str:
        source, what = _constant(_imported(name, found)), found["what"]
        if what is None:
            return f"const globalThis = {source};" if not LEFT.search(_source(_imported(name, found))) else ""
        if star := re.fullmatch(r"\*\s*as\s+([\w$]+)", what):
            return f"const {star[1]} = {source};"
        if re.fullmatch(r"[\w$]+", what):
            return f"const {what} = {source}.default;"
        names = re.sub(r"([\w$]+)\s+as\s+([\w$]+)", r"\1: \2", what)
        return f"const {names} = {source};"

    def declared(found: re.Match[str]) -> str:
        exports.extend([found["name"]] if found["name"] else _bound_names(found["names"]))
        return ""

    def listed(found: re.Match[str]) -> str:
        for part in filter(None, (part.strip() for part in found["names"].split(","))):
            inner, _, outer = part.partition(" as ")
            exports.append(f"{outer.strip()}: {inner.strip()}" if outer else inner)
        return ""

    text = LISTED.sub(listed, DECLARED.sub(declared, IMPORT.sub(bound, text)))
    if left := LEFT.search(text):
        raise ValueError(f"{name}: {left[0]!r} cannot be joined; expected import ... from, or export before a name")
    return f"const {_constant(name)} = (() => {{\n{text}\nreturn {{ {', '.join(exports)} }};\n}})();\n"


def _bound_names(pattern: str) -> list[str]:
    """The names that a destructuring binds: of `a, b: c`, a and c."""
    return [part.partition(":")[2].strip() or part.strip() for part in pattern.split(",") if part.strip()]
