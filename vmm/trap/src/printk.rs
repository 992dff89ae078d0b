//! The kernel's log, read from guest memory: it needs no console and no living kernel.
//!
//! Source: kernel/printk/printk_ringbuffer.h (since Linux 5.10). A ring of descriptors, a ring of infos of
//! the same length, and a ring of text. The kernel writes without locks and marks each descriptor's state,
//! which is what makes reading from outside sound: a record counts only when its state says that it is
//! whole before and after it was copied.

use machine::{AddressSpace, AtOnce, GuestVirtualAddress};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

/// One line of the kernel's log, as it stood in guest memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Sequence number; a gap means that lines were overwritten before they could be read.
    pub seq: u64,
    /// Since boot, by the guest's clock.
    pub time: Duration,
    /// 0 (emergency) to 7 (debug).
    pub level: u8,
    /// A program wrote it, by /dev/kmsg, and not the kernel. That gives such lines another facility than its own
    /// (Documentation/ABI/testing/dev-kmsg).
    pub user: bool,
    /// Who printed it, where that is known.
    pub caller: Option<Caller>,
    /// Without time and level; control characters as the kernel stored them, what is no UTF-8 is replaced.
    pub text: String,
}

/// Who printed a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Caller {
    /// The task with this number.
    Task(u32),
    /// This CPU, outside of any task: an interrupt.
    Cpu(u32),
}

impl Caller {
    /// `printk_caller_id` of kernel/printk/printk.c.
    fn of(id: u32) -> Self {
        const CPU: u32 = 1 << 31;
        if id & CPU != 0 { Self::Cpu(id & !CPU) } else { Self::Task(id) }
    }
}

/// A reader that remembers how far it got.
pub struct KernelLog {
    space: AddressSpace,
    /// The kernel's variable `prb`, which points to the ring in use.
    prb: GuestVirtualAddress,
    at: LogPosition,
    /// The newest of those that were read whole: their numbers, where they are, and what they were.
    whole: VecDeque<(u64, Place, u64)>,
}

/// So many records are looked at again.
const MOST_READ_AGAIN: usize = 256;

/// How far a reader got: plain data, which another reader of the same guest can go on from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    next_seq: u64,
    /// So many bytes of that record have been read: it had no end yet.
    read: usize,
    /// Where its descriptor is: those before it need not be looked at again.
    place: Option<Place>,
}

/// A descriptor in one of the rings that a kernel uses one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    descs: u64,
    id: u64,
}

/// Offsets in `struct printk_ringbuffer`: the descriptor ring comes first.
mod ring {
    pub const COUNT_BITS: u64 = 0;
    pub const DESCS: u64 = 8;
    pub const INFOS: u64 = 16;
    pub const HEAD_ID: u64 = 24;
    pub const TAIL_ID: u64 = 32;
    /// Where the text ring begins: the descriptor ring got another field in 6.8.
    pub const TEXT_RINGS: [u64; 2] = [48, 40];
    /// In `struct prb_data_ring`: where its newest block ends, counted from the first that there ever was.
    pub const TEXT_HEAD: u64 = 16;
}

const DESC_SIZE: u64 = 24;
/// Of `struct printk_info`; the second with CONFIG_PRINTK_EXECUTION_CTX, which no symbol tells of.
const INFO_SIZES: [u64; 2] = [88, 112];
const ID_MASK: u64 = u64::MAX >> 2;
const COMMITTED: u64 = 1;
const FINALIZED: u64 = 2;

/// A batch: what is returned by one read at the most, so that a flood of lines stays in bounds.
const BATCH: usize = 8192;
/// The clock is looked at for so many records at once.
const CLOCK_EVERY: u64 = 16;
/// No record is longer, in bytes (PRINTKRB_RECORD_MAX of kernel/printk/internal.h is 1024, 2048 since 6.4).
const LONGEST: u64 = 4096;

/// Which records count. The kernel finishes one with the next one, or when its text ends with a newline; until then
/// more can be put behind it (`pr_cont`).
#[derive(Clone, Copy, PartialEq)]
enum Take {
    /// Those that are finished.
    Finished,
    /// The last one, too, as far as it has been written.
    Written,
    /// The same in a guest that runs no more: what was being written then stays unknown.
    Left,
}

