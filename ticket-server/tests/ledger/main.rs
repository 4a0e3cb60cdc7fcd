//! The ledger by itself: the same cases on SQLite, PostgreSQL and MariaDB.

mod cases;
mod feeding;
mod figures;
mod lost;
mod orders;
mod proxy;
mod support;

use queue_core::service::testing_sql::{TestMariaDb, TestPostgres};

use self::support::Place;

/// All cases, from wherever they are.
mod all {
    pub use crate::{cases::*, feeding::*, figures::*, orders::*};
}

/// A server is started once for all cases: each has a database to itself.
macro_rules! on_all {
    ($($case:ident,)*) => {
        mod sqlite {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    all::$case(&Place::Sqlite(tempfile::tempdir().unwrap())).await;
                }
            )*
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn postgres() {
            let place = Place::Postgres(TestPostgres::start());
            $(
                println!("{}", stringify!($case));
                all::$case(&place).await;
            )*
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn mariadb() {
            let place = Place::MariaDb(TestMariaDb::start());
            $(
                println!("{}", stringify!($case));
                all::$case(&place).await;
            )*
        }
    };
}

on_all! {
    a_booking_is_kept_and_answered_again,
    a_conflict_leaves_its_neighbours_alone,
    names_are_compared_byte_for_byte,
    whoever_comes_first_decides,
    tickets_without_seats_are_counted,
    what_is_sold_stays_in_the_event,
    sent_rows_are_marked_by_session,
    a_fence_and_a_confirmation_on_two_servers_agree,
    two_servers_sell_a_seat_once,
    two_servers_share_an_inventory,
    changes_are_kept_or_undone_each_by_itself,
    two_servers_that_lock_each_other_out_both_go_on,
    several_servers_may_start_at_once,
    messages_keep_the_order_of_their_bookings,
    messages_that_were_sent_long_ago_are_dropped,
    an_order_is_read_as_it_was_written,
    an_order_pays_for_its_own_booking_alone,
    what_is_taken_out_is_not_sold_at_the_same_time,
    a_key_that_is_freed_serves_again,
    bookings_are_ranked_by_when_they_were_made,
    what_was_sold_is_counted_by_type_and_minute,
    what_was_counted_only_grows,
    bookings_are_kept_whole_however_many_are_written_at_once,
    what_is_committed_late_is_not_passed_over,
    a_follower_sees_everything_once,
    bookings_are_read_by_time,
    what_was_booked_before_is_in_the_feed,
    one_server_has_a_mark_at_a_time,
    refused_messages_are_tried_in_order_and_kept_when_given_up,
}
