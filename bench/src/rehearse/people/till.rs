//! At the till: orders with a key of their own, cards that are declined, and confirmations where nothing is to be paid.

use super::{
    person::Person,
    shop::{Ending, ending_of, goods_of, is_hold_gone},
};
use crate::{
    api::{self, Answer, ApiError, Reservation},
    clock::now_ms,
    rehearse::{
        record::{End, Goods, HoldEnd, Kind, Order, Repeat},
        stage::BAD_CARD,
    },
};

/// Of a hundred orders that were answered, so many are sent again, to another server if there is one.
const REPEATED_PERCENT: u64 = 30;
/// Orders of one hold, at most.
const ORDERS_MAX: u64 = 6;

/// What is done after an order that failed.
enum Next {
    GoodCard,
    SameCard,
    GiveUp(Ending),
}

impl Person {
    /// Books what is held, and pays for it where that is wanted.
    pub async fn buy(&mut self, active: &str, reservation: &Reservation) -> Ending {
        if !self.world.rules.payment_required {
            return self.confirm(active, reservation).await;
        }
        let mut bad_card = self.intent.kind == Kind::FailsToPay;
        for _ in 0..ORDERS_MAX {
            let error = match self.order(active, reservation, bad_card).await {
                Ok(goods) => return self.booked(reservation, &goods),
                Err(error) => error,
            };
            match self.after(&error, bad_card, reservation) {
                Next::GoodCard => bad_card = false,
                Next::SameCard => {}
                Next::GiveUp((End::Unpaid, why)) => {
                    self.let_go(active, reservation).await;
                    return (End::Unpaid, why);
                }
                Next::GiveUp(ending) => return ending,
            }
            self.think().await;
        }
        (End::Failed, Some("TOO_MANY_ORDERS".into()))
    }

    fn after(&self, error: &ApiError, bad_card: bool, reservation: &Reservation) -> Next {
        let id = &reservation.reservation_id;
        match error.code() {
            "PAYMENT_DECLINED" if bad_card && self.intent.resolute => Next::GoodCard,
            "PAYMENT_DECLINED" => Next::GiveUp((End::Unpaid, None)),
            // Nothing was paid: again, with another key.
            "PAYMENT_UNAVAILABLE" => Next::SameCard,
            _ if is_hold_gone(error) => {
                self.hold_ended(id, HoldEnd::Gone);
                Next::GiveUp((End::RanOut, Some(error.code().to_owned())))
            }
            _ => {
                self.hold_ended(id, HoldEnd::Unknown);
                Next::GiveUp(ending_of(error))
            }
        }
    }

    /// One order under a key of its own, sent until it is answered for good.
    async fn order(&mut self, active: &str, reservation: &Reservation, bad_card: bool) -> Answer<Goods> {
        self.orders += 1;
        let (world, number, id) = (self.world.clone(), self.intent.number, &reservation.reservation_id);
        let key = format!("rehearsal-{number}-{}", self.orders);
        let card = if bad_card { BAD_CARD.to_owned() } else { format!("tok_{number}") };
        self.begin_order(id, &key, bad_card);
        let shops = world.shops.len();
        let send = |shop: usize| world.shops[shop % shops].order(active, &key, id, &card);
        let (answer, tries) = world.persist((number, &mut self.random), "order", &mut self.shop, send).await;
        self.end_order(
            tries,
            answer.as_ref().map(|order| (order.order_id.clone(), Some(order), goods_of_order(order))),
        );
        if is_for_good(&answer) && self.random.percent(REPEATED_PERCENT) {
            self.shop = (self.shop + 1) % shops;
            let (again, _) = world.persist((number, &mut self.random), "order", &mut self.shop, send).await;
            self.note_repeat(&again);
        }
        answer.map(|order| goods_of_order(&order))
    }

