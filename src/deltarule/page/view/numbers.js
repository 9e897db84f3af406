// @ts-check
// Numbers as the engine has them: from base64, and onto the page.

/** @typedef {import("./record.js").Value} Value */
/** @typedef {import("./record.js").Matrix} Matrix */

/**
 * The numbers behind base64, in the network's dtype.
 *
 * @param {string} text
 * @param {string} dtype
 * @returns {Float32Array | Float64Array}
 */
export function decoded(text, dtype) {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  return dtype === "float64" ? new Float64Array(bytes.buffer) : new Float32Array(bytes.buffer);
}

/**
 * A value as a number: NaN and the infinities, too.
 *
 * @param {Value | null | undefined} value
 * @returns {number}
 */
export function toNumber(value) {
  if (typeof value === "number") return value;
  if (value === "inf") return Infinity;
  return value === "-inf" ? -Infinity : NaN;
}

const RAISED = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

/**
 * A number of so many significant digits: -0.0312, 1.26 · 10⁻⁷, with a true minus.
 *
 * @param {Value | null | undefined} value
 * @param {number} [digits]
 * @returns {string}
 */
export function short(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  const number = toNumber(value);
  if (Number.isNaN(number)) return "not a number";
  if (!Number.isFinite(number)) return number > 0 ? "∞" : "−∞";
  return set(number === 0 ? "0" : Number(number.toPrecision(digits)).toString(), number);
}

/**
 * A number to its last digit: the fewest that give the same number again in this dtype.
 *
 * @param {Value | null | undefined} value
 * @param {string} dtype
 * @returns {string}
 */
export function whole(value, dtype) {
  if (typeof value !== "number") return short(value);
  if (dtype === "float64" || Math.fround(value) !== value) return set(String(value), value);
  for (let digits = 1; digits < 10; digits += 1) {
    const text = value.toPrecision(digits);
    if (Math.fround(Number(text)) === value) return set(Number(text).toString(), value);
  }
  return set(String(value), value);
}

/**
 * @param {string} text
 * @param {number} number
 */
function set(text, number) {
  const size = Math.abs(number);
  if (number !== 0 && (size < 1e-4 || size >= 1e7)) {
    const [mantissa, exponent] = Number(text).toExponential().split("e");
    return `${mantissa.replace("-", "−")}·10${raised(Number(exponent))}`;
  }
  return text.replace("-", "−");
}

/**
 * With its sign always there: +0.12, −0.12.
 *
 * @param {Value | null | undefined} value
 * @param {number} [digits]
 */
export function signed(value, digits = 4) {
  const text = short(value, digits);
  return typeof value === "number" && value > 0 ? `+${text}` : text;
}

/**
 * The largest size among finite values, or 1 where all are 0.
 *
 * @param {(Value | null)[]} values
 */
export function largest(values) {
  let most = 0;
  for (const value of values) {
    const size = Math.abs(toNumber(value));
    if (Number.isFinite(size) && size > most) most = size;
  }
  return most || 1;
}

/**
 * A whole number raised, as a layer's in the book or an exponent: δ², W¹⁰, 10⁻³.
 *
 * @param {number} number
 */
export function raised(number) {
  return [...String(number)].map((sign) => RAISED[/** @type {"-"} */ (sign)]).join("");
}
