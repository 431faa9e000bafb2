-- One text for SQLite and PostgreSQL: TEXT, BIGINT and bytes only. BYTES stands for BLOB or BYTEA.
-- Times are UTC microseconds since 1970, 0: not set. Booleans are 0 or 1. Ids are uuid texts.

CREATE TABLE agents (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    hostname TEXT NOT NULL,
    -- holdfast.v1.Version
    version BYTES NOT NULL,
    joined_micros BIGINT NOT NULL,
    last_seen_micros BIGINT NOT NULL,
    certificate_expires_micros BIGINT NOT NULL,
    clock_skew_millis BIGINT NOT NULL,
    revoked_micros BIGINT NOT NULL,
    displaced_micros BIGINT NOT NULL,
    displaced_by TEXT NOT NULL
);

CREATE TABLE certificates (
    serial TEXT NOT NULL PRIMARY KEY,
    holder_id TEXT NOT NULL,
    holder TEXT NOT NULL,
    issued_micros BIGINT NOT NULL,
    expires_micros BIGINT NOT NULL,
    revoked_micros BIGINT NOT NULL
);
CREATE INDEX certificates_holder ON certificates (holder_id);

CREATE TABLE invites (
    token_id TEXT NOT NULL PRIMARY KEY,
    agent_name TEXT NOT NULL,
    -- SHA-256 of the token's secret
    secret_hash BYTES NOT NULL,
    created_by TEXT NOT NULL,
    created_micros BIGINT NOT NULL,
    expires_micros BIGINT NOT NULL,
    used_micros BIGINT NOT NULL
);

CREATE TABLE sources (
    name TEXT NOT NULL PRIMARY KEY,
    agent_id TEXT NOT NULL,
    -- holdfast.v1.SourceInfo
    info BYTES NOT NULL,
    announced BIGINT NOT NULL,
    updated_micros BIGINT NOT NULL
);

CREATE TABLE vaults (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    address TEXT NOT NULL UNIQUE,
    endpoint TEXT NOT NULL,
    region TEXT NOT NULL,
    path_style BIGINT NOT NULL,
    role_arn TEXT NOT NULL,
    access_key_id TEXT NOT NULL,
    -- sealed under the master key; empty: none
    secret_access_key BYTES NOT NULL,
    vault_secret BYTES NOT NULL,
    is_default BIGINT NOT NULL,
    append_only BIGINT NOT NULL,
    append_only_detail TEXT NOT NULL,
    created_micros BIGINT NOT NULL,
    last_scan_micros BIGINT NOT NULL
);

-- Repositories that the coordinator has made or opened.
CREATE TABLE repositories (
    vault_id TEXT NOT NULL,
    source TEXT NOT NULL,
    opened_micros BIGINT NOT NULL,
    PRIMARY KEY (vault_id, source)
);

CREATE TABLE runs (
    id TEXT NOT NULL PRIMARY KEY,
    source TEXT NOT NULL,
    vault TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    -- holdfast.v1.RunSpec
    spec BYTES NOT NULL,
    requested_by TEXT NOT NULL,
    -- NULL: none was given
    idempotency_key TEXT UNIQUE,
    traceparent TEXT NOT NULL,
    after_run TEXT NOT NULL,
    state TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    created_micros BIGINT NOT NULL,
    started_micros BIGINT NOT NULL,
    finished_micros BIGINT NOT NULL,
    not_before_micros BIGINT NOT NULL,
    cancelled_by TEXT NOT NULL,
    permitted_epoch BIGINT NOT NULL,
    permitted_snapshot TEXT NOT NULL,
    -- holdfast.v1.Progress and holdfast.v1.RunResult; empty: none
    progress BYTES NOT NULL,
    result BYTES NOT NULL,
    last_sequence BIGINT NOT NULL
);
CREATE INDEX runs_state ON runs (state);
CREATE INDEX runs_source ON runs (source, created_micros);

CREATE TABLE run_events (
    run_id TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    time_micros BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    -- "state", "progress" or "log"
    kind TEXT NOT NULL,
    -- holdfast.v1.RunEvent
    event BYTES NOT NULL,
    PRIMARY KEY (run_id, sequence)
);

-- A cache of what the vaults hold.
CREATE TABLE snapshots (
    vault TEXT NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    method TEXT NOT NULL,
    time_micros BIGINT NOT NULL,
    host TEXT NOT NULL,
    run_id TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    standing TEXT NOT NULL,
    read_bytes BIGINT NOT NULL,
    new_bytes BIGINT NOT NULL,
    stored_bytes BIGINT NOT NULL,
    -- JSON array
    tags TEXT NOT NULL,
    manifest TEXT NOT NULL,
    PRIMARY KEY (vault, source, id)
);
CREATE INDEX snapshots_source ON snapshots (source, time_micros);

-- What was handed out, without the secrets: what a revoked agent can still do.
CREATE TABLE grants (
    id TEXT NOT NULL PRIMARY KEY,
    run_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    operator TEXT NOT NULL,
    vault TEXT NOT NULL,
    repository TEXT NOT NULL,
    -- "sts", "static" or "none"
    credentials TEXT NOT NULL,
    access_key_id TEXT NOT NULL,
    issued_micros BIGINT NOT NULL,
    expires_micros BIGINT NOT NULL
);
CREATE INDEX grants_agent ON grants (agent_id);

CREATE TABLE audit (
    sequence BIGINT NOT NULL PRIMARY KEY,
    time_micros BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    -- SHA-256 over the previous hash and this row
    hash BYTES NOT NULL
);
CREATE TABLE audit_head (
    id BIGINT NOT NULL PRIMARY KEY,
    sequence BIGINT NOT NULL,
    hash BYTES NOT NULL
);
