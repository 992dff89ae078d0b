use super::*;
use machine::Memory;
use vm_memory::{Bytes, GuestAddress};

/// Where the kernel has all of memory.
const DIRECT: u64 = 0xffff_8880_0000_0000;
const PRB: u64 = 0x3000;
const RING: u64 = 0x4000;
const DESCS: u64 = 0x10000;
const INFOS: u64 = 0x20000;
const TEXT: u64 = 0x40000;
const COUNT_BITS: u64 = 5;
const TEXT_BITS: u64 = 16;
/// Of each record in the text ring, in bytes; the first eight are the descriptor's id.
const BLOCK: u64 = 512;
const RESERVED: u64 = 0;

/// Longer than any of these tests reads.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A ring as the kernel lays it out, written by hand.
struct Guest {
    memory: Memory,
}

impl Guest {
    fn new() -> Self {
        let guest = Self { memory: machine::create_memory(2).unwrap() };
        // One top entry, one large page of 1 GiB.
        guest.put(0x1000 + (DIRECT >> 39 & 511) * 8, 0x2000 | 3);
        guest.put(0x2000, 1 << 7 | 3);
        guest.put(PRB, DIRECT + RING);
        guest.put(RING + ring::COUNT_BITS, COUNT_BITS);
        guest.put(RING + ring::DESCS, DIRECT + DESCS);
        guest.put(RING + ring::INFOS, DIRECT + INFOS);
        guest.put(RING + ring::TEXT_RINGS[0], TEXT_BITS);
        guest.put(RING + ring::TEXT_RINGS[0] + 8, DIRECT + TEXT);
        guest
    }

    fn put(&self, at: u64, value: u64) {
        self.memory.write_obj(value, GuestAddress(at)).unwrap();
    }

    /// The ring has the records from one id to another.
    fn holds(&self, tail: u64, head: u64) {
        self.put(RING + ring::TAIL_ID, tail);
        self.put(RING + ring::HEAD_ID, head);
    }

    /// A record whose text is its id.
    fn record(&self, id: u64, state: u64) {
        self.says(id, state, &format!("line {id}"));
    }

    fn says(&self, id: u64, state: u64, text: &str) {
        let slot = id % (1 << COUNT_BITS);
        let begin = id * BLOCK;
        self.put(DESCS + slot * DESC_SIZE, state << 62 | id);
        self.put(DESCS + slot * DESC_SIZE + 8, begin);
        self.put(DESCS + slot * DESC_SIZE + 16, begin + BLOCK);
        self.put(INFOS + slot * INFO_SIZES[0], id);
        self.put(INFOS + slot * INFO_SIZES[0] + 8, id * 1_000_000);
        self.put(INFOS + slot * INFO_SIZES[0] + 16, text.len() as u64 | 6 << 29);
        self.put(RING + ring::TEXT_RINGS[0] + ring::TEXT_HEAD, begin + BLOCK);
        let place = TEXT + begin % (1 << TEXT_BITS) + 8;
        self.memory.write_slice(text.as_bytes(), GuestAddress(place)).unwrap();
    }

    fn log(&self) -> KernelLog {
        KernelLog::new(AddressSpace::new(self.memory.clone(), 0x1000, 0), DIRECT + PRB)
    }
}

fn ids(records: &[LogRecord]) -> Vec<u64> {
    records.iter().for_each(|record| assert_eq!(record.text, format!("line {}", record.seq)));
    records.iter().map(|record| record.seq).collect()
}

#[test]
fn each_record_is_read_once_with_its_time_and_level() {
    let guest = Guest::new();
    (0..5).for_each(|id| guest.record(id, FINALIZED));
    guest.holds(0, 2);
    let mut log = guest.log();
    let records = log.read(later());
    assert_eq!(ids(&records), [0, 1, 2]);
    assert_eq!((records[2].time, records[2].level), (Duration::from_millis(2), 6));
    guest.holds(0, 4);
    assert_eq!(ids(&log.read(later())), [3, 4]);
    assert_eq!(log.read(later()), []);
}

