-- The trace in which something was booked, where traces are recorded: telling the queue belongs to it.
ALTER TABLE outbox ADD COLUMN traceparent {key};
