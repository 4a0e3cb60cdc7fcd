// A hold and what becomes of it: the countdown, more time, letting go, confirming; and the booking at the end.

import { Failure, keep } from './api.js';
import { map, nameOf, clearChoice } from './choose.js';
import { clock, money, t } from './i18n.js';
import { $, api, eventId, line, say, show, state, typeName, typeOf } from './page.js';

const SAY_LEFT_S = [120, 60, 30, 10];
export const BOOKED = `usher.booked.${eventId}`;

let ticking = 0;
let saidLeft = Infinity;
let wholeMs = 1;
let lapsed = () => {};

/** `onLapsed(failure)` is called when a hold turns out to be over. */
export function startHolds(onLapsed) {
  lapsed = onLapsed;
}

const path = (reservation, what = '') => `/api/v1/reservations/${encodeURIComponent(reservation.reservationId)}${what}`;

export function held(reservation) {
  const first = state.hold?.reservationId !== reservation.reservationId;
  state.hold = reservation;
  wholeMs = Math.max(1, Date.parse(reservation.holdExpiresAt) - api.now());
  saidLeft = Infinity;
  if (first) clearChoice();
  show('held');
  showHold();
  tick();
}

export function showHold() {
  const { hold } = state;
  $('held-seats').replaceChildren(...linesOf(hold));
  $('held-total').textContent = money(hold.totalMinor, hold.currency);
  $('held-until').textContent = t('heldUntil', { at: clock(Date.parse(hold.holdExpiresAt)) });
}

function tick() {
  clearTimeout(ticking);
  if (state.view !== 'held') return;
  const leftMs = Date.parse(state.hold.holdExpiresAt) - api.now();
  const s = Math.max(0, Math.ceil(leftMs / 1000));
  const text = `${Math.floor(s / 60)}:${String(s % 60).padStart(2, '0')}`;
  $('left').textContent = text;
  $('left').classList.toggle('soon', s <= 30);
  $('left-bar').value = Math.min(1, Math.max(0, leftMs / wholeMs));
  document.title = t('titleHeld', { left: text, name: state.event?.name ?? eventId });
  const mark = SAY_LEFT_S.find((each) => s <= each && s > each - 2);
  if (mark && mark < saidLeft) {
    saidLeft = mark;
    say(t('saidLeft', { n: text }));
  }
  if (leftMs <= 0 && !state.busy) return void over();
  ticking = setTimeout(tick, 1000 - (Date.now() % 1000) + 5);
}

/** The time is up by our clock; what counts is what the server says. */
async function over() {
  const { hold } = state;
  let latest = null;
  let failure = null;
  try {
    latest = await api.get(path(hold));
  } catch (error) {
    failure = error;
  }
  if (state.hold !== hold) return;
  if (latest?.state === 'CONFIRMED') return confirmed(latest);
  if (latest?.state === 'HELD' || (failure && failure.status !== 404 && failure.status !== 410)) {
    if (latest) state.hold = latest;
    ticking = setTimeout(tick, 1000);
    return;
  }
  lapsed(new Failure('HOLD_EXPIRED', failure ?? {}));
}

export async function confirmHold() {
  confirmed(await api.post(path(state.hold, '/confirm')));
}

export async function extendHold() {
  held(await api.post(path(state.hold, '/extend'), {}));
  say(t('extended', { at: clock(Date.parse(state.hold.holdExpiresAt)) }));
}

export async function cancelHold() {
  await api.post(path(state.hold, '/cancel'));
  state.hold = null;
}

export function confirmed(reservation) {
  state.hold = null;
  state.booking = reservation;
  keep(BOOKED, reservation.reservationId);
  $('turn').hidden = true;
  show('confirmed');
  showBooking();
}

export function showBooking() {
  const { booking } = state;
  $('booked-seats').replaceChildren(...linesOf(booking));
  $('booked-total').textContent = money(booking.totalMinor, booking.currency);
  $('booked-id').textContent = booking.reservationId;
}

function linesOf({ seatIds, ticketTypeId, quantity }) {
  if (seatIds) return seatIds.map((id) => line(nameOf(id), map.byId.get(id)?.priceMinor ?? 0));
  return [line(t('tickets_n', { n: quantity, name: typeName(ticketTypeId) }), (typeOf(ticketTypeId)?.priceMinor ?? 0) * quantity)];
}

/** A reservation in a few words. */
export function inWords({ seatIds, ticketTypeId, quantity }) {
  return seatIds ? seatIds.map(nameOf).join(', ') : t('tickets_n', { n: quantity, name: typeName(ticketTypeId) });
}
