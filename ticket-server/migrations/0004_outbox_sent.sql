-- Messages that were sent long ago are found without looking at all of them.
CREATE INDEX outbox_sent ON outbox (sent_at, id) {where sent_at IS NOT NULL};
