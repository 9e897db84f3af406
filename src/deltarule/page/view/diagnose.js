// @ts-check
// A network that does not train: where the error stops, when, and what to do about it.
import { makeLines, raised } from "./charts.js";
import { element } from "./elements.js";
import { makeHeat } from "./heat.js";
import { showHistory } from "./train.js";
import { makeWaterfall } from "./waterfall.js";

/** @typedef {import("./record.js").Door} Door */
/** @typedef {import("./record.js").Scene} Scene */
/** @typedef {import("./record.js").FlowView} FlowView */
/** @typedef {import("./address.js").Address} Address */

/** As many lines are told apart in one drawing. */
const MOST_LINES = 8;

/** Larger files are not read: a watch's record of many thousand passes has less. */
const LARGEST_UPLOAD = 64 * 2 ** 20;

/**
 * @param {HTMLElement} host
 * @param {Door} door
 * @param {Scene} scene
 * @param {Address} address
 * @returns {{close: () => void}}
 */
export function makeDiagnose(host, door, scene, address) {
  const root = element("div", { class: "diagnose" });
  host.append(root);
  const refused = element("p", { class: "refusal", role: "alert" });
  const body = element("div", { class: "diagnose-body" });
  /** @type {{close: () => void} | null} */
  let shown = null;
  let asked = 0;

  const runs = element("select", { name: "run" }, element("option", { value: "" }, scene.title));
  const file = element("input", { type: "file", accept: ".json,application/json" });
  if (door.kind === "file") {
    root.append(element("p", { class: "lead" }, scene.title), refused, body);
  } else {
    root.append(
      element(
        "div",
        { class: "diagnose-choice" },
        element("label", { class: "field" }, element("span", {}, "run"), runs),
        element("label", { class: "field" }, element("span", {}, "or a saved watch or history: choose it, or drop it here"), file),
      ),
      refused,
      body,
    );
    door.ask("runs").then(listed, refuse);
  }

  /** @param {{name: string, kind: string}[]} found */
  function listed(found) {
    runs.replaceChildren(element("option", { value: "" }, scene.title));
    for (const { name, kind } of found) runs.append(element("option", { value: name }, kind ? `${name} (${kind})` : name));
    const wanted = address.get("run");
    if (wanted && wanted !== runs.value) take(wanted, false);
  }

  /** @param {unknown} error */
  function refuse(error) {
    refused.textContent = /** @type {Error} */ (error).message;
  }

  /** @param {Scene} given @param {boolean} fresh  whether the step that was looked at is another scene's */
  function show(given, fresh) {
    if (fresh) address.set({ at: null });
    shown?.close();
    body.replaceChildren();
    shown = makeDiagnosis(body, door, given, address);
  }

  /** @param {string} name @param {boolean} fresh */
  async function take(name, fresh) {
    const mine = (asked += 1);
    refused.textContent = "";
    try {
      const found = name ? await door.ask("open", { name }) : scene;
      if (mine !== asked) return;
      runs.value = name;
      address.set({ run: name || null });
      show(found, fresh);
    } catch (error) {
      if (mine === asked) refuse(error);
    }
  }

  /** @param {File | undefined} given */
  async function upload(given) {
    if (!given) return;
    const mine = (asked += 1);
    refused.textContent = "";
    try {
      if (given.size > LARGEST_UPLOAD) {
        throw new Error(`${given.name} is larger than ${LARGEST_UPLOAD / 2 ** 20} MB; open it by name: deltarule explore ${given.name}`);
      }
      const found = await door.ask("upload", { name: given.name, text: await given.text() });
      if (mine !== asked) return;
      address.set({ run: null });
      show(found, true);
      runs.selectedIndex = -1;
    } catch (error) {
      if (mine === asked) refuse(error);
    }
  }

  runs.addEventListener("change", () => take(runs.value, true));
  file.addEventListener("change", () => upload(file.files?.[0]));
  if (door.kind !== "file") {
    root.addEventListener("dragover", (event) => {
      event.preventDefault();
      root.classList.add("dropping");
    });
    root.addEventListener("dragleave", () => root.classList.remove("dropping"));
    root.addEventListener("drop", (event) => {
      event.preventDefault();
      root.classList.remove("dropping");
      upload(event.dataTransfer?.files[0]);
    });
  }
  const unwatch = address.watch(() => {
    const wanted = address.get("run") ?? "";
    if (wanted !== runs.value && door.kind !== "file" && runs.selectedIndex >= 0) take(wanted, false);
    else show(scene, false);
  });
  show(scene, false);
  return {
    close() {
      unwatch();
      shown?.close();
      asked += 1;
    },
  };
}

/**
 * Of one scene: the heat map, the errors over the steps, and the flow of the step that is chosen.
 *
 * @param {HTMLElement} host
 * @param {Door} door
 * @param {Scene} scene
 * @param {Address} address
 * @returns {{close: () => void}}
 */
