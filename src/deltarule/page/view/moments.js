// @ts-check
// The moments of a forward and a backward pass, in order, each with its words and its equation.

import { raised, short } from "./numbers.js";

/** @typedef {import("./record.js").Pass} Pass */
/** @typedef {import("./record.js").Net} Net */

/**
 * @typedef {object} Moment
 * @property {"input" | "z" | "a" | "cost" | "output" | "weights" | "activation" | "gradients"} kind
 * @property {number} layer
 * @property {string} title
 * @property {[string, boolean][]} equation   its parts, and whether each is what happens now
 */

/**
 * @param {Net} net
 * @returns {Moment[]}
 */
export function moments(net) {
  const L = net.sizes.length - 1;
  /** @type {Moment[]} */
  const found = [{ kind: "input", layer: 0, title: "The sample comes in", equation: [["a⁰ = x", true]] }];
  for (let l = 1; l <= L; l += 1) {
    const [here, below] = [raised(l), raised(l - 1)];
    found.push(
      {
        kind: "z",
        layer: l,
        title: `Forward through the weights of layer ${l}`,
        equation: [[`z${here} = W${here} a${below} + b${here}`, true], [`,  a${here} = σ(z${here})`, false]],
      },
      {
        kind: "a",
        layer: l,
        title: `Forward through the activation of layer ${l}`,
        equation: [[`z${here} = W${here} a${below} + b${here},  `, false], [`a${here} = σ(z${here})`, true]],
      },
    );
  }
  const last = raised(L);
  found.push({ kind: "cost", layer: L, title: "What it costs", equation: [[`C(a${last}, y)`, true]] });
  found.push({
    kind: "output",
    layer: L,
    title: "BP1: the error at the output",
    equation: [[`δ${last} = ∇ₐC ⊙ σ′(z${last})`, true]],
  });
  for (let l = L - 1; l >= 1; l -= 1) {
    const [here, above] = [raised(l), raised(l + 1)];
    const [first, second] = [`(W${above})ᵀ δ${above}`, ` ⊙ σ′(z${here})`];
    found.push(
      {
        kind: "weights",
        layer: l,
        title: `BP2, first move: back through the weights, to layer ${l}`,
        equation: [[`δ${here} = (`, false], [first, true], [`)${second}`, false]],
      },
      {
        kind: "activation",
        layer: l,
        title: `BP2, second move: through the activation of layer ${l}`,
        equation: [[`δ${here} = (${first})`, false], [second, true]],
      },
    );
  }
  found.push({
    kind: "gradients",
    layer: 1,
    title: "BP3 and BP4: what every weight is told",
    equation: [["∂C/∂bˡ = δˡ,  ∂C/∂Wˡ = δˡ (aˡ⁻¹)ᵀ", true]],
  });
  return found;
}

/**
 * What happens at a moment, with this sample's numbers in place.
 *
 * @param {Moment} moment
 * @param {Pass} pass
 * @param {Net} net
 * @param {number} k   the chosen neuron of the moment's layer
 * @returns {string}
 */
export function caption(moment, pass, net, k) {
  const l = moment.layer;
  const L = net.sizes.length - 1;
  const here = raised(l);
  const value = (/** @type {any[][]} */ values, /** @type {number} */ layer) => short(values[layer]?.[k]);
  switch (moment.kind) {
    case "input":
      return `Sample ${pass.sample}${pass.label === null ? "" : `, which is “${pass.label}”`}: ${net.sizes[0]} numbers.`;
    case "z":
      return (
        `Every neuron adds up what arrives over its wires. Neuron ${k} has z = ${value(pass.z, l - 1)}: the sum of ` +
        `each w times the a it comes from, and its bias.`
      );
    case "a":
      return `The activation makes a of z. Neuron ${k}: a = σ(${value(pass.z, l - 1)}) = ${value(pass.a, l)}.`;
    case "cost":
      return (
        `The output is held against the target: C = ${short(pass.cost)}.` +
        (pass.guess === null ? "" : ` The network says “${pass.guess}”; right is “${pass.label}”.`)
      );
    case "output":
      if (net.activations[L - 1] === "softmax") {
        return (
          `How much would C grow if z of neuron ${k} grew by one unit? The neurons of a softmax share its outputs, so its ` +
          `Jacobian stands in the place of σ′: δ = ${value(pass.delta, L - 1)}.`
        );
      }
      return (
        `How much would C grow if z of neuron ${k} grew by one unit? One unit of a costs ∂C/∂a = ${value(pass.moved, L)}, ` +
        `and one unit of z makes σ′(z) = ${value(pass.slope, L - 1)} of them: δ = ${value(pass.delta, L - 1)}.`
      );
    case "weights":
      return (
        `Neuron ${k} sent its a over ${net.sizes[l + 1]} wires, and its blame comes back over the same ${net.sizes[l + 1]}: ` +
        `each brings w times the δ at its far end. Together ∂C/∂a = ${value(pass.moved, l)}. Nothing is undone: the ` +
        `wires are read from the other end, which is all that the transpose means.`
      );
    case "activation":
      return (
        `One unit of z makes only σ′(z) = ${value(pass.slope, l - 1)} units of a, so neuron ${k} answers for ` +
        `δ${here} = ${value(pass.moved, l)} · ${value(pass.slope, l - 1)} = ${value(pass.delta, l - 1)}. ` +
        `Nudge its z below, and see that this is what the cost does.`
      );
    default:
      return (
        `A weight's gradient is the a that came in over it, times the δ it went to. Choose a neuron of layer 1; the other ` +
        `layers go the same way.`
      );
  }
}
