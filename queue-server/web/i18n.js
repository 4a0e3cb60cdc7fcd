// Texts of the waiting page in English and Korean, and how numbers and times are written.
// Nothing in here touches the line; `apply` writes the texts that never change.

const TEXTS = {
  en: {
    room: 'Waiting room',
    joining: 'Finding your place…',
    joiningBusy: 'A lot of people are arriving. Trying again by itself; please do not reload.',
    joiningOffline: 'No connection. This goes on as soon as you are online again.',
    yourPlace: 'Your place in line',
    aheadNone: 'You are next.',
    aheadOne: 'One person is before you.',
    ahead: '{n} people are before you.',
    progress: '{n} of {of} people who were before you have gone in.',
    progressNone: 'Nobody is before you.',
    paused: 'The line is paused at the moment. You keep your place.',
    eta: 'Estimated wait',
    etaNone: 'not known yet',
    etaPaused: 'paused',
    inLine: 'People in line',
    kept: 'If you go offline, kept until',
    keepOpen: 'Keep this page open; it goes on by itself when it is your turn. Reloading does not cost you your place.',
    live: 'Live',
    polling: 'Updated every few seconds',
    connecting: 'Connecting…',
    offline: 'No connection: your place is kept',
    leave: 'Leave the line',
    leaveSure: 'Leave the line? Your place goes to the next person.',
    notOpen: 'Not open yet',
    opensAt: 'The line opens on {at}.',
    opensSoon: 'The line opens any moment.',
    scheduledNote: 'This page continues by itself when the line opens.',
    yourTurn: 'It is your turn',
    until: 'You have until {at} to make your choice.',
    going: 'Going on in {n} s …',
    goingNow: 'Going on …',
    goNow: 'Go on now',
    giveUp: 'I no longer want it',
    joinAgain: 'Join the line again',
    elsewhere: 'Open in another tab',
    elsewhereText: 'You are waiting in another tab or window, with the same place. Nothing is lost.',
    useHere: 'Use this tab',
    tryAgain: 'Try again',
    titleWaiting: '{n} in line · {event}',
    titleTurn: 'Your turn! · {event}',
    saidPosition: 'Your place in line is {n}. Estimated wait: {eta}.',
    reset: 'The line was restarted. Joining again for you …',
    ended: {
      LEFT: ['You have left the line', 'Your place went to the next person.'],
      ABANDONED: ['Your place was given up', 'We had not heard from this page for too long.'],
      EXPIRED: ['Your time is over', 'The time for your choice has run out, and the next person is in.'],
      RELEASED: ['You are done', 'Your turn has ended. Thank you for waiting.'],
      REVOKED: ['Your place was taken back', 'The organiser ended your place or session.'],
      CLEARED: ['The line was cleared', 'The organiser sent everybody who was waiting away.'],
      CLOSED: ['The line is closed', 'It takes nobody in any more.'],
      SOLD_OUT: ['Sold out', 'There is nothing left to wait for. We are sorry.'],
      QUEUE_RESET: ['The line was restarted', 'All places were lost; you can join again at once.'],
      GONE: ['Your place is no longer known', 'It ended some time ago.'],
    },
    errors: {
      EVENT_NOT_FOUND: ['There is no such event', 'Check the address, or go back to where you came from.'],
      QUEUE_CLOSED: ['The line is closed', 'It takes nobody new at the moment.'],
      USER_TOKEN_REQUIRED: ['Please log in first', 'This line is for people who are logged in. Log in where you came from, then come back.'],
      ORIGIN_NOT_ALLOWED: ['This address is not allowed', 'Open the page under the address the organiser gave.'],
      OTHER: ['Something went wrong', 'Your place is not lost by that. Please try again.'],
    },
    seconds: 'under a minute', minute: 'about a minute', minutes: '{low}–{high} min', minutesOne: 'about {high} min',
    hours: '{low}–{high} h', hoursOne: 'about {high} h',
    code: 'Code {code}', trace: 'trace {id}',
  },
  ko: {
    room: '대기실',
    joining: '대기 순서를 확인하고 있습니다…',
    joiningBusy: '접속자가 많습니다. 자동으로 다시 시도하니 새로고침하지 마세요.',
    joiningOffline: '연결이 끊겼습니다. 다시 연결되면 자동으로 이어집니다.',
    yourPlace: '나의 대기 순서',
    aheadNone: '바로 다음 차례입니다.',
    aheadOne: '앞에 1명이 있습니다.',
    ahead: '앞에 {n}명이 있습니다.',
    progress: '앞에 있던 {of}명 중 {n}명이 입장했습니다.',
    progressNone: '앞에 아무도 없습니다.',
    paused: '입장이 잠시 멈췄습니다. 대기 순서는 그대로 유지됩니다.',
    eta: '예상 대기 시간',
    etaNone: '계산 중',
    etaPaused: '일시 중지',
    inLine: '전체 대기 인원',
    kept: '연결이 끊겨도 유지되는 시각',
    keepOpen: '이 페이지를 열어 두세요. 차례가 되면 자동으로 이동합니다. 새로고침해도 순서는 유지됩니다.',
    live: '실시간',
    polling: '몇 초마다 갱신',
    connecting: '연결 중…',
    offline: '연결 끊김: 순서는 유지됩니다',
    leave: '대기 취소',
    leaveSure: '대기를 취소할까요? 순서는 다음 사람에게 넘어갑니다.',
    notOpen: '아직 열리지 않았습니다',
    opensAt: '{at}에 시작합니다.',
    opensSoon: '곧 시작합니다.',
    scheduledNote: '시작되면 이 페이지가 자동으로 이어집니다.',
    yourTurn: '차례가 되었습니다',
    until: '{at}까지 선택해 주세요.',
    going: '{n}초 뒤에 이동합니다…',
    goingNow: '이동합니다…',
    goNow: '지금 이동하기',
    giveUp: '입장하지 않겠습니다',
    joinAgain: '다시 줄 서기',
    elsewhere: '다른 탭에서 열려 있습니다',
    elsewhereText: '다른 탭이나 창에서 같은 순서로 대기하고 있습니다. 순서는 그대로입니다.',
    useHere: '이 탭에서 계속하기',
    tryAgain: '다시 시도',
    titleWaiting: '대기 {n}번 · {event}',
    titleTurn: '입장하세요! · {event}',
    saidPosition: '현재 대기 순서는 {n}번입니다. 예상 대기 시간: {eta}.',
    reset: '대기열이 다시 시작되었습니다. 자동으로 다시 줄을 섭니다…',
    ended: {
      LEFT: ['대기를 취소했습니다', '순서는 다음 사람에게 넘어갔습니다.'],
      ABANDONED: ['대기 순서가 취소되었습니다', '이 페이지의 응답이 너무 오래 없었습니다.'],
      EXPIRED: ['시간이 끝났습니다', '선택 시간이 지나 다음 사람이 입장했습니다.'],
      RELEASED: ['완료되었습니다', '이용이 끝났습니다. 기다려 주셔서 감사합니다.'],
      REVOKED: ['순서가 회수되었습니다', '주최 측에서 대기 또는 입장을 종료했습니다.'],
      CLEARED: ['대기열이 비워졌습니다', '주최 측에서 모든 대기를 종료했습니다.'],
      CLOSED: ['대기열이 닫혔습니다', '더 이상 입장할 수 없습니다.'],
      SOLD_OUT: ['매진되었습니다', '남은 표가 없습니다. 죄송합니다.'],
      QUEUE_RESET: ['대기열이 다시 시작되었습니다', '모든 순서가 초기화되었습니다. 바로 다시 줄을 설 수 있습니다.'],
      GONE: ['순서를 찾을 수 없습니다', '이미 종료된 순서입니다.'],
    },
    errors: {
      EVENT_NOT_FOUND: ['없는 이벤트입니다', '주소를 확인하거나 이전 페이지로 돌아가 주세요.'],
      QUEUE_CLOSED: ['대기열이 닫혔습니다', '지금은 새로 줄을 설 수 없습니다.'],
      USER_TOKEN_REQUIRED: ['먼저 로그인해 주세요', '로그인한 사람만 줄을 설 수 있습니다. 로그인한 뒤 다시 와 주세요.'],
      ORIGIN_NOT_ALLOWED: ['허용되지 않은 주소입니다', '주최 측이 안내한 주소로 열어 주세요.'],
      OTHER: ['문제가 생겼습니다', '순서는 그대로입니다. 다시 시도해 주세요.'],
    },
    seconds: '1분 미만', minute: '약 1분', minutes: '{low}~{high}분', minutesOne: '약 {high}분',
    hours: '{low}~{high}시간', hoursOne: '약 {high}시간',
    code: '코드 {code}', trace: '추적 {id}',
  },
};