    /// The answer to a key that had its answer; nothing, where there was none.
    fn note_repeat(&self, again: &Answer<api::Order>) {
        if !is_for_good(again) {
            return;
        }
        let repeat = match again {
            Ok(order) => Repeat {
                at: now_ms(),
                status: 201,
                code: None,
                order_id: Some(order.order_id.clone()),
                state: Some(order.state.clone()),
            },
            Err(error) => Repeat {
                at: now_ms(),
                status: error.status(),
                code: Some(error.code().to_owned()),
                order_id: error.details()["orderId"].as_str().map(str::to_owned),
                state: None,
            },
        };
        self.note(|visitor| visitor.orders.last_mut().map(|order| order.repeats.push(repeat)));
    }

    async fn confirm(&mut self, active: &str, reservation: &Reservation) -> Ending {
        let (world, number, id) = (self.world.clone(), self.intent.number, &reservation.reservation_id);
        self.begin_order(id, "", false);
        let shops = world.shops.len();
        let send = |shop: usize| world.shops[shop % shops].confirm(active, id);
        let (answer, tries) = world.persist((number, &mut self.random), "confirm", &mut self.shop, send).await;
        self.end_order(tries, answer.as_ref().map(|booking| (String::new(), None, goods_of(booking))));
        match answer {
            Ok(booking) => self.booked(reservation, &goods_of(&booking)),
            Err(error) => {
                let gone = is_hold_gone(&error);
                self.hold_ended(id, if gone { HoldEnd::Gone } else { HoldEnd::Unknown });
                ending_of(&error)
            }
        }
    }

    /// An order that is sent for the first time. It is known from then on, whatever becomes of its visitor.
    fn begin_order(&self, reservation: &str, key: &str, bad_card: bool) {
        let order = Order {
            reservation_id: reservation.to_owned(),
            idempotency_key: key.to_owned(),
            bad_card,
            asked_at: now_ms(),
            ..Order::default()
        };
        self.keep("orders", |visitor| &mut visitor.orders, order);
    }

    /// Its answer for good, or that there was none.
    fn end_order(&self, tries: u64, answer: Result<(String, Option<&api::Order>, Goods), &ApiError>) {
        self.note(|visitor| {
            let Some(noted) = visitor.orders.last_mut() else { return };
            noted.tries = tries;
            match answer {
                Ok((id, order, goods)) => {
                    (noted.at, noted.status) = (now_ms(), if order.is_some() { 201 } else { 200 });
                    noted.order_id = (!id.is_empty()).then_some(id);
                    noted.state = order.map(|order| order.state.clone());
                    let steps = order.map_or(&[][..], |order| &order.steps);
                    noted.steps = steps.iter().map(|step| format!("{} {}", step.step, step.status)).collect();
                    noted.booked = Some(goods);
                }
                Err(error) => {
                    (noted.at, noted.status) = (if says_for_good(error) { now_ms() } else { 0 }, error.status());
                    noted.code = Some(error.code().to_owned());
                    noted.order_id = error.details()["orderId"].as_str().map(str::to_owned);
                }
            }
        });
    }

    fn booked(&self, reservation: &Reservation, goods: &Goods) -> Ending {
        self.hold_ended(&reservation.reservation_id, HoldEnd::Booked);
        self.world.gauges.booked.add_many(goods.quantity.unwrap_or(goods.seat_ids.len() as u64));
        (End::Booked, None)
    }
}

/// Neither a lost answer nor one that bids come back says what became of an order.
fn says_for_good(error: &ApiError) -> bool {
    !error.is_passing() || error.code() == "PAYMENT_UNAVAILABLE"
}

fn is_for_good(answer: &Answer<api::Order>) -> bool {
    answer.as_ref().err().is_none_or(says_for_good)
}

fn goods_of_order(order: &api::Order) -> Goods {
    Goods {
        seat_ids: order.seat_ids.clone(),
        ticket_type_id: order.ticket_type_id.clone(),
        quantity: order.quantity,
        total_minor: order.total_minor,
    }
}
