// The lecture: every step of it, with its rule, and the equations of some units.
//
// A view is {net, state, n, chosen}: the numbers of all rows, which row is shown, and which unit of each column, where not all
// units have room; column 0 are the inputs, column l is layer l. A step is {phase, stage, layer, unit, heading, rules, lines,
// note}; rules and lines are pairs of a left and a right side, of which the right one may be null.

const FEW = 4; // units that are all written out
const ROWS = "n";

/** An input of a layer: of the net, of the layer before, or where it reads something else, one of its own. */
function inputOf({number, recorded: {follows}}, index, row = null) {
  if (follows === false) return symbol("x", [index], number, row);
  return number === 1 ? symbol("x", [index], null, row) : symbol("a", [index], number - 1, row);
}

const L = symbol("L");
const lossBy = lower => derivative(L, lower);
const pair = (left, right) => ({left, right});
const range = length => Array.from({length}, (_, at) => at + 1);

/** How many units a column has. */
const sizeOf = (net, column) => (column ? net.layers[column - 1].outputs : net.x[0].length);

/** The units of a column that are written out, from 1. */
function writtenOut({net, chosen}, column) {
  const size = sizeOf(net, column);
  return size <= FEW ? range(size) : [chosen[column]];
}

/** Of the inputs of a layer. */
function inputsWrittenOut(view, {number, weight, recorded: {follows}}) {
  if (follows !== false) return writtenOut(view, number - 1);
  return weight.length <= FEW ? range(weight.length) : [1];
}

/** A formula of a part, with the layer that its letters are of. */
function localised(tree, layer) {
  return tree === null
    ? null
    : rewritten(tree, node =>
        node?.symbol && node.index.length && "az".includes(node.symbol) ? {...node, layer} : undefined,
      );
}

/** What a row weighs in the loss, as 1/N where that is what it is. */
function shareOf({net, n}) {
  const share = net.loss.share[n],
    count = Math.round(1 / share);
  return count > 1 && 1 / count === share ? over(1, count) : share;
}

// ------------------------------------------------------------------------------------------------------------ the rules

/** z_j = sum_i w_ij a_i + b_j */
function ruleOfSum(layer) {
  const {weight, bias, number} = layer;
  const term = weight
    ? sumOver("i", weight.length, times(symbol("w", ["i", "j"], number), inputOf(layer, "i")))
    : inputOf(layer, "j");
  return pair(symbol("z", ["j"], number), bias ? plus(term, symbol("b", ["j"], number)) : term);
}

/** a_j = s(z_j) */
function ruleOfActivation({activation, number}) {
  return pair(symbol("a", ["j"], number), localised(activation.value, number));
}

/** dL/da_j: from the loss (case 1), or from the layer that follows (case 2) */
function ruleBack(view, layer) {
  const {net} = view,
    {number} = layer,
    a = symbol("a", ["j"], number),
    next = net.layers[number];
  if (layer.recorded.chained === false) return pair(lossBy(a), null);
  if (next) {
    const delta = index => symbol("delta", [index], number + 1);
    const right = next.weight
      ? sumOver("k", next.outputs, times(symbol("w", ["j", "k"], number + 1), delta("k")))
      : delta("j");
    return pair(lossBy(a), right);
  }
  const right = net.loss?.derivative ?? null;
  return pair(lossBy(a), right === null ? null : times(shareOf(view), localised(right, number)));
}

/** da_j/dz_j, or of a function of the whole row da_k/dz_j */
function ruleOfSlope({activation, number}) {
  return pair(
    derivative(symbol("a", [activation.mixing ? "k" : "j"], number), symbol("z", ["j"], number)),
    localised(activation.slope, number),
  );
}

