//! What is compared with: one key per seat, taken by `SET NX PX` in a script, with a limit per visitor and a record of
//! the hold; all of them end by themselves. One call per hold, as many under way as there are connections.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use queue_core::service::redis::{Arg, Options, Script, Store, StoreUrl};
use tokio::time::Instant;

/// Seats of a hold.
const SEATS: u64 = 4;

const SCRIPT: &str = "
for i = 3, #KEYS do
  if not redis.call('SET', KEYS[i], ARGV[1], 'NX', 'PX', ARGV[2]) then
    for j = 3, i - 1 do redis.call('DEL', KEYS[j]) end
    return 0
  end
end
local has = redis.call('INCRBY', KEYS[2], #KEYS - 2)
if has > tonumber(ARGV[3]) then
  for i = 3, #KEYS do redis.call('DEL', KEYS[i]) end
  redis.call('DECRBY', KEYS[2], #KEYS - 2)
  return 0
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[2])
return 1
";

/// Holds seats for so long, and says how many times.
pub async fn hold(url: &str, round: u32, connections: u64, duration: Duration) -> Result<u64> {
    let options = Options { command_timeout: Duration::from_secs(10), ..Options::default() };
    let store = Store::connect(&StoreUrl::parse(url)?, options);
    store.wait_ready(Duration::from_secs(10)).await?;
    let (script, until) = (Script::new("keys", SCRIPT), Instant::now() + duration);
    let workers = (0..connections).map(|worker| {
        let (store, script) = (&store, &script);
        async move {
            let mut count = 0;
            while Instant::now() < until {
                let number = u64::from(round) * 1_000_000 + count * connections + worker;
                ensure!(take(store, script, number).await? == 1, "a seat was taken");
                count += 1;
            }
            Ok(count)
        }
    });
    Ok(try_join_all(workers).await?.into_iter().sum())
}

async fn take(store: &Store, script: &Script, number: u64) -> Result<i64> {
    let visitor = format!("a_{:022}", number / 2);
    let reservation = format!("r_{number:032}");
    let seats = (0..SEATS).map(|seat| format!("seat:{{bench}}:{}", number * SEATS + seat));
    let keys = [format!("hold:{{bench}}:{reservation}"), format!("visitor:{{bench}}:{visitor}")];
    let record = format!("{visitor} 0123456789abcdef.{number} 1800000000000 1800000300000 0 0 18000");
    let args: [Arg; 4] = [reservation.into(), 300_000_u32.into(), 8_u32.into(), record.into()];
    Ok(store.run(script, keys.into_iter().chain(seats), args).await?.into_int("keys")?)
}
