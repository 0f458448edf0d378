// The mathematics. A net has layers (weight w[i][j] from unit i to unit j, bias b[j], activation function), rows x[n] and
// targets y[n]; `kernels` are the parts' own functions, translated from Python.

const STEP = 1e-5; // of central differences: h = STEP max(1, |value|), as in Python
const LONGEST = 64; // numbers of a row of which all derivatives by each other are computed

// ------------------------------------------------------------------------------------------------------------- the net

/** An array of rows of numbers; a vector if it has one axis. */
function decoded(array) {
  if (!array) return null;
  const bytes = Uint8Array.from(atob(array.numbers), character => character.charCodeAt(0));
  const numbers = Float64Array.from(new (array.kind === "f4" ? Float32Array : Float64Array)(bytes.buffer));
  const inner = array.shape.slice(1).reduce((a, b) => a * b, 1);
  if (array.shape.length === 1) return numbers;
  return Array.from({length: array.shape[0]}, (_, n) => numbers.slice(n * inner, (n + 1) * inner));
}

/** The net that the page was given: numbers that may be changed. */
function netOf(data) {
  const layers = data.layers.map((layer, at) => ({
    ...layer,
    number: at + 1,
    weight: decoded(layer.weight),
    bias: decoded(layer.bias),
    outputs: layer.shape.reduce((a, b) => a * b, 1),
  }));
  const loss = data.loss && {...data.loss, y: decoded(data.loss.y)};
  return {...data, layers, loss, x: decoded(data.x), computes: !data.why};
}

/** The targets of a row as numbers, one for each output: a class is a row of zeros with a one. */
function targetsOf(net, n) {
  const {loss} = net,
    given = loss.y[n];
  if (!loss.labels) return given;
  return Float64Array.from({length: net.layers.at(-1).outputs}, (_, k) => Number(k === given[0]));
}

// ------------------------------------------------------------------------------------------------- what parts compute

/** Call a kernel with those of the given things that it names. */
function call({name, arguments: names}, given) {
  return kernels[name](...names.map(item => given[item]));
}

const zeros = length => new Float64Array(length);
const oneHot = (length, k) => Float64Array.from({length}, (_, j) => Number(j === k));

/** z_j = sum_i w_ij x_i + b_j */
function weightedSums({weight, bias, outputs}, x) {
  if (!weight) return x;
  const z = bias ? bias.slice() : zeros(outputs);
  weight.forEach((row, i) =>
    row.forEach((w, j) => {
      z[j] += w * x[i];
    }),
  );
  return z;
}

/** a_j = s(z_j) */
function activated(activation, z) {
  if (!activation) return z.slice();
  if (!activation.mixing) return z.map(number => call(activation.forward, {x: number}));
  const out = zeros(z.length);
  call(activation.forward, {x: [z], out: [out]});
  return out;
}

/** da_j/dz_j = s'(z_j) for each j; of a function of the whole row, a matrix of da_k/dz_j, or null where it is long */
function slopes(activation, z, a) {
  if (!activation) return z.map(() => 1);
  if (!activation.mixing) return z.map((x, j) => call(activation.backward, {x, out: a[j], grad_out: 1}));
  return z.length > LONGEST ? null : Array.from(z, (_, k) => sentBack(activation, z, a, oneHot(z.length, k)));
}

/** delta_j = dL/da_j s'(z_j); of a function of the whole row, sum_k dL/da_k da_k/dz_j */
function sentBack(activation, z, a, dL_da) {
  if (!activation) return dL_da.slice();
  if (!activation.mixing)
    return dL_da.map((grad_out, j) => call(activation.backward, {x: z[j], out: a[j], grad_out}));
  const delta = zeros(z.length);
  call(activation.backward, {x: [z], out: [a], grad_out: [dL_da], grad_x: [delta]});
  return delta;
}

/** What a kernel of the loss is given of a row; a class is a label with a target of one number where it takes labels. */
function givenToLoss(net, n, prediction) {
  const {labels, readsLabels, y} = net.loss,
    whole = targetsOf(net, n);
  return labels && readsLabels
    ? {prediction, target: [1], label: y[n][0]}
    : {prediction, target: whole, label: 0};
}

/** The numbers that a loss has for each output, of one of them. */
const eachOf = ({each}, j) =>
  Object.fromEntries(Object.entries(each).map(([name, numbers]) => [name, numbers[j]]));

/** The loss of a row, before it is weighed. */
function lossOfRow(net, n, a) {
  const {loss} = net,
    given = givenToLoss(net, n, a);
  if (loss.rowwise) return call(loss.forward, given);
  return a.reduce(
    (total, prediction, j) =>
      total + call(loss.forward, {prediction, target: given.target[j], ...eachOf(loss, j)}),
    0,
  );
}

/** dL/da_j */
function gradientOfLoss(net, n, a) {
  const {loss} = net,
    given = givenToLoss(net, n, a),
    share = loss.share[n];
  if (!loss.rowwise)
    return a.map(
      (prediction, j) => share * call(loss.backward, {prediction, target: given.target[j], ...eachOf(loss, j)}),
    );
  const gradient = zeros(a.length);
  call(loss.backward, {...given, grad_prediction: gradient});
  return gradient.map(number => share * number);
}

// ---------------------------------------------------------------------------------------------------- forward, backward

