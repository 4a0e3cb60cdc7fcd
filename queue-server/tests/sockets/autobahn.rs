//! The cases of the Autobahn WebSocket suite (its `fuzzingclient` against a server), under their numbers, as far as
//! they say something about a server that does not echo: a text is answered with one `error` message, a binary
//! message closes with 1003, and whatever is not failed ends with a clean close.
//!
//! Left out: 6.4.3 and 6.4.4 (fail within a frame that has not come whole: the suite calls failing behind it
//! "non-strict"), 9.1 to 9.6 above this server's bound of 4 KiB (each is 9.x.1 here: 1009), 9.7 and 9.8 (a thousand
//! messages: more than a peer may send), 12 and 13 (compression, which is not offered).

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    raw,
    server::{PATIENCE, Server},
};

const CONTINUE: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What comes back.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    /// A message was taken, and refused for what it says.
    Answer,
    Pong(Vec<u8>),
    /// The end, with its code. Not said in a case: it is still open, and closes cleanly when asked to.
    Close(Option<u16>),
}

use Seen::{Answer, Close, Pong};

/// How bytes are put on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Chop {
    Whole,
    Frames,
    Octets,
}

struct Case {
    id: String,
    chop: Chop,
    frames: Vec<Vec<u8>>,
    seen: Vec<Seen>,
}

