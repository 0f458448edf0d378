// The page: what is chosen, what is pressed and dragged, and what is then shown.

const find = id => document.getElementById(id);
const sheets = JSON.parse(find("data").textContent);
const page = {sheet: 0, view: null, steps: [], position: 0, losses: [], timer: null};

const PLAY = 1600; // milliseconds of a step that plays
const PIXEL = 0.01; // what a number changes by when it is dragged by a pixel, or by an arrow key
const SHOWN = 60; // numbers up to which all have a slider
const AGREE = 1e-6,
  OF_LOSS = 1e-9; // of the gradient and the loss: how far a difference may be off, as in Python
const STAGES = {
  z: "z",
  a: "a",
  p: "p",
  L: "L",
  dL_da: "∂L/∂a",
  da_dz: "∂a/∂z",
  delta: "δ",
  dL_dw: "∂L/∂w",
  dL_db: "∂L/∂b",
  dL_dx: "∂L/∂x",
  update: "update",
};

// -------------------------------------------------------------------------------------------------------------- choosing

/** Show a net from its beginning. */
function open(at) {
  stop();
  const net = netOf(sheets[at]);
  page.sheet = at;
  page.view = {net, n: Math.min(net.row, net.x.length - 1), state: null, chosen: null};
  compute();
  page.view.chosen = [0, ...range(net.layers.length)].map(mostOf);
  page.losses = [page.view.state.L];
  page.steps = stepsOf(page.view);
  page.position = net.look
    ? Math.max(
        0,
        page.steps.findIndex(({stage, layer}) => stage === net.look[0] && layer === net.look[1]),
      )
    : 0;
  find("sheets").value = at;
  find("caption").innerHTML = net.caption.map(paragraph => `<p>${escaped(paragraph)}</p>`).join("");
  find("why").hidden = net.computes;
  find("why").textContent = `These are the recorded numbers of the trace, which stay as they are: ${net.why}.`;
  for (const id of ["training", "hint", "changes"]) find(id).hidden = !net.computes;
  find("rows-label").hidden = net.x.length === 1 || !page.view.state.all;
  find("rows").innerHTML = range(net.x.length)
    .map(n => `<option value="${n - 1}">${n}</option>`)
    .join("");
  find("rows").value = page.view.n;
  show();
}

/** The unit of a column with the largest number: the first to look at. */
function mostOf(column) {
  const {state, n} = page.view,
    numbers = column ? state.rows[n].layers[column - 1].a : state.rows[n].x;
  return numbers.reduce((best, value, at) => (Math.abs(value) > Math.abs(numbers[best]) ? at : best), 0) + 1;
}

/** All numbers again, from the net as it is now. */
function compute() {
  const {view} = page;
  view.state = view.net.computes ? computed(view.net) : recorded(view.net);
}

function changed() {
  compute();
  page.losses = [page.view.state.L];
  show();
}

/** Go to a step. */
function go(position) {
  page.position = Math.min(Math.max(position, 0), page.steps.length - 1);
  show();
}

/** Show another row, or another unit of a column. */
function look(change) {
  const {stage, layer} = page.steps[page.position];
  change(page.view);
  page.steps = stepsOf(page.view);
  const same = page.steps.findIndex(step => step.stage === stage && step.layer === layer);
  page.position = Math.max(0, same);
  show();
}

// --------------------------------------------------------------------------------------------------------------- showing

/** Whether a quantity of a layer has been computed by the step that is shown; where it has no step, the layer's others. */
function reached(stage, layer) {
  const {steps, position} = page;
  const first = steps.findIndex(step => step.stage === stage && step.layer === layer);
  if (first >= 0) return first <= position;
  const phases = stage === "delta" ? ["Backward"] : ["Forward", "Backward"];
  return steps.slice(0, position + 1).some(step => step.layer === layer && phases.includes(step.phase));
}

