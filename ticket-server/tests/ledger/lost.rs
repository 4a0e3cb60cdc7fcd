//! A connection that is lost around a commit: what was asked happens once, whoever loses which message.

use std::time::Duration;

use queue_core::service::testing_sql::{TestMariaDb, TestPostgres};
use ticket_server::ledger::{Decision, Ledger, Verdict, sql::sql};

use tokio::sync::watch;

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

/// A statement that books, and goes on after its connection was lost, is waited for: what it does counts, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_on_without_its_connection_is_waited_for() {
    let server = TestPostgres::start();
    let direct = server.create_database("lost");
    let proxy = Proxy::start(server.port()).await;
    let ledger =
        open(&format!("postgres://usher@127.0.0.1:{}/lost?sslmode=disable", proxy.port).parse().unwrap()).await;
    assert!(matches!(ledger.book(seats("r0", 0, &["A-0"])).await.unwrap(), Decision::Confirmed(_)));
    // Somebody has the seat for a while, and leaves it.
    let other = open(&direct.parse().unwrap()).await;
    let ((has, mut had), (leave, left)) = (watch::channel(false), watch::channel(false));
    let owner = tokio::spawn(async move {
        let owning = other.change((has, left), |(has, left), tx| {
            Box::pin(async move {
                let row = sql("INSERT INTO sold_seats (event_id, seat_id, reservation_id) VALUES (?, 'A-1', 'r9')");
                let _ = tx.insert_new(row.bind(&event()), 1).await?;
                has.send_replace(true);
                let _ = left.clone().wait_for(|left| *left).await;
                Ok(Verdict::Undo(()))
            })
        });
        owning.await
    });
    had.wait_for(|has| *has).await.unwrap();
    let booking = {
        let ledger = ledger.clone();
        tokio::spawn(async move { ledger.book(seats("r1", 1, &["A-1"])).await })
    };
    waiting_for_locks(&server, 1).await;
    proxy.cut_all();
    // The writer asks what became of it, and has to wait for its row.
    waiting_for_locks(&server, 2).await;
    leave.send_replace(true);
    owner.await.unwrap().unwrap();
    // On a busy machine it may not be known in time; then the same is asked again.
    let mut booked = booking.await.unwrap();
    while booked.is_err() {
        booked = ledger.book(seats("r1", 1, &["A-1"])).await;
    }
    assert!(matches!(booked, Ok(Decision::Confirmed(_))), "{booked:?}");
    assert_eq!(ledger.unsent(0, 10).await.unwrap().len(), 2);
}

/// Until so many wait, or for as long as they would.
async fn waiting_for_locks(server: &TestPostgres, count: usize) {
    let ask = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'lost'";
    for _ in 0..40 {
        if server.sql("lost", ask) == count.to_string() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
