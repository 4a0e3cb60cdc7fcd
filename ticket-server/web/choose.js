// Choosing: the seat map with what is chosen on it, tickets without seats, the summary beside them, and the stream of
// changes that keeps them fresh; polls do where there is no stream.

import { Failure } from './api.js';
import { number, t } from './i18n.js';
import { $, api, at, button, element, line, most, notify, price, say, state, typeName, typeOf } from './page.js';
import { SeatMap } from './seatmap.js';

const POLL_MS = 2_000;
const POLL_COST_FACTOR = 10;    // A map that takes long to fetch is fetched less often.
const KINDS = 6;                // Colours for ticket types.
const BUSY_MS = 300;
const STREAM_RETRY_MS = 30_000; // After the server would not have one more.
const HALL = `/api/v1/seats/events/${at}`;
const STREAM = `/api/v1/events/${at}/seats/stream`;

let polling = 0;
let stream = null;
let streamAfter = 0;            // No new stream before that time.
let place = null;               // epoch-version of what is drawn.

export const seatName = (seat) => t('seatName', seat);
export const nameOf = (seatId) => (map.byId.has(seatId) ? seatName(map.byId.get(seatId)) : seatId);
const ticketCount = () => [...state.tickets.values()].reduce((a, b) => a + b, 0);
const seatTotal = () => [...map.chosen.values()].reduce((sum, seat) => sum + seat.priceMinor, 0);

export const map = new SeatMap($('map'), {
  price,
  limit() {
    if (map.chosen.size < most()) return true;
    say(t('full', { n: most() }));
    return false;
  },
  toggled(seat, on) {
    state.tickets.clear();
    showTypes();
    showChoice();
    map.on.look(seat);
    say(t(on ? 'saidChosen' : 'saidDropped', { name: seatName(seat), n: map.chosen.size, total: price(seatTotal()) }));
  },
  look(seat) {
    $('readout').textContent = seat ? map.describe(seat) : t('readout');
  },
});

// ---- Fetching ----

/** Fetches and draws everything that there is to choose from. */
export async function loadHall() {
  const hall = await api.getChanged(HALL);
  if (hall) place = `${hall.epoch}-${hall.version}`;
  draw(hall?.seats ?? map.seats);
  await refreshTypes();
  openStream();
}

export function draw(seats) {
  const kinds = new Map((state.event.ticketTypes ?? []).map((type, i) => [type.ticketTypeId, i % KINDS]));
  $('hall').hidden = seats.length === 0;
  map.load(seats, kinds, typeName);
  legend(seats, kinds);
  map.on.look(null);
  showChoice();
}

/** The next look at the hall; nothing is followed while the page is hidden or shows something else. */
export function followIn(delay = POLL_MS) {
  clearTimeout(polling);
  polling = setTimeout(follow, delay);
}

async function follow() {
  if (document.hidden || state.view !== 'choose') return closeStream();
  // What the person just asked for is answered first: it is not somebody else who takes those seats.
  if (state.busy) return followIn(BUSY_MS);
  openStream();
  const began = performance.now();
  // A stream that is open tells everything: the look was asked for, or the stream is not there yet.
  try {
    const hall = await api.getChanged(HALL);
    if (hall) {
      // The stream may have told something newer meanwhile: it goes on from what is drawn now.
      closeStream();
      place = `${hall.epoch}-${hall.version}`;
      if (!map.fits(hall.seats)) draw(hall.seats);
      else losses(map.update(hall.seats));
      openStream();
    }
    await refreshTypes();
  } catch (failure) {
    // A poll that fails says nothing: the next one may do, and what the person does is answered anyway.
    if (!(failure instanceof Failure)) throw failure;
  }
  if (stream?.readyState !== EventSource.OPEN) followIn(Math.max(POLL_MS, POLL_COST_FACTOR * (performance.now() - began)));
}

/** Follows what changes, from what is drawn on. The browser comes back by itself when the line is cut. */
function openStream() {
  if (stream || !place || performance.now() < streamAfter) return;
  stream = new EventSource(`${STREAM}?after=${place}`);
  stream.addEventListener('open', () => clearTimeout(polling));
  stream.addEventListener('error', () => {
    // Refused, not cut off: the server has no room for it. Polls do until later.
    if (stream?.readyState === EventSource.CLOSED) {
      stream = null;
      streamAfter = performance.now() + STREAM_RETRY_MS;
    }
    if (state.view === 'choose') followIn();
  });
  stream.addEventListener('seats', (event) => changed(JSON.parse(event.data), false));
  stream.addEventListener('snapshot', (event) => changed(JSON.parse(event.data), true));
}

function closeStream() {
  stream?.close();
  stream = null;
}

