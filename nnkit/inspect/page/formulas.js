// Formulas: trees that are written as MathML, spoken as a sentence, and evaluated.
//
// A tree is a number, {symbol: letter, index: ["i", "j"], layer, row}, {upper, lower} (a derivative), {sign, of: [...]},
// {call, of}, {when, of: [then, otherwise]}, {sum: index, of: [term], size}, or {dots}. Indices are letters, or numbers from 1.

const MANY = 6; // terms of a sum that are all written; of more the first two and the last
const DIGITS = 5;
const SUM = 1,
  PRODUCT = 2,
  SIGN = 3,
  POWER = 4; // what binds how strongly

const symbol = (letter, index = [], layer = null, row = null) => ({symbol: letter, index, layer, row});
const derivative = (upper, lower) => ({upper, lower});
const operation = sign => (left, right) => ({sign, of: [left, right]});
const plus = operation("+"),
  minus = operation("-"),
  over = operation("/");
const times = (left, right) => (left === 1 ? right : right === 1 ? left : {sign: "*", of: [left, right]});
const sumOver = (index, size, term) => ({sum: index, of: [term], size});

// ------------------------------------------------------------------------------------------------------------- changing

/** A tree in which `change` has put something else in the place of some nodes. */
function rewritten(node, change) {
  const changed = change(node);
  if (changed !== undefined) return changed;
  if (typeof node !== "object" || !node.of) return node;
  const parts = {of: node.of.map(inner => rewritten(inner, change))};
  if (node.when !== undefined) parts.when = rewritten(node.when, change);
  return {...node, ...parts};
}

/** A tree with numbers in the place of indices, {j: 2}; sums are written out, `whole` or up to `MANY` terms. */
function bound(node, indices, sizes = {}, whole = false) {
  const known = index => (index in indices ? indices[index] : index);
  return rewritten(node, inner => {
    if (inner?.symbol) return {...inner, index: inner.index.map(known), row: known(inner.row)};
    if (inner?.upper) return {upper: bound(inner.upper, indices), lower: bound(inner.lower, indices)};
    if (inner?.when && inner.when.of?.every(side => side?.symbol && !side.index.length))
      return decided(inner, indices, sizes, whole);
    if (!inner?.sum) return undefined;
    const size = inner.size ?? sizes[inner.sum] ?? sizes.all;
    const term = place => bound(inner.of[0], {...indices, [inner.sum]: place}, sizes, whole);
    const terms = Array.from({length: size}, (_, at) =>
      whole || size <= MANY || at < 2 || at === size - 1 ? term(at + 1) : null,
    );
    const shown = terms.filter((item, at) => item || at === 2).map(item => item ?? {dots: true});
    return shown.reduce((left, right) => plus(left, right));
  });
}

/** Of what depends on whether two indices are the same, the case that it is. */
function decided({when, of: [same, other]}, indices, sizes, whole) {
  const [left, right] = when.of.map(side => indices[side.symbol]);
  if (left === undefined || right === undefined) return undefined;
  return bound(left === right ? same : other, indices, sizes, whole);
}

/** A tree with numbers in the place of all quantities; `value` says them. */
function inNumbers(node, value) {
  return rewritten(node, inner => (inner?.symbol || inner?.upper ? value(inner) : undefined));
}

/** All quantities in a tree. */
function quantitiesIn(node) {
  const found = [];
  rewritten(node, inner => {
    if (!inner?.symbol && !inner?.upper) return undefined;
    found.push(inner);
    return inner;
  });
  return found;
}

const SIGNS = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "/": (a, b) => a / b,
  "**": (a, b) => a ** b,
  minus: a => -a,
  "<": (a, b) => a < b,
  ">": (a, b) => a > b,
  "<=": (a, b) => a <= b,
  ">=": (a, b) => a >= b,
  "=": (a, b) => a === b,
  "!=": (a, b) => a !== b,
  and: (a, b) => a && b,
  or: (a, b) => a || b,
  not: a => !a,
};