function show() {
  const {view, steps, position} = page,
    step = steps[position],
    layer = view.net.layers[step.layer - 1];
  const focused = document.activeElement?.id;
  find("heading").textContent = step.heading;
  find("note").textContent = step.note ?? "";
  find("rules").innerHTML = step.rules
    .filter(({right}) => right)
    .map(({left, right}) => equation([left, right], step.layer))
    .join("");
  find("lines").innerHTML = step.lines.map(line => lineText(step, line)).join("") + recordedDifferences(step);
  find("sentence").textContent = `Step ${position + 1} of ${steps.length}. ${sentenceOf(view, step)}`;
  find("count").textContent = `${position + 1} / ${steps.length}`;
  find("position").max = steps.length - 1;
  find("position").value = position;
  for (const [id, at] of [
    ["first", 0],
    ["back", 0],
    ["next", steps.length - 1],
    ["last", steps.length - 1],
  ])
    find(id).disabled = position === at;
  showStages();
  find("picture").innerHTML = picture(view, step, reached);
  scrollToResult();
  find("maps").innerHTML = weightMaps(view, layer);
  find("charts").innerHTML =
    (view.net.computes ? lossChart(page.losses) : "") + deltaChart(view) + activationChart(view, layer);
  showChoice("source", step.layer - 1);
  showChoice("unit", step.layer);
  find("lr").value = view.net.lr;
  find("lr-range").value = Math.log10(view.net.lr);
  if (find("changes").open) showSliders();
  if (find("everything").open) showEverything();
  if (focused?.startsWith("handle-")) find(focused)?.focus({preventScroll: true});
}

/** A number to choose a unit of a column by, where not all have room. */
function showChoice(id, column) {
  const {net, chosen} = page.view,
    some = column >= 0 && sizeOf(net, column) > FEW;
  find(`${id}-label`).hidden = !some;
  if (some) Object.assign(find(id), {max: sizeOf(net, column), value: chosen[column]});
}

/** Show another unit of a column. */
function choose(column, unit) {
  if (unit >= 1 && unit <= sizeOf(page.view.net, column))
    look(view => {
      view.chosen[column] = Math.round(unit);
    });
}

/** What a step computes is brought into view, where the picture is wider than the window. */
function scrollToResult() {
  const frame = find("picture"),
    result = frame.querySelector("circle.result, .result circle, .result text, line.result, rect.result");
  if (!result || frame.scrollWidth <= frame.clientWidth) return;
  const {left, width} = result.getBoundingClientRect(),
    here = left + width / 2 - frame.getBoundingClientRect().left;
  frame.scrollLeft += here - frame.clientWidth / 2;
}

/** An equation, and beside a gradient its finite difference. */
function lineText(step, line) {
  return `<div class="line">${equation(sidesOf(page.view, line), step.layer)}${checkText(line)}</div>`;
}

/** The finite difference of what a line computes, and whether the two agree. */
function checkText(line) {
  const {view} = page;
  const difference = differenceOf(view, line);
  if (difference === null) return "";
  const value = valueOf(view, line.left);
  const near = AGREE * Math.abs(value) + OF_LOSS * Math.max(1, Math.abs(view.state.L));
  const [kind, verdict] =
    Math.abs(value - difference) <= near ? ["check", "✓"] : ["check apart", "✗ (at a kink?)"];
  return `<span class="${kind}">finite difference ${numberText(difference)} ${verdict}</span>`;
}

const tableRow = (kind, ...cells) => element("tr", ...cells.map(cell => element(kind, cell)));

/** Where nothing is computed, the differences of the trace. */
function recordedDifferences({phase, layer}) {
  const found =
    phase === "Backward" ? (page.view.net.recorded.differences ?? []).filter(item => item.layer === layer) : [];
  if (!found.length) return "";
  const rows = found.map(({of, place, gradient, difference, verdict}) =>
    tableRow("td", escaped(of), `[${place}]`, numberText(gradient), numberText(difference), verdict),
  );
  return element("table", tableRow("th", "gradient", "at", "backward", "finite difference", ""), ...rows);
}

/** The list of stages, in groups: forward, loss, backward, update. */
function showStages() {
  const groups = new Map();
  page.steps.forEach(({phase, stage, layer}, at) => {
    const name = phase === "Loss" ? STAGES[stage] : `${layer ? `layer ${layer}` : "input"}: ${STAGES[stage]}`;
    const group = groups.get(phase) ?? groups.set(phase, new Map()).get(phase);
    if (!group.has(name)) group.set(name, at);
  });
  const all = [...groups]
    .map(
      ([phase, names]) =>
        `<optgroup label="${phase}">${[...names]
          .map(([name, at]) => `<option value="${at}">${name}</option>`)
          .join("")}</optgroup>`,
    )
    .join("");
  const starts = [...groups.values()].flatMap(names => [...names.values()]).filter(at => at <= page.position);
  find("stages").innerHTML = all;
  find("stages").value = Math.max(...starts);
}

