// The picture: the net as SVG, pictures of many numbers, and three small charts.

const SINGLE = 6; // units of a column that are drawn one by one; more are cells of a picture
const LABELLED = 12; // weights of a layer that have room for their numbers
// In pixels: from column to column, from unit to unit, half a unit, a picture of many numbers, and what is left free.
const [COLUMN, UNIT, RADIUS, MAP, TOP, MARGIN] = [236, 112, 29, 132, 46, 76];
const ALONG = [0.3, 0.22, 0.4, 0.5, 0.6, 0.7]; // where on its line a weight may stand
const LABEL = {width: 66, height: 29};

/** An element of SVG as text. */
function tag(name, attributes, ...inner) {
  const given = Object.entries(attributes).filter(
    ([, value]) => value !== undefined && value !== false && value !== null,
  );
  const texts = given.map(([key, value]) => ` ${key}="${escaped(value).replace(/"/g, "&quot;")}"`);
  return `<${name}${texts.join("")}>${inner.join("")}</${name}>`;
}

const text = (x, y, content, kind, more = {}) => tag("text", {x, y, class: kind, ...more}, escaped(content));
const short = value => numberText(Number(value.toPrecision(4)));

/** What can be changed by dragging it, or with the arrow keys. */
function handle(place, label, value, changeable) {
  return changeable
    ? {
        "data-place": place,
        id: `handle-${place}`,
        tabindex: 0,
        role: "slider",
        "aria-label": label,
        "aria-valuenow": value,
        "aria-valuetext": short(value),
      }
    : {};
}

// ------------------------------------------------------------------------------------------------------------ the columns

/** Where each column stands, and where in it its units. */
function layout(net) {
  const sizes = [0, ...range(net.layers.length)].map(column => sizeOf(net, column));
  const heights = sizes.map(size => (size <= SINGLE ? size * UNIT : 2 * MAP + 50));
  const height = Math.max(...heights, 2 * UNIT);
  const columns = sizes.map((size, column) => ({
    column,
    size,
    single: size <= SINGLE,
    x: MARGIN + column * COLUMN,
    y: at => TOP + height / 2 + (at - (size - 1) / 2) * UNIT,
    top: TOP + (height - heights[column]) / 2,
  }));
  return {columns, height: height + TOP + 24, width: MARGIN + sizes.length * COLUMN + 60};
}

/** The net with the numbers that are known at a step. */
function picture(view, step, reached) {
  const {columns, width, height} = layout(view.net);
  const lit = litBy(step),
    context = {view, step, reached, lit, columns};
  const shapeOf = column => (column ? view.net.layers[column - 1].shape : view.net.xShape).join(" × ");
  const heading = column =>
    text(columns[column].x, 18, column ? `Layer ${column}` : "Input", "heading") +
    (columns[column].single ? "" : text(columns[column].x, 34, shapeOf(column), "small"));
  const parts = [
    ...columns.map((_, column) => heading(column)),
    ...view.net.layers.map(layer => edges(context, layer)),
    ...columns.map(column => (column.single ? units(context, column) : maps(context, column))),
    result(context),
  ];
  const direction = step.phase === "Backward" ? "backward" : "forward";
  const arrow = direction === "backward" ? "← backward" : step.phase === "Update" ? "update" : "forward →";
  parts.push(text(width - 8, 18, arrow, "heading direction"));
  return tag(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      class: `net ${direction}`,
      role: "group",
      "aria-label": "The net",
    },
    ...parts,
  );
}

/** The places that the numbers of a step come from, and where they go. */
function litBy(step) {
  const sources = new Set(step.lines.flatMap(line => line.all.map(placeOf)));
  const results = new Set(step.lines.map(line => placeOf(line.left)));
  return {
    sources,
    results,
    of: place => (results.has(place) ? " result" : sources.has(place) ? " source" : ""),
  };
}

