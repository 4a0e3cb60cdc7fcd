// The waiting page: joins, shows the place as it changes, and goes on when it is this visitor's turn.
// One view is visible at a time; what is said aloud is rationed, so that a screen reader is not talked over.

import { backoff, Failure, Line } from './line.js';
import { clock, dateTime, explicitLang, lang, number, pair, range, startLanguages, t } from './i18n.js';

const GO_ON_AFTER_S = 6;        // Time to read that it is one's turn.
const SAY_EVERY_MS = 30_000;    // The position is read out at most so often.
const CLAIM_TRIES = 6;          // Then the token goes along in the fragment instead of the cookie.
const REJOIN_SPREAD_MS = 3_000; // A restarted line is not joined by everybody in the same instant.

const { eventId, ticketsUrl, returnUrls } = document.body.dataset;
const BEGAN = `usher.began.${eventId}`;
const $ = (id) => document.getElementById(id);
const view = { name: '', status: null, failure: null };
let startedAhead = null;        // How many were before this visitor at first, kept over reloads.
let clockOffsetMs = 0;          // Server time minus ours.
let saidAt = -SAY_EVERY_MS;
let attempts = 0;
let timer = 0;                  // Of whatever the current view counts down.
let destination = ticketsUrl;
let leaving = location.hash === '#leave'; // The seat page sends people here to give their turn up.
const turn = { at: 0, claimed: false, eager: false };

const line = new Line(eventId, {
  status: received,
  link: (state) => {
    if (state === 'live') attempts = 0;
    showLink(state);
  },
  error: (failure) => problem(failure),
  closed: (why) => {
    if (why === 'elsewhere') show('elsewhere');
    else if (why === 'missing') problem(new Failure('EVENT_NOT_FOUND'));
    else rejoin(backoff(attempts++));
  },
});

const now = () => Date.now() + clockOffsetMs;

// ---- Joining ----

async function join() {
  leaving = false;
  clearTimeout(timer);
  if (view.name !== 'joining') show('joining');
  try {
    received(await line.check());
  } catch (failure) {
    if (!(failure instanceof Failure)) throw failure;
    const patience = failure.retryable || failure.code === 'NETWORK';
    if (!patience) return problem(failure);
    $('joining-note').textContent = t(failure.code === 'NETWORK' ? 'joiningOffline' : 'joiningBusy');
    rejoin(Math.max(failure.retryAfterMs * (1 + Math.random() * 0.3), backoff(attempts++)));
  }
}

function rejoin(delay) {
  if (view.name !== 'joining') show('joining');
  clearTimeout(timer);
  timer = setTimeout(join, delay);
}

/** Whatever way a status came, this is what it leads to. */
function received(status) {
  if (status.asOf) clockOffsetMs = Date.parse(status.asOf) - Date.now();
  if (outdated(status)) return undefined;
  view.status = status;
  if (status.status === 'WAITING') return waiting(status);
  if (status.status === 'SCHEDULED') return scheduled(status);
  if (status.status === 'ACTIVE') return admitted(status);
  return ended(status);
}

/** Another node may not have heard of the admission yet: what it knows is older. */
function outdated(status) {
  return view.name === 'admitted' && status.status === 'WAITING' && Date.parse(status.asOf) <= turn.at;
}

// ---- Waiting ----

function waiting(status) {
  const fresh = view.name !== 'waiting';
  if (fresh) show('waiting');
  line.start();
  const { position } = status;
  const ahead = position - 1;
  remember(ahead);
  const text = number(position);
  $('position').textContent = text;
  $('position').classList.toggle('long', text.length > 5);
  $('ahead').textContent = ahead === 0 ? t('aheadNone') : ahead === 1 ? t('aheadOne') : t('ahead', { n: number(ahead) });
  $('progress').max = Math.max(1, startedAhead);
  $('progress').value = startedAhead ? startedAhead - ahead : 1;
  $('progress-text').textContent = startedAhead
    ? t('progress', { n: number(startedAhead - ahead), of: number(startedAhead) })
    : t('progressNone');
  $('paused').hidden = !status.paused;
  const eta = status.paused ? t('etaPaused') : status.eta ? range(status.eta) : t('etaNone');
  $('eta').textContent = eta;
  $('waiting').textContent = number(status.waiting);
  $('kept').textContent = status.keptUntil ? clock(Date.parse(status.keptUntil)) : '–';
  document.title = t('titleWaiting', { n: text, event: eventId });
  if (fresh || performance.now() - saidAt >= SAY_EVERY_MS) say(`${t('saidPosition', { n: text, eta })} ${status.paused ? t('paused') : ''}`);
}

