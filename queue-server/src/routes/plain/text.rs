//! The texts of the page without scripts, in English and Korean, and how numbers and times are written. The same
//! words as in `web/i18n.js` wherever the two pages say the same.

use queue_core::wire::{EndReason, Eta};

/// What the page says in one language.
pub struct Texts {
    pub room: &'static str,
    pub your_place: &'static str,
    pub ahead_none: &'static str,
    pub ahead_one: &'static str,
    /// With `{n}`, as all below that depend on a number.
    pub ahead: &'static str,
    pub paused: &'static str,
    pub eta: &'static str,
    pub eta_none: &'static str,
    pub eta_paused: &'static str,
    pub in_line: &'static str,
    pub kept: &'static str,
    pub keep_open: &'static str,
    pub refreshes: &'static str,
    pub look_now: &'static str,
    pub leave: &'static str,
    pub not_open: &'static str,
    pub opens: &'static str,
    pub opens_soon: &'static str,
    pub scheduled_note: &'static str,
    pub your_turn: &'static str,
    pub until: &'static str,
    pub going: &'static str,
    pub go_now: &'static str,
    pub give_up: &'static str,
    pub join_again: &'static str,
    pub try_again: &'static str,
    pub joining: &'static str,
    pub cookies: [&'static str; 2],
    pub code: &'static str,
    units: [[&'static str; 2]; 4],
    about: &'static str,
    between: &'static str,
    under_a_minute: &'static str,
}

static EN: Texts = Texts {
    room: "Waiting room",
    your_place: "Your place in line",
    ahead_none: "You are next.",
    ahead_one: "One person is before you.",
    ahead: "{n} people are before you.",
    paused: "The line is paused at the moment. You keep your place.",
    eta: "Estimated wait",
    eta_none: "not known yet",
    eta_paused: "paused",
    in_line: "People in line",
    kept: "If you go offline, kept for",
    keep_open: "Keep this page open; it goes on by itself when it is your turn. Reloading does not cost you your place.",
    refreshes: "Updated every {n} s",
    look_now: "Update now",
    leave: "Leave the line",
    not_open: "Not open yet",
    opens: "The line opens in {n}.",
    opens_soon: "The line opens any moment.",
    scheduled_note: "This page continues by itself when the line opens.",
    your_turn: "It is your turn",
    until: "You have {n} to make your choice.",
    going: "Going on in {n} s …",
    go_now: "Go on now",
    give_up: "I no longer want it",
    join_again: "Join the line again",
    try_again: "Try again",
    joining: "Finding your place…",
    cookies: [
        "Cookies are needed here",
        "Without JavaScript your place is kept in a cookie, and none has come back. Allow cookies for this site and try again; until then you are not in line.",
    ],
    code: "Code {code} · trace {trace}",
    units: [["second", "seconds"], ["minute", "minutes"], ["hour", "hours"], ["day", "days"]],
    about: "about {n}",
    between: "{low}–{high}",
    under_a_minute: "under a minute",
};

static KO: Texts = Texts {
    room: "대기실",
    your_place: "나의 대기 순서",
    ahead_none: "바로 다음 차례입니다.",
    ahead_one: "앞에 1명이 있습니다.",
    ahead: "앞에 {n}명이 있습니다.",
    paused: "입장이 잠시 멈췄습니다. 대기 순서는 그대로 유지됩니다.",
    eta: "예상 대기 시간",
    eta_none: "계산 중",
    eta_paused: "일시 중지",
    in_line: "전체 대기 인원",
    kept: "연결이 끊겨도 유지되는 시간",
    keep_open: "이 페이지를 열어 두세요. 차례가 되면 자동으로 이동합니다. 새로고침해도 순서는 유지됩니다.",
    refreshes: "{n}초마다 갱신",
    look_now: "지금 갱신",
    leave: "대기 취소",
    not_open: "아직 열리지 않았습니다",
    opens: "{n} 뒤에 시작합니다.",
    opens_soon: "곧 시작합니다.",
    scheduled_note: "시작되면 이 페이지가 자동으로 이어집니다.",
    your_turn: "차례가 되었습니다",
    until: "{n} 안에 선택해 주세요.",
    going: "{n}초 뒤에 이동합니다…",
    go_now: "지금 이동하기",
    give_up: "입장하지 않겠습니다",
    join_again: "다시 줄 서기",
    try_again: "다시 시도",
    joining: "대기 순서를 확인하고 있습니다…",
    cookies: [
        "쿠키가 필요합니다",
        "자바스크립트가 없으면 대기 순서를 쿠키로 유지하는데, 쿠키가 돌아오지 않았습니다. 이 사이트의 쿠키를 허용한 뒤 다시 시도해 주세요. 그 전에는 대기열에 들어가지 않습니다.",
    ],
    code: "코드 {code} · 추적 {trace}",
    units: [["초", "초"], ["분", "분"], ["시간", "시간"], ["일", "일"]],
    about: "약 {n}",
    between: "{low}~{high}",
    under_a_minute: "1분 미만",
};

impl Texts {
    /// Of `en` or `ko`.
    pub fn of(lang: &str) -> &'static Self {
        if lang == "ko" { &KO } else { &EN }
    }

    fn is_korean(&self) -> bool {
        std::ptr::eq(self, &KO)
    }

    /// A wait as a range that a person would say.
    pub fn range(&self, eta: Eta) -> String {
        let Eta { low_seconds, high_seconds } = eta;
        if high_seconds < 60 {
            return self.under_a_minute.to_owned();
        }
        let (secs, unit) = if high_seconds < 5_400 { (60, 1) } else { (3_600, 2) };
        let (low, high) = ((low_seconds / secs).max(1), high_seconds.div_ceil(secs).max(1));
        if low >= high {
            return self.about.replace("{n}", &self.count(high, unit));
        }
        self.between.replace("{low}", &number(low)).replace("{high}", &self.count(high, unit))
    }

    /// A length of time in its largest unit that fits twice, so that little is lost by rounding.
    pub fn duration(&self, ms: u64) -> String {
        let secs = ms / 1000;
        let (each, unit) = match secs {
            0..120 => (1, 0),
            120..7_200 => (60, 1),
            7_200..172_800 => (3_600, 2),
            _ => (86_400, 3),
        };
        self.count(secs / each, unit)
    }

    fn count(&self, n: u64, unit: usize) -> String {
        let space = if self.is_korean() { "" } else { " " };
        format!("{}{space}{}", number(n), self.units[unit][usize::from(n != 1)])
    }

    /// Title and text of an end.
    pub fn ended(&self, reason: EndReason) -> [&'static str; 2] {
        if self.is_korean() { ended_ko(reason) } else { ended_en(reason) }
    }

    /// Title and text of an error.
    pub fn error(&self, code: &str) -> [&'static str; 2] {
        if self.is_korean() { error_ko(code) } else { error_en(code) }
    }
}

const fn ended_en(reason: EndReason) -> [&'static str; 2] {
    match reason {
        EndReason::Left => ["You have left the line", "Your place went to the next person."],
        EndReason::Abandoned => ["Your place was given up", "We had not heard from this page for too long."],
        EndReason::Expired => ["Your time is over", "The time for your choice has run out, and the next person is in."],
        EndReason::Released => ["You are done", "Your turn has ended. Thank you for waiting."],
        EndReason::Revoked => ["Your place was taken back", "The organiser ended your place or session."],
        EndReason::Cleared => ["The line was cleared", "The organiser sent everybody who was waiting away."],
        EndReason::Closed => ["The line is closed", "It takes nobody in any more."],
        EndReason::SoldOut => ["Sold out", "There is nothing left to wait for. We are sorry."],
        EndReason::QueueReset => ["The line was restarted", "All places were lost; you can join again at once."],
        EndReason::Gone => ["Your place is no longer known", "It ended some time ago."],
    }
}

const fn ended_ko(reason: EndReason) -> [&'static str; 2] {
    match reason {
        EndReason::Left => ["대기를 취소했습니다", "순서는 다음 사람에게 넘어갔습니다."],
        EndReason::Abandoned => ["대기 순서가 취소되었습니다", "이 페이지의 응답이 너무 오래 없었습니다."],
        EndReason::Expired => ["시간이 끝났습니다", "선택 시간이 지나 다음 사람이 입장했습니다."],
        EndReason::Released => ["완료되었습니다", "이용이 끝났습니다. 기다려 주셔서 감사합니다."],
        EndReason::Revoked => ["순서가 회수되었습니다", "주최 측에서 대기 또는 입장을 종료했습니다."],
        EndReason::Cleared => ["대기열이 비워졌습니다", "주최 측에서 모든 대기를 종료했습니다."],
        EndReason::Closed => ["대기열이 닫혔습니다", "더 이상 입장할 수 없습니다."],
        EndReason::SoldOut => ["매진되었습니다", "남은 표가 없습니다. 죄송합니다."],
        EndReason::QueueReset => {
            ["대기열이 다시 시작되었습니다", "모든 순서가 초기화되었습니다. 바로 다시 줄을 설 수 있습니다."]
        }
        EndReason::Gone => ["순서를 찾을 수 없습니다", "이미 종료된 순서입니다."],
    }
}

fn error_en(code: &str) -> [&'static str; 2] {
    match code {
        "EVENT_NOT_FOUND" => ["There is no such event", "Check the address, or go back to where you came from."],
        "QUEUE_CLOSED" => ["The line is closed", "It takes nobody new at the moment."],
        "USER_TOKEN_REQUIRED" => [
            "Please log in first",
            "This line is for people who are logged in. Log in where you came from, then come back.",
        ],
        "ORIGIN_NOT_ALLOWED" => ["This address is not allowed", "Open the page under the address the organiser gave."],
        "OVERLOADED" | "RATE_LIMITED" => {
            ["A lot of people are arriving", "Trying again by itself; please do not reload."]
        }
        _ => ["Something went wrong", "Your place is not lost by that. Please try again."],
    }
}

fn error_ko(code: &str) -> [&'static str; 2] {
    match code {
        "EVENT_NOT_FOUND" => ["없는 이벤트입니다", "주소를 확인하거나 이전 페이지로 돌아가 주세요."],
        "QUEUE_CLOSED" => ["대기열이 닫혔습니다", "지금은 새로 줄을 설 수 없습니다."],
        "USER_TOKEN_REQUIRED" => {
            ["먼저 로그인해 주세요", "로그인한 사람만 줄을 설 수 있습니다. 로그인한 뒤 다시 와 주세요."]
        }
        "ORIGIN_NOT_ALLOWED" => ["허용되지 않은 주소입니다", "주최 측이 안내한 주소로 열어 주세요."],
        "OVERLOADED" | "RATE_LIMITED" => ["접속자가 많습니다", "자동으로 다시 시도하니 새로고침하지 마세요."],
        _ => ["문제가 생겼습니다", "순서는 그대로입니다. 다시 시도해 주세요."],
    }
}

/// A number with its thousands set apart, as both languages do it.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_set_apart() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(n), text);
        }
    }

    #[test]
    fn waits_are_said_as_a_person_would() {
        let eta = |low_seconds, high_seconds| Eta { low_seconds, high_seconds };
        assert_eq!(EN.range(eta(0, 59)), "under a minute");
        assert_eq!(EN.range(eta(50, 60)), "about 1 minute");
        assert_eq!(EN.range(eta(130, 400)), "2–7 minutes");
        assert_eq!(KO.range(eta(130, 400)), "2~7분");
        assert_eq!(KO.range(eta(7_200, 7_200)), "약 2시간");
        assert_eq!(EN.duration(1_000), "1 second");
        assert_eq!(EN.duration(119_000), "119 seconds");
        assert_eq!(EN.duration(600_000), "10 minutes");
        assert_eq!(KO.duration(3 * 86_400_000), "3일");
    }
}
