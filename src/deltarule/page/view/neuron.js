// @ts-check
// What there is to know of one neuron at one moment: the bill of its wires, its place on the curve, its nudge.

import { d3 } from "./d3.js";
import { element } from "./elements.js";
import { raised, short, signed, toNumber, whole } from "./numbers.js";

/** @typedef {import("./record.js").Net} Net */
/** @typedef {import("./record.js").Pass} Pass */

/** As many wires stand in a bill; the rest are summed. */
const SHOWN_WIRES = 8;

/**
 * A table with a caption, a head and rows; the last row is the sum.
 *
 * @param {string} title
 * @param {string[]} head
 * @param {string[][]} rows
 * @param {string[]} sum
 */
function billTable(title, head, rows, sum) {
  const cells = (/** @type {string[]} */ row, /** @type {"td" | "th"} */ tag) =>
    element("tr", {}, ...row.map((text) => element(tag, tag === "th" ? { scope: "col" } : {}, text)));
  return element(
    "table",
    { class: "bill" },
    element("caption", {}, title),
    element("thead", {}, cells(head, "th")),
    element("tbody", {}, ...rows.map((row) => cells(row, "td"))),
    element("tfoot", {}, cells(sum, "td")),
  );
}

/**
 * The largest parts, and the others in one row.
 *
 * @param {number[]} parts
 * @param {(i: number) => string[]} row
 * @param {number} columns
 */
function largestRows(parts, row, columns) {
  const order = parts.map((_, i) => i).sort((p, q) => Math.abs(parts[q]) - Math.abs(parts[p]));
  const few = parts.length <= SHOWN_WIRES + 1 ? order : order.slice(0, SHOWN_WIRES);
  const rows = few.map(row);
  if (few.length < parts.length) {
    const rest = order.slice(few.length).reduce((sum, i) => sum + parts[i], 0);
    rows.push([`${parts.length - few.length} more`, ...Array(columns - 2).fill(""), signed(rest)]);
  }
  return rows;
}

/**
 * Backward: which w_jk δ_j make up the blame of neuron k.
 *
 * @param {Net} net
 * @param {Pass} pass
 * @param {number} l
 * @param {number} k
 * @param {number[]} wires   column k of W^{l+1}
 */
export function backwardBill(net, pass, l, k, wires) {
  const above = raised(l + 1);
  const delta = pass.delta[l].map(toNumber);
  const parts = wires.map((w, j) => w * delta[j]);
  const name = (/** @type {number} */ j) => (l + 1 === net.sizes.length - 1 && net.classes ? `${j} (${net.classes[j]})` : String(j));
  return billTable(
    `The bill of neuron ${k} in layer ${l}: what each wire that leaves it brings back`,
    ["from j", "w_jk", `δ${above}_j`, `w_jk · δ${above}_j`],
    largestRows(parts, (j) => [name(j), signed(wires[j]), signed(pass.delta[l][j]), signed(parts[j])], 4),
    ["sum", "", "", `∂C/∂a${raised(l)} = ${whole(pass.moved[l][k], net.dtype)}`],
  );
}

/**
 * Forward: what arrives at neuron k over its wires.
 *
 * @param {Net} net
 * @param {Pass} pass
 * @param {number} l
 * @param {number} k
 * @param {number[]} wires   row k of W^l
 * @param {number} bias
 */
export function forwardBill(net, pass, l, k, wires, bias) {
  const below = raised(l - 1);
  const a = pass.a[l - 1].map(toNumber);
  const parts = wires.map((w, i) => w * a[i]);
  const rows = largestRows(parts, (i) => [String(i), signed(wires[i]), short(a[i]), signed(parts[i])], 4);
  rows.push(["bias", "", "", signed(bias)]);
  return billTable(
    `What arrives at neuron ${k} of layer ${l}`,
    ["from i", "w_ki", `a${below}_i`, `w_ki · a${below}_i`],
    rows,
    ["sum", "", "", `z${raised(l)} = ${whole(pass.z[l - 1][k], net.dtype)}`],
  );
}

/**
 * BP4 for the wires that arrive at neuron k.
 *
 * @param {Net} net
 * @param {Pass} pass
 * @param {number} l
 * @param {number} k
 */
export function gradientBill(net, pass, l, k) {
  const delta = toNumber(pass.delta[l - 1][k]);
  const a = pass.a[l - 1].map(toNumber);
  const parts = a.map((one) => one * delta);
  const order = parts.map((_, i) => i).sort((p, q) => Math.abs(parts[q]) - Math.abs(parts[p]));
  return billTable(
    `What the weights into neuron ${k} of layer ${l} are told: the ${Math.min(SHOWN_WIRES, parts.length)} largest`,
    ["from i", `a${raised(l - 1)}_i`, `δ${raised(l)}_k`, "∂C/∂w_ki"],
    order.slice(0, SHOWN_WIRES).map((i) => [String(i), short(a[i]), signed(delta), signed(parts[i])]),
    ["bias", "", "", `∂C/∂b = δ = ${whole(pass.delta[l - 1][k], net.dtype)}`],
  );
}