function edges(context, layer) {
  const {columns, view, lit, reached} = context,
    from = columns[layer.number - 1],
    to = columns[layer.number];
  if (layer.recorded.follows === false) return "";
  if (!from.single || !to.single) return band(context, from, to, layer);
  const line = (i, j, more) =>
    tag("line", {x1: from.x + RADIUS, y1: from.y(i), x2: to.x - RADIUS, y2: to.y(j), ...more});
  if (!layer.weight)
    return from.size === to.size
      ? range(to.size)
          .map(j => line(j - 1, j - 1, {class: "edge"}))
          .join("")
      : "";
  const {weight} = layer,
    largest = Math.max(...weight.map(row => Math.max(...row.map(Math.abs))), 1e-12);
  const labelled = from.size * to.size <= LABELLED,
    gradient = reached("dL_dw", layer.number);
  const drawn = [],
    labels = [],
    free = freePlaces();
  weight.forEach((row, i) =>
    row.forEach((w, j) => {
      const place = `weight-${layer.number}-${i + 1}-${j + 1}`,
        sign = w < 0 ? "negative" : "positive";
      drawn.push(
        line(i, j, {
          class: `edge ${sign}${lit.of(place)}`,
          "stroke-width": 0.8 + (4 * Math.abs(w)) / largest,
          "data-lit": place,
        }),
      );
      if (!labelled) return;
      const {x, y} = free(along => ({
        x: from.x + RADIUS + along * (to.x - from.x - 2 * RADIUS),
        y: from.y(i) + along * (to.y(j) - from.y(i)),
      }));
      const slope = gradient
        ? text(x, y + 14, `∂ ${short(view.state.gradients[layer.number - 1].weight[i][j])}`, "number gradient")
        : "";
      labels.push(
        tag(
          "g",
          {
            class: `label${lit.of(place)}`,
            ...handle(
              place,
              `weight from unit ${i + 1} to unit ${j + 1} of layer ${layer.number}`,
              w,
              view.net.computes,
            ),
          },
          text(x, y + 3, short(w), "number weight"),
          slope,
        ),
      );
    }),
  );
  return drawn.join("") + labels.join("");
}

/** A function that finds a place on a line where no label stands yet, or takes the first. */
function freePlaces() {
  const taken = [];
  return onLine => {
    const far = at =>
      taken.every(other => Math.abs(at.x - other.x) > LABEL.width || Math.abs(at.y - other.y) > LABEL.height);
    const place = ALONG.map(onLine).find(far) ?? onLine(ALONG[0]);
    taken.push(place);
    return place;
  };
}

/** Many weights as one band. */
function band({lit}, from, to, layer) {
  if (!layer.weight && !layer.about) return "";
  const edge = (column, side) => {
    const half = column.single ? RADIUS : MAP / 2,
      x = column.x + side * half;
    return column.single
      ? [
          [x, column.y(0)],
          [x, column.y(column.size - 1)],
        ]
      : [
          [x, column.top + 16],
          [x, column.top + 16 + MAP],
        ];
  };
  const [a, b] = edge(from, 1),
    [c, d] = edge(to, -1),
    points = [a, b, d, c].map(point => point.join(",")).join(" ");
  const isLit = [...lit.sources, ...lit.results].some(place => place.startsWith(`weight-${layer.number}-`));
  const size = layer.weight ? `${from.size} × ${to.size} weights` : "";
  return (
    tag("polygon", {points, class: `band${isLit ? " source" : ""}`}) +
    text((from.x + to.x) / 2, (a[1] + d[1]) / 2, size, "small")
  );
}

function units({view, reached, lit}, {column, size, x, y}) {
  const {state, net, n} = view,
    passed = column ? state.rows[n].layers[column - 1] : null,
    given = state.rows[n].x;
  const bias = column ? net.layers[column - 1].bias : null;
  return range(size)
    .map(unit => {
      const at = unit - 1,
        place = `unit-${column}-${unit}`,
        number = (value, offset, kind, known, name) =>
          known && value !== undefined ? text(x, y(at) + offset, name + short(value), `number ${kind}`) : "";
      const circle = tag("circle", {cx: x, cy: y(at), r: RADIUS, class: "unit", "data-lit": place});
      if (!passed)
        return tag(
          "g",
          {
            class: `place${lit.of(place)}`,
            ...handle(`input-${unit}`, `input ${unit}`, given[at], net.computes),
          },
          circle,
          text(x, y(at) + 4, short(given[at]), "number inside"),
          text(x - RADIUS - 6, y(at) + 4, `x${unit}`, "name"),
          number(state.rows[n].dL_dx?.[at], RADIUS + 13, "gradient", reached("dL_dx", 0), "∂ "),
        );
      const under =
        bias &&
        tag(
          "g",
          {
            class: `label${lit.of(`bias-${column}-${unit}`)}`,
            ...handle(
              `bias-${column}-${unit}`,
              `bias of unit ${unit} of layer ${column}`,
              bias[at],
              net.computes,
            ),
          },
          text(x - RADIUS - 2, y(at) + RADIUS + 1, `b ${short(bias[at])}`, "number weight end"),
        );
      return (
        tag(
          "g",
          {class: `place${lit.of(place)}`, "data-unit": place},
          circle,
          number(passed.a[at], 4, "inside", reached("a", column), ""),
          number(passed.z[at], -RADIUS - 5, "", reached("z", column), "z "),
          number(passed.delta?.[at], RADIUS + 13, "gradient", reached("delta", column), "δ "),
        ) + (under ?? "")
      );
    })
    .join("");
}

