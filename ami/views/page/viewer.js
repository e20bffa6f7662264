"use strict";
(() => {
const el = id => document.getElementById(id);
const RUN = JSON.parse(el("run").textContent);
const COLOURS = {world: "#475569", perception: "#2563eb", world_model: "#7c3aed", memory: "#0d9488", goal: "#b45309",
  cost: "#dc2626", planner: "#15803d", actor: "#c2410c", configurator: "#be185d"};
const LINES = ["#0a6ebd", "#e08a1e", "#3a9d5d", "#a04a9c", "#7a7f8c", "#c2403a"];
const PLANS = ["#0080c8", "#8e44ad", "#0d9488", "#b45309"], PLAN = PLANS[0], WALKED = "#6e7482", WANTED = "#1e9654", WIDEST = 12, NOW = "#c2403a", REFERENCE = "#e08a1e";
const UNSEEN = ["terminated", "truncated", "episode"];  // of the world's outputs: shown by the episode's entry
const NODES = new Map(RUN.nodes.map(node => [node.name, node]));
const EPISODES = RUN.waves.flatMap(wave => wave.episodes.map(episode => ({...episode, wave, part: `${wave.wave}-${episode.row}${episode.first ? `-${episode.first}` : ""}`})));
const role = name => NODES.has(name) ? NODES.get(name).role : "", ofRole = one => [...NODES.keys()].filter(name => role(name) === one);
const [WORLD] = ofRole("world"), [MEMORY] = ofRole("memory"), [CONFIGURATOR] = ofRole("configurator");
const PLANNERS = RUN.planners.map(({node}, place) => ({node, colour: PLANS[place % PLANS.length], dash: place ? [7, 4] : []})), SEVERAL = PLANNERS.length > 1;
const colour = name => COLOURS[role(name)] || "#334155";
const short = number => number === undefined || Number.isNaN(number) ? "–" :
  Math.abs(number) >= 1e9 || (number !== 0 && Math.abs(number) < 1e-3) ? number.toExponential(2) :
  Math.abs(number) >= 1e3 ? Math.round(number).toLocaleString("en") : String(+number.toPrecision(4));
const make = (tag, content, parent, className) => {
  const made = document.createElement(tag);
  if (content !== undefined) made.textContent = content;
  if (className) made.className = className;
  if (parent) parent.append(made);
  return made;
};

// Page data, unpacked when first shown -------------------------------------------------------------------------------------

function bytes(text) {
  const raw = atob(text), found = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) found[i] = raw.charCodeAt(i);
  return found;
}
const numbers = text => new Float32Array(bytes(text).buffer);
const opened = new Map();
function open(name) {
  if (!opened.has(name)) {
    const part = el(name);
    opened.set(name, part ? JSON.parse(part.textContent) : null);
  }
  return opened.get(name);
}
function unpack(part, name) {  // in place, once
  if (part && typeof part[name] === "string") part[name] = name === "hash" ? bytes(part[name]) : numbers(part[name]);
  return part ? part[name] : undefined;
}
function fired(node, tick, nodes = now.nodes) {  // index of the last invocation at or before this tick; -1 for none
  const data = nodes[node];
  if (!data || tick < 0) return -1;
  if (!data.ticks) return Math.min(tick, unpack(data, "us").length - 1);
  let low = 0, high = data.ticks.length;
  while (low < high) { const middle = (low + high) >> 1; if (data.ticks[middle] <= tick) low = middle + 1; else high = middle; }
  return low - 1;
}
const sentAt = (node, index) => index < 0 ? -1 : now.nodes[node].ticks ? now.nodes[node].ticks[index] : index;
const fires = (node, tick) => tick >= 0 && sentAt(node, fired(node, tick)) === tick;
function dueAt(node, tick) {  // the last tick at which the node was due in the shown row: a slow node counts an episode's ticks
  const {every} = NODES.get(node);
  return every > 1 ? tick - (tick - EPISODES[now.number].first) % every : sentAt(node, fired(node, tick));
}
const isDue = (node, tick) => dueAt(node, tick) === tick && fires(node, tick);
function value(node, port, tick, nodes = now.nodes) {  // of the shown world; NaN without a value per world
  const index = fired(node, tick, nodes), rows = index < 0 ? undefined : unpack(nodes[node].ports[port], "rows");
  return rows ? rows[index * now.wave.batch + now.row] : NaN;
}
function referenceValue(node, port, tick) {  // the reference's value; NaN after its episode has ended
  return tick > now.referenceEnd ? NaN : value(node, port, tick, now.referenceNodes);
}
function endOfReference() {
  const data = now.referenceNodes[WORLD], flags = ["terminated", "truncated"].filter(port => has(WORLD, port, now.referenceNodes));
  for (let tick = EPISODES[now.number].first; data && tick < now.wave.ticks; tick++)
    if (flags.some(port => value(WORLD, port, tick, now.referenceNodes) > 0)) return tick;
  return Infinity;
}
const textOf = (node, port, index, nodes = now.nodes) => `“${nodes[node].ports[port].texts[unpack(nodes[node].ports[port], "text")[index * now.wave.batch + now.row]]}”`;
const has = (node, port, nodes = now.nodes) => Boolean(nodes[node] && nodes[node].ports[port] && nodes[node].ports[port].rows);

// Position -----------------------------------------------------------------------------------------------------------------

const now = {number: 0, hidden: new Set(), tick: 0, wave: null, row: 0, ticks: 1, nodes: {}, detail: null, picked: null, timer: 0, jump: null};

function look(number, tick) {
  const episode = EPISODES[number];
  Object.assign(now, {number, wave: episode.wave, row: episode.row, ticks: episode.ticks, jump: null,
    nodes: open(`wave-${episode.wave.wave}`).nodes, detail: open(`episode-${episode.part}`),
    referenceNodes: (open(`reference-${episode.wave.wave}`) || {nodes: {}}).nodes, reference: open(`reference-${episode.part}`)});
  now.pictures = now.detail && now.detail.pictures ? now.detail.pictures.map(picture) : null;
  now.referenceEnd = endOfReference();
  now.spent = spent();
  now.first = Math.max(0, now.spent.findIndex(us => us > 0));  // a fork begins later, and so do later episodes of a row
  now.slow = overruns();
  el("episode").value = String(number);
  el("scrub").max = String(now.ticks - 1);
  el("scrub").min = String(now.first);
  drawCharts();
  drawLanes();
  go(tick);
}
function go(tick) {
  now.tick = Math.max(now.first, Math.min(now.ticks - 1, tick));
  el("scrub").value = String(now.tick);
  el("tick").textContent = `tick ${now.tick} of ${now.ticks - 1}`;
  drawWorld();
  drawFacts();
  drawCandidates();
  moveCharts();
  drawLaneCursor();
  lightGraph();
  inspect();
}
const report = text => { el("status").textContent = text; };

function spent() {  // µs by tick, of all modules
  const all = new Float64Array(now.ticks);
  for (const node of NODES.keys()) if (now.nodes[node]) {
    const us = unpack(now.nodes[node], "us"), ticks = now.nodes[node].ticks;
    for (let i = 0; i < us.length; i++) { const tick = ticks ? ticks[i] : i; if (tick < now.ticks && tick >= EPISODES[now.number].first) all[tick] += us[i]; }
  }
  return all;
}
function overruns() {
  const sorted = [...now.spent].filter(us => us > 0).sort((a, b) => a - b), median = sorted[sorted.length >> 1];
  now.deadline = RUN.deadline === null ? 2 * median : 1000 * RUN.deadline;
  return [...now.spent.keys()].filter(tick => now.spent[tick] > now.deadline);
}

// Navigation ---------------------------------------------------------------------------------------------------------------

function play(on = !now.timer) {
  clearInterval(now.timer);
  now.timer = on ? setInterval(() => now.tick < now.ticks - 1 ? go(now.tick + 1) : play(false), 100) : 0;
  if (on && now.tick === now.ticks - 1) go(0);
  el("play").textContent = on ? "pause" : "play";
}
function toSurprise() {
  const node = [...NODES.keys()].find(name => has(name, "surprise"));
  if (!node) return report("No module has an output 'surprise'.");
  const at = tick => value(node, "surprise", tick);
  if (!now.jump || now.jump.at !== now.tick)
    now.jump = {order: [...Array(now.ticks).keys()].slice(now.first).sort((a, b) => at(b) - at(a)), next: 0, at: -1};
  const count = now.jump.order.length, tick = now.jump.order[now.jump.next % count];
  go(tick);
  report(`surprise ${short(at(tick))}, number ${now.jump.next % count + 1} of ${count}`);
  now.jump.next++;
  now.jump.at = tick;
}
function toOverrun() {
  const limit = `${short(now.deadline / 1000)} ms`;
  if (!now.slow.length) return report(`No tick of this episode took longer than ${limit}.`);
  const next = now.slow.find(tick => tick > now.tick) ?? now.slow[0];
  go(next);
  report(`${short(now.spent[next] / 1000)} ms: over ${limit}${RUN.deadline === null ? ", twice the median" : ""}; ` +
      `${now.slow.length} such ticks`);
}
function toFailure() {
  const reports = RUN.reports_success, least = Math.min(...EPISODES.map(episode => episode.return));
  const failed = [...EPISODES.keys()].filter(i => EPISODES[i].over && (reports ? !EPISODES[i].success : EPISODES[i].return <= least));
  if (!failed.length || (!reports && EPISODES.every(episode => episode.return === least)))
    return report(reports ? "No episode failed." : `Every episode returned ${short(least)}.`);
  const next = failed.find(i => i > now.number) ?? failed[0];
  look(next, EPISODES[next].ticks - 1);
  report(reports ? `${failed.length} of ${EPISODES.length} episodes failed` : `the lowest return, ${short(least)}: the world reports no success`);
}
const KEYS = {ArrowLeft: event => go(now.tick - (event.shiftKey ? 10 : 1)), ArrowRight: event => go(now.tick + (event.shiftKey ? 10 : 1)),
  Home: () => go(0), End: () => go(now.ticks - 1), " ": () => play(), s: toSurprise, o: toOverrun, f: toFailure,
  ArrowUp: () => now.number > 0 && look(now.number - 1, 0),
  ArrowDown: () => now.number < EPISODES.length - 1 && look(now.number + 1, 0)};
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT" || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key](event);
});
function scrubbing(target, tickAt) {
  target.addEventListener("pointerdown", event => { target.setPointerCapture(event.pointerId); go(tickAt(event)); });
  target.addEventListener("pointermove", event => { if (event.buttons & 1) go(tickAt(event)); });
}
for (const [id, does] of Object.entries({first: () => go(0), back: () => go(now.tick - 1), play: () => play(), next: () => go(now.tick + 1),
  last: () => go(now.ticks - 1), surprise: toSurprise, overrun: toOverrun, failure: toFailure}))
  el(id).addEventListener("click", event => { event.currentTarget.blur(); does(); });