function changed({ epoch, version, seats, availability }, whole) {
  if (document.hidden || !['loading', 'choose'].includes(state.view) || state.busy) {
    closeStream();
    return followIn(BUSY_MS);
  }
  // Other seats than those that are drawn: their places have to be asked for.
  if (whole && !map.fits(seats)) return followIn(0);
  place = `${epoch}-${version}`;
  losses(map.update(seats));
  for (const { ticketTypeId, available } of availability) state.available.set(ticketTypeId, available);
  if (availability.length && state.general.length) showTypes();
}

/** Types without seats are sold by number. */
async function refreshTypes() {
  const seated = new Set(map.seats.map((seat) => seat.ticketTypeId));
  state.general = (state.event.ticketTypes ?? []).filter((type) => !seated.has(type.ticketTypeId));
  $('types').hidden = state.general.length === 0;
  await Promise.all(state.general.map(async ({ ticketTypeId }) => {
    const path = `/api/v1/tickets/availability/${encodeURIComponent(ticketTypeId)}?eventId=${at}`;
    state.available.set(ticketTypeId, (await api.get(path)).available);
  }));
  showTypes();
}

/** Says which chosen seats went to somebody else. */
export function losses(lost, small = '') {
  if (!lost.length) return;
  showChoice();
  notify(t(map.chosen.size ? 'lost' : 'lostAll', { names: lost.map(seatName).join(', ') }), null, small);
}

// ---- Showing ----

function legend(seats, kinds) {
  const used = new Map(seats.map((seat) => [seat.ticketTypeId, seat.priceMinor]));
  const items = [...used].map(([id, minor]) => ['FREE', `k${kinds.get(id) ?? 0}`, `${typeName(id)} ${price(minor)}`]);
  items.push(['FREE', 'pick', t('legendYours')], ['HELD', '', t('legendHeld')], ['SOLD', '', t('legendSold')]);
  $('legend').replaceChildren(...items.map(([seatState, kind, text]) => {
    const swatch = element('span', `seat ${kind}`);
    swatch.dataset.s = seatState;
    return element('li', '', swatch, text);
  }));
}

export function showTypes() {
  const focus = document.activeElement?.id;
  $('type-list').replaceChildren(...state.general.map(typeRow));
  if (focus) $(focus)?.focus({ preventScroll: true });
}

function typeRow({ ticketTypeId: id, name, priceMinor }) {
  const available = state.available.get(id) ?? 0;
  const count = state.tickets.get(id) ?? 0;
  const step = (label, sign, by, off) => {
    const node = button('step', sign, t(label, { name }), () => !off && change(id, count + by));
    node.id = `${label}-${id}`;
    node.setAttribute('aria-disabled', String(off));
    return node;
  };
  const left = available > 0 ? `${price(priceMinor)} · ${t('left', { n: number(available) })}` : t('soldOut');
  return element('li', '',
    element('span', 'what', element('strong', '', name), element('span', 'soft', left)),
    element('span', 'stepper',
      step('fewer', '−', -1, count <= 0),
      element('output', '', String(count)),
      step('another', '+', 1, count >= Math.min(most(), available))));
}

/** One request takes either seats or tickets of one type, so choosing one puts the other back. */
function change(id, count) {
  map.clear();
  state.tickets.clear();
  if (count > 0) state.tickets.set(id, count);
  showTypes();
  showChoice();
  say(`${t('tickets_n', { n: count, name: typeName(id) })}. ${price((typeOf(id)?.priceMinor ?? 0) * count)}`);
}

export function showChoice() {
  const lines = [...map.chosen.values()].map((seat) => line(seatName(seat), seat.priceMinor, takeOut(() => map.drop(seat.seatId))));
  let total = seatTotal();
  for (const [id, count] of state.tickets) {
    const minor = (typeOf(id)?.priceMinor ?? 0) * count;
    total += minor;
    lines.push(line(t('tickets_n', { n: count, name: typeName(id) }), minor, takeOut(() => change(id, 0))));
  }
  const n = map.chosen.size + ticketCount();
  $('chosen').replaceChildren(...lines);
  $('total').textContent = price(total);
  $('hint').textContent = n === 0 ? t('none', { n: most() }) : n < most() ? t('more', { n: most() - n }) : t('full', { n: most() });
  $('reserve').setAttribute('aria-disabled', String(n === 0 || state.busy));
  $('reserve').textContent = t(state.tickets.size ? 'holdTickets' : 'hold');
}

const takeOut = (work) => () => {
  work();
  $('reserve').focus({ preventScroll: true });
};

export function clearChoice() {
  map.clear();
  state.tickets.clear();
}
