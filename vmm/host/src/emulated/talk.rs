//! What a harness and an emulated host say to each other over one port.
//!
//! A port is a wire that outlives its users: when one was killed in the middle of a word, the rest of that
//! word may still arrive when the next one connects. So each conversation begins with a call that can't
//! be taken for anything else, and neither side believes a byte that came before it:
//!
//! 1. client: a [`Call`], again every so often; host: the same call and the [`Key`] of its build
//! 2. client: [`ToHost::Offer`]; host: [`FromHost::Need`]
//! 3. client: the bytes of what is needed, outside of any frame; then [`ToHost::Run`]
//! 4. host: [`FromHost::Event`]s, then [`FromHost::Finished`] or [`FromHost::Failed`]
//!
//! A client that disconnects ends its machine.

use engine::event::Event;
use plan::Plan;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Starts a call. Where a frame is expected it is an impossible length.
const MAGIC: [u8; 8] = *b"\xff\xff\xff\xffvmm\x01";

/// [`Call::find`] needs so many bytes.
pub(super) const CALL_LENGTH: usize = 24;

/// Says which build of `vmm` this is: both sides must be the same one, their messages have no versions.
pub(crate) type Key = [u8; 16];

/// The beginning of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call([u8; CALL_LENGTH]);

impl Call {
    /// A new one, unlike all others.
    pub(super) fn new() -> io::Result<Self> {
        let mut bytes = [0; CALL_LENGTH];
        bytes[..8].copy_from_slice(&MAGIC);
        io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes[8..])?;
        Ok(Self(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last whole call in a stream, and what follows it: a client that got no answer has called again.
    pub(super) fn find(stream: &[u8]) -> Option<(Self, &[u8])> {
        let at = stream.windows(CALL_LENGTH).rposition(|window| window.starts_with(&MAGIC))?;
        let (call, rest) = stream[at..].split_first_chunk()?;
        Some((Self(*call), rest))
    }

    /// Whether the rest of a call may still come.
    pub(super) fn may_begin(stream: &[u8]) -> bool {
        stream.starts_with(&MAGIC) || MAGIC.starts_with(stream)
    }

    /// What follows the answer to this very call in a stream: the host's key, and the rest.
    pub(super) fn answered<'a>(&self, stream: &'a [u8]) -> Option<(Key, &'a [u8])> {
        let at = stream.windows(CALL_LENGTH).position(|window| window == self.0)?;
        let (key, rest) = stream[at + CALL_LENGTH..].split_first_chunk()?;
        Some((*key, rest))
    }
}

/// A file by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Blob {
    /// SHA-256 in hexadecimal.
    pub digest: String,
    /// In bytes.
    pub length: u64,
}

impl Blob {
    /// Reads a file in.
    pub(super) fn load(path: &Path) -> io::Result<(Self, Vec<u8>)> {
        let bytes = fs::read(path)?;
        Ok((Self { digest: super::hex_digest(&bytes), length: bytes.len() as u64 }, bytes))
    }

    /// Its file below `folder`; `None` for a digest that is none.
    pub(super) fn place(&self, folder: &Path) -> Option<PathBuf> {
        let valid = self.digest.len() == 64 && self.digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        valid.then(|| folder.join(&self.digest))
    }
}

/// So many files belong to a plan.
pub(super) const FILES: usize = 3;

/// Where a plan has them.
pub(super) fn files(plan: &mut Plan) -> [&mut PathBuf; FILES] {
    [&mut plan.machine.kernel, &mut plan.machine.initramfs, &mut plan.luggage]
}

/// Client to host.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToHost {
    /// These files will be needed: kernel, initramfs, and what the scenario brings.
    Offer([Blob; FILES]),
    /// Carry it out; its files are those of the offer.
    Run {
        /// The plan.
        plan: Box<Plan>,
        /// The client's time, since 1970: a host that was saved has that of its saving.
        now: Duration,
    },
}

/// Host to client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromHost {
    /// Send these of the offer, in its order.
    Need([bool; FILES]),
    Event(Box<Event>),
    /// That was the last event.
    Finished,
    /// The host itself could not do it.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_found_behind_leftovers_and_only_when_it_is_whole() {
        let call = Call::new().unwrap();
        let mut stream = b"half a frame \xff\xff\xff\xffvm".to_vec();
        stream.extend_from_slice(&call.bytes()[..CALL_LENGTH - 1]);
        assert_eq!(Call::find(&stream), None);
        stream.push(call.bytes()[CALL_LENGTH - 1]);
        assert_eq!(Call::find(&stream), Some((call, &[][..])));
        let again = Call::new().unwrap();
        stream.extend_from_slice(again.bytes());
        stream.extend_from_slice(&call.bytes()[..CALL_LENGTH - 1]);
        assert_eq!(Call::find(&stream), Some((again, &call.bytes()[..CALL_LENGTH - 1])));
    }

    #[test]
    fn only_the_answer_to_the_own_call_counts() {
        let (mine, other) = (Call::new().unwrap(), Call::new().unwrap());
        let mut stream = [other.bytes(), &[1; 16], mine.bytes(), &[2; 15]].concat();
        assert_eq!(mine.answered(&stream), None);
        stream.extend_from_slice(&[2, 9]);
        assert_eq!(mine.answered(&stream), Some(([2; 16], &[9][..])));
    }

    #[test]
    fn a_digest_can_not_lead_out_of_its_folder() {
        let blob = |digest: &str| Blob { digest: digest.to_owned(), length: 1 };
        assert!(blob("../../etc/passwd").place(Path::new("/blobs")).is_none());
        assert!(blob(&"a".repeat(64)).place(Path::new("/blobs")).is_some());
    }
}
