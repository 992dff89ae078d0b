//! Queues from the device's side (virtio 1.3, section 2.7, split virtqueues). The guest writes every byte of them, at
//! any moment.
//!
//! The rings are virtio-queue's. Chains are walked here: virtio-queue lets one that breaks the rules end as if it were
//! complete, and follows indirect tables that nobody has negotiated.

use machine::Memory;
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;
use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Queue, QueueT, desc::split::Descriptor};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemory, Permissions};

/// Chains are read in pieces of so many bytes at the most.
const PIECE: usize = 64 << 10;

/// The driver broke a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// A chain of buffers that the driver has made available. All of them lie in guest memory.
#[derive(Debug)]
pub struct Chain<'a> {
    memory: &'a Memory,
    readable: Vec<Buffer>,
    writable: Vec<Buffer>,
}

#[derive(Clone, Copy, Debug)]
struct Buffer {
    at: GuestAddress,
    length: usize,
}

impl<'a> Chain<'a> {
    fn walk(queue: &Queue, memory: &'a Memory, head: u16) -> Result<Self, Broken> {
        let mut chain = Chain { memory, readable: Vec::new(), writable: Vec::new() };
        let mut index = head;
        // One that goes on has a loop (2.7.5.2).
        for _ in 0..queue.size() {
            if index >= queue.size() {
                return Err(Broken);
            }
            let at = GuestAddress(queue.desc_table()).checked_add(u64::from(index) * 16).ok_or(Broken)?;
            let descriptor: Descriptor = memory.read_obj(at).map_err(|_| Broken)?;
            // No device here offers VIRTIO_F_INDIRECT_DESC.
            if descriptor.refers_to_indirect_table() {
                return Err(Broken);
            }
            let buffer = Buffer { at: descriptor.addr(), length: descriptor.len() as usize };
            let access = if descriptor.is_write_only() { Permissions::Write } else { Permissions::Read };
            if buffer.length > 0 && !memory.check_range(buffer.at, buffer.length, access) {
                return Err(Broken);
            }
            match (descriptor.is_write_only(), chain.writable.is_empty()) {
                (true, _) => chain.writable.push(buffer),
                (false, true) => chain.readable.push(buffer),
                // What the device writes comes last (2.7.4.2).
                (false, false) => return Err(Broken),
            }
            if !descriptor.has_next() {
                return Ok(chain);
            }
            index = descriptor.next();
        }
        Err(Broken)
    }

    /// How many bytes the driver sends. Its buffers may overlap: guest memory is no bound.
    pub fn readable(&self) -> usize {
        self.readable.iter().map(|buffer| buffer.length).sum()
    }

    /// How many bytes it has room for.
    pub fn writable(&self) -> usize {
        self.writable.iter().map(|buffer| buffer.length).sum()
    }

    /// Hands out what the driver sends, piece by piece.
    pub fn read(&self, mut out: impl FnMut(&[u8])) -> Result<(), Broken> {
        let mut bytes = vec![0; self.readable().min(PIECE)];
        for buffer in &self.readable {
            for start in (0..buffer.length).step_by(PIECE) {
                let piece = &mut bytes[..(buffer.length - start).min(PIECE)];
                let at = buffer.at.checked_add(start as u64).ok_or(Broken)?;
                self.memory.read_slice(piece, at).map_err(|_| Broken)?;
                out(piece);
            }
        }
        Ok(())
    }

    /// Writes as many of these bytes as there is room for, and returns how many that were.
    pub fn write(&self, mut bytes: &[u8]) -> Result<usize, Broken> {
        let all = bytes.len();
        for buffer in &self.writable {
            let (now, later) = bytes.split_at(bytes.len().min(buffer.length));
            if !now.is_empty() {
                self.memory.write_slice(now, buffer.at).map_err(|_| Broken)?;
            }
            bytes = later;
        }
        Ok(all - bytes.len())
    }
}

/// All queues of a device while it works on them.
pub struct Queues<'a> {
    pub(crate) queues: &'a mut [Queue],
    pub(crate) memory: &'a Memory,
    /// Rules that the driver broke.
    pub(crate) errors: &'a mut u64,
    /// The driver has something back, and is to be interrupted.
    pub(crate) used: bool,
}