const STORED = 'usher.lang';
const listeners = [];
/** The language that is shown: what the person chose, else what the browser asks for. */
export let lang = chosen() ?? preferred();

function chosen() {
  const asked = new URLSearchParams(location.search).get('lang');
  if (asked in TEXTS) return asked;
  try {
    const kept = localStorage.getItem(STORED);
    return kept in TEXTS ? kept : null;
  } catch {
    return null;
  }
}

function preferred() {
  const wanted = [...(navigator.languages ?? []), document.documentElement.lang];
  return wanted.map((tag) => tag.slice(0, 2).toLowerCase()).find((tag) => tag in TEXTS) ?? 'en';
}

/** The language if the person chose it, to hand it on to the next page; else null. */
export const explicitLang = () => chosen();

/** A text, with `{name}` filled in. */
export function t(key, values = {}) {
  const text = TEXTS[lang][key] ?? TEXTS.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
}

/** Title and text of a kind (`ended`, `errors`), with a fallback for names that are new to us. */
export const pair = (kind, name, fallback) => TEXTS[lang][kind][name] ?? TEXTS[lang][kind][fallback];

/** The language as this person's country writes it, if the browser says. */
const locale = () => (navigator.languages ?? []).find((tag) => tag.toLowerCase().startsWith(lang)) ?? lang;