el("scrub").addEventListener("input", event => go(+event.target.value));
el("episode").addEventListener("change", event => { event.target.blur(); look(+event.target.value, 0); });

// The world ----------------------------------------------------------------------------------------------------------------

function picture(text) {
  if (text === null) return null;
  const image = new Image();
  image.onload = () => { if (now.pictures && now.pictures[now.tick] === image) drawWorld(); };
  image.src = `data:image/png;base64,${text}`;
  return image;
}
function rows(name, tick, detail = now.detail) {  // one tick of an episode's array, as vectors; null if unknown
  const held = unpack(detail, name);
  if (!held) return null;
  const shape = detail[`${name}_shape`], size = shape.reduce((a, b) => a * b, 1), width = shape[shape.length - 1];
  const part = held.subarray(tick * size, (tick + 1) * size), found = [];
  for (let i = 0; i < size; i += width) found.push(part.subarray(i, i + width));
  return part.length < size || Number.isNaN(part[0]) ? null : found;
}
function imagined(planner, detail = now.detail) {  // its last plan: tick and states; null if there is none
  const own = detail && detail.planners && detail.planners[planner.node], tick = dueAt(planner.node, now.tick);
  const states = own && tick >= now.first && !now.hidden.has(planner.node) ? rows("imagined", tick, own) : null;
  return states && {tick, states};
}
function toggle(planner) {
  if (!now.hidden.delete(planner.node)) now.hidden.add(planner.node);
  go(now.tick);
}
function planKeys(label, detail) {  // legend; of several planners, each name hides and shows its plans
  for (const planner of PLANNERS) if (detail && detail.planners && detail.planners[planner.node] && detail.planners[planner.node].imagined && (SEVERAL || imagined(planner, detail)))
    key(SEVERAL ? `${label} by ${planner.node}` : label, planner.colour, planner);
}
function drawWorld() {
  const canvas = el("world"), numbers = el("numbers"), pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  el("key").textContent = "";
  const hasNumbers = Boolean(now.detail && now.detail.true && !now.detail.places && now.detail.true_shape[0] <= WIDEST);
  canvas.hidden = !now.pictures;
  numbers.hidden = !hasNumbers;
  if (now.pictures) drawPicture(pen, canvas);
  if (hasNumbers) drawNumbers(numbers.getContext("2d"), numbers);
  if (!now.pictures && !hasNumbers && !RUN.missing.length) el("key").textContent = "no picture of the world";
  const figure = el("goal");
  figure.hidden = !(now.detail && now.detail.goal);
  if (!figure.hidden) figure.firstChild.src = `data:image/png;base64,${now.detail.goal}`;
  drawRecalled();
  drawMap();
}
function drawPicture(pen, canvas) {
  const image = now.pictures[now.tick];
  let wide = canvas.width, high = canvas.height;  // of the drawn picture
  if (image && image.complete && image.naturalWidth) {
    const fitting = Math.min(384, Math.round(canvas.width * image.naturalHeight / image.naturalWidth));
    if (canvas.height !== fitting) canvas.height = fitting;
    pen.imageSmoothingEnabled = Boolean(now.detail.drawn);
    const scale = Math.min(canvas.width / image.naturalWidth, canvas.height / image.naturalHeight);
    [wide, high] = [image.naturalWidth * scale, image.naturalHeight * scale];
    pen.drawImage(image, 0, 0, wide, high);
  }
  const places = now.detail.places;
  if (!places) return;
  const {state: [x, y], top_left: [left, top], bottom_right: [right, bottom], goal_radius: radius} = RUN.overlay;
  const across = wide / (right - left), down = high / (bottom - top);
  const point = (px, py) => [(px - left) * across, (py - top) * down], at = state => point(state[x], state[y]);
  const path = [];
  for (let tick = 0; tick <= now.tick; tick++) { const place = rows("true", tick); if (place) path.push(at(place[0])); }
  const goal = EPISODES[now.number].goal;
  if (goal) { pen.strokeStyle = WANTED; pen.lineWidth = 3; pen.beginPath(); pen.ellipse(...point(...goal), radius * Math.abs(across), radius * Math.abs(down), 0, 0, 7); pen.stroke(); key("goal", WANTED); }
  const placeAt = (tick, detail) => { const place = rows("true", tick, detail); return place ? [at(place[0])] : []; };
  const referencePlans = PLANNERS.map(planner => [planner, imagined(planner, now.reference)]).filter(one => one[1]), referencePath = [];
  for (let tick = 0; tick <= now.tick; tick++) { const place = rows("true", tick, now.reference); if (place) referencePath.push(at(place[0])); }
  const strays = referencePath.length && path.length && referencePath.at(-1).some((x, i) => Math.abs(x - path.at(-1)[i]) > 0.5);
  if (strays) line(pen, referencePath, REFERENCE, 2);
  for (const [planner, {tick, states}] of referencePlans) line(pen, [...(strays ? placeAt(tick, now.reference) : placeAt(tick)), ...states.map(at)], REFERENCE, 3, planner.dash);
  if (referencePlans.length) key(strays ? "reference: path, imagined" : "reference: imagined", REFERENCE);
  line(pen, path, WALKED, 3);
  if (path.length > 1) key("path", WALKED);
  for (const planner of [...PLANNERS].reverse()) {
    const plan = imagined(planner);
    if (!plan) continue;
    const steps = [...placeAt(plan.tick), ...plan.states.map(at)], round = SEVERAL ? 3.5 : 5;
    line(pen, steps, planner.colour, SEVERAL ? 2.5 : 3.5, planner.dash);
    for (const [i, [x, y]] of steps.slice(1).entries()) { pen.globalAlpha = 1 - 0.5 * i / steps.length; pen.beginPath(); pen.arc(x, y, round, 0, 7); pen.fillStyle = planner.colour; pen.fill(); }
    pen.globalAlpha = 1;
  }
  planKeys("imagined", now.detail);
}
function drawNumbers(pen, canvas) {  // a few numbers over time, and their imagined future
  const width = now.detail.true_shape[0], height = canvas.height / width;
  const plansOf = detail => PLANNERS.map(planner => [planner, imagined(planner, detail)]).filter(one => one[1]).reverse();
  const plans = plansOf(now.detail), referencePlans = plansOf(now.reference);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  const span = 60, from = Math.max(now.first, now.tick - span * 0.7), x = tick => 8 + (tick - from) * (canvas.width - 16) / span;
  const held = unpack(now.detail, "true");
  for (let d = 0; d < width; d++) {
    let low = Infinity, high = -Infinity;
    for (let tick = 0; tick < now.ticks; tick++) { const v = held[tick * width + d]; if (v < low) low = v; if (v > high) high = v; }
    if (!(high > low)) { low -= 1; high += 1; }
    const y = v => d * height + 14 + (height - 22) * (high - v) / (high - low);
    const all = [], future = [];
    for (let tick = Math.floor(from); tick < Math.min(now.ticks, from + span); tick++) (tick <= now.tick ? all : future).push([x(tick), y(held[tick * width + d])]);
    line(pen, [...all.slice(-1), ...future], "#d5d8df", 1.5);
    line(pen, all, WALKED, 2);
    const ahead = ({tick, states}) => [[x(tick), y(held[tick * width + d])], ...states.map((state, i) => [x(tick + 1 + i), y(state[d])])];
    for (const [planner, plan] of referencePlans) line(pen, ahead(plan), REFERENCE, 2, planner.dash);
    for (const [planner, plan] of plans) line(pen, ahead(plan), planner.colour, 2.5, planner.dash);
    pen.fillStyle = "#737a88"; pen.font = "11px sans-serif";
    pen.fillText(`${now.detail.target} [${d}]   ${short(held[now.tick * width + d] ?? NaN)}`, 8, d * height + 11);
  }
  line(pen, [[x(now.tick), 0], [x(now.tick), canvas.height]], NOW, 1);
  key("past", WALKED);
  key("future", "#c3c7d0");
  planKeys("imagined", now.detail);
  if (referencePlans.length) key("reference: imagined", REFERENCE);
}
function line(pen, points, stroke, width, dash = []) {
  if (points.length < 2) return;
  pen.setLineDash(dash);
  pen.strokeStyle = stroke; pen.lineWidth = width; pen.lineJoin = "round"; pen.beginPath();
  points.forEach(([x, y], i) => i ? pen.lineTo(x, y) : pen.moveTo(x, y));
  pen.stroke();
  pen.setLineDash([]);
}
function key(name, stroke, planner) {
  const entry = make("span", undefined, el("key"));
  const mark = make("i", "", entry, planner && planner.dash.length ? "dashed" : "");
  mark.style.color = stroke;
  entry.append(name);
  if (!planner || !SEVERAL) return;
  entry.className = `choice${now.hidden.has(planner.node) ? " hidden" : ""}`;
  entry.title = "click: hide or show";
  entry.addEventListener("click", () => toggle(planner));
}
function drawRecalled() {
  const figure = el("recalled"), tick = now.detail && now.detail.recalled ? now.detail.recalled[now.tick] ?? -1 : -1;  // a long episode is shown in part
  figure.hidden = tick < 0;
  if (tick < 0) return;
  const shown = now.pictures && now.pictures[tick];
  figure.firstChild.hidden = !shown;
  if (shown) figure.firstChild.src = shown.src;
  figure.lastChild.textContent = `recalled: most like tick ${tick}, score ${short(value(MEMORY, "score", now.tick))}`;
}
function drawFacts() {
  const table = el("facts");
  table.replaceChildren();
  const fact = (name, data, reference = "") => {
    const row = make("tr", undefined, table);
    make("td", name, row);
    make("td", data, row);
    if (RUN.reference) make("td", reference, row, "reference");
  };
  if (RUN.reference) {
    const row = make("tr", undefined, table);
    for (const name of ["", "recorded", "reference"]) make("th", name, row, name === "reference" ? "reference" : "");
  }
  const shown = (node, port, from) => { const own = from(node, port, now.tick); return Number.isNaN(own) ? "–" : NODES.get(node).ports[port][0] === "bool" ? (own ? "yes" : "no") : short(own); };
  const held = (detail, planner) => detail && detail.planners && detail.planners[planner.node];
  const actions = (detail, planner) => (held(detail, planner) && rows("plan", dueAt(planner.node, now.tick), held(detail, planner)) || []).map(action => `(${[...action].map(part => part.toFixed(2)).join(", ")})`).join("\n");
  const mode = value(CONFIGURATOR, "mode", now.tick);
  if (!Number.isNaN(mode)) fact("mode", mode === 1 ? "1: reacts" : mode === 2 ? "2: plans" : String(mode));
  for (const {node, port} of scalars()) if (!(node === CONFIGURATOR && port === "mode") && !(node === WORLD && UNSEEN.includes(port)))
    fact(`${node}.${port}`, shown(node, port, value), has(node, port, now.referenceNodes) ? shown(node, port, referenceValue) : "");
  const said = (node, port, nodes) => nodes[node] && (nodes[node].ports[port] || {}).texts && fired(node, now.tick, nodes) >= 0 ? textOf(node, port, fired(node, now.tick, nodes), nodes) : "";
  for (const {name, ports} of NODES.values()) for (const port of Object.keys(ports)) if (said(name, port, now.nodes))
    fact(`${name}.${port}`, said(name, port, now.nodes), said(name, port, now.referenceNodes));
  for (const planner of PLANNERS) if (actions(now.detail, planner) || actions(now.reference, planner))
    fact(`${planner.node}.plan${isDue(planner.node, now.tick) ? "" : `, ${age(dueAt(planner.node, now.tick))}`}`, actions(now.detail, planner) || "not recorded", actions(now.reference, planner));
  fact(now.wave.batch > 1 ? `${now.wave.batch} worlds took` : "all modules", `${short(now.spent[now.tick] / 1000)} ms`);
  const episode = EPISODES[now.number];
  fact("this episode", now.tick < now.ticks - 1 ? "running" : !episode.over ? "the trace ends here" : episode.success ? "reached its goal" :
    RUN.reports_success ? "failed" : `ended, return ${short(episode.return)}`);
}
function scalars() {
  return [...NODES.values()].flatMap(node => Object.keys(node.ports).filter(port => has(node.name, port)).map(port => ({node: node.name, port})));
}
function drawCandidates() {
  const canvas = el("candidates"), own = now.detail && now.detail.planners && now.detail.planners[el("planner").value];
  const data = own ? rows("candidates", now.tick, own) : null;
  canvas.hidden = !data;
  el("no_candidates").textContent = data ? "" : own && own.candidates ? "No search at this tick." : RUN.no_candidates;
  if (!data) return;
  for (const [i, energies] of data.entries()) data[i] = energies.filter(Number.isFinite);  // fewer in some iterations
  const pen = canvas.getContext("2d"), all = data.flatMap(energies => [...energies]).filter(Number.isFinite);
  const low = Math.min(...all), high = Math.max(...all), span = (high - low) || 1;
  const y = energy => 14 + (canvas.height - 34) * (high - energy) / span, step = canvas.width / data.length;
  pen.clearRect(0, 0, canvas.width, canvas.height);
  data.forEach((energies, i) => {
    const best = Math.min(...energies);
    energies.forEach((energy, k) => {
      pen.fillStyle = energy === best ? NOW : PLAN; pen.globalAlpha = energy === best ? 1 : 0.45;
      pen.beginPath(); pen.arc(step * (i + 0.2 + 0.6 * (k + 0.5) / energies.length), y(energy), energy === best ? 4 : 2.6, 0, 7); pen.fill();
    });
    pen.globalAlpha = 1; pen.fillStyle = "#737a88"; pen.font = "11px sans-serif";
    pen.fillText(`iteration ${i + 1}: best ${short(best)}`, step * i + 8, canvas.height - 5);
  });
}

