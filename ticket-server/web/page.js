// What the parts of the seat page share: its state, the views, what is said, and small pieces of markup.

import { Api } from './api.js';
import { money, t } from './i18n.js';

export const { eventId, queueUrl } = document.body.dataset;
export const at = encodeURIComponent(eventId);
export const api = new Api(eventId);
/** `tickets`: ticketTypeId → how many are chosen; `general`: the types that are sold without seats. */
export const state = { view: 'loading', event: null, hold: null, booking: null, tickets: new Map(), general: [], available: new Map(), busy: false };

const SEATS_MAX = 8;            // In one request, whatever the event allows.

export const $ = (id) => document.getElementById(id);
export const most = () => Math.min(SEATS_MAX, state.event?.maxSeatsPerVisitor ?? SEATS_MAX);
export const price = (minor) => money(minor, state.event?.currency ?? 'EUR');
export const typeOf = (id) => state.event?.ticketTypes?.find((type) => type.ticketTypeId === id);
export const typeName = (id) => typeOf(id)?.name ?? id;
export const waitingRoom = () => ({ href: `${queueUrl}/wait/${at}`, text: t('toQueue') });

/** Shows one view; whoever was on a button that is gone now is put at the top of what came instead. */
export function show(name) {
  const before = state.view;
  state.view = name;
  for (const section of document.querySelectorAll('[data-view]')) section.hidden = section.dataset.view !== name;
  document.title = t('title', { name: state.event?.name ?? eventId });
  if (before === name || before === 'loading') return;
  const heading = document.querySelector(`[data-view="${name}"] h2[tabindex]`) ?? $('name');
  heading.focus({ preventScroll: true });
  scrollTo({ top: 0 });
}

/** A message at the top, with a way out and small print for support; without text it goes away. */
export function notify(text, link = null, small = '') {
  $('notice').hidden = !text;
  $('notice-text').textContent = text ?? '';
  $('notice-act').hidden = !link;
  if (link) Object.assign($('notice-link'), { href: link.href, textContent: link.text });
  $('notice-code').textContent = small;
  if (text) $('notice').scrollIntoView({ block: 'nearest' });
}

/** For screen readers only. */
export function say(text) {
  $('say').textContent = text;
}

export function element(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

export function button(className, text, label, pressed) {
  const node = element('button', className, text);
  node.type = 'button';
  node.setAttribute('aria-label', label);
  node.addEventListener('click', pressed);
  return node;
}

/** One line of a list of seats or tickets, with a button to take it out again where that can be done. */
export function line(name, minor, remove = null) {
  const item = element('li', '', element('span', '', name), element('span', 'price', price(minor)));
  if (remove) item.append(button('drop', '×', t('drop', { name }), remove));
  return item;
}
