// @ts-check
// The network's weights on this side: read once, looked up by neuron, and taken together for drawing.

import { decoded, toNumber } from "./numbers.js";

/** @typedef {import("./record.js").Net} Net */
/** @typedef {import("./record.js").Door} Door */
/** @typedef {import("./columns.js").Item} Item */

/**
 * @typedef {object} Weights
 * @property {(layer: number, to: Item[], from: Item[]) => Float64Array} between   the mean weight of each pair, row by row
 * @property {(layer: number, k: number) => Promise<number[]>} leaving   column k of W^layer: the wires that leave neuron k
 * @property {(layer: number, j: number) => Promise<number[]>} arriving  row j
 * @property {(layer: number) => ArrayLike<number>} bias
 */

/**
 * @param {Net} net
 * @param {Door} door
 * @returns {Weights}
 */
export function makeWeights(net, door) {
  const W = net.W.map((matrix) => (matrix.values === null ? null : decoded(matrix.values, net.dtype)));
  const b = net.b.map((text) => decoded(text, net.dtype));

  /**
   * @param {number} layer
   * @param {number} neuron   of the layer below
   */
  async function ask(layer, neuron, side = "out") {
    const found = await door.ask("wires", { layer, neuron });
    return found[side].map(toNumber);
  }

  return {
    bias: (layer) => b[layer - 1],
    between(layer, to, from) {
      const matrix = net.W[layer - 1];
      const values = W[layer - 1];
      const columns = matrix.shape[1];
      const found = new Float64Array(to.length * from.length);
      to.forEach((row, r) => {
        from.forEach((column, c) => {
          let sum = 0;
          if (values) {
            for (let j = row.from; j < row.to; j += 1) {
              for (let k = column.from; k < column.to; k += 1) sum += values[j * columns + k];
            }
            sum /= (row.to - row.from) * (column.to - column.from);
          } else if (matrix.blocks) {
            const place = (/** @type {number[]} */ starts, /** @type {number} */ i) =>
              Math.max(0, starts.findIndex((start) => start > i) - 1);
            sum = matrix.blocks.mean[place(matrix.blocks.to, row.from)][place(matrix.blocks.from, column.from)];
          }
          found[r * from.length + c] = sum;
        });
      });
      return found;
    },
    async leaving(layer, k) {
      const values = W[layer - 1];
      if (!values) return ask(layer, k, "out");
      const [rows, columns] = net.W[layer - 1].shape;
      return Array.from({ length: rows }, (_, j) => values[j * columns + k]);
    },
    async arriving(layer, j) {
      const values = W[layer - 1];
      if (!values) return ask(layer, j, "in");
      const columns = net.W[layer - 1].shape[1];
      return Array.from(values.subarray(j * columns, (j + 1) * columns));
    },
  };
}
