-- All texts are compared byte for byte (BINARY, SQLite's default): A-1 and a-1 are two seats.

CREATE TABLE events (
    event_id   TEXT    NOT NULL PRIMARY KEY,
    revision   INTEGER NOT NULL,
    body       TEXT    NOT NULL,
    -- The names of all seat indexes, parted by spaces; those of seats that were taken out included.
    slots      TEXT    NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- One row for each reservation that was decided. ABORTED is the fence: whoever inserts the row first,
-- the confirming request or the settler of a hold whose process died, has decided.
CREATE TABLE bookings (
    reservation_id TEXT    NOT NULL PRIMARY KEY,
    event_id       TEXT    NOT NULL,
    visitor_id     TEXT    NOT NULL,
    jti            TEXT    NOT NULL,
    state          TEXT    NOT NULL CHECK (state IN ('CONFIRMED', 'ABORTED')),
    -- Seat ids parted by spaces, or a type and how many.
    seats          TEXT,
    ticket_type_id TEXT,
    quantity       INTEGER,
    total_minor    INTEGER NOT NULL,
    currency       TEXT    NOT NULL,
    hold_end       INTEGER NOT NULL,
    decided_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX bookings_by_event ON bookings (event_id, reservation_id);
CREATE INDEX bookings_by_visitor ON bookings (event_id, visitor_id, decided_at);

-- The second barrier against overselling.
CREATE TABLE sold_seats (
    event_id       TEXT NOT NULL,
    seat_id        TEXT NOT NULL,
    reservation_id TEXT NOT NULL,
    PRIMARY KEY (event_id, seat_id)
) STRICT, WITHOUT ROWID;

-- The same for types without seats.
CREATE TABLE sold_quantities (
    event_id       TEXT    NOT NULL,
    ticket_type_id TEXT    NOT NULL,
    quantity       INTEGER NOT NULL,
    sold           INTEGER NOT NULL DEFAULT 0 CHECK (sold <= quantity),
    PRIMARY KEY (event_id, ticket_type_id)
) STRICT, WITHOUT ROWID;

-- What the queue has to be told. Written with the booking; sent when the session closes.
CREATE TABLE outbox (
    id             INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    event_id       TEXT    NOT NULL,
    visitor_id     TEXT    NOT NULL,
    jti            TEXT    NOT NULL,
    reservation_id TEXT    NOT NULL,
    at             INTEGER NOT NULL,
    sent_at        INTEGER
) STRICT;
CREATE INDEX outbox_unsent ON outbox (id) WHERE sent_at IS NULL;
CREATE INDEX outbox_by_session ON outbox (event_id, jti);