function makeDiagnosis(host, door, scene, address) {
  const heat = scene.heat?.steps.length ? scene.heat : null;
  /** @type {{close: () => void}[]} */
  const open = [];
  /** @type {{close: () => void} | null} */
  let fall = null;
  let asked = 0;
  const over = element("div", { class: "diagnose-over" });
  const one = element("section", { class: "diagnose-flow", "aria-live": "off" });
  const after = element("div", { class: "train-figures" });
  host.append(over, one, after);

  const map = heat ? makeHeat(over, heat, (at) => choose(at)) : null;
  const lines = heat ? deltaLines(over, heat) : null;
  if (map) open.push(map);
  if (lines) open.push(lines.figure);
  for (const drawn of showHistory(after, scene.history)) open.push(drawn.figure);

  /** @param {number | null} at */
  async function choose(at) {
    const mine = (asked += 1);
    map?.mark(at);
    lines?.mark(at === null || !heat ? null : heat.steps[at]);
    address.set({ at: at === null || !heat ? null : heat.steps[at] });
    /** @type {FlowView | null} */
    let flow = at === null ? scene.flow : (heat?.flows[at] ?? null);
    let why = "";
    if (!flow) {
      try {
        flow = await door.ask("flow", at === null ? {} : { at });
      } catch (error) {
        why = /** @type {Error} */ (error).message;
      }
    }
    if (mine !== asked) return;
    fall?.close();
    fall = showFlow(one, at === null ? "The network as it is" : `Step ${heat?.steps[at]}`, flow, why);
  }

  const wanted = address.number("at");
  const place = heat && wanted !== null ? heat.steps.indexOf(wanted) : -1;
  if (place >= 0) choose(place);
  else if (scene.flow && !(heat && scene.network === null)) choose(null);
  else if (heat) choose(heat.steps.length - 1);
  else if (!scene.history?.cost.length) {
    one.append(
      element("p", { class: "lead" }, "Nothing was recorded here. A training keeps its flow with ", element("code", {}, "--watch 10"), ", and a PyTorch model with ", element("code", {}, "watch(model)"), "."),
    );
  }
  return {
    close() {
      asked += 1;
      fall?.close();
      open.forEach((figure) => figure.close());
    },
  };
}

/**
 * |delta^l| over the steps; of a deep model that of some layers, evenly chosen.
 *
 * @param {HTMLElement} host
 * @param {import("./record.js").Heat} heat
 */
function deltaLines(host, heat) {
  const n = heat.delta.length;
  const count = Math.min(n, MOST_LINES);
  const chosen = [...new Set(Array.from({ length: count }, (_, i) => Math.round((i * (n - 1)) / Math.max(1, count - 1))))];
  const lines = makeLines(host, { title: "|δ| by layer, over the training", file: "error-over-training", along: "step", log: true });
  const label = (/** @type {string} */ name) => {
    const layer = /^layer (\d+)$/.exec(name);
    if (layer) return `|δ${raised(Number(layer[1]))}|`;
    return name.length > 12 ? `…${name.slice(-11)}` : name;
  };
  lines.show(
    heat.steps,
    chosen.map((i) => label(heat.delta[i].label)),
    chosen.map((i) => heat.delta[i].values.map((value) => (typeof value === "number" ? value : null))),
  );
  return lines;
}

/**
 * A flow with its verdicts and remedies, and its budget.
 *
 * @param {HTMLElement} host
 * @param {string} name
 * @param {FlowView | null} flow
 * @param {string} why   there is none
 * @returns {{close: () => void} | null}
 */
function showFlow(host, name, flow, why) {
  host.replaceChildren();
  const head = element("h2", {}, name);
  host.append(head);
  if (!flow) {
    host.append(element("p", { class: "refusal", role: "status" }, why || "There is no flow to show."));
    return null;
  }
  const good = flow.verdict === "healthy";
  head.append(": ", element("span", { class: good ? "good" : "bad", "data-verdict": flow.verdict }, `${good ? "✓ " : "✗ "}${flow.verdict}`));
  if (good) host.append(element("p", {}, "No layer loses the error, and none blows it up."));
  const list = element("ul", { class: "verdicts" });
  for (const one of flow.verdicts) {
    const item = element("li", {}, element("p", {}, element("strong", {}, one.word), `: ${one.why}.`));
    if (one.advice) item.append(element("p", { class: "advice" }, element("strong", {}, "What to do: "), `${one.advice}.`));
    if (one.remedy.length) {
      item.append(
        element("p", { class: "advice" }, element("strong", {}, "What mends it"), ", with each layer’s gain now and as predicted:"),
        element("ul", { class: "remedy" }, ...one.remedy.map((change) => element("li", {}, change))),
      );
    }
    list.append(item);
  }
  if (flow.verdicts.length) host.append(list);
  for (const note of flow.notes ?? []) host.append(element("p", { class: "figure-note" }, `${note}.`));
  const drawing = makeWaterfall(host, flow);
  if (flow.unseen.length) {
    host.append(
      element(
        "details",
        { class: "unseen" },
        element("summary", {}, `not seen: ${flow.unseen.length}`),
        element("ul", {}, ...flow.unseen.map((what) => element("li", {}, what))),
      ),
    );
  }
  return drawing;
}