/** delta_j = dL/da_j da_j/dz_j */
function ruleOfDelta({activation, number, outputs}) {
  const delta = symbol("delta", ["j"], number);
  const through = index =>
    times(
      lossBy(symbol("a", [index], number)),
      derivative(symbol("a", [index], number), symbol("z", ["j"], number)),
    );
  if (!activation) return pair(delta, lossBy(symbol("a", ["j"], number)));
  return pair(delta, activation.mixing ? sumOver("k", outputs, through("k")) : through("j"));
}

/** dL/dw_ij = delta_j a_i and dL/db_j = delta_j, summed over the rows of the batch */
function rulesOfGradients({net, state}, layer) {
  const {number} = layer;
  const rows = net.x.length,
    row = rows > 1 ? ROWS : null,
    delta = symbol("delta", ["j"], number, row);
  const summed = term => (!state.all && rows > 1 ? null : row ? sumOver(ROWS, rows, term) : term);
  return {
    weight: pair(lossBy(symbol("w", ["i", "j"], number)), summed(times(delta, inputOf(layer, "i", row)))),
    bias: pair(lossBy(symbol("b", ["j"], number)), summed(delta)),
  };
}

/** The new weight: w_ij - eta dL/dw_ij */
function ruleOfUpdate(quantity) {
  return pair(
    {...quantity, symbol: `${quantity.symbol}⁺`},
    minus(quantity, times(symbol("eta"), lossBy(quantity))),
  );
}

// ------------------------------------------------------------------------------------------------------------ the steps

/** A rule for some indices. */
function lineOf(rule, indices, sizes) {
  const right = rule.right === null ? null : bound(rule.right, indices, sizes);
  const all = rule.right === null ? [] : quantitiesIn(bound(rule.right, indices, sizes, true)); // also those behind the dots
  return {left: bound(rule.left, indices), right, all};
}

/** All steps, in their order. */
function stepsOf(view) {
  const {net} = view,
    layers = net.layers;
  const backward = [...layers].reverse();
  return [
    ...layers.flatMap(layer => forwardSteps(view, layer)),
    ...lossSteps(view),
    ...backward.flatMap(layer => backwardSteps(view, layer)),
    ...inputSteps(view),
    ...(net.computes ? backward.flatMap(layer => updateSteps(view, layer)) : []),
  ];
}

const nameOf = ({net}, {number}) =>
  `Layer ${number}, ${number === net.layers.length ? "the output layer" : "a hidden layer"}`;

/** One step for each of the units that are written out. */
function stepsByUnit(view, layer, common, linesOf) {
  return writtenOut(view, layer.number).map(j => ({
    layer: layer.number,
    unit: j,
    ...common,
    lines: linesOf(j),
  }));
}

const isShownOnly = layer => Boolean(layer.about) || !(layer.weight || layer.activation);

function forwardSteps(view, layer) {
  const name = nameOf(view, layer),
    sizes = {all: layer.outputs};
  if (isShownOnly(layer))
    return [
      {
        phase: "Forward",
        stage: "a",
        layer: layer.number,
        heading: `${name}: what it gives`,
        rules: [],
        lines: [],
        note: layer.about,
      },
    ];
  const sum = ruleOfSum(layer),
    {follows, sources} = layer.recorded;
  const note = follows === false ? `Its input x is ${sources.join(" and ")}.` : "";
  const steps = stepsByUnit(
    view,
    layer,
    {phase: "Forward", stage: "z", heading: `${name}: the weighted sum z`, rules: [sum], note},
    j => [lineOf(sum, {j}, sizes)],
  );
  if (!layer.activation) {
    const rule = pair(symbol("a", ["j"], layer.number), symbol("z", ["j"], layer.number));
    return [
      ...steps,
      ...stepsByUnit(
        view,
        layer,
        {phase: "Forward", stage: "a", heading: `${name}: the output a, which is z`, rules: [rule]},
        j => [lineOf(rule, {j}, sizes)],
      ),
    ];
  }
  const rule = ruleOfActivation(layer);
  return [
    ...steps,
    ...stepsByUnit(
      view,
      layer,
      {
        phase: "Forward",
        stage: "a",
        heading: `${name}: the activation a = ${layer.activation.name}(z)`,
        rules: [rule],
      },
      j => [lineOf(rule, {j}, sizes)],
    ),
  ];
}

