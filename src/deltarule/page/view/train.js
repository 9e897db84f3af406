// @ts-check
// Training live: what is chosen, the buttons, and the cost, the accuracy and each layer's error as they go.
import { makeLines, raised } from "./charts.js";
import { element } from "./elements.js";

/** @typedef {import("./record.js").Door} Door */
/** @typedef {import("./record.js").Scene} Scene */
/** @typedef {import("./record.js").Settings} Settings */
/** @typedef {import("./record.js").Frame} Frame */
/** @typedef {import("./record.js").Value} Value */
/** @typedef {import("./address.js").Address} Address */

/** The names of what can be chosen, in the order in which it stands. */
const FIELDS = {
  dataset: "data",
  hidden: "hidden layers",
  activation: "activation σ",
  output: "output",
  cost: "cost C",
  init: "first weights",
  rule: "rule that carries δ back",
  optimizer: "optimizer",
  eta: "learning rate η",
  batch: "samples a step",
  seed: "seed",
  speed: "speed",
};

const SPEEDS = [
  [0, "as fast as it goes"],
  [1000, "1000 steps a second"],
  [100, "100 steps a second"],
  [10, "10 steps a second"],
  [1, "1 step a second"],
];

/** The network of the book's chapter 5, why its first layers do not learn, on the digits. */
const VANISHING_EXAMPLE = {
  hidden: [30, 30, 30, 30],
  activation: "sigmoid",
  output: "sigmoid",
  cost: "cross_entropy",
  init: "nielsen_scaled",
  rule: "transpose",
  optimizer: "sgd",
  eta: 0.5,
  batch: 10,
  seed: 0,
  speed: 0,
};

const MENDED_EXAMPLE = { ...VANISHING_EXAMPLE, activation: "relu", init: "auto", eta: 0.1 };

const TOLD = {
  vanishing:
    "Four hidden layers of sigmoids. σ′ is never above ¼, so each layer takes most of the error away: below, the line of " +
    "the first layer lies hundreds of times under that of the last, and the accuracy stays where guessing would be.",
  mended:
    "The same layers with relu, whose slope is 1 where it is not 0, and with weights drawn for it: all layers get an error " +
    "of about the same length, and the network learns.",
};

/**
 * @param {HTMLElement} host
 * @param {Door} door
 * @param {Scene} scene
 * @param {Address} address
 * @returns {{close: () => void}}
 */
