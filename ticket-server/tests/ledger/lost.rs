//! A connection that is lost around a commit: what was asked happens once, whoever loses which message.

use queue_core::service::testing_sql::{TestMariaDb, TestPostgres};
use ticket_server::ledger::{Decision, Ledger, Verdict, sql::sql};

use crate::{
    proxy::{Cut, Proxy},
    support::*,
};

/// Not to be told from having been done twice, if it is.
async fn sell_one(ledger: &Ledger) -> u64 {
    let change = ledger.change((), |(), tx| {
        Box::pin(async move {
            tx.execute(sql("UPDATE sold_quantities SET sold = sold + 1")).await?;
            let row = tx.fetch_optional(sql("SELECT sold FROM sold_quantities")).await?.unwrap();
            Ok(Verdict::Keep(ticket_server::ledger::sql::number(&row, "sold")?))
        })
    });
    change.await.unwrap()
}

async fn is_made_once(port: u16, url: &dyn Fn(u16) -> String) {
    let proxy = Proxy::start(port).await;
    let ledger = open(&url(proxy.port).parse().unwrap()).await;
    ledger.put_event(stored(1, "A-1 A-2 A-3", "", 100)).await.unwrap();
    let mut sold = 0;
    for (n, cut) in [Cut::No, Cut::Before, Cut::After, Cut::After, Cut::Before].into_iter().enumerate() {
        proxy.cut_next(cut);
        sold += 1;
        assert_eq!(sell_one(&ledger).await, sold, "with cut {n}");
    }
    for (n, cut) in [Cut::No, Cut::After, Cut::Before].into_iter().enumerate() {
        proxy.cut_next(cut);
        let booked = ledger.book(seats(&format!("r{n}"), 1, &[&format!("A-{}", n + 1)])).await.unwrap();
        assert!(matches!(booked, Decision::Confirmed(_)), "with cut {n}");
    }
    assert_eq!(proxy.cuts(), 6);
    assert_eq!(ledger.unsent(0, 10).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_to_postgres_makes_nothing_twice() {
    let server = TestPostgres::start();
    server.create_database("lost");
    is_made_once(server.port(), &|port| format!("postgres://usher@127.0.0.1:{port}/lost?sslmode=disable")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_to_mariadb_makes_nothing_twice() {
    let server = TestMariaDb::start();
    server.create_database("lost");
    is_made_once(server.port(), &|port| format!("mysql://usher@127.0.0.1:{port}/lost?ssl-mode=DISABLED")).await;
}