function lossSteps(view) {
  const {net, n} = view,
    loss = net.loss,
    outputs = net.layers.at(-1).outputs,
    last = net.layers.length;
  const common = {phase: "Loss", layer: last};
  if (!loss)
    return [{...common, stage: "L", heading: "The loss", rules: [], lines: [{left: L, right: null, all: []}]}];
  const sizes = {all: outputs, j: outputs},
    steps = [];
  if (loss.probability) {
    const rule = pair(symbol("p", ["j"]), localised(loss.probability, last));
    steps.push({
      ...common,
      stage: "p",
      heading: "The probabilities p",
      rules: [rule],
      lines: writtenOut(view, last).map(j => lineOf(rule, {j}, sizes)),
    });
  }
  const value = loss.value && localised(loss.value, last),
    rows = net.x.length;
  const term = value && (loss.rowwise ? value : sumOver("j", outputs, value));
  const heading = `The loss, ${loss.parts}`;
  if (rows === 1) {
    const rule = pair(L, term && times(shareOf(view), term));
    return [
      ...steps,
      {
        ...common,
        stage: "L",
        heading,
        rules: term ? [rule] : [],
        lines: [lineOf(rule, {}, sizes)],
        note: term ? "" : loss.about,
      },
    ];
  }
  const ofRow = pair(symbol("L", [], null, ROWS), term),
    even = loss.share.every(share => share === loss.share[0]);
  const whole = pair(
    L,
    even && net.computes ? times(shareOf(view), sumOver(ROWS, rows, symbol("L", [], null, ROWS))) : null,
  );
  const lineOfRow = lineOf(pair(ofRow.left, term), {[ROWS]: n + 1}, sizes);
  return [
    ...steps,
    {
      ...common,
      stage: "L",
      heading,
      rules: term ? [ofRow, whole] : [whole],
      lines: [...(term && net.computes ? [lineOfRow] : []), lineOf(whole, {}, sizes)],
      note: term ? "" : loss.about,
    },
  ];
}

function backwardSteps(view, layer) {
  const {state, n} = view,
    name = nameOf(view, layer),
    sizes = {all: layer.outputs};
  const passed = state.rows[n].layers[layer.number - 1],
    isLast = layer.number === view.net.layers.length;
  const which = isLast ? "case 1" : "case 2",
    common = {phase: "Backward"};
  if (!passed.delta) return [];
  if (isShownOnly(layer)) {
    const names = (layer.recorded.parameters ?? []).map(item => `dL/d${item}`);
    const others = names.length ? `, and the gradients ${names.join(" and ")}, summed over all rows` : "";
    const note = `The gradient by what it gives${others}.`;
    return [
      {
        ...common,
        stage: "delta",
        layer: layer.number,
        heading: `${name}: what comes back`,
        rules: [],
        lines: [],
        note,
      },
    ];
  }
  const back = ruleBack(view, layer),
    delta = ruleOfDelta(layer),
    gradients = rulesOfGradients(view, layer);
  const from = isLast ? "from the loss (case 1)" : "from the layer that follows (case 2)";
  const readers = (layer.recorded.readers ?? []).join(" and ");
  const steps = stepsByUnit(
    view,
    layer,
    {
      ...common,
      stage: "dL_da",
      heading: `${name}: ∂L/∂a, ${from}`,
      rules: back.right ? [back] : [],
      note: back.right ? "" : isLast && view.net.loss ? view.net.loss.about : `It comes back from ${readers}.`,
    },
    j => [lineOf(back, {j}, sizes)],
  );
  if (layer.activation) steps.push(...slopeSteps(view, layer, name));
  steps.push(
    ...stepsByUnit(
      view,
      layer,
      {
        ...common,
        stage: "delta",
        heading: `${name}: δ = ∂L/∂z (${which})`,
        rules: [delta],
        note: view.net.x.length > 1 ? `This is the δ of row ${n + 1} alone; each row has its own.` : "",
      },
      j => [lineOf(delta, {j}, sizes)],
    ),
  );
  if (!layer.weight) return steps;
  const all = view.net.x.length > 1 ? ", summed over all rows" : "";
  steps.push(
    ...stepsByUnit(
      view,
      layer,
      {...common, stage: "dL_dw", heading: `${name}: the gradients ∂L/∂w${all}`, rules: [gradients.weight]},
      j => inputsWrittenOut(view, layer).map(i => lineOf(gradients.weight, {i, j}, sizes)),
    ),
  );
  if (layer.bias)
    steps.push(
      ...stepsByUnit(
        view,
        layer,
        {...common, stage: "dL_db", heading: `${name}: the gradient ∂L/∂b${all}`, rules: [gradients.bias]},
        j => [lineOf(gradients.bias, {j}, sizes)],
      ),
    );
  return steps;
}

