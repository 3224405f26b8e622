-- Two processes with one boot_id (a memory snapshot restored twice): what distinguishes them, and how many there are.

ALTER TABLE boot_states {on_cluster}
    ADD COLUMN IF NOT EXISTS recent_ends Array(UInt64) COMMENT 'Ends of the newest batches, in microseconds since 1970; 0 for a batch that has not arrived',
    ADD COLUMN IF NOT EXISTS stepped_back UInt8 COMMENT '1 if the sender''s clock stepped back',
    ADD COLUMN IF NOT EXISTS copies UInt8 COMMENT 'Other processes that sent with this boot_id, each counted as a separate boot: boot_id~2, boot_id~3 ...',
    ADD COLUMN IF NOT EXISTS conflicts UInt64 COMMENT 'Batches that are not counted because they came from even more processes with this boot_id',
    ADD COLUMN IF NOT EXISTS copy_of String COMMENT 'The boot_id that this process sent, if it is a copy; otherwise empty',
    ADD COLUMN IF NOT EXISTS begin_seq UInt64 COMMENT 'First seq of this process: not 0 for a copy',
    ADD COLUMN IF NOT EXISTS inherited String COMMENT 'The copy''s own totals at the time it was copied, as JSON; its agent_ columns do not include them';

ALTER TABLE boots {on_cluster}
    ADD COLUMN IF NOT EXISTS recent_ends Array(UInt64) COMMENT 'Ends of the newest batches, in microseconds since 1970; 0 for a batch that has not arrived',
    ADD COLUMN IF NOT EXISTS stepped_back UInt8 COMMENT '1 if the sender''s clock stepped back',
    ADD COLUMN IF NOT EXISTS copies UInt8 COMMENT 'Other processes that sent with this boot_id, each counted as a separate boot: boot_id~2, boot_id~3 ...',
    ADD COLUMN IF NOT EXISTS conflicts UInt64 COMMENT 'Batches that are not counted because they came from even more processes with this boot_id',
    ADD COLUMN IF NOT EXISTS copy_of String COMMENT 'The boot_id that this process sent, if it is a copy; otherwise empty',
    ADD COLUMN IF NOT EXISTS begin_seq UInt64 COMMENT 'First seq of this process: not 0 for a copy',
    ADD COLUMN IF NOT EXISTS inherited String COMMENT 'The copy''s own totals at the time it was copied, as JSON; its agent_ columns do not include them';

DROP VIEW IF EXISTS boots_from_states {on_cluster};

CREATE MATERIALIZED VIEW IF NOT EXISTS boots_from_states {on_cluster} TO boots
AS SELECT * FROM boot_states;