impl Queues<'_> {
    /// Hands the chains that are available in queue `index` to `take`. It returns how many bytes it wrote, or
    /// `None` to leave this chain and all later ones for another time.
    ///
    /// Looks once at how many there are, and there are never more than the queue has room for: a driver that goes on
    /// adding some says so by another notification.
    pub fn serve(&mut self, index: usize, mut take: impl FnMut(&Chain) -> Result<Option<usize>, Broken>) {
        let queue = &mut self.queues[index];
        if !queue.ready() {
            return;
        }
        let Ok(available) = available(queue, self.memory) else { return *self.errors += 1 };
        let mut used = false;
        for _ in 0..available {
            let Some(head) = queue.pop_descriptor_chain(&**self.memory).map(|chain| chain.head_index())
            else {
                // The index went back in the meantime.
                *self.errors += 1;
                break;
            };
            let written = match Chain::walk(queue, self.memory, head).and_then(|chain| take(&chain)) {
                Ok(Some(written)) => written,
                Ok(None) => {
                    queue.set_next_avail(queue.next_avail().wrapping_sub(1));
                    break;
                }
                Err(Broken) => {
                    *self.errors += 1;
                    0
                }
            };
            // Fails for a head that is no descriptor, which has been counted.
            used |= queue.add_used(&**self.memory, head, written as u32).is_ok();
        }
        self.used |= used && wants_interrupts(queue, self.memory);
    }

    /// The driver need not say when it adds something to queue `index`.
    pub fn quiet(&mut self, index: usize) {
        if self.queues[index].ready() {
            // Rings that are outside of memory are noticed when the queue is served.
            let _ = self.queues[index].disable_notification(&**self.memory);
        }
    }

    /// From now on it has to. True if it has added something before it could know.
    pub fn listen(&mut self, index: usize) -> bool {
        self.queues[index].ready() && self.queues[index].enable_notification(&**self.memory).unwrap_or(false)
    }

    /// The driver broke a rule that the device itself watches over.
    pub fn broken(&mut self) {
        *self.errors += 1;
    }
}

/// How many chains the driver has made available. Its index runs ahead of the device's by the queue's size at the most.
fn available(queue: &Queue, memory: &Memory) -> Result<u16, Broken> {
    if !queue.is_valid(&**memory) {
        return Err(Broken);
    }
    let index = queue.avail_idx(&**memory, Ordering::Acquire).map_err(|_| Broken)?;
    let ahead = index.0.wrapping_sub(queue.next_avail());
    if ahead > queue.size() { Err(Broken) } else { Ok(ahead) }
}

/// Unless the driver says that it looks by itself (VIRTQ_AVAIL_F_NO_INTERRUPT, 2.7.7).
fn wants_interrupts(queue: &Queue, memory: &Memory) -> bool {
    let flags: u16 = memory.read_obj(GuestAddress(queue.avail_ring())).unwrap_or_default();
    u16::from_le(flags) & VRING_AVAIL_F_NO_INTERRUPT as u16 == 0
}

/// A queue as plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueueState {
    size: u16,
    ready: bool,
    next_avail: u16,
    next_used: u16,
    descriptors: u64,
    available: u64,
    used: u64,
}

impl QueueState {
    pub(crate) fn of(queue: &Queue) -> Self {
        Self {
            size: queue.size(),
            ready: queue.ready(),
            next_avail: queue.next_avail(),
            next_used: queue.next_used(),
            descriptors: queue.desc_table(),
            available: queue.avail_ring(),
            used: queue.used_ring(),
        }
    }

    /// The queue, which has room for `max_size` descriptors.
    pub(crate) fn queue(self, max_size: u16) -> Result<Queue, virtio_queue::Error> {
        Queue::try_from(virtio_queue::QueueState {
            max_size,
            next_avail: self.next_avail,
            next_used: self.next_used,
            // No device here offers VIRTIO_F_EVENT_IDX.
            event_idx_enabled: false,
            size: self.size,
            ready: self.ready,
            desc_table: self.descriptors,
            avail_ring: self.available,
            used_ring: self.used,
        })
    }
}
