// @ts-check
// The same error, carried back by other rules: how far each is from the true gradient, and what a step along it does.

import { d3 } from "./d3.js";
import { element } from "./elements.js";
import { largest, raised, short, signed, toNumber } from "./numbers.js";

/** @typedef {import("./record.js").Net} Net */
/** @typedef {import("./record.js").Pass} Pass */
/** @typedef {import("./record.js").RuleView} RuleView */

/** As many bars has a small figure; a wider layer's are the means of neighbours. */
const MOST_BARS = 64;

const CARRIES = {
  transpose: ["Transpose", "(Wˡ⁺¹)ᵀ δˡ⁺¹"],
  inverse: ["Inverse", "(Wˡ⁺¹)⁺ δˡ⁺¹"],
  random: ["Random", "B δˡ⁺¹"],
  direct: ["Direct", "B δᴸ"],
  sign: ["Sign", "sign(Wˡ⁺¹)ᵀ δˡ⁺¹"],
};

/**
 * @param {Net} net
 * @param {Pass} pass
 * @param {number} l          the layer whose delta is drawn
 * @param {string} chosen     the rule that stands out
 * @param {(rule: string) => void} choose
 * @param {string[]} words    the names of all rules that could be there
 */
export function ruleFigures(net, pass, l, chosen, choose) {
  const list = element("div", { class: "rule-list" });
  const most = largest(pass.rules[0]?.delta[l - 1] ?? [1]);
  for (const view of pass.rules) {
    const [title, formula] = CARRIES[/** @type {"transpose"} */ (view.rule)] ?? [view.rule, ""];
    const figure = element(
      "button",
      { type: "button", class: "rule", "data-rule": view.rule, "aria-pressed": String(view.rule === chosen) },
      element("span", { class: "rule-name" }, title),
      element("span", { class: "rule-formula" }, formula),
      bars(view, l, most),
      facts(view, l),
    );
    figure.addEventListener("click", () => choose(view.rule));
    list.append(figure);
  }
  return list;
}

/**
 * @param {RuleView} view
 * @param {number} l
 * @param {number} most
 */
function bars(view, l, most) {
  const values = view.delta[l - 1].map(toNumber);
  const each = Math.max(1, Math.ceil(values.length / MOST_BARS));
  const shown = d3.range(0, values.length, each).map((/** @type {number} */ i) => d3.mean(values.slice(i, i + each)) ?? 0);
  const own = largest(shown);
  const scale = view.rule === "transpose" ? most : own;
  const [width, height] = [200, 56];
  const x = d3.scaleBand(d3.range(shown.length), [0, width]).padding(0.15);
  const svg = d3.create("svg").attr("viewBox", `0 0 ${width} ${height}`).attr("aria-hidden", "true");
  svg.append("line").attr("class", "zero").attr("x2", width).attr("y1", height / 2).attr("y2", height / 2);
  svg
    .selectAll("rect")
    .data(shown)
    .join("rect")
    .attr("class", (/** @type {number} */ value) => `bar ${value < 0 ? "minus" : "plus"}`)
    .attr("x", (/** @type {number} */ _, /** @type {number} */ i) => x(i))
    .attr("width", x.bandwidth())
    .attr("y", (/** @type {number} */ value) => height / 2 - Math.max(0, (value / scale) * (height / 2)))
    .attr("height", (/** @type {number} */ value) => Math.min(height / 2, Math.abs((value / scale) * (height / 2))) || 0);
  return svg.node();
}

/**
 * @param {RuleView} view
 * @param {number} l
 */
function facts(view, l) {
  const angle = view.angle[l - 1];
  const { eta, predicted, actual } = view.step;
  const worse = toNumber(actual) > 0;
  const row = (/** @type {string} */ name, /** @type {string} */ value, kind = "") =>
    element("span", { class: `fact ${kind}` }, element("span", {}, name), element("b", {}, value));
  return element(
    "span",
    { class: "rule-facts" },
    row(`largest |δ${raised(l)}|`, short(largest(view.delta[l - 1]), 3)),
    row("angle to the true δ", angle === null ? "–" : view.rule === "transpose" ? "0°" : `${angle.toFixed(1)}°`),
    row(`a step of η = ${short(eta)} should change C by`, signed(predicted, 3)),
    row("and does change it by", `${signed(actual, 3)}${worse ? " (worse)" : ""}`, worse ? "worse" : "better"),
  );
}
