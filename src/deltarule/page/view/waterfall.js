// @ts-check
// A flow's budget as a waterfall: each bar begins where the one above it ended.
import { raised } from "./charts.js";
import { d3 } from "./d3.js";
import { makeFigure } from "./export.js";
import { symbols } from "./heat.js";

/** @typedef {import("./record.js").FlowView} FlowView */
/** @typedef {import("./record.js").Bar} Bar */

/**
 * The budget of a flow on a logarithmic axis, from the cost down.
 *
 * @param {HTMLElement} host
 * @param {FlowView} flow
 * @returns {{close: () => void}}
 */
export function makeWaterfall(host, flow) {
  const figure = makeFigure(host, { title: "Where the error is lost and won", file: "budget", table: asTable, drawn: draw });
  const svg = d3.select(figure.svg).attr("class", "waterfall");
  const grid = svg.append("g").attr("class", "grid");
  const ticks = svg.append("g").attr("class", "ticks");
  const joints = svg.append("g").attr("class", "waterfall-joints");
  const bars = svg.append("g").attr("class", "waterfall-bars");
  const names = svg.append("g").attr("class", "waterfall-names");
  const lines = svg.append("g").attr("class", "waterfall-sources");
  const gains = svg.append("g").attr("class", "waterfall-gains");

  /** @type {{bar: Bar, from: number, to: number, known: boolean}[]} */
  const rows = [];
  let level = 0;
  let known = true;
  for (const bar of flow.budget) {
    const to = level + (bar.log10 ?? 0);
    known = known && bar.log10 !== null;
    rows.push({ bar, from: level, to, known });
    level = to;
  }
  const whole = known && rows.length ? { from: 0, to: level } : null;
  const end = whole ? `In all the error becomes ${factor(10 ** level)}.` : "It does not get through with a finite length.";
  figure.tell(
    rows.length
      ? `Each bar begins where the one above it ended: left is less error, right is more. ${end}`
      : "No operation changes the length of the error.",
  );

  function draw() {
    const width = figure.width();
    const narrow = width < 520;
    const sourced = rows.some(({ bar }) => bar.source);
    const height = narrow ? 40 : sourced ? 36 : 26;
    const longest = Math.max(6, ...rows.map(({ bar }) => Math.max(symbols(bar.label).length, bar.source.length)));
    const box = { left: narrow ? 12 : Math.min(320, width * 0.32, 24 + 7 * longest), right: width - (narrow ? 70 : 84), top: 30 };
    const count = rows.length + (whole ? 1 : 0);
    const tall = box.top + count * height + 8;
    svg.attr("viewBox", `0 0 ${width} ${tall}`).attr("width", width).attr("height", tall);
    const levels = rows.flatMap(({ from, to }) => [from, to]);
    const low = Math.min(0, ...levels);
    const high = Math.max(0, ...levels);
    const pad = 0.02 * (high - low || 1);
    const x = d3.scaleLinear([low - pad, Math.max(high, low + 0.3) + pad], [box.left, box.right]);
    const at = (/** @type {number} */ i) => box.top + i * height;
    const thick = 14;
    const beside = (/** @type {number} */ i) => at(i) + (narrow ? height - thick - 4 : (height - thick) / 2);

    const marks = x.ticks(narrow ? 4 : 7).filter((/** @type {number} */ one) => Number.isInteger(one));
    const shown = marks.length > 1 ? marks : x.ticks(3);
    grid
      .selectAll("line")
      .data(shown)
      .join("line")
      .attr("class", (/** @type {number} */ one) => (one === 0 ? "zero" : ""))
      .attr("x1", x)
      .attr("x2", x)
      .attr("y1", box.top - 6)
      .attr("y2", at(count));
    ticks
      .selectAll("text")
      .data(shown)
      .join("text")
      .attr("x", x)
      .attr("y", 14)
      .attr("text-anchor", "middle")
      .text((/** @type {number} */ one) => (Number.isInteger(one) && Math.abs(one) > 2 ? `×10${raised(one)}` : `×${Number((10 ** one).toPrecision(2))}`));

    joints
      .selectAll("line")
      .data(rows.slice(0, whole ? undefined : -1))
      .join("line")
      .attr("x1", (/** @type {any} */ one) => x(one.to))
      .attr("x2", (/** @type {any} */ one) => x(one.to))
      .attr("y1", (/** @type {any} */ _, /** @type {number} */ i) => beside(i) + thick)
      .attr("y2", (/** @type {any} */ _, /** @type {number} */ i) => beside(i + 1));
    const drawn = [...rows, ...(whole ? [{ ...whole, bar: null, known: true }] : [])];
    bars
      .selectAll("rect")
      .data(drawn)
      .join("rect")
      .attr("class", (/** @type {any} */ one) => `${one.bar ? "" : "whole "}${!one.known ? "unknown" : one.to < one.from ? "loss" : "gain"}`)
      .attr("x", (/** @type {any} */ one) => Math.min(x(one.from), x(one.to)))
      .attr("y", (/** @type {any} */ _, /** @type {number} */ i) => beside(i))
      .attr("width", (/** @type {any} */ one) => Math.max(1.5, Math.abs(x(one.to) - x(one.from))))
      .attr("height", thick);
    const letters = narrow ? Math.floor(width / 8) : Math.floor(box.left / 7);
    names
      .selectAll("text")
      .data(drawn)
      .join("text")
      .attr("class", (/** @type {any} */ one) => (one.bar ? "" : "whole"))
      .attr("x", narrow ? box.left : box.left - 12)
      .attr("y", (/** @type {any} */ one, /** @type {number} */ i) => at(i) + (narrow ? 13 : height / 2 - (one.bar?.source ? 7 : 0)))
      .attr("dy", narrow ? null : "0.34em")
      .attr("text-anchor", narrow ? "start" : "end")
      .text((/** @type {any} */ one) => cut(one.bar ? symbols(one.bar.label) : "in all", letters));
    lines
      .selectAll("text")
      .data(narrow ? [] : drawn)
      .join("text")
      .attr("x", box.left - 12)
      .attr("y", (/** @type {any} */ _, /** @type {number} */ i) => at(i) + height / 2 + 8)
      .attr("dy", "0.34em")
      .attr("text-anchor", "end")
      .text((/** @type {any} */ one) => cutFront(one.bar?.source ?? "", letters));
    gains
      .selectAll("text")
      .data(drawn)
      .join("text")
      .attr("class", (/** @type {any} */ one) => (one.bar ? "" : "whole"))
      .attr("x", width - 4)
      .attr("y", (/** @type {any} */ _, /** @type {number} */ i) => beside(i) + thick / 2)
      .attr("dy", "0.34em")
      .attr("text-anchor", "end")
      .text((/** @type {any} */ one) => `×${threeDigits(one.bar ? one.bar.gain : 10 ** level)}`);
  }

  function asTable() {
    return {
      head: ["step of the way back", "gain", "log₁₀ of the gain", "sum so far", "line"],
      rows: rows.map(({ bar, to, known: sure }) => [
        symbols(bar.label),
        typeof bar.gain === "number" ? String(Number(bar.gain.toPrecision(6))) : bar.gain,
        bar.log10 === null ? "" : bar.log10.toFixed(4),
        sure ? to.toFixed(4) : "",
        bar.source,
      ]),
    };
  }

  draw();
  return { close: () => figure.close() };
}

/** @param {number} gain */
function factor(gain) {
  return gain < 1 ? `${threeDigits(1 / gain)} times smaller` : `${threeDigits(gain)} times larger`;
}

/** @param {import("./record.js").Value} value */
function threeDigits(value) {
  if (typeof value !== "number") return value;
  return value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5) ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

/** @param {string} text @param {number} most */
function cut(text, most) {
  return text.length <= most ? text : `${text.slice(0, Math.max(1, most - 1))}…`;
}

/** @param {string} text @param {number} most */
function cutFront(text, most) {
  return text.length <= most ? text : `…${text.slice(text.length - Math.max(1, most - 1))}`;
}
