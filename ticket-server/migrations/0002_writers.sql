-- One row for each process that writes: the number of its last transaction. When the answer to a commit was lost,
-- this tells whether it was one.
CREATE TABLE writers (
    writer  {key}  NOT NULL PRIMARY KEY,
    batch   BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);