#[test]
fn what_a_program_wrote_is_told_apart_by_its_facility() {
    let guest = Guest::new();
    (0..2).for_each(|id| guest.record(id, FINALIZED));
    // LOG_USER, what /dev/kmsg gives to all that names none.
    guest.put(INFOS + INFO_SIZES[0] + 16, "line 1".len() as u64 | 1 << 16 | 6 << 29);
    guest.holds(0, 1);
    let records = guest.log().read(later());
    assert_eq!(records.iter().map(|record| record.user).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_record_that_is_being_written_is_waited_for() {
    for unfinished in [RESERVED, COMMITTED] {
        let guest = Guest::new();
        [(0, FINALIZED), (1, unfinished), (2, FINALIZED)]
            .iter()
            .for_each(|(id, state)| guest.record(*id, *state));
        guest.holds(0, 2);
        let mut log = guest.log();
        assert_eq!(ids(&log.read(later())), [0]);
        assert_eq!(log.read(later()), []);
        guest.record(1, FINALIZED);
        assert_eq!(ids(&log.read(later())), [1, 2]);
    }
}

#[test]
fn a_record_that_keeps_others_back_is_told_and_one_at_the_end_is_not() {
    for unfinished in [RESERVED, COMMITTED] {
        let guest = Guest::new();
        [(0, FINALIZED), (1, unfinished), (2, FINALIZED), (3, unfinished)]
            .iter()
            .for_each(|(id, state)| guest.record(*id, *state));
        guest.holds(0, 1);
        let mut log = guest.log();
        log.read(later());
        assert_eq!(log.keeps_back(), None);
        guest.holds(0, 2);
        assert_eq!(log.keeps_back(), Some(1));
        guest.record(1, FINALIZED);
        guest.holds(0, 3);
        log.read(later());
        assert_eq!(log.keeps_back(), None);
    }
}

#[test]
fn a_line_without_its_end_is_read_when_asked_for_and_what_follows_it_later() {
    let guest = Guest::new();
    let texts = |records: Vec<LogRecord>| records.into_iter().map(|it| (it.seq, it.text)).collect::<Vec<_>>();
    guest.record(0, FINALIZED);
    guest.says(1, COMMITTED, "hello");
    guest.holds(0, 1);
    let mut log = guest.log();
    assert_eq!(ids(&log.read(later())), [0]);
    assert_eq!(texts(log.read_written(later())), [(1, "hello".to_owned())]);
    assert_eq!(texts(log.read_written(later())), [], "once");
    guest.says(1, COMMITTED, "hello, wor");
    assert_eq!(texts(log.read(later())), [], "it may go on");
    assert_eq!(texts(log.read_written(later())), [(1, ", wor".to_owned())]);
    guest.says(1, FINALIZED, "hello, world");
    guest.record(2, FINALIZED);
    guest.holds(0, 2);
    assert_eq!(texts(log.read(later())), [(1, "ld".to_owned()), (2, "line 2".to_owned())]);
    assert_eq!(texts(log.read(later())), []);

    // One that is empty so far, and stays so.
    guest.says(3, COMMITTED, "");
    guest.holds(0, 3);
    assert_eq!((log.read_written(later()), log.read_last(later())), (vec![], vec![]));
    guest.says(3, FINALIZED, "");
    assert_eq!(texts(log.read(later())), [(3, String::new())]);

    // One that ended where it was read.
    guest.record(4, COMMITTED);
    guest.holds(0, 4);
    assert_eq!(ids(&log.read_written(later())), [4]);
    guest.record(4, FINALIZED);
    guest.record(5, RESERVED);
    guest.holds(0, 5);
    assert_eq!(log.read_written(later()), [], "this one has no text yet");
    guest.record(5, FINALIZED);
    assert_eq!(ids(&log.read(later())), [5]);
}

#[test]
fn another_reader_goes_on_where_one_was() {
    let guest = Guest::new();
    guest.record(0, FINALIZED);
    guest.says(1, COMMITTED, "hello");
    guest.holds(0, 1);
    let mut log = guest.log();
    assert_eq!(log.read_written(later()).len(), 2);
    let bytes = postcard::to_allocvec(log.position()).unwrap();
    guest.says(1, FINALIZED, "hello, world");
    guest.record(2, FINALIZED);
    guest.holds(0, 2);
    let mut other = guest.log();
    other.set_position(postcard::from_bytes(&bytes).unwrap());
    let texts: Vec<_> = other.read(later()).into_iter().map(|record| record.text).collect();
    assert_eq!(texts, [", world", "line 2"]);
}

#[test]
fn of_a_guest_that_runs_no_more_everything_is_taken_that_has_a_text() {
    let guest = Guest::new();
    [(0, RESERVED), (1, FINALIZED), (2, COMMITTED)].iter().for_each(|(id, state)| guest.record(*id, *state));
    guest.holds(0, 2);
    assert_eq!(ids(&guest.log().read_last(later())), [1, 2]);
}

#[test]
fn what_was_overwritten_is_gone() {
    let guest = Guest::new();
    // The ring has 32 places; the record of 3 is already another's.
    (3..=35).for_each(|id| guest.record(id, FINALIZED));
    guest.holds(3, 34);
    assert_eq!(ids(&guest.log().read(later())), (4..=34).collect::<Vec<u64>>());
}

#[test]
fn what_a_guest_makes_up_is_no_more_than_wrong() {
    let guest = Guest::new();
    guest.record(0, FINALIZED);
    guest.holds(0, 0);
    // As long as a length can be.
    guest.put(INFOS, u64::MAX);
    guest.put(INFOS + 16, u64::MAX);
    let mut log = guest.log();
    let records = log.read(later());
    assert_eq!((records.len(), records[0].seq, records[0].text.len()), (1, u64::MAX, LONGEST as usize));
    log.read(later());
    for (at, value) in [
        (RING + ring::TEXT_RINGS[0], 63),
        (RING + ring::DESCS, u64::MAX),
        (RING + ring::HEAD_ID, u64::MAX),
        (RING + ring::COUNT_BITS, 60),
        (PRB, 7),
    ] {
        guest.put(at, value);
        log.read(later());
        log.read_last(later());
    }
}

#[test]
fn a_reader_falls_behind_as_the_ring_fills_and_catches_up_in_bounded_time() {
    let guest = Guest::new();
    let mut log = guest.log();
    (0..8).for_each(|id| guest.record(id, FINALIZED));
    guest.holds(0, 7);
    // A quarter of the 32 places.
    assert_eq!(log.backlog(), 0.25);
    assert_eq!(ids(&log.read(later())), (0..8).collect::<Vec<u64>>());
    assert_eq!(log.backlog(), 0.0);
    // As much text as the ring has room for, in few records.
    guest.record(8, FINALIZED);
    guest.holds(0, 8);
    guest.put(RING + ring::TEXT_RINGS[0] + ring::TEXT_HEAD, 8 * BLOCK + (1 << TEXT_BITS));
    assert_eq!(log.backlog(), 1.0);
    // What is due is read all the same, the rest later.
    (9..40).for_each(|id| guest.record(id, FINALIZED));
    guest.holds(8, 39);
    assert_eq!(ids(&log.read(later())), (8..40).collect::<Vec<u64>>());
    // Everything was overwritten since.
    (100..132).for_each(|id| guest.record(id, FINALIZED));
    guest.holds(100, 131);
    assert_eq!(log.backlog(), 1.0);
    assert_eq!(ids(&log.read(later())).len(), 32);
}

#[test]
fn a_kernel_that_moves_its_log_to_a_larger_ring_loses_no_line() {
    let guest = Guest::new();
    (0..4).for_each(|id| guest.record(id, FINALIZED));
    guest.holds(0, 3);
    let mut log = guest.log();
    assert_eq!(ids(&log.read(later())), [0, 1, 2, 3]);
    // The same records by other ids, as log_buf_len= brings about, and two more.
    const MOVED: u64 = DESCS + 0x8000;
    guest.put(RING + ring::DESCS, DIRECT + MOVED);
    for seq in 0..6 {
        let id = 64 + seq;
        guest.record(seq, FINALIZED);
        let slot = id % (1 << COUNT_BITS);
        guest.put(MOVED + slot * DESC_SIZE, FINALIZED << 62 | id);
        guest.put(MOVED + slot * DESC_SIZE + 8, seq * BLOCK);
        guest.put(MOVED + slot * DESC_SIZE + 16, (seq + 1) * BLOCK);
    }
    guest.holds(64, 69);
    assert_eq!(ids(&log.read(later())), [4, 5]);
}

#[test]
fn a_read_ends_in_its_time() {
    let guest = Guest::new();
    (0..32).for_each(|id| guest.record(id, FINALIZED));
    guest.holds(0, 31);
    let mut log = guest.log();
    // The clock is not looked at for each line.
    assert_eq!(ids(&log.read(Instant::now())), (0..CLOCK_EVERY).collect::<Vec<u64>>());
    assert_eq!(log.backlog(), 0.5);
    assert_eq!(ids(&log.read(later())), (CLOCK_EVERY..32).collect::<Vec<u64>>());
}

#[test]
fn records_that_are_changed_after_they_were_read_are_told_once() {
    let guest = Guest::new();
    (0..5).for_each(|id| guest.record(id, FINALIZED));
    guest.holds(0, 4);
    let mut log = guest.log();
    assert_eq!(ids(&log.read(later())), [0, 1, 2, 3, 4]);
    assert!(log.changed().is_empty());
    guest.says(2, FINALIZED, "all is well");
    // Overwritten, which is the kernel's right; and one that is gone.
    guest.says(32, FINALIZED, "line 32");
    guest.put(DESCS + DESC_SIZE, 3 << 62 | 1);
    assert_eq!(log.changed(), [2]);
    assert!(log.changed().is_empty());
    assert_eq!(log.parts().unwrap()[1], ("infos", DIRECT + INFOS));
}

/// Numbers that look like chance, and are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        // Xorshift (G. Marsaglia, 2003).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A word that a guest may have put there: a small number, a place in its memory, a state, or anything.
    fn word(&mut self) -> u64 {
        let any = self.roll();
        match self.roll() % 5 {
            0 => any % 64,
            1 => DIRECT + any % (2 << 20),
            2 => ((any % 4) << 62) | (any % 64),
            3 => u64::MAX - any % 64,
            _ => any,
        }
    }
}

#[test]
fn whatever_a_guest_has_for_a_ring_is_read_within_bounds() {
    for seed in 1_u64..400 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let guest = Guest::new();
        (0..32).for_each(|id| guest.record(id, FINALIZED));
        guest.holds(0, 31);
        let mut log = guest.log();
        for _ in 0..6 {
            // Some words each time, mostly in what leads to others.
            for _ in 0..dice.roll() % 12 {
                let (start, words) =
                    [(RING, 10), (DESCS, 96), (INFOS, 352), (TEXT, 2048)][(dice.roll() % 4) as usize];
                let at = start + dice.roll() % words * 8;
                guest.put(at, dice.word());
            }
            // A ring may have millions of descriptors.
            let soon = Instant::now() + Duration::from_millis(5);
            let read = match dice.roll() % 3 {
                0 => log.read(soon),
                1 => log.read_written(soon),
                _ => log.read_last(soon),
            };
            assert!(read.len() <= BATCH, "seed {seed}");
            // What is no UTF-8 becomes three bytes.
            assert!(read.iter().all(|line| line.text.len() as u64 <= 3 * LONGEST), "seed {seed}");
            assert!(log.backlog() >= 0.0 && log.changed().len() <= MOST_READ_AGAIN, "seed {seed}");
        }
    }
}

