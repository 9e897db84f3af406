// @ts-check
// The whole view: its tabs over one scene, whatever door it comes through.

import { makeAddress } from "./address.js";
import { element } from "./elements.js";
import { makeDiagnose } from "./diagnose.js";
import { makeFormula } from "./formula.js";
import { makeStep } from "./step.js";
import { makeTrain } from "./train.js";

/** @typedef {import("./record.js").Door} Door */
/** @typedef {import("./record.js").Scene} Scene */

/**
 * What a tab can do; each is told when it comes to the front or leaves it, and of another scene.
 *
 * @typedef {object} Tab
 * @property {() => void} [show]
 * @property {() => void} [hide]
 * @property {(scene: Scene) => void} [scene]
 * @property {() => void} [close]
 */

/** @typedef {(host: HTMLElement, door: Door, scene: Scene, address: any, open: (scene: Scene) => void) => Tab} Maker */

/** @type {{name: string, title: string, make: Maker, there: (scene: Scene, door: Door) => boolean}[]} */
const TABS = [
  { name: "step", title: "Step through", make: makeStep, there: (scene) => scene.network !== null },
  { name: "train", title: "Train", make: makeTrain, there: (scene) => scene.settings !== null || scene.history !== null },
  { name: "formula", title: "Formula", make: makeFormula, there: () => true },
  { name: "diagnose", title: "Diagnose", make: makeDiagnose, there: () => true },
];

const STATES = {
  open: "",
  lost: "The program does not answer. This page looks for it again every second.",
  taken: "This page is open in another tab, which has the program now. Reload to have it here.",
};

/**
 * Show the view in `root`. The result takes it away again.
 *
 * @param {HTMLElement} root
 * @param {Door} door
 * @returns {() => void}
 */
export function mount(root, door) {
  const address = makeAddress(door.kind !== "notebook");
  const state = element("p", { class: "state", role: "status" });
  const title = element("span", { class: "scene-title" });
  const list = element("div", { class: "tabs", role: "tablist", "aria-label": "Views" });
  const panels = element("div", { class: "panels" }, element("p", { class: "waiting" }, "Opening …"));
  const link = element("button", { type: "button", class: "quiet" }, "Copy link");
  const head = element("header", {}, element("strong", { class: "name" }, "deltarule"), title, list);
  if (door.kind === "server") head.append(link);
  root.classList.add("deltarule");
  root.replaceChildren(head, state, panels);

  /** @type {{name: string, button: HTMLButtonElement, panel: HTMLElement, tab: Tab | null, make: () => Tab}[]} */
  let tabs = [];
  let front = "";
  let ended = false;

  link.addEventListener("click", async () => {
    await navigator.clipboard.writeText(address.link()).catch(() => {});
    state.textContent = "The link is copied.";
  });
  door.watch((now) => {
    state.textContent = STATES[now] ?? "";
    root.dataset.connection = now;
  });
  const stopAddress = address.watch(() => choose(wanted()));

  /** @param {Scene} scene */
  function open(scene) {
    end();
    title.textContent = scene.title;
    root.dataset.scene = scene.title;
    tabs = TABS.filter((one) => one.there(scene, door)).map((one) => {
      const panel = element("section", { class: `panel ${one.name}`, role: "tabpanel", "aria-label": one.title });
      const button = element("button", { type: "button", role: "tab", "data-tab": one.name }, one.title);
      button.addEventListener("click", () => choose(one.name));
      panel.hidden = true;
      return { name: one.name, button, panel, tab: null, make: () => one.make(panel, door, scene, address, open) };
    });
    list.replaceChildren(...tabs.map((one) => one.button));
    panels.replaceChildren(...tabs.map((one) => one.panel));
    choose(wanted());
    root.dataset.ready = "";
  }

  function wanted() {
    const asked = address.get("tab");
    return tabs.find((one) => one.name === asked)?.name ?? tabs[0]?.name ?? "";
  }

  /** @param {string} name */
  function choose(name) {
    for (const one of tabs) {
      const chosen = one.name === name;
      one.button.setAttribute("aria-selected", String(chosen));
      one.button.tabIndex = chosen ? 0 : -1;
      one.panel.hidden = !chosen;
      if (!chosen && one.name === front) one.tab?.hide?.();
      if (chosen) {
        one.tab ??= one.make();
        one.tab.show?.();
      }
    }
    front = name;
    if (address.get("tab") !== name) address.set({ tab: name });
  }

  list.addEventListener("keydown", (event) => {
    const place = tabs.findIndex((one) => one.name === front);
    const to = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const next = tabs[(to + tabs.length) % tabs.length];
    choose(next.name);
    next.button.focus();
  });

  function end() {
    for (const one of tabs) {
      if (one.name === front) one.tab?.hide?.();
      one.tab?.close?.();
    }
    tabs = [];
  }

  door.ask("scene").then(
    (scene) => {
      if (!ended) open(scene);
    },
    (error) => panels.replaceChildren(element("p", { class: "refusal", role: "alert" }, error.message)),
  );

  return () => {
    ended = true;
    end();
    stopAddress();
    address.close();
    root.replaceChildren();
  };
}