/** All rows forward. `nudge` adds to one number on the way: {of: "x", "z" or "a", layer, row, at, by}. */
function forward(net, nudge) {
  const nudged = (numbers, of, layer, row) => {
    if (!nudge || nudge.of !== of || nudge.layer !== layer || nudge.row !== row) return numbers;
    const changed = numbers.slice();
    changed[nudge.at] += nudge.by;
    return changed;
  };
  let L = 0;
  const rows = net.x.map((given, n) => {
    const x = nudged(given, "x", 0, n);
    let before = x;
    const layers = net.layers.map((layer, l) => {
      const z = nudged(weightedSums(layer, before), "z", l, n);
      const a = nudged(activated(layer.activation, z), "a", l, n);
      const passed = {x: before, z, a};
      before = a;
      return passed;
    });
    const loss = lossOfRow(net, n, before);
    L += net.loss.share[n] ? net.loss.share[n] * loss : 0;
    return {x, layers, loss};
  });
  return {rows, L};
}

/** A row backward: dL/da, da/dz and delta of each layer, from the last to the first. */
function backwardOfRow(net, n, row) {
  let back = gradientOfLoss(net, n, row.layers.at(-1).a);
  for (let l = net.layers.length - 1; l >= 0; l--) {
    const {activation, weight} = net.layers[l],
      {z, a} = row.layers[l];
    const delta = sentBack(activation, z, a, back);
    Object.assign(row.layers[l], {dL_da: back, da_dz: slopes(activation, z, a), delta});
    back = weight ? weight.map(w => w.reduce((total, w_ij, j) => total + w_ij * delta[j], 0)) : delta;
  }
  row.dL_dx = back;
}

/** dL/dw_ij = sum_n delta_nj x_ni and dL/db_j = sum_n delta_nj */
function gradientsOf(net, rows, l) {
  const {weight, bias} = net.layers[l];
  const summed = (length, factor) => {
    const total = zeros(length);
    for (const row of rows)
      row.layers[l].delta.forEach((delta, j) => {
        total[j] += delta * factor(row.layers[l]);
      });
    return total;
  };
  return {
    weight: weight && weight.map((w, i) => summed(w.length, layer => layer.x[i])),
    bias: bias && summed(bias.length, () => 1),
  };
}

/** Everything: all rows forward and backward, and the gradients. */
function computed(net) {
  const {rows, L} = forward(net);
  rows.forEach((row, n) => backwardOfRow(net, n, row));
  return {rows, L, gradients: net.layers.map((_, l) => gradientsOf(net, rows, l)), all: true};
}

/** The numbers of the trace, where the page cannot compute them. */
function recorded(net) {
  const layers = net.layers.map(({recorded: kept}) =>
    Object.fromEntries(["x", "z", "a", "da_dz", "dL_da", "delta"].map(name => [name, decoded(kept[name])])),
  );
  const grad_x = decoded(net.recorded.grad_x);
  const rows = net.x.map((x, n) => {
    const at = net.recorded.all ? n : 0;
    return {
      x,
      dL_dx: grad_x?.[at],
      layers: layers.map((layer, l) => ({
        ...Object.fromEntries(Object.entries(layer).map(([name, numbers]) => [name, numbers?.[at]])),
        da_dz: squared(layer.da_dz?.[at], net.layers[l]),
      })),
    };
  });
  const gradients = net.layers.map(
    ({
      recorded: {
        gradients: {weight, bias},
      },
    }) => ({weight: decoded(weight), bias: decoded(bias)}),
  );
  return {rows, L: net.recorded.value, gradients, all: net.recorded.all};
}

/** The derivatives of a function of a whole row as a matrix again. */
function squared(numbers, {activation, outputs}) {
  if (!numbers || !activation?.mixing || numbers.length !== outputs * outputs) return numbers;
  return Array.from({length: outputs}, (_, k) => numbers.slice(k * outputs, (k + 1) * outputs));
}

// ----------------------------------------------------------------------------------------- differences, and gradient descent

/** (L(v + h) - L(v - h)) / 2h, by a number of x, z or a of a row: {of, layer, row, at}. */
function differenceOnTheWay(net, place, value) {
  const h = STEP * Math.max(1, Math.abs(value));
  return (forward(net, {...place, by: h}).L - forward(net, {...place, by: -h}).L) / (2 * h);
}

/** The same by a number in an array that the net reads: a weight or a bias. */
function differenceBy(net, array, at) {
  const value = array[at],
    h = STEP * Math.max(1, Math.abs(value));
  const losses = [h, -h].map(by => {
    array[at] = value + by;
    return forward(net).L;
  });
  array[at] = value;
  return (losses[0] - losses[1]) / (2 * h);
}

/** (a_k(z_j + h) - a_k(z_j - h)) / 2h */
function differenceOfActivation({activation}, z, k, j) {
  const h = STEP * Math.max(1, Math.abs(z[j]));
  const moved = by =>
    activated(
      activation,
      z.map((number, at) => (at === j ? number + by : number)),
    )[k];
  return (moved(h) - moved(-h)) / (2 * h);
}

/** w := w - eta dL/dw, of every weight and bias. */
function descend(net, gradients) {
  net.layers.forEach(({weight, bias}, l) => {
    weight?.forEach((row, i) =>
      row.forEach((_, j) => {
        row[j] -= net.lr * gradients[l].weight[i][j];
      }),
    );
    bias?.forEach((_, j) => {
      bias[j] -= net.lr * gradients[l].bias[j];
    });
  });
}
