// @ts-check
// The heat map: a row for each step of the error's way back, a column for each recorded training step.
import { raised } from "./charts.js";
import { d3 } from "./d3.js";
import { element } from "./elements.js";
import { makeFigure } from "./export.js";

/** @typedef {import("./record.js").Heat} HeatRecord */

/**
 * @typedef {object} HeatMap
 * @property {(at: number | null) => void} mark   the step that is looked at
 * @property {() => void} close
 */

/** The factors at which the scale of colours may end; beyond its end the colour is that of the end. */
const DEEPEST = [2, 5, 10, 20, 50, 100, 1000];

/** The scale ends beyond so many of the cells, so that one that is far off does not make all others pale. */
const WITHIN = 0.98;

/** As many cells go by with a big stride. */
const STRIDE = 10;

/**
 * @param {HTMLElement} host
 * @param {HeatRecord} heat
 * @param {(at: number) => void} opened   of a step that is chosen
 * @returns {HeatMap}
 */
export function makeHeat(host, heat, opened) {
  const K = heat.steps.length;
  const R = heat.rows.length;
  const figure = makeFigure(host, {
    title: "Gain of each step of the error’s way back, over the training",
    file: "gains",
    table: asTable,
    drawn: draw,
  });
  const sizes = heat.log10.flat().flatMap((one) => (one === null ? [] : [Math.abs(one)]));
  const within = 10 ** (d3.quantile(sizes, WITHIN) ?? 0);
  const deep = DEEPEST.find((end) => end >= within) ?? DEEPEST[DEEPEST.length - 1];
  const deepest = Math.log10(deep);
  const svg = d3.select(figure.svg).attr("class", "heat");
  const strip = svg.append("g").attr("class", "heat-verdicts");
  const hollow = svg.append("rect").attr("class", "heat-hollow");
  const image = svg.append("image").attr("preserveAspectRatio", "none").attr("class", "heat-cells");
  const names = svg.append("g").attr("class", "heat-names");
  const ticks = svg.append("g").attr("class", "ticks");
  const legend = svg.append("g").attr("class", "heat-legend");
  const marker = svg.append("g").attr("class", "heat-mark");
  marker.append("line");
  marker.append("path").attr("d", "M-5,-9 L5,-9 L0,-1 Z");
  const cursor = svg.append("rect").attr("class", "heat-cursor").attr("visibility", "hidden");

  const frame = /** @type {HTMLElement} */ (figure.svg.parentElement);
  frame.tabIndex = 0;
  frame.setAttribute("role", "application");
  frame.setAttribute("aria-roledescription", "heat map");
  frame.setAttribute("aria-label", "Gains by step. Arrow keys read a cell, Enter opens its training step.");
  const reading = element("p", { class: "heat-reading", "aria-live": "polite" });
  figure.node.insertBefore(reading, figure.node.lastChild);
  reading.textContent = "Point at a cell, or use the arrow keys, to read it; click, or Enter, to open its step.";

  let column = K - 1;
  let row = 0;
  /** @type {number | null} */
  let marked = null;
  let box = { left: 0, right: 1, top: 0, bottom: 1, row: 1 };
  figure.tell(spells());

  /** The verdicts, run by run: who is how long what. */
  function runs() {
    /** @type {{word: string, from: number, to: number}[]} */
    const found = [];
    heat.verdicts.forEach((word, k) => {
      const before = found[found.length - 1];
      if (before?.word === word) before.to = k;
      else found.push({ word, from: k, to: k });
    });
    return found;
  }

  function spells() {
    const all = runs();
    const told = all.slice(0, 6).map(({ word, from, to }) =>
      from === to ? `${word} at step ${heat.steps[from]}` : `${word} at steps ${heat.steps[from]} to ${heat.steps[to]}`,
    );
    return `${told.join("; ")}${all.length > 6 ? `; and ${all.length - 6} more changes` : ""}.`;
  }

  function draw() {
    const width = figure.width();
    const narrow = width < 520;
    const height = R > 40 ? 11 : R > 16 ? 16 : 22;
    box = { left: narrow ? 104 : 190, right: width - 8, top: 34, bottom: 34 + R * height, row: height };
    const tall = box.bottom + 62;
    svg.attr("viewBox", `0 0 ${width} ${tall}`).attr("width", width).attr("height", tall);
    const style = getComputedStyle(figure.node);
    const shade = d3
      .scaleLinear([-deepest, 0, deepest], ["--heat-loss", "--heat-none", "--heat-gain"].map((name) => style.getPropertyValue(name).trim()))
      .interpolate(d3.interpolateLab)
      .clamp(true);

    hollow.attr("x", box.left).attr("y", box.top).attr("width", box.right - box.left).attr("height", box.bottom - box.top);
    image.attr("x", box.left).attr("y", box.top).attr("width", box.right - box.left).attr("height", box.bottom - box.top);
    if (K && R) image.attr("href", painted(shade));

    names
      .selectAll("text")
      .data(heat.rows)
      .join("text")
      .attr("x", box.left - 8)
      .attr("y", (/** @type {any} */ _, /** @type {number} */ r) => box.top + (r + 0.5) * height)
      .attr("dy", "0.32em")
      .attr("text-anchor", "end")
      .style("font-size", `${Math.min(13, height)}px`)
      .text((/** @type {any} */ one) => shortened(narrow ? symbols(one.label).split(", ")[0] : symbols(one.label), narrow ? 14 : 28));

    const all = runs();
    const wide = (/** @type {{from: number, to: number}} */ run) => ((run.to - run.from + 1) * (box.right - box.left)) / K;
    strip
      .selectAll("rect")
      .data(all)
      .join("rect")
      .attr("class", (/** @type {any} */ run) => (run.word === "healthy" ? "spell good" : "spell bad"))
      .attr("x", (/** @type {any} */ run) => left(run.from))
      .attr("y", 8)
      .attr("width", (/** @type {any} */ run) => Math.max(1, wide(run) - 1))
      .attr("height", 18);
    strip
      .selectAll("text")
      .data(all.filter((run) => wide(run) > 8 * run.word.length))
      .join("text")
      .attr("x", (/** @type {any} */ run) => left(run.from) + 5)
      .attr("y", 17)
      .attr("dy", "0.34em")
      .attr("class", (/** @type {any} */ run) => (run.word === "healthy" ? null : "on-bad"))
      .text((/** @type {any} */ run) => run.word);
    strip.selectAll("title").data([spells()]).join("title").text(String);

    const shown = d3.ticks(0, Math.max(0, K - 1), Math.min(K, narrow ? 3 : 6)).filter(Number.isInteger);
    ticks
      .selectAll("text")
      .data(shown)
      .join("text")
      .attr("x", (/** @type {number} */ k) => left(k) + wide({ from: 0, to: 0 }) / 2)
      .attr("y", box.bottom + 16)
      .attr("text-anchor", "middle")
      .text((/** @type {number} */ k) => heat.steps[k]);
    drawLegend(shade, narrow);
    drawCursor();
    drawMark();
  }

  /** @param {any} shade @param {boolean} narrow */
  function drawLegend(shade, narrow) {
    const swatch = narrow ? 12 : 18;
    const n = 9;
    const at = d3.range(n).map((/** @type {number} */ i) => deepest * ((2 * i) / (n - 1) - 1));
    const x = box.left;
    const y = box.bottom + 34;
    legend
      .selectAll("rect")
      .data(at)
      .join("rect")
      .attr("x", (/** @type {any} */ _, /** @type {number} */ i) => x + i * swatch)
      .attr("y", y)
      .attr("width", swatch)
      .attr("height", 10)
      .attr("fill", shade);
    legend
      .selectAll("text")
      .data([
        [x - 8, "end", narrow ? `÷${deep}` : `loses: ÷${deep} or more`],
        [x + n * swatch + 8, "start", narrow ? `×${deep}` : `gains: ×${deep} or more`],
        [x + (n * swatch) / 2, "middle", "×1"],
      ])
      .join("text")
      .attr("x", (/** @type {any} */ one) => one[0])
      .attr("y", (/** @type {any} */ _, /** @type {number} */ i) => (i === 2 ? y + 22 : y + 9))
      .attr("text-anchor", (/** @type {any} */ one) => one[1])
      .text((/** @type {any} */ one) => one[2]);
  }

  /** One pixel a cell; where there is no gain to show, none. @param {any} shade */
  function painted(shade) {
    const canvas = document.createElement("canvas");
    canvas.width = K;
    canvas.height = R;
    const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const pixels = pen.createImageData(K, R);
    heat.log10.forEach((line, r) =>
      line.forEach((value, k) => {
        if (value === null) return;
        const { r: red, g: green, b: blue } = d3.rgb(shade(value));
        pixels.data.set([red, green, blue, 255], 4 * (r * K + k));
      }),
    );
    pen.putImageData(pixels, 0, 0);
    return canvas.toDataURL();
  }

  /** @param {number} k */
  const left = (k) => box.left + (k * (box.right - box.left)) / Math.max(1, K);

  function drawCursor() {
    cursor
      .attr("x", left(column) - 0.5)
      .attr("y", box.top + row * box.row - 0.5)
      .attr("width", Math.max(3, (box.right - box.left) / Math.max(1, K)) + 1)
      .attr("height", box.row + 1);
  }

  function drawMark() {
    marker.attr("visibility", marked === null ? "hidden" : null);
    if (marked === null) return;
    const x = left(marked) + (box.right - box.left) / Math.max(1, K) / 2;
    marker.attr("transform", `translate(${x},${box.top})`);
    marker.select("line").attr("y2", box.bottom - box.top);
  }

  /** @param {number} k @param {number} r */
  function read(k, r) {
    if (!K || !R) return;
    column = Math.max(0, Math.min(K - 1, k));
    row = Math.max(0, Math.min(R - 1, r));
    cursor.attr("visibility", null);
    drawCursor();
    const { label, source } = heat.rows[row];
    const where = `Step ${heat.steps[column]}, ${symbols(label)}${source ? `, ${source}` : ""}: `;
    reading.textContent = `${where}${gainWords(heat.log10[row][column])}. Verdict of this step: ${heat.verdicts[column]}.`;
  }

  /** The cell under a pointer. @param {MouseEvent} event */
  function cellAt(event) {
    const seen = figure.svg.getBoundingClientRect();
    const scale = figure.width() / (seen.width || 1);
    const [x, y] = [(event.clientX - seen.left) * scale, (event.clientY - seen.top) * scale];
    if (x < box.left || x > box.right || y < 0 || y > box.bottom) return null;
    return [Math.floor(((x - box.left) / (box.right - box.left)) * K), Math.max(0, Math.floor((y - box.top) / box.row))];
  }

  frame.addEventListener("pointermove", (event) => {
    const cell = cellAt(event);
    if (cell && (cell[0] !== column || cell[1] !== row)) read(cell[0], cell[1]);
  });
  frame.addEventListener("click", (event) => {
    const cell = cellAt(event);
    if (!cell) return;
    read(cell[0], cell[1]);
    opened(column);
  });
  frame.addEventListener("keydown", (event) => {
    const far = event.shiftKey ? STRIDE : 1;
    /** @type {Object<string, () => void>} */
    const keys = {
      ArrowLeft: () => read(column - far, row),
      ArrowRight: () => read(column + far, row),
      ArrowUp: () => read(column, row - 1),
      ArrowDown: () => read(column, row + 1),
      Home: () => read(0, row),
      End: () => read(K - 1, row),
      Enter: () => opened(column),
      " ": () => opened(column),
    };
    const done = keys[event.key];
    if (!done || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    done();
  });
  frame.addEventListener("focus", () => {
    if (frame.matches(":focus-visible")) read(column, row);
  });

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", draw);

  function asTable() {
    const shown = d3.range(0, K, Math.max(1, Math.ceil(K / 12))).concat(K > 1 && (K - 1) % Math.ceil(K / 12) ? [K - 1] : []);
    const cell = (/** @type {number | null} */ one) => (one === null ? "" : `×${Number((10 ** one).toPrecision(4))}`);
    return {
      head: ["", ...shown.map((/** @type {number} */ k) => `step ${heat.steps[k]}`)],
      rows: [
        ...heat.rows.map((one, r) => [symbols(one.label), ...shown.map((/** @type {number} */ k) => cell(heat.log10[r][k]))]),
        ["verdict", ...shown.map((/** @type {number} */ k) => heat.verdicts[k])],
      ],
    };
  }

  draw();
  return {
    mark(at) {
      marked = at;
      if (at !== null) column = at;
      drawMark();
    },
    close() {
      figure.close();
      dark.removeEventListener("change", draw);
    },
  };
}

/** @param {number | null} log10 */
function gainWords(log10) {
  if (log10 === null) return "no gain to show, for no error came here, or none left it, or it was not finite";
  const gain = 10 ** log10;
  if (Math.abs(gain - 1) < 0.005) return `gain ${gain.toPrecision(4)}, it passes unchanged`;
  return gain < 1
    ? `gain ${gain.toPrecision(4)}, the error becomes ${rounded(1 / gain)} times smaller`
    : `gain ${gain.toPrecision(4)}, the error becomes ${rounded(gain)} times larger`;
}

/** @param {number} value */
function rounded(value) {
  return value >= 1e5 ? value.toExponential(1) : String(Number(value.toPrecision(value < 10 ? 2 : 3)));
}

/** @param {string} text @param {number} most */
function shortened(text, most) {
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}

/**
 * A move's label in the book's signs: * sigma'(z^2), tanh becomes ⊙ σ′(z²), tanh.
 *
 * @param {string} text
 * @returns {string}
 */
export function symbols(text) {
  if (!/sigma'\(z\^|\(W\^|\bB\^T|delta\^/.test(text)) return text;
  return text
    .replace(/^\* /, "⊙ ")
    .replace(/sigma'/g, "σ′")
    .replace(/delta\^L/g, "δᴸ")
    .replace(/\^\{?(\d+)\}?/g, (_, digits) => raised(Number(digits)))
    .replace(/\^T/g, "ᵀ")
    .replace(/\^\+/g, "⁺");
}