/// What a descriptor stands for.
enum Found {
    Whole {
        record: LogRecord,
        /// Its text may go on behind so many bytes.
        open: Option<usize>,
    },
    /// The kernel is still writing it.
    Unfinished,
    /// It was read before, or can't be read any more.
    Nothing,
}

struct Rings {
    count: u64,
    descs: u64,
    infos: u64,
    info_size: u64,
    tail: u64,
    records: u64,
    text: u64,
    text_size: u64,
    text_head: u64,
}

impl Rings {
    fn desc(&self, id: u64) -> u64 {
        self.descs.wrapping_add(self.slot(id) * DESC_SIZE)
    }

    fn info(&self, id: u64) -> u64 {
        self.infos.wrapping_add(self.slot(id) * self.info_size)
    }

    fn slot(&self, id: u64) -> u64 {
        id & (self.count - 1)
    }
}

impl KernelLog {
    /// A reader of the ring that the kernel's variable `prb` at this address points to.
    pub fn new(space: AddressSpace, prb: u64) -> Self {
        Self { space, prb: GuestVirtualAddress(prb), at: LogPosition::default(), whole: VecDeque::new() }
    }

    /// How far it got.
    pub fn position(&self) -> &LogPosition {
        &self.at
    }

    /// Goes on from where another reader was.
    pub fn set_position(&mut self, position: LogPosition) {
        self.at = position;
        self.whole.clear();
    }

    /// The numbers of records that are not as they were when they were read. The kernel changes none; it overwrites old
    /// ones, and then says so.
    pub fn changed(&mut self) -> Vec<u64> {
        let Some(rings) = self.rings() else { return Vec::new() };
        let mut whole = std::mem::take(&mut self.whole);
        let mut changed = Vec::new();
        let space = self.space.at_once();
        whole.retain_mut(|(seq, place, was)| {
            // Another ring, or overwritten: there is nothing to compare any more.
            let now = (place.descs == rings.descs).then(|| digest(&space, &rings, place.id)).flatten();
            if let Some(now) = now
                && now != *was
            {
                changed.push(*seq);
                *was = now;
            }
            now.is_some()
        });
        self.whole = whole;
        changed
    }

