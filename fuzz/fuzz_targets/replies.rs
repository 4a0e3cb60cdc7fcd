//! What a store may answer: scripts' replies of any shape, and messages of any bytes on its channels. A wrong one is
//! an error that names its script; it is never a panic, and never more memory than the answer itself has.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{
    arbitrary::{Result, Unstructured},
    fuzz_target,
};
use queue_core::{
    ids::{Generation, Millis, Rank, Seq, VisitorId},
    line::{Command, Configure, Stock},
    policy::Policy,
    service::redis::Value,
    wire::EndReason,
};
use queue_server::engine::redis::{
    look,
    messages::{CHANNELS, Inbox},
    reply::{self, Answer},
};
use tokio::sync::broadcast;

const LEAVES_MAX: usize = 64;

static INBOX: LazyLock<Inbox> = LazyLock::new(|| Inbox::new(broadcast::channel(16).0));
static COMMANDS: LazyLock<Vec<Command>> = LazyLock::new(commands);

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 8 {
        6 => {
            let Some((channel, payload)) = data.split_first() else { return };
            INBOX.message(CHANNELS[usize::from(*channel) % CHANNELS.len()], payload);
        }
        7 => INBOX.logged(Some(data)),
        _ => {
            let _ = answers(&mut Unstructured::new(data));
        }
    }
});

fn answers(u: &mut Unstructured<'_>) -> Result<()> {
    let command = u.choose_index(COMMANDS.len())?;
    let mut items = Vec::new();
    while !u.is_empty() && items.len() < LEAVES_MAX {
        items.push(value(u, 0)?);
    }
    let answer = || Value::Array(items.clone()).into_reply("fuzzed").expect("a list");
    let _ = reply::read(&mut answer(), |reply| reply::outcome(&COMMANDS[command], reply));
    if let Ok(Answer::Done(line)) = reply::read(&mut answer(), look::looked) {
        let _ = line.outcome.snapshot(line.now.0, &items.len().to_le_bytes().to_vec().into());
    }
    let _ = ticket_server::engine::decode(&mut answer());
    Ok(())
}

/// One element: mostly words that scripts say, numbers, and text that almost is one.
fn value(u: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    const WORDS: &[&str] = &[
        "",
        "0",
        "1",
        "2",
        "3",
        "-1",
        "18446744073709551615",
        "18446744073709551616",
        "1e9",
        "WAITING",
        "ACTIVE",
        "ENDED",
        "UNKNOWN",
        "LIVE",
        "LEFT",
        "EXPIRED",
        "0000000000000007",
        "a_AAAAAAAAAAAAAAAAAAAAAA",
        "visitor",
        "DONE",
        "HOLD",
        "HOLDS",
        "EACH",
        "LOOK",
        "PAST",
        "FREED",
        "TAKEN",
        "VERSION",
        "SNAPSHOT",
        "CHANGES",
        "TRUNCATED",
        "CANCELLED",
        "A-1-1",
        "A-1-1 A-1-2",
        "0 0",
        "std",
    ];
    Ok(match u.int_in_range(0..=9)? {
        0 => Value::Nil,
        1 => Value::Int(u.arbitrary()?),
        2 | 3 => Value::Int(u.int_in_range(0..=5)?),
        4..=6 => Value::Bytes((*u.choose(WORDS)?).into()),
        7 => Value::Bytes(u.arbitrary::<String>()?.into()),
        8 => Value::Bytes(u.arbitrary::<Vec<u8>>()?.into()),
        _ if depth < 3 => {
            let count = u.int_in_range(0..=4)?;
            Value::Array((0..count).map(|_| value(u, depth + 1)).collect::<Result<_>>()?)
        }
        _ => Value::Nil,
    })
}

fn commands() -> Vec<Command> {
    let (visitor, seq) = (VisitorId::new("v").expect("valid"), Seq(1));
    let policy = Policy::with_capacity(1);
    vec![
        Command::Configure(Configure::new(policy, Generation(1))),
        Command::Join { visitors: vec![visitor.clone()], floor: Seq(0) },
        Command::Status(visitor.clone()),
        Command::Session(seq),
        Command::Leave(visitor.clone()),
        Command::Release(vec![(visitor.clone(), seq)]),
        Command::Restore(vec![(visitor, seq)]),
        Command::Admit { max: 1 },
        Command::Expire,
        Command::Abandon { first_byte: 0, len: 1 },
        Command::ClearWaiting { upto: Rank(1), reason: EndReason::Cleared },
        Command::Stock(Stock { left: 1, held: 0, at: Millis(1) }),
        Command::Pause,
        Command::Remove,
        Command::Trim,
        Command::Describe,
    ]
}
