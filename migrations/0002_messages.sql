-- Messages to people, one row for each recipient of each channel. A row
-- without an end is sent again after a restart.
CREATE TABLE messages (
    id         TEXT   NOT NULL,
    channel    TEXT   NOT NULL,
    recipient  TEXT   NOT NULL,
    kept_at    BIGINT NOT NULL,
    message    TEXT   NOT NULL,
    ended_at   BIGINT,
    ended      TEXT,
    detail     TEXT,
    PRIMARY KEY (id, channel, recipient)
);
CREATE INDEX messages_by_end ON messages (ended_at, kept_at);

-- Pauses that nobody has answered to yet.
CREATE TABLE awaited_answers (
    application TEXT   NOT NULL,
    release     TEXT   NOT NULL,
    paused      TEXT   NOT NULL,
    rounds      BIGINT NOT NULL,
    due_at      BIGINT NOT NULL,
    PRIMARY KEY (application, release)
);

-- Links in messages that were used; each can be used once.
CREATE TABLE used_links (
    nonce   TEXT   NOT NULL PRIMARY KEY,
    used_at BIGINT NOT NULL,
    used_by TEXT   NOT NULL
);