function slopeSteps(view, layer, name) {
  const {activation, outputs, number} = layer,
    slope = ruleOfSlope(layer),
    sizes = {all: outputs};
  const heading = `${name}: the slope ∂a/∂z of ${activation.name}`,
    common = {phase: "Backward", stage: "da_dz", heading};
  if (!view.state.rows[view.n].layers[number - 1].da_dz) return [];
  const across = activation.mixing ? writtenOut(view, number) : [null];
  return stepsByUnit(view, layer, {...common, rules: slope.right ? [slope] : []}, j =>
    across.map(k => lineOf(slope, k === null ? {j} : {j, k}, sizes)),
  );
}

function inputSteps(view) {
  const {net, state, n} = view,
    first = net.layers[0];
  if (!state.rows[n].dL_dx || isShownOnly(first)) return [];
  const delta = index => symbol("delta", [index], 1);
  const rule = pair(
    lossBy(symbol("x", ["i"])),
    first.weight ? sumOver("j", first.outputs, times(symbol("w", ["i", "j"], 1), delta("j"))) : delta("i"),
  );
  return [
    {
      phase: "Backward",
      stage: "dL_dx",
      layer: 0,
      heading: "The input: the gradient ∂L/∂x",
      rules: [rule],
      lines: writtenOut(view, 0).map(i => lineOf(rule, {i})),
    },
  ];
}

function updateSteps(view, layer) {
  if (!layer.weight) return [];
  const {number} = layer,
    heading = `Layer ${number}: a step against the gradient, with the learning rate η`;
  const weight = ruleOfUpdate(symbol("w", ["i", "j"], number)),
    bias = ruleOfUpdate(symbol("b", ["j"], number));
  return stepsByUnit(
    view,
    layer,
    {phase: "Update", stage: "update", heading, rules: layer.bias ? [weight, bias] : [weight]},
    j => [
      ...inputsWrittenOut(view, layer).map(i => lineOf(weight, {i, j})),
      ...(layer.bias ? [lineOf(bias, {j})] : []),
    ],
  );
}

// ---------------------------------------------------------------------------------------------------------- the numbers

