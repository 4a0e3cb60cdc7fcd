//! WebSocket frames that no honest client sends, byte by byte.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::{io::AsyncWriteExt, time::Instant};

use super::{
    PROGRAM,
    hostile::{Raw, SOON, Victim},
    store,
};

/// Who has asked for nothing is closed after so long, and a busy machine may be late.
const NOTHING_ASKED: Duration = Duration::from_secs(20);

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;

/// A masked frame (with a mask of zeros), whatever `first` is.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        medium => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fn join(event: &str, place: &str) -> Vec<u8> {
    let place = if place.is_empty() { String::new() } else { format!(r#","placeToken":"{place}""#) };
    frame(FIN | TEXT, format!(r#"{{"event":"join-queue","data":{{"eventId":"{event}"{place}}}}}"#).as_bytes())
}

fn handshake(victim: &Victim, more: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n",
        victim.public
    )
}

/// A socket after its handshake; `more` are more header fields.
pub async fn socket(victim: &Victim, more: &str) -> Raw {
    let mut raw = Raw::say(victim.public, handshake(victim, more)).await;
    assert_eq!(raw.reply().await.expect("an answer").status, 101);
    raw
}

/// All that the server says on a socket until it closes the connection: texts, and the code of its close frame.
async fn end(raw: &mut Raw) -> (Vec<String>, Option<u16>) {
    let said = raw.closed(SOON).await.expect("closed in time");
    let (mut texts, mut code, mut at) = (Vec::new(), None, 0);
    while let Some(&[first, length]) = said.get(at..at + 2) {
        let (length, start) = match length {
            126 => (usize::from(u16::from_be_bytes([said[at + 2], said[at + 3]])), at + 4),
            short => (usize::from(short), at + 2),
        };
        let payload = said.get(start..start + length).unwrap_or_default();
        match first & 15 {
            TEXT => texts.push(String::from_utf8(payload.to_vec()).unwrap()),
            CLOSE if code.is_none() => code = payload.first_chunk().map(|code| u16::from_be_bytes(*code)),
            _ => {}
        }
        at = start + length;
    }
    (texts, code)
}

/// The close code that some bytes are answered with.
async fn closes(victim: &Victim, bytes: &[u8]) -> Option<u16> {
    let mut raw = socket(victim, "").await;
    // The server may have closed before all is written.
    let _ = raw.tcp.write_all(bytes).await;
    end(&mut raw).await.1
}

#[tokio::test]
async fn each_broken_frame_has_its_code() {
    let victim = Victim::start(PROGRAM, &[]).await;
    store::event(&victim, "f", 1).await;
    let joined = |rest: Vec<u8>| [join("f", ""), rest].concat();
    let huge = |length: u64| [&[FIN | TEXT, 0xff][..], &length.to_be_bytes(), &[0; 4], &[b'x'; 5_000]].concat();
    let parts = |count: usize, size: usize| {
        let mut bytes = frame(TEXT, &vec![b'x'; size]);
        bytes.extend(std::iter::repeat_n(frame(0, &vec![b'x'; size]), count).flatten());
        bytes
    };
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("binary", frame(FIN | BINARY, b"x"), 1003),
        ("empty binary", frame(FIN | BINARY, b""), 1003),
        ("no UTF-8", frame(FIN | TEXT, b"\xff"), 1007),
        ("half a character", frame(FIN | TEXT, b"\xe2\x82"), 1007),
        ("no UTF-8 across fragments", [frame(TEXT, b"\xe2\x82"), frame(FIN, b"\x28")].concat(), 1007),
        ("a surrogate", frame(FIN | TEXT, b"\xed\xa0\x80"), 1007),
        ("over 4 KiB", frame(FIN | TEXT, &[b'x'; 4_097]), 1009),
        ("a gigabyte, it says", huge(1 << 30), 1009),
        ("2^63, it says", huge(1 << 63), 1009),
        ("all there is, it says", huge(u64::MAX), 1009),
        ("over 4 KiB in fragments", parts(5, 1_000), 1009),
        ("over 4 KiB in bytes", parts(5_000, 1), 1009),
        ("unmasked", vec![FIN | TEXT, 1, b'x'], 1002),
        ("reserved bit", frame(FIN | 0x40 | TEXT, b"{}"), 1002),
        ("reserved opcode", frame(FIN | 3, b"x"), 1002),
        ("reserved control opcode", frame(FIN | 11, b"x"), 1002),
        ("a long ping", frame(FIN | PING, &[b'x'; 126]), 1002),
        ("a long pong", frame(FIN | PONG, &[b'x'; 4_000]), 1002),
        ("a ping in parts", frame(PING, b"x"), 1002),
        ("the rest of nothing", frame(FIN, b"x"), 1002),
        ("a text in a text", [frame(TEXT, b"{"), frame(FIN | TEXT, b"}")].concat(), 1002),
        ("a close of one byte", frame(FIN | CLOSE, b"x"), 1002),
        ("a close with no code there is", frame(FIN | CLOSE, &999_u16.to_be_bytes()), 1002),
        ("a long close", frame(FIN | CLOSE, &[3; 126]), 1002),
        ("10,000 pings", frame(FIN | PING, b"x").repeat(10_000), 1008),
        ("10,000 pongs", frame(FIN | PONG, b"").repeat(10_000), 1008),
        ("10,000 texts", frame(FIN | TEXT, b"{}").repeat(10_000), 1008),
        ("10,000 joins", join("f", "").repeat(10_000), 1008),
        ("no such event", join("nowhere", ""), 4004),
        ("no place token", join("f", "nonsense"), 1008),
        ("binary after a join", joined(frame(FIN | BINARY, b"x")), 1003),
        ("pings after a join", joined(frame(FIN | PING, b"").repeat(30)), 1008),
    ];
    let codes = join_all(cases.iter().map(async |(_, bytes, _)| closes(&victim, bytes).await)).await;
    for ((what, _, wanted), code) in cases.iter().zip(codes) {
        assert_eq!(code, Some(*wanted), "{what}");
    }
    victim.unhurt().await;
}

/// Texts that are no message are named, one by one, and the socket stays.
#[tokio::test]
async fn each_bad_message_has_its_error() {
    let victim = Victim::start(PROGRAM, &[]).await;
    store::event(&victim, "m", 1).await;
    let deep = "[".repeat(4_000);
    let malformed = ["", " ", "{", "nope", "{}x", "{\"event\":}", "\u{feff}{}", "{\"event\":\"\\ud800\"}", "\0", &deep];
    let long = format!(r#"{{"event":"join-queue","data":{{"eventId":"{}"}}}}"#, "x".repeat(65));
    let invalid = [
        "[]",
        r#"["join-queue",{"eventId":"m"}]"#,
        "null",
        "5",
        "\"join-queue\"",
        "{}",
        r#"{"event":5}"#,
        r#"{"event":"join-queue"}"#,
        r#"{"event":"dance","data":{}}"#,
        r#"{"event":"join-queue","data":null}"#,
        r#"{"event":"join-queue","data":["m"]}"#,
        r#"{"event":"join-queue","data":{}}"#,
        r#"{"event":"join-queue","data":{"eventId":5}}"#,
        r#"{"event":"join-queue","data":{"eventId":""}}"#,
        r#"{"event":"join-queue","data":{"eventId":"../m"}}"#,
        r#"{"event":"join-queue","data":{"eventId":"m\u0000"}}"#,
        r#"{"event":"join-queue","data":{"eventId":"m","x":1}}"#,
        r#"{"event":"join-queue","data":{"eventId":"m","eventId":"m"}}"#,
        r#"{"event":"join-queue","data":{"eventId":"m"},"x":1}"#,
        r#"{"event":"join-queue","data":{"eventId":"m","placeToken":5}}"#,
        r#"{"event":"leave-queue","data":{"eventId":"m"}}"#,
        &long,
    ];
    let texts = malformed.map(|text| (text, "MALFORMED_BODY")).into_iter();
    let texts: Vec<_> = texts.chain(invalid.map(|text| (text, "INVALID_REQUEST"))).collect();
    // Fewer than the contract's messages in 10 s on each socket.
    for part in texts.chunks(15) {
        let mut raw = socket(&victim, "").await;
        for (text, _) in part {
            raw.tcp.write_all(&frame(FIN | TEXT, text.as_bytes())).await.unwrap();
        }
        raw.tcp.write_all(&frame(FIN | CLOSE, &1_000_u16.to_be_bytes())).await.unwrap();
        let (said, code) = end(&mut raw).await;
        assert_eq!((said.len(), code), (part.len(), Some(1_000)), "{said:?}");
        for ((text, wanted), said) in part.iter().zip(said) {
            let said: serde_json::Value = serde_json::from_str(&said).unwrap();
            assert_eq!((&said["event"], &said["data"]["code"]), (&"error".into(), &(*wanted).into()), "{text}");
        }
    }
    assert_eq!(store::overview(&victim, "m").await["active"], 0);
    victim.unhurt().await;
}

#[tokio::test]
async fn handshakes_that_are_none() {
    let victim = Victim::start(PROGRAM, &[]).await;
    let good = handshake(&victim, "");
    for (what, text) in [
        ("HTTP/1.0", good.replace("HTTP/1.1", "HTTP/1.0")),
        ("POST", good.replace("GET", "POST")),
        ("no upgrade", good.replace("upgrade: websocket\r\n", "")),
        ("another upgrade", good.replace("websocket\r\nsec", "h2c\r\nsec")),
        ("no connection", good.replace("connection: upgrade\r\n", "connection: close\r\n")),
        ("no version", good.replace("sec-websocket-version: 13\r\n", "")),
        ("another version", good.replace("version: 13", "version: 8")),
        ("no key", good.replace("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "")),
        ("a short key", good.replace("dGhlIHNhbXBsZSBub25jZQ==", "AAAA")),
        ("a long key", good.replace("dGhlIHNhbXBsZSBub25jZQ==", &"A".repeat(5_000))),
        ("a foreign origin", good.replace("\r\n\r\n", "\r\norigin: https://evil.example\r\n\r\n")),
        ("no origin at all", good.replace("\r\n\r\n", "\r\norigin: null\r\n\r\n")),
    ] {
        let mut raw = Raw::say(victim.public, text).await;
        let reply = raw.reply().await.unwrap_or_else(|| panic!("no answer to {what}"));
        assert!((400..500).contains(&reply.status), "{what}: {reply:?}");
    }
    victim.unhurt().await;
}

/// Sockets that never say anything whole: half a frame, empty fragments without end, a byte now and then.
pub async fn nothing_whole_is_said(victim: &Victim) {
    let began = Instant::now();
    let kinds: [(&[u8], &[u8], Duration); 5] = [
        (b"", b"", Duration::from_secs(30)),
        (&[FIN | TEXT], b"", Duration::from_secs(30)),
        (&[FIN | TEXT, 0x80 | 126, 0x0f], b"", Duration::from_secs(30)),
        (&[FIN | TEXT, 0x80 | 100, 0, 0, 0, 0], b"{", Duration::from_millis(500)),
        (&[TEXT, 0x80, 0, 0, 0, 0], &[0, 0x80, 0, 0, 0, 0], Duration::from_micros(100)),
    ];
    let sockets = kinds.iter().cycle().take(20).map(async |(first, more, pause)| {
        let mut raw = socket(victim, "").await;
        raw.tcp.write_all(first).await.unwrap();
        while !more.is_empty() && began.elapsed() < NOTHING_ASKED {
            if raw.tcp.write_all(more).await.is_err() {
                break;
            }
            tokio::time::sleep(*pause).await;
        }
        // What is written to a closed connection may have reset it, and then its last words are lost.
        let code = end(&mut raw).await.1;
        assert!(code == Some(4008) || code.is_none() && !more.is_empty(), "{first:?} {more:?}: {code:?}");
    });
    join_all(sockets).await;
    assert!(began.elapsed() < NOTHING_ASKED, "closed only after {:?}", began.elapsed());
}

/// Sockets that join and then neither read nor speak.
pub async fn mute(victim: &Victim, event: &str, count: usize) -> Vec<Raw> {
    let sockets = (0..count).map(async |_| {
        let mut raw = socket(victim, "").await;
        raw.tcp.write_all(&join(event, "")).await.unwrap();
        raw
    });
    join_all(sockets).await
}

/// Sockets whose other end goes away in the middle of something, quietly or with a reset.
pub async fn vanish(victim: &Victim, event: &str) {
    let text = join(event, "");
    for at in [0, 1, 7, text.len() - 1, text.len()] {
        for reset in [false, true] {
            for _ in 0..20 {
                let mut raw = socket(victim, "").await;
                raw.tcp.write_all(&text[..at]).await.unwrap();
                if reset {
                    raw.tcp.set_zero_linger().unwrap();
                }
            }
        }
    }
    // Gone before the handshake was answered.
    for _ in 0..50 {
        drop(Raw::say(victim.public, handshake(victim, "")).await);
    }
}