/* map */

// Charts -------------------------------------------------------------------------------------------------------------------

const charts = [];
function groups() {
  const data = {"energy of the state": [], "energy of the plan": [], surprise: [], "other figures": []};
  for (const {node, port} of scalars()) {
    const kind = NODES.get(node).ports[port][0];
    if (kind === "bool" || port === "mode" || (node === WORLD && port === "episode")) continue;
    const group = port === "surprise" ? "surprise" : role(node) === "planner" && port === "energy" ? "energy of the plan" :
      role(node) === "cost" || port === "energy" ? "energy of the state" : "other figures";
    data[group].push({node, port});
    if (has(node, port, now.referenceNodes)) data[group].push({node, port, reference: true});
  }
  const terms = now.detail && now.detail.terms ? Object.keys(now.detail.terms) : [];
  if (terms.length) {  // the terms replace all sums but the total
    const total = data["energy of the state"].filter(one => one.port === "energy");
    data["energy of the state, term by term"] = [...terms.map(name => ({term: name})), ...total];
    delete data["energy of the state"];
  }
  const order = ["energy of the state", "energy of the state, term by term", "energy of the plan", "surprise", "other figures"];
  return order.filter(title => data[title] && data[title].length).map(title => [title, data[title]]);
}
const figure = (series, tick) => series.term ? unpack(now.detail.terms, series.term)[tick] ?? NaN : (series.reference ? referenceValue : value)(series.node, series.port, tick);
function atItsTicks(one) {  // a node that rests holds its value: steps, with a point at each tick at which it fired
  if (!one.node || NODES.get(one.node).every < 2) return {points: {show: now.ticks < 3}};
  return {paths: uPlot.paths.stepped({align: 1}), points: {show: true, size: 5, filter: () => [...Array(now.ticks).keys()].filter(tick => isDue(one.node, tick))}};
}
function withoutOutliers(values) {  // gaps for what is not finite, and for stand-ins such as 1e9, "there is no way"
  const sizes = values.filter(Number.isFinite).map(Math.abs).sort((a, b) => a - b), usual = sizes[Math.floor(0.75 * sizes.length)] || 0;
  const largest = usual ? 1e4 * usual : Infinity;
  return values.map(v => Number.isFinite(v) && Math.abs(v) <= largest ? v : null);
}
function drawCharts() {
  while (charts.length) charts.pop().plot.destroy();
  el("charts").replaceChildren();
  const ticks = [...Array(now.ticks).keys()], width = el("charts").clientWidth, all = groups();
  all.forEach(([title, series], place) => {
    const frame = make("div", undefined, el("charts"), "chart"), legend = make("div", undefined, frame, "legend");
    make("b", title, legend);
    const recorded = series.filter(one => !one.reference);  // the reference's line is dashed, in the colour of the recorded one
    const lines = series.map(one => LINES[recorded.findIndex(own => own.node === one.node && own.port === one.port && own.term === one.term) % LINES.length]);
    if (title === "other figures") make("span", "each on its own scale", legend, "note");
    const shown = series.map((one, i) => {
      const entry = make("span", undefined, legend);
      make("i", "", entry, one.reference ? "reference" : "").style.color = lines[i];
      entry.append(`${one.term || `${one.node}.${one.port}`}${one.reference ? ", reference" : ""} `);
      return {one, data: make("span", "", entry)};
    });
    const values = series.map(one => withoutOutliers(ticks.map(tick => figure(one, tick))));
    const isLast = place === all.length - 1, apart = title === "other figures";
    const plot = new uPlot({
      width, height: isLast ? 112 : 88, legend: {show: false}, cursor: {show: false}, hooks: {ready: [moveCharts]}, padding: [6, 14, 6, apart ? 56 : 0],
      scales: {x: {time: false, range: [now.first, Math.max(now.first + 1, now.ticks - 1)]}},
      axes: [{show: isLast, size: 24, grid: {stroke: "#eef0f3"}, stroke: "#737a88"},
        {size: 56, grid: {stroke: "#eef0f3"}, stroke: "#737a88", space: 24, show: !apart}],
      series: [{}, ...series.map((one, i) => ({stroke: lines[i], width: 1.4, dash: series[i].reference ? [5, 3] : undefined, ...atItsTicks(one), scale: apart ? `${series[i].node}.${series[i].port}` : "y"}))],
    }, [ticks, ...values], frame);
    const mark = make("div", undefined, plot.over, "now");
    scrubbing(plot.over, event => Math.round(plot.posToVal(event.clientX - plot.over.getBoundingClientRect().left, "x")));
    charts.push({plot, mark, shown});
  });
}
function moveCharts() {
  for (const {plot, mark, shown} of charts) {
    mark.style.left = `${plot.valToPos(now.tick, "x")}px`;
    for (const {one, data} of shown) data.textContent = short(figure(one, now.tick));
  }
}
const LANE = 17, LEFT = Math.max(96, 14 + 6 * Math.max(...[...NODES].map(([name, {every}]) => name.length + (every > 1 ? `, every ${every}`.length : 0)))), RIGHT = 200;
const lanes = document.createElement("canvas");  // drawn once per episode, copied at every tick
function laneWidth() { return el("lanes").clientWidth; }
function tickAtLane(event) {
  const box = el("lanes").getBoundingClientRect();
  return Math.floor((event.clientX - box.left - LEFT) / (laneWidth() - LEFT - RIGHT) * now.ticks);
}
function drawLanes() {
  const names = [...NODES.keys()], width = laneWidth(), ratio = window.devicePixelRatio || 1;
  for (const canvas of [lanes, el("lanes")]) { canvas.width = width * ratio; canvas.height = (names.length + 1) * LANE * ratio; }
  el("lanes").style.height = `${(names.length + 1) * LANE}px`;
  el("lanes").getContext("2d").scale(ratio, ratio);
  const pen = lanes.getContext("2d"), across = (width - LEFT - RIGHT) / now.ticks;
  pen.scale(ratio, ratio);
  pen.font = "11px sans-serif";
  names.forEach((node, lane) => {
    pen.fillStyle = "#262c3a"; pen.fillText(NODES.get(node).every > 1 ? `${node}, every ${NODES.get(node).every}` : node, 6, lane * LANE + 12);
    if (!now.nodes[node]) return;
    const us = unpack(now.nodes[node], "us"), sorted = Float32Array.from(us).sort(), most = sorted[Math.floor(0.95 * (sorted.length - 1))] || 1;
    pen.fillStyle = colour(node);
    for (let i = 0; i < us.length; i++) {
      const tick = sentAt(node, i);
      if (tick >= now.ticks) break;
      pen.globalAlpha = 0.15 + 0.85 * Math.min(1, us[i] / most);
      pen.fillRect(LEFT + tick * across, lane * LANE + 2, Math.max(across - (across > 3 ? 1 : 0), 0.5), LANE - 4);
    }
    pen.globalAlpha = 1;
  });
  const y = names.length * LANE;
  pen.fillStyle = "#262c3a"; pen.fillText("mode, overrun", 6, y + 12);
  for (let tick = 0; tick < now.ticks; tick++) {
    const mode = value(CONFIGURATOR, "mode", tick);
    if (!Number.isNaN(mode)) { pen.fillStyle = mode === 2 ? "#be185d" : "#f5c6da"; pen.fillRect(LEFT + tick * across, y + 9, Math.max(across, 0.5), 5); }
  }
  pen.fillStyle = NOW;
  for (const tick of now.slow) pen.fillRect(LEFT + tick * across, y + 1, Math.max(across, 2), 6);
}
function drawLaneCursor() {
  const canvas = el("lanes"), pen = canvas.getContext("2d"), names = [...NODES.keys()], width = laneWidth();
  pen.clearRect(0, 0, width, canvas.height);
  pen.drawImage(lanes, 0, 0, width, (names.length + 1) * LANE);
  const across = (width - LEFT - RIGHT) / now.ticks, x = LEFT + (now.tick + 0.5) * across;
  line(pen, [[x, 0], [x, (names.length + 1) * LANE]], NOW, 1.5);
  const running = names.filter(node => fires(node, now.tick)).map(node => {
    const index = fired(node, now.tick), data = now.nodes[node];
    return {node, at: unpack(data, "at")[index], us: unpack(data, "us")[index]};
  });
  const whole = Math.max(1, ...running.map(one => one.at + one.us)), scale = (RIGHT - 78) / whole;
  for (const {node, at, us} of running) {
    const y = names.indexOf(node) * LANE;
    pen.fillStyle = colour(node);
    pen.fillRect(width - RIGHT + 10 + at * scale, y + 4, Math.max(1, us * scale), LANE - 8);
    pen.fillStyle = "#737a88"; pen.font = "10px sans-serif"; pen.textAlign = "right";
    pen.fillText(`${short(Math.round(us))} µs`, width - 4, y + 12);
    pen.textAlign = "left";
  }
}
scrubbing(el("lanes"), tickAtLane);