/** The number that a quantity stands for. */
function valueOf(view, quantity) {
  const {net, state} = view;
  if (quantity.upper) return valueOfDerivative(view, quantity);
  const {symbol: letter, layer, row} = quantity,
    [i, j] = quantity.index.map(index => index - 1);
  const n = row === null || row === undefined ? view.n : row - 1,
    passed = state.rows[n],
    last = net.layers.length;
  const changed = lower =>
    valueOf(view, {...quantity, symbol: lower}) - net.lr * valueOf(view, lossBy({...quantity, symbol: lower}));
  switch (letter) {
    case "x":
      return (layer ? passed.layers[layer - 1] : passed).x[i];
    case "y":
      return targetsOf(net, n)[i];
    case "w":
      return net.layers[layer - 1].weight[i][j];
    case "b":
      return net.layers[layer - 1].bias[i];
    case "z":
    case "a":
    case "delta":
      return passed.layers[(layer ?? last) - 1][letter][i];
    case "L":
      return row === null || row === undefined ? state.L : passed.loss;
    case "p":
      return evaluated(
        inNumbers(
          bound(localised(net.loss.probability, last), {j: i + 1}, {all: net.layers[last - 1].outputs}, true),
          item => valueOf(view, item),
        ),
      );
    case "eta":
      return net.lr;
    case "w⁺":
      return changed("w");
    case "b⁺":
      return changed("b");
    default:
      return net.loss.each[letter][i];
  }
}

function valueOfDerivative({state, n}, {upper, lower}) {
  const {symbol: letter, layer} = lower,
    [i, j] = lower.index.map(index => index - 1),
    passed = state.rows[n];
  switch (letter) {
    case "a":
      return passed.layers[layer - 1].dL_da[i];
    case "w":
      return state.gradients[layer - 1].weight[i][j];
    case "b":
      return state.gradients[layer - 1].bias[i];
    case "x":
      return passed.dL_dx[i];
    default: {
      const slope = passed.layers[layer - 1].da_dz,
        k = upper.index[0] - 1;
      return typeof slope[i] === "number" ? slope[i] : slope[k][i];
    }
  }
}

/** The finite difference that a derivative is compared with; null where it is none, or nothing can be computed. */
function differenceOf({net, state, n}, {left}) {
  if (!net.computes) return null;
  const by = left.upper ? left.lower : left,
    at = by.index[0] - 1,
    l = (by.layer ?? 1) - 1;
  const onTheWay = (of, layer, value) => differenceOnTheWay(net, {of, layer, row: n, at}, value);
  const passed = state.rows[n].layers[l];
  if (left.upper?.symbol === "a")
    return differenceOfActivation(net.layers[l], passed.z, left.upper.index[0] - 1, at);
  if (left.upper && by.symbol === "x") return onTheWay("x", 0, state.rows[n].x[at]);
  if (left.upper && by.symbol === "a") return onTheWay("a", l, passed.a[at]);
  if (by.symbol === "delta") return onTheWay("z", l, passed.z[at]);
  if (left.upper && by.symbol === "b") return differenceBy(net, net.layers[l].bias, at);
  if (left.upper && by.symbol === "w") return differenceBy(net, net.layers[l].weight[at], by.index[1] - 1);
  return null;
}

/** A line in symbols, in numbers, and what it comes to. */
function sidesOf(view, {left, right}) {
  const value = valueOf(view, left);
  if (right === null) return [left, value];
  return [left, right, inNumbers(right, item => valueOf(view, item)), value];
}

/** The place in the picture where a quantity stands. */
function placeOf(quantity) {
  const {symbol: letter, index, layer} = quantity.lower ?? quantity;
  const [i, j] = index;
  switch (letter.replace("⁺", "")) {
    case "x":
      return layer ? `input-of-${layer}` : `unit-0-${i}`;
    case "w":
      return `weight-${layer}-${i}-${j}`;
    case "b":
      return `bias-${layer}-${i}`;
    case "z":
    case "a":
    case "delta":
      return `unit-${layer}-${i}`;
    case "y":
    case "p":
      return `target-${i}`;
    case "L":
      return "loss";
    default:
      return letter;
  }
}

/** A step as a sentence. */
function sentenceOf(view, step) {
  const equations = step.lines.map(line => {
    const [left, ...sides] = sidesOf(view, line).map(side => spoken(side, step.layer));
    return `${left} is ${sides.filter((side, k) => !k || side !== sides[k - 1]).join(", which is ")}`;
  });
  return `${step.phase}. ${step.heading}. ${equations.join(". ")}${equations.length ? "." : ""} ${step.note ?? ""}`.trim();
}