/** The number that a tree of numbers is. */
function evaluated(node) {
  if (typeof node === "number") return node;
  if (node.when !== undefined) return evaluated(node.of[evaluated(node.when) ? 0 : 1]);
  const parts = node.of.map(evaluated);
  return (node.call ? Math[node.call] : SIGNS[node.sign])(...parts);
}

// ------------------------------------------------------------------------------------------------------------- writing

/** A number with five digits, as Python's .5g. */
function written(value) {
  if (!Number.isFinite(value))
    return {digits: Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞", exponent: null};
  const size = Math.abs(value),
    small = size !== 0 && (size < 1e-4 || size >= 10 ** DIGITS);
  const [digits, exponent] = small
    ? value.toExponential(DIGITS - 1).split("e")
    : [String(Number(value.toPrecision(DIGITS))), null];
  return {
    digits: digits
      .replace(/(\.\d*?)0+$/, "$1")
      .replace(/\.$/, "")
      .replace("-", "−"),
    exponent,
  };
}

/** The same as text. */
function numberText(value) {
  const {digits, exponent} = written(value);
  return exponent === null ? digits : `${digits}e${exponent.replace("+", "").replace("-", "−")}`;
}

const element = (tag, ...inner) => `<${tag}>${inner.join("")}</${tag}>`;
const escaped = text => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const operator = text => element("mo", escaped(text));
const mrow = (...inner) => element("mrow", ...inner);
const parenthesised = text => mrow(operator("("), text, operator(")"));
const letters = {delta: "δ", eta: "η"};

function mathNumber(value, around) {
  const {digits, exponent} = written(value);
  const mantissa = element("mn", digits);
  const text =
    exponent === null
      ? mantissa
      : mrow(
          mantissa,
          operator("·"),
          element("msup", element("mn", "10"), element("mn", String(Number(exponent)).replace("-", "−"))),
        );
  return around && (value < 0 || (exponent !== null && around === POWER)) ? parenthesised(text) : text;
}

/** A quantity with its indices, and its layer above where that is not the one `at` hand. */
function mathSymbol({symbol: letter, index, layer, row: n}, at) {
  const base = element("mi", letters[letter] ?? escaped(letter));
  const places = [...(n === null || n === undefined ? [] : [n]), ...index];
  const apart = places.length > 1 && places.some(place => String(place).length > 1);
  const below = places.length
    ? element(
        "mrow",
        ...places.map(
          (place, k) =>
            (k && apart ? operator(",") : "") + element(typeof place === "number" ? "mn" : "mi", place),
        ),
      )
    : "";
  const above =
    layer === null || layer === undefined || layer === at ? "" : parenthesised(element("mn", layer));
  if (below && above) return element("msubsup", base, below, above);
  return below ? element("msub", base, below) : above ? element("msup", base, above) : base;
}

/** A tree as MathML, within something that binds as strongly as `around`; `at` is the layer at hand. */
function math(node, at, around = 0) {
  const inner = (item, strength = 0) => math(item, at, strength);
  const within = (text, strength) => (strength < around ? parenthesised(text) : text);
  if (typeof node === "number") return mathNumber(node, around);
  if (node.dots) return operator("…");
  if (node.symbol) return mathSymbol(node, at);
  if (node.upper)
    return element(
      "mfrac",
      mrow(operator("∂"), mathSymbol(node.upper, at)),
      mrow(operator("∂"), mathSymbol(node.lower, at)),
    );
  if (node.sum)
    return within(
      element("munder", operator("∑"), element("mi", node.sum)) + inner(node.of[0], PRODUCT),
      PRODUCT,
    );
  if (node.call === "exp") return element("msup", element("mi", "e"), mrow(inner(node.of[0])));
  if (node.call === "abs") return mrow(operator("|"), inner(node.of[0]), operator("|"));
  if (node.call === "sqrt") return element("msqrt", inner(node.of[0]));
  if (node.call)
    return (
      element("mi", escaped(node.call)) +
      operator("\u2061") +
      parenthesised(node.of.map(item => inner(item)).join(operator(",")))
    );
  if (node.when !== undefined) {
    const line = (value, when) => element("mtr", element("mtd", value), element("mtd", when));
    const cases =
      line(inner(node.of[0]), element("mtext", "if\u00a0") + inner(node.when)) +
      line(inner(node.of[1]), element("mtext", "else"));
    return mrow(operator("{"), element("mtable", cases));
  }
  return mathSign(node, inner, within);
}

/** A product of something with itself as a square. */
function withSquares(node) {
  const [left, right] = node.of,
    text = JSON.stringify(right);
  if (node.sign !== "*" || typeof right === "number") return node;
  if (JSON.stringify(left) === text) return {sign: "**", of: [right, 2]};
  const isLast = left.sign === "*" && JSON.stringify(left.of[1]) === text;
  return isLast ? times(left.of[0], {sign: "**", of: [right, 2]}) : node;
}

function mathSign(node, inner, within) {
  const {
    sign,
    of: [left, right],
  } = withSquares(node);
  if (sign === "minus") return within(mrow(operator("−"), inner(left, PRODUCT)), SUM);
  if (sign === "not") return element("mtext", "not\u00a0") + inner(left);
  if (sign === "/") return element("mfrac", mrow(inner(left)), mrow(inner(right)));
  if (sign === "**") return element("msup", mrow(inner(left, POWER)), mrow(inner(right)));
  if (sign === "*") return within(inner(left, PRODUCT) + operator("·") + inner(right, SIGN), PRODUCT);
  if (sign === "+" || sign === "-")
    return within(
      inner(left, SUM) + operator(sign === "-" ? "−" : "+") + inner(right, sign === "-" ? PRODUCT : SUM + 0.5),
      SUM,
    );
  if (sign === "and" || sign === "or")
    return inner(left) + element("mtext", `\u00a0${sign}\u00a0`) + inner(right);
  return inner(left) + operator({"<=": "≤", ">=": "≥", "!=": "≠"}[sign] ?? sign) + inner(right);
}

/** Some trees as one equation, which may be broken before its second and later signs of equality. */
function equation(sides, at) {
  const texts = sides.map(side => math(side, at));
  const [left, ...others] = texts.filter((text, k) => !k || text !== texts[k - 1]).map(text => mrow(text));
  const pieces = others.map(
    (text, k) => `<math displaystyle="true">${k ? "" : left}${operator("=")}${text}</math>`,
  );
  return `<span class="equation">${pieces.join("") || `<math displaystyle="true">${left}</math>`}</span>`;
}

// ------------------------------------------------------------------------------------------------------------- speaking

const SPOKEN = {
  "+": "plus",
  "-": "minus",
  "*": "times",
  "/": "over",
  "**": "to the power of",
  "<": "is less than",
  ">": "is greater than",
  "<=": "is at most",
  ">=": "is at least",
  "=": "is",
  "!=": "is not",
  and: "and",
  or: "or",
};

/** A tree in words, for a screen reader. */
function spoken(node, at) {
  const inner = item => spoken(item, at);
  if (typeof node === "number") return numberText(node).replace("−", "minus ");
  if (node.dots) return "and so on";
  if (node.symbol) {
    const places = [...node.index].join(" ");
    const of =
      node.layer === null || node.layer === undefined || node.layer === at ? "" : ` of layer ${node.layer}`;
    const from = node.row === null || node.row === undefined ? "" : ` in row ${node.row}`;
    return `${node.symbol} ${places}`.trim() + of + from;
  }
  if (node.upper) return `d ${inner(node.upper)} by d ${inner(node.lower)}`;
  if (node.sum) return `the sum over ${node.sum} of ${inner(node.of[0])}`;
  if (node.call) return `${node.call} of ${node.of.map(inner).join(" and ")}`;
  if (node.when !== undefined) return `${inner(node.of[0])} if ${inner(node.when)}, else ${inner(node.of[1])}`;
  if (node.sign === "minus") return `minus ${inner(node.of[0])}`;
  return `${inner(node.of[0])} ${SPOKEN[node.sign]} ${inner(node.of[1])}`;
}
