// Requests of the seat page: who we are, errors with their stable code, the server's clock.

const KEPT = (eventId) => `usher.active.${eventId}`;

/** An answer that is not what was asked for; `code` is the server's stable code, or `NETWORK`. */
export class Failure extends Error {
  constructor(code, { status = 0, traceId = '', details = null, retryAfterS = 0 } = {}) {
    super(code);
    Object.assign(this, { code, status, traceId, details, retryAfterS });
  }
}

export class Api {
  constructor(eventId) {
    this.eventId = eventId;
    this.clockOffsetMs = 0;
    this.tags = new Map();
    this.pickUp();
  }

  /** Takes what the waiting page put into the fragment, and removes it from the address at once. */
  pickUp() {
    const fragment = new URLSearchParams(location.hash.slice(1));
    this.token = kept(KEPT(this.eventId));
    this.until = Number(kept(`usher.until.${this.eventId}`)) || 0;
    const handed = fragment.get('active');
    const until = Number(fragment.get('until')) || expiry(handed);
    if (handed || until) {
      this.token = handed;
      this.until = until;
      keep(KEPT(this.eventId), handed);
      keep(`usher.until.${this.eventId}`, until ? String(until) : null);
      history.replaceState(history.state, '', location.pathname + location.search);
    }
    return Boolean(handed || until);
  }

  now() {
    return Date.now() + this.clockOffsetMs;
  }

  get(path) {
    return this.call('GET', path);
  }

  /** Like `get`, but `null` when nothing has changed since the last time. */
  getChanged(path) {
    const tag = this.tags.get(path);
    return this.call('GET', path, undefined, tag ? { 'if-none-match': tag } : {});
  }

  post(path, body) {
    return this.call('POST', path, body);
  }

  /** The answer's body; `null` for 304 and 204. A kept token that is over gives way to the cookie, once. */
  async call(method, path, body, extra = {}) {
    try {
      return await this.send(method, path, body, extra);
    } catch (failure) {
      if (!this.token || !['ACTIVE_TOKEN_INVALID', 'SESSION_ENDED'].includes(failure.code)) throw failure;
      const token = this.token;
      this.token = null;
      try {
        const answer = await this.send(method, path, body, extra);
        keep(KEPT(this.eventId), null);
        return answer;
      } catch {
        this.token = token;
        throw failure;
      }
    }
  }

  async send(method, path, body, extra) {
    const headers = { ...extra };
    if (this.token) headers.authorization = `Bearer ${this.token}`;
    if (body !== undefined) headers['content-type'] = 'application/json';
    let response;
    try {
      response = await fetch(path, { method, headers, credentials: 'include', body: body === undefined ? undefined : JSON.stringify(body) });
    } catch {
      throw new Failure('NETWORK');
    }
    const date = Date.parse(response.headers.get('date') ?? '');
    // The header has whole seconds: only a clock that is clearly wrong is corrected.
    if (date && Math.abs(date - Date.now()) > 2500) this.clockOffsetMs = date - Date.now();
    const tag = response.headers.get('etag');
    if (method === 'GET' && response.ok && tag) this.tags.set(path, tag);
    if (response.status === 304 || response.status === 204) return null;
    const answer = await response.json().catch(() => null);
    if (response.ok) return answer;
    throw new Failure(answer?.code ?? `HTTP_${response.status}`, {
      status: response.status,
      traceId: answer?.traceId ?? response.headers.get('x-trace-id') ?? '',
      details: answer?.details ?? null,
      retryAfterS: Number(response.headers.get('retry-after')) || 0,
    });
  }
}

/** When a token ends, read without checking it: only to show a time. */
function expiry(token) {
  try {
    const payload = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    return JSON.parse(atob(payload)).exp * 1000 || 0;
  } catch {
    return 0;
  }
}

function kept(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Keeps a word for this tab, or forgets it. */
export function keep(key, value) {
  try {
    if (value) sessionStorage.setItem(key, value);
    else sessionStorage.removeItem(key);
  } catch {
    // Without storage it lasts as long as the page.
  }
}

export { kept };
