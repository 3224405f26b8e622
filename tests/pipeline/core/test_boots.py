"""Which batches of a boot were counted: the state by seq."""

from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.pipeline.core.boots import MAX_GAPS, RECENT, Boot, BootKey, Boots

KEY = BootKey("acme", "llm", "r1", "b1")

seqs = st.lists(st.integers(0, 30), max_size=60)


def accepted(boot: Boot, seqs) -> list[int]:
    return [seq for seq in seqs if boot.accept(seq)]


@given(seqs)
def test_each_seq_is_accepted_once(seqs):
    assert accepted(Boot(KEY), seqs) == list(dict.fromkeys(seqs))


@given(seqs)
def test_batches_duplicates_and_missing_add_up(seqs):
    boot = Boot(KEY)
    accepted(boot, seqs)
    assert boot.batches == len(set(seqs))
    assert boot.duplicates == len(seqs) - len(set(seqs))
    assert boot.next_seq == max(seqs, default=-1) + 1
    assert boot.missing == boot.next_seq - boot.batches


@given(seqs)
def test_gaps_are_the_seqs_that_did_not_come(seqs):
    boot = Boot(KEY)
    accepted(boot, seqs)
    inside = [seq for start, end in boot.gaps for seq in range(start, end)]
    assert inside == sorted(set(range(boot.next_seq)) - set(seqs))
    assert all(start < end for start, end in boot.gaps)


@given(st.integers(0, 30), st.lists(st.integers(0, 60), max_size=60))
def test_a_copy_is_counted_from_the_first_of_its_batches_that_arrives(begin, seqs):
    """Like each boot from 0, though an earlier batch may arrive later."""
    copy = Boot(KEY, next_seq=begin, last_seq=begin, begin_seq=begin, copy_of="b1")
    sent = [begin, *seqs]
    assert accepted(copy, sent) == list(dict.fromkeys(sent))
    assert (copy.begin_seq, copy.next_seq) == (min(sent), max(sent) + 1)
    inside = [seq for start, end in copy.gaps for seq in range(start, end)]
    assert sorted(inside) == sorted(set(range(min(sent), max(sent))) - set(sent))
    assert len(inside) == copy.missing


@given(st.integers(0, 30), st.lists(st.integers(0, 60), max_size=60))
def test_the_ends_of_the_newest_batches_are_remembered(begin, seqs):
    copy = Boot(KEY, next_seq=begin, last_seq=begin, begin_seq=begin)
    for seq in (begin, *seqs):
        copy.accept(seq, end_us=seq + 1)
    newest = range(copy.next_seq - len(copy.recent_ends), copy.next_seq)
    assert len(newest) <= RECENT
    assert newest.start >= copy.begin_seq
    assert {seq for seq in range(-5, 70) if copy.knows(seq)} == {begin, *seqs} & set(newest)
    assert [end for end in copy.recent_ends if end] == [seq + 1 for seq in newest if seq in {begin, *seqs}]


def test_of_many_gaps_the_oldest_are_forgotten_and_stay_missing():
    boot = Boot(KEY)
    accepted(boot, range(0, 2 * MAX_GAPS + 10, 2))
    assert len(boot.gaps) == MAX_GAPS
    assert boot.missing == MAX_GAPS + 4
    assert not boot.accept(1)
    assert boot.duplicates == 1


def test_filling_one_wide_gap_here_and_there_does_not_make_endless_gaps():
    boot = Boot(KEY)
    boot.accept(1_000_000)
    accepted(boot, range(1, 999_999, 1_000))
    assert len(boot.gaps) == MAX_GAPS


def test_a_late_fill_is_not_the_newest():
    boot = Boot(KEY)
    assert boot.saw(5, 500, 600)
    assert not boot.saw(3, 300, 400)
    assert (boot.first_us, boot.last_us, boot.last_seq) == (300, 600, 5)


def test_the_newest_is_known_by_seq_even_when_the_agents_clock_jumps_back():
    boot = Boot(KEY)
    boot.saw(5, 500, 600)
    assert boot.saw(6, 100, 200)
    assert boot.last_us == 200


def test_dirty_boots_are_taken_once():
    boots, boot = Boots(), Boot(KEY)
    boots.restore(boot)
    boots.touch(boot, 7, 1_000)
    assert boots.take_dirty() == [boot]
    assert boots.take_dirty() == []
    assert boot.version == 7


def test_what_is_in_memory_is_not_restored_over():
    boots = Boots()
    boots.restore(Boot(KEY, next_seq=5))
    boots.restore(Boot(KEY, next_seq=1))
    assert boots[KEY].next_seq == 5


def test_quiet_boots_are_forgotten_unless_their_rows_wait():
    boots = Boots()
    for name, at_ms in (("b1", 1_000), ("b2", 2_000), ("b3", 3_000)):
        boot = Boot(KEY._replace(boot_id=name))
        boots.restore(boot)
        boots.touch(boot, 1, at_ms)
    boots.take_unclosed()
    boots.touch(boots[KEY], 2, 1_000)
    boots.forget_before(3_000)
    assert [KEY._replace(boot_id=name) in boots for name in ("b1", "b2", "b3")] == [True, False, True]