// The graph ----------------------------------------------------------------------------------------------------------------

const BOX = 112, GAP = 46, HEAD = 20, ROW = 15, NS = "http://www.w3.org/2000/svg";
const drawn = {boxes: new Map(), wires: []};
const shape = (tag, attributes, parent, text) => {
  const made = document.createElementNS(NS, tag);
  for (const [name, content] of Object.entries(attributes)) made.setAttribute(name, content);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
};
function ranks() {
  const rank = new Map([...NODES.keys()].map(name => [name, 0]));
  for (let round = 0; round < NODES.size; round++)
    for (const wire of RUN.wires) if (!wire.delay && !wire.cut && rank.has(wire.node) && rank.has(wire.to))
      rank.set(wire.to, Math.min(NODES.size, Math.max(rank.get(wire.to), rank.get(wire.node) + 1)));
  return rank;
}
function drawGraph() {
  const svg = el("graph"), rank = ranks(), columns = [];
  for (const [name, column] of rank) (columns[column] ||= []).push(name);
  const high = name => HEAD + ROW * Object.keys(NODES.get(name).ports).length + 6;
  const tallest = Math.max(...columns.map(column => (column || []).reduce((sum, name) => sum + high(name) + 14, 0)));
  const late = RUN.wires.filter(wire => wire.delay || wire.cut), place = new Map();
  columns.forEach((column, i) => {
    let y = 12 + (tallest - column.reduce((sum, name) => sum + high(name) + 14, 0)) / 2;
    for (const name of column) { place.set(name, {x: 34 + i * (BOX + GAP), y}); y += high(name) + 14; }
  });
  const width = 68 + columns.length * (BOX + GAP) - GAP, height = tallest + 22 + 9 * late.length;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const wires = shape("g", {}, svg), boxes = shape("g", {}, svg);
  for (const wire of RUN.wires) {
    if (!place.has(wire.node) || !place.has(wire.to)) continue;
    const from = place.get(wire.node), to = place.get(wire.to), ports = Object.keys(NODES.get(wire.node).ports);
    const into = RUN.wires.filter(other => other.to === wire.to), x = from.x + BOX, y = from.y + HEAD + ROW * (ports.indexOf(wire.port) + 0.5);
    const toY = to.y + 6 + (high(wire.to) - 12) * (into.indexOf(wire) + 0.5) / into.length, toX = to.x;
    const lane = tallest + 14 + 9 * late.indexOf(wire);
    const way = wire.delay || wire.cut ? `M${x} ${y}C${x + 22} ${y} ${x + 22} ${lane} ${x - 4} ${lane}H${toX + 4}C${toX - 22} ${lane} ${toX - 22} ${toY} ${toX} ${toY}`
      : `M${x} ${y}C${x + GAP * 0.8} ${y} ${toX - GAP * 0.8} ${toY} ${toX} ${toY}`;
    const path = shape("path", {class: "wire", d: way, style: `--own:${colour(wire.node)}`}, wires), touch = shape("path", {class: "touch", d: way}, wires);
    shape("title", {}, touch, `${wire.node}.${wire.port}${wire.delay ? ` @-${wire.delay}` : ""} → ${wire.to}.${wire.to_port}${wire.cut ? ", cut" : ""}`);
    touch.addEventListener("click", () => pick({node: wire.node, port: wire.port, wire}));
    drawn.wires.push({wire, path});
  }
  for (const [name, {x, y}] of place) {
    const box = shape("g", {class: "box"}, boxes), own = colour(name), node = NODES.get(name);
    shape("rect", {x, y, width: BOX, height: high(name), rx: 6, fill: "#fff", stroke: own, "stroke-width": 1.4}, box);
    shape("rect", {x, y, width: BOX, height: HEAD, rx: 6, fill: own}, box);
    shape("text", {x: x + 8, y: y + 14, class: "name"}, box, name);
    shape("title", {}, box, node.module);
    box.addEventListener("click", () => pick({node: name}));
    const ports = Object.keys(node.ports).map((port, i) => {
      const text = shape("text", {x: x + BOX - 7, y: y + HEAD + ROW * (i + 0.5) + 4, "text-anchor": "end", class: "port"}, box, port);
      text.addEventListener("click", event => { event.stopPropagation(); pick({node: name, port}); });
      return [port, text];
    });
    drawn.boxes.set(name, {box, ports: new Map(ports)});
  }
}
function lightGraph() {
  const picked = now.picked || {};
  for (const [name, {box, ports}] of drawn.boxes) {
    box.classList.toggle("resting", !fires(name, now.tick));
    box.classList.toggle("picked", picked.node === name && !picked.port);
    for (const [port, text] of ports) text.classList.toggle("picked", picked.node === name && picked.port === port);
  }
  for (const {wire, path} of drawn.wires) {
    const lit = !wire.cut && fires(wire.to, now.tick) && fires(wire.node, now.tick - wire.delay);
    const isPicked = picked.node === wire.node && picked.port === wire.port && (!picked.wire || picked.wire === wire);
    path.setAttribute("class", `wire${lit ? " lit" : ""}${wire.delay ? " late" : ""}${wire.cut ? " cut" : ""}${isPicked ? " picked" : ""}`);
  }
}
function pick(what) { now.picked = what; lightGraph(); inspect(); }

