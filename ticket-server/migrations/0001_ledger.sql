-- All texts are compared byte for byte: A-1 and a-1 are two seats. SQLite has this in sqlite/0001_ledger.sql.

CREATE TABLE events (
    event_id   {key}  NOT NULL PRIMARY KEY,
    revision   BIGINT NOT NULL,
    body       {text} NOT NULL,
    -- The names of all seat indexes, parted by spaces; those of seats that were taken out included.
    slots      {text} NOT NULL,
    updated_at BIGINT NOT NULL
);

-- One row for each reservation that was decided. ABORTED is the fence: whoever inserts the row first,
-- the confirming request or the settler of a hold whose process died, has decided.
CREATE TABLE bookings (
    reservation_id {key}  NOT NULL PRIMARY KEY,
    event_id       {key}  NOT NULL,
    visitor_id     {key}  NOT NULL,
    jti            {key}  NOT NULL,
    state          {key}  NOT NULL CHECK (state IN ('CONFIRMED', 'ABORTED')),
    -- Seat ids parted by spaces, or a type and how many.
    seats          {text},
    ticket_type_id {key},
    quantity       BIGINT,
    total_minor    BIGINT NOT NULL,
    currency       {key}  NOT NULL,
    hold_end       BIGINT NOT NULL,
    decided_at     BIGINT NOT NULL
);
CREATE INDEX bookings_by_event ON bookings (event_id, reservation_id);
CREATE INDEX bookings_by_visitor ON bookings (event_id, visitor_id, decided_at);

-- The second barrier against overselling.
CREATE TABLE sold_seats (
    event_id       {key} NOT NULL,
    seat_id        {key} NOT NULL,
    reservation_id {key} NOT NULL,
    PRIMARY KEY (event_id, seat_id)
);

-- The same for types without seats.
CREATE TABLE sold_quantities (
    event_id       {key}  NOT NULL,
    ticket_type_id {key}  NOT NULL,
    quantity       BIGINT NOT NULL,
    sold           BIGINT NOT NULL DEFAULT 0 CHECK (sold <= quantity),
    PRIMARY KEY (event_id, ticket_type_id)
);

-- What the queue has to be told. Written with the booking; sent when the session closes.
CREATE TABLE outbox (
    id             {serial},
    event_id       {key}  NOT NULL,
    visitor_id     {key}  NOT NULL,
    jti            {key}  NOT NULL,
    reservation_id {key}  NOT NULL,
    at             BIGINT NOT NULL,
    sent_at        BIGINT
);
CREATE INDEX outbox_unsent ON outbox (sent_at, id) {where sent_at IS NULL};
CREATE INDEX outbox_by_session ON outbox (event_id, jti);