    /// Where the ring's three parts are, and how long.
    pub fn parts(&self) -> Option<[(&'static str, u64); 5]> {
        let rings = self.rings()?;
        let lengths = [("records", rings.count), ("bytes", rings.text_size)];
        Some([
            ("descriptors", rings.descs),
            ("infos", rings.infos),
            ("text", rings.text),
            lengths[0],
            lengths[1],
        ])
    }

    /// What came since the last time; of more than can be read until then, the first. Nothing, when the ring can't be
    /// found: before the kernel mapped its memory, or after it destroyed it.
    pub fn read(&mut self, until: Instant) -> Vec<LogRecord> {
        self.collect(Take::Finished, until)
    }

    /// The same with a last line that has no end yet, as after a `printk` without a newline. Should the kernel put
    /// more behind it, that comes as another record of the same number.
    pub fn read_written(&mut self, until: Instant) -> Vec<LogRecord> {
        self.collect(Take::Written, until)
    }

    /// The same for a guest that runs no more.
    pub fn read_last(&mut self, until: Instant) -> Vec<LogRecord> {
        self.collect(Take::Left, until)
    }

    /// The descriptor that keeps back finished records behind it, since it is none. The kernel writes one in microseconds, and
    /// does nothing else meanwhile.
    pub fn keeps_back(&self) -> Option<u64> {
        let rings = self.rings()?;
        let first = self.first(&rings);
        let is_finished = |index: u64| {
            let id = rings.tail.wrapping_add(index) & ID_MASK;
            self.u64(rings.desc(id)) == Some(FINALIZED << 62 | id)
        };
        let behind = (first.saturating_add(1)..rings.records).take(BATCH);
        let kept = first < rings.records && !is_finished(first) && behind.into_iter().any(is_finished);
        kept.then(|| rings.tail.wrapping_add(first) & ID_MASK)
    }

    /// How much of the ring holds what has not been read: 0 for nothing, 1 when the kernel is about to overwrite it.
    pub fn backlog(&self) -> f64 {
        let Some(rings) = self.rings() else { return 0.0 };
        let first = self.first(&rings);
        let unread = rings.records - first;
        if unread == 0 {
            return 0.0;
        }
        let desc = rings.desc(rings.tail.wrapping_add(first));
        // A record without text says so with an odd place.
        let begin = self.u64(desc.wrapping_add(8)).filter(|begin| begin & 1 == 0);
        let text = begin.map_or(0, |begin| rings.text_head.wrapping_sub(begin).min(rings.text_size));
        (unread as f64 / rings.count as f64).max(text as f64 / rings.text_size as f64)
    }

    /// The first descriptor to be looked at, counted from the tail.
    fn first(&self, rings: &Rings) -> u64 {
        let known = self.at.place.filter(|place| place.descs == rings.descs);
        let index = known.map_or(0, |place| place.id.wrapping_sub(rings.tail) & ID_MASK);
        // It may have been overwritten since.
        if index <= rings.records { index } else { 0 }
    }

    fn collect(&mut self, take: Take, until: Instant) -> Vec<LogRecord> {
        let Some(rings) = self.rings() else { return Vec::new() };
        let mut records = Vec::new();
        let mut whole = VecDeque::new();
        let mut next = (self.at.next_seq, self.at.read);
        for index in self.first(&rings)..rings.records {
            let id = rings.tail.wrapping_add(index) & ID_MASK;
            self.at.place = Some(Place { descs: rings.descs, id });
            match self.find(&rings, id, take) {
                Found::Whole { record, open } => {
                    next = open.map_or((record.seq.saturating_add(1), 0), |length| (record.seq, length));
                    let seq = record.seq;
                    records.push(record);
                    if open.is_none() {
                        if whole.len() == MOST_READ_AGAIN {
                            whole.pop_front();
                        }
                        whole.push_back((seq, id));
                        self.at.place = Some(Place { descs: rings.descs, id: id.wrapping_add(1) & ID_MASK });
                    }
                }
                // By the time that we look at the next one, both may be whole. Who went on would lose this one, for
                // what came before the newest counts as read.
                Found::Unfinished if take != Take::Left => break,
                Found::Unfinished | Found::Nothing => {}
            }
            if records.len() == BATCH || (index % CLOCK_EVERY == CLOCK_EVERY - 1 && Instant::now() >= until) {
                break;
            }
        }
        (self.at.next_seq, self.at.read) = next;
        let space = self.space.at_once();
        for (seq, id) in whole {
            let digest = digest(&space, &rings, id);
            self.whole.extend(digest.map(|digest| (seq, Place { descs: rings.descs, id }, digest)));
        }
        let excess = self.whole.len().saturating_sub(MOST_READ_AGAIN);
        self.whole.drain(..excess);
        records
    }

    fn u64(&self, at: u64) -> Option<u64> {
        self.space.read_u64(GuestVirtualAddress(at))
    }

    fn rings(&self) -> Option<Rings> {
        let ring = self.space.read_u64(self.prb)?;
        let at = |offset: u64| ring.wrapping_add(offset);
        let count_bits = self.u64(at(ring::COUNT_BITS))? & 0xffff_ffff;
        if !(4..=24).contains(&count_bits) {
            return None;
        }
        let count = 1 << count_bits;
        let tail = self.u64(at(ring::TAIL_ID))? & ID_MASK;
        let head = self.u64(at(ring::HEAD_ID))? & ID_MASK;
        let records =
            (head.wrapping_sub(tail) & ID_MASK).checked_add(1).filter(|records| *records <= count)?;
        let (text, text_size, text_head) = ring::TEXT_RINGS.into_iter().find_map(|offset| {
            let bits = self.u64(at(offset))? & 0xffff_ffff;
            let text = self.u64(at(offset + 8))?;
            let head = self.u64(at(offset + ring::TEXT_HEAD))?;
            ((10..=30).contains(&bits) && text >> 47 == 0x1_ffff).then(|| (text, 1u64 << bits, head))
        })?;
        let (descs, infos) = (self.u64(at(ring::DESCS))?, self.u64(at(ring::INFOS))?);
        let info_size = INFO_SIZES[0];
        let rings = Rings { count, descs, infos, info_size, tail, records, text, text_size, text_head };
        Some(Rings { info_size: self.info_size(&rings).unwrap_or(info_size), ..rings })
    }

    /// The length of an info. Each stands in the place that its number says (`prb_reserve`), so one that is not in the first is enough.
    fn info_size(&self, rings: &Rings) -> Option<u64> {
        const TRIED: u64 = 64;
        let ids = (0..rings.records.min(TRIED)).map(|index| rings.tail.wrapping_add(index) & ID_MASK);
        let whole = |id: &u64| self.u64(rings.desc(*id)) == Some(FINALIZED << 62 | id);
        let id = ids.filter(|id| rings.slot(*id) != 0).find(whole)?;
        INFO_SIZES.into_iter().find(|size| {
            let seq = self.u64(rings.infos.wrapping_add(rings.slot(id) * size));
            seq.is_some_and(|seq| rings.slot(seq) == rings.slot(id))
        })
    }

    fn find(&self, rings: &Rings, id: u64, take: Take) -> Found {
        let desc = rings.desc(id);
        let state = || self.u64(desc).filter(|state| state & ID_MASK == id).map(|state| state >> 62);
        let before = match state() {
            Some(FINALIZED) => FINALIZED,
            Some(COMMITTED) if take != Take::Finished => COMMITTED,
            Some(now) if now < FINALIZED => return Found::Unfinished,
            _ => return Found::Nothing,
        };
        let record = self.record(rings, id);
        match (record, state()) {
            // There is nothing of it yet: it would be found again and again.
            (Some((record, _)), Some(COMMITTED)) if record.text.is_empty() => Found::Unfinished,
            (Some((record, length)), Some(after)) if after == before => {
                Found::Whole { record, open: (after == COMMITTED).then_some(length) }
            }
            // Something was put behind it meanwhile.
            (Some(_), Some(after)) if after <= FINALIZED => Found::Unfinished,
            // Overwritten while we read it: then it is lost, as it would be for the kernel's own readers.
            _ => Found::Nothing,
        }
    }

    /// A record, and the length of all of its text; of one that was begun before, what is new.
    fn record(&self, rings: &Rings, id: u64) -> Option<(LogRecord, usize)> {
        let mut info = [0; 24];
        self.space.read(GuestVirtualAddress(rings.info(id)), &mut info)?;
        let field = |at: usize| u64::from_le_bytes(info[at..at + 8].try_into().expect("eight bytes"));
        let seq = field(0);
        if seq < self.at.next_seq {
            return None;
        }
        let length = u64::from(u16::from_le_bytes([info[16], info[17]]));
        let text = text(&self.space.at_once(), rings, rings.desc(id), length)?;
        let begun = seq == self.at.next_seq && self.at.read > 0;
        let new =
            text.get(if begun { self.at.read } else { 0 }..).filter(|new| !(begun && new.is_empty()))?;
        let record = LogRecord {
            seq,
            time: Duration::from_nanos(field(8)),
            level: info[19] >> 5,
            user: info[18] != 0,
            caller: Some(Caller::of(u32::from_le_bytes([info[20], info[21], info[22], info[23]]))),
            text: String::from_utf8_lossy(new).into_owned(),
        };
        Some((record, text.len()))
    }
}

fn text(space: &AtOnce, rings: &Rings, desc: u64, length: u64) -> Option<Vec<u8>> {
    let word = |offset: u64| space.read_u64(GuestVirtualAddress(desc.wrapping_add(offset)));
    let (begin, next) = (word(8)?, word(16)?);
    if begin & 1 != 0 {
        return Some(Vec::new());
    }
    let wraps = |position: u64| position / rings.text_size;
    // A block that would cross the ring's end is stored at its start.
    let same_lap = wraps(begin) == wraps(next.wrapping_sub(1));
    let start = if same_lap { begin % rings.text_size } else { 0 };
    // The block begins with the descriptor's id.
    let room = rings.text_size.checked_sub(start + 8)?;
    let mut text = vec![0; length.min(room).min(LONGEST) as usize];
    space.read(GuestVirtualAddress(rings.text.wrapping_add(start + 8)), &mut text)?;
    Some(text)
}

/// Of a finished record: all that is read of it.
fn digest(space: &AtOnce, rings: &Rings, id: u64) -> Option<u64> {
    let desc = rings.desc(id);
    let whole = || space.read_u64(GuestVirtualAddress(desc)).filter(|state| *state == FINALIZED << 62 | id);
    whole()?;
    let mut info = [0; 24];
    space.read(GuestVirtualAddress(rings.info(id)), &mut info)?;
    let text = text(space, rings, desc, u64::from(u16::from_le_bytes([info[16], info[17]])));
    whole()?;
    let mut hasher = DefaultHasher::new();
    (info, text).hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
#[path = "printk_test.rs"]
mod tests;