export const number = (n) => new Intl.NumberFormat(locale()).format(n);
export const clock = (at) => new Intl.DateTimeFormat(locale(), { hour: 'numeric', minute: '2-digit' }).format(at);
export const dateTime = (at) => new Intl.DateTimeFormat(locale(), { dateStyle: 'full', timeStyle: 'short' }).format(at);

/** A wait as a range that a person would say. */
export function range(eta) {
  const { lowSeconds, highSeconds } = eta;
  if (highSeconds < 60) return t('seconds');
  const [unit, name] = highSeconds < 5400 ? [60, 'minute'] : [3600, 'hour'];
  const low = Math.max(1, Math.floor(lowSeconds / unit));
  const high = Math.max(1, Math.ceil(highSeconds / unit));
  if (low >= high) return high === 1 && name === 'minute' ? t('minute') : t(`${name}sOne`, { high: number(high) });
  return t(`${name}s`, { low: number(low), high: number(high) });
}

/** Writes the texts that never change, and makes the switch work; `changed` is called after a switch. */
export function startLanguages(changed) {
  listeners.push(changed);
  for (const button of document.querySelectorAll('[data-lang]')) {
    button.addEventListener('click', () => {
      lang = button.dataset.lang;
      try {
        localStorage.setItem(STORED, lang);
      } catch {
        // Without storage the choice lasts as long as the page.
      }
      apply();
      for (const listener of listeners) listener();
    });
  }
  apply();
}

function apply() {
  document.documentElement.lang = lang;
  for (const node of document.querySelectorAll('[data-t]')) node.textContent = t(node.dataset.t);
  for (const button of document.querySelectorAll('[data-lang]')) {
    button.setAttribute('aria-pressed', String(button.dataset.lang === lang));
  }
}
