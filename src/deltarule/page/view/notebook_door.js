// @ts-check
// The door of a notebook: the kernel answers, over the messages of an anywidget model.

/** @typedef {import("./record.js").Door} Door */
/** @typedef {import("./record.js").Frame} Frame */

/**
 * What of an anywidget model is used here.
 *
 * @typedef {object} Model
 * @property {(content: any) => void} send
 * @property {(event: "msg:custom", handler: (content: any) => void) => void} on
 * @property {(event: "msg:custom", handler: (content: any) => void) => void} off
 */

/** Views of the same model, each with questions of its own: a part of every question's number. */
let notebookViews = 0;

/**
 * A door over a model. The kernel is sent `{id, ask, ...given}` and says `{id, answer}` or `{id, error}`, and, while a
 * training runs, `{frame}`. `close` ends the view: it takes no more messages, and what it still waits for is refused.
 *
 * @param {Model} model
 * @returns {Door & {close: () => void}}
 */
export function notebookDoor(model) {
  const view = `${Date.now().toString(36)}-${(notebookViews += 1)}`;
  /** @type {Map<string, {done: (answer: any) => void, failed: (error: Error) => void}>} */
  const waiting = new Map();
  /** @type {Set<(frame: Frame) => void>} */
  const listeners = new Set();
  let asked = 0;

  /** @param {any} message */
  const heard = (message) => {
    if (message.frame) {
      listeners.forEach((listener) => listener(message.frame));
      return;
    }
    const question = waiting.get(message.id);
    if (!question) return; // another view's
    waiting.delete(message.id);
    if (message.error === undefined) question.done(message.answer);
    else question.failed(new Error(message.error));
  };
  model.on("msg:custom", heard);

  return {
    kind: "notebook",
    ask: (what, given = {}) =>
      new Promise((done, failed) => {
        const id = `${view}:${(asked += 1)}`;
        waiting.set(id, { done, failed });
        model.send({ ...given, id, ask: what });
      }),
    frames(listener) {
      listeners.add(listener);
      if (listeners.size === 1) model.send({ id: `${view}:frames`, ask: "frames", on: true });
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0) model.send({ id: `${view}:frames`, ask: "frames", on: false });
      };
    },
    watch(listener) {
      listener("open");
      return () => {};
    },
    close() {
      model.off("msg:custom", heard);
      waiting.forEach((question) => question.failed(new Error("The view was closed.")));
      waiting.clear();
    },
  };
}
