// @ts-check
// The step-through: one sample forward and back, moment by moment, by key, button and scrubber.

import { element } from "./elements.js";
import { caption, moments } from "./moments.js";
import { activeLayer, known, makeNetwork, names, valuesOf } from "./network.js";
import { backwardBill, curveFigure, forwardBill, gradientBill, nudgeFigure, product } from "./neuron.js";
import { toNumber, whole } from "./numbers.js";
import { ruleFigures } from "./rules.js";
import { makeWeights } from "./weights.js";

/** @typedef {import("./record.js").Scene} Scene */
/** @typedef {import("./record.js").Pass} Pass */
/** @typedef {import("./record.js").Door} Door */

/** How long a moment stays while it plays. */
const MOMENT_MS = 1600;

/** So many rows has the table of a layer's numbers. */
const MOST_ROWS = 200;

/**
 * @param {HTMLElement} host
 * @param {Door} door
 * @param {Scene} scene
 * @param {any} address
 */
export function makeStep(host, door, scene, address) {
  const net = /** @type {import("./record.js").Net} */ (scene.network);
  const data = scene.data;
  if (!data || (door.kind === "file" && !scene.passes.length)) {
    host.append(element("p", { class: "refusal" }, "There are no samples to step through: open it with its data."));
    return {};
  }
  const steps = moments(net);
  const weights = makeWeights(net, door);
  /** @type {Pass | null} */
  let pass = null;
  let at = clamp(address.number("moment") ?? 0, 0, steps.length - 1);
  let layer = 0;
  let neuron = address.number("neuron") ?? -1;
  let rule = address.get("rule") ?? "transpose";
  let drawing = 0;
  /** @type {number | undefined} */
  let timer;

  // The sample, chosen from a list or by its number.
  const samples = element("select", { "aria-label": "Sample" });
  const held = door.kind === "file" ? scene.passes.map((one) => one.sample) : null;
  const picks = held
    ? scene.passes.map(({ sample, label, guess, cost }) => ({ sample, label, guess, cost }))
    : data.picks;
  for (const pick of picks) {
    const words = pick.label === null ? "" : pick.label === pick.guess ? ` · “${pick.label}”` : ` · “${pick.label}”, taken for “${pick.guess}”`;
    samples.append(element("option", { value: String(pick.sample) }, `${pick.sample}${words}`));
  }
  const number = element("input", { type: "number", min: "0", max: String(data.count - 1), "aria-label": "Number of the sample" });
  const trouble = element("p", { class: "refusal", role: "alert" });
  trouble.hidden = true;

  // The moments.
  const button = (/** @type {string} */ text, /** @type {string} */ name, /** @type {() => void} */ done) => {
    const made = element("button", { type: "button", "aria-label": name, title: name }, text);
    made.addEventListener("click", done);
    return made;
  };
  const scrubber = element("input", { type: "range", min: "0", max: String(steps.length - 1), step: "1", "aria-label": "Moment" });
  const play = button("Play", "Play", () => (timer === undefined ? start() : stop()));
  play.classList.add("play");
  const bar = element(
    "div",
    { class: "moment-bar" },
    button("|◀", "To the start", () => go(0)),
    button("◀", "One moment back", () => go(at - 1)),
    play,
    button("▶", "One moment on", () => go(at + 1)),
    button("▶|", "To the end", () => go(steps.length - 1)),
    scrubber,
  );
  const title = element("h2", {});
  const equation = element("p", { class: "equation" });
  const words = element("p", { class: "caption", "aria-live": "polite" });
  const figure = element("div", { class: "network-figure" });
  const whole_ = button("Whole layers", "Whole layers again", () => {
    picture.close();
    draw();
  });
  whole_.hidden = true;
  const detail = element("div", { class: "detail" });
  const chooser = element("input", { type: "number", min: "0", "aria-label": "Neuron" });
  const choice = element("label", { class: "choice" }, "Neuron ", chooser);
  const rulesHead = element("h3", {});
  const rules = element("div", { class: "rules" });
  const numbers = element("details", { class: "numbers" }, element("summary", {}, "All numbers of this layer"), element("div", { class: "scroll", tabindex: "0" }));
  const tall = element("div", { class: "step-view" });
  tall.append(
    element("div", { class: "sample-bar" }, element("label", {}, "Sample ", samples), element("label", {}, "or number ", number), choice, whole_),
    trouble,
    bar,
    element("div", { class: "moment-words" }, title, equation, words),
    figure,
    detail,
    element("section", { class: "rules-part" }, rulesHead, element("p", { class: "hint" }, "The same error of the same sample, carried back in five ways. Each set of bars has its own scale; a step goes along each rule’s own gradient."), rules),
    numbers,
  );
  host.replaceChildren(tall);
  host.tabIndex = -1;
  const picture = makeNetwork(figure, net, weights, data.image, (l, k) => {
    if (l !== layer) {
      const to = steps.findIndex((one) => one.kind === (at > half() ? (l === net.sizes.length - 1 ? "output" : "activation") : "a") && one.layer === l);
      neuron = k;
      go(to >= 0 ? to : at);
    } else if (k !== neuron) {
      neuron = k;
      draw();
    }
  });

  const half = () => steps.findIndex((one) => one.kind === "cost");

  /** @param {number} sample */
  async function load(sample) {
    try {
      const found = await door.ask("pass", { sample });
      pass = found;
      trouble.hidden = true;
      address.set({ sample });
      samples.value = String(sample);
      number.value = String(sample);
      go(at);
    } catch (error) {
      trouble.textContent = /** @type {Error} */ (error).message;
      trouble.hidden = false;
    }
  }

  /** @param {number} to */
  function go(to) {
    at = clamp(to, 0, steps.length - 1);
    const l = Math.max(1, activeLayer(steps[at]));
    if (l !== layer) {
      if (layer !== 0 || neuron < 0) neuron = -1;
      layer = l;
    }
    address.set({ moment: at });
    draw();
  }

  async function draw() {
    if (!pass) return;
    const here = ++drawing;
    const moment = steps[at];
    const n = net.sizes[layer];
    if (neuron < 0 || neuron >= n) neuron = most(pass.delta[layer - 1]);
    address.set({ neuron });
    picture.reveal(layer, neuron);
    const backward = moment.kind === "weights";
    let wires = null;
    try {
      if (backward) wires = await weights.leaving(layer + 1, neuron);
      else if (moment.kind === "z" || moment.kind === "input") wires = await weights.arriving(layer, neuron);
    } catch (error) {
      trouble.textContent = /** @type {Error} */ (error).message;
      trouble.hidden = false;
    }
    if (here !== drawing || !pass) return; // another was asked for meanwhile
    scrubber.value = String(at);
    scrubber.setAttribute("aria-valuetext", moment.title);
    chooser.max = String(n - 1);
    chooser.value = String(neuron);
    host.dataset.moment = moment.kind;
    host.dataset.layer = String(layer);
    host.dataset.neuron = String(neuron);
    title.textContent = moment.title;
    equation.replaceChildren(...moment.equation.map(([text, now]) => (now ? element("mark", {}, text) : text)));
    words.textContent = caption(moment, pass, net, neuron);
    picture.draw({ pass, moment, layer, neuron, wires: moment.kind === "input" ? null : wires });
    whole_.hidden = !picture.isOpen();
    drawDetail(moment, wires);
    drawRules();
    drawNumbers(moment);
    host.dataset.drawn = `${pass.sample}.${at}.${neuron}`;
  }

  /**
   * @param {import("./moments.js").Moment} moment
   * @param {number[] | null} wires
   */
  function drawDetail(moment, wires) {
    if (!pass) return;
    /** @type {HTMLElement[]} */
    const parts = [];
    const { kind } = moment;
    const pick = (/** @type {number} */ k) => {
      neuron = k;
      draw();
    };
    if (kind === "z" && wires) parts.push(forwardBill(net, pass, layer, neuron, wires, weights.bias(layer)[neuron]));
    if (kind === "weights" && wires) parts.push(backwardBill(net, pass, layer, neuron, wires));
    if (kind === "a") parts.push(curveFigure(net, pass, layer, neuron, pick));
    if (kind === "activation" || kind === "output") {
      const left = element("div", {}, curveFigure(net, pass, layer, neuron, pick), product(net, pass, layer, neuron));
      parts.push(left, nudgeFigure(net, pass, layer, neuron));
    }
    if (kind === "gradients") parts.push(gradientBill(net, pass, layer, neuron));
    detail.replaceChildren(...parts);
  }

  function drawRules() {
    if (!pass) return;
    const moment = steps[at];
    const shown = at > half() && net.sizes.length > 2;
    rules.parentElement?.toggleAttribute("hidden", !shown);
    if (!shown) return;
    const l = Math.min(layer, net.sizes.length - 2);
    rulesHead.textContent = `What else could carry the error? δ of layer ${l}${moment.layer > l ? " (at the output all are the same)" : ""}`;
    const figures = ruleFigures(net, pass, l, rule, (wanted) => {
      rule = wanted;
      address.set({ rule });
      drawRules();
      /** @type {HTMLElement | null} */ (rules.querySelector(`[data-rule="${CSS.escape(wanted)}"]`))?.focus();
    });
    const said = element("p", { class: "rule-words" }, ruleWords(rule));
    rules.replaceChildren(figures, said);
  }

  /** @param {import("./moments.js").Moment} moment */
  function drawNumbers(moment) {
    if (!pass) return;
    const found = pass;
    const whats = ["z", "a", ...(at > half() ? ["moved", "delta"] : [])].filter(
      (what) => known(moment, layer) !== "" && (what !== "delta" || known(moment, layer) === "delta"),
    );
    const head = element("tr", {}, element("th", { scope: "col" }, "neuron"), ...whats.map((what) => element("th", { scope: "col" }, names(what, layer))));
    const body = Array.from({ length: Math.min(net.sizes[layer], MOST_ROWS) }, (_, k) =>
      element("tr", {}, element("th", { scope: "row" }, String(k)), ...whats.map((what) => element("td", {}, whole(valuesOf(found, what, layer)[k], net.dtype)))),
    );
    const left = net.sizes[layer] - body.length;
    const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
    numbers.lastElementChild?.replaceChildren(table, ...(left > 0 ? [element("p", {}, `${left} more neurons`)] : []));
  }

  function start() {
    if (at === steps.length - 1) go(0);
    play.textContent = "Pause";
    play.setAttribute("aria-label", "Pause");
    timer = window.setInterval(() => (at === steps.length - 1 ? stop() : go(at + 1)), MOMENT_MS);
  }

  function stop() {
    window.clearInterval(timer);
    timer = undefined;
    play.textContent = "Play";
    play.setAttribute("aria-label", "Play");
  }

  scrubber.addEventListener("input", () => go(Number(scrubber.value)));
  samples.addEventListener("change", () => load(Number(samples.value)));
  number.addEventListener("change", () => load(Math.trunc(Number(number.value))));
  chooser.addEventListener("change", () => {
    neuron = clamp(Math.trunc(Number(chooser.value)), 0, net.sizes[layer] - 1);
    draw();
  });
  host.addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
    if (typing && event.target !== scrubber) return;
    const { key } = event;
    if (key === "ArrowRight") go(at + 1);
    else if (key === "ArrowLeft") go(at - 1);
    else if (key === "Home") go(0);
    else if (key === "End") go(steps.length - 1);
    else if (key === "ArrowDown" || key === "ArrowUp") {
      neuron = clamp(neuron + (key === "ArrowDown" ? 1 : -1), 0, net.sizes[layer] - 1);
      draw();
    } else return;
    event.preventDefault();
  });
  const sized = new ResizeObserver(() => picture.redraw());
  sized.observe(figure);
  const stopAddress = address.watch(() => {
    const [to, one, sample] = [address.number("moment"), address.number("neuron"), address.number("sample")];
    if (to !== null) at = clamp(to, 0, steps.length - 1);
    layer = Math.max(1, activeLayer(steps[at]));
    if (one !== null) neuron = one;
    if (sample !== null && sample !== pass?.sample) load(sample);
    else draw();
  });
  const first = address.number("sample");
  load(first !== null && (!held || held.includes(first)) ? first : (picks[0]?.sample ?? 0));

  return {
    hide: stop,
    close() {
      stop();
      stopAddress();
      sized.disconnect();
    },
  };
}

/** @param {string} rule */
function ruleWords(rule) {
  const words = {
    transpose: "The transpose asks what each a costs, and that is the gradient: a small step along it lowers the cost as predicted.",
    inverse:
      "The inverse answers another question: which change of a would produce a given change of z above. That is no price, and its direction has little to do with the gradient.",
    random: "A fixed random matrix carries a random blame at first. In training the weights turn towards it, and then it works.",
    direct: "A random matrix of each layer’s own carries the output’s error straight down, past the layers between.",
    sign: "Only the signs of the weights are kept: often near enough to the gradient to learn.",
  };
  return words[/** @type {"sign"} */ (rule)] ?? "";
}

/** @param {import("./record.js").Value[]} values */
function most(values) {
  let best = 0;
  values.forEach((value, k) => {
    if (Math.abs(toNumber(value)) > Math.abs(toNumber(values[best]))) best = k;
  });
  return best;
}

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 */
function clamp(value, low, high) {
  return Math.max(low, Math.min(high, Number.isFinite(value) ? value : low));
}
