// The seat map: draws sections, rows and seats, follows their states, and lets seats be chosen by pointer or keyboard.
// One listener on the root serves all seats; one seat per section is in the tab order (roving tabindex).

import { number, t } from './i18n.js';

const PITCH_MIN = 12;
const PITCH_MAX = 48;
const PITCH_FIT = 30;           // Seats are not drawn larger than this unasked,
const PITCH_BESIDE = 17;        // nor smaller than this to fit two sections beside each other,
const PITCH_POINTER = 13;       // or than this where there is a pointer,
const PITCH_FINGER = 25;        // or than this on a phone, which scrolls sideways instead.
const NARROW_PX = 480;
const BLOCK_GAP_PX = 24;
const ZOOM_STEP = 1.25;
const ROW_NAME_PX = 30;         // Row name and padding beside the seats of a row.
const EAGER_SEATS = 4_000;      // Larger halls build a section when it comes near the view.

export class SeatMap {
  /** `handlers`: toggled(seat), limit() - may one more be chosen?, look(seat|null), price(priceMinor) → text. */
  constructor(root, handlers) {
    this.root = root;
    this.on = handlers;
    this.seats = [];
    this.byId = new Map();
    this.chosen = new Map();
    this.mine = new Set();
    this.blocks = [];
    root.addEventListener('click', (event) => this.pick(this.seatOf(event.target)));
    root.addEventListener('keydown', (event) => this.key(event));
    root.addEventListener('pointerover', (event) => this.on.look(this.seatOf(event.target)));
    root.addEventListener('pointerleave', () => this.on.look(null));
    root.addEventListener('focusin', (event) => this.focused(this.seatOf(event.target)));
    addEventListener('resize', () => this.zoomed || this.fit());
    this.near = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) this.build(this.blocks[entry.target.dataset.block]);
    }, { rootMargin: '600px' });
  }

  /** Draws a hall. `kinds`: ticketTypeId → index of its colour. */
  load(seats, kinds, typeName) {
    this.kinds = kinds;
    this.typeName = typeName;
    const before = new Set(this.chosen.keys());
    this.seats = seats.map((seat) => ({ ...seat, node: null, home: null }));
    this.byId = new Map(this.seats.map((seat) => [seat.seatId, seat]));
    this.chosen = new Map(this.seats.filter((seat) => before.has(seat.seatId) && seat.state === 'FREE').map((seat) => [seat.seatId, seat]));
    this.near.disconnect();
    for (const block of this.blocks) block.node.remove();
    this.blocks = group(this.seats, (seat) => seat.section).map(([name, list], index) => this.frame(name, list, index));
    this.fit();
    for (const block of this.blocks) {
      if (this.seats.length <= EAGER_SEATS) this.build(block);
      else this.near.observe(block.node);
    }
  }

  /** A section's heading and place; its seats come with `build`. */
  frame(name, list, index) {
    const node = document.createElement('div');
    node.className = 'block';
    node.dataset.block = index;
    const heading = document.createElement('h3');
    heading.id = `section-${index}`;
    heading.append(t('section', { name }), ' ', document.createElement('span'));
    node.append(heading);
    this.root.append(node);
    const rows = group(list, (seat) => String(seat.row)).map(([row, seats]) => ({ row, seats, columns: columns(seats) }));
    const block = { name, list, rows, node, heading, index, cols: Math.max(...rows.map((r) => r.columns.at(-1))), built: false };
    this.count(block);
    return block;
  }

  build(block) {
    if (block.built) return;
    block.built = true;
    this.near.unobserve(block.node);
    const grid = document.createElement('div');
    grid.setAttribute('role', 'grid');
    grid.setAttribute('aria-multiselectable', 'true');
    grid.setAttribute('aria-labelledby', block.heading.id);
    grid.setAttribute('aria-describedby', 'keys');
    block.rows.forEach((row, r) => {
      const line = document.createElement('div');
      line.className = 'row';
      line.setAttribute('role', 'row');
      const label = document.createElement('span');
      label.setAttribute('role', 'rowheader');
      label.setAttribute('aria-label', t('row', { row: row.row }));
      label.textContent = row.row;
      line.append(label);
      row.seats.forEach((seat, c) => {
        const node = document.createElement('div');
        node.className = `seat k${this.kinds.get(seat.ticketTypeId) ?? 0}`;
        node.setAttribute('role', 'gridcell');
        node.tabIndex = -1;
        node.dataset.id = seat.seatId;
        node.style.gridColumn = String(row.columns[c] + 1);
        seat.node = node;
        seat.home = { block, r, c };
        this.paint(seat);
        line.append(node);
      });
      grid.append(line);
    });
    block.node.append(grid);
    const first = block.list.find((seat) => seat.state === 'FREE') ?? block.rows[0].seats[0];
    first.node.tabIndex = 0;
    block.stop = first;
  }

  /** New states from the server. Returns the chosen seats that somebody else took meanwhile. */
  update(seats) {
    const lost = [];
    const touched = new Set();
    for (const { seatId, state } of seats) {
      const seat = this.byId.get(seatId);
      if (!seat || seat.state === state) continue;
      seat.state = state;
      if (state !== 'FREE' && this.chosen.delete(seatId)) lost.push(seat);
      if (seat.node) this.paint(seat);
      touched.add(seat.section);
    }
    for (const block of this.blocks) if (touched.has(block.name)) this.count(block);
    for (const seat of lost) seat.node?.classList.add('lost');
    return lost;
  }

  /** Whether these are the seats that are drawn. */
  fits(seats) {
    return seats.length === this.seats.length && seats.every((seat) => this.byId.has(seat.seatId));
  }

  clear() {
    const were = [...this.chosen.values()];
    this.chosen.clear();
    for (const seat of were) if (seat.node) this.paint(seat);
  }

  drop(seatId) {
    const seat = this.chosen.get(seatId);
    if (seat) this.pick(seat);
  }

  paint(seat) {
    const { node } = seat;
    const picked = this.chosen.has(seat.seatId);
    node.dataset.s = seat.state;
    node.setAttribute('aria-selected', String(picked));
    if (seat.state === 'FREE') node.removeAttribute('aria-disabled');
    else node.setAttribute('aria-disabled', 'true');
    node.classList.remove('lost');
    node.setAttribute('aria-label', this.describe(seat));
  }

  describe(seat) {
    const state = t(this.chosen.has(seat.seatId) ? 'chosenState' : `state${seat.state}`);
    return t('seatLabel', { section: seat.section, row: seat.row, number: seat.number, type: this.typeName(seat.ticketTypeId), price: this.on.price(seat.priceMinor), state });
  }

  count(block) {
    const free = block.list.reduce((n, seat) => n + (seat.state === 'FREE'), 0);
    block.heading.lastChild.textContent = t('freeCount', { n: number(free) });
  }

  seatOf(target) {
    const node = target.closest?.('.seat');
    return node ? this.byId.get(node.dataset.id) : null;
  }

  pick(seat) {
    if (!seat) return;
    if (this.chosen.has(seat.seatId)) {
      this.chosen.delete(seat.seatId);
    } else {
      if (seat.state !== 'FREE' || !this.on.limit()) return;
      this.chosen.set(seat.seatId, seat);
    }
    if (seat.node) this.paint(seat);
    this.on.toggled(seat, this.chosen.has(seat.seatId));
  }

  // ---- Keyboard ----

  focused(seat) {
    if (!seat) return;
    const { block } = seat.home;
    if (block.stop && block.stop !== seat) block.stop.node.tabIndex = -1;
    seat.node.tabIndex = 0;
    block.stop = seat;
    this.on.look(seat);
  }

  key(event) {
    const seat = this.seatOf(event.target);
    if (!seat || event.altKey || event.metaKey) return;
    if (event.key === ' ' || event.key === 'Enter') {
      event.preventDefault();
      return void this.pick(seat);
    }
    const next = this.neighbour(seat, event.key, event.ctrlKey);
    if (!next) return;
    event.preventDefault();
    next.node.focus();
    next.node.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }

  neighbour(seat, key, ctrl) {
    const { block, r, c } = seat.home;
    const row = block.rows[r].seats;
    const column = block.rows[r].columns[c];
    switch (key) {
      case 'ArrowLeft': return row[c - 1];
      case 'ArrowRight': return row[c + 1];
      case 'ArrowUp': return r > 0 ? nearest(block.rows[r - 1], column) : this.into(block.index - 1, -1, column);
      case 'ArrowDown': return r + 1 < block.rows.length ? nearest(block.rows[r + 1], column) : this.into(block.index + 1, 0, column);
      case 'Home': return ctrl ? block.rows[0].seats[0] : row[0];
      case 'End': return ctrl ? block.rows.at(-1).seats.at(-1) : row.at(-1);
      case 'PageUp': return this.into(block.index - 1, 0, column);
      case 'PageDown': return this.into(block.index + 1, 0, column);
      default: return null;
    }
  }

  into(index, r, column) {
    const block = this.blocks[index];
    if (!block) return null;
    this.build(block);
    return nearest(block.rows.at(r), column);
  }

  // ---- Size ----

  /** Two sections beside each other where there is room, else one; never too small for a finger. */
  fit() {
    const style = getComputedStyle(this.root.parentElement);
    const width = this.root.parentElement.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const cols = Math.max(1, ...this.blocks.map((block) => block.cols));
    const beside = ((width - BLOCK_GAP_PX) / 2 - ROW_NAME_PX) / cols;
    const alone = (width - ROW_NAME_PX) / cols;
    const finger = width < NARROW_PX || matchMedia('(pointer: coarse)').matches;
    const least = finger ? PITCH_FINGER : PITCH_POINTER;
    const pitch = this.blocks.length > 1 && beside >= Math.max(PITCH_BESIDE, least) ? beside : alone;
    this.size(Math.floor(Math.min(PITCH_FIT, Math.max(least, pitch))));
  }

  size(pitch) {
    this.pitch = Math.min(PITCH_MAX, Math.max(PITCH_MIN, pitch));
    this.root.style.setProperty('--pitch', `${this.pitch}px`);
    for (const block of this.blocks) {
      block.node.style.width = `${block.cols * this.pitch + ROW_NAME_PX}px`;
      block.node.style.containIntrinsicSize = `auto ${block.cols * this.pitch + ROW_NAME_PX}px auto ${block.rows.length * this.pitch + 36}px`;
    }
  }

  zoom(direction) {
    this.zoomed = true;
    this.size(Math.round(direction > 0 ? this.pitch * ZOOM_STEP : this.pitch / ZOOM_STEP));
  }
}

/** Groups in the order of first appearance. */
function group(list, key) {
  const groups = new Map();
  for (const item of list) {
    const name = key(item);
    if (groups.has(name)) groups.get(name).push(item);
    else groups.set(name, [item]);
  }
  return [...groups];
}

/** The column of each seat of a row: its number where that leaves sensible gaps, else its turn. */
function columns(seats) {
  const numbers = seats.map((seat) => Number(seat.number));
  const rising = numbers.every((n, i) => Number.isInteger(n) && n > 0 && (i === 0 || n > numbers[i - 1]));
  return rising && numbers.at(-1) <= seats.length * 2 ? numbers : seats.map((_, i) => i + 1);
}

function nearest(row, column) {
  let best = 0;
  row.columns.forEach((at, i) => {
    if (Math.abs(at - column) < Math.abs(row.columns[best] - column)) best = i;
  });
  return row.seats[best];
}
