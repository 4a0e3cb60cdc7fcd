//! A script and a command as of one instant.
//!
//! What a script hands back goes through Lua, which reads every byte of it: a hundred kilobytes take it ten times as
//! long as Redis takes to answer them from a command of its own. So a script says what there is to say, and the
//! command beside it, in the same transaction, fetches the bulk.

use fred::{
    clients::Client,
    error::Error as FredError,
    interfaces::ClientLike as _,
    types::{ClusterHash, CustomCommand, Value as FredValue},
};

use super::{Arg, Reply, Script, Store, StoreError, Value, script_args};

/// A command beside a script: its name and its arguments, the first of which is a key of the script.
#[derive(Clone, Debug)]
pub struct Beside {
    /// Such as `GETRANGE`.
    pub name: &'static str,
    /// As they are sent.
    pub args: Vec<Arg>,
}

impl Store {
    /// As [`Store::run_list`], with one more command at the same instant: nothing happens in between. Neither is
    /// undone if the other fails.
    pub async fn run_list_beside<K: Into<Arg>, A: Into<Arg>>(
        &self,
        script: &Script,
        keys: impl IntoIterator<Item = K>,
        args: impl IntoIterator<Item = A>,
        beside: Beside,
    ) -> Result<(Reply, Value), StoreError> {
        let call = script_args(script, keys, args);
        let beside_args: Vec<FredValue> = beside.args.into_iter().map(FredValue::from).collect();
        let hash = self.hash(&call, 2);
        let calls = [("EVALSHA", call.clone()), (beside.name, beside_args.clone())];
        let answer = match self.send_together(&hash, calls).await? {
            Err(message) if message.starts_with("NOSCRIPT") => {
                // It did not run, so this is not a second attempt at running it.
                let mut call = call;
                call[0] = FredValue::Bytes(script.source().clone());
                self.send_together(&hash, [("EVAL", call), (beside.name, beside_args)]).await?
            }
            answer => answer,
        };
        let answers = self.judge(script.name(), answer.map(Value::Array))?;
        let mut answers = answers.into_reply(script.name())?;
        Ok((answers.list()?, answers.value()?))
    }

    /// Sends commands once, as one transaction. The inner error is the server's answer.
    async fn send_together(
        &self,
        hash: &ClusterHash,
        calls: [(&'static str, Vec<FredValue>); 2],
    ) -> Result<Result<Vec<Value>, String>, StoreError> {
        self.ask(async |client| match transaction(client, hash, calls).await {
            Ok(FredValue::Array(answers)) => Ok(Ok(answers.into_iter().map(Value::from_client).collect())),
            Ok(_) => Ok(Err("the transaction gave no list".to_owned())),
            // The client says its own troubles and the server's answers in the same way.
            Err(error) if is_servers(error.details()) => Ok(Err(error.details().to_owned())),
            Err(error) => Err(error),
        })
        .await
    }
}

/// Sends a transaction as one pipeline, which the client writes to one connection with nothing in between, and
/// gives what `EXEC` answers. (The client's own transactions wait until all that was sent before is answered.)
async fn transaction(
    client: &Client,
    hash: &ClusterHash,
    calls: impl IntoIterator<Item = (&'static str, Vec<FredValue>)>,
) -> Result<FredValue, FredError> {
    let pipeline = client.pipeline();
    let all = [("MULTI", vec![])].into_iter().chain(calls).chain([("EXEC", vec![])]);
    for (name, args) in all {
        // Only put down until all are sent.
        let () = pipeline.custom(CustomCommand::new_static(name, hash.clone(), false), args).await?;
    }
    // The first error, if there is one; else all answers, of which the last has the others' results.
    match pipeline.all().await? {
        FredValue::Array(mut answers) => Ok(answers.pop().unwrap_or(FredValue::Null)),
        other => Ok(other),
    }
}

/// Servers begin an error with a word in capitals.
fn is_servers(message: &str) -> bool {
    let code = message.split(' ').next().unwrap_or_default();
    !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_uppercase())
}
