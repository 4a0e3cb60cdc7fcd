// Texts of the seat page in English and Korean, and how numbers, money and times are written.

const TEXTS = {
  en: {
    tickets: 'Tickets',
    loading: 'Loading the seats…',
    chooseSeats: 'Choose your seats',
    chooseTickets: 'Choose tickets',
    keys: 'Arrow keys move between seats, Space or Enter chooses, Page Up and Page Down change the section.',
    stage: 'STAGE',
    section: 'Section {name}',
    row: 'Row {row}',
    freeCount: '{n} free',
    seatName: '{section} · row {row} · seat {number}',
    seatLabel: 'Section {section}, row {row}, seat {number}, {type}, {price}, {state}',
    stateFREE: 'free', stateHELD: 'on hold', stateSOLD: 'sold', chosenState: 'chosen',
    legendYours: 'Your choice', legendHeld: 'On hold', legendSold: 'Sold',
    zoom: 'Size of the map', smaller: 'Smaller', larger: 'Larger',
    readout: 'Point at a seat to see what it is.',
    yourChoice: 'Your choice',
    none: 'Nothing chosen yet. Up to {n}.',
    more: 'Up to {n} more.',
    full: 'That is the most one person can have ({n}).',
    total: 'Total',
    hold: 'Hold these seats',
    holdTickets: 'Hold these tickets',
    giveUp: 'Give up my turn',
    giveUpSure: 'Give up your turn? The next person comes in, and what you hold is let go.',
    gaveUp: 'You have given up your turn. Thank you for letting the next person in.',
    drop: 'Remove {name}',
    fewer: 'One less: {name}', another: 'One more: {name}',
    left: '{n} left', soldOut: 'Sold out',
    tickets_n: '{n} × {name}',
    heldTitle: 'Held for you',
    heldUntil: 'Until {at} nobody else can take them. Confirm to book.',
    confirm: 'Confirm booking',
    extend: 'More time',
    extended: 'You have until {at} now.',
    cancel: 'Let the seats go',
    cancelled: 'The seats are free again. You can choose others.',
    confirmedTitle: 'Booked. Enjoy it!',
    confirmedText: 'Your booking is confirmed.',
    reservation: 'Reservation',
    booked: 'You have a booking here already: {what}.',
    sessionUntil: 'Your turn lasts until {at}.',
    saidLeft: '{n} left to confirm.',
    saidChosen: '{name} chosen. {n} chosen, {total} in all.',
    saidDropped: '{name} removed. {n} chosen.',
    title: '{name} · tickets',
    titleHeld: '{left} · {name}',
    lost: 'Just taken by somebody else: {names}. The others are still chosen.',
    lostAll: 'Just taken by somebody else: {names}. Please choose again.',
    toQueue: 'Go to the waiting room',
    code: 'Code {code}', trace: 'trace {id}',
    errors: {
      ACTIVE_TOKEN_REQUIRED: 'You can look around. To take seats, wait for your turn first.',
      ACTIVE_TOKEN_INVALID: 'Your turn could not be checked. Please go through the waiting room again.',
      SESSION_ENDED: 'Your turn is over. To take more seats, join the line again.',
      WRONG_EVENT: 'Your turn is for another event.',
      HOLD_EXPIRED: 'The hold has run out and the seats are free again. Please choose anew.',
      EXTENSION_LIMIT: 'The time cannot be extended any further.',
      LIMIT_EXCEEDED: 'That would be more than one person may have.',
      SOLD_OUT: 'There are not enough tickets left.',
      SEAT_NOT_FOUND: 'The hall has changed. Please choose again.',
      RESERVATION_NOT_FOUND: 'This reservation is not known any more.',
      RESERVATION_NOT_HELD: 'This reservation is no longer on hold.',
      PAYMENT_REQUIRED: 'This event has to be paid for, and payment is not available yet. Your seats stay held until the time runs out.',
      EVENT_NOT_FOUND: 'There is no such event.',
      NETWORK: 'No connection. Please check it and try again.',
      BUSY: 'We are very busy. Please try again in {n} s.',
      OTHER: 'Something went wrong. Please try again.',
    },
  },
  ko: {
    tickets: '예매',
    loading: '좌석을 불러오는 중입니다…',
    chooseSeats: '좌석 선택',
    chooseTickets: '티켓 선택',
    keys: '화살표 키로 좌석을 이동하고, 스페이스나 엔터로 선택합니다. Page Up, Page Down으로 구역을 바꿉니다.',
    stage: '무대',
    section: '{name} 구역',
    row: '{row}열',
    freeCount: '{n}석 남음',
    seatName: '{section} 구역 {row}열 {number}번',
    seatLabel: '{section} 구역 {row}열 {number}번, {type}, {price}, {state}',
    stateFREE: '선택 가능', stateHELD: '다른 사람이 선택 중', stateSOLD: '판매 완료', chosenState: '선택함',
    legendYours: '내 선택', legendHeld: '선점됨', legendSold: '판매 완료',
    zoom: '좌석도 크기', smaller: '작게', larger: '크게',
    readout: '좌석 위에 올려 자세히 볼 수 있습니다.',
    yourChoice: '선택한 좌석',
    none: '아직 선택하지 않았습니다. 최대 {n}매.',
    more: '{n}매 더 선택할 수 있습니다.',
    full: '1인당 최대 {n}매까지입니다.',
    total: '합계',
    hold: '좌석 선점하기',
    holdTickets: '티켓 선점하기',
    giveUp: '차례 포기하기',
    giveUpSure: '차례를 포기할까요? 다음 사람이 입장하고, 선점한 좌석은 풀립니다.',
    gaveUp: '차례를 포기했습니다. 다음 사람에게 양보해 주셔서 감사합니다.',
    drop: '{name} 빼기',
    fewer: '{name} 1매 줄이기', another: '{name} 1매 늘리기',
    left: '{n}매 남음', soldOut: '매진',
    tickets_n: '{name} {n}매',
    heldTitle: '선점되었습니다',
    heldUntil: '{at}까지 다른 사람이 가져갈 수 없습니다. 예매를 확정해 주세요.',
    confirm: '예매 확정',
    extend: '시간 연장',
    extended: '{at}까지 연장되었습니다.',
    cancel: '좌석 놓아주기',
    cancelled: '좌석을 놓아주었습니다. 다시 선택할 수 있습니다.',
    confirmedTitle: '예매가 완료되었습니다',
    confirmedText: '즐거운 관람 되세요.',
    reservation: '예매 번호',
    booked: '이미 예매한 내역이 있습니다: {what}.',
    sessionUntil: '{at}까지 선택할 수 있습니다.',
    saidLeft: '확정까지 {n} 남았습니다.',
    saidChosen: '{name} 선택. 모두 {n}매, {total}.',
    saidDropped: '{name} 선택 해제. {n}매 선택됨.',
    title: '{name} · 예매',
    titleHeld: '{left} · {name}',
    lost: '방금 다른 사람이 가져갔습니다: {names}. 나머지 선택은 그대로입니다.',
    lostAll: '방금 다른 사람이 가져갔습니다: {names}. 다시 선택해 주세요.',
    toQueue: '대기실로 가기',
    code: '코드 {code}', trace: '추적 {id}',
    errors: {
      ACTIVE_TOKEN_REQUIRED: '둘러볼 수 있습니다. 좌석을 선점하려면 먼저 차례를 기다려 주세요.',
      ACTIVE_TOKEN_INVALID: '입장 정보를 확인할 수 없습니다. 대기실을 다시 거쳐 주세요.',
      SESSION_ENDED: '차례가 끝났습니다. 더 예매하려면 다시 줄을 서 주세요.',
      WRONG_EVENT: '다른 이벤트의 차례입니다.',
      HOLD_EXPIRED: '선점 시간이 지나 좌석이 풀렸습니다. 다시 선택해 주세요.',
      EXTENSION_LIMIT: '더 이상 연장할 수 없습니다.',
      LIMIT_EXCEEDED: '1인당 매수 제한을 넘습니다.',
      SOLD_OUT: '남은 티켓이 부족합니다.',
      SEAT_NOT_FOUND: '좌석 구성이 바뀌었습니다. 다시 선택해 주세요.',
      RESERVATION_NOT_FOUND: '예매 내역을 찾을 수 없습니다.',
      RESERVATION_NOT_HELD: '더 이상 선점 상태가 아닙니다.',
      PAYMENT_REQUIRED: '결제가 필요한 이벤트이지만 아직 결제할 수 없습니다. 시간이 끝날 때까지 좌석은 유지됩니다.',
      EVENT_NOT_FOUND: '없는 이벤트입니다.',
      NETWORK: '연결이 끊겼습니다. 확인한 뒤 다시 시도해 주세요.',
      BUSY: '접속자가 많습니다. {n}초 뒤에 다시 시도해 주세요.',
      OTHER: '문제가 생겼습니다. 다시 시도해 주세요.',
    },
  },
};