/// A masked frame; `rsv` are the three reserved bits as a number.
fn frame(fin: bool, rsv: u8, opcode: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![u8::from(fin) << 7 | rsv << 4 | opcode];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        medium @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn whole(opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(true, 0, opcode, payload.as_ref())
}

fn part(opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(false, 0, opcode, payload.as_ref())
}

/// A message in fragments.
fn fragments<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Vec<Vec<u8>> {
    let parts: Vec<_> = parts.into_iter().collect();
    let last = parts.len() - 1;
    let one = |(n, payload): (usize, &&[u8])| frame(n == last, 0, if n == 0 { TEXT } else { CONTINUE }, payload);
    parts.iter().enumerate().map(one).collect()
}

fn close(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    whole(CLOSE, [&code.to_be_bytes(), reason.as_ref()].concat())
}

#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, id: impl Into<String>, frames: Vec<Vec<u8>>, seen: Vec<Seen>) {
        self.chopped(id, Chop::Whole, frames, seen);
    }

    fn chopped(&mut self, id: impl Into<String>, chop: Chop, frames: Vec<Vec<u8>>, seen: Vec<Seen>) {
        self.0.push(Case { id: id.into(), chop, frames, seen });
    }

    /// The same in one piece, frame by frame and octet by octet, as the suite numbers them.
    fn three(&mut self, ids: [&str; 3], frames: Vec<Vec<u8>>, seen: Vec<Seen>) {
        for (id, chop) in ids.into_iter().zip([Chop::Whole, Chop::Frames, Chop::Octets]) {
            self.chopped(id, chop, frames.clone(), seen.clone());
        }
    }

    /// 1: framing. The bound of messages is 4,096 bytes here, so the suite's larger ones are too large.
    fn framing(&mut self) {
        for (n, length) in [0, 125, 126, 127, 128, 65_535, 65_536, 65_536].into_iter().enumerate() {
            let seen = if length > 4_096 { Close(Some(1009)) } else { Answer };
            self.add(format!("1.1.{}", n + 1), vec![whole(TEXT, vec![b'*'; length])], vec![seen]);
            let seen = if length > 4_096 { 1009 } else { 1003 };
            self.add(format!("1.2.{}", n + 1), vec![whole(BINARY, vec![0xfe; length])], vec![Close(Some(seen))]);
        }
        self.add("1.1 at our bound", vec![whole(TEXT, vec![b'*'; 4_096])], vec![Answer]);
        self.add("1.1 above our bound", vec![whole(TEXT, vec![b'*'; 4_097])], vec![Close(Some(1009))]);
    }

    /// 2: pings and pongs.
    fn pings(&mut self) {
        let ping = |payload: &[u8]| whole(PING, payload);
        self.add("2.1", vec![ping(b"")], vec![Pong(vec![])]);
        for (id, payload) in [
            ("2.2", b"Hello, world!".to_vec()),
            ("2.3", vec![0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff]),
            ("2.4", vec![0xfe; 125]),
        ] {
            self.add(id, vec![ping(&payload)], vec![Pong(payload)]);
        }
        self.add("2.5", vec![ping(&[0xfe; 126])], vec![Close(Some(1002))]);
        self.chopped("2.6", Chop::Octets, vec![ping(&[0xfe; 125])], vec![Pong(vec![0xfe; 125])]);
        self.add("2.7", vec![whole(PONG, "")], vec![]);
        self.add("2.8", vec![whole(PONG, "unsolicited pong payload")], vec![]);
        let frames = vec![whole(PONG, "unsolicited pong payload"), ping(b"ping payload")];
        self.add("2.9", frames, vec![Pong(b"ping payload".to_vec())]);
        let payloads: Vec<_> = (0..10).map(|n| format!("payload-{n}").into_bytes()).collect();
        let frames: Vec<_> = payloads.iter().map(|payload| ping(payload)).collect();
        let seen: Vec<_> = payloads.into_iter().map(Pong).collect();
        self.add("2.10", frames.clone(), seen.clone());
        self.chopped("2.11", Chop::Octets, frames, seen);
    }

    /// 3: reserved bits; 4: reserved opcodes.
    fn reserved(&mut self) {
        let failed = vec![Close(Some(1002))];
        let behind = vec![Answer, Close(Some(1002))];
        self.add("3.1", vec![frame(true, 1, TEXT, b"Hello")], failed.clone());
        let frames = vec![whole(TEXT, "Hello"), frame(true, 2, TEXT, b"Hello"), whole(PING, "")];
        self.three(["3.2", "3.3", "3.4"], frames, behind.clone());
        self.add("3.5", vec![frame(true, 5, BINARY, &[0xff; 8])], failed.clone());
        self.add("3.6", vec![frame(true, 6, PING, b"")], failed.clone());
        self.add("3.7", vec![frame(true, 7, CLOSE, b"")], failed.clone());
        for (kind, first) in [(1, 3), (2, 11)] {
            self.add(format!("4.{kind}.1"), vec![whole(first, "")], failed.clone());
            self.add(format!("4.{kind}.2"), vec![whole(first + 1, "reserved opcode payload")], failed.clone());
            for (n, chop) in [(3, Chop::Whole), (4, Chop::Whole), (5, Chop::Octets)] {
                let payload = if n == 3 { "" } else { "reserved opcode payload" };
                let frames = vec![whole(TEXT, "Hello"), whole(first + n - 1, payload), whole(PING, "")];
                self.chopped(format!("4.{kind}.{n}"), chop, frames, behind.clone());
            }
        }
    }

    /// 5: fragmentation.
    fn fragmentation(&mut self) {
        let failed = vec![Close(Some(1002))];
        self.add("5.1", vec![part(PING, "fragment1"), whole(CONTINUE, "fragment2")], failed.clone());
        self.add("5.2", vec![part(PONG, "fragment1"), whole(CONTINUE, "fragment2")], failed.clone());
        let two = || fragments([&b"fragment1"[..], b"fragment2"]);
        self.three(["5.3", "5.4", "5.5"], two(), vec![Answer]);
        let mut frames = two();
        frames.insert(1, whole(PING, "ping payload"));
        self.three(["5.6", "5.7", "5.8"], frames, vec![Pong(b"ping payload".to_vec()), Answer]);
        let frames = |fin| vec![frame(fin, 0, CONTINUE, b"non-continuation payload"), whole(TEXT, "Hello, world!")];
        self.three(["5.9", "5.10", "5.11"], frames(true), failed.clone());
        self.three(["5.12", "5.13", "5.14"], frames(false), failed.clone());
        let mut more = two();
        more.extend(frames(false));
        self.add("5.15", more, vec![Answer, Close(Some(1002))]);
        for (id, fin) in [("5.16", false), ("5.17", true)] {
            let once = [vec![frame(fin, 0, CONTINUE, b"fragment1")], two()].concat();
            self.add(id, [once.clone(), once].concat(), failed.clone());
        }
        self.add("5.18", vec![part(TEXT, "fragment1"), whole(TEXT, "fragment2")], failed);
        let frames = vec![
            part(TEXT, "fragment1"),
            part(CONTINUE, "fragment2"),
            whole(PING, "pongme 1!"),
            part(CONTINUE, "fragment3"),
            part(CONTINUE, "fragment4"),
            whole(PING, "pongme 2!"),
            whole(CONTINUE, "fragment5"),
        ];
        let seen = vec![Pong(b"pongme 1!".to_vec()), Pong(b"pongme 2!".to_vec()), Answer];
        self.add("5.19", frames.clone(), seen.clone());
        self.chopped("5.20", Chop::Frames, frames, seen);
    }

    /// 6: UTF-8.
    fn utf8(&mut self) {
        self.add("6.1.1", vec![whole(TEXT, "")], vec![Answer]);
        self.add("6.1.2", fragments([&b""[..], b"", b""]), vec![Answer]);
        self.add("6.1.3", fragments([&b""[..], b"middle frame payload", b""]), vec![Answer]);
        let good = "Hello-µ@ßöäüàá-UTF-8!!".as_bytes();
        self.add("6.2.1", vec![whole(TEXT, good)], vec![Answer]);
        self.add("6.2.2", fragments([&good[..12], &good[12..]]), vec![Answer]);
        // More fragments than messages are allowed: they are one message.
        self.add("6.2.3", fragments(good.chunks(1)), vec![Answer]);
        self.add("6.2.4", fragments("κόσμε".as_bytes().chunks(1)), vec![Answer]);
        let bad = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited";
        self.add("6.3.1", vec![whole(TEXT, bad)], vec![Close(Some(1007))]);
        self.add("6.3.2", fragments(bad.chunks(1)), vec![Close(Some(1007))]);
        // Failed before the last fragment comes, which here never does.
        for (id, wrong) in [("6.4.1", &b"\xf4\x90\x80\x80"[..]), ("6.4.2", b"\xf4\x90")] {
            let frames = vec![part(TEXT, "κόσμε"), part(CONTINUE, wrong)];
            self.add(id, frames, vec![Close(Some(1007))]);
        }
        for (group, texts, valid) in utf8_sequences() {
            for (n, text) in texts.iter().enumerate() {
                let seen = if valid { Answer } else { Close(Some(1007)) };
                self.add(format!("{group} ({})", n + 1), vec![whole(TEXT, text)], vec![seen]);
            }
        }
    }

    /// 7: closing.
    fn closing(&mut self) {
        let normal = || close(1000, "");
        let closed = vec![Close(Some(1000))];
        self.add("7.1.1", vec![whole(TEXT, "Hello World!"), normal()], vec![Answer, Close(Some(1000))]);
        self.add("7.1.2", vec![normal(), normal()], closed.clone());
        self.add("7.1.3", vec![normal(), whole(PING, "")], closed.clone());
        self.add("7.1.4", vec![normal(), whole(TEXT, "Hello World!")], closed.clone());
        self.add("7.1.5", vec![part(TEXT, "fragment1"), normal(), whole(CONTINUE, "fragment2")], closed.clone());
        let large = vec![whole(TEXT, vec![b'B'; 256 * 1024]), normal(), whole(PING, "")];
        self.add("7.1.6", large, vec![Close(Some(1009))]);
        self.add("7.3.1", vec![whole(CLOSE, "")], vec![Close(None)]);
        self.add("7.3.2", vec![whole(CLOSE, "a")], vec![Close(Some(1002))]);
        self.add("7.3.3", vec![normal()], closed.clone());
        self.add("7.3.4", vec![close(1000, "Hello World!")], closed.clone());
        self.add("7.3.5", vec![close(1000, [b'*'; 123])], closed);
        self.add("7.3.6", vec![close(1000, [b'*'; 124])], vec![Close(Some(1002))]);
        self.add("7.5.1", vec![close(1000, b"\xce\xba\xed\xa0\x80edited")], vec![Close(Some(1007))]);
        let good = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
        for (n, code) in good.into_iter().enumerate() {
            self.add(format!("7.7.{}", n + 1), vec![close(code, "")], vec![Close(Some(code))]);
        }
        for (n, code) in [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999].into_iter().enumerate() {
            self.add(format!("7.9.{}", n + 1), vec![close(code, "")], vec![Close(Some(1002))]);
        }
        self.add("7.13.1", vec![close(5000, "")], vec![Close(Some(1002))]);
        self.add("7.13.2", vec![close(65_535, "")], vec![Close(Some(1002))]);
    }

    /// 9 and 10: limits.
    fn limits(&mut self) {
        let text = vec![b'*'; 4_096];
        for kind in ["9.1.1", "9.2.1"] {
            self.add(kind, vec![whole(TEXT, vec![b'*'; 65_536])], vec![Close(Some(1009))]);
        }
        for (n, size) in [64, 256, 1_024, 4_096].into_iter().enumerate() {
            self.add(format!("9.3.{}", n + 1), fragments(text.chunks(size)), vec![Answer]);
            let over = [&text[..], b"*"].concat();
            self.add(format!("9.3.{} and one byte", n + 1), fragments(over.chunks(size)), vec![Close(Some(1009))]);
        }
        self.chopped("9.5.1", Chop::Octets, vec![whole(TEXT, &text[..1_000])], vec![Answer]);
        self.add("10.1.1", vec![whole(TEXT, &text)], vec![Answer]);
    }
}