#[test]
fn who_printed_a_record_is_told() {
    let guest = Guest::new();
    (0..2).for_each(|id| guest.record(id, FINALIZED));
    let length = "line 0".len() as u64 | 6 << 29;
    guest.put(INFOS + 16, length | 4711 << 32);
    guest.put(INFOS + INFO_SIZES[0] + 16, length | (1 << 31 | 3) << 32);
    guest.holds(0, 1);
    let callers: Vec<_> = guest.log().read(later()).into_iter().map(|record| record.caller).collect();
    assert_eq!(callers, [Some(Caller::Task(4711)), Some(Caller::Cpu(3))]);
}

#[test]
fn infos_that_say_more_of_the_printer_are_found_by_their_numbers() {
    let guest = Guest::new();
    (0..32).for_each(|id| guest.record(id, FINALIZED));
    // As with CONFIG_PRINTK_EXECUTION_CTX.
    for id in 0..32 {
        let info = INFOS + id * INFO_SIZES[1];
        guest.put(info, id);
        guest.put(info + 8, id * 1_000_000);
        guest.put(info + 16, format!("line {id}").len() as u64 | 6 << 29);
        (24..INFO_SIZES[1]).step_by(8).for_each(|at| guest.put(info + at, 0));
    }
    guest.holds(0, 31);
    assert_eq!(ids(&guest.log().read(later())), (0..32).collect::<Vec<u64>>());
}