/** Keeps where this place began, so that progress means something after a reload too. */
function remember(ahead) {
  try {
    startedAhead ??= JSON.parse(sessionStorage.getItem(BEGAN));
    if (startedAhead !== null && startedAhead >= ahead) return;
    sessionStorage.setItem(BEGAN, String(ahead));
  } catch {
    // Without storage a reload starts the bar anew.
  }
  startedAhead = Math.max(startedAhead ?? 0, ahead);
}

function forgetStart() {
  startedAhead = null;
  try {
    sessionStorage.removeItem(BEGAN);
  } catch {
    // Nothing was kept then.
  }
}

function showLink(state) {
  $('link').dataset.link = state;
  $('link-text').textContent = t(state);
}

// ---- Not open yet ----

function scheduled(status) {
  line.stop();
  if (view.name !== 'scheduled') show('scheduled');
  clearTimeout(timer);
  const opensAt = Date.parse(status.opensAt);
  const askAt = performance.now() + (status.pollAfterMs ?? 10_000) * (1 + Math.random() * 0.2);
  $('opens-at').textContent = t('opensAt', { at: dateTime(opensAt) });
  document.title = `${t('notOpen')} · ${eventId}`;
  (function tick() {
    const left = opensAt - now();
    if (left > 0) $('opens-in').textContent = countdown(left);
    else $('opens-in').textContent = t('opensSoon');
    $('opens-in').classList.toggle('lead', left <= 0);
    if (performance.now() >= askAt) return void line.check().then(received, () => rejoin(backoff(attempts++)));
    timer = setTimeout(tick, 1000 - (now() % 1000));
  })();
}

function countdown(ms) {
  const s = Math.ceil(ms / 1000);
  const parts = [Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60, s % 60].map((n) => String(n).padStart(2, '0'));
  const days = Math.floor(s / 86_400);
  if (!days) return parts.join(':');
  const unit = new Intl.NumberFormat(lang, { style: 'unit', unit: 'day', unitDisplay: 'long' });
  return `${unit.format(days)} ${parts.join(':')}`;
}

// ---- Admitted ----

async function admitted(status) {
  if (view.name === 'admitted') return;
  show('admitted');
  forgetStart();
  document.title = t('titleTurn', { event: eventId });
  Object.assign(turn, { at: Date.parse(status.asOf), claimed: false, eager: false });
  aim(status);
  $('going').textContent = '';
  if (await claim() && !leaving) count(GO_ON_AFTER_S);
}

/** `status` sets the cookie that the seat page needs, and tells the queue that we are here. True when we may go on. */
async function claim() {
  for (let tries = 0; view.name === 'admitted'; tries += 1) {
    let pause = backoff(tries);
    try {
      const latest = await line.status();
      if (view.name !== 'admitted') return false;
      if (latest.status === 'ACTIVE') {
        turn.claimed = true;
        aim(latest);
        return true;
      }
      if (!outdated(latest)) {
        received(latest);
        return false;
      }
    } catch (failure) {
      if (failure.status === 401 || failure.status === 403) {
        rejoin(backoff(attempts++));
        return false;
      }
      pause = Math.max(pause, failure.retryAfterMs ?? 0);
    }
    if (tries >= CLAIM_TRIES) return true;
    await new Promise((done) => setTimeout(done, pause));
  }
  return false;
}

function count(left) {
  if (view.name !== 'admitted') return;
  if (left <= 0 || turn.eager) return goOn();
  $('going').textContent = t('going', { n: left });
  timer = setTimeout(count, 1000, left - 1);
}

/** Whoever presses the button before the cookie is there goes on as soon as it is. */
function goEagerly() {
  if (turn.claimed) return goOn();
  turn.eager = true;
  if (leaving) return goOn();
  $('going').textContent = t('goingNow');
  return undefined;
}

/** Works out where to go. The token travels in the fragment only where a cookie does not reach. */
function aim(status) {
  view.status = status;
  if (status.expiresAt) $('until').textContent = t('until', { at: clock(Date.parse(status.expiresAt)) });
  const target = new URL(returnAddress() ?? ticketsUrl, location.href);
  const fragment = new URLSearchParams();
  if (target.hostname === location.hostname && navigator.cookieEnabled && turn.claimed) {
    if (status.expiresAt) fragment.set('until', String(Date.parse(status.expiresAt)));
  } else if (status.activeToken) {
    fragment.set('active', status.activeToken);
  }
  if (!returnAddress() && explicitLang()) target.searchParams.set('lang', lang);
  target.hash = fragment.toString();
  destination = target.href;
  $('go').href = destination;
}

