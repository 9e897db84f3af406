// @ts-check
// Lines over time, labelled where they end; drawn anew with every frame of a live training.
import { d3 } from "./d3.js";
import { makeFigure } from "./export.js";

/**
 * What a figure of lines is: a label a line, and how its axis runs.
 *
 * @typedef {object} LinesGiven
 * @property {string} title
 * @property {string} file                 the name that it is saved under
 * @property {string} along                what runs along the axis below: "step", "epoch"
 * @property {boolean} [log]
 * @property {[number, number]} [range]    of the values, where it is known
 * @property {(value: number) => string} [write]
 */

/**
 * @typedef {object} Lines
 * @property {(labels: string[]) => void} reset                 begin anew, with these lines
 * @property {(x: number, values: (number | null)[]) => void} append
 * @property {(xs: number[], labels: string[], series: (number | null)[][]) => void} show
 * @property {(x: number | null) => void} mark                  a line upright, at what is looked at
 * @property {() => void} draw
 * @property {import("./export.js").Figure} figure
 */

/** As many points a line are kept; beyond, every second is dropped, and every second taken from then on. */
const POINTS = 720;

const LINES_HEIGHT = 200;
const LABEL_LINE = 14;

/**
 * @param {HTMLElement} host
 * @param {LinesGiven} given
 * @returns {Lines}
 */
export function makeLines(host, { title, file, along, log = false, range, write = shortNumber }) {
  /** @type {string[]} */
  let labels = [];
  /** @type {number[]} */
  let xs = [];
  /** @type {(number | null)[][]} */
  let series = [];
  /** The last point, which the thinning may leave out. @type {{x: number, values: (number | null)[]} | null} */
  let last = null;
  let stride = 1;
  let seen = 0;
  /** @type {number | null} */
  let marked = null;

  const figure = makeFigure(host, { title, file, table: asTable, drawn: draw });
  const svg = d3.select(figure.svg);
  const grid = svg.append("g").attr("class", "grid");
  const ticksY = svg.append("g").attr("class", "ticks");
  const ticksX = svg.append("g").attr("class", "ticks");
  const marker = svg.append("line").attr("class", "lines-mark");
  const paths = svg.append("g").attr("class", "lines");
  const names = svg.append("g").attr("class", "line-names");
  const below = svg.append("text").attr("class", "axis-name").attr("text-anchor", "end").text(along);
  const none = svg.append("text").attr("class", "axis-name").attr("text-anchor", "middle").text("nothing yet");

  /** @param {string[]} wanted */
  function reset(wanted) {
    labels = wanted;
    xs = [];
    series = labels.map(() => []);
    last = null;
    stride = 1;
    seen = 0;
  }

  /** @param {number} x @param {(number | null)[]} values */
  function append(x, values) {
    last = { x, values };
    if (seen++ % stride !== 0) return;
    xs.push(x);
    series.forEach((line, i) => line.push(values[i] ?? null));
    if (xs.length > POINTS) {
      const half = (/** @type {any} */ _, /** @type {number} */ i) => i % 2 === 0;
      xs = xs.filter(half);
      series = series.map((line) => line.filter(half));
      stride *= 2;
    }
  }

  /** Every point that is drawn, with the last. */
  function points() {
    if (!last || xs[xs.length - 1] === last.x) return { xs, series };
    const { x, values } = last;
    return { xs: [...xs, x], series: series.map((line, i) => [...line, values[i] ?? null]) };
  }

  /** @param {number | null} value */
  const drawable = (value) => value !== null && Number.isFinite(value) && (!log || value > 0);

  function draw() {
    const width = figure.width();
    const shown = points();
    const narrow = width < 420;
    const box = { left: 46, right: width - (narrow ? 62 : 84), top: 10, bottom: LINES_HEIGHT - 24 };
    svg.attr("viewBox", `0 0 ${width} ${LINES_HEIGHT}`).attr("width", width).attr("height", LINES_HEIGHT);

    const from = shown.xs[0] ?? 0;
    const to = Math.max(shown.xs[shown.xs.length - 1] ?? 1, from + 1);
    const x = d3.scaleLinear([from, to], [box.left, box.right]);
    const y = upright(shown.series, box);

    const wanted = log ? tens(y) : y.ticks(4);
    place(grid.selectAll("line").data(wanted).join("line"), { x1: box.left, x2: box.right, y1: y, y2: y });
    ticksY
      .selectAll("text")
      .data(wanted)
      .join("text")
      .attr("x", box.left - 6)
      .attr("y", y)
      .attr("dy", "0.32em")
      .attr("text-anchor", "end")
      .text((/** @type {number} */ value) => (log ? tenTo(value) : write(value)));
    ticksX
      .selectAll("text")
      .data(x.ticks(narrow ? 3 : 5).filter((/** @type {number} */ at) => x(at) < box.right - 44))
      .join("text")
      .attr("x", x)
      .attr("y", box.bottom + 16)
      .attr("text-anchor", "middle")
      .text(countWords);
    below.attr("x", box.right).attr("y", box.bottom + 16);
    none.attr("x", (box.left + box.right) / 2).attr("y", (box.top + box.bottom) / 2);
    none.attr("visibility", shown.xs.length ? "hidden" : null);
    marker.attr("visibility", marked === null ? "hidden" : null);
    if (marked !== null) place(marker, { x1: x(marked), x2: x(marked), y1: box.top, y2: box.bottom });

    const line = d3
      .line()
      .defined((/** @type {number | null} */ value) => drawable(value))
      .x((/** @type {any} */ _, /** @type {number} */ i) => x(shown.xs[i]))
      .y((/** @type {number} */ value) => y(value));
    paths
      .selectAll("path")
      .data(shown.series)
      .join("path")
      .attr("d", line)
      .style("stroke", (/** @type {any} */ _, /** @type {number} */ i) => lineColor(i, labels.length));

    const ends = shown.series
      .map((values, i) => ({ i, value: lastOf(values) }))
      .filter((end) => end.value !== null)
      .map((end) => ({ ...end, y: y(/** @type {number} */ (end.value)), at: 0 }));
    apart(ends, box);
    names
      .selectAll("text")
      .data(ends, (/** @type {any} */ end) => end.i)
      .join("text")
      .attr("x", box.right + 6)
      .attr("y", (/** @type {any} */ end) => end.at)
      .attr("dy", "0.32em")
      .style("fill", (/** @type {any} */ end) => lineColor(end.i, labels.length))
      .text((/** @type {any} */ end) => labels[end.i]);
    if (figure.tabled()) figure.refresh();
  }

  /** @param {(number | null)[][]} lines @param {{top: number, bottom: number}} box */
  function upright(lines, box) {
    let low = Infinity;
    let high = -Infinity;
    for (const line of lines) {
      for (const value of line) {
        if (!drawable(value)) continue;
        low = Math.min(low, /** @type {number} */ (value));
        high = Math.max(high, /** @type {number} */ (value));
      }
    }
    if (range) [low, high] = range;
    if (low > high) [low, high] = log ? [0.1, 1] : [0, 1];
    if (log) {
      const bounds = [Math.floor(Math.log10(low) + 1e-9), Math.ceil(Math.log10(high) - 1e-9)];
      if (bounds[0] === bounds[1]) bounds[1] += 1;
      return d3.scaleLog([10 ** bounds[0], 10 ** bounds[1]], [box.bottom, box.top]);
    }
    const made = d3.scaleLinear([Math.min(0, low), high === low && high <= 0 ? 1 : high], [box.bottom, box.top]);
    return range ? made : made.nice(4);
  }

  /** @param {(number | null)[]} line */
  function lastOf(line) {
    for (let i = line.length - 1; i >= 0; i -= 1) if (drawable(line[i])) return line[i];
    return null;
  }

  function asTable() {
    const shown = points();
    const every = Math.max(1, Math.ceil(shown.xs.length / 24));
    const rows = [];
    for (let i = shown.xs.length - 1; i >= 0; i -= every) {
      const cells = shown.series.map((line) => (line[i] === null ? "" : exactNumber(/** @type {number} */ (line[i]))));
      rows.unshift([countWords(shown.xs[i]), ...cells]);
    }
    return { head: [along, ...labels], rows };
  }

  draw();
  return {
    reset,
    append,
    show(wantedXs, wanted, lines) {
      reset(wanted);
      xs = wantedXs;
      series = lines;
      draw();
    },
    mark(x) {
      marked = x;
      draw();
    },
    draw,
    figure,
  };
}

