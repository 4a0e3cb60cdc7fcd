//! The few commands beside scripts.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Arg, Reply, Store, StoreError};

/// Entries read from a stream in one call, at most.
pub const STREAM_READ_MAX: usize = 1_000;

/// One entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// The entry's id, `milliseconds-number`; entries after it are read with it.
    pub id: String,
    /// Field and value, in order.
    pub fields: Vec<(Bytes, Bytes)>,
}

impl StreamEntry {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&Bytes> {
        self.fields.iter().find(|(field, _)| field == name.as_bytes()).map(|(_, value)| value)
    }
}

impl Store {
    /// Up to `count` entries (at most [`STREAM_READ_MAX`]) of a stream that come after the one
    /// named `after`; `"0"` reads from the start. A stream that does not exist is empty.
    pub async fn read_stream(
        &self,
        key: impl Into<Arg>,
        after: &str,
        count: usize,
    ) -> Result<Vec<StreamEntry>, StoreError> {
        let count = count.clamp(1, STREAM_READ_MAX);
        let args = [key.into(), format!("({after}").into(), "+".into(), "COUNT".into(), count.into()];
        entries(self.command("XRANGE", args).await?.into_reply("XRANGE")?)
    }

    /// Up to `count` entries (at most [`STREAM_READ_MAX`]) of a stream, newest first: those that come before the
    /// one named `before`, or the last ones.
    pub async fn read_stream_back(
        &self,
        key: impl Into<Arg>,
        before: Option<&str>,
        count: usize,
    ) -> Result<Vec<StreamEntry>, StoreError> {
        let count = count.clamp(1, STREAM_READ_MAX);
        let end = before.map_or_else(|| "+".to_owned(), |before| format!("({before}"));
        let args = [key.into(), end.into(), "-".into(), "COUNT".into(), count.into()];
        entries(self.command("XREVRANGE", args).await?.into_reply("XREVRANGE")?)
    }

    /// The id of a stream's newest entry, `"0"` if it has none.
    pub async fn last_stream_id(&self, key: impl Into<Arg>) -> Result<String, StoreError> {
        let args = [key.into(), "+".into(), "-".into(), "COUNT".into(), 1_u32.into()];
        let mut reply = self.command("XREVRANGE", args).await?.into_reply("XREVRANGE")?;
        if reply.is_empty() { Ok("0".to_owned()) } else { reply.list()?.text() }
    }

    /// Appends an entry of one field and keeps about the newest `length_max` entries. Gives its id.
    pub async fn append_stream(
        &self,
        key: impl Into<Arg>,
        length_max: usize,
        field: &str,
        value: impl Into<Arg>,
    ) -> Result<String, StoreError> {
        let (key, length, value) = (key.into(), length_max.into(), value.into());
        let args = [key, "MAXLEN".into(), "~".into(), length, "*".into(), field.into(), value];
        self.command("XADD", args).await?.into_text("XADD")
    }

    /// Publishes a message. Gives how many subscribers of that server there were.
    pub async fn publish(&self, channel: &str, payload: impl Into<Arg>) -> Result<i64, StoreError> {
        self.command("PUBLISH", [channel.into(), payload.into()]).await?.into_int("PUBLISH")
    }

    /// Appends `value` to a stream as [`Store::append_stream`] does, and then publishes it. Gives the entry's id.
    /// On an error the entry may be there: who sends again writes another. No script, so that an account without
    /// the right to run any can do it.
    pub async fn append_and_publish(
        &self,
        key: impl Into<Arg>,
        length_max: usize,
        field: &str,
        channel: &str,
        value: impl Into<Arg>,
    ) -> Result<String, StoreError> {
        let value = value.into();
        let id = self.append_stream(key, length_max, field, value.clone()).await?;
        self.publish(channel, value).await?;
        Ok(id)
    }

    /// The members of a set, in no order.
    pub async fn smembers(&self, key: impl Into<Arg>) -> Result<Vec<String>, StoreError> {
        let mut reply = self.command("SMEMBERS", [key.into()]).await?.into_reply("SMEMBERS")?;
        (0..reply.remaining()).map(|_| reply.text()).collect()
    }

    /// How often the server has run each command, by its name in lower case.
    pub async fn command_counts(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let text = self.command("INFO", ["commandstats"]).await?.into_text("INFO")?;
        let count = |line: &str| {
            let (name, stats) = line.strip_prefix("cmdstat_")?.split_once(':')?;
            let calls = stats.split(',').find_map(|stat| stat.strip_prefix("calls="))?;
            Some((name.to_owned(), calls.parse().ok()?))
        };
        Ok(text.lines().filter_map(count).collect())
    }
}

/// The entries of a stream, as the server lists them.
fn entries(mut reply: Reply) -> Result<Vec<StreamEntry>, StoreError> {
    let mut entries = Vec::with_capacity(reply.remaining());
    while !reply.is_empty() {
        let mut entry = reply.list()?;
        let id = entry.text()?;
        let mut pairs = entry.list()?;
        let mut fields = Vec::with_capacity(pairs.remaining() / 2);
        while !pairs.is_empty() {
            fields.push((pairs.bytes()?, pairs.bytes()?));
        }
        entries.push(StreamEntry { id, fields });
    }
    Ok(entries)
}