export function makeTrain(host, door, scene, address) {
  const root = element("div", { class: "train", "data-frames": "0" });
  host.append(root);
  if (!scene.settings) return trainedBefore(root, scene);

  let settings = scene.settings;
  /** @type {Frame | null} */
  let frame = null;
  let running = false;
  let drawn = 0;
  let waiting = 0;
  let step = -1;
  /** @type {number | null} */
  let heldOut = null;

  const play = button("play", "primary", () => ask(running ? "pause" : "play"));
  const once = button("step", "", () => ask("step"));
  const reset = button("reset", "", () => ask("reset"));
  const vanish = button("the book’s vanishing gradient", "", () => example(VANISHING_EXAMPLE, TOLD.vanishing));
  const mend = button("mend it", "", () => example(MENDED_EXAMPLE, TOLD.mended));
  const told = element("p", { class: "train-told", role: "status" });
  const refused = element("p", { class: "refusal", role: "alert" });
  const chosen = element("div", { class: "train-settings" });
  const state = element("p", { class: "train-state", role: "status" });
  const read = element("dl", { class: "train-numbers" });
  const drawings = element("div", { class: "train-figures" });
  root.append(
    element("div", { class: "buttons" }, play, once, reset, element("span", { class: "gap" }), vanish, mend),
    told,
    refused,
    element("div", { class: "train-body" }, element("div", { class: "train-seen" }, state, read, drawings), chosen),
  );

  const error = makeLines(drawings, { title: "|δ| by layer", file: "error-by-layer", along: "step", log: true });
  const cost = makeLines(drawings, { title: "cost", file: "cost", along: "step" });
  const accuracy = makeLines(drawings, {
    title: "accuracy", file: "accuracy", along: "step", range: [0, 1], write: (value) => `${Math.round(100 * value)} %`,
  });
  const angle = makeLines(drawings, {
    title: "angle between the rule’s δ¹ and the true one", file: "angle", along: "step", range: [0, 180], write: (value) => `${value}°`,
  });
  angle.figure.node.hidden = true;
  const all = [error, cost, accuracy, angle];

  /** @type {Map<string, HTMLInputElement | HTMLSelectElement>} */
  const inputs = new Map();
  for (const name of Object.keys(FIELDS)) {
    if (name === "dataset" && !settings.choices.dataset) continue;
    chosen.append(field(/** @type {keyof typeof FIELDS} */ (name)));
  }
  fill();

  /** @param {string} text @param {string} kind @param {() => void} done */
  function button(text, kind, done) {
    const made = element("button", { type: "button", ...(kind ? { class: kind } : {}) }, text);
    made.addEventListener("click", done);
    return made;
  }

  /** @param {keyof typeof FIELDS} name */
  function field(name) {
    /** @type {HTMLInputElement | HTMLSelectElement} */
    let input;
    const words = name === "speed" ? null : settings.choices[name];
    if (name === "speed") {
      input = element("select", {}, ...SPEEDS.map(([value, text]) => element("option", { value: String(value) }, String(text))));
    } else if (words) {
      input = element("select", {}, ...words.map((word) => element("option", { value: word }, word.replace(/_/g, " "))));
    } else if (name === "hidden") {
      input = element("input", { type: "text", inputmode: "numeric", placeholder: "30, 30", autocomplete: "off" });
    } else {
      input = element("input", { type: "number", min: "0", step: name === "eta" ? "any" : "1", autocomplete: "off" });
    }
    input.name = name;
    inputs.set(name, input);
    input.addEventListener("change", () => changed(name));
    const label = element("label", { class: `field field-${name}` }, element("span", {}, FIELDS[name]), input);
    if (name !== "hidden") return label;
    const more = button("+", "quiet", () => layers(1));
    const fewer = button("−", "quiet", () => layers(-1));
    more.setAttribute("aria-label", "one hidden layer more");
    fewer.setAttribute("aria-label", "one hidden layer fewer");
    return element("div", { class: "field-with-buttons" }, label, fewer, more);
  }

  /** @param {number} change */
  function layers(change) {
    const hidden = [...settings.hidden];
    if (change > 0) hidden.push(hidden[hidden.length - 1] ?? 30);
    else hidden.pop();
    ask("set", { hidden });
  }

  /** @param {string} name */
  function changed(name) {
    const text = /** @type {HTMLInputElement} */ (inputs.get(name)).value.trim();
    /** @type {any} */
    let value = text;
    if (name === "hidden") value = text.split(/[\s,]+/).filter(Boolean).map(Number);
    else if (["eta", "batch", "seed", "speed"].includes(name)) value = Number(text);
    if ([value].flat().some((one) => typeof one === "number" && !Number.isFinite(one)) || text === "" && name !== "hidden") {
      refused.textContent = `${FIELDS[/** @type {keyof typeof FIELDS} */ (name)]}: ${text || "nothing"} is not a number`;
      fill();
      return;
    }
    told.textContent = "";
    ask(name === "seed" ? "reset" : "set", { [name]: value });
  }

  /** The inputs as the settings are. */
  function fill() {
    for (const [name, input] of inputs) {
      const value = /** @type {any} */ (settings)[name];
      const text = Array.isArray(value) ? value.join(", ") : String(value);
      if (input instanceof HTMLSelectElement && ![...input.options].some((option) => option.value === text)) {
        input.append(element("option", { value: text }, text));
      }
      input.value = text;
    }
  }

  /** @param {string} what @param {Partial<Settings>} [changes] */
  async function ask(what, changes = {}) {
    const { choices, ...now } = settings;
    try {
      const answer = await door.ask("train", { ...now, ...changes, do: what });
      if (answer) settings = answer;
      refused.textContent = "";
      if (what === "play" || what === "pause") tellState(what === "play" ? "running" : "paused", "");
      address.set({ net: wordsOf(settings) });
    } catch (error) {
      refused.textContent = /** @type {Error} */ (error).message;
      fill();
      return false;
    }
    fill();
    return true;
  }

  /** @param {Partial<Settings>} wanted @param {string} words */
  async function example(wanted, words) {
    told.textContent = "";
    if (await ask("reset", wanted)) {
      told.textContent = words;
      await ask("play");
    }
  }

  /** @param {Frame["state"]} now @param {string} message */
  function tellState(now, message) {
    running = now === "running";
    play.textContent = running ? "pause" : "play";
    play.setAttribute("aria-label", running ? "pause the training" : "play: train");
    root.dataset.state = now;
    const words = message || { running: "training", paused: "paused", diverged: "the training has diverged" }[now];
    if (state.textContent !== words) state.textContent = words;
  }

  /** @param {Frame} given */
  function heard(given) {
    if (!frame || given.step < step || given.delta.length !== frame.delta.length) begin(given);
    if (given.validation !== null) heldOut = number(given.validation);
    if (given.step !== step) {
      error.append(given.step, given.delta.map(number));
      cost.append(given.step, [number(given.cost)]);
      accuracy.append(given.step, [number(given.accuracy), heldOut]);
      angle.append(given.step, [given.angle]);
    }
    step = given.step;
    frame = given;
    root.dataset.received = String(Number(root.dataset.received ?? 0) + 1);
    if (!waiting) waiting = requestAnimationFrame(draw);
  }

  /** @param {Frame} given */
  function begin(given) {
    heldOut = null;
    step = -1;
    error.reset(given.delta.map((_, i) => `|δ${raised(i + 1)}|`));
    cost.reset(["C"]);
    accuracy.reset(["training", "held out"]);
    angle.reset(["δ¹"]);
  }

  function draw() {
    waiting = 0;
    if (!frame || !root.isConnected || !root.offsetWidth) return;
    tellState(frame.state, frame.message);
    angle.figure.node.hidden = frame.angle === null;
    for (const lines of all) if (!lines.figure.node.hidden) lines.draw();
    tellNumbers(frame);
    drawn += 1;
    root.dataset.frames = String(drawn);
    root.dataset.step = String(frame.step);
  }

  /** @param {Frame} now */
  function tellNumbers(now) {
    const first = number(now.delta[0]);
    const last = number(now.delta[now.delta.length - 1]);
    const L = now.delta.length;
    const pairs = [
      ["step", whole(now.step)],
      ["epoch", now.epoch.toFixed(now.epoch < 10 ? 2 : 1)],
      ["steps a second", whole(now.rate)],
      ["cost", short(now.cost)],
      ["accuracy", now.accuracy === null ? "" : percent(now.accuracy)],
      ["held out", heldOut === null ? "" : percent(heldOut)],
      [`|δ¹| / |δ${raised(L)}|`, L > 1 && first !== null && last ? short(first / last) : ""],
    ].filter(([, value]) => value !== "");
    if (read.children.length !== pairs.length) {
      read.replaceChildren(...pairs.map(() => element("div", {}, element("dt"), element("dd"))));
    }
    pairs.forEach(([name, value], i) => {
      const [dt, dd] = read.children[i].children;
      if (dt.textContent !== name) dt.textContent = name;
      if (dd.textContent !== value) dd.textContent = value;
    });
    error.figure.svg.dataset.ratio = L > 1 && first !== null && last ? String(first / last) : "";
  }

  tellState("paused", "");
  const wanted = settingsOf(address.get("net"));
  if (wanted) ask("set", wanted);
  const end = door.frames(heard);
  return {
    close() {
      end();
      cancelAnimationFrame(waiting);
      all.forEach((lines) => lines.figure.close());
    },
  };
}