function maps({view, reached, lit}, {column, x, top}) {
  const {net, state, n, chosen} = view,
    layer = column ? net.layers[column - 1] : null;
  const shape = layer ? layer.shape : net.xShape,
    passed = layer ? state.rows[n].layers[column - 1] : {a: state.rows[n].x};
  const isLit = [...lit.sources, ...lit.results].some(place => place.startsWith(`unit-${column}-`))
    ? " source"
    : "";
  const drawn = (values, name, y, known) =>
    known && values
      ? text(x, y + 10, `${name}, unit ${chosen[column]}: ${short(values[chosen[column] - 1])}`, "small") +
        mapAt(values, shape, x - MAP / 2, y + 16, column, chosen[column])
      : "";
  const back = column ? passed.delta : state.rows[n].dL_dx;
  return tag(
    "g",
    {class: `place${isLit}`},
    drawn(passed.a, column ? "a" : "x", top, !column || reached("a", column)),
    drawn(
      back,
      column ? "δ" : "∂L/∂x",
      top + MAP + 26,
      column ? reached("delta", column) : reached("dL_dx", 0),
    ),
  );
}

/** A picture of many numbers; a click on it chooses a unit. */
function mapAt(values, shape, x, y, column, chosen) {
  const {url, across, down, cellOf} = heatMap(values, shape),
    cell = MAP / Math.max(across, down);
  const [width, height] = [cell * across, cell * down],
    [left, upper] = [x + (MAP - width) / 2, y + (MAP - height) / 2];
  const [cx, cy] = cellOf(chosen - 1);
  return (
    tag("image", {
      href: url,
      x: left,
      y: upper,
      width,
      height,
      class: "map",
      preserveAspectRatio: "none",
      "data-column": column,
      role: "img",
      "aria-label": `${values.length} numbers from ${short(Math.min(...values))} to ${short(Math.max(...values))}`,
    }) +
    tag("rect", {x: left, y: upper, width, height, class: "frame"}) +
    tag("rect", {x: left + cx * cell, y: upper + cy * cell, width: cell, height: cell, class: "chosen"})
  );
}

/** The targets, the probabilities where there are some, and the loss. */
function result({view, columns, reached, lit}) {
  const {net, state, n} = view,
    {x, y, size, single} = columns.at(-1),
    last = net.layers.length;
  const right = x + 138,
    middle = single ? (y(0) + y(size - 1)) / 2 : columns.at(-1).top + MAP / 2 + 16;
  const parts = [];
  if (net.loss && single) {
    const targets = targetsOf(net, n);
    for (const unit of range(size).slice(0, targets.length)) {
      const place = `target-${unit}`,
        at = unit - 1,
        known = net.loss.probability && reached("p", last);
      parts.push(tag("line", {x1: x + RADIUS, y1: y(at), x2: right + 40, y2: middle, class: "edge"}));
      parts.push(
        tag(
          "g",
          {class: `label${lit.of(place)}`, ...handle(place, `target ${unit}`, targets[at], net.computes)},
          text(x + RADIUS + 44, y(at) + 16, `y${unit} = ${short(targets[at])}`, "number weight"),
          known
            ? text(x + RADIUS + 44, y(at) + 31, `p ${short(valueOf(view, symbol("p", [unit])))}`, "number")
            : "",
        ),
      );
    }
  }
  if (net.loss?.labels)
    parts.push(text(right + 54, middle + 36, `class ${net.loss.y[n][0] + 1} of ${size}`, "small"));
  parts.push(
    tag("rect", {
      x: right + 8,
      y: middle - 19,
      width: 92,
      height: 38,
      rx: 6,
      class: `loss${lit.of("loss")}`,
      "data-lit": "loss",
    }),
  );
  parts.push(text(right + 54, middle + 5, reached("L", last) ? `L = ${short(state.L)}` : "L", "number inside"));
  return parts.join("");
}

