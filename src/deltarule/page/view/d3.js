// stand-in until the shell's is there
import "./d3.min.js";
export const d3 = globalThis.d3;
