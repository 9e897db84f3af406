// What the page draws: the shapes of the records that the program hands over, and nothing that computes them.
//
// All numbers are the engine's own. JSON has no word for what is not finite: it comes as "nan", "inf" or "-inf".
// Layers are numbered as in the book, 0 the input and L the output. A list "by layer 0..L" has entry l for layer l;
// a list "by layer 1..L" has entry l - 1 for layer l.

/** @typedef {number | "nan" | "inf" | "-inf"} Value */

/**
 * All that is known when the page opens: `deltarule.scene`, version 1.
 *
 * @typedef {object} Scene
 * @property {"deltarule.scene"} schema
 * @property {1} version
 * @property {string} title            such as "digits, 64-30-10"
 * @property {Net | null} network      null for what a watch saw of a PyTorch model
 * @property {Data | null} data        the samples that a pass can be asked for
 * @property {Pass[]} passes           those that come with the scene: some in a report, none where they can be asked for
 * @property {History | null} history
 * @property {FlowView | null} flow    of some samples through the present network, or the watch's last
 * @property {Heat | null} heat        the flow over the training
 * @property {Judged[]} formulas       some judged beforehand
 * @property {Settings | null} settings of the live training; null where nothing can be trained here
 */

/**
 * @typedef {object} Net
 * @property {number[]} sizes          n_0 .. n_L
 * @property {string[]} activations    by layer 1..L
 * @property {string} cost
 * @property {"float32" | "float64"} dtype
 * @property {string[] | null} classes the words for the outputs
 * @property {Matrix[]} W              by layer 1..L
 * @property {string[]} b              by layer 1..L: base64 of the numbers, little-endian, in the network's dtype
 */

/**
 * W^l: w_jk goes from neuron k of layer l-1 to neuron j of layer l. One of `values` and `blocks` is null.
 *
 * @typedef {object} Matrix
 * @property {[number, number]} shape  (n_l, n_{l-1})
 * @property {string | null} values    base64 of the rows, little-endian, in the network's dtype
 * @property {Blocks | null} blocks    of a matrix too large to send: blocks of neighbouring neurons
 */

/**
 * @typedef {object} Blocks
 * @property {number[]} to             where each block of rows starts, and n_l
 * @property {number[]} from           where each block of columns starts, and n_{l-1}
 * @property {number[][]} mean         the mean weight of each block
 * @property {number[][]} size         the root mean square of the weights of each block
 */

/**
 * @typedef {object} Data
 * @property {string} name
 * @property {number} count            samples are numbered from 0
 * @property {[number, number] | null} image   height and width where a sample is an image, row by row
 * @property {string[] | null} inputs  the names of the inputs
 * @property {Pick[]} picks            some samples worth looking at: the first, and the costliest
 */

/**
 * @typedef {object} Pick
 * @property {number} sample
 * @property {string | null} label     the right answer
 * @property {string | null} guess     the network's
 * @property {number} cost
 */

/**
 * One sample's way forward and back: z, a, slope, moved and delta are those of Trace.
 *
 * @typedef {object} Pass
 * @property {number} sample
 * @property {string | null} label
 * @property {string | null} guess
 * @property {Value} cost              C of this sample
 * @property {number[]} y              the targets
 * @property {Value[][]} a             by layer 0..L
 * @property {Value[][]} z             by layer 1..L
 * @property {Value[][]} slope         by layer 1..L
 * @property {Value[][]} moved         by layer 0..L: dC/da^l
 * @property {Value[][]} delta         by layer 1..L: dC/dz^l
 * @property {Curve[]} curves          by layer 1..L: the activation, to be drawn
 * @property {(Value | null)[][]} measured   by layer 1..L: dC/dz^l by nudging, in float64; null beside a kink
 * @property {Nudges[]} nudges         by layer 1..L
 * @property {RuleView[]} rules        the transpose first; then inverse, random, direct, sign
 */

/**
 * @typedef {object} Curve
 * @property {string} name
 * @property {number[]} z
 * @property {number[]} a              sigma(z); of a softmax, which no curve shows, both are empty
 */

/**
 * What the cost of this sample becomes when z^l_k is moved and the rest of the network runs again.
 *
 * @typedef {object} Nudges
 * @property {number[]} neurons        those that were nudged: all, or those with the largest |delta| in a wide layer
 * @property {number[]} h              by how much, ascending, 0 among them
 * @property {Value[][]} cost          one row a neuron
 */

/**
 * The error of the same sample, carried back by a rule.
 *
 * @typedef {object} RuleView
 * @property {string} rule
 * @property {string} formula          how it carries, in LaTeX
 * @property {Value[][]} moved         by layer 0..L
 * @property {Value[][]} delta         by layer 1..L
 * @property {(number | null)[]} angle by layer 1..L: to the transpose's delta, in degrees; null where one of the two is 0
 * @property {StepView} step
 */

/**
 * What one step along a rule's gradient does to this sample's cost.
 *
 * @typedef {object} StepView
 * @property {number} eta
 * @property {Value} cost              before
 * @property {Value} predicted         the change, to first order
 * @property {Value} actual            the change, computed anew
 */

