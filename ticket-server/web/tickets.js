// The seat page: choose, hold, confirm. The server decides; this page shows what it said and keeps the choice.
// Here: loading, what a button does, and what an error leads to.

import { Failure, kept } from './api.js';
import { clearChoice, draw, followIn, loadHall, losses, map, showChoice, showTypes } from './choose.js';
import { BOOKED, cancelHold, confirmed, confirmHold, extendHold, held, inWords, showBooking, showHold, startHolds } from './hold.js';
import { clock, dateTime, sentence, startLanguages, t } from './i18n.js';
import { $, api, at, eventId, notify, queueUrl, show, state, waitingRoom } from './page.js';

const BLOCKING = ['ACTIVE_TOKEN_REQUIRED', 'ACTIVE_TOKEN_INVALID', 'SESSION_ENDED', 'WRONG_EVENT'];
const LAPSED = ['HOLD_EXPIRED', 'RESERVATION_NOT_FOUND', 'RESERVATION_NOT_HELD'];
const HOLD_BUTTONS = ['confirm', 'extend', 'cancel'];

async function load() {
  try {
    state.event = await api.get(`/api/v1/events/${at}`);
    header();
    show('choose');
    await loadHall();
  } catch (failure) {
    show('none');
    return complain(failure);
  }
  await findMine();
  followIn();
  return undefined;
}

/** A hold or booking of our own, from before a reload or from a reply that was lost. */
async function findMine() {
  try {
    const { items } = await api.get('/api/v1/reservations/my');
    turn(true);
    const here = items.filter((item) => item.eventId === eventId);
    const hold = here.find((item) => item.state === 'HELD' && Date.parse(item.holdExpiresAt) > api.now());
    if (hold) return held(hold);
    const booked = here.filter((item) => item.state === 'CONFIRMED');
    const last = booked.find((item) => item.reservationId === kept(BOOKED));
    // A reload shows the booking again; whoever comes with a new turn is here to choose.
    if (last && performance.getEntriesByType('navigation')[0]?.type !== 'navigate') return confirmed(last);
    if (booked.length) notify(t('booked', { what: booked.map(inWords).join('; ') }));
  } catch (failure) {
    complain(failure);
  }
  return undefined;
}

function header() {
  const { name, venue, startsAt } = state.event;
  $('name').textContent = name ?? eventId;
  $('when').textContent = [startsAt && dateTime(Date.parse(startsAt)), venue].filter(Boolean).join(' · ');
  $('session-until').textContent = api.until > api.now() ? t('sessionUntil', { at: clock(api.until) }) : '';
}

/** Whether it is this visitor's turn, as far as we know: only then can it be given up. */
function turn(mine) {
  $('turn').hidden = !mine;
}

// ---- Buttons ----

/** One action at a time; a lost reply is looked up rather than repeated. */
async function act(work) {
  if (state.busy) return;
  state.busy = true;
  notify(null);
  for (const id of [...HOLD_BUTTONS, 'reserve']) $(id).setAttribute('aria-disabled', 'true');
  try {
    await work();
  } catch (failure) {
    complain(failure);
    if (failure.code === 'NETWORK') await findMine();
  } finally {
    state.busy = false;
    for (const id of HOLD_BUTTONS) $(id).setAttribute('aria-disabled', 'false');
    showChoice();
  }
}

function reserve() {
  const seatIds = [...map.chosen.keys()];
  const [ticket] = state.tickets;
  if (!seatIds.length && !ticket) return;
  act(async () => {
    held(seatIds.length
      ? await api.post('/api/v1/seats/reserve', { eventId, seatIds })
      : await api.post('/api/v1/reservations', { eventId, ticketTypeId: ticket[0], quantity: ticket[1] }));
  });
}

async function letGo() {
  await cancelHold();
  backToChoice();
  notify(t('cancelled'));
}

function backToChoice() {
  state.hold = null;
  show('choose');
  followIn(0);
}

async function giveUp() {
  if (!confirm(t('giveUpSure'))) return;
  if (!(await release())) return location.assign(`${waitingRoom().href}#leave`);
  api.until = 0;
  turn(false);
  clearChoice();
  showTypes();
  showChoice();
  header();
  return notify(t('gaveUp'), waitingRoom());
}

/** Tells the queue. It may not take that from another origin; then its own page does, with a button of its own. */
async function release() {
  try {
    const headers = api.token ? { authorization: `Bearer ${api.token}` } : {};
    return (await fetch(`${queueUrl}/api/v1/queue/release/${at}`, { method: 'POST', credentials: 'include', headers })).ok;
  } catch {
    return false;
  }
}

// ---- Errors ----

function complain(failure) {
  if (!(failure instanceof Failure)) throw failure;
  const { code, status, traceId, details, retryAfterS } = failure;
  const small = [t('code', { code }), traceId && t('trace', { id: traceId })].filter(Boolean).join(' · ');
  if (code === 'SEAT_TAKEN' && details?.seatIds) {
    followIn(0);
    return losses(map.update(details.seatIds.map((seatId) => ({ seatId, state: 'HELD' }))), small);
  }
  if (LAPSED.includes(code) && state.hold) backToChoice();
  if (code === 'SOLD_OUT' || code === 'SEAT_NOT_FOUND') followIn(0);
  if (BLOCKING.includes(code)) turn(false);
  const text = status === 503 || status === 429 ? sentence('BUSY', { n: retryAfterS || 2 }) : sentence(code);
  return notify(text, BLOCKING.includes(code) ? waitingRoom() : null, small);
}

function languageChanged() {
  if (!state.event) return;
  header();
  draw(map.seats);
  showTypes();
  if (state.hold) showHold();
  if (state.booking) showBooking();
  notify(null);
}

startLanguages(languageChanged);
startHolds(complain);
$('reserve').addEventListener('click', reserve);
$('confirm').addEventListener('click', () => act(confirmHold));
$('extend').addEventListener('click', () => act(extendHold));
$('cancel').addEventListener('click', () => act(letGo));
$('give-up').addEventListener('click', giveUp);
$('smaller').addEventListener('click', () => map.zoom(-1));
$('larger').addEventListener('click', () => map.zoom(1));
document.addEventListener('visibilitychange', () => !document.hidden && state.view === 'choose' && followIn(0));
addEventListener('hashchange', () => {
  if (!api.pickUp()) return;
  header();
  notify(null);
  if (state.view === 'choose') findMine();
});
load();
