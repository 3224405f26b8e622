CREATE TABLE IF NOT EXISTS page_sessions {on_cluster}
(
    session_id String COMMENT 'Public part of the cookie: identifies the session, grants no access',
    secret_sha256 FixedString(64) COMMENT 'SHA-256 of the secret part, in hexadecimal',
    token_id String COMMENT 'Token that it was opened with; revoking the token ends the session',
    opened_at DateTime('UTC') COMMENT 'When the user signed in',
    expires_at DateTime('UTC') COMMENT 'When it expires',
    ended UInt8 COMMENT '1 if the user signed out'
)
ENGINE = {replicated}ReplacingMergeTree(ended)
ORDER BY session_id
TTL expires_at + INTERVAL 1 DAY
COMMENT 'Who is signed in to the page, hashed';
