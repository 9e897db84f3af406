// @ts-check
// The network's picture: layers from left to right, real weights as wires, and at each moment what is known so far.

import { d3 } from "./d3.js";
import { holding, items, meanOf, opened } from "./columns.js";
import { largest, raised, short, toNumber } from "./numbers.js";

/** @typedef {import("./record.js").Net} Net */
/** @typedef {import("./record.js").Pass} Pass */
/** @typedef {import("./moments.js").Moment} Moment */
/** @typedef {import("./columns.js").Item} Item */

/** The strongest so many wires between two layers are drawn. */
const MOST_WIRES = 900;

/**
 * What the picture is drawn from.
 *
 * @typedef {object} Look
 * @property {Pass} pass
 * @property {Moment} moment
 * @property {number} layer    whose neuron is chosen
 * @property {number} neuron
 * @property {number[] | null} wires   of the chosen neuron: those that leave it, backward; that arrive, forward
 */

/**
 * @param {HTMLElement} host
 * @param {Net} net
 * @param {import("./weights.js").Weights} weights
 * @param {[number, number] | null} image
 * @param {(layer: number, neuron: number) => void} choose
 */
export function makeNetwork(host, net, weights, image, choose) {
  const L = net.sizes.length - 1;
  const svg = d3.select(host).append("svg").attr("class", "network").attr("role", "img");
  /** @type {([number, number] | null)[]} */
  const open = net.sizes.map(() => null);
  /** @type {Look | null} */
  let shown = null;

  function columns() {
    return net.sizes.map((n, l) => (l === 0 && image ? [] : items(n, open[l])));
  }

  /** @param {Look} look */
  function draw(look) {
    shown = look;
    const width = Math.max(320, Math.min(host.clientWidth || 900, 2200));
    const lists = columns();
    const most = Math.max(10, ...lists.map((list) => list.length));
    const gap = width < 600 ? 12 : Math.max(15, Math.min(24, 480 / most));
    const top = 44;
    const height = top + most * gap + 26;
    const radius = Math.min(9, gap * 0.36);
    const edge = image ? Math.min(90, width * 0.14) : 30;
    const x = (/** @type {number} */ l) => edge + (l * (width - edge - Math.min(110, width * 0.16))) / L;
    const y = (/** @type {number} */ l, /** @type {number} */ i) =>
      top + ((most - lists[l].length) / 2 + i + 0.5) * gap;
    svg.attr("viewBox", `0 0 ${width} ${height}`).attr("aria-label", described(look));
    drawWires(look, lists, x, y);
    drawHeads(look, lists, x);
    if (image) drawImage(look, x(0), top + (most * gap) / 2, Math.min(edge * 1.5, width * 0.2));
    drawNeurons(look, lists, x, y, radius, gap, (width - edge) / L);
  }

  /** @param {Look} look */
  function described({ moment, pass }) {
    return (
      `A network of ${net.sizes.join(", ")} neurons at the moment “${moment.title}”, sample ${pass.sample}. ` +
      "The tables below have its numbers."
    );
  }

  /**
   * @param {Look} look
   * @param {Item[][]} lists
   * @param {(l: number) => number} x
   * @param {(l: number, i: number) => number} y
   */
  function drawWires(look, lists, x, y) {
    const { moment, layer, neuron, wires } = look;
    const drawn = [];
    for (let l = 1; l <= L; l += 1) {
      if (!lists[l - 1].length) continue; // an image: its wires are many; those of the chosen neuron are a picture
      const values = weights.between(l, lists[l], lists[l - 1]);
      const most = largest([...values]);
      const busy =
        (moment.kind === "z" && l === moment.layer) || (moment.kind === "weights" && l === moment.layer + 1);
      const order = d3.range(values.length);
      if (values.length > MOST_WIRES) order.sort((/** @type {number} */ p, /** @type {number} */ q) => Math.abs(values[q]) - Math.abs(values[p]));
      for (const place of order.slice(0, MOST_WIRES)) {
        const [i, k] = [Math.floor(place / lists[l - 1].length), place % lists[l - 1].length];
        drawn.push({ l, i, k, value: values[place], share: Math.abs(values[place]) / most, busy, chosen: false });
      }
    }
    const backward = moment.kind === "weights";
    if (wires && (backward || moment.kind === "z")) {
      const upper = backward ? layer + 1 : layer;
      const here = holding(lists[layer], neuron);
      const others = lists[backward ? layer + 1 : layer - 1];
      const carried = wires.map((w, i) => w * toNumber(backward ? look.pass.delta[layer][i] : look.pass.a[layer - 1][i]));
      const parts = others.map((item) => meanOf(carried, item));
      const most = largest(parts);
      parts.forEach((value, other) => {
        const [i, k] = backward ? [other, here] : [here, other];
        drawn.push({ l: upper, i, k, value, share: Math.abs(value) / most, busy: true, chosen: true });
      });
    }
    svg
      .selectAll("g.wires")
      .data([0])
      .join("g")
      .attr("class", "wires")
      .selectAll("path")
      .data(drawn)
      .join("path")
      .attr("class", (/** @type {any} */ d) =>
        ["wire", d.value < 0 ? "minus" : "plus", d.chosen ? "chosen" : "", d.busy ? "busy" : "", backward && d.busy ? "back" : ""].join(" "),
      )
      .attr("d", (/** @type {any} */ d) => {
        const [x0, y0, x1, y1] = [x(d.l - 1), y(d.l - 1, d.k), x(d.l), y(d.l, d.i)];
        const middle = (x0 + x1) / 2;
        return d.chosen && backward
          ? `M${x1},${y1}C${middle},${y1} ${middle},${y0} ${x0},${y0}`
          : `M${x0},${y0}C${middle},${y0} ${middle},${y1} ${x1},${y1}`;
      })
      .attr("stroke-width", (/** @type {any} */ d) => (d.chosen ? 0.7 + 3.3 * d.share : 0.25 + 1.5 * d.share))
      .attr("stroke-opacity", (/** @type {any} */ d) =>
        d.chosen ? 0.35 + 0.65 * d.share : (d.busy ? 0.16 : 0.06) + 0.4 * d.share * d.share,
      );
  }

  /**
   * @param {Look} look
   * @param {Item[][]} lists
   * @param {(l: number) => number} x
   */
  function drawHeads(look, lists, x) {
    svg
      .selectAll("text.head")
      .data(net.sizes)
      .join("text")
      .attr("class", (/** @type {number} */ _, /** @type {number} */ l) => `head${isActive(look.moment, l) ? " active" : ""}`)
      .attr("x", (/** @type {number} */ _, /** @type {number} */ l) => x(l))
      .attr("y", 15)
      .attr("text-anchor", "middle")
      .text((/** @type {number} */ n, /** @type {number} */ l) => (l === 0 ? "input" : l === L ? "output" : `layer ${l}`));
    svg
      .selectAll("text.under")
      .data(net.sizes)
      .join("text")
      .attr("class", "under")
      .attr("x", (/** @type {number} */ _, /** @type {number} */ l) => x(l))
      .attr("y", 29)
      .attr("text-anchor", "middle")
      .text((/** @type {number} */ n, /** @type {number} */ l) => {
        const what = known(look.moment, l);
        const many = lists[l].some((item) => item.to - item.from > 1) ? `, ${lists[l].length} blocks` : "";
        return `${n}${many}${what ? ` · ${names(what, l)}` : ""}`;
      });
  }

  /**
   * @param {Look} look
   * @param {number} right
   * @param {number} middle
   * @param {number} size
   */
  function drawImage({ pass, moment, layer, wires }, right, middle, size) {
    const [rows, side] = /** @type {[number, number]} */ (image);
    const backward = moment.kind === "gradients";
    const field = moment.kind === "z" && layer === 1 && wires;
    const pictures = [{ name: "x", values: pass.a[0].map(toNumber), signed: false }];
    if (field) pictures.push({ name: "its weights", values: wires, signed: true });
    else if (backward) pictures.push({ name: "∂C/∂x", values: pass.moved[0].map(toNumber), signed: true });
    const each = Math.min(size, pictures.length > 1 ? size * 0.85 : size);
    const group = svg
      .selectAll("g.picture")
      .data(pictures)
      .join("g")
      .attr("class", "picture")
      .attr("transform", (/** @type {any} */ _, /** @type {number} */ i) =>
        `translate(${right - each + 20},${middle + (i - pictures.length / 2) * (each + 22) + 8})`,
      );
    group.each(function (/** @type {any} */ picture) {
      const most = largest(picture.values);
      // @ts-ignore
      const here = d3.select(this);
      here
        .selectAll("rect.pixel")
        .data(picture.values)
        .join("rect")
        .attr("class", (/** @type {number} */ value) => `pixel ${picture.signed ? (value < 0 ? "minus" : "plus") : ""}`)
        .attr("x", (/** @type {number} */ _, /** @type {number} */ i) => (i % side) * (each / side))
        .attr("y", (/** @type {number} */ _, /** @type {number} */ i) => Math.floor(i / side) * (each / rows))
        .attr("width", each / side + 0.3)
        .attr("height", each / rows + 0.3)
        .attr("fill-opacity", (/** @type {number} */ value) => Math.abs(value) / most);
      here.selectAll("rect.frame").data([0]).join("rect").attr("class", "frame").attr("width", each).attr("height", each);
      here
        .selectAll("text")
        .data([picture.name])
        .join("text")
        .attr("class", "under")
        .attr("x", each / 2)
        .attr("y", -5)
        .attr("text-anchor", "middle")
        .text((/** @type {string} */ name) => name);
    });
  }

  /**
   * @param {Look} look
   * @param {Item[][]} lists
   * @param {(l: number) => number} x
   * @param {(l: number, i: number) => number} y
   * @param {number} radius
   * @param {number} gap
   * @param {number} room
   */
  function drawNeurons(look, lists, x, y, radius, gap, room) {
    const drawn = [];
    for (let l = 0; l <= L; l += 1) {
      const what = known(look.moment, l);
      const values = what ? valuesOf(look.pass, what, l).map(toNumber) : null;
      const most = values ? largest(values) : 1;
      lists[l].forEach((item, i) => {
        const value = values ? meanOf(values, item) : null;
        const chosen = l === look.layer && item.from <= look.neuron && look.neuron < item.to;
        drawn.push({ l, i, item, value, what, share: value === null ? 0 : value / most, chosen });
      });
    }
    const bar = Math.max(14, Math.min(54, room * 0.26));
    const group = svg
      .selectAll("g.neuron")
      .data(drawn)
      .join((/** @type {any} */ enter) => {
        const made = enter.append("g");
        made.append("rect").attr("class", "target");
        made.append("circle");
        made.append("rect").attr("class", "bar");
        made.append("text").attr("class", "word");
        made.append("title");
        return made;
      })
      .attr("class", (/** @type {any} */ d) =>
        ["neuron", d.chosen ? "chosen" : "", d.item.to - d.item.from > 1 ? "block" : "", isActive(look.moment, d.l) ? "active" : ""].join(" "),
      )
      .attr("data-neuron", (/** @type {any} */ d) => `${d.l}.${d.item.from}`)
      .attr("transform", (/** @type {any} */ d) => `translate(${x(d.l)},${y(d.l, d.i)})`)
      .on("click", (/** @type {any} */ _, /** @type {any} */ d) => pressed(d))
      .on("pointerenter", (/** @type {PointerEvent} */ event, /** @type {any} */ d) => {
        const pointed = event.pointerType === "mouse" && d.item.to - d.item.from === 1;
        if (pointed && d.l === activeLayer(look.moment) && d.l > 0) choose(d.l, d.item.from);
      });
    group.select("rect.target").attr("x", -gap / 2).attr("y", -gap / 2).attr("width", gap).attr("height", gap);
    group
      .select("circle")
      .attr("r", radius)
      .style("--share", (/** @type {any} */ d) => (d.what === "a" || d.what === "z" ? Math.min(1, Math.abs(d.share)) : 0))
      .attr("data-sign", (/** @type {any} */ d) => (d.share < 0 ? "minus" : "plus"));
    const isBar = (/** @type {any} */ d) => d.what && d.what !== "a" && d.what !== "z" && d.value !== null;
    group
      .select("rect.bar")
      .attr("class", (/** @type {any} */ d) => `bar ${d.share < 0 ? "minus" : "plus"}`)
      .attr("y", -radius * 0.7)
      .attr("height", radius * 1.4)
      .attr("x", (/** @type {any} */ d) => radius + 4 + bar * (d.share < 0 ? 1 - Math.abs(d.share) : 1))
      .attr("width", (/** @type {any} */ d) => (isBar(d) ? Math.max(0.8, bar * Math.abs(Number.isFinite(d.share) ? d.share : 1)) : 0));
    group
      .select("text.word")
      .attr("x", radius + 6 + (known(look.moment, L) && !["a", "z"].includes(known(look.moment, L)) ? 2 * bar + 2 : 0))
      .attr("dy", "0.34em")
      .text((/** @type {any} */ d) => (d.l === L && d.item.to - d.item.from === 1 ? (net.classes?.[d.item.from] ?? d.item.from) : ""));
    group.select("title").text((/** @type {any} */ d) => told(d));
  }

  /** @param {any} d */
  function told({ l, item, value, what }) {
    const who = item.to - item.from > 1 ? `neurons ${item.from} to ${item.to - 1} of layer ${l}, their mean` : `neuron ${item.from} of layer ${l}`;
    return value === null ? who : `${who}: ${names(what, l)} = ${short(value, 6)}`;
  }

  /** @param {any} d */
  function pressed({ l, item }) {
    if (item.to - item.from > 1 || (open[l] && item.to - item.from > 1)) {
      open[l] = opened(net.sizes[l], item);
      if (shown) draw(shown);
      return;
    }
    if (l > 0) choose(l, item.from);
  }

  return {
    draw,
    redraw() {
      if (shown) draw(shown);
    },
    /** Every layer whole again. */
    close() {
      open.fill(null);
      if (shown) draw(shown);
    },
    isOpen: () => open.some(Boolean),
    /**
     * See a neuron by itself.
     *
     * @param {number} l
     * @param {number} k
     */
    reveal(l, k) {
      const item = items(net.sizes[l], open[l])[holding(items(net.sizes[l], open[l]), k)];
      if (item && item.to - item.from > 1) open[l] = opened(net.sizes[l], { from: k, to: k + 2 });
    },
  };
}

