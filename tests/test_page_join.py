"""The view's modules joined into one text: what ran as modules runs as one, and nothing in it ends it early."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from deltarule.page import onefile

ROOT = Path(__file__).parent.parent
CAUGHT = "</script><script>document.title = 'caught'</script><!--<script>"


@pytest.fixture
def view(tmp_path, monkeypatch):
    """A function that takes modules by name in place of the view's, and joins the first."""

    def joined(**modules: str) -> str:
        for name, text in modules.items():
            (tmp_path / f"{name}.js").write_text(text, encoding="utf-8")
        return onefile.joined(f"{next(iter(modules))}.js")

    monkeypatch.setattr(onefile, "VIEW", tmp_path)
    onefile.joined.cache_clear()
    yield joined
    onefile.joined.cache_clear()


@pytest.fixture
def run(open_page, tmp_path):
    """A function that runs a text as a module in a page from disk, and gives what its last constant holds."""

    def ran(text: str, of: str) -> object:
        shown = f"document.body.dataset.found = JSON.stringify({of});"
        script = onefile.within_script(f"{text}\n{shown}")
        (tmp_path / "page.html").write_text(
            f'<!doctype html><meta charset="utf-8"><body><script type="module">{script}</script>', encoding="utf-8"
        )
        page = open_page(tmp_path / "page.html")
        page.wait_for_selector("body[data-found]", state="attached")
        return page.evaluate("JSON.parse(document.body.dataset.found)")

    return ran


def test_every_form_of_import_and_export(view, run):
    text = view(
        a="""// @ts-check
/** @typedef {import("./record.js").Scene} Scene */
import { one, two as zwei,
  three } from "./b.js";
import * as all from "./b.js";
import standard from './c.js';
export const found = [one, zwei(), three.name, all.one, standard(), new all.Four().n, all.five];
export const { six, seven: sieben } = { six: 6, seven: 7 };
""",
        b="""export const one = 1;
export async function later() {}
export function two() { return 2; }
class Three {}
export class Four { n = 4 }
let own = 5;
export { Three as three, own as five };
""",
        c="""const own = "c";
function answer() { return own; }
export { answer as default };
""",
    )
    assert run(text, "[...view_a_js.found, view_a_js.six, view_a_js.sieben]") == [1, 2, "Three", 1, "c", 4, 5, 6, 7]


def test_names_of_two_modules_may_be_the_same(view, run):
    text = view(
        a='import { get } from "./b.js";\nconst own = 1;\nexport const both = [own, get()];',
        b="const own = 2;\nexport function get() { return own; }",
    )
    assert run(text, "view_a_js.both") == [1, 2]


def test_what_a_script_sets_globally_stays_with_who_imports_it(view, run):
    umd = """!function (root, make) {
      "object" == typeof exports && "undefined" != typeof module ? make(exports)
        : "function" == typeof define && define.amd ? define(["exports"], make)
        : make((root = "undefined" != typeof globalThis ? globalThis : root || self).lib = root.lib || {});
    }(this, function (it) { it.version = 7; });"""
    text = view(a='import "./lib.js";\nexport const lib = globalThis.lib;', lib=umd)
    text = "globalThis.lib = { version: 5, theirs: true };\n" + text
    assert run(text, "[view_a_js.lib.version, globalThis.lib]") == [7, {"version": 5, "theirs": True}]


def test_each_module_is_there_once_and_after_what_it_imports(view, run):
    text = view(
        a='import { b } from "./b.js";\nimport { c } from "./c.js";\nexport const a = [b, c];',
        b='import { c } from "./c.js";\nexport const b = c + "b";',
        c='export const c = "c";',
    )
    assert run(text, "view_a_js.a") == ["cb", "c"]
    assert re.findall(r"^const (view_\w+)", text, re.MULTILINE) == ["view_c_js", "view_b_js", "view_a_js"]


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ({"a": 'import "./b.js";', "b": 'import "./a.js";'}, "circle: a.js -> b.js -> a.js"),
        ({"a": 'import "../secret.js";'}, "a.js imports '../secret.js'"),
        ({"a": 'import { x } from "https://elsewhere.org/x.js";'}, "expected a module beside it"),
        ({"a": 'export * from "./b.js";', "b": "export const b = 1;"}, "cannot be joined"),
        ({"a": "export default 5;"}, "cannot be joined"),
    ],
)
def test_what_cannot_be_joined_is_refused(view, modules, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        view(**modules)


def test_a_text_that_would_end_the_script_means_the_same_inside_it(view, run):
    line = "\u2028"
    text = view(a=f'export const s = ["{CAUGHT}", `{CAUGHT}`, /<!--/u.test("<!--"), "{line}"];  // </SCRIPT >')
    assert run(text, "view_a_js.s") == [CAUGHT, CAUGHT, True, line]


def test_every_module_of_the_view_is_in_the_text_of_its_door():
    onefile.joined.cache_clear()
    text = onefile.joined("explore.js", "file_door.js") + onefile.joined("explore.js", "notebook_door.js")
    for path in onefile.VIEW.glob("*.*js"):
        if path.name not in ("record.js", "server_door.js", "main.js"):
            assert text.count(f"const {onefile._constant(path.name)} = ") in (1, 2), path.name


def test_the_view_is_in_the_wheel(tmp_path):
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, check=True,
                   capture_output=True)  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {f"deltarule/page/view/{path.name}" for path in onefile.VIEW.iterdir()} <= inside