/**
 * The activation with every neuron's z on it, and the slope of the chosen one.
 *
 * @param {Net} net
 * @param {Pass} pass
 * @param {number} l
 * @param {number} k
 * @param {(k: number) => void} choose
 */
export function curveFigure(net, pass, l, k, choose) {
  const curve = pass.curves[l - 1];
  const figure = element("figure", { class: "curve" });
  if (!curve.z.length) {
    figure.append(
      element("figcaption", {}, "A softmax makes each output of all z together, so no one curve shows it."),
    );
    return figure;
  }
  const [width, height, margin] = [340, 210, { left: 44, right: 12, top: 12, bottom: 30 }];
  const z = pass.z[l - 1].map(toNumber);
  const a = pass.a[l].map(toNumber);
  const slope = toNumber(pass.slope[l - 1][k]);
  const x = d3.scaleLinear(d3.extent(curve.z), [margin.left, width - margin.right]);
  const y = d3.scaleLinear(d3.extent([...curve.a.map(toNumber), ...a.filter(Number.isFinite)]), [height - margin.bottom, margin.top]).nice();
  const svg = d3
    .create("svg")
    .attr("viewBox", `0 0 ${width} ${height}`)
    .attr("role", "img")
    .attr("aria-label", `${curve.name}: at z = ${short(z[k])} neuron ${k} has a = ${short(a[k])} and the slope ${short(slope)}`);
  axis(svg, x, y, width, height, margin, "z", "a");
  svg
    .append("path")
    .attr("class", "sigma")
    .attr("d", d3.line((/** @type {number} */ _, /** @type {number} */ i) => x(curve.z[i]), (/** @type {number} */ _, /** @type {number} */ i) => y(toNumber(curve.a[i])))(curve.z));
  svg
    .selectAll("circle")
    .data(z.map((at, i) => ({ at, i })).filter(({ at, i }) => Number.isFinite(at) && i !== k && z.length <= 400))
    .join("circle")
    .attr("class", "other")
    .attr("r", 3)
    .attr("cx", (/** @type {any} */ d) => x(d.at))
    .attr("cy", (/** @type {any} */ d) => y(a[d.i]))
    .on("click", (/** @type {any} */ _, /** @type {any} */ d) => choose(d.i));
  if (Number.isFinite(z[k])) {
    const reach = (x.domain()[1] - x.domain()[0]) / 6;
    svg
      .append("line")
      .attr("class", "tangent")
      .attr("x1", x(z[k] - reach))
      .attr("x2", x(z[k] + reach))
      .attr("y1", y(a[k] - reach * slope))
      .attr("y2", y(a[k] + reach * slope));
    svg.append("circle").attr("class", "chosen").attr("r", 5).attr("cx", x(z[k])).attr("cy", y(a[k]));
  }
  figure.append(
    svg.node(),
    element("figcaption", {}, `${curve.name} with every z of layer ${l} on it. Neuron ${k} sits where the slope is σ′(z) = ${short(slope)}.`),
  );
  return figure;
}

/**
 * delta = moved times slope, to the engine's digits.
 *
 * @param {Net} net
 * @param {Pass} pass
 * @param {number} l
 * @param {number} k
 */
export function product(net, pass, l, k) {
  const here = raised(l);
  const moved = whole(pass.moved[l][k], net.dtype);
  const slope = whole(pass.slope[l - 1][k], net.dtype);
  const line = element("p", { class: "product" });
  const part = (/** @type {string} */ symbol, /** @type {string} */ value) =>
    element("span", { class: "factor" }, element("span", { class: "symbol" }, symbol), element("b", {}, value));
  const softmax = net.activations[l - 1] === "softmax";
  const delta = part(`δ${here}`, whole(pass.delta[l - 1][k], net.dtype));
  delta.dataset.value = "delta";
  if (softmax) line.append(delta);
  else line.append(part(`∂C/∂a${here}`, moved), " × ", part(`σ′(z${here})`, slope), " = ", delta);
  return line;
}

/**
 * The neuron's z, moved by hand: what the cost really does, beside what delta says.
 *
 * @param {Net} net
 * @param {Pass} pass
 * @param {number} l
 * @param {number} k
 */