const STORED = 'usher.lang';
/** The language that is shown: what the person chose, else what the browser asks for. */
export let lang = chosen() ?? preferred();

function chosen() {
  try {
    const asked = new URLSearchParams(location.search).get('lang');
    const kept = asked in TEXTS ? asked : localStorage.getItem(STORED);
    return kept in TEXTS ? kept : null;
  } catch {
    return null;
  }
}

function preferred() {
  const wanted = [...(navigator.languages ?? []), document.documentElement.lang];
  return wanted.map((tag) => tag.slice(0, 2).toLowerCase()).find((tag) => tag in TEXTS) ?? 'en';
}

/** A text, with `{name}` filled in. */
export function t(key, values = {}) {
  return fill(TEXTS[lang][key] ?? TEXTS.en[key] ?? key, values);
}

/** The sentence for an error code. */
export const sentence = (code, values = {}) => fill(TEXTS[lang].errors[code] ?? TEXTS[lang].errors.OTHER, values);

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');

/** The language as this person's country writes it, if the browser says. */
const locale = () => (navigator.languages ?? []).find((tag) => tag.toLowerCase().startsWith(lang)) ?? lang;

export const number = (n) => new Intl.NumberFormat(locale()).format(n);
export const clock = (at) => new Intl.DateTimeFormat(locale(), { hour: 'numeric', minute: '2-digit' }).format(at);
export const dateTime = (at) => new Intl.DateTimeFormat(locale(), { dateStyle: 'full', timeStyle: 'short' }).format(at);

/** An amount in minor units, in the digits that its currency has. */
export function money(minor, currency) {
  try {
    const format = new Intl.NumberFormat(locale(), { style: 'currency', currency });
    return format.format(minor / 10 ** format.resolvedOptions().maximumFractionDigits);
  } catch {
    return `${number(minor / 100)} ${currency}`;
  }
}

/** Writes the texts that never change, and makes the switch work; `changed` is called after a switch. */
export function startLanguages(changed) {
  for (const button of document.querySelectorAll('[data-lang]')) {
    button.addEventListener('click', () => {
      lang = button.dataset.lang;
      try {
        localStorage.setItem(STORED, lang);
      } catch {
        // Without storage the choice lasts as long as the page.
      }
      apply();
      changed();
    });
  }
  apply();
}

function apply() {
  document.documentElement.lang = lang;
  for (const node of document.querySelectorAll('[data-t]')) node.textContent = t(node.dataset.t);
  for (const node of document.querySelectorAll('[data-label]')) node.setAttribute('aria-label', t(node.dataset.label));
  for (const button of document.querySelectorAll('[data-lang]')) {
    button.setAttribute('aria-pressed', String(button.dataset.lang === lang));
  }
}