// Inspector ----------------------------------------------------------------------------------------------------------------

function arrived(wire) {  // tick at which the wire's current message was sent; -1 before the first
  return wire.cut ? -1 : sentAt(wire.node, fired(wire.node, now.tick - wire.delay));
}
function firedTicks(node) {
  const ticks = [...Array(now.ticks).keys()].filter(tick => tick >= now.first && isDue(node, tick));
  return ticks.slice(0, 24).join(", ") + (ticks.length > 24 ? ", …" : "");
}
const age = sent => sent < 0 ? "nothing sent yet" : now.tick === sent ? "sent at this tick" : `${now.tick - sent} tick${now.tick - sent > 1 ? "s" : ""} old`;
function content(node, port, index) {
  const data = now.nodes[node].ports[port], statistic = name => unpack(data, name)[index];
  if (data.rows) {
    const batch = now.wave.batch, all = unpack(data, "rows").subarray(index * batch, (index + 1) * batch), own = all[now.row];
    const shown = NODES.get(node).ports[port][0] === "bool" ? (own ? "yes" : "no") : short(own);
    return batch === 1 ? shown : `${shown} here; all ${batch} worlds ${short(all.reduce((a, b) => a + b, 0) / batch)} [${short(Math.min(...all))}, ${short(Math.max(...all))}]`;
  }
  if (data.texts) return textOf(node, port, index);
  return data.mean ? `${short(statistic("mean"))} ± ${short(statistic("std"))} [${short(statistic("min"))}, ${short(statistic("max"))}]` : "no statistics of such messages";
}
const hex = (node, port, index) => [...unpack(now.nodes[node].ports[port], "hash").subarray(8 * index, 8 * index + 8)].map(byte => byte.toString(16).padStart(2, "0")).join("");
const described = (node, port) => `${NODES.get(node).ports[port][0]} (${[now.wave.batch, ...NODES.get(node).ports[port][1]].join(", ")})`;
function inspect() {
  const place = el("inspector"), {node, port, wire} = now.picked || {};
  place.replaceChildren();
  if (!node) { make("p", "Click a module, a port or a wire of the graph.", place, "note"); return; }
  const link = (text, to, parent) => make("a", text, parent).addEventListener("click", () => pick(to));
  const line = (...cells) => { const row = make("tr", undefined, table); for (const cell of cells) { const made = make("td", undefined, row); made.append(cell); } return row; };
  let table;
  if (!port) {
    const index = fired(node, now.tick), isNow = fires(node, now.tick);
    make("h2", `${node}: ${NODES.get(node).module}`, place);
    make("p", isNow ? `fired at this tick${isDue(node, now.tick) ? "" : " for other worlds"}, ${short(unpack(now.nodes[node], "us")[index])} µs` : `rests at this tick${index < 0 ? "" : `, fired last at tick ${dueAt(node, now.tick)}`}`, place, "note");
    if (NODES.get(node).every > 1) make("p", `fires every ${NODES.get(node).every} ticks of an episode: ${firedTicks(node)}`, place, "note");
    table = make("table", undefined, place);
    for (const each of RUN.wires.filter(each => each.to === node)) {
      const name = make("a", `${each.node}.${each.port}`);
      name.addEventListener("click", () => pick({node: each.node, port: each.port, wire: each}));
      line(`← ${each.to_port}`, name, each.cut ? "cut" : age(arrived(each)));
    }
    for (const each of Object.keys(NODES.get(node).ports)) {
      const name = make("a", `→ ${each}`);
      name.addEventListener("click", () => pick({node, port: each}));
      line(name, described(node, each), index < 0 ? "nothing sent yet" : content(node, each, index));
    }
    return;
  }
  const sent = wire ? arrived(wire) : sentAt(node, fired(node, now.tick)), index = fired(node, sent);
  make("h2", `${node}.${port}${wire ? ` → ${wire.to}.${wire.to_port}` : ""}`, place);
  table = make("table", undefined, place);
  line("shape", described(node, port));
  line("age", wire && wire.cut ? "cut: nothing passes" : `${age(sent)}${sent >= 0 ? `, tick ${sent}` : ""}`);
  if (index >= 0 && sent >= 0) {
    line("content", content(node, port, index));
    line("hash", make("code", hex(node, port, index)));
  }
  line("read by", RUN.wires.filter(each => each.node === node && each.port === port).map(each => `${each.to}.${each.to_port}${each.delay ? ` @-${each.delay}` : ""}`).join(", ") || "no node");
  link(`all of ${node}`, {node}, place);
}

