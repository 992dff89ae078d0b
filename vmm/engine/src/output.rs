//! What a program printed, in bounded memory.

use serde::{Deserialize, Serialize};

/// So many of the first bytes are kept.
pub const KEPT: usize = 16 << 20;
/// Of more than that, so many of the newest.
pub const TAIL: usize = 64 << 10;

/// A stream of bytes: its beginning, and its end if it is longer than what is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Output {
    head: Vec<u8>,
    /// So many bytes came behind the head.
    behind: u64,
    /// The newest of them, and up to as many again.
    tail: Vec<u8>,
    /// More may have come later, which nobody read.
    #[serde(default)]
    open: bool,
}

impl Output {
    /// Takes what came.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = KEPT.saturating_sub(self.head.len());
        let (head, rest) = bytes.split_at(bytes.len().min(room));
        self.head.extend_from_slice(head);
        self.behind = self.behind.saturating_add(rest.len() as u64);
        self.tail.extend_from_slice(&rest[rest.len().saturating_sub(TAIL)..]);
        if self.tail.len() > 2 * TAIL {
            self.tail.drain(..self.tail.len() - TAIL);
        }
    }

    /// The beginning; all of it, unless [`Self::is_cut`].
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The newest bytes of what came behind the head.
    pub fn tail(&self) -> &[u8] {
        &self.tail[self.tail.len().saturating_sub(TAIL)..]
    }

    /// Whether there was more than the head.
    pub fn is_cut(&self) -> bool {
        self.behind > 0
    }

    /// Somebody could still write when it was read for the last time.
    pub fn leave_open(&mut self) {
        self.open = true;
    }

    /// Whether more may have come later, which nobody read.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// So many bytes came in all.
    pub fn length(&self) -> u64 {
        (self.head.len() as u64).saturating_add(self.behind)
    }

    /// So many bytes between head and tail are gone.
    pub fn lost(&self) -> u64 {
        self.behind.saturating_sub(self.tail().len() as u64)
    }
}

impl From<&[u8]> for Output {
    fn from(bytes: &[u8]) -> Self {
        let mut output = Self::default();
        output.push(bytes);
        output
    }
}

impl From<&str> for Output {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginning_and_end_of_a_flood_are_kept_and_the_rest_is_counted() {
        let mut output = Output::default();
        output.push(b"first ");
        for _ in 0..40 {
            output.push(&vec![b'x'; 1 << 20]);
        }
        assert!(output.is_cut());
        output.push(b" last");
        assert_eq!((output.head().len(), output.tail().len()), (KEPT, TAIL));
        assert!(output.head().starts_with(b"first x") && output.tail().ends_with(b"x last"));
        assert_eq!(output.length(), (40 << 20) + 11);
        assert_eq!(output.lost(), output.length() - (KEPT + TAIL) as u64);
        let piecewise = output.clone();
        let mut at_once = Output::from("first ");
        at_once.push(&vec![b'x'; 40 << 20]);
        at_once.push(b" last");
        assert_eq!((at_once.tail(), at_once.length()), (piecewise.tail(), piecewise.length()));
    }

    #[test]
    fn what_fits_is_whole() {
        let mut output = Output::from("abc");
        output.push(&vec![0; KEPT - 3]);
        assert!(!output.is_cut() && output.tail().is_empty());
        output.push(b"!");
        assert!(output.is_cut());
        assert_eq!((output.tail(), output.lost()), (&b"!"[..], 0));
    }
}
