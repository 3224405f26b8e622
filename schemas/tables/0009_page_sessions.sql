CREATE TABLE IF NOT EXISTS page_sessions {on_cluster}
(
    session_id String COMMENT 'Public part of the cookie: says which session, opens nothing',
    secret_sha256 FixedString(64) COMMENT 'SHA-256 of the secret part, in hexadecimal',
    token_id String COMMENT 'Token that it was opened with, and with which it ends',
    opened_at DateTime('UTC') COMMENT 'When its person signed in',
    expires_at DateTime('UTC') COMMENT 'When it ends by itself',
    ended UInt8 COMMENT '1 when its person signed out'
)
ENGINE = {replicated}ReplacingMergeTree(ended)
ORDER BY session_id
TTL expires_at + INTERVAL 1 DAY
COMMENT 'Who is signed in to the page, hashed';
