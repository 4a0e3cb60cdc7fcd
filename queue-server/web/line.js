// The connection to the line: HTTP calls, the socket with its reconnects, and polling while no socket works.
// It knows nothing of what is shown; it reports through the handlers given to `Line`.

const CONNECT_MS = 10_000;      // A socket that has said nothing by then is given up.
const BACKOFF_BASE_MS = 500;
const BACKOFF_MAX_MS = 30_000;
const FAILURES_BEFORE_POLLING = 3;
const POLL_DEFAULT_MS = 5_000;
const POLL_MIN_MS = 1_000;
const SILENCE_MS = 180_000;     // Asked over HTTP after so long without a word, in case the socket is dead.
const STALE_MS = 20_000;        // After waking up, a socket that was silent for so long is replaced.

/** Full jitter: a random delay below a bound that doubles with each failure. */
export const backoff = (failures) => 200 + Math.random() * Math.min(BACKOFF_MAX_MS, BACKOFF_BASE_MS * 2 ** failures);

/** An answer that is not what was asked for; `code` is the server's stable code, or `NETWORK`. */
export class Failure extends Error {
  constructor(code, { status = 0, traceId = '', retryable = false, retryAfterMs = 0 } = {}) {
    super(code);
    Object.assign(this, { code, status, traceId, retryable, retryAfterMs });
  }
}

async function call(method, path, placeToken) {
  const headers = placeToken ? { 'x-usher-place': placeToken } : {};
  let response;
  try {
    response = await fetch(path, { method, headers, credentials: 'same-origin', cache: 'no-store' });
  } catch {
    throw new Failure('NETWORK', { retryable: true });
  }
  const body = await response.json().catch(() => null);
  if (response.ok) return body;
  throw new Failure(body?.code ?? `HTTP_${response.status}`, {
    status: response.status,
    traceId: body?.traceId ?? response.headers.get('x-trace-id') ?? '',
    retryable: body?.retryable ?? response.status >= 500,
    retryAfterMs: 1000 * (Number(response.headers.get('retry-after')) || 0),
  });
}

export class Line {
  /** `handlers`: status(QueueStatus), link('live'|'polling'|'connecting'|'offline'), closed('elsewhere'|'missing'|'lost-place'), error(Failure). */
  constructor(eventId, handlers) {
    this.eventId = eventId;
    this.on = handlers;
    this.key = `usher.place.${eventId}`;
    this.token = stored(this.key);
    this.failures = 0;
    this.heardAt = 0;
    this.pollAfterMs = POLL_DEFAULT_MS;
    this.running = false;
    addEventListener('online', () => this.wake());
    addEventListener('offline', () => this.running && this.on.link('offline'));
    document.addEventListener('visibilitychange', () => document.hidden || this.wake());
  }

  path(what) {
    return `/api/v1/queue/${what}/${encodeURIComponent(this.eventId)}`;
  }

  /** Joins or finds the place again. The cookie says who we are; the kept token stands in where cookies are off. */
  async check() {
    const token = navigator.cookieEnabled ? null : this.token;
    let status;
    try {
      status = await call('POST', this.path('check'), token);
    } catch (failure) {
      if (!token || failure.code !== 'PLACE_TOKEN_INVALID') throw failure;
      status = await call('POST', this.path('check'));
    }
    if (!status.placeToken && navigator.cookieEnabled) this.forget();
    return this.learn(status);
  }

  async status() {
    return this.learn(await call('GET', this.path('status'), this.token));
  }

  async leave() {
    this.stop();
    await call('POST', this.path('leave'), this.token);
    this.forget();
  }

  learn(status) {
    if (status.placeToken) {
      this.token = status.placeToken;
      store(this.key, this.token);
    }
    if (status.pollAfterMs) this.pollAfterMs = Math.max(POLL_MIN_MS, status.pollAfterMs);
    return status;
  }

  forget() {
    this.token = null;
    store(this.key, null);
  }

  /** Keeps the socket up, or polls, until `stop`. */
  start() {
    if (this.running) return;
    this.running = true;
    this.failures = 0;
    this.connect();
    this.silence = setInterval(() => this.listenHarder(), SILENCE_MS / 3);
  }

  stop() {
    this.running = false;
    clearTimeout(this.reconnecting);
    clearTimeout(this.polling);
    clearInterval(this.silence);
    this.polling = 0;
    this.drop();
  }

  drop() {
    const socket = this.socket;
    this.socket = null;
    clearTimeout(this.opening);
    if (socket) socket.close();
  }

