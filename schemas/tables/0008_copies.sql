-- Two processes under one boot_id (a memory snapshot restored twice): what tells them apart, and how many there are.

ALTER TABLE boot_states {on_cluster}
    ADD COLUMN IF NOT EXISTS recent_ends Array(UInt64) COMMENT 'Ends of the newest batches, in microseconds since 1970; 0 for one that has not come',
    ADD COLUMN IF NOT EXISTS stepped_back UInt8 COMMENT '1 where the sender''s clock stepped back',
    ADD COLUMN IF NOT EXISTS copies UInt8 COMMENT 'Other processes that sent under this boot_id, each counted as a boot of its own: boot_id~2, boot_id~3 ...',
    ADD COLUMN IF NOT EXISTS conflicts UInt64 COMMENT 'Batches that are not counted, as they came from yet more processes under this boot_id',
    ADD COLUMN IF NOT EXISTS copy_of String COMMENT 'The boot_id that this process sent under, where it is a copy; else empty',
    ADD COLUMN IF NOT EXISTS begin_seq UInt64 COMMENT 'First seq of this process: not 0 for a copy',
    ADD COLUMN IF NOT EXISTS inherited String COMMENT 'What the copy''s own totals held when it was copied, as JSON: its agent_ columns are without it';

ALTER TABLE boots {on_cluster}
    ADD COLUMN IF NOT EXISTS recent_ends Array(UInt64) COMMENT 'Ends of the newest batches, in microseconds since 1970; 0 for one that has not come',
    ADD COLUMN IF NOT EXISTS stepped_back UInt8 COMMENT '1 where the sender''s clock stepped back',
    ADD COLUMN IF NOT EXISTS copies UInt8 COMMENT 'Other processes that sent under this boot_id, each counted as a boot of its own: boot_id~2, boot_id~3 ...',
    ADD COLUMN IF NOT EXISTS conflicts UInt64 COMMENT 'Batches that are not counted, as they came from yet more processes under this boot_id',
    ADD COLUMN IF NOT EXISTS copy_of String COMMENT 'The boot_id that this process sent under, where it is a copy; else empty',
    ADD COLUMN IF NOT EXISTS begin_seq UInt64 COMMENT 'First seq of this process: not 0 for a copy',
    ADD COLUMN IF NOT EXISTS inherited String COMMENT 'What the copy''s own totals held when it was copied, as JSON: its agent_ columns are without it';

DROP VIEW IF EXISTS boots_from_states {on_cluster};

CREATE MATERIALIZED VIEW IF NOT EXISTS boots_from_states {on_cluster} TO boots
AS SELECT * FROM boot_states;
