// @ts-check
// The state of a view as a link: #tab=step&sample=3&layer=2. Whoever opens the link sees the same.

/**
 * What a view is looking at, word by word. Of a page it is the address after the `#`, so that a link, a reload and the
 * browser's way back bring it again; in a notebook, whose address is not ours, it is kept by the view alone.
 *
 * @typedef {object} Address
 * @property {(name: string) => string | null} get
 * @property {(name: string) => number | null} number      a whole number, or null
 * @property {(changes: Object<string, string | number | null>) => void} set    null takes a word out
 * @property {(listener: () => void) => () => void} watch  told when the link itself was changed; the result ends it
 * @property {() => string} link                           to share, or "" where there is none
 * @property {() => void} close
 */

/** Browsers refuse a page that changes its address too often: it is written when it has been still so long. */
const ADDRESS_MS = 120;

/**
 * @param {boolean} shared  whether the address bar is the view's own
 * @returns {Address}
 */
export function makeAddress(shared) {
  /** @type {Map<string, string>} */
  let words = shared ? readAddress(location.hash) : new Map();
  /** @type {Set<() => void>} */
  const listeners = new Set();
  /** @type {number | undefined} */
  let timer;

  const text = () => [...words].map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`).join("&");

  function write() {
    timer = undefined;
    const wanted = `#${text()}`;
    if (location.hash === wanted || (location.hash === "" && wanted === "#")) return;
    try {
      history.replaceState(history.state, "", wanted);
    } catch {
      // a frame without an address of its own: the view goes on, and has no link
    }
  }

  function moved() {
    const given = readAddress(location.hash);
    window.clearTimeout(timer);
    timer = undefined;
    words = given;
    listeners.forEach((listener) => listener());
  }
  if (shared) window.addEventListener("hashchange", moved);

  return {
    get: (name) => words.get(name) ?? null,
    number(name) {
      const word = words.get(name);
      return word !== undefined && /^-?\d{1,15}$/.test(word) ? Number(word) : null;
    },
    set(changes) {
      for (const [name, value] of Object.entries(changes)) {
        if (value === null || value === "") words.delete(name);
        else words.set(name, String(value));
      }
      if (shared && timer === undefined) timer = window.setTimeout(write, ADDRESS_MS);
    },
    watch(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    link: () => (shared ? `${location.href.split("#")[0]}#${text()}` : ""),
    close() {
      window.clearTimeout(timer);
      window.removeEventListener("hashchange", moved);
    },
  };
}

/**
 * The words of a link; what is not well written in it is left out.
 *
 * @param {string} hash
 * @returns {Map<string, string>}
 */
function readAddress(hash) {
  const words = new Map();
  for (const part of hash.replace(/^#/, "").split("&")) {
    const [name, ...rest] = part.split("=");
    if (!name || !rest.length) continue;
    try {
      words.set(decodeURIComponent(name), decodeURIComponent(rest.join("=")));
    } catch {
      // a percent sign that stands for nothing
    }
  }
  return words;
}
