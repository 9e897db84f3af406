// @ts-check
// Which neurons of a layer are drawn: all of a narrow one; of a wide one blocks of neighbours, which open when chosen.

/** As many circles a layer has at most, about. */
export const ROOM = 32;

/**
 * Neurons `from` up to, not including, `to`, drawn as one.
 *
 * @typedef {{from: number, to: number}} Item
 */

/**
 * @param {number} n                      the layer's width
 * @param {[number, number] | null} open  the neurons that are seen closely
 * @returns {Item[]}
 */
export function items(n, open) {
  if (n <= ROOM + 8) return cut(0, n, n);
  if (!open) return cut(0, n, ROOM);
  const [from, to] = open;
  const ends = [...(from > 0 ? [{ from: 0, to: from }] : []), ...cut(from, to, Math.min(to - from, ROOM))];
  return to < n ? [...ends, { from: to, to: n }] : ends;
}

/**
 * @param {number} from
 * @param {number} to
 * @param {number} parts
 * @returns {Item[]}
 */
function cut(from, to, parts) {
  const at = (/** @type {number} */ i) => from + Math.round(((to - from) * i) / parts);
  return Array.from({ length: parts }, (_, i) => ({ from: at(i), to: at(i + 1) }));
}

/**
 * The neurons to see closely when an item is opened, or null for all again.
 *
 * @param {number} n
 * @param {Item} item
 * @returns {[number, number] | null}
 */
export function opened(n, item) {
  const width = item.to - item.from;
  if (width === 1) return null;
  if (width > ROOM) return [item.from, item.to];
  const middle = (item.from + item.to) / 2;
  const from = Math.max(0, Math.min(n - ROOM, Math.round(middle - ROOM / 2)));
  return [from, Math.min(n, from + ROOM)];
}

/**
 * The item that holds neuron k.
 *
 * @param {Item[]} list
 * @param {number} k
 */
export function holding(list, k) {
  return list.findIndex((item) => item.from <= k && k < item.to);
}

/**
 * One number for an item: that of its neuron, or the mean of the block's.
 *
 * @param {number[]} values
 * @param {Item} item
 */
export function meanOf(values, item) {
  if (item.to - item.from === 1) return values[item.from];
  let sum = 0;
  for (let i = item.from; i < item.to; i += 1) sum += values[i];
  return sum / (item.to - item.from);
}