// ------------------------------------------------------------------------------------------------- pictures of many numbers

/** How numbers of a shape lie in a picture: channels are tiles, a vector is a square. */
function grid(count, shape) {
  if (shape.length === 3) {
    const [channels, height, width] = shape,
      tiles = Math.ceil(Math.sqrt(channels)),
      gap = channels > 1 ? 1 : 0;
    const [w, h] = [width + gap, height + gap];
    return {
      across: tiles * w - gap,
      down: Math.ceil(channels / tiles) * h - gap,
      cellOf: at => {
        const channel = Math.floor(at / (width * height)),
          inner = at % (width * height);
        return [
          (channel % tiles) * w + (inner % width),
          Math.floor(channel / tiles) * h + Math.floor(inner / width),
        ];
      },
    };
  }
  const across = shape.length === 2 ? shape[1] : Math.ceil(Math.sqrt(count));
  return {across, down: Math.ceil(count / across), cellOf: at => [at % across, Math.floor(at / across)]};
}

/** Numbers as a picture: 0 has the colour of the paper, positive and negative ones a colour each. */
function heatMap(values, shape) {
  const {across, down, cellOf} = grid(values.length, shape),
    style = getComputedStyle(document.documentElement);
  const colour = name =>
    style
      .getPropertyValue(name)
      .trim()
      .match(/\w\w/g)
      .map(pair => parseInt(pair, 16));
  const [paper, positive, negative] = ["--map-zero", "--map-positive", "--map-negative"].map(colour);
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
  const canvas = Object.assign(document.createElement("canvas"), {width: across, height: down}),
    brush = canvas.getContext("2d");
  const image = brush.createImageData(across, down);
  values.forEach((value, at) => {
    const [x, y] = cellOf(at),
      share = Math.abs(value) / largest,
      full = value < 0 ? negative : positive;
    image.data.set([...paper.map((from, k) => from + share * (full[k] - from)), 255], 4 * (y * across + x));
  });
  brush.putImageData(image, 0, 0);
  return {url: canvas.toDataURL(), across, down, cellOf};
}

/** The weights that lead to the chosen unit of a layer, and their gradients, in the shape of what they read. */
function weightMaps(view, layer) {
  const {net, state, chosen} = view;
  if (!layer?.weight || layer.weight.length <= SINGLE) return "";
  const j = chosen[layer.number] - 1,
    shape = layer.number > 1 ? net.layers[layer.number - 2].shape : net.xShape;
  const gradient = state.gradients[layer.number - 1].weight;
  const shown = (numbers, name, at) =>
    text(at + MAP / 2, 12, name, "small") +
    mapAt(Float64Array.from(numbers), shape, at, 20, layer.number - 1, chosen[layer.number - 1]);
  const width = 2 * MAP + 24;
  return tag(
    "svg",
    {viewBox: `0 0 ${width} ${MAP + 24}`, width, height: MAP + 24, class: "net"},
    shown(
      layer.weight.map(row => row[j]),
      `w to unit ${j + 1}`,
      0,
    ),
    shown(
      gradient.map(row => row[j]),
      "∂L/∂w",
      MAP + 24,
    ),
  );
}

// ------------------------------------------------------------------------------------------------------------ the charts

const WIDE = 280,
  HIGH = 110,
  EDGE = 30;