function showEverything() {
  find("all").innerHTML = page.steps
    .map(
      step =>
        `<div class="each"><h2>${escaped(step.heading)}</h2>${step.lines
          .map(line => equation(sidesOf(page.view, line), step.layer))
          .join("")}</div>`,
    )
    .join("");
}

// -------------------------------------------------------------------------------------------------------------- changing

/** The array that a place is in, and where: what "weight-2-1-3" or "input-1" stands for. */
function numberAt(place) {
  const {net, n} = page.view,
    [kind, ...numbers] = place.split("-"),
    at = numbers.map(number => number - 1);
  switch (kind) {
    case "weight":
      return [net.layers[at[0]].weight[at[1]], at[2]];
    case "bias":
      return [net.layers[at[0]].bias, at[1]];
    case "input":
      return [net.x[n], at[0]];
    default:
      return [targetsOf(net, n), at[0]];
  }
}

/** Set a number, within what is legal of targets; a class is chosen as its target becomes the largest. */
function setNumber(place, value) {
  const {net, n} = page.view,
    [array, at] = numberAt(place),
    {labels, low, high, y} = net.loss;
  if (!Number.isFinite(value)) return;
  if (!place.startsWith("target")) array[at] = value;
  else if (!labels) array[at] = Math.min(high ?? value, Math.max(low ?? value, value));
  else if (value > array[at]) y[n][0] = at;
  changed();
}

function addTo(place, by) {
  const [array, at] = numberAt(place);
  setNumber(place, Number((array[at] + by).toPrecision(12)));
}

function setLearningRate(value) {
  if (!(value > 0 && Number.isFinite(value))) return;
  page.view.net.lr = value;
  show();
}

/** Some steps of gradient descent. */
function train(count) {
  const {view} = page;
  for (let step = 0; step < count && Number.isFinite(view.state.L); step++) {
    descend(view.net, view.state.gradients);
    compute();
    page.losses.push(view.state.L);
  }
  show();
}

/** A slider for every number of a small net, or for those of the step that is shown. */
function showSliders() {
  const {net, n} = page.view,
    step = page.steps[page.position];
  const all = [
    ...Array.from(net.x[n], (_, at) => `input-${at + 1}`),
    ...Array.from(targetsOf(net, n), (_, at) => `target-${at + 1}`),
    ...net.layers.flatMap(({weight, bias, number}) => [
      ...(weight ?? []).flatMap((row, i) => Array.from(row, (_, j) => `weight-${number}-${i + 1}-${j + 1}`)),
      ...Array.from(bias ?? [], (_, j) => `bias-${number}-${j + 1}`),
    ]),
  ];
  const lit = new Set(
    step.lines
      .flatMap(line => [...quantitiesIn(line.right ?? 0), line.left].map(placeOf))
      .map(place => place.replace("unit-0", "input")),
  );
  const places = all.length <= SHOWN ? all : all.filter(place => lit.has(place));
  const focused = document.activeElement?.dataset?.slider;
  if (focused && document.activeElement.type === "range" && places.includes(focused)) return; // it is being dragged
  find("sliders").innerHTML = places.map(sliderText).join("") || "<p>None of this step.</p>";
}

/** A slider, and beside it the number. */
function sliderText(place) {
  const [array, at] = numberAt(place),
    value = array[at],
    far = Math.max(3, Math.ceil(2 * Math.abs(value)));
  const [kind, ...where] = place.split("-");
  const label = {
    input: () => `x${where[0]}`,
    target: () => `y${where[0]}`,
    bias: () => `b${where[1]}(${where[0]})`,
    weight: () => `w${where[1]}${where[2]}(${where[0]})`,
  }[kind]();
  const common = `data-slider="${place}" aria-label="${label}"`;
  const range = `<input type="range" ${common} min="${-far}" max="${far}" step="0.001" value="${value}">`;
  const number = `<input type="number" ${common} step="any" value="${Number(value.toPrecision(8))}">`;
  return `<label>${label} ${range}${number}</label>`;
}

// --------------------------------------------------------------------------------------------------------------- playing

function stop() {
  clearInterval(page.timer);
  page.timer = null;
  showPlaying();
}

function showPlaying() {
  find("play").textContent = page.timer ? "❚❚ Pause" : "▶ Play";
  find("play").setAttribute("aria-pressed", String(Boolean(page.timer)));
}

