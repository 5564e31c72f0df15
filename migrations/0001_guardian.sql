-- Times are milliseconds since 1970 in UTC, booleans 0 or 1, JSON is text: what
-- SQLite and PostgreSQL both read with the same statements.

CREATE TABLE releases (
    application   TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    started_at    BIGINT NOT NULL,
    ended_at      BIGINT,
    phase         TEXT   NOT NULL,
    mode          TEXT   NOT NULL,
    gravest       TEXT   NOT NULL,
    release_order TEXT   NOT NULL,
    snapshot      TEXT,
    verdict       TEXT,
    evidence      TEXT,
    because       TEXT,
    held_by       TEXT,
    first_stop_at BIGINT,
    rolled_back   BIGINT NOT NULL,
    recording     TEXT,
    word          TEXT,
    word_onset    BIGINT,
    PRIMARY KEY (application, id)
);
CREATE INDEX releases_by_begin ON releases (started_at);
CREATE INDEX releases_by_end ON releases (ended_at);

CREATE TABLE decisions (
    application TEXT   NOT NULL,
    release     TEXT   NOT NULL,
    sequence    BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    decision    TEXT   NOT NULL,
    PRIMARY KEY (application, release, sequence)
);

CREATE TABLE commands (
    id          TEXT   NOT NULL PRIMARY KEY,
    application TEXT   NOT NULL,
    release     TEXT   NOT NULL,
    ordered_at  BIGINT NOT NULL,
    command     TEXT   NOT NULL,
    settlement  TEXT,
    settled_at  BIGINT
);
CREATE INDEX commands_by_release ON commands (application, release, ordered_at);

CREATE TABLE attempts (
    command  TEXT   NOT NULL,
    sequence BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    result   TEXT   NOT NULL,
    PRIMARY KEY (command, sequence)
);

-- Append-only; the newest word counts.
CREATE TABLE feedback (
    application TEXT   NOT NULL,
    release     TEXT   NOT NULL,
    sequence    BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    feedback    TEXT   NOT NULL,
    PRIMARY KEY (application, release, sequence)
);

-- Append-only. Lines about the daemon itself have empty application and release.
CREATE TABLE audit (
    application TEXT   NOT NULL,
    release     TEXT   NOT NULL,
    sequence    BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    who         TEXT   NOT NULL,
    line        TEXT   NOT NULL,
    PRIMARY KEY (application, release, sequence)
);

CREATE TABLE answers (
    idempotency_key TEXT   NOT NULL PRIMARY KEY,
    request_digest  TEXT   NOT NULL,
    answer          TEXT   NOT NULL,
    at              BIGINT NOT NULL
);

CREATE TABLE outbox (
    id          TEXT   NOT NULL PRIMARY KEY,
    application TEXT   NOT NULL,
    release     TEXT   NOT NULL,
    at          BIGINT NOT NULL,
    notice      TEXT   NOT NULL,
    delivered   BIGINT NOT NULL
);
CREATE INDEX outbox_by_delivery ON outbox (delivered, at);

-- Series by number, so that chunks need not repeat their names.
CREATE TABLE series (
    application TEXT   NOT NULL,
    id          BIGINT NOT NULL,
    series      TEXT   NOT NULL,
    PRIMARY KEY (application, id)
);

CREATE TABLE chunks (
    application TEXT   NOT NULL,
    first_at    BIGINT NOT NULL,
    sequence    BIGINT NOT NULL,
    last_at     BIGINT NOT NULL,
    bytes       BYTEA  NOT NULL,
    PRIMARY KEY (application, first_at, sequence)
);
CREATE INDEX chunks_by_end ON chunks (application, last_at);

CREATE TABLE facts (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