/** A frame with a title and two numbers at its left side. */
function chart(title, high, low, ...inner) {
  return tag(
    "svg",
    {viewBox: `0 0 ${WIDE} ${HIGH + 34}`, class: "chart", role: "img", "aria-label": title},
    text(0, 12, title, "small start"),
    tag(
      "g",
      {transform: "translate(0 20)"},
      tag("rect", {x: EDGE + 16, y: 0, width: WIDE - EDGE - 18, height: HIGH, class: "frame"}),
      text(EDGE + 12, 9, high, "small end"),
      text(EDGE + 12, HIGH, low, "small end"),
      ...inner,
    ),
  );
}

const across = share => EDGE + 16 + share * (WIDE - EDGE - 18);
const upward = share => HIGH - share * HIGH;
const points = places => places.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
const between = (low, high) => value => (high > low ? (value - low) / (high - low) : 0.5);

/** The loss after each step of gradient descent. */
function lossChart(losses) {
  const finite = losses.filter(Number.isFinite),
    high = Math.max(...finite),
    low = Math.min(0, ...finite),
    place = between(low, high);
  const line = losses.map((loss, at) => [
    across(losses.length > 1 ? at / (losses.length - 1) : 0),
    upward(place(Number.isFinite(loss) ? loss : high)),
  ]);
  const [x, y] = line.at(-1),
    title = `L after ${losses.length - 1} steps: ${short(losses.at(-1))}`;
  return chart(
    title,
    short(high),
    short(low),
    tag("polyline", {points: points(line), class: "curve"}),
    tag("circle", {cx: x, cy: y, r: 4, class: "dot"}),
  );
}

/** The mean size of delta in each layer, on a scale of powers of ten. */
function deltaChart({state, net, n}) {
  const sizes = state.rows[n].layers.map(({delta}) =>
    delta ? delta.reduce((sum, d) => sum + Math.abs(d), 0) / delta.length : 0,
  );
  const powers = sizes.map(size => (size > 0 ? Math.log10(size) : null)),
    known = powers.filter(power => power !== null);
  if (!known.length) return chart("mean |δ| of each layer: 0", "", "");
  const high = Math.ceil(Math.max(...known)),
    low = Math.min(Math.floor(Math.min(...known)), high - 1),
    place = between(low, high);
  const wide = 1 / sizes.length,
    bars = powers.map((power, l) =>
      power === null
        ? ""
        : tag("rect", {
            x: across((l + 0.15) * wide),
            y: upward(place(power)),
            width: 0.7 * wide * (WIDE - EDGE - 18),
            height: Math.max(1, place(power) * HIGH),
            class: "bar",
          }),
    );
  const names = sizes.map((_, l) => text(across((l + 0.5) * wide), HIGH + 12, l + 1, "small"));
  return chart(`mean |δ| of each of ${net.layers.length} layers`, `1e${high}`, `1e${low}`, ...bars, ...names);
}

/** An activation function, its derivative, and where the units of a layer stand on it. */
function activationChart({state, net, n}, layer) {
  const {activation, number} = layer ?? {};
  if (!net.computes || !activation || activation.mixing) return "";
  const z = Array.from(state.rows[n].layers[number - 1].z),
    far = Math.max(4, ...z.map(Math.abs).filter(Number.isFinite)) * 1.1;
  const xs = Array.from({length: 121}, (_, at) => far * (at / 60 - 1)),
    value = x => call(activation.forward, {x});
  const slope = x => call(activation.backward, {x, out: value(x), grad_out: 1});
  const all = [...xs.map(value), ...xs.map(slope)].filter(Number.isFinite),
    high = Math.max(...all),
    low = Math.min(0, ...all);
  const place = between(low, high),
    at = (x, y) => [across((x / far + 1) / 2), upward(Math.min(1, Math.max(0, place(y))))];
  const line = (f, kind) => tag("polyline", {points: points(xs.map(x => at(x, f(x)))), class: kind});
  const dots = z
    .slice(0, 50)
    .map(x => tag("circle", {cx: at(x, value(x))[0], cy: at(x, value(x))[1], r: 4, class: "dot"}))
    .concat(
      z
        .slice(0, 50)
        .map(x => tag("circle", {cx: at(x, slope(x))[0], cy: at(x, slope(x))[1], r: 3, class: "dot gradient"})),
    );
  return chart(
    `${activation.name}(z) and, dashed, its slope, in layer ${number}`,
    short(high),
    short(low),
    line(value, "curve"),
    line(slope, "curve slope"),
    ...dots,
  );
}