/**
 * The layer that a moment is about.
 *
 * @param {Moment} moment
 */
export function activeLayer(moment) {
  return moment.kind === "input" ? 0 : moment.layer;
}

/**
 * @param {Moment} moment
 * @param {number} l
 */
function isActive(moment, l) {
  return l === activeLayer(moment) || (moment.kind === "weights" && l === moment.layer + 1);
}

/**
 * The newest thing that is known of layer l at a moment.
 *
 * @param {Moment} moment
 * @param {number} l
 * @returns {"" | "a" | "z" | "moved" | "delta"}
 */
export function known(moment, l) {
  const { kind, layer } = moment;
  if (kind === "input") return l === 0 ? "a" : "";
  if (kind === "z" || kind === "a") return l < layer ? "a" : l > layer ? "" : kind;
  if (kind === "cost") return "a";
  if (kind === "gradients") return l === 0 ? "moved" : "delta";
  if (l < layer) return "a";
  return l === layer && kind === "weights" ? "moved" : "delta";
}

/**
 * @param {Pass} pass
 * @param {string} what
 * @param {number} l
 */
export function valuesOf(pass, what, l) {
  if (what === "a") return pass.a[l];
  if (what === "moved") return pass.moved[l];
  return what === "z" ? pass.z[l - 1] : pass.delta[l - 1];
}

/**
 * @param {string} what
 * @param {number} l
 */
export function names(what, l) {
  if (what === "moved") return `∂C/∂a${raised(l)}`;
  return `${what === "delta" ? "δ" : what}${raised(l)}`;
}