/**
 * A file cannot train: it shows the training that was.
 *
 * @param {HTMLElement} root
 * @param {Scene} scene
 * @returns {{close: () => void}}
 */
function trainedBefore(root, scene) {
  const lead = scene.history?.cost.length
    ? "The training of this network, epoch by epoch."
    : "Nothing is trained here.";
  const command = element("p", { class: "lead" }, `${lead} To train live: `, element("code", {}, "deltarule explore"));
  const figures = element("div", { class: "train-figures" });
  root.append(command, figures);
  const made = showHistory(figures, scene.history);
  return { close: () => made.forEach((lines) => lines.figure.close()) };
}

/**
 * The cost and the accuracy of a history by epoch.
 *
 * @param {HTMLElement} host
 * @param {import("./record.js").History | null} history
 * @returns {import("./charts.js").Lines[]}
 */
export function showHistory(host, history) {
  if (!history?.cost.length) return [];
  const epochs = history.cost.map((_, i) => i + 1);
  const made = [];
  for (const [title, own, other] of /** @type {[string, Value[], Value[]][]} */ ([
    ["cost", history.cost, history.validation_cost],
    ["accuracy", history.accuracy, history.validation_accuracy],
  ])) {
    const both = /** @type {[string, Value[]][]} */ ([["training", own], ["held out", other]]).filter(([, values]) => values.length);
    if (!both.length) continue;
    const range = /** @type {[number, number]} */ ([0, 1]);
    const lines = makeLines(host, {
      title: `${title} by epoch`, file: `${title}-by-epoch`, along: "epoch",
      ...(title === "accuracy" && own.every((one) => typeof one === "number" && one >= 0) ? { range } : {}),
    });
    lines.show(epochs, both.map(([name]) => name), both.map(([, values]) => values.map(number)));
    made.push(lines);
  }
  return made;
}

/**
 * A value as a number to draw; null where it is none.
 *
 * @param {Value | null | undefined} value
 * @returns {number | null}
 */
function number(value) {
  return typeof value === "number" ? value : null;
}

/** @param {number} value */
function whole(value) {
  return Math.round(value).toLocaleString("en-GB").replace(/,/g, "\u202f");
}

/** @param {Value} value */
function short(value) {
  return typeof value === "number" ? String(Number(value.toPrecision(3))) : value;
}

/** @param {Value} value */
function percent(value) {
  return typeof value === "number" ? `${(100 * value).toFixed(1)} %` : value;
}

/** What is kept of the settings in a link, in this order. */
const LINKED = /** @type {const} */ ([
  "hidden", "activation", "output", "cost", "init", "rule", "optimizer", "eta", "batch", "seed",
]);

/** @param {Settings} settings */
function wordsOf(settings) {
  return LINKED.map((name) => String(settings[name]).replace(/,/g, "-")).join(",");
}

/**
 * @param {string | null} words
 * @returns {Partial<Settings> | null}
 */
function settingsOf(words) {
  const parts = words?.split(",") ?? [];
  if (parts.length !== LINKED.length) return null;
  const [hidden, activation, output, cost, init, rule, optimizer, eta, batch, seed] = parts;
  return {
    hidden: hidden.split("-").filter(Boolean).map(Number),
    activation, output, cost, init, rule, optimizer,
    eta: Number(eta), batch: Number(batch), seed: Number(seed),
  };
}
