// Map: the remembered places up to this tick, the believed and the true path, the goals, and level 1's plan -----------------

const MARKS = ["#1e9654", "#b45309", "#8e44ad", "#e08a1e", "#0a6ebd"], BELIEVED = "#7c3aed", SLOT = "#0d9488", LINKED = "#b9dcd8";
function unrolled(map) {  // the changes of slots and links as rows of four numbers
  for (const name of ["slots", "links"]) if (typeof map[name] === "string") {
    const held = numbers(map[name]);
    map[name] = Array.from({length: held.length / 4}, (_, i) => held.subarray(4 * i, 4 * i + 4));
  }
  return map;
}
const placeOf = (held, tick) => held && Number.isFinite(held[2 * tick]) ? [held[2 * tick], held[2 * tick + 1]] : null;
function slotsAt(map, tick) {
  const slots = new Map(), links = new Map();
  for (const [at, slot, x, y] of map.slots || []) { if (at > tick) break; Number.isFinite(x) ? slots.set(slot, [x, y]) : slots.delete(slot); }
  for (const [at, one, other, is] of map.links || []) { if (at > tick) break; is ? links.set(`${one},${other}`, [one, other]) : links.delete(`${one},${other}`); }
  return {slots, links: [...links.values()].filter(pair => pair.every(slot => slots.has(slot)))};
}
function bounds(map) {  // of everything that the episode shows, once
  if (map.bounds) return map.bounds;
  const found = [Infinity, Infinity, -Infinity, -Infinity];
  const add = place => { if (place) { found[0] = Math.min(found[0], place[0]); found[1] = Math.min(found[1], place[1]); found[2] = Math.max(found[2], place[0]); found[3] = Math.max(found[3], place[1]); } };
  for (let tick = now.first; tick < now.ticks; tick++) for (const name of ["believed", "true"]) add(placeOf(unpack(map, name), tick));
  for (const [, , x, y] of map.slots || []) if (Number.isFinite(x)) add([x, y]);
  const side = Math.max(found[2] - found[0], found[3] - found[1], 1e-6), middle = [(found[0] + found[2]) / 2, (found[1] + found[3]) / 2];
  return map.bounds = {side: side * 1.12, middle};
}
function drawMap() {
  const panel = el("map"), map = now.detail && now.detail.map, canvas = el("map_picture"), legend = el("map_key");
  panel.hidden = !map;
  if (!map) return;
  const {side, middle} = bounds(unrolled(map)), pen = canvas.getContext("2d"), scale = canvas.width / side;
  const at = ([x, y]) => [canvas.width / 2 + (x - middle[0]) * scale, canvas.height / 2 + (y - middle[1]) * scale];
  const path = name => { const found = []; for (let tick = now.first; tick <= now.tick; tick++) { const place = placeOf(unpack(map, name), tick); if (place) found.push(at(place)); } return found; };
  const disc = ([x, y], radius, fill, stroke) => { pen.beginPath(); pen.arc(x, y, radius, 0, 7); if (fill) { pen.fillStyle = fill; pen.fill(); } if (stroke) { pen.strokeStyle = stroke; pen.lineWidth = 2; pen.stroke(); } };
  const entry = (name, stroke) => { const own = make("span", undefined, legend); make("i", "", own).style.color = stroke; own.append(name); };
  legend.textContent = "";
  pen.clearRect(0, 0, canvas.width, canvas.height);
  const {slots, links} = slotsAt(map, now.tick);
  for (const pair of links) line(pen, pair.map(slot => at(slots.get(slot))), LINKED, 1.5);
  for (const place of slots.values()) disc(at(place), 2.6, SLOT);
  if (map.slots) entry(`${slots.size} remembered places, linked`, SLOT);
  const truth = path("true"), believed = path("believed");
  line(pen, truth, WALKED, 2);
  line(pen, believed, BELIEVED, 1.4, [5, 3]);
  if (truth.length) { disc(truth.at(-1), 6, null, WALKED); entry("true path", WALKED); }
  if (believed.length) { disc(believed.at(-1), 4, BELIEVED); entry("believed path", BELIEVED); }
  for (const planner of [...PLANNERS].reverse()) {
    const held = map.plans && map.plans[planner.node];
    if (!held || value(CONFIGURATOR, "mode", now.tick) === 1 || now.hidden.has(planner.node)) continue;
    const steps = unpack(map.plans, planner.node), length = map.horizons[planner.node], places = [];
    for (let i = 0; i < length; i++) { const place = placeOf(steps, now.tick * length + i); if (place) places.push(at(place)); }
    if (places.length && believed.length) { line(pen, [believed.at(-1), ...places], planner.colour, 3, planner.dash); entry(`imagined by ${planner.node}`, planner.colour); }
  }
  Object.keys(map.marks).forEach((port, i) => {
    const place = placeOf(unpack(map.marks, port), now.tick), stroke = MARKS[i % MARKS.length];
    if (!place) return;
    const [x, y] = at(place);
    line(pen, [[x - 5, y - 5], [x + 5, y + 5]], stroke, 2.4);
    line(pen, [[x - 5, y + 5], [x + 5, y - 5]], stroke, 2.4);
    entry(port, stroke);
  });
}