/**
 * @typedef {object} History           by epoch; a list is empty where it was not kept
 * @property {Value[]} cost
 * @property {Value[]} accuracy
 * @property {Value[]} validation_cost
 * @property {Value[]} validation_accuracy
 * @property {number[]} eta
 * @property {number[]} seconds
 * @property {string} stopped
 */

/**
 * A flow with what it means: the budget adds up, bar by bar, to log10 of the whole gain.
 *
 * @typedef {object} FlowView
 * @property {string} verdict          the first verdict's word, or "healthy"
 * @property {VerdictView[]} verdicts
 * @property {Bar[]} budget            from the cost down to layer 1, or to the input
 * @property {Value} total             |delta^1| / |delta^L|
 * @property {number} samples          0 where that was not kept
 * @property {string[]} unseen         what could not be seen
 * @property {string[]} notes          what the lengths are those of: a scaled loss, the mean of several processes
 * @property {object[]} rows           every move: the fields of Move, and `label`
 */

/**
 * @typedef {object} VerdictView
 * @property {string} word
 * @property {string} why
 * @property {string} advice           "" where there is none
 * @property {string[]} remedy         the changes that mend it, each with the gain before and as predicted
 * @property {number | null} layer
 */

/**
 * @typedef {object} Bar
 * @property {string} label            such as "* sigma'(z^2), tanh"; of a model, the operation's name
 * @property {number} layer
 * @property {string} step             "weights", "activation", or another of Move's
 * @property {Value} gain
 * @property {number | null} log10     of the gain; null where that is 0 or not finite
 * @property {string} source           "file:line" in a PyTorch model, or ""
 */

/**
 * @typedef {object} Heat
 * @property {number[]} steps          the numbers of the recorded steps, ascending
 * @property {{label: string, layer: number, step: string, source: string}[]} rows   from the output down
 * @property {(number | null)[][]} log10   of the gain: one list a row, one entry a step
 * @property {string[]} verdicts       the word, one a step
 * @property {{label: string, values: Value[]}[]} delta   each layer's |delta|, one entry a step
 * @property {Object<string, FlowView>} flows   by place in `steps`: those that come with the scene
 */

/**
 * @typedef {object} Judged            Verdict's fields
 * @property {string} formula
 * @property {boolean} holds
 * @property {number | null} error
 * @property {string} reason
 * @property {string} read_as
 * @property {string} mended           LaTeX, "" where there is none
 * @property {string[]} holds_where
 */

/**
 * What can be chosen for a live training, as the command line knows it.
 *
 * @typedef {object} Settings
 * @property {string} dataset          "digits", or the name of what the program was opened with
 * @property {number[]} hidden
 * @property {string} activation
 * @property {string} output
 * @property {string} cost
 * @property {string} init
 * @property {string} rule
 * @property {string} optimizer
 * @property {number} eta
 * @property {number} batch
 * @property {number} seed
 * @property {number} speed            steps a second at most; 0: as fast as it goes
 * @property {Object<string, string[]>} choices   for each field that is a word, the words there are
 */

/**
 * What a live training says, 30 times a second and more.
 *
 * @typedef {object} Frame
 * @property {"running" | "paused" | "diverged"} state
 * @property {string} message          what went wrong, "" else
 * @property {number} step             since the reset
 * @property {number} epoch            with its fraction
 * @property {number} rate             steps a second
 * @property {Value} cost              on the same some samples each time
 * @property {Value | null} accuracy
 * @property {Value | null} validation of held-out samples, now and then; null between
 * @property {Value[]} delta           by layer 1..L: the root mean square length of delta^l
 * @property {number | null} angle     in degrees between the rule's delta^1 and the true one; null for the transpose
 * @property {Matrix[] | null} W       as in Net; null in most frames of a large network
 * @property {string[] | null} b
 */

/**
 * Where the page gets what it draws: a server, a notebook's kernel, or a file that holds it all.
 *
 * @typedef {object} Door
 * @property {"server" | "notebook" | "file"} kind
 * @property {(what: string, given?: object) => Promise<any>} ask
 *     "scene" () -> Scene; "pass" {sample} -> Pass; "flow" {at} -> FlowView of a recorded step, by its place in Heat.steps, or of now without `at`;
 *     "wires" {layer, neuron} -> {out: Value[], in: Value[]} of a large matrix; "formula" {text} -> Judged;
 *     "train" {do: "play" | "pause" | "step" | "reset" | "set", ...Settings} -> Settings;
 *     "runs" () -> {name, kind}[] that the program was opened with; "open" {name} -> Scene;
 *     "upload" {name, text} -> Scene, of a saved watch or history.
 *     A refusal is an Error whose message is for the person to read.
 * @property {(listener: (frame: Frame) => void) => () => void} frames   the live training; the result ends it
 * @property {(listener: (state: "open" | "lost" | "taken") => void) => () => void} watch   the connection's state
 */

export {};
