-- What became of bookings, for whoever follows it, and what a receiver did not take.

-- One row for each booking that was made or taken back, written with it. What was booked stands in `bookings`.
CREATE TABLE feed (
    id             {serial},
    kind           {key}  NOT NULL,
    reservation_id {key}  NOT NULL,
    at             BIGINT NOT NULL,
    traceparent    {key},
    -- Its place in the order in which rows are told. Given after the commit, by one server at a time: whoever sees
    -- a row sees every row with a smaller one. Ids cannot do that, since transactions commit in another order.
    seq            BIGINT
);
-- What is indexed of a row that has no number is little: it is written in everybody's way.
CREATE INDEX feed_new ON feed (seq, id) {where seq IS NULL};
CREATE INDEX feed_by_seq ON feed (seq) {where seq IS NOT NULL};
CREATE INDEX feed_by_time ON feed (kind, at, id) {where seq IS NOT NULL};

-- How far each task of the feed is, and which server does it, until when.
CREATE TABLE feed_marks (
    name        {key}  NOT NULL PRIMARY KEY,
    seq         BIGINT NOT NULL,
    -- Names this feed among those of other ledgers.
    generation  {key}  NOT NULL,
    owner       {key}  NOT NULL,
    owned_until BIGINT NOT NULL
);

-- Messages that a receiver refused, and later ones of the same visitor that wait for them.
CREATE TABLE letters (
    id             {serial},
    sink           {key}  NOT NULL,
    -- The message's own id, by which its receiver knows it.
    message_id     {key}  NOT NULL,
    -- Where it belongs among those of its visitor.
    place          BIGINT NOT NULL,
    event_id       {key}  NOT NULL,
    visitor_id     {key}  NOT NULL,
    reservation_id {key}  NOT NULL,
    body           {text} NOT NULL,
    traceparent    {key},
    -- HELD: it is tried again. DEAD: only when an operator says so.
    state          {key}  NOT NULL,
    reason         {text} NOT NULL,
    attempts       BIGINT NOT NULL,
    first_at       BIGINT NOT NULL,
    last_at        BIGINT NOT NULL,
    due_at         BIGINT
);
CREATE UNIQUE INDEX letters_once ON letters (sink, message_id);
CREATE INDEX letters_due ON letters (sink, due_at);
CREATE INDEX letters_of_visitor ON letters (sink, visitor_id, place);
CREATE INDEX letters_by_state ON letters (state, sink, id);

-- What was booked before there was a feed.
INSERT INTO feed (kind, reservation_id, at)
    SELECT 'COMPLETED', reservation_id, decided_at FROM bookings WHERE state = 'CONFIRMED'
    UNION ALL SELECT 'COMPLETED', reservation_id, decided_at FROM cancellations
    UNION ALL SELECT 'CANCELLED', reservation_id, cancelled_at FROM cancellations
    ORDER BY 3, 1 DESC;
UPDATE feed SET seq = id;
INSERT INTO feed_marks (name, seq, generation, owner, owned_until)
    SELECT 'numbers', COALESCE(MAX(id), 0), '', '', 0 FROM feed;