// Start --------------------------------------------------------------------------------------------------------------------

el("title").textContent = RUN.run + (RUN.reference ? `, reference: ${RUN.reference}` : "");
el("lanes_note").textContent = "a lane per module, darker is slower; last lane: pale reacts, dark plans, red is over the time limit; right: this tick, in order";
el("incomparable").hidden = !RUN.incomparable;
el("title").title = `seed ${RUN.seed}, graph ${RUN.graph}, ${Object.entries(RUN.versions).map(pair => pair.join(" ")).join(", ")}`;
document.title = `${RUN.run} – ami view`;
for (const wave of RUN.waves) {
  const group = make("optgroup", undefined, el("episode"));
  group.label = `wave ${wave.wave}, ${wave.agent}`;
  for (const [i, episode] of EPISODES.entries()) if (episode.wave === wave)
    make("option", `${episode.name}: ${!episode.over ? "cut off" : episode.success ? "reached" : RUN.reports_success ? "failed" : `return ${short(episode.return)}`}, ${episode.ticks - 1 - episode.first} steps${episode.shown ? " ◉" : ""}`, group).value = String(i);
}
if (!RUN.reports_success) el("failure").textContent = "lowest return";
for (const text of RUN.missing) make("p", text, el("missing"));
for (const {node} of PLANNERS) make("option", node, el("planner")).value = node;
el("planner").hidden = !SEVERAL;
el("planner").addEventListener("change", event => { event.target.blur(); drawCandidates(); });
drawGraph();
look(0, 0);
let resized = 0;
window.addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(() => { drawCharts(); drawLanes(); go(now.tick); }, 120); });
document.body.dataset.ready = String(Math.round(performance.now()));
})();
