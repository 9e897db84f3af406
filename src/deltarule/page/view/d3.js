// D3, which is a script of the other kind: it sets `d3` on globalThis.
import "./d3.min.js";

/** @type {any} */
export const d3 = /** @type {any} */ (globalThis).d3;
