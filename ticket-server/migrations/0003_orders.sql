-- Orders, payments and stored value. Amounts are in minor units, times in milliseconds since 1970.

-- When it was held.
ALTER TABLE bookings ADD COLUMN held_at {int};

-- The saga of each order (kind ORDER) and of each charge of stored value (kind CHARGE). `rev` counts every change:
-- whoever writes names the one it knows, so that of two runs of one saga one writes. `stage` is what is being done
-- or is to be done next; it is written down before it is done.
CREATE TABLE orders (
    order_id       {key}  NOT NULL PRIMARY KEY,
    kind           {key}  NOT NULL,
    event_id       {key}  NOT NULL,
    visitor_id     {key}  NOT NULL,
    jti            {key}  NOT NULL,
    -- What is bought: empty for a charge.
    reservation_id {key},
    seats          {text},
    ticket_type_id {key},
    quantity       BIGINT,
    held_at        BIGINT NOT NULL,
    hold_end       BIGINT NOT NULL,
    method         {key}  NOT NULL,
    total_minor    BIGINT NOT NULL,
    currency       {key}  NOT NULL,
    stage          {key}  NOT NULL,
    failure        {key},
    cancelled      BIGINT NOT NULL,
    asked          BIGINT NOT NULL,
    deadline       BIGINT NOT NULL,
    rev            BIGINT NOT NULL,
    -- Who runs it, until when; when somebody is to look at it again: nobody when it is done.
    lease          {key}  NOT NULL,
    lease_until    BIGINT NOT NULL,
    next_at        BIGINT,
    attempts       BIGINT NOT NULL,
    trace_id       {key}  NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE INDEX orders_due ON orders (next_at);
CREATE INDEX orders_by_reservation ON orders (reservation_id, created_at);

-- The one order of a reservation that is not settled.
CREATE TABLE open_orders (
    reservation_id {key} NOT NULL PRIMARY KEY,
    order_id       {key} NOT NULL
);

-- Idempotency keys, hashed, and the first answer.
CREATE TABLE order_keys (
    visitor_id {key}  NOT NULL,
    key_hash   {key}  NOT NULL,
    body_hash  {key}  NOT NULL,
    order_id   {key}  NOT NULL,
    status     BIGINT,
    body       {text},
    created_at BIGINT NOT NULL,
    PRIMARY KEY (visitor_id, key_hash)
);
CREATE INDEX order_keys_by_age ON order_keys (created_at);

-- Each stage that a saga entered, and how the one before ended.
CREATE TABLE order_steps (
    order_id {key}  NOT NULL,
    n        BIGINT NOT NULL,
    stage    {key}  NOT NULL,
    failure  {key},
    at       BIGINT NOT NULL,
    PRIMARY KEY (order_id, n)
);

-- What happened to reservations beside their orders and bookings.
CREATE TABLE reservation_log (
    entry_id       {key}  NOT NULL PRIMARY KEY,
    reservation_id {key}  NOT NULL,
    event_id       {key}  NOT NULL,
    visitor_id     {key}  NOT NULL,
    type           {key}  NOT NULL,
    at             BIGINT NOT NULL
);
CREATE INDEX reservation_log_by_reservation ON reservation_log (reservation_id, at);

-- Bookings that were taken back; their rows in `bookings` say ABORTED. `due_at`: the store is to be told then.
CREATE TABLE cancellations (
    reservation_id {key}  NOT NULL PRIMARY KEY,
    event_id       {key}  NOT NULL,
    visitor_id     {key}  NOT NULL,
    jti            {key}  NOT NULL,
    seats          {text},
    ticket_type_id {key},
    quantity       BIGINT,
    total_minor    BIGINT NOT NULL,
    currency       {key}  NOT NULL,
    held_at        BIGINT,
    hold_end       BIGINT NOT NULL,
    decided_at     BIGINT NOT NULL,
    cancelled_at   BIGINT NOT NULL,
    due_at         BIGINT
);
CREATE INDEX cancellations_due ON cancellations (due_at);
CREATE INDEX cancellations_by_event ON cancellations (event_id, cancelled_at);

-- Payments that are kept here: those from stored value, and those of the simulated provider.
CREATE TABLE kept_payments (
    payment_id  {key}  NOT NULL PRIMARY KEY,
    provider    {key}  NOT NULL,
    status      {key}  NOT NULL,
    total_minor BIGINT NOT NULL,
    currency    {key}  NOT NULL,
    visitor_id  {key}  NOT NULL,
    at          BIGINT NOT NULL
);

-- Stored value.
CREATE TABLE balances (
    visitor_id   {key}  NOT NULL,
    currency     {key}  NOT NULL,
    amount_minor BIGINT NOT NULL CHECK (amount_minor >= 0),
    PRIMARY KEY (visitor_id, currency)
);
CREATE TABLE balance_entries (
    entry_id    {key}  NOT NULL PRIMARY KEY,
    visitor_id  {key}  NOT NULL,
    currency    {key}  NOT NULL,
    delta_minor BIGINT NOT NULL,
    reason      {key}  NOT NULL,
    order_id    {key}  NOT NULL,
    at          BIGINT NOT NULL
);
CREATE INDEX balance_entries_by_visitor ON balance_entries (visitor_id, at);

-- What a provider told by itself, by its own id: each counts once.
CREATE TABLE payment_events (
    provider_event_id {key}  NOT NULL PRIMARY KEY,
    order_id          {key}  NOT NULL,
    type              {key}  NOT NULL,
    at                BIGINT NOT NULL
);

-- What the buyers' system is to be told, at least once.
CREATE TABLE notifications (
    notification_id {key}  NOT NULL PRIMARY KEY,
    order_id        {key}  NOT NULL,
    body            {text} NOT NULL,
    created_at      BIGINT NOT NULL,
    -- When to try (again); nobody tries when it is empty.
    due_at          BIGINT,
    attempts        BIGINT NOT NULL,
    sent_at         BIGINT
);
CREATE INDEX notifications_due ON notifications (due_at);
CREATE INDEX notifications_by_order ON notifications (order_id);
