-- What is read of a sale: who completed when, what was sold of which type, what became of holds.

-- When the session was admitted that a booking was made in, and of which types its tickets are: `std=2 vip=1`.
ALTER TABLE bookings ADD COLUMN admitted_at {int};
ALTER TABLE bookings ADD COLUMN tickets {text};
ALTER TABLE cancellations ADD COLUMN admitted_at {int};
ALTER TABLE cancellations ADD COLUMN tickets {text};
ALTER TABLE orders ADD COLUMN admitted_at {int};
ALTER TABLE orders ADD COLUMN tickets {text};
-- Whoever takes an order up after a crash goes on in its trace.
ALTER TABLE orders ADD COLUMN traceparent {key};

CREATE INDEX bookings_by_time ON bookings (event_id, state, decided_at, reservation_id);

-- How much happened in an event, counted by others: by one incarnation of a line or of a ticket store, whose numbers
-- only grow. What is read is the sum of all of them.
CREATE TABLE event_counts (
    event_id   {key}  NOT NULL,
    source     {key}  NOT NULL,
    admitted   BIGINT NOT NULL,
    taken      BIGINT NOT NULL,
    expired    BIGINT NOT NULL,
    given_up   BIGINT NOT NULL,
    counted_at BIGINT NOT NULL,
    PRIMARY KEY (event_id, source)
);