function play() {
  if (page.timer) return stop();
  if (page.position === page.steps.length - 1) go(0);
  page.timer = setInterval(
    () => (page.position < page.steps.length - 1 ? go(page.position + 1) : stop()),
    PLAY,
  );
  return showPlaying();
}

// ---------------------------------------------------------------------------------------------------------------- events

const PRESSED = {
  first: () => go(0),
  back: () => go(page.position - 1),
  play,
  next: () => go(page.position + 1),
  last: () => go(page.steps.length - 1),
  one: () => train(1),
  ten: () => train(10),
  hundred: () => train(100),
  reset: () => {
    const {position} = page;
    open(page.sheet);
    go(position);
  },
};
for (const [id, action] of Object.entries(PRESSED)) find(id).addEventListener("click", action);

find("sheets").innerHTML = sheets
  .map(({name}, at) => `<option value="${at}">${escaped(name)}</option>`)
  .join("");
find("sheets").addEventListener("change", event => open(Number(event.target.value)));
find("stages").addEventListener("change", event => go(Number(event.target.value)));
find("rows").addEventListener("change", event =>
  look(view => {
    view.n = Number(event.target.value);
  }),
);
find("source").addEventListener("change", event =>
  choose(page.steps[page.position].layer - 1, Number(event.target.value)),
);
find("unit").addEventListener("change", event =>
  choose(page.steps[page.position].layer, Number(event.target.value)),
);
find("position").addEventListener("input", event => go(Number(event.target.value)));
find("lr").addEventListener("change", event => setLearningRate(Number(event.target.value)));
find("lr-range").addEventListener("input", event =>
  setLearningRate(Number((10 ** event.target.value).toPrecision(3))),
);
find("changes").addEventListener("toggle", showSliders);
find("everything").addEventListener("toggle", showEverything);
find("sliders").addEventListener("input", event => {
  const {slider} = event.target.dataset,
    value = Number(event.target.value);
  setNumber(slider, value);
  for (const other of find("sliders").querySelectorAll(`[data-slider="${slider}"]`))
    if (other !== event.target) other.value = value;
});
window.addEventListener("beforeprint", () => {
  find("everything").open = true;
  showEverything();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);

/** A number in the picture is dragged: to the right it grows. */
find("picture").addEventListener("pointerdown", event => {
  const place = event.target.closest("[data-place]")?.dataset.place;
  if (!place) return;
  let from = event.clientX;
  const move = moved => {
    addTo(place, (moved.clientX - from) * PIXEL);
    from = moved.clientX;
  };
  const end = () => {
    window.removeEventListener("pointermove", move);
    for (const name of ["pointerup", "pointercancel"]) window.removeEventListener(name, end);
    find(`handle-${place}`)?.focus({preventScroll: true});
  };
  window.addEventListener("pointermove", move);
  for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, end);
  event.preventDefault();
});

/** A click on a picture of many numbers, or on a unit, chooses it. */
document.addEventListener("click", event => {
  const {column, unit: place} = event.target.closest("[data-column], [data-unit]")?.dataset ?? {};
  if (column === undefined && !place) return;
  if (place) {
    const [, ofColumn, at] = place.split("-").map(Number);
    return choose(ofColumn, at);
  }
  const {net} = page.view,
    size = sizeOf(net, Number(column)),
    shape = Number(column) ? net.layers[column - 1].shape : net.xShape;
  const box = event.target.getBoundingClientRect(),
    {across: wide, down, cellOf} = grid(size, shape);
  const cell = [
    Math.floor(((event.clientX - box.left) / box.width) * wide),
    Math.floor(((event.clientY - box.top) / box.height) * down),
  ];
  const at = range(size).find(item => cellOf(item - 1).every((number, k) => number === cell[k]));
  return choose(Number(column), at);
});

const KEYS = {
  ArrowRight: PRESSED.next,
  ArrowLeft: PRESSED.back,
  Home: PRESSED.first,
  End: PRESSED.last,
  " ": play,
};
const BY = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1};

document.addEventListener("keydown", event => {
  if (
    event.target.closest("input, select, button, summary, textarea") ||
    event.ctrlKey ||
    event.metaKey ||
    event.altKey
  )
    return;
  const place = event.target.closest("[data-place]")?.dataset.place;
  if (place && event.key in BY) addTo(place, BY[event.key] * PIXEL * (event.shiftKey ? 10 : 1));
  else if (event.key in KEYS) KEYS[event.key]();
  else return;
  event.preventDefault();
});

open(0);