  connect() {
    if (!this.running) return;
    clearTimeout(this.reconnecting);
    this.drop();
    if (!this.polling) this.on.link('connecting');
    const socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`, 'usher.v1');
    this.socket = socket;
    this.opening = setTimeout(() => this.lost(socket, 0, ''), CONNECT_MS);
    socket.onopen = () => {
      const data = this.token ? { eventId: this.eventId, placeToken: this.token } : { eventId: this.eventId };
      socket.send(JSON.stringify({ event: 'join-queue', data }));
    };
    socket.onmessage = (message) => this.socket === socket && this.heard(message.data);
    socket.onclose = ({ code, reason }) => this.lost(socket, code, reason);
  }

  heard(text) {
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    clearTimeout(this.opening);
    this.failures = 0;
    this.heardAt = performance.now();
    if (frame.event === 'error') return this.refused(frame.data);
    clearTimeout(this.polling);
    this.polling = 0;
    this.on.link('live');
    this.on.status(this.learn(frame.data));
  }

  refused(data) {
    if (data.code === 'PLACE_TOKEN_INVALID') {
      this.end('lost-place');
    } else if (!data.retryable && data.code !== 'EVENT_NOT_FOUND') {
      this.stop();
      this.on.error(new Failure(data.code, data));
    }
  }

  end(why) {
    if (why === 'lost-place') this.forget();
    this.stop();
    this.on.closed(why);
  }

  /** A socket is gone: what follows is the table of close codes. */
  lost(socket, code, reason) {
    if (this.socket !== socket || !this.running) return;
    this.drop();
    if (code === 4001) return this.end('elsewhere');
    if (code === 4004) return this.end('missing');
    if (code === 1008) return this.end('lost-place');
    const asked = [1001, 1012, 1013].includes(code) ? retryAfter(reason) : null;
    const delay = asked === null ? backoff(this.failures) : asked * (1 + Math.random() * 0.2);
    if (asked === null) this.failures += 1;
    this.on.link(navigator.onLine ? (this.polling ? 'polling' : 'connecting') : 'offline');
    this.reconnecting = setTimeout(() => this.connect(), delay);
    if (!this.polling && (this.failures >= FAILURES_BEFORE_POLLING || code === 1000)) this.pollSoon(0);
  }

  pollSoon(delay) {
    clearTimeout(this.polling);
    this.polling = setTimeout(() => this.poll(), delay);
  }

  /** Asks over HTTP while the socket is not to be had; the first word on a socket ends it. */
  async poll() {
    let delay = this.pollAfterMs * (0.9 + Math.random() * 0.2);
    try {
      const status = await this.status();
      if (!this.running || !this.polling) return;
      this.on.link('polling');
      this.on.status(status);
    } catch (failure) {
      if (!this.running) return;
      if (failure.status === 401 || failure.status === 403) return this.end('lost-place');
      if (failure.status === 404) return this.end('missing');
      this.on.link('offline');
      delay = Math.max(delay, failure.retryAfterMs, backoff(this.failures));
    }
    if (this.running && this.polling) this.pollSoon(delay);
  }

  async listenHarder() {
    if (this.polling || !this.socket || performance.now() - this.heardAt < SILENCE_MS) return;
    this.heardAt = performance.now();
    try {
      this.on.status(await this.status());
    } catch {
      this.connect();
    }
  }

  /** The machine woke up, or the network is back: do not wait for a timer. */
  wake() {
    if (!this.running) return;
    const open = this.socket?.readyState === WebSocket.OPEN;
    if (open && performance.now() - this.heardAt < STALE_MS) return;
    this.failures = 0;
    this.connect();
  }
}

function retryAfter(reason) {
  try {
    const ms = JSON.parse(reason).retryAfterMs;
    if (Number.isFinite(ms) && ms >= 0) return Math.min(ms, 120_000);
  } catch {
    // Not ours: a proxy's words, or none.
  }
  return 1000 + Math.random() * 4000;
}

// Storage may be off; then the cookie alone carries the place.
function stored(key) {
  try {
    return sessionStorage.getItem(key) ?? localStorage.getItem(key);
  } catch {
    return null;
  }
}

function store(key, value) {
  for (const place of ['sessionStorage', 'localStorage']) {
    try {
      if (value) window[place].setItem(key, value);
      else window[place].removeItem(key);
    } catch {
      // See above.
    }
  }
}