/** `?return=` counts only when it is one of the addresses that the operator listed. */
function returnAddress() {
  const asked = new URLSearchParams(location.search).get('return');
  if (!asked || !URL.canParse(asked)) return null;
  const wanted = new URL(asked);
  const same = (listed) => URL.canParse(listed) && new URL(listed).origin === wanted.origin && new URL(listed).pathname === wanted.pathname;
  return /^https?:$/.test(wanted.protocol) && returnUrls.split(/\s+/).some(same) ? wanted.href : null;
}

function goOn() {
  $('going').textContent = t('goingNow');
  line.stop();
  location.replace(destination);
}

// ---- Ended, and what goes wrong ----

function ended(status) {
  line.stop();
  line.forget();
  forgetStart();
  if (status.reason === 'QUEUE_RESET') {
    show('joining');
    $('joining-note').textContent = t('reset');
    say(t('reset'));
    return rejoin(Math.random() * REJOIN_SPREAD_MS);
  }
  show('ended');
  return undefined;
}

function problem(failure) {
  line.stop();
  view.failure = failure;
  show('problem');
}

/** Texts of the views that only say something; written again when the language changes. */
function describe() {
  if (view.name === 'ended') {
    const reason = view.status?.reason ?? 'GONE';
    [$('ended-title').textContent, $('ended-text').textContent] = pair('ended', reason, 'GONE');
    $('again').hidden = reason === 'SOLD_OUT';
    document.title = `${$('ended-title').textContent} · ${eventId}`;
  } else if (view.name === 'problem') {
    const { code, traceId } = view.failure;
    [$('problem-title').textContent, $('problem-text').textContent] = pair('errors', code, 'OTHER');
    $('problem-code').textContent = [t('code', { code }), traceId && t('trace', { id: traceId })].filter(Boolean).join(' · ');
    document.title = `${$('problem-title').textContent} · ${eventId}`;
  } else if (view.name === 'joining') {
    document.title = `${t('joining')} · ${eventId}`;
  }
}

function show(name) {
  clearTimeout(timer);
  const previous = view.name;
  view.name = name;
  for (const section of document.querySelectorAll('[data-view]')) section.hidden = section.dataset.view !== name;
  if (name === 'joining') $('joining-note').textContent = '';
  describe();
  const heading = document.querySelector(`[data-view="${name}"] h1`);
  // Whoever was on a button that is gone now is put at the top of what came instead.
  if (previous && previous !== 'joining') heading.focus({ preventScroll: true });
  if (name !== 'joining' && name !== 'waiting') say(heading.textContent);
  scrollTo({ top: 0 });
}

function say(text) {
  saidAt = performance.now();
  $('say').textContent = text;
}

// ---- Buttons ----

async function leave() {
  if (!confirm(t('leaveSure'))) return;
  try {
    await line.leave();
    received({ status: 'ENDED', reason: 'LEFT' });
  } catch (failure) {
    problem(failure);
  }
}

function wire() {
  $('leave').addEventListener('click', leave);
  $('give-up').addEventListener('click', leave);
  $('again').addEventListener('click', join);
  $('retry').addEventListener('click', join);
  $('use-here').addEventListener('click', join);
  $('go').addEventListener('click', (event) => {
    event.preventDefault();
    goEagerly();
  });
  addEventListener('pageshow', (event) => event.persisted && returned());
  addEventListener('online', () => view.name === 'joining' && join());
}

/** Back from the seat page: look first, so that nobody joins again by going back. */
async function returned() {
  history.replaceState(history.state, '', location.pathname + location.search);
  try {
    received(await line.status());
  } catch (failure) {
    if (failure.status === 401 || failure.status === 403) received({ status: 'ENDED', reason: 'GONE' });
    else problem(failure);
  }
}

function languageChanged() {
  describe();
  showLink($('link').dataset.link);
  if (view.name === 'waiting') waiting(view.status);
  if (view.name === 'scheduled') scheduled(view.status);
  if (view.name === 'admitted') aim(view.status);
}

startLanguages(languageChanged);
showLink('connecting');
wire();
if (leaving) returned();
else join();
