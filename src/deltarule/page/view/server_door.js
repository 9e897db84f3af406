// @ts-check
// The door of a running program: questions and frames over one WebSocket, which is made again when it is lost.

/** @typedef {import("./record.js").Door} Door */
/** @typedef {import("./record.js").Frame} Frame */

/** How long to wait before the connection is tried again. */
const AGAIN_MS = 1000;

/** The code with which the program turns away a page that has no key of this start. */
const TURNED_AWAY = 4403;

/** @returns {Door} */
export function serverDoor() {
  /** @type {Map<number, {text: string, done: (answer: any) => void, failed: (error: Error) => void}>} */
  const waiting = new Map();
  /** @type {Set<(frame: Frame) => void>} */
  const listeners = new Set();
  /** @type {Set<(state: "open" | "lost" | "taken") => void>} */
  const watchers = new Set();
  /** @type {WebSocket | null} */
  let socket = null;
  /** @type {"open" | "lost" | "taken" | null} */
  let state = null;
  /** @type {Frame | null} */
  let newest = null;
  let asked = 0;

  /** @param {"open" | "lost" | "taken"} now */
  function tell(now) {
    if (state === now) return;
    state = now;
    watchers.forEach((watcher) => watcher(now));
  }

  function connect() {
    const made = new WebSocket(`ws://${location.host}/ws${location.search}`);
    made.onopen = () => {
      socket = made;
      tell("open");
      waiting.forEach(({ text }) => made.send(text));
    };
    made.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.frame) {
        newest = message.frame;
        listeners.forEach((listener) => listener(message.frame));
        return;
      }
      const question = waiting.get(message.id);
      if (!question) return;
      waiting.delete(message.id);
      if (message.error === undefined) question.done(message.answer);
      else question.failed(new Error(message.error));
    };
    made.onclose = ({ code }) => {
      socket = null;
      tell("lost");
      if (code === TURNED_AWAY) {
        const words = "The program was started anew, and this link has the key of before. Open the link that it printed.";
        waiting.forEach((question) => question.failed(new Error(words)));
        waiting.clear();
        return;
      }
      window.setTimeout(connect, AGAIN_MS);
    };
  }
  connect();

  return {
    kind: "server",
    ask: (what, given = {}) =>
      new Promise((done, failed) => {
        asked += 1;
        const text = JSON.stringify({ ...given, id: asked, ask: what });
        waiting.set(asked, { text, done, failed });
        if (socket) socket.send(text);
      }),
    frames(listener) {
      listeners.add(listener);
      if (newest) listener(newest);
      return () => listeners.delete(listener);
    },
    watch(listener) {
      watchers.add(listener);
      if (state) listener(state);
      return () => watchers.delete(listener);
    },
  };
}