/**
 * Labels no nearer to one another than a line of text, and each as near to its line's end as that lets it be.
 *
 * @param {{y: number, at: number}[]} ends
 * @param {{top: number, bottom: number}} box
 */
function apart(ends, box) {
  ends.sort((one, other) => one.y - other.y);
  let above = -Infinity;
  for (const end of ends) {
    end.at = Math.max(end.y, above + LABEL_LINE, box.top);
    above = end.at;
  }
  let under = box.bottom + 8 + LABEL_LINE;
  for (const end of [...ends].reverse()) {
    end.at = Math.min(end.at, under - LABEL_LINE);
    under = end.at;
  }
}

/** @param {any} selection @param {Object<string, any>} attributes */
function place(selection, attributes) {
  for (const [name, value] of Object.entries(attributes)) selection.attr(name, value);
}

/**
 * The powers of ten of an axis, about five of them.
 *
 * @param {any} scale
 * @returns {number[]}
 */
function tens(scale) {
  const [low, high] = scale.domain().map(Math.log10).map(Math.round);
  const every = Math.max(1, Math.ceil((high - low) / 5));
  return d3.range(low, high + 1, every).map((/** @type {number} */ power) => 10 ** power);
}

const RAISED_DIGITS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/**
 * A whole number as an exponent.
 *
 * @param {number} number
 * @returns {string}
 */
export function raised(number) {
  return String(number).replace(/-/g, "⁻").replace(/\d/g, (digit) => RAISED_DIGITS[Number(digit)]);
}

/** @param {number} value */
function tenTo(value) {
  const power = Math.round(Math.log10(value));
  if (power === 0) return "1";
  if (power === 1) return "10";
  return power === -1 ? "0.1" : `10${raised(power)}`;
}

/** @param {number} value */
function shortNumber(value) {
  return Math.abs(value) < 1e-12 ? "0" : String(Number(value.toPrecision(3)));
}

/** @param {number} value */
function exactNumber(value) {
  return Number.isFinite(value) ? String(Number(value.toPrecision(6))) : String(value);
}

/** @param {number} value */
function countWords(value) {
  return Number.isInteger(value) ? value.toLocaleString("en-GB").replace(/,/g, "\u202f") : String(Number(value.toPrecision(4)));
}

/**
 * The colour of a line by its place: from that of losses, nearest to the input, to that of gains.
 *
 * @param {number} i
 * @param {number} count
 * @returns {string}
 */
function lineColor(i, count) {
  if (count === 1) return "var(--line-only)";
  const share = Math.round((100 * i) / (count - 1));
  return `color-mix(in oklch, var(--line-last) ${share}%, var(--line-first))`;
}