export function nudgeFigure(net, pass, l, k) {
  const nudges = pass.nudges[l - 1];
  const row = nudges.neurons.indexOf(k);
  const figure = element("figure", { class: "nudge" });
  const delta = toNumber(pass.delta[l - 1][k]);
  const measured = pass.measured[l - 1][k];
  const facts = element(
    "p",
    { class: "facts" },
    element("span", { class: "factor" }, element("span", { class: "symbol" }, `δ${raised(l)}, by backpropagation`), element("b", {}, whole(pass.delta[l - 1][k], net.dtype))),
    element(
      "span",
      { class: "factor" },
      element("span", { class: "symbol" }, "∂C/∂z, measured"),
      element("b", {}, measured === null ? (row < 0 ? "not measured" : "a kink is too near") : short(measured, 8)),
    ),
  );
  figure.append(facts);
  if (row < 0) {
    figure.append(element("figcaption", {}, "Only the neurons with the largest errors of so wide a layer are measured."));
    return figure;
  }
  const h = nudges.h;
  const cost = nudges.cost[row].map(toNumber);
  const at0 = cost[h.indexOf(0)];
  const [width, height, margin] = [340, 210, { left: 52, right: 12, top: 12, bottom: 30 }];
  const x = d3.scaleLinear([h[0], h[h.length - 1]], [margin.left, width - margin.right]);
  const finite = cost.filter(Number.isFinite);
  const extent = d3.extent(finite.length ? finite : [0, 1]);
  const spread = extent[1] - extent[0] || Math.abs(at0) * 1e-3 || 1;
  const y = d3.scaleLinear([extent[0] - spread * 0.12, extent[1] + spread * 0.12], [height - margin.bottom, margin.top]);
  const svg = d3
    .create("svg")
    .attr("viewBox", `0 0 ${width} ${height}`)
    .attr("role", "img")
    .attr("aria-label", `The cost of this sample as z of neuron ${k} is moved from ${short(h[0])} to ${short(h[h.length - 1])}, with a line of slope delta`);
  axis(svg, x, y, width, height, margin, "nudge of z", "C");
  const clip = `inset(0 0 ${margin.bottom}px 0)`;
  svg.append("line").attr("class", "tangent").attr("clip-path", clip);
  const reach = Math.min(2, delta === 0 || !Number.isFinite(delta) ? 2 : Math.abs((spread * 1.1) / delta));
  svg
    .select("line.tangent")
    .attr("x1", x(-reach))
    .attr("x2", x(reach))
    .attr("y1", y(at0 - reach * delta))
    .attr("y2", y(at0 + reach * delta));
  svg
    .append("path")
    .attr("class", "cost")
    .attr("d", d3.line().defined((/** @type {number} */ one) => Number.isFinite(one)).x((/** @type {number} */ _, /** @type {number} */ i) => x(h[i])).y((/** @type {number} */ one) => y(one))(cost));
  const handle = svg.append("circle").attr("class", "handle").attr("r", 8);
  const slider = element("input", {
    type: "range",
    min: "0",
    max: String(h.length - 1),
    step: "1",
    value: String(h.indexOf(0)),
    "aria-label": `Nudge z of neuron ${k}`,
  });
  const said = element("output", { class: "said" });

  /** @param {number} i */
  function place(i) {
    slider.value = String(i);
    slider.setAttribute("aria-valuetext", `${signed(h[i])}`);
    handle.attr("cx", x(h[i])).attr("cy", y(Number.isFinite(cost[i]) ? cost[i] : at0));
    const change = cost[i] - at0;
    said.textContent =
      h[i] === 0
        ? `C = ${short(at0, 6)}. Drag the point: the cost is measured anew at each place.`
        : `z ${signed(h[i])}: the cost changes by ${signed(change, 5)}; δ · nudge says ${signed(delta * h[i], 5)}` +
          (Math.abs(h[i]) > 0.5 ? " (δ is the slope at 0: the nearer, the better it fits)." : ".");
  }
  const near = (/** @type {number} */ wanted) =>
    h.reduce((best, one, i) => (Math.abs(one - wanted) < Math.abs(h[best] - wanted) ? i : best), 0);
  handle.call(
    d3.drag().on("drag", (/** @type {any} */ event) => place(near(x.invert(event.x)))),
  );
  slider.addEventListener("input", () => place(Number(slider.value)));
  slider.addEventListener("keydown", (event) => event.stopPropagation());
  place(h.indexOf(0));
  figure.append(svg.node(), slider, said);
  return figure;
}

/**
 * @param {any} svg
 * @param {any} x
 * @param {any} y
 * @param {number} width
 * @param {number} height
 * @param {{left: number, right: number, top: number, bottom: number}} margin
 * @param {string} under
 * @param {string} beside
 */
function axis(svg, x, y, width, height, margin, under, beside) {
  svg
    .append("g")
    .attr("class", "axis")
    .attr("transform", `translate(0,${height - margin.bottom})`)
    .call(d3.axisBottom(x).ticks(5).tickSizeOuter(0));
  svg.append("g").attr("class", "axis").attr("transform", `translate(${margin.left},0)`).call(d3.axisLeft(y).ticks(4).tickSizeOuter(0));
  svg.append("text").attr("class", "under").attr("x", width - margin.right).attr("y", height - 2).attr("text-anchor", "end").text(under);
  svg.append("text").attr("class", "under").attr("x", margin.left + 6).attr("y", margin.top + 4).text(beside);
}
