// @ts-check
// The formula box: what is typed is set as it is typed, judged against measurement, and mended.
import { element } from "./elements.js";
import { temml } from "./temml.min.js";

/** @typedef {import("./record.js").Door} Door */
/** @typedef {import("./record.js").Scene} Scene */
/** @typedef {import("./record.js").Judged} Judged */
/** @typedef {import("./address.js").Address} Address */

const READY = [
  { name: "BP2", text: String.raw`\delta^{l} = ((w^{l+1})^{T} \delta^{l+1}) \odot \sigma'(z^{l})` },
  { name: "with the inverse", text: String.raw`\delta^{l} = ((w^{l+1})^{-1} \delta^{l+1}) \odot \sigma'(z^{l})` },
  { name: "without the transpose", text: String.raw`\delta^{l} = (w^{l+1} \delta^{l+1}) \odot \sigma'(z^{l})` },
  { name: "with σ instead of σ′", text: String.raw`\delta^{l} = ((w^{l+1})^{T} \delta^{l+1}) \odot \sigma(z^{l})` },
];

/** So long after the last key a formula is judged. */
const JUDGE_MS = 450;

/** Longer formulas are not set: nobody means them. */
const FORMULA_LENGTH = 4000;

/**
 * @param {HTMLElement} host
 * @param {Door} door
 * @param {Scene} scene
 * @param {Address} address
 * @returns {{close: () => void}}
 */
export function makeFormula(host, door, scene, address) {
  const known = new Map(scene.formulas.map((one) => [one.formula, one]));
  const box = element("textarea", {
    rows: "3", spellcheck: "false", autocapitalize: "off", autocomplete: "off", maxlength: String(FORMULA_LENGTH),
  });
  const label = element("label", { class: "formula-box" }, element("span", {}, "A formula for the error, in LaTeX"), box);
  const set = element("div", { class: "formula-set", role: "group", "aria-label": "the formula as it is read" });
  const trouble = element("p", { class: "formula-trouble" });
  const judged = element("div", { class: "formula-verdict", "aria-live": "polite" });
  const ready = element("div", { class: "formula-ready", role: "group", "aria-label": "ready examples" });
  const lead = element(
    "p",
    { class: "lead" },
    door.kind === "file"
      ? "How does the error get from layer l + 1 to layer l? These formulas were judged when this file was written."
      : "How does the error get from layer l + 1 to layer l? Write it; it is held against measured slopes of random networks.",
  );
  host.append(element("div", { class: "formula" }, lead, ready, label, set, trouble, judged));

  const offered = door.kind === "file" ? scene.formulas.map((one) => ({ name: "", text: one.formula })) : READY;
  for (const one of offered) {
    const sign = element("span", { class: "formula-sign" });
    const name = READY.find((other) => other.text === one.text)?.name ?? one.name;
    render(one.text, sign);
    const button = element("button", { type: "button", class: "card" }, sign, element("span", {}, name));
    button.addEventListener("click", () => take(one.text));
    ready.append(button);
  }
  if (door.kind === "file") box.readOnly = true;

  let asked = 0;
  /** @type {number | undefined} */
  let timer;

  /** @param {string} text */
  function take(text) {
    box.value = text;
    typed(0);
  }

  /** @param {number} wait */
  function typed(wait) {
    const text = box.value;
    address.set({ formula: text.trim() || null });
    trouble.textContent = render(text, set);
    window.clearTimeout(timer);
    asked += 1;
    judged.classList.add("stale");
    if (!text.trim()) judged.replaceChildren();
    else timer = window.setTimeout(judge, wait);
  }

  async function judge() {
    const mine = asked;
    const text = box.value.trim();
    /** @type {Node[]} */
    let parts;
    try {
      parts = verdictOf(known.get(text) ?? (await door.ask("formula", { text })), take);
    } catch (error) {
      parts = [element("p", { class: "refusal" }, /** @type {Error} */ (error).message)];
    }
    if (mine !== asked) return; // another has been typed meanwhile
    judged.classList.remove("stale");
    judged.replaceChildren(...parts);
  }

  box.addEventListener("input", () => typed(JUDGE_MS));
  const show = () => {
    const wanted = address.get("formula") ?? offered[0]?.text ?? "";
    if (wanted !== box.value) take(wanted);
  };
  const unwatch = address.watch(show);
  if (address.get("formula") !== null || offered.length) {
    const wanted = address.get("formula");
    box.value = wanted ?? offered[0].text;
    trouble.textContent = render(box.value, set);
    timer = window.setTimeout(judge, 0);
  }
  return {
    close() {
      unwatch();
      window.clearTimeout(timer);
      asked += 1;
    },
  };
}

/**
 * What was found, in words, with the mended formula to take.
 *
 * @param {Judged} found
 * @param {(text: string) => void} take
 * @returns {Node[]}
 */
function verdictOf(found, take) {
  const head = element(
    "p",
    { class: `verdict ${found.holds ? "good" : "bad"}`, "data-holds": String(found.holds) },
    element("span", { "aria-hidden": "true" }, found.holds ? "✓" : "✗"),
    found.holds ? " holds" : " does not hold",
  );
  const parts = [head, element("p", { class: "reason" }, sentence(found.reason.replace(/^holds on /, "on ")))];
  if (found.read_as) {
    parts.push(element("p", { class: "read-as" }, "read as ", element("code", {}, found.read_as)));
  }
  if (found.holds_where.length && !found.holds) {
    const items = found.holds_where.map((where) => element("li", {}, where));
    parts.push(element("p", { class: "where" }, "It does hold"), element("ul", { class: "where" }, ...items));
  }
  if (found.mended) {
    const text = asTex(found.mended);
    const sign = element("div", { class: "formula-set" });
    render(text, sign);
    const use = element("button", { type: "button" }, "use it");
    use.addEventListener("click", () => take(text));
    parts.push(element("div", { class: "mended" }, element("p", {}, "mended"), sign, use));
  }
  return parts;
}

/** @param {string} text */
function sentence(text) {
  const begun = text.replace(/^[a-z](?=[a-z]* )/, (letter) => letter.toUpperCase());
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

/**
 * Set a formula into `place`; what comes back says why that did not go, or is empty.
 *
 * @param {string} text
 * @param {HTMLElement} place
 * @returns {string}
 */
export function render(text, place) {
  const plain = text.trim().slice(0, FORMULA_LENGTH);
  try {
    const made = element("span");
    if (plain) temml.render(asTex(plain), made, { displayMode: false, throwOnError: true, trust: false, maxExpand: 500 });
    place.replaceChildren(...made.childNodes);
    return "";
  } catch (error) {
    // what stood there stays until the next that can be set: half a formula is on its way to a whole one
    return `not LaTeX yet: ${/** @type {Error} */ (error).message.split("\n")[0].replace(/[^\x20-\x7e]+/g, "")}`;
  }
}

const WORDS =
  /(?<![\\A-Za-z])(delta|sigma|eta|partial|nabla|sum|alpha|beta|lambda|theta|mu|epsilon|gamma|phi|rho|tau)(?![A-Za-z])/g;

/**
 * A formula as the program writes it, `delta^l = (W^T delta^{l+1}) * sigma'(z^l)`, as LaTeX; LaTeX stays as it is.
 *
 * @param {string} text
 * @returns {string}
 */
function asTex(text) {
  if (text.includes("\\")) return text;
  return text.replace(WORDS, (word) => `\\${word}`).replace(/\s\*\s/g, " \\odot ").replace(/\*/g, " \\odot ");
}