/// 6.5 to 6.23: texts that are, or are not, UTF-8.
fn utf8_sequences() -> Vec<(&'static str, Vec<Vec<u8>>, bool)> {
    let all = |texts: &[&[u8]]| texts.iter().map(|text| text.to_vec()).collect::<Vec<_>>();
    let of = |codes: &[u32]| {
        let text = |code: &u32| char::from_u32(*code).unwrap().to_string().into_bytes();
        codes.iter().map(text).collect::<Vec<_>>()
    };
    let kosme = "κόσμε".as_bytes();
    let cut = |whole: bool| (1..=kosme.len()).filter(move |n| std::str::from_utf8(&kosme[..*n]).is_ok() == whole);
    let noncharacters: Vec<u32> = (0..17).flat_map(|plane| [plane << 16 | 0xfffe, plane << 16 | 0xffff]).collect();
    vec![
        ("6.5/6.6 whole", cut(true).map(|n| kosme[..n].to_vec()).collect(), true),
        ("6.5/6.6 cut", cut(false).map(|n| kosme[..n].to_vec()).collect(), false),
        ("6.7", of(&[0, 0x80, 0x800, 0x10000]), true),
        ("6.8", all(&[b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"]), false),
        ("6.9", of(&[0x7f, 0x7ff, 0xffff, 0x10ffff]), true),
        ("6.10", all(&[b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"]), false),
        ("6.11", of(&[0xd7ff, 0xe000, 0xfffd, 0x10ffff]), true),
        ("6.11.5", all(&[b"\xf4\x90\x80\x80"]), false),
        ("6.12", all(&[b"\x80", b"\xbf", b"\x80\xbf", b"\x80\xbf\x80", b"\x80\xbf\x80\xbf\x80\xbf"]), false),
        ("6.13", all(&[b"\xc0 \xc1 ", b"\xe0 \xe1 \xef ", b"\xf0 \xf7 ", b"\xf8 \xfb ", b"\xfc "]), false),
        ("6.14", all(&[b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf"]), false),
        ("6.15", all(&[b"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80\xdf\xef\xbf"]), false),
        ("6.16", all(&[b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"]), false),
        ("6.17", all(&[b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf"]), false),
        ("6.18", all(&[b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf"]), false),
        ("6.19", all(&[b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80"]), false),
        ("6.20", all(&[b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xb0\x80", b"\xed\xbf\xbf"]), false),
        ("6.21", all(&[b"\xed\xa0\x80\xed\xb0\x80", b"\xed\xaf\xbf\xed\xbf\xbf"]), false),
        ("6.22", of(&noncharacters), true),
        ("6.23", of(&[0xfff9, 0xfffa, 0xfffb, 0xfffc, 0xfffd, 0xfffe, 0xffff]), true),
    ]
}

/// The next frame of the server; `None` when the connection has ended.
async fn next(tcp: &mut (impl AsyncReadExt + Unpin)) -> Option<Seen> {
    loop {
        let first = tcp.read_u8().await.ok()?;
        let length = match tcp.read_u8().await.ok()? {
            126 => tcp.read_u16().await.ok()?.into(),
            short => {
                assert!(short < 126, "the server masks nothing, and says nothing as long");
                usize::from(short)
            }
        };
        let mut payload = vec![0; length];
        tcp.read_exact(&mut payload).await.ok()?;
        assert_eq!(first & 0xf0, 0x80, "whole frames, no reserved bits");
        match first & 15 {
            TEXT => {
                let answer: serde_json::Value = serde_json::from_slice(&payload).unwrap();
                assert_eq!(answer["event"], "error", "{answer}");
                return Some(Answer);
            }
            PING => {}
            PONG => return Some(Pong(payload)),
            CLOSE => return Some(Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code)))),
            other => panic!("opcode {other}"),
        }
    }
}

async fn write(tcp: &mut (impl AsyncWriteExt + Unpin), chop: Chop, frames: &[Vec<u8>]) {
    let bytes = frames.concat();
    let pieces: Vec<&[u8]> = match chop {
        Chop::Whole => vec![&bytes],
        Chop::Frames => frames.iter().map(Vec::as_slice).collect(),
        Chop::Octets => bytes.chunks(1).collect(),
    };
    for piece in pieces {
        // A server that has failed the connection reads no further.
        if tcp.write_all(piece).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// What is seen of a case, the end included.
async fn play(server: &Server, case: &Case) -> Vec<Seen> {
    let (tcp, head) = raw(server, "").await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    tcp.set_nodelay(true).unwrap();
    let (mut read, mut write_half): (_, _) = TcpStream::into_split(tcp);
    let fails = case.seen.iter().any(|seen| matches!(seen, Close(_)));
    let mut frames = case.frames.clone();
    if !fails {
        frames.push(close(1000, ""));
    }
    let read = async {
        let mut seen = Vec::new();
        while let Some(one) = next(&mut read).await {
            seen.push(one);
        }
        seen
    };
    tokio::join!(read, write(&mut write_half, case.chop, &frames)).0
}

#[tokio::test]
async fn the_cases_of_the_autobahn_suite() {
    let server = Server::start();
    let mut cases = Cases::default();
    cases.framing();
    cases.pings();
    cases.reserved();
    cases.fragmentation();
    cases.utf8();
    cases.closing();
    cases.limits();
    assert!(cases.0.len() > 200, "{} cases", cases.0.len());
    let server = &server;
    for some in cases.0.chunks(32) {
        let played = some.iter().map(|case| tokio::time::timeout(PATIENCE, play(server, case)));
        for (case, seen) in some.iter().zip(join_all(played).await) {
            let mut wanted = case.seen.clone();
            if !wanted.iter().any(|seen| matches!(seen, Close(_))) {
                wanted.push(Close(Some(1000)));
            }
            assert_eq!(seen.ok(), Some(wanted), "case {} ({:?})", case.id, case.chop);
        }
    }
}
