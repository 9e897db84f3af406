// @ts-check
// The door of a report: a file that holds its whole scene, with no program behind it.

/** @typedef {import("./record.js").Scene} Scene */
/** @typedef {import("./record.js").Door} Door */

/**
 * A door that answers from a scene. What only a running program can do it refuses, and says how to get it.
 *
 * @param {Scene} scene
 * @returns {Door}
 */
export function fileDoor(scene) {
  const passes = new Map(scene.passes.map((pass) => [pass.sample, pass]));
  const judged = new Map(scene.formulas.map((one) => [withoutSpaces(one.formula), one]));

  /** @type {Object<string, (given: any) => any>} */
  const answers = {
    scene: () => scene,
    runs: () => [],

    pass({ sample }) {
      const pass = passes.get(Number(sample));
      if (pass) return pass;
      const held = [...passes.keys()];
      throw new Error(
        held.length
          ? `This file holds the passes of ${held.length} samples (${held.join(", ")}), and ${sample} is not among ` +
            `them. For any sample: deltarule explore RUN`
          : "This file holds no sample's pass: it was written without data. deltarule report RUN --dataset digits adds some.",
      );
    },

    flow(given) {
      const at = given?.at;
      if (at === undefined || at === null) {
        if (scene.flow) return scene.flow;
        throw new Error("This file holds no flow of the present network: it was written without data.");
      }
      const flow = scene.heat?.flows[at];
      if (flow) return flow;
      const held = Object.keys(scene.heat?.flows ?? {}).map((place) => scene.heat?.steps[Number(place)]);
      throw new Error(
        `The flow of step ${scene.heat?.steps[at] ?? at} is not kept in this file` +
          (held.length ? `; those of steps ${held.join(", ")} are.` : ".") +
          " For every step: deltarule explore RUN",
      );
    },

    wires({ layer, neuron }) {
      throw new Error(
        `The single weights of layer ${layer} are too many for this file, which holds blocks of them; neuron ` +
          `${neuron}'s wires are there in: deltarule explore RUN`,
      );
    },

    formula({ text }) {
      const found = judged.get(withoutSpaces(String(text)));
      if (found) return found;
      throw new Error(
        "Judging a formula takes the program, and this is a file. Those listed here are judged; for your own: " +
          "deltarule formula, or deltarule explore",
      );
    },

    train() {
      throw new Error("Training takes the program, and this is a file: deltarule explore RUN");
    },
    open({ name }) {
      throw new Error(`${name} cannot be opened from a file: deltarule explore ${name}`);
    },
    upload({ name }) {
      throw new Error(`${name} cannot be read by a file, which holds one scene: deltarule explore`);
    },
  };

  return {
    kind: "file",
    ask: async (what, given = {}) => {
      const answer = answers[what];
      if (!answer) throw new Error(`A file has no answer to ${JSON.stringify(what)}.`);
      return answer(given);
    },
    frames: () => () => {},
    watch(listener) {
      listener("open");
      return () => {};
    },
  };
}

/** @param {string} text */
function withoutSpaces(text) {
  return text.replace(/\s+/g, "");
}
